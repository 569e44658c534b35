"""The neural linear model: features from a trained network, an exact Bayesian linear regression on top of them."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from probjax import curvature, likelihoods
from probjax.gaussian import Dense, Part, density_name
from probjax.inference.at_mode import find_mode
from probjax.inference.laplace_last_layer import last_layer_of
from probjax.optimize import lbfgs
from probjax.special import HALF_LOG_TWO_PI
from probjax.types import Data, Model, NotApplicable, Params, Posterior, as_model
from probjax.validation import check_inputs, require_counts


def neural_linear(
    key: Array,
    model: Model,
    data: Data,
    *,
    layer: str | int | None = None,
    num_draws: int = 1000,
    fit: Callable = lbfgs,
) -> Posterior:
    """p(last | y, features) = N(m, S), S⁻¹ = ΦᵀΦ/σ² + T⁻¹, m = S (Φᵀ(y − f₀)/σ² + T⁻¹μ): f = f₀ + Φ(x) · last, prior
    N(μ, T) (Snoek et al. 2015; Riquelme, Tucker & Snoek 2018).

    Exact for whatever features the fit came to, a mode or not (`laplace_last_layer` wants a mode); what else the
    features might have been is left out, so that far from the data it is as sure as they let it be. By QR: ΦᵀΦ is not
    formed.

    Args:
        key: split into the starting point and the draws.
        layer: the top-level entry of params that is the last layer: a name ("Dense_1") or a position. Default: the
            last entry of a tuple or list, all parameters of `linear`.
        num_draws: S.
        fit: what trains the features, `(objective, params) -> (params, info)`; `trained(params)` takes those at hand.

    Returns:
        Posterior with draws [S, …], all layers before the last the same in each; info: that of the fit, `log_q_last`
        [S] (of the last layer alone; `log_q` where that is all there is), `log_evidence` log p(y | features) with the
        last layer integrated out and no prior of the others (nats), `effective_parameters`, `mode` (flat),
        `nonlinearity` (max |f − f₀ − Φ · last|: 0 but for rounding, else f is not linear in `layer` and the answer is
        wrong).

    Raises:
        NotApplicable: the noise is not normal of one known scale, or the prior not normal in every part.
        ValueError: params is a dict and `layer` is not one of its names.

    >>> from functools import partial
    >>> from probjax import mlp, priors
    >>> model = Model(*mlp([1, 5, 1]), prior=priors.normal(), likelihood=likelihoods.normal(0.1))
    >>> data = Data(jnp.linspace(-1, 1, 6)[:, None], jnp.linspace(-1, 1, 6))
    >>> run = jax.jit(partial(neural_linear, num_draws=7))
    >>> run(jax.random.key(0), model, data).draws[1]["weight"].shape
    (7, 5, 1)
    """
    model = as_model(model)
    check_inputs(model, data)
    require_counts("neural_linear", num_draws=(num_draws, 1))
    if not likelihoods.is_homoscedastic(model.likelihood) or not curvature.is_proper_gaussian(model):
        raise NotApplicable("needs likelihoods.normal of one known scale and priors.normal in every part")
    init_key, draw_key = jax.random.split(key)
    params, info = find_mode(init_key, model, data, fit)
    gaussian, log_evidence, nonlinearity = neural_linear_gaussian(model, data, params, layer=layer)
    draws, log_q = gaussian.draw(draw_key, num_draws)
    info = {
        **info,
        "mode": gaussian.mean,
        "nonlinearity": nonlinearity,
        "effective_parameters": gaussian.effective_parameters(),
        density_name(gaussian): log_q,
        "log_evidence": log_evidence,
    }
    return Posterior(jax.vmap(ravel_pytree(params)[1])(draws), info)


def neural_linear_gaussian(
    model: Model, data: Data, params: Params, *, layer: str | int | None = None
) -> tuple[Part, Array, Array]:
    """The posterior of the last layer given the features at `params`, its log evidence (nats) and its nonlinearity."""
    last, index, put = last_layer_of(model, params, layer)
    now, unravel_last = ravel_pytree(last)
    f = lambda w: curvature.output_rows(model.apply(put(unravel_last(w)), data.x))[0][:, 0]
    f_now, pull = jax.vjp(f, now)
    # row by row, where N is small, else column by column: f is linear in w
    if f_now.size < now.size:
        design = jax.lax.map(lambda e: pull(e)[0], jnp.eye(f_now.size, dtype=now.dtype))
    else:
        design = jax.vmap(lambda e: jax.jvp(f, (now,), (e,))[1], out_axes=1)(jnp.eye(now.size, dtype=now.dtype))
    offset = f(jnp.zeros_like(now))
    loc, scale = _prior_moments(model, params)
    loc, scale = loc[index], scale[index]
    noise = jnp.sqrt(model.likelihood.variance(jnp.zeros(1, now.dtype))[0])
    residual = (data.y - offset - design @ loc) / noise
    A = design * scale / noise
    basis, upper = jnp.linalg.qr(jnp.concatenate([A, jnp.eye(now.size, dtype=now.dtype)]))
    left, singular, right = jnp.linalg.svd(upper)  # I + AᵀA = V s² Vᵀ
    whitened = right.T @ ((left.T @ (basis[: len(A)].T @ residual)) / singular)
    square = jnp.sum((residual - A @ whitened) ** 2) + jnp.sum(whitened**2)
    log_evidence = -len(A) * (HALF_LOG_TWO_PI + jnp.log(noise)) - jnp.sum(jnp.log(singular)) - 0.5 * square
    mean = loc + scale * whitened
    nonlinearity = jnp.max(jnp.abs(f_now - offset - design @ now))
    whole = ravel_pytree(params)[0].at[index].set(mean)
    return Part(whole, index, Dense(mean, scale, singular**2, right.T)), log_evidence, nonlinearity


def _prior_moments(model, params):
    """Mean and scale of a Gaussian prior that factorises, flat: precision −∇², mean ∇/precision at 0."""
    flat, unravel = ravel_pytree(params)
    at_zero = jax.grad(lambda w: model.prior.log_prob(unravel(w)))(jnp.zeros_like(flat))
    precision = curvature.prior_precision(model, flat, unravel)
    return at_zero / precision, 1 / jnp.sqrt(precision)
