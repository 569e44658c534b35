"""Laplace's approximation: a Gaussian at the mode with the curvature's inverse as covariance."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from probjax.density import target
from probjax.optimize import lbfgs
from probjax.types import Data, Model, Posterior, Target
from probjax.validation import check_inputs, require_counts

MAX_PARAMS = 4000  # a dense Hessian in float64: 128 MB


def laplace(
    key: Array, model: Model | Target, data: Data, *, num_draws: int = 1000, fit: Callable = lbfgs
) -> Posterior:
    """p(params | y) ≈ N(params*, H⁻¹), H = −∇² log p(y, params*) (MacKay 1992; Bishop 2006 §4.4).

    log p(y) ≈ log p(y, params*) + P/2 · log 2π − ½ log|H|.

    Args:
        key: split into the starting point and the draws.
        num_draws: S.
        fit: a minimiser `(objective, params) -> (params, info)`.

    Returns:
        Posterior with draws [S, …]; info: that of the fit, `log_q` [S] and `log_evidence` (nats), and
        `num_nonpositive` (how many eigenvalues of H are not > 0). Where H is not positive definite the Gaussian does
        not exist: the draws are NaN and `num_nonpositive` says why.

    Raises:
        ValueError: more than MAX_PARAMS parameters (a dense Hessian would not fit), or num_draws < 1.

    >>> from probjax import likelihoods, linear, priors
    >>> model = Model(*linear(1), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    >>> data = Data(jnp.ones((4, 1)), jnp.ones(4))
    >>> laplace(jax.random.key(0), model, data, num_draws=7).draws["weight"].shape
    (7, 1)
    """
    check_inputs(model, data)
    require_counts("laplace", num_draws=(num_draws, 1))
    init_key, draw_key = jax.random.split(key)
    density = target(model)
    start = density.init(init_key)
    flat, unravel = ravel_pytree(start)
    if flat.size > MAX_PARAMS:
        raise ValueError(
            f"laplace: {flat.size} parameters need a dense {flat.size}² Hessian; at most {MAX_PARAMS} are supported"
        )
    mode, info = fit(lambda params: -density.log_joint(params, data), start)
    mode = ravel_pytree(mode)[0]
    log_joint = lambda w: density.log_joint(unravel(w), data)
    eigenvalues, vectors = jnp.linalg.eigh(-jax.hessian(log_joint)(mode))
    noise = jax.random.normal(draw_key, (num_draws, flat.size), flat.dtype)
    # √ of a negative eigenvalue is NaN: reported, not patched
    draws = mode + (noise / jnp.sqrt(eigenvalues)) @ vectors.T
    log_det = jnp.sum(jnp.log(eigenvalues))
    log_two_pi = flat.size * jnp.log(2 * jnp.pi)
    info = {
        **info,
        "num_nonpositive": jnp.sum(~(eigenvalues > 0)),
        "log_q": 0.5 * (log_det - log_two_pi - jnp.sum(noise**2, axis=1)),
        "log_evidence": log_joint(mode) + 0.5 * (log_two_pi - log_det),
    }
    return Posterior(jax.vmap(unravel)(draws), info)
