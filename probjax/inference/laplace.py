"""Laplace's approximation: a Gaussian at the mode with the curvature's inverse as covariance."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from probjax.density import target
from probjax.gaussian import Dense, above_rounding
from probjax.inference.at_mode import find_mode
from probjax.optimize import lbfgs
from probjax.special import HALF_LOG_TWO_PI
from probjax.types import Data, Model, Params, Posterior, Target
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
        Posterior with draws [S, …]; info: that of the fit, `mode` (flat), `log_q` [S] and `log_evidence` (nats), and
        `num_nonpositive` (how many eigenvalues of H are not > 0). Where H is not positive definite the Gaussian does
        not exist: the draws are NaN and `num_nonpositive` says why; eigenvalues that rounding alone could have made
        count among these. Under a normal prior `laplace_ggn` has a curvature that is always positive.

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
    _require_room(jax.eval_shape(density.init, init_key))
    params, info = find_mode(init_key, model, data, fit)
    gaussian = hessian_gaussian(model, data, params)
    draws, log_q = gaussian.draw(draw_key, num_draws)
    volume = gaussian.mean.size * HALF_LOG_TWO_PI + 0.5 * gaussian.log_det()
    info = {
        **info,
        "mode": gaussian.mean,
        "num_nonpositive": gaussian.num_nonpositive(),
        "log_q": log_q,
        "log_evidence": density.log_joint(params, data) + volume,
    }
    return Posterior(jax.vmap(ravel_pytree(params)[1])(draws), info)


def hessian_gaussian(model: Model | Target, data: Data, params: Params) -> Dense:
    """N(params, H⁻¹), H = −∇² log p(y, params): of `laplace`, at any params. Errors as there.

    >>> from probjax import likelihoods, linear, priors
    >>> model = Model(*linear(1, bias=False), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    >>> gaussian = hessian_gaussian(model, Data(jnp.ones((3, 1)), jnp.ones(3)), {"weight": jnp.zeros(1)})
    >>> gaussian.eigenvalues.tolist()
    [4.0]
    """
    _require_room(params)
    flat, unravel = ravel_pytree(params)
    density = target(model)
    eigenvalues, vectors = jnp.linalg.eigh(-jax.hessian(lambda w: density.log_joint(unravel(w), data))(flat))
    return Dense(flat, jnp.ones_like(flat), above_rounding(eigenvalues), vectors)


def _require_room(params):
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    if size > MAX_PARAMS:
        raise ValueError(
            f"laplace: {size} parameters need a dense {size}² Hessian; at most {MAX_PARAMS} are supported; "
            "use laplace_diagonal, laplace_kron or laplace_last_layer"
        )
