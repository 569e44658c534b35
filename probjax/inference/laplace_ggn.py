"""Laplace's approximation with the generalised Gauss–Newton matrix, by whichever of two forms is smaller."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from probjax import curvature
from probjax.gaussian import Dense, Dual, above_rounding
from probjax.inference.at_mode import find_mode, gaussian_posterior
from probjax.optimize import lbfgs
from probjax.types import Data, Model, Params, Posterior, as_model
from probjax.validation import check_inputs, num_data, require_counts

MAX_SIDE = 4000  # of the matrix that is factorised: 128 MB in float64
MAX_NUMBERS = 2**26  # of the N·K × P matrix that the dual form keeps: 512 MB in float64


def laplace_ggn(
    key: Array, model: Model, data: Data, *, num_draws: int = 1000, fit: Callable = lbfgs, dual: bool | None = None
) -> Posterior:
    """p(params | y) ≈ N(params*, (JᵀΛJ − ∇² log p(params*))⁻¹), J = ∂f/∂params, Λ = −∂² log p(y | f)/∂f² (Schraudolph
    2002; Immer, Korzepa & Bauer 2021): the Hessian less what the network's own curvature adds. Under normal and flat
    priors it is never indefinite; a prior with heavy tails (Cauchy's, Student's) adds negative curvature in them.

    Equal to `laplace` where f is linear in params. Λ is the curvature at the observed y, which for a canonical link is
    the Fisher information; elsewhere its negative eigenvalues are set to 0.

    Args:
        key: split into the starting point and the draws.
        num_draws: S.
        fit: a minimiser `(objective, params) -> (params, info)`; `trained(params)` takes a mode that is already there.
        dual: factorise N·K × N·K instead of P × P. Default: where that is smaller and the prior allows it.

    Returns:
        Posterior with draws [S, …]; info: that of the fit, `mode` [P], `log_q` [S] and `log_evidence` (nats),
        `effective_parameters` γ = P − tr(prior precision · Σ) (only under a proper Gaussian prior), `num_clipped`
        (rows whose Λ had negative eigenvalues) and `num_nonpositive`: under a flat prior, directions that the data do
        not determine, under one with heavy tails, those in which it curves the other way; the draws then are NaN, and
        a normal prior is the cure.

    Raises:
        NotApplicable: the model is a Target, or its likelihood has a kink.
        ValueError: both P and N·K are above MAX_SIDE; the dual is asked for without a proper Gaussian prior.

    >>> from probjax import likelihoods, linear, priors
    >>> model = Model(*linear(9), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    >>> data = Data(jnp.ones((4, 9)), jnp.ones(4))
    >>> posterior = laplace_ggn(jax.random.key(0), model, data, num_draws=7)
    >>> posterior.draws["weight"].shape, round(float(posterior.info["effective_parameters"]), 3)  # 40/41
    ((7, 9), 0.976)
    """
    model = as_model(model)
    check_inputs(model, data)
    require_counts("laplace_ggn", num_draws=(num_draws, 1))
    init_key, draw_key = jax.random.split(key)
    params, info = find_mode(init_key, model, data, fit)
    gaussian, num_clipped = ggn_gaussian(model, data, params, dual=dual)
    info = {**info, "num_clipped": num_clipped}
    return gaussian_posterior(draw_key, model, data, params, gaussian, num_draws=num_draws, info=info)


def ggn_gaussian(model: Model, data: Data, params: Params, *, dual: bool | None = None) -> tuple[Dense | Dual, Array]:
    """N(params, (JᵀΛJ + prior precision)⁻¹), and the number of rows whose Λ was clipped. Errors as `laplace_ggn`."""
    flat, unravel = ravel_pytree(params)
    proper = curvature.is_proper_gaussian(model)
    precision = curvature.prior_precision(model, flat, unravel) if proper else None
    return gauss_newton(model, data, params, precision, dual=dual)


def gauss_newton(
    model: Model, data: Data, params: Params, precision: Array | None, *, dual: bool | None = None
) -> tuple[Dense | Dual, Array]:
    """`ggn_gaussian` with the prior's precision, its diagonal [P] above 0, already known; None: it has another form."""
    flat, unravel = ravel_pytree(params)
    outputs = curvature.num_outputs(model, data, params)
    num_rows = num_data(data) * outputs
    if dual and precision is None:
        raise ValueError("laplace_ggn: the dual form needs priors.normal in every part; leave dual out")
    dual = precision is not None and num_rows < flat.size if dual is None else dual
    _require_room(flat.size, num_rows, dual)
    scale = jnp.ones_like(flat) if precision is None else 1 / jnp.sqrt(precision)
    rows, num_clipped = curvature.rows_of(model, data, params)
    row = lambda x, root: _row(model, params, x, root) * scale
    if dual:
        block = max(1, curvature.BUDGET // (outputs * flat.size))
        A = jax.lax.map(lambda this: row(*this), rows, batch_size=block).reshape(-1, flat.size)
        kernel = _kernel(model, params, rows, scale, A) + jnp.eye(len(A), dtype=A.dtype)
        return Dual(flat, scale, A, jnp.linalg.cholesky(kernel)), num_clipped

    def block_sum(rows, present):
        A = (jax.vmap(row)(*rows) * present[:, None, None]).reshape(-1, flat.size)
        return A.T @ A

    ggn = curvature.sum_over_rows(block_sum, rows, outputs * flat.size)
    if precision is not None:
        eigenvalues, vectors = jnp.linalg.eigh(ggn)
        return Dense(flat, scale, 1 + jnp.maximum(eigenvalues, 0.0), vectors), num_clipped
    eigenvalues, vectors = jnp.linalg.eigh(ggn - jax.hessian(lambda w: model.prior.log_prob(unravel(w)))(flat))
    return Dense(flat, scale, above_rounding(eigenvalues), vectors), num_clipped


def _row(model, params, x, root):
    if not curvature.knows_layers(model):
        return curvature.jacobian_row(model, params, x, root)
    outer = [slope[:, None, :] * a[:, None] for a, slope in curvature.layer_row(model, params, x, root)]
    return jnp.concatenate([part.reshape(root.shape[1], -1) for part in outer], axis=1)


def _kernel(model, params, rows, scale, A):
    """AAᵀ [N·K, N·K]. Where the layers are known and no prior scale differs within a row of one, layer by layer:
    Σ (aaᵀ)ₙₘ (δδᵀ)ₙₖ,ₘⱼ, products of the layer's widths and not of their product."""
    if not curvature.knows_layers(model):
        return A @ A.T
    layers = jax.vmap(lambda x, root: curvature.layer_row(model, params, x, root))(*rows)
    ends = np.cumsum([a.shape[1] * slope.shape[2] for a, slope in layers])
    parts = [part.reshape(a.shape[1], -1) for part, (a, _) in zip(jnp.split(scale, ends[:-1]), layers)]

    def by_layer():
        kernel = jnp.zeros((len(A), len(A)), A.dtype)
        for part, (a, slope) in zip(parts, layers):
            inputs, slopes = a * part[:, 0], slope.reshape(len(A), -1)
            outputs = slope.shape[1]
            gram = jnp.repeat(jnp.repeat(inputs @ inputs.T, outputs, axis=0), outputs, axis=1)
            kernel += gram * (slopes @ slopes.T)
        return kernel

    same = jnp.all(jnp.stack([jnp.all(part == part[:, :1]) for part in parts]))
    return jax.lax.cond(same, by_layer, lambda: A @ A.T)


def _require_room(size, num_rows, dual):
    side = num_rows if dual else size
    if side > MAX_SIDE:
        raise ValueError(
            f"laplace_ggn: {size} parameters and {num_rows} outputs (N·K) need a dense matrix of side {side}; at most "
            f"{MAX_SIDE} are supported: take laplace_diagonal, laplace_kron or laplace_last_layer"
        )
    if dual and num_rows * size > MAX_NUMBERS:
        raise ValueError(
            f"laplace_ggn: the Jacobian has {num_rows} × {size} numbers; at most {MAX_NUMBERS} are supported: take "
            "laplace_diagonal, laplace_kron or laplace_last_layer"
        )
