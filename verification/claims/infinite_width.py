"""Members of infinite width: whose posterior their spread is, and whose it is not."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy import stats

from probjax import Data, Model, Posterior, ensemble, likelihoods, predict, priors
from probjax.types import Static
from verification.claims.members import ALPHA, NEAR, descend
from verification.claims.types import CONTROL, INSTEAD, UNDER, WITHOUT, Measurement, standard_error
from verification.exact.infinite_width import InfiniteNetwork, nngp_kernel, process_posterior
from verification.exact.tangent_kernel import LAST_LAYER, flow, members_law, tangent_kernel

ROWS = np.linspace(-2, 2, 4)
NET = InfiniteNetwork(ROWS[:, None], 0.5 * np.sin(1.8 * ROWS), 0.04, 1.4, 1.0, 1, "relu")
SCALES = (NET.weight_sd, NET.bias_sd, NET.depth, NET.activation)
AT = np.array([-4.0, -3.0, 0.0, 3.0, 4.0])[:, None]  # outside the rows, and in their middle
WIDTH, MEMBERS = 2048, 64
A_QUARTER = 0.25  # of an sd: a member of width n misses its limit by some 5/√n


def tangent_members(key) -> tuple[list[Measurement], np.ndarray, np.ndarray]:
    """A ReLU network of infinite width in the tangent parametrisation, trained by gradient flow from draws of its
    prior. With the last layer alone trained, members are draws of the NNGP posterior, at noise 0, or at σ² with a
    ridge σ² to the start and noise drawn anew (Matthews et al. 2017). With every layer trained they are Gaussian with
    another law, of the tangent kernel, and no posterior of this prior (Lee et al. 2019 §2.3; He et al. 2020). A wide
    network is near: its end is what that kernel makes of its start.

    Returns:
        Measurements; sds of the NNGP posterior at noise 0, and of the members with every layer trained, at `AT`.
    """
    clean = process_posterior(NET._replace(noise_variance=0.0), AT)[:2]
    noisy = process_posterior(NET, AT)[:2]
    anew = {"ridge": NET.noise_variance, "target_noise": NET.noise_variance}
    law, last = members_law(NET, AT), members_law(NET, AT, trained=LAST_LAYER)
    both, both_last = members_law(NET, AT, **anew), members_law(NET, AT, trained=LAST_LAYER, **anew)
    start_rows, start, end = _trained(key)

    def exact(role, what, one, other, bound):
        sd = f"sd against the NNGP posterior's, worst of {len(AT)} inputs, relative"
        worst = float(np.max(np.abs(_sd(one) / _sd(other) - 1)))
        return Measurement(role, f"infinite width, {what}: {sd}", worst, bound)

    def followed(role, what, kernel):
        steps = flow(kernel(NET.x, NET.x), kernel(NET.x, AT)).T @ (NET.y - start_rows).T
        value, margin = _root_mean((((end - start - steps.T) / _sd(law)) ** 2).mean(1))
        about = f"{MEMBERS} members of width {WIDTH}, every layer trained: f at the end"
        return Measurement(role, f"{about} against {what} of its start, in sds", value, A_QUARTER, margin)

    mean = float(np.max(np.abs(law[0] - clean[0]) / _sd(clean)))
    return (
        [
            exact(UNDER, "the last layer trained, no noise", last, clean, 1e-10),
            exact(UNDER, "the last layer trained, anchors and noise drawn anew", both_last, noisy, 1e-10),
            exact(WITHOUT, "every layer trained, no noise", law, clean, NEAR),
            Measurement(WITHOUT, "the same: mean against the NNGP posterior's, in its sds", mean, NEAR),
            exact(WITHOUT, "every layer trained, anchors and noise drawn anew", both, noisy, NEAR),
            followed(INSTEAD, "what the tangent kernel makes", _tangent),
            followed(CONTROL, "what the NNGP kernel makes", _prior),
        ],
        _sd(clean),
        _sd(law),
    )


def _tangent(a, b):
    return tangent_kernel(a, b, *SCALES)


def _prior(a, b):
    return nngp_kernel(a, b, *SCALES)


def _root_mean(squares) -> tuple[float, float]:
    """√ of the mean of independent squares, and its margin at `ALPHA`."""
    root = float(np.sqrt(np.mean(squares)))
    return root, float(stats.t.ppf(1 - ALPHA / 2, len(squares) - 1) * standard_error(squares) / (2 * root))


def _sd(law):
    return np.sqrt(np.diag(law[1]))


def wide_network(width: int) -> tuple[Partial, Partial]:
    """init and apply of f(x) = weight_sd/√width · v·relu(weight_sd w x + bias_sd b) + bias_sd c, all of N(0, 1), with
    the scales of `NET`."""
    return Partial(_init, Static(width)), Partial(_apply, NET.weight_sd, NET.bias_sd)


def _init(width, key):
    keys = jax.random.split(key, 4)
    shapes = {"w": (width.value,), "b": (width.value,), "v": (width.value,), "c": ()}
    return {name: jax.random.normal(key, shape) for key, (name, shape) in zip(keys, shapes.items())}


def _apply(weight_sd, bias_sd, params, x):
    hidden = jax.nn.relu(weight_sd * x * params["w"] + bias_sd * params["b"])
    return weight_sd / jnp.sqrt(params["v"].size) * (hidden @ params["v"]) + bias_sd * params["c"]


def _trained(key):
    """f of `MEMBERS` networks: at the rows and at `AT` when they start, [M, N] and [M, Q], at `AT` when they end."""
    model = Model(*wide_network(WIDTH), prior=priors.flat(), likelihood=likelihoods.normal(1.0))
    rate = 1 / np.linalg.norm(_tangent(NET.x, NET.x), 2)

    def fit(objective, params):
        return descend(objective, params, rate=rate, num_steps=400)[0], {"start": params}

    def members(key, data, at):
        ends = ensemble(key, model, data, num_members=MEMBERS, fit=fit, batch_size=MEMBERS // 8)
        starts = Posterior(ends.info["start"], {})
        return predict(model, starts, data.x), predict(model, starts, at), predict(model, ends, at)

    data = Data(jnp.asarray(NET.x), jnp.asarray(NET.y))
    return [np.asarray(f) for f in jax.jit(members)(key, data, jnp.asarray(AT))]
