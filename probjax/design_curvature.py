"""The curvature of a linear predictor's objective: factors of it, and what they solve.

One output: R with RᵀR = H. K outputs: the roots of Kronecker factors, S ⊗ C ≈ H.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from probjax.design import Design, is_quadratic, log_prior, predictor, predictor_transpose, prior_slope, score
from probjax.proximal import Quadratic

CONJUGATE = 6  # conjugate gradients: a sample tells the curvature to a fifth, so few will do
SMALL_PIVOT = 1e-3  # Cholesky of the scaled moments keeps about 16 + 2 log₁₀ of it digits
FLOOR = 1e-10  # of a column's norm: what is added to a singular curvature


def factorise(design: Design, w: Array):
    """A factor of the curvature at w: R with RᵀR = H for one output; for K of them w and the roots of the Kronecker
    factors S ⊗ C ≈ H, S the mean curvature in f and C the second moments of x."""
    rows = design.data.x
    if design.has_bias:
        rows = jnp.concatenate([rows, jnp.ones((len(rows), 1), rows.dtype)], axis=1)
    f = predictor(design, design.data.x, w)
    precision = _prior_precision(design, w)
    if w.ndim == 1:
        return _root(rows, design.share * _curvature(design, design.data.y, f), precision)
    outer = _mean_curvature(design, design.data.y, f)
    size = jnp.trace(outer) / len(outer)
    # softmax does not change along the vector of ones: any curvature will do there
    outer_root = _scaled_root(outer + size / len(outer))
    moments = design.share * rows.T @ rows + jnp.diag(jnp.mean(precision, axis=1)) / jnp.where(size > 0, size, 1.0)
    return w, outer_root, _scaled_root(moments)


def factorise_quadratic(design: Design, w: Array) -> Array:
    """R with RᵀR = H of a quadratic log joint, from the moments of all rows: one pass, and good enough to be corrected
    even at condition numbers of 1e8, where the solution of the normal equations itself would have no digits."""
    return _scaled_root(_quadratic_curvature(design, w, moments(design)))


def moments(design: Design) -> Array:
    """XᵀX, the column of ones included where there is a bias: [P, P]."""
    x = design.data.x
    products = x.T @ x
    if not design.has_bias:
        return products
    total = jnp.sum(x, axis=0)
    return jnp.block([[products, total[:, None]], [total[None], jnp.full((1, 1), len(x), x.dtype)]])


def _quadratic_curvature(design, w, moments):
    curved = _curvature(design, design.data.y[:1], jnp.zeros(1, w.dtype))[0]
    return curved * moments + jnp.diag(_prior_precision(design, w))


def products(design: Design, most: int) -> tuple[Array, Array] | None:
    """XᵀX and Xᵀy of a quadratic log joint, which a path over hyperparameters shares; None where the log joint is not
    quadratic, or there are more than `most` columns."""
    x, y = design.data.x, design.data.y
    if not is_quadratic(design) or x.shape[1] > most:
        return None
    cross = y @ x
    return moments(design), jnp.concatenate([cross, jnp.sum(y)[None]]) if design.has_bias else cross


def quadratic(design: Design, products: tuple[Array, Array] | None, dtype) -> Quadratic | None:
    """A quadratic log joint as a quadratic, from its `products`."""
    if products is None:
        return None
    origin = jnp.zeros(len(products[1]), dtype)
    noise = _curvature(design, design.data.y[:1], jnp.zeros(1, dtype))[0]
    slope = jax.grad(lambda w: -log_prior(design, w))(origin) - noise * products[1]
    return Quadratic(slope, _quadratic_curvature(design, origin, products[0]))


def curvature(design: Design, w: Array, columns: Array) -> Array:
    """∇² of `objective` at w among some coordinates, [K, K], from all rows. Rows without curvature (outside Huber's
    core) count a tenth of the largest: a model that is flat along them would send the step anywhere."""
    x = design.data.x
    weights = _curvature(design, design.data.y, predictor(design, x, w))
    largest = jnp.max(weights)
    weights = jnp.where(weights > 0, weights, jnp.where(largest > 0, 0.1 * largest, 1.0))
    is_bias = columns == x.shape[1]
    rows = jnp.where(is_bias, 1.0, jnp.take(x, columns, axis=1, mode="clip"))
    return rows.T @ (rows * weights[:, None]) + jnp.diag(_prior_precision(design, w)[columns])


def bias_curvature(design: Design, w: Array) -> Array:
    """∂² of `objective` in the bias, as it is: 0 where every row has lost its curvature."""
    weights = _curvature(design, design.data.y, predictor(design, design.data.x, w))
    return design.share * jnp.sum(weights) + _prior_precision(design, w)[-1]


def _scaled_root(matrix):
    """The Cholesky factor, the diagonal brought to 1 first, after the smallest shift tried that makes one."""
    norms = jnp.sqrt(jnp.diag(matrix))
    norms = jnp.where(norms > 0, norms, 1.0)
    scaled = matrix / jnp.outer(norms, norms)
    root = jnp.eye(len(scaled), dtype=scaled.dtype)
    for shift in (1e-2, 1e-6, 1e4 * jnp.finfo(scaled.dtype).eps, 0.5 * jnp.finfo(scaled.dtype).eps):
        found = jnp.linalg.cholesky(scaled + shift * len(scaled) * jnp.eye(len(scaled), dtype=scaled.dtype)).T
        root = jnp.where(jnp.all(jnp.isfinite(found)), found, root)
    return root * norms


def _curvature(design, y, f):
    """−∂²/∂f² log p(y | f), [N]; never negative."""
    along = jnp.ones_like(f)
    return jnp.maximum(jax.jvp(lambda f: score(design, y, f), (f,), (along,))[1], 0.0)


def _mean_curvature(design, y, f):
    """The mean over rows of −∂²/∂f² log p(y | f), [K, K]: the curvature in a shift that all rows share."""
    total = lambda shift: -jnp.sum(design.model.likelihood.log_prob(y, f + shift))
    return jax.hessian(total)(jnp.zeros_like(f[0])) / len(f)


def _prior_precision(design, w):
    return prior_slope(design, w)[1]


def _root(rows, weights, precision):
    """R with RᵀR ≈ H, the columns brought to unit norm first: by Cholesky where they are well conditioned, by QR, which
    does not square the condition number, where the smallest pivot is below `SMALL_PIVOT`."""
    weighted = jnp.sqrt(weights)[:, None] * rows
    products = weighted.T @ weighted
    norms = jnp.sqrt(jnp.diag(products) + precision)
    norms = jnp.where(norms > 0, norms, 1.0)
    ridge = precision / norms**2 + FLOOR**2
    quick = jnp.linalg.cholesky(products / jnp.outer(norms, norms) + jnp.diag(ridge)).T
    slow = lambda: jnp.linalg.qr(jnp.concatenate([weighted / norms, jnp.diag(jnp.sqrt(ridge))]), mode="r")
    root = jax.lax.cond(jnp.min(jnp.diag(quick)) > SMALL_PIVOT, lambda: quick, slow)  # NaN is not above it
    return root * norms


def undetermined(factor) -> Array:
    """How many directions neither data nor prior determine (columns that others span, p > n), for one output."""
    if isinstance(factor, tuple):
        return jnp.zeros((), int)
    norms = jnp.linalg.norm(factor, axis=0)
    return jnp.sum((jnp.abs(jnp.diag(factor)) < 10 * FLOOR * norms) | (norms < 10 * FLOOR))


def curvature_kept(before, after, w: Array) -> tuple[Array, Array]:
    """The least share of the curvature at one point that is left at another, w, over all directions, and that direction
    in coordinates of w (for K outputs of f).

    By inverse iteration from w, which points there where it has run away: LAPACK's decompositions would do, but its
    threads go on spinning and cost more than the whole fit.
    """
    if isinstance(before, tuple):
        before, after, w = before[1], after[1], jnp.sum(w, axis=0)
    quotient = lambda v: jnp.sum((after @ v) ** 2) / jnp.sum((before @ v) ** 2)

    def iterate(v, _):
        v = _solve_root(after, before.T @ (before @ v))
        return v / jnp.linalg.norm(v), None

    start = w + 1e-3 * jnp.max(jnp.abs(w)) * jnp.cos(jnp.arange(len(w), dtype=w.dtype))
    direction = jax.lax.scan(iterate, start, None, length=12)[0]
    return quotient(direction), direction


def solve(factor, v: Array) -> Array:
    """H⁻¹ v, for K outputs as far as S ⊗ C is H."""
    if v.ndim == 1:
        return _solve_root(factor, v)
    _, outer, moments = factor
    return _solve_root(outer, _solve_root(moments, v).T).T


def solve_better(design: Design, factor, v: Array) -> Array:
    """H⁻¹ v; for K outputs a few conjugate gradients on H itself, S ⊗ C preconditioning them (Byrd et al. 2011)."""
    if v.ndim == 1:
        return solve(factor, v)
    x, y = design.data.x, design.data.y
    slopes = jax.linearize(lambda f: score(design, y, f), predictor(design, x, factor[0]))[1]
    precision = _prior_precision(design, factor[0])
    times = lambda v: design.share * predictor_transpose(design, slopes(predictor(design, x, v))) + precision * v
    ratio = lambda top, below: jnp.where(below > 0, top / jnp.where(below > 0, below, 1.0), 0.0)

    def step(carry, _):
        found, left, along, size = carry
        image = times(along)
        # what is left then is rounding, and softmax has no curvature at all along the vector of ones
        length = jnp.where(size > 1e-12 * whole, ratio(size, jnp.vdot(along, image)), 0.0)
        found, left = found + length * along, left - length * image
        better = solve(factor, left)
        new_size = jnp.vdot(left, better)
        return (found, left, better + ratio(new_size, size) * along, new_size), None

    first = solve(factor, v)
    whole = jnp.vdot(v, first)
    return jax.lax.scan(step, (jnp.zeros_like(v), v, first, whole), None, length=CONJUGATE)[0][0]


def _solve_root(root, v):
    half = jax.scipy.linalg.solve_triangular(root, v, trans=1)
    return jax.scipy.linalg.solve_triangular(root, half)
