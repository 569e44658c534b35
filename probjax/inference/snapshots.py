"""The Gaussian of SWAG as a record: mean, variances and the last deviations of a walk's snapshots."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from probjax.inference.stochastic_gradients import advance


class Moments(NamedTuple):
    """N(mean, ½ diag(variance) + DᵀD / (2(K − 1))), D the deviations.

    Of T snapshots: mean [P], variance [P] (divisor T), and the last K less the mean, [K, P].
    """

    mean: Array
    variance: Array
    deviations: Array


def moments_along(
    step: Callable, w: Array, *, num_snapshots: int, rank: int, num_warmup: int, thinning: int
) -> Moments:
    """Of the walk w ← step(index, w), in the memory of rank + 3 copies of w: mean and squares by Welford's update, the
    last `rank` snapshots in a ring."""

    def snapshot(carry, number):
        walk, mean, squares, ring = carry
        walk = advance(step, walk, num_warmup + (number + 1) * thinning)
        ahead = walk[1] - mean
        mean = mean + ahead / (number + 1)
        ring = ring.at[number % rank].set(walk[1])
        return (walk, mean, squares + ahead * (walk[1] - mean), ring), None

    numbers = jnp.arange(num_snapshots)
    start = (
        (jnp.zeros((), numbers.dtype), w),
        jnp.zeros_like(w),
        jnp.zeros_like(w),
        jnp.zeros((rank, *w.shape), w.dtype),
    )
    (_, mean, squares, ring), _ = jax.lax.scan(snapshot, start, numbers)
    return Moments(mean, squares / num_snapshots, ring - mean)


def draw(key: Array, moments: Moments) -> Array:
    """One draw, [P]."""
    diagonal_key, low_rank_key = jax.random.split(key)
    mean, variance, deviations = moments
    diagonal = jnp.sqrt(variance / 2) * jax.random.normal(diagonal_key, mean.shape, mean.dtype)
    noise = jax.random.normal(low_rank_key, deviations.shape[:1], mean.dtype)
    return mean + diagonal + noise @ deviations / jnp.sqrt(2.0 * (len(deviations) - 1))


def log_density(moments: Moments, draws: Array) -> Array:
    """[S], nats, by Woodbury's identity: no P × P matrix."""
    mean, variance, deviations = moments
    scale = jnp.sqrt(variance / 2)
    low_rank = deviations / scale / jnp.sqrt(2.0 * (len(deviations) - 1))  # [K, P], the diagonal whitened
    L = jnp.linalg.cholesky(jnp.eye(len(low_rank), dtype=mean.dtype) + low_rank @ low_rank.T)
    z = (draws - mean) / scale
    explained = jax.scipy.linalg.solve_triangular(L, low_rank @ z.T, lower=True)  # [K, S]
    log_det = jnp.sum(jnp.log(scale)) + jnp.sum(jnp.log(jnp.diag(L)))
    square = jnp.sum(z**2, 1) - jnp.sum(explained**2, 0)
    return -0.5 * square - log_det - 0.5 * len(mean) * jnp.log(2 * jnp.pi)


def num_frozen(moments: Moments) -> Array:
    """How many parameters never moved; where there are any, log_density is nan."""
    return jnp.sum(moments.variance == 0)
