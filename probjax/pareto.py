"""Pareto smoothing of importance weights: the largest are replaced by what a fitted tail expects them to be."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jax import Array

MIN_DRAWS = 25  # a tail of five


def pareto_smoothed(log_weights: Array) -> tuple[Array, Array]:
    """The M = min(S/5, 3√S) largest weights become the expected order statistics of a generalised Pareto distribution
    fitted to them, F⁻¹((i − ½)/M), none above the largest there was (Vehtari, Simpson, Gelman, Yao & Gabry 2024).

    Args:
        log_weights: [S], log p − log q of draws of q, nats; −∞ is a weight of zero, and a constant does not matter.

    Returns:
        The smoothed log-weights [S], in the order and on the scale they came in (not normalised), and k̂, the tail's
        shape: below min(1 − 1/log₁₀ S, 0.7) the weighted draws can be relied on, above 1 the weights have no mean.
        Fewer than five weights above the tail's start (equal weights, say) are no tail: k̂ = −∞ and nothing is smoothed.
        Where a weight is NaN or +∞, k̂ = +∞ and nothing is smoothed.

    Raises:
        ValueError: not one axis, or fewer than 25 weights.

    >>> smoothed, k = pareto_smoothed(jnp.zeros(100))
    >>> float(k), bool((smoothed == 0).all())
    (-inf, True)
    """
    if jnp.ndim(log_weights) != 1 or jnp.shape(log_weights)[0] < MIN_DRAWS:
        raise ValueError(
            f"log_weights has shape {jnp.shape(log_weights)} but must be [S] with S at least {MIN_DRAWS}: "
            "k̂ is fitted to a tail of S/5; draw more"
        )
    log_weights = jnp.asarray(log_weights)
    num = log_weights.shape[0]
    size = int(min(num / 5, 3 * math.sqrt(num)))
    order = jnp.argsort(log_weights)  # NaN sorts last
    top = log_weights[order[-1]]
    sane = jnp.isfinite(top)
    shift = jnp.where(sane, top, 0.0)
    cutoff = jnp.exp(log_weights[order[-size - 1]] - shift)
    excess = jnp.exp(log_weights[order[-size:]] - shift) - cutoff
    count = jnp.sum(excess > 0)
    shape, scale = _fit(jnp.where(excess > 0, excess, 0.0), count)
    rank = jnp.arange(size) - (size - count)  # of the positive ones, from 0; ties with the cutoff come below
    quantiles = cutoff + _quantile((jnp.maximum(rank, 0) + 0.5) / jnp.maximum(count, 1), shape, scale)
    fitted = sane & (count >= 5)
    tail = jnp.where(fitted & (rank >= 0), jnp.minimum(jnp.log(quantiles), 0.0) + shift, log_weights[order[-size:]])
    k = jnp.where(sane, jnp.where(fitted, shape, -jnp.inf), jnp.inf)
    return log_weights.at[order[-size:]].set(tail), k


def _fit(excess, count):
    """Shape k and scale σ of p(x) = (1 + kx/σ)^(−1/k − 1)/σ for the positive ones of `excess`, ascending.

    With θ = −k/σ the likelihood's maximum over k is known, k(θ) = mean log(1 − θx); θ̂ is the mean of the profile over a
    grid that spreads from 1/max x (Zhang & Stephens 2009). k is then drawn to ½ as by ten more values (Vehtari et al.
    2024, appendix G); σ belongs to k before that.
    """
    used = excess > 0
    count = jnp.maximum(count, 1)
    position = jnp.clip(excess.shape[0] - count + jnp.floor(count / 4 + 0.5).astype(int) - 1, 0)
    largest, quartile = jnp.where(used[-1], excess[-1], 1.0), jnp.where(used[-1], excess[position], 1.0)
    quartile = jnp.where(quartile > 0, quartile, 1.0)
    grid = 30 + jnp.floor(jnp.sqrt(count)).astype(int)
    point = jnp.arange(1, 31 + math.isqrt(excess.shape[0]))  # as many as the whole tail would need, masked
    theta = 1 / largest + (1 - jnp.sqrt(grid / (point - 0.5))) / (3 * quartile)
    profile = lambda theta: jnp.sum(jnp.where(used, jnp.log1p(-theta * excess), 0.0), axis=-1) / count
    k = profile(theta[:, None])
    valid = (point <= grid) & (theta != 0)
    log_likelihood = jnp.where(valid, count * (jnp.log(jnp.where(valid, -theta / k, 1.0)) - k - 1), -jnp.inf)
    weights = jnp.exp(log_likelihood - jnp.max(log_likelihood))
    best = jnp.sum(weights * theta) / jnp.sum(weights)
    k = profile(best)
    return (k * count + 0.5 * 10) / (count + 10), -k / best


def _quantile(p, shape, scale):
    """F⁻¹(p) = σ ((1 − p)^(−k) − 1)/k, and −σ log(1 − p) where k = 0."""
    near_zero = jnp.abs(shape) < 1e-12  # expm1 keeps the ratio exact down to there
    k = jnp.where(near_zero, 1.0, shape)
    return scale * jnp.where(near_zero, -jnp.log1p(-p), jnp.expm1(-k * jnp.log1p(-p)) / k)
