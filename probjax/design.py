"""Passes over the rows of a linear predictor f = xᵀw + b: the objective, its gradient, a sample of the rows.

w stacks weight and bias: [P] or [P, K], P = D + 1 with a bias.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from probjax import likelihoods, priors
from probjax.proximal import Kinks
from probjax.types import Data, Model, Params
from probjax.validation import num_data

SHORT = 2000  # rows of a sum, at least
BLOCK = 8000  # the same for several outputs, where the sums are matrix products
FEWEST_SAMPLED = 4096
SAMPLED_PER_COEFFICIENT = 20


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
    return design.share * predictor_transpose(design, slopes) - jax.grad(lambda w: log_prior(design, w))(w), f


def predictor_transpose(design: Design, slopes: Array) -> Array:
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


def prior_slope(design: Design, w: Array) -> tuple[Array, Array]:
    """−∇ log p(w), and the diagonal of −∇² log p(w), exact where the prior factorises; both without kinks."""
    slope, curved = jax.jvp(jax.grad(lambda w: -log_prior(design, w)), (w,), (jnp.ones_like(w),))
    return slope, jnp.maximum(curved, 0.0)


def column_sums(design: Design) -> Array:
    """Xᵀ1, the column of ones included where there is a bias."""
    total = jnp.sum(design.data.x, axis=0)
    return jnp.append(total, design.num_rows) if design.has_bias else total
