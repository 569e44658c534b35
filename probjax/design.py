"""Passes over the rows of a linear predictor f = xᵀw + b: the gradient of all rows, the curvature of a sample of them.

w stacks weight and bias: [P] or [P, K], P = D + 1 with a bias.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from probjax import likelihoods, priors
from probjax.proximal import Kinks, Quadratic
from probjax.types import Data, Model, Params
from probjax.validation import num_data

SHORT = 2000  # rows of a sum, at least
BLOCK = 8000  # the same for several outputs, where the sums are matrix products
FEWEST_SAMPLED = 4096
SAMPLED_PER_COEFFICIENT = 20
CONJUGATE = 6  # conjugate gradients: a sample tells the curvature to a fifth, so few will do
SMALL_PIVOT = 1e-3  # Cholesky of the scaled moments keeps about 16 + 2 log₁₀ of it digits
FLOOR = 1e-10  # of a column's norm: what is added to a singular curvature


class Design(NamedTuple):
    """A model with a linear predictor, its data, and params as `model.init` makes them (for their shapes).

    share: how many rows each row stands for, in a sample of them."""

    model: Model
    data: Data
    like: Params
    share: float = 1.0

    @property
    def has_bias(self) -> bool:
        return "bias" in self.like

    @property
    def num_rows(self) -> int:
        return num_data(self.data)

    @property
    def num_sampled(self) -> int:
        """Rows that the curvature is taken from: all, where the likelihood holds numbers of its own for each row."""
        if any(jnp.ndim(leaf) for leaf in jax.tree.leaves(self.model.likelihood)):
            return self.num_rows
        size = jax.tree.leaves(self.like)[0].shape[0] if not self.has_bias else self.like["weight"].shape[0] + 1
        return min(self.num_rows, max(FEWEST_SAMPLED, SAMPLED_PER_COEFFICIENT * size))


def stack(params: Params) -> Array:
    """Weight and bias as one array, the bias last."""
    if "bias" not in params:
        return params["weight"]
    return jnp.concatenate([params["weight"], params["bias"][None]])


def unstack(w: Array, like: Params) -> Params:
    """The inverse of `stack`."""
    return {"weight": w[:-1], "bias": w[-1]} if "bias" in like else {"weight": w}


def predictor(design: Design, x: Array, w: Array) -> Array:
    """f, [N] or [N, K]."""
    return x @ w[:-1] + w[-1] if design.has_bias else x @ w


def objective(design: Design, w: Array) -> Array:
    """−log p(y, params | x), nats, less the prior's kinks if it has any."""
    return objective_at(design, w, predictor(design, design.data.x, w))


def objective_at(design: Design, w: Array, f: Array) -> Array:
    """`objective` where f is known already."""
    return -design.share * jnp.sum(design.model.likelihood.log_prob(design.data.y, f)) - log_prior(design, w)


def kinks(design: Design, dtype) -> Kinks:
    """Σ rate |w − centre| of the prior."""
    like = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, dtype), design.like)
    centre, rate = priors.kinks(design.model.prior, like)
    return Kinks(stack(centre), stack(rate))


def gradient(design: Design, w: Array) -> Array:
    """∇ of `objective`: one pass over the rows."""
    return gradient_and_predictor(design, w)[0]


def gradient_and_predictor(design: Design, w: Array) -> tuple[Array, Array]:
    """∇ of `objective`, and f."""
    f = predictor(design, design.data.x, w)
    # once, not anew for each column of x that it is multiplied with
    slopes = jax.lax.optimization_barrier(score(design, design.data.y, f))
    return design.share * _total(design, slopes) - jax.grad(lambda w: log_prior(design, w))(w), f


def _total(design, slopes):
    """Xᵀ slopes, the column of ones included where there is a bias."""
    # in short sums first: the rounding of one long one would be multiplied by the squared condition number of x; and
    # not by lax.map: beside its loop XLA's CPU runtime (jaxlib 0.10.2) gave NaN in one compilation of six
    x = design.data.x
    num = _num_blocks(design, SHORT if slopes.ndim == 1 else BLOCK)
    blocks = x.reshape(num, -1, x.shape[1]), slopes.reshape(num, -1, *slopes.shape[1:])
    if slopes.ndim == 1:
        rows = jnp.sum(jnp.sum(blocks[0] * blocks[1][..., None], axis=1), axis=0)
    else:
        rows = jnp.sum(jnp.einsum("bnk,bnd->bkd", blocks[1], blocks[0]), axis=0).T
    return jnp.concatenate([rows, jnp.sum(slopes, axis=0)[None]]) if design.has_bias else rows


def _num_blocks(design, least):
    """The largest divisor of N that leaves `least` rows or more, so that nothing is copied."""
    rows = design.num_rows
    return max(d for d in range(1, 1025) if rows % d == 0 and (d == 1 or rows // d >= least))


def log_prior(design: Design, w: Array) -> Array:
    """log p(w), its kinks left out: the same term is added that `laplace` subtracts, so that none is left in the
    gradient."""
    value = design.model.prior.log_prob(unstack(w, design.like))
    return value + kinks(design, w.dtype).penalty(w) if priors.has_kink(design.model.prior) else value


def score(design: Design, y: Array, f: Array) -> Array:
    """−∂/∂f Σ log p(y | f), a row each."""
    return jax.grad(lambda f: -jnp.sum(design.model.likelihood.log_prob(y, f)))(f)


def is_quadratic(design: Design) -> bool:
    """Whether the log joint is quadratic in params but for kinks: Gaussian noise of one known scale, a Gaussian, flat
    or Laplace prior."""
    model = design.model
    return likelihoods.is_homoscedastic(model.likelihood) and priors.is_gaussian(model.prior, but_for_kinks=True)


def sample(key: Array, design: Design) -> Design:
    """The design with `num_sampled` rows, drawn at random with replacement; itself where that would be all of them."""
    if design.num_sampled == design.num_rows:
        return design
    rows = jax.random.randint(key, (design.num_sampled,), 0, design.num_rows)
    drawn = jax.tree.map(lambda leaf: jnp.asarray(leaf)[rows], design.data)
    return design._replace(data=drawn, share=design.num_rows / design.num_sampled)


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


def prior_slope(design: Design, w: Array) -> tuple[Array, Array]:
    """−∇ log p(w), and the diagonal of −∇² log p(w), exact where the prior factorises; both without kinks."""
    slope, curved = jax.jvp(jax.grad(lambda w: -log_prior(design, w)), (w,), (jnp.ones_like(w),))
    return slope, jnp.maximum(curved, 0.0)


def _prior_precision(design, w):
    return prior_slope(design, w)[1]


def column_sums(design: Design) -> Array:
    """Xᵀ1, the column of ones included where there is a bias."""
    total = jnp.sum(design.data.x, axis=0)
    return jnp.append(total, design.num_rows) if design.has_bias else total


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
    times = lambda v: design.share * _total(design, slopes(predictor(design, x, v))) + precision * v
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
