"""Scores of forecasts known by draws [S, N] (or [S, N, D]), probability integral transforms, and how often and how
tightly intervals hold what occurred."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from probjax.scores.classes import concrete, mean_and_standard_error
from probjax.scores.real_line import check_interval
from probjax.validation import require_finite, require_fraction

TWO_SIDED_95 = 1.959963984540054  # Φ⁻¹(0.975)


def crps_from_draws(draws: Array, y: Array, *, fair: bool = True) -> Array:
    """(1/S) Σₛ |xₛ − y| − Σₛₜ |xₛ − xₜ| / 2S(S − 1), in O(S log S) by sorting: Σₛ<ₜ |xₛ − xₜ| = Σᵢ (2i − S − 1) x₍ᵢ₎.

    Args:
        draws: [S, N], from the forecasts.
        y: [N].
        fair: divide by S(S − 1): unbiased for the CRPS of the law the draws come from (Ferro 2014), may be negative.
            False divides by S²: the CRPS of the empirical law itself, larger by E|X − X′|/2S on average.

    Returns:
        [N], in the unit of y.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, one draw (which has no fair score).

    >>> draws = jnp.array([[0.0], [2.0]])
    >>> crps_from_draws(draws, jnp.ones(1)).tolist(), crps_from_draws(draws, jnp.ones(1), fair=False).tolist()
    ([0.0], [0.5])
    """
    draws, y = _check_draws("crps_from_draws", draws, y, fair)
    num_draws = draws.shape[0]
    centred = draws - y  # the sum over i is free of where the origin is; its rounding is not
    seen = concrete(centred)
    # NumPy sorts a column ten times faster than XLA on a CPU
    centred = jnp.sort(centred, axis=0) if seen is None else jnp.asarray(np.sort(seen, axis=0))
    ranks = jnp.arange(1 - num_draws, num_draws, 2, dtype=draws.dtype)
    pairs = num_draws * (num_draws - 1 if fair else num_draws)
    return jnp.mean(jnp.abs(centred), axis=0) - jnp.tensordot(ranks / pairs, centred, axes=1)


def energy_score_from_draws(draws: Array, y: Array, beta: Array = 1.0, *, fair: bool = True) -> Array:
    """(1/S) Σₛ ‖xₛ − y‖^β − Σₛₜ ‖xₛ − xₜ‖^β / 2S(S − 1) (Gneiting & Raftery 2007, eq. 22); with D = 1 and β = 1 the
    CRPS. Takes S² N D steps in memory of S N D.

    Args:
        draws: [S, N, D].
        y: [N, D].
        beta: β in (0, 2).
        fair: as `crps_from_draws`.

    Returns:
        [N], in the unit of y to the power β.

    Raises:
        ValueError: as `crps_from_draws`; β outside (0, 2).

    >>> energy_score_from_draws(jnp.zeros((2, 1, 2)), jnp.array([[3.0, 4.0]])).tolist()
    [5.0]
    """
    where = "energy_score_from_draws"
    draws, y = _check_draws(where, draws, y, fair, vector=True)
    seen = concrete(jnp.asarray(beta))
    if seen is not None and not 0 < seen < 2:
        raise ValueError(f"{where}: beta is {beta} but must lie strictly between 0 and 2, or the score is not proper")
    num_draws = draws.shape[0]
    total = lambda point: jnp.sum(_distance(draws - point, beta), axis=0)
    add = lambda sums, point: (sums + total(point), None)
    spread = jax.lax.scan(add, jnp.zeros(y.shape[0], draws.dtype), draws)[0]
    pairs = num_draws * (num_draws - 1 if fair else num_draws)
    return total(y) / num_draws - 0.5 * spread / pairs


def _distance(difference, beta):
    square = jnp.sum(difference**2, axis=-1)
    apart = square > 0  # the root of 0 has no derivative
    return jnp.where(apart, jnp.where(apart, square, 1.0) ** (beta / 2), 0.0)


def randomised_pit(key: Array, below: Array, upto: Array) -> Array:
    """F(y−) + U (F(y) − F(y−)), U ~ uniform(0, 1): uniform if y ~ F, whether F is continuous or not (Czado, Gneiting &
    Held 2009). For a continuous F it is F(y), whatever U.

    Args:
        key: of U.
        below, upto: [N], P(Y < y) and P(Y ≤ y).

    Returns:
        [N], in [0, 1].

    Raises:
        ValueError: shapes that differ, values outside [0, 1], below > upto.

    >>> randomised_pit(jax.random.key(0), jnp.array([0.25]), jnp.array([0.25])).tolist()
    [0.25]
    """
    below, upto, _ = check_interval("randomised_pit", below, upto, upto)
    seen = concrete(below), concrete(upto)
    if any(end is not None and ((end < 0) | (end > 1)).any() for end in seen):
        raise ValueError("randomised_pit: below and upto must lie in [0, 1]; pass P(Y < y) and P(Y ≤ y)")
    return below + jax.random.uniform(key, upto.shape, upto.dtype) * (upto - below)


def pit_from_draws(key: Array, draws: Array, y: Array) -> Array:
    """(#{xₛ < y} + U (1 + #{xₛ = y}))/(S + 1), U ~ uniform(0, 1): exactly uniform, whatever S and with ties, where y
    and the draws are exchangeable. #{xₛ ≤ y}/S is not: it has lumps of 1/(S + 1).

    Args:
        key: of U.
        draws, y: [S, N], [N].

    Returns:
        [N], in [0, 1].

    Raises:
        ValueError: as `crps_from_draws`.

    >>> bool(pit_from_draws(jax.random.key(0), jnp.zeros((9, 1)), jnp.ones(1))[0] >= 0.9)
    True
    """
    draws, y = _check_draws("pit_from_draws", draws, y, fair=False)
    places = draws.shape[0] + 1
    below = jnp.sum(draws < y, axis=0) / places
    upto = (jnp.sum(draws <= y, axis=0) + 1) / places
    return randomised_pit(key, below.astype(y.dtype), upto.astype(y.dtype))


class Interval(NamedTuple):
    """lower, upper: [N], in the unit of y."""

    lower: Array
    upper: Array


def central_interval(draws: Array, probability: Array) -> Interval:
    """The (1 − c)/2 and (1 + c)/2 quantiles of the draws, interpolated linearly (Hyndman & Fan's type 7).

    Args:
        draws: [S, N].
        probability: c in (0, 1).

    Raises:
        ValueError: draws not [S, N] or not finite; c outside (0, 1).

    >>> [end.tolist() for end in central_interval(jnp.arange(5.0)[:, None], 0.5)]
    [[1.0], [3.0]]
    """
    require_fraction("central_interval", "probability", probability)
    draws = jnp.asarray(draws)
    draws, _ = _check_draws("central_interval", draws, jnp.zeros(draws.shape[1:], draws.dtype), fair=False)
    tail = (1 - jnp.asarray(probability, draws.dtype)) / 2
    return Interval(*jnp.quantile(draws, jnp.stack([tail, 1 - tail]), axis=0))


def sharpness(lower: Array, upper: Array) -> Array:
    """u − l, how tight each interval is: to be compared among forecasts that cover as they say (Gneiting, Balabdaoui &
    Raftery 2007). [N], in the unit of y; it does not look at y, and is no score.

    Raises:
        ValueError: as `interval_score`.

    >>> sharpness(jnp.array([1.0]), jnp.array([3.0])).tolist()
    [2.0]
    """
    lower, upper, _ = check_interval("sharpness", lower, upper, upper)
    return upper - lower


class Coverage(NamedTuple):
    """proportion of rows inside, its standard_error, and Wilson's (1927) 95% interval, lower to upper. Scalars."""

    proportion: Array
    standard_error: Array
    lower: Array
    upper: Array


def coverage(lower: Array, upper: Array, y: Array, weights: Array | None = None) -> Coverage:
    """How many y lie in [l, u], ends included, rows being independent.

    The standard error is 0 where all or none are inside; Wilson's interval, with (Σw)²/Σw² for the number of rows, is
    not: it is the one to read near 0 and 1.

    Args:
        lower, upper, y: as `interval_score`.
        weights: [N]; None: all equal.

    Raises:
        ValueError: as `interval_score` and `mean_and_standard_error`.

    >>> coverage(jnp.zeros(4), jnp.ones(4), jnp.array([0.0, 0.5, 1.0, 2.0])).proportion.item()
    0.75
    """
    lower, upper, y = check_interval("coverage", lower, upper, y)
    inside = ((lower <= y) & (y <= upper)).astype(y.dtype)
    proportion, standard_error = mean_and_standard_error(inside, weights)
    weights = jnp.ones_like(y) if weights is None else jnp.asarray(weights, y.dtype)
    shrink = TWO_SIDED_95**2 * jnp.sum(weights**2) / jnp.sum(weights) ** 2  # z²/n
    centre = (proportion + shrink / 2) / (1 + shrink)
    half = jnp.sqrt(shrink * (proportion * (1 - proportion) + shrink / 4)) / (1 + shrink)
    return Coverage(proportion, standard_error, centre - half, centre + half)


def _check_draws(where, draws, y, fair, vector=False):
    draws, y = jnp.asarray(draws), jnp.asarray(y)
    if draws.ndim != 2 + vector or draws.shape[1:] != y.shape or draws.size == 0:
        expected = "[S, N, D] and [N, D]" if vector else "[S, N] and [N]"
        raise ValueError(f"{where}: draws and y have shapes {draws.shape} and {y.shape}; expected {expected}")
    if fair and draws.shape[0] < 2:
        raise ValueError(f"{where}: one draw has no fair score, which needs pairs; draw more, or pass fair=False")
    require_finite(where, "draws", draws)
    require_finite(where, "y", y)
    dtype = jnp.result_type(draws, y, jnp.float32)
    return draws.astype(dtype), y.astype(dtype)
