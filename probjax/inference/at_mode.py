"""What every Gaussian at a mode shares: finding the mode, or taking a trained one, and the posterior made of both."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial

from probjax import curvature
from probjax.density import target
from probjax.gaussian import Gaussian, density_name, num_free
from probjax.optimize import small_slope
from probjax.special import HALF_LOG_TWO_PI
from probjax.types import Data, Model, Params, Posterior, Target

SLOPE = 1e-3  # of the objective, nats a unit of params: trained parameters within it count as a mode


def trained(params: Params) -> Partial:
    """A `fit` that takes these parameters as they are, for methods to be put on a network that is already trained.

    Its info says how far from a mode they are: `grad_norm` (max norm), `objective` (−log joint, nats), `converged` if
    max|∇| ≤ 0.001 · max(1, min(|objective|, max|∇| at a fresh start)).

    >>> from probjax import Data, Model, laplace, likelihoods, linear, priors
    >>> model = Model(*linear(1, bias=False), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    >>> data = Data(jnp.ones((4, 1)), jnp.ones(4))
    >>> posterior = laplace(jax.random.key(0), model, data, fit=trained({"weight": jnp.full(1, 0.8)}))
    >>> bool(posterior.info["converged"]), int(posterior.info["num_steps"])
    (True, 0)
    """
    return Partial(_as_trained, params)


def _as_trained(params, objective, start):
    want, have = (jax.tree.map(jnp.shape, tree) for tree in (start, params))
    if want != have:
        raise ValueError(
            f"trained: params has shapes {have} but model.init makes {want}; pass one set of "
            "parameters (of an nnx module: nnx.to_pure_dict(nnx.state(module, nnx.Param)))"
        )
    params = jax.tree.map(jnp.asarray, params)
    value, grad = jax.value_and_grad(objective)(params)
    grad_norm, before = (jnp.max(jnp.abs(ravel_pytree(g)[0])) for g in (grad, jax.grad(objective)(start)))
    converged = small_slope(grad_norm, value, before, SLOPE)
    return params, {"grad_norm": grad_norm, "objective": value, "num_steps": jnp.asarray(0), "converged": converged}


def find_mode(key: Array, model: Model | Target, data: Any, fit: Any) -> tuple[Params, dict[str, Array]]:
    """argmax log p(params, y) from a fresh start, and the fit's info.

    Raises:
        TypeError: `fit` is no minimiser.
        ValueError: the mode is NaN or infinite (outside a trace).
    """
    density = target(model)
    if not callable(fit):
        raise TypeError(
            f"fit is a {type(fit).__name__} but must be a minimiser, (objective, params) -> (params, info): "
            "optimize.lbfgs, functools.partial(optimize.adam, num_steps=…), or trained(params)"
        )
    start = density.init(key)
    found = fit(lambda params: -density.log_joint(params, data), start)
    if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], dict)):
        raise TypeError(
            f"fit returned a {type(found).__name__} but must return (params, info), info a dict; see optimize.adam"
        )
    params, info = found
    leaves = jax.tree.leaves(params)
    known = not any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)
    if known and not all(np.isfinite(np.asarray(leaf)).all() for leaf in leaves):
        raise ValueError(
            "the fit ended at parameters that are NaN or infinite; lower its learning rate, scale x, give a tighter "
            "prior, or, where they were trained elsewhere, look at the training"
        )
    return params, info


def gaussian_posterior(
    key: Array, model: Model, data: Data, params: Params, gaussian: Gaussian, *, num_draws: int, info: dict
) -> Posterior:
    """Draws of a Gaussian at `params`; info gains `log_q` [S] (`log_q_last` where it is that of a part of them),
    `log_evidence` = log p(y, params*) + P/2 · log 2π + ½ log|Σ| (nats, P the parameters it is over), `num_nonpositive`,
    `mode` (flat) and, under a proper Gaussian prior, `effective_parameters`."""
    _, unravel = ravel_pytree(params)
    draws, log_q = gaussian.draw(key, num_draws)
    volume = num_free(gaussian) * HALF_LOG_TWO_PI + 0.5 * gaussian.log_det()
    info = {
        **info,
        "mode": gaussian.mean,
        "num_nonpositive": gaussian.num_nonpositive(),
        density_name(gaussian): log_q,
        "log_evidence": target(model).log_joint(params, data) + volume,
    }
    if curvature.is_proper_gaussian(model):
        info["effective_parameters"] = gaussian.effective_parameters()
    return Posterior(jax.vmap(unravel)(draws), info)
