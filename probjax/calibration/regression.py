"""Calibration of forecasts of a number, from the predictive distribution function at what was observed (PIT)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from probjax.validation import require_fraction

DEFAULT_LEVELS = np.arange(1, 20) / 20


class RegressionCalibration(NamedTuple):
    """nominal: [L] levels c. coverage: [L], how often the central interval of level c held what was observed.
    below: [L], how often it lay at or below the forecast's c-quantile. band_low, band_high: [L], of either for a
    calibrated model, at each level; joint_half_width: of a band about the diagonal that holds all of `below`.
    error, null_error: mean over levels of (below − c)² and what a calibrated model shows on average. p_value: of
    uniform PIT, two-sided Kolmogorov–Smirnov. dispersion: 12 times the mean of (PIT − ½)²; below 1 forecasts are too
    wide, above 1 too narrow, or off to one side."""

    nominal: np.ndarray
    coverage: np.ndarray
    below: np.ndarray
    band_low: np.ndarray
    band_high: np.ndarray
    joint_half_width: float
    error: float
    null_error: float
    p_value: float
    dispersion: float
    level: float
    num_rows: int
    caveats: tuple[str, ...]

    def __str__(self) -> str:
        lines = [
            f"regression calibration of {self.num_rows} rows: mean (frequency − level)² {self.error:.5f}; a calibrated "
            f"model shows {self.null_error:.5f}",
            f"uniform PIT: p = {self.p_value:.4g} (Kolmogorov–Smirnov); dispersion {self.dispersion:.3f} (1 is right)",
            *(f"caveat: {caveat}" for caveat in self.caveats),
        ]
        return "\n".join(lines)


def regression_calibration(pit: Any, *, levels: Any = DEFAULT_LEVELS, level: float = 0.95) -> RegressionCalibration:
    """Observed against nominal frequencies of u = F(y), F the predictive distribution function: Σ 1[u ≤ c]/N
    (Kuleshov, Fenner & Ermon 2018) and Σ 1[|2u − 1| ≤ c]/N, the coverage of central intervals (Gneiting, Balabdaoui &
    Raftery 2007). If the forecasts are right u is uniform, and independent between rows unless forecasts follow each
    other; the bands and p are of that.

    The law of N·below is then binomial, which gives the bands at each c; the joint band is Kolmogorov's. A null mean of
    (below − c)² is c (1 − c)/N. Uniform u is necessary, not enough: a forecast that ignores x may have it too.

    Args:
        pit: [N] in [0, 1].
        levels: [L], strictly between 0 and 1.
        level: of the bands.

    Raises:
        ValueError: pit not [N], empty, NaN or outside [0, 1]; levels or level outside (0, 1).

    >>> result = regression_calibration((np.arange(100) + 0.5) / 100, levels=[0.5])
    >>> result.below.tolist(), result.coverage.tolist(), result.band_low.tolist()
    ([0.5], [0.5], [0.4])
    """
    where = "regression_calibration"
    require_fraction(where, "level", level)
    require_fraction(where, "levels", levels)
    pit, nominal = _checked(where, pit), np.atleast_1d(np.asarray(levels, float))
    num_rows, ordered = len(pit), np.sort(pit)
    below = np.searchsorted(ordered, nominal, side="right") / num_rows
    coverage = np.searchsorted(np.sort(np.abs(2 * pit - 1)), nominal, side="right") / num_rows
    tail = (1 - level) / 2
    return RegressionCalibration(
        nominal,
        coverage,
        below,
        *(stats.binom.ppf(q, num_rows, nominal) / num_rows for q in (tail, 1 - tail)),
        float(stats.kstwo.ppf(level, num_rows)),
        float(np.mean((below - nominal) ** 2)),
        float(np.mean(nominal * (1 - nominal)) / num_rows),
        float(stats.kstest(pit, "uniform").pvalue),
        float(12 * np.mean((pit - 0.5) ** 2)),
        float(level),
        num_rows,
        _caveats(ordered),
    )


def _checked(where, pit):
    pit = np.asarray(pit, float)
    if pit.ndim != 1 or len(pit) == 0:
        raise ValueError(f"{where}: pit has shape {pit.shape} but must be [N]; pass F(y) of each row")
    outside = ~((pit >= 0) & (pit <= 1))
    if outside.any():
        row = int(outside.argmax())
        cure = "remove those rows" if np.isnan(pit[row]) else "pass the predictive distribution function at y, not y"
        raise ValueError(
            f"{where}: pit has {int(outside.sum())} values of {len(pit)} outside [0, 1] (row {row}); {cure}"
        )
    return pit


def _caveats(ordered):
    said = []
    num_ties = int((np.diff(ordered) == 0).sum())
    if num_ties:
        said.append(
            f"{num_ties} values of PIT are ties: of a discrete law draw u between F(y−) and F(y), or no band holds"
        )
    at_ends = int(((ordered == 0) | (ordered == 1)).sum())
    if at_ends:
        said.append(f"{at_ends} values of PIT are exactly 0 or 1: observed beyond the support, or rounded")
    if len(ordered) < 30:
        said.append(f"{len(ordered)} rows show only gross miscalibration")
    return tuple(said)
