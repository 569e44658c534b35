"""The one-unit network: f(x) = a·tanh(wx + b) + c, its posterior integrated exactly."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from probjax import Data, Model, likelihoods, mlp, priors
from verification.exact import network as exact
from verification.exact.cache import solved
from verification.problems._parts import new_rows, reweighted
from verification.types import Bug, Problem

SCALES = (1.5, 1.5, 1.5, 1.0)  # prior sd of w, b, a, c
NOISE = 0.2
QUERY_X = np.array([-4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0])
CONTRASTS = ((2, 4), (3, 4), (0, 6))  # f(1) - f(-1) and so on, by position; smooth enough to integrate to 1e-7


def one_unit_data() -> tuple[exact.OneUnit, np.ndarray, np.ndarray]:
    """15 rows on [−2, 2] from a tanh; the new rows are a dyad outside that range, each of its two inputs seen twice."""
    rng = np.random.default_rng(7)
    truth = lambda x: 1.2 * np.tanh(1.5 * x - 0.3) + 0.2
    x, new_x = np.linspace(-2, 2, 15), np.array([-3.5, 3.5, 3.5, -3.5])
    y, new_y = (truth(v) + NOISE * rng.standard_normal(len(v)) for v in (x, new_x))
    return exact.OneUnit(x, y, NOISE, SCALES), new_x, new_y


def network_one_unit() -> Problem:
    """15 rows, one hidden tanh unit, four weights, known noise; the queries are values of the function and
    differences of them: neighbouring values are so correlated that they would hide an error in their difference."""
    net, new_x, new_y = one_unit_data()
    w, b, a, c = SCALES
    prior = priors.normal(0.0, ({"weight": w, "bias": b}, {"weight": a, "bias": c}))
    model = Model(*mlp([1, 1, 1]), prior=prior, likelihood=likelihoods.normal(NOISE))
    sampler = exact.one_unit_sampler(net)
    return Problem(
        name="network_one_unit",
        about="a neural network of one tanh unit, 15 rows, known noise",
        model=model,
        data=Data(jnp.asarray(net.x)[:, None], jnp.asarray(net.y)),
        query=Partial(_values_and_contrasts, model.apply, jnp.asarray(QUERY_X)[:, None], jnp.asarray(CONTRASTS)),
        log_new=new_rows(model, Data(jnp.asarray(new_x)[:, None], jnp.asarray(new_y))),
        reference=solved(
            "network_one_unit", lambda: exact.one_unit_network(net, QUERY_X, new_x, new_y, contrasts=CONTRASTS)
        ),
        exact_draws=lambda rng, num: _params(sampler(rng, num)),
        bug=Bug("hidden weights' prior sd left at 1", reweighted(Partial(_standard_ratio, w, b))),
    )


def _standard_ratio(weight_scale, bias_scale, params):
    """N(0, 1) over N(0, scale²) for the hidden weight and bias."""
    squares = (1 - weight_scale**-2) * params[0]["weight"] ** 2 + (1 - bias_scale**-2) * params[0]["bias"] ** 2
    return -0.5 * jnp.sum(squares)


def _values_and_contrasts(apply, x, pairs, params):
    f = apply(params, x)
    return jnp.append(f, f[pairs[:, 1]] - f[pairs[:, 0]])


def _params(draws):
    w, b, a, c = draws.T
    return ({"weight": w[:, None, None], "bias": b[:, None]}, {"weight": a[:, None, None], "bias": c[:, None]})


PROBLEMS = {
    "network_one_unit": network_one_unit,
}
