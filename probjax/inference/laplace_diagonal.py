"""Laplace's approximation with the diagonal of the generalised Gauss–Newton matrix: for networks of any size."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from probjax import curvature
from probjax.gaussian import Diagonal
from probjax.inference.at_mode import find_mode, gaussian_posterior
from probjax.optimize import lbfgs
from probjax.types import Data, Model, Params, Posterior, as_model
from probjax.validation import check_inputs, require_counts


def laplace_diagonal(
    key: Array, model: Model, data: Data, *, num_draws: int = 1000, fit: Callable = lbfgs
) -> Posterior:
    """p(params | y) ≈ Π N(wᵢ*, 1/Λᵢᵢ), Λ = JᵀΛJ + prior precision of `laplace_ggn`, its diagonal alone (Daxberger et
    al. 2021 §2.2; the idea is LeCun, Denker & Solla's 1990).

    Like mean-field variational inference it holds a parameter's variance given the others, 1/Λᵢᵢ ≤ (Λ⁻¹)ᵢᵢ: too
    small wherever parameters are correlated. The whole cost is one Jacobian a row, in blocks of bounded memory.

    Args:
        key: split into the starting point and the draws.
        num_draws: S.
        fit: a minimiser `(objective, params) -> (params, info)`; `trained(params)` takes a mode that is already there.

    Returns:
        Posterior with draws [S, …]; info as that of `laplace_ggn`, `num_nonpositive` counting parameters on which
        neither data nor a flat prior say anything (their draws are NaN).

    Raises:
        NotApplicable: the model is a Target, its prior is not normal or flat, or its likelihood has a kink.

    >>> from probjax import likelihoods, linear, priors
    >>> model = Model(*linear(1), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    >>> data = Data(jnp.ones((4, 1)), jnp.ones(4))
    >>> laplace_diagonal(jax.random.key(0), model, data, num_draws=7).draws["weight"].shape
    (7, 1)
    """
    model = as_model(model)
    check_inputs(model, data)
    require_counts("laplace_diagonal", num_draws=(num_draws, 1))
    init_key, draw_key = jax.random.split(key)
    params, info = find_mode(init_key, model, data, fit)
    gaussian, num_clipped = diagonal_gaussian(model, data, params)
    info = {**info, "num_clipped": num_clipped}
    return gaussian_posterior(draw_key, model, data, params, gaussian, num_draws=num_draws, info=info)


def diagonal_gaussian(model: Model, data: Data, params: Params) -> tuple[Diagonal, Array]:
    """The Gaussian of `laplace_diagonal` at `params`, and the number of rows whose Λ was clipped."""
    flat, unravel = ravel_pytree(params)
    precision = curvature.prior_precision(model, flat, unravel)
    scale = curvature.prior_scale(model, flat, unravel)
    rows, num_clipped = curvature.rows_of(model, data, params)
    by_layer = curvature.knows_layers(model)
    # a layer's row of J is an outer product, and so are its squares: nothing N × P is made
    block = _layered(model, params) if by_layer else _whole(model, params)
    numbers = curvature.num_outputs(model, data, params) * (_width(params) if by_layer else flat.size)
    ggn = curvature.sum_over_rows(block, rows, numbers)
    return Diagonal(flat, scale, scale**2 * (ggn + precision)), num_clipped


def _layered(model, params):
    def block(rows, present):
        layers = jax.vmap(lambda x, root: curvature.layer_row(model, params, x, root))(*rows)
        squares = [((a * present[:, None]) ** 2).T @ jnp.sum(slope**2, axis=1) for a, slope in layers]
        return jnp.concatenate([part.ravel() for part in squares])

    return block


def _whole(model, params):
    def block(rows, present):
        A = jax.vmap(lambda x, root: curvature.jacobian_row(model, params, x, root))(*rows)
        return jnp.sum(jnp.sum(A**2, axis=1) * present[:, None], axis=0)

    return block


def _width(params):
    """Inputs and outputs of all layers together."""
    return sum(sum(leaf.shape) for leaf in jax.tree.leaves(params)) + 1
