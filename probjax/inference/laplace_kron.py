"""Laplace's approximation with Kronecker factors, a pair for each layer."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from probjax import curvature
from probjax.gaussian import Kron, Layer
from probjax.inference.at_mode import find_mode, gaussian_posterior
from probjax.networks import is_linear
from probjax.optimize import lbfgs
from probjax.types import Data, Model, NotApplicable, Params, Posterior, as_model
from probjax.validation import check_inputs, num_data, require_counts


def laplace_kron(key: Array, model: Model, data: Data, *, num_draws: int = 1000, fit: Callable = lbfgs) -> Posterior:
    """p(params | y) ≈ Π over layers N(W*, (Σₙ aₙaₙᵀ ⊗ (1/N) Σₙ δₙᵀΛₙδₙ + prior precision)⁻¹): a the layer's inputs, a 1
    for the bias among them, δ = ∂f/∂z by its outputs (Martens & Grosse 2015; Ritter, Botev & Barber 2018).

    The block of a layer is Σₙ aₙaₙᵀ ⊗ δₙᵀΛₙδₙ; a sum of products is taken for the product of sums. Exact where δᵀΛδ is
    the same in all rows, such as for one linear layer under Gaussian noise. Layers are independent. The prior is added
    exactly, by the factors' eigenvectors.

    Args:
        key: split into the starting point and the draws.
        num_draws: S.
        fit: a minimiser `(objective, params) -> (params, info)`; `trained(params)` takes a mode that is already there.

    Returns:
        Posterior with draws [S, …]; info as that of `laplace_ggn`.

    Raises:
        NotApplicable: the network is not that of `linear` or `mlp`; the prior is not normal everywhere (a flat part
            leaves no precision to measure against); the likelihood has a kink.

    A prior scale that differs between the outputs of one layer is averaged over them, in its precision.

    >>> from functools import partial
    >>> from probjax import likelihoods, mlp, priors
    >>> model = Model(*mlp([1, 5, 3]), prior=priors.normal(), likelihood=likelihoods.categorical())
    >>> data = Data(jnp.linspace(-1, 1, 6)[:, None], jnp.array([0, 0, 1, 1, 2, 2]))
    >>> run = jax.jit(partial(laplace_kron, num_draws=7))
    >>> run(jax.random.key(0), model, data).draws[0]["weight"].shape
    (7, 1, 5)
    """
    model = as_model(model)
    check_inputs(model, data)
    require_counts("laplace_kron", num_draws=(num_draws, 1))
    init_key, draw_key = jax.random.split(key)
    params, info = find_mode(init_key, model, data, fit)
    gaussian, num_clipped = kron_gaussian(model, data, params)
    info = {**info, "num_clipped": num_clipped}
    return gaussian_posterior(draw_key, model, data, params, gaussian, num_draws=num_draws, info=info)


def kron_gaussian(model: Model, data: Data, params: Params) -> tuple[Kron, Array]:
    """The Gaussian of `laplace_kron` at `params`, and the number of rows whose Λ was clipped. Errors as there."""
    if not curvature.knows_layers(model):
        raise NotApplicable(
            "needs the layers of probjax.linear or probjax.mlp one by one; for other networks take laplace_diagonal "
            "or laplace_last_layer"
        )
    if not curvature.is_proper_gaussian(model):
        raise NotApplicable("needs priors.normal in every part: a flat prior leaves no precision to measure against")
    flat, unravel = ravel_pytree(params)
    precision = unravel(curvature.prior_precision(model, flat, unravel))
    rows, num_clipped = curvature.rows_of(model, data, params)

    def block(rows, present):
        layers = jax.vmap(lambda x, root: curvature.layer_row(model, params, x, root))(*rows)
        inputs = [a * present[:, None] for a, _ in layers]
        slopes = [(slope * present[:, None, None]).reshape(-1, slope.shape[-1]) for _, slope in layers]
        return [(a.T @ a, slope.T @ slope) for a, slope in zip(inputs, slopes)]

    widths = sum(sum(leaf.shape) for leaf in jax.tree.leaves(params)) + 1
    factors = curvature.sum_over_rows(block, rows, widths * curvature.num_outputs(model, data, params))
    by_layer = (precision,) if is_linear(model) else precision
    layers = [_layer(*pair, part, num_data(data)) for pair, part in zip(factors, by_layer)]
    return Kron(flat, tuple(layers)), num_clipped


def _layer(inputs, slopes, precision, num_rows):
    scale = 1 / jnp.sqrt(_by_row(precision, slopes.shape[0]))
    a, vectors_in = jnp.linalg.eigh(inputs * scale[:, None] * scale)
    g, vectors_out = jnp.linalg.eigh(slopes / num_rows)
    # of sums of squares: below 0 only by rounding
    ratio = 1 + jnp.maximum(a, 0.0)[:, None] * jnp.maximum(g, 0.0)
    return Layer(scale, vectors_in, vectors_out, ratio)


def _by_row(precision, num_outputs):
    """The prior precision of each row of the layer's matrix, the bias first."""
    weight = precision["weight"].reshape(-1, num_outputs)
    rows = [precision["bias"].reshape(1, num_outputs)] if "bias" in precision else []
    return jnp.mean(jnp.concatenate([*rows, weight]), axis=1)
