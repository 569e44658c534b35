"""Laplace's approximation over the last layer, the layers before it held at the mode."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from probjax import curvature
from probjax.gaussian import Part
from probjax.inference.at_mode import find_mode, gaussian_posterior
from probjax.inference.laplace_ggn import gauss_newton
from probjax.networks import is_linear
from probjax.optimize import lbfgs
from probjax.types import Data, Model, NotApplicable, Params, Posterior, Prior, as_model
from probjax.validation import check_inputs, require_counts


def laplace_last_layer(
    key: Array,
    model: Model,
    data: Data,
    *,
    layer: str | int | None = None,
    num_draws: int = 1000,
    fit: Callable = lbfgs,
) -> Posterior:
    """p(last | y, rest*) ≈ N(last*, (JᵀΛJ + prior precision)⁻¹), J by the last layer alone (Kristiadi, Hein & Hennig
    2020; Daxberger et al. 2021 §2.2).

    f is linear in its last layer, so that the Hessian there is the generalised Gauss–Newton matrix, and under Gaussian
    noise of known scale the result is exact given the features. What the features might have been is left out.

    Args:
        key: split into the starting point and the draws.
        layer: the top-level entry of params that is the last layer: a name ("Dense_1") or a position. Default: the
            last entry of a tuple or list, all parameters of `linear`.
        num_draws: S.
        fit: a minimiser `(objective, params) -> (params, info)`; `trained(params)` takes a mode that is already there.

    Returns:
        Posterior with draws [S, …], all layers before the last the same in each; info as that of `laplace_ggn`, but
        `log_q_last` for `log_q` (the density of the last layer alone; `log_q` where that is all there is),
        `nonlinearity` (as in `neural_linear`: above rounding, f is not linear in `layer`) and `log_evidence` that given
        the others: log p(y, rest*) with the last layer integrated out, the prior density of rest* included.

    Raises:
        NotApplicable: the model is a Target, its likelihood has a kink, or params is no list of layers and none is
            named.
        ValueError: params is a dict and `layer` is not one of its names.

    >>> from functools import partial
    >>> from probjax import likelihoods, mlp, priors
    >>> model = Model(*mlp([1, 5, 1]), prior=priors.normal(), likelihood=likelihoods.normal(0.1))
    >>> data = Data(jnp.linspace(-1, 1, 6)[:, None], jnp.linspace(-1, 1, 6))
    >>> run = jax.jit(partial(laplace_last_layer, num_draws=7))
    >>> draws = run(jax.random.key(0), model, data).draws
    >>> jnp.ptp(draws[0]["weight"], axis=0).max() == 0, draws[1]["weight"].shape
    (Array(True, dtype=bool), (7, 5, 1))
    """
    model = as_model(model)
    check_inputs(model, data)
    require_counts("laplace_last_layer", num_draws=(num_draws, 1))
    init_key, draw_key = jax.random.split(key)
    params, info = find_mode(init_key, model, data, fit)
    gaussian, num_clipped = last_layer_gaussian(model, data, params, layer=layer)
    info = {**info, "num_clipped": num_clipped, "nonlinearity": nonlinearity_of(model, data, params, layer)}
    return gaussian_posterior(draw_key, model, data, params, gaussian, num_draws=num_draws, info=info)


def last_layer_gaussian(
    model: Model, data: Data, params: Params, *, layer: str | int | None = None
) -> tuple[Part, Array]:
    """The Gaussian of `laplace_last_layer` at `params`, and the number of rows whose Λ was clipped. Errors as there."""
    flat, unravel = ravel_pytree(params)
    last, index, put = last_layer_of(model, params, layer)
    proper = curvature.is_proper_gaussian(model)
    precision = curvature.prior_precision(model, flat, unravel)[index] if proper else None
    alone = Model(
        lambda key: last,
        lambda last, x: model.apply(put(last), x),
        prior=Prior(lambda last: model.prior.log_prob(put(last))),
        likelihood=model.likelihood,
    )
    inner, num_clipped = gauss_newton(alone, data, last, precision)
    return Part(flat, index, inner), num_clipped


def nonlinearity_of(model: Model, data: Data, params: Params, layer: str | int | None) -> Array:
    """max |f(w) − f(0) − f′(0) w| over rows, w the last layer's parameters: 0 but for rounding where f is affine."""
    last, _, put = last_layer_of(model, params, layer)
    nothing = jax.tree.map(jnp.zeros_like, last)
    f = lambda w: jax.tree.leaves(model.apply(put(w), data.x))
    start, slope = jax.jvp(f, (nothing,), (last,))
    return jnp.max(jnp.stack([jnp.max(jnp.abs(at - a - b)) for at, a, b in zip(f(last), start, slope)]))


def last_layer_of(model: Model, params: Params, layer: str | int | None) -> tuple[Params, Array, Callable]:
    """The last layer's parameters, where they stand in the flat ones, and what puts other values in their place."""
    sequence = isinstance(params, tuple | list)
    flat = ravel_pytree(params)[0]
    if layer is None and is_linear(model):
        return params, jnp.arange(flat.size), lambda last: last
    layer = len(params) - 1 if layer is None and sequence else layer
    names = list(range(len(params))) if sequence else sorted(params) if isinstance(params, dict) else []
    if layer not in names:
        error = NotApplicable if layer is None else ValueError  # one that is not named may be none
        raise error(f"last layer: layer is {layer!r} but params has the top-level entries {names}; name the last")
    before = params[:layer] if sequence else {name: params[name] for name in names if name < layer}
    start = sum(leaf.size for leaf in jax.tree.leaves(before))  # `ravel_pytree` takes a dict's names in order
    index = start + jnp.arange(ravel_pytree(params[layer])[0].size)
    if sequence:
        return params[layer], index, lambda last: type(params)([*params[:layer], last, *params[layer + 1 :]])
    return params[layer], index, lambda last: {**params, layer: last}
