"""An ordinal regression, its cutpoints ordered by construction."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jax.tree_util import Partial

from probjax import Model, Prior, likelihoods, linear, with_cutpoints
from verification.exact import glm_grid
from verification.exact import row_densities as rows_of
from verification.problems._flat import EXP, SIGMOID, Quantity, Rows, model_query, problem, rejected, solved_on_grid
from verification.problems._parts import reweighted
from verification.types import Bug, Problem


def ordinal_rows() -> Rows:
    """25 ranks of three, the middle one rare."""
    rng = np.random.default_rng(33)
    x = rng.standard_normal((30, 1))
    latent = 1.3 * x[:, 0] + rng.logistic(size=30)
    return Rows.split(x, (latent > -0.3).astype(float) + (latent > 0.35), 25)


CUTPOINT_SCALE = 2.0


def ordinal_logit() -> Problem:
    """P(y ≤ k) = σ(c_k − xw); w ~ N(0, 2²) and the cutpoints two ordered draws from N(0, 2²), told as c₁ and
    log(c₂ − c₁)."""
    rows = ordinal_rows()
    prior = Prior(Partial(_ordered_log_prob, CUTPOINT_SCALE), Partial(_ordered_sample, CUTPOINT_SCALE))
    model = Model(*with_cutpoints(linear(1, bias=False), 3), prior=prior, likelihood=likelihoods.ordinal())
    density = ordinal_density(rows)
    new = lambda theta: rows_of.ordinal(rows.new_y, theta[:, 2:] * rows.new_x[:, 0], _cutpoints(theta))
    quantities = [
        Quantity("cutpoint 1", (1, 0, 0)),
        Quantity("log gap", (0, 1, 0)),
        Quantity("w", (0, 0, 1)),
        Quantity("gap", (0, 1, 0), EXP),
        Quantity("cutpoint 2", (1, 0, 0), view=1),
        Quantity("P(y = 0 | x = 1)", (1, 0, -1), SIGMOID),
        Quantity("P(y <= 1 | x = 1)", (1, 0, -1), SIGMOID, view=1),
    ]
    upper = glm_grid.View(_lower_first, _upper_first, lambda phi: 0.0)
    views = (glm_grid.IDENTITY, upper)
    reference = solved_on_grid("ordinal_logit", quantities, density, 3, log_new=new, num_new=5, views=views)
    return problem(
        "ordinal_logit",
        "ordinal regression, three ranks, 25 rows, cutpoints ordered by construction",
        model,
        rows,
        model_query(quantities, (_upper_first_of_one,)),
        reference,
        rejected(model, density, reference, 3),
        Bug("log-Jacobian of the ordered cutpoints left out", reweighted(lambda params: -params["log_gaps"][0])),
    )


def ordinal_density(rows: Rows) -> Callable:
    """log p(θ, y), θ = [c₁, log(c₂ − c₁), w]: 2 N(c₁) N(c₂) (c₂ − c₁) is the density of the ordered pair."""

    def density(theta):
        cutpoints = _cutpoints(theta)
        log_prior = np.log(2) + rows_of.normal_prior(cutpoints, 0.0, CUTPOINT_SCALE) + theta[:, 1]
        log_prior = log_prior + rows_of.normal_prior(theta[:, 2:], 0.0, CUTPOINT_SCALE)
        return log_prior + rows_of.ordinal(rows.y, theta[:, 2:] * rows.x[:, 0], cutpoints)

    return density


def _cutpoints(theta):
    return np.column_stack([theta[:, 0], theta[:, 0] + np.exp(theta[:, 1])])


def _upper_first(theta):
    return np.column_stack([theta[:, 0] + np.exp(theta[:, 1]), theta[:, 1:]])


def _lower_first(phi):
    return np.column_stack([phi[:, 0] - np.exp(phi[:, 1]), phi[:, 1:]])


def _upper_first_of_one(theta):
    return theta.at[0].add(jnp.exp(theta[1]))


def _ordered_log_prob(scale, params):
    first, log_gap = params["first_cutpoint"], params["log_gaps"][0]
    cutpoints = jnp.stack([first, first + jnp.exp(log_gap)])
    log_prior = jnp.sum(norm.logpdf(cutpoints, 0.0, scale)) + jnp.log(2.0) + log_gap
    return log_prior + jnp.sum(norm.logpdf(params["network"]["weight"], 0.0, scale))


def _ordered_sample(scale, key, like):
    cut_key, weight_key = jax.random.split(key)
    cutpoints = jnp.sort(scale * jax.random.normal(cut_key, (2,)))
    weight = scale * jax.random.normal(weight_key, like["network"]["weight"].shape)
    gap = jnp.log(cutpoints[1:] - cutpoints[0])
    return {"network": {"weight": weight}, "first_cutpoint": cutpoints[0], "log_gaps": gap}
