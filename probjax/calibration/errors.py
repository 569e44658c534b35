"""Binned calibration errors, each with its interval, and with what a calibrated model would show beside it.

The binned error of a *calibrated* model is not 0: |frequency − forecast| is not negative, and frequencies are noisy.
The value expected then is reported and never subtracted, which would over-correct wherever the model is not calibrated:
there the noise moves |frequency − forecast| down as often as up.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats
from scipy.special import ndtri

from probjax.calibration import bins as binning
from probjax.calibration.bins import EDGE_RULE, Bins
from probjax.validation import require_fraction

NORMS = {
    "l1": "L1, Σ (n_b/N) |frequency − forecast|",
    "l2": "L2, √(Σ (n_b/N) (frequency − forecast)²)",
    "max": "maximum over bins of |frequency − forecast|",
}
SQUARED = "L2 squared, debiased: Σ (n_b/N) Σ_{i≠j} rᵢrⱼ / (n_b (n_b − 1)), r = label − forecast"
NUM_NORMALS = 2000  # and as many of the other sign


class CalibrationError(NamedTuple):
    """value: the estimate, in probability (its square where `norm` says so). low, high: the interval of confidence
    `level` for the same error with the frequencies' noise gone. null_value: what a calibrated model shows on average.
    norm, rule: what was computed, in words. bins: what it was computed from. caveats: what else a reader should know.
    """

    value: float
    low: float
    high: float
    level: float
    null_value: float
    norm: str
    rule: str
    bins: Bins
    caveats: tuple[str, ...]

    def __str__(self) -> str:
        lines = [
            f"calibration error {self.value:.5f}, {self.level:.0%} interval [{self.low:.5f}, {self.high:.5f}]; "
            f"a calibrated model shows {self.null_value:.5f}",
            f"norm: {self.norm}",
            f"bins: {self.rule}",
            *(f"caveat: {caveat}" for caveat in self.caveats),
        ]
        return "\n".join(lines)


def calibration_error(
    probs: Any, labels: Any, *, num_bins: int = 15, bins: str = "equal_mass", norm: str = "l1", level: float = 0.95
) -> CalibrationError:
    """The distance of observed frequencies f_b from mean forecasts p̄_b over bins: Σ (n_b/N) |f_b − p̄_b| (Naeini, Cooper
    & Hauskrecht 2015; "expected calibration error"), its root mean square, or the largest.

    A calibrated model shows Σ (n_b/N) E|X_b/n_b − p̄_b| on average, X_b ~ Binomial(n_b, p̄_b), in closed form (de Moivre;
    Diaconis & Zabell 1991): √(2/π · p̄_b (1 − p̄_b)/n_b) where many events are expected, 2p̄_b where hardly one is. Exact
    where the forecasts of a bin are equal, an upper bound elsewhere (Hoeffding 1956). The other norms are averaged over
    a fixed set of such X_b.

    The interval is by inversion: along true gaps in proportion to √(gap² + its variance), and their signs as seen, it
    holds those errors under which a value as high, and one as low, as that seen has probability at least (1 − level)/2.
    It begins at 0 where the value is what a calibrated model might show. The value, biased upwards, may lie above it.

    Not traceable.

    Args:
        probs: [N], of the event. For [N, K] see `classwise_error` and `top_label_error`.
        labels: [N], 1 where it occurred, else 0.
        num_bins: how many at most; ties are never split and empty bins are dropped.
        bins: "equal_mass" or "equal_width".
        norm: "l1", "l2" or "max".
        level: of the interval.

    Returns:
        The value with all that it depends on; `str` of it prints that.

    Raises:
        ValueError: an unknown norm or kind of bins; probs that are none; labels other than 0 and 1.

    >>> result = calibration_error(np.array([0.25, 0.25, 0.75, 0.75]), np.array([0, 1, 1, 1]), num_bins=2)
    >>> result.value, len(result.caveats)
    (0.25, 1)
    """
    if norm not in NORMS:
        raise ValueError(f"calibration_error: norm is {norm!r} but must be one of {', '.join(NORMS)}")
    require_fraction("calibration_error", "level", level)
    found = binning.bin_forecasts(probs, labels, num_bins=num_bins, bins=bins)
    value = float(_distance(norm, np.abs(found.frequency - found.forecast), found.count))
    low, high = _interval(norm, found, value, level)
    caveats = binning.bin_caveats(found, num_bins)
    if high == 0 < value:
        caveats += (
            f"the value is smaller than almost all calibrated models show: no error but 0 is left at {level:.0%}",
        )
    return CalibrationError(
        value,
        low,
        high,
        float(level),
        null_value(found, norm),
        NORMS[norm],
        _rule(bins, num_bins, found),
        found,
        caveats,
    )


def null_value(found: Bins, norm: str = "l1") -> float:
    """The error that a calibrated model shows on average, see `calibration_error`.

    >>> half = np.array([0.5])
    >>> round(null_value(Bins(half * 0, half * 2, np.array([100]), half, half)), 6)  # √(2/π) · 0.05 = 0.039894
    0.039795
    """
    n, p = found.count, found.forecast
    if norm == "l1":
        above = np.floor(n * p) + 1  # the first count above the mean
        deviation = 2 * above * (1 - p) * stats.binom.pmf(above, n, p) / n
        return float(n @ deviation / n.sum())
    seen = np.random.default_rng(0).binomial(n, p, (2 * NUM_NORMALS, len(n)))
    return float(np.mean(_distance(norm, np.abs(seen / n - p), n)))


def debiased_squared_error(
    probs: Any, labels: Any, *, num_bins: int = 15, bins: str = "equal_mass", level: float = 0.95
) -> CalibrationError:
    """Σ_b (n_b/N) U_b, U_b = Σ_{i≠j} rᵢrⱼ / (n_b (n_b − 1)) over the rows of a bin, r = label − forecast: without bias
    for Σ_b P(b) E[r | b]², because rows of a bin are independent. It is (f_b − p̄_b)² less the variance of r in the bin
    over n_b. Where forecasts are constant within bins that is the (f_b − p̄_b)² − f_b (1 − f_b)/(n_b − 1) of Bröcker
    (2012), Ferro & Fricker (2012) and Kumar, Liang & Ma (2019); elsewhere theirs is too low by the spread of the
    event's chance within the bin, over n_b. Under calibration U has mean 0 given the forecasts, whatever they are.

    It may be negative, and is then evidence of nothing: no root is taken. The interval is normal, with variance
    Σ (n_b/N)² (4 E[r]² v/n_b + 2 v²/(n_b (n_b − 1))), v = var r (Sun et al. 2024), and that of bins' shares.

    Not traceable.

    Args:
        probs, labels, num_bins, bins, level: as `calibration_error`. Bins of a single row count as 0 (a
            caveat); where there are no others, the value is NaN (a caveat).

    Raises:
        ValueError: as `calibration_error`.

    >>> debiased_squared_error(np.array([0.5, 0.5, 0.5, 0.5]), np.array([0, 1, 1, 1]), num_bins=1).value
    0.0
    """
    where = "debiased_squared_error"
    require_fraction(where, "level", level)
    found = binning.bin_forecasts(probs, labels, num_bins=num_bins, bins=bins)
    inner = np.concatenate([[0.0], found.low[1:], [1.0]])  # empty bins join the one below: nothing falls in them
    probs, labels = jnp.asarray(probs), jnp.asarray(labels)
    total, square = (np.asarray(part, float) for part in _residual_sums(probs, labels, jnp.asarray(inner)))
    n = found.count
    pairs = np.maximum(n * (n - 1), 1)
    squared_gap = np.where(n > 1, (total**2 - square) / pairs, 0.0)
    variance = np.where(n > 1, (square - total**2 / n) / np.maximum(n - 1, 1), 0.0)
    share = n / n.sum()
    value = float(share @ squared_gap)
    gap2 = np.maximum(squared_gap, 0)
    of_gaps = share**2 @ (4 * gap2 * variance / n + 2 * variance**2 / pairs)
    of_shares = max(share @ gap2**2 - (share @ gap2) ** 2, 0.0) / n.sum()
    half = -ndtri((1 - level) / 2) * math.sqrt(of_gaps + of_shares)
    single = int((n == 1).sum())
    said = (f"bins that hold a single row and count as 0: {single}",) if single else ()
    if single == len(n):
        value, half, said = math.nan, math.nan, ("no bin holds two rows: the debiased square cannot be computed",)
    caveats = binning.bin_caveats(found, num_bins) + said
    rule = _rule(bins, num_bins, found)
    return CalibrationError(value, value - half, value + half, float(level), 0.0, SQUARED, rule, found, caveats)


@jax.jit
def _residual_sums(probs, labels, edges):
    """Σ r and Σ r² per bin."""
    residual = labels - probs
    index = binning.bin_index(probs, edges)
    return tuple(jax.ops.segment_sum(part, index, len(edges) - 1) for part in (residual, residual**2))


def _rule(bins, num_bins, found):
    kind = bins.replace("_", " ")
    return f"{len(found.count)} of at most {num_bins}, {kind}, {EDGE_RULE}"


def _distance(norm, gap, count):
    """Of |gap| [..., B]."""
    if norm == "max":
        return np.max(gap, axis=-1)
    share = count / np.sum(count)
    return gap @ share if norm == "l1" else np.sqrt(gap**2 @ share)


def _normals(num_bins):
    """[S, B] of mean 0: a fixed set, so that the same data give the same interval."""
    half = np.random.default_rng(0).standard_normal((NUM_NORMALS, num_bins))
    return np.concatenate([half, -half])


def _interval(norm, found, value, level):
    """The errors along a line of true gaps that do not contradict the value."""
    n, p = found.count, found.forecast
    gap = found.frequency - p
    smoothed = (n * found.frequency + 1) / (n + 2)
    direction = np.where(gap >= 0, 1, -1) * np.sqrt(gap**2 + smoothed * (1 - smoothed) / n)
    normals = _normals(len(n))

    def at(t):
        """The true error there, and its quantiles of what would be seen."""
        mean = np.clip(p + t * direction, 0, 1)
        seen = np.abs(mean - p + np.sqrt(mean * (1 - mean) / n) * normals)
        quantiles = np.quantile(_distance(norm, seen, n), [(1 - level) / 2, (1 + level) / 2])
        return float(_distance(norm, np.abs(mean - p), n)), *quantiles

    return _crossing(at, 2, value), _crossing(at, 1, value)


def _crossing(at, which, value):
    """The true error where that quantile of what would be seen reaches the value; 0 where it does at once."""
    if at(0.0)[which] >= value:
        return 0.0
    low, high = 0.0, 1.0
    while at(high)[which] < value and high < 1e6:
        low, high = high, 2 * high
    for _ in range(16):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if at(middle)[which] < value else (low, middle)
    return at(0.5 * (low + high))[0]
