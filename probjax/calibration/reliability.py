"""The numbers of a reliability diagram: frequencies by forecast, and how far chance alone takes them from it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from scipy import stats
from scipy.optimize import isotonic_regression

from probjax.calibration import bins as binning
from probjax.forecasts import check_labels
from probjax.validation import require_counts, require_fraction

MAX_POINTS = 1000  # of a band


class ReliabilityDiagram(NamedTuple):
    """[B] each, bins by increasing forecast. interval_low, interval_high: of the frequency's chance, Clopper–Pearson
    (1934). band_low, band_high: frequencies to be expected of a calibrated model in that bin; joint_low, joint_high:
    in all bins at once. rule: the bins in words."""

    low: np.ndarray
    high: np.ndarray
    count: np.ndarray
    forecast: np.ndarray
    frequency: np.ndarray
    interval_low: np.ndarray
    interval_high: np.ndarray
    band_low: np.ndarray
    band_high: np.ndarray
    joint_low: np.ndarray
    joint_high: np.ndarray
    level: float
    rule: str
    caveats: tuple[str, ...]

    @property
    def inside(self) -> bool:
        """Whether every frequency lies in the joint band; of a calibrated model with probability `level` or more."""
        return bool(((self.joint_low <= self.frequency) & (self.frequency <= self.joint_high)).all())


def reliability_diagram(
    probs: Any, labels: Any, *, num_bins: int = 15, bins: str = "equal_mass", level: float = 0.95
) -> ReliabilityDiagram:
    """Mean forecast against observed frequency by bin, with Bröcker & Smith's (2007) consistency bands.

    Under calibration the events of a bin are a sum of independent trials of unlike chances p_i. The bands are the
    quantiles of the binomial of the mean chance: the sum lies between two whole numbers on either side of its mean at
    least as often as that binomial (Hoeffding 1956), so the bands hold with probability `level` or more. Bins are
    independent given the forecasts; the joint band has level^(1/B) in each.

    Not traceable.

    Args:
        probs: [N], of the event. labels: [N], 1 where it occurred, else 0.
        num_bins, bins: as `calibration_error`.
        level: of intervals and bands.

    Raises:
        ValueError: as `calibration_error`.

    >>> diagram = reliability_diagram(np.full(10, 0.5), np.arange(10) % 2)
    >>> diagram.band_low.round(2).tolist(), diagram.band_high.round(2).tolist(), diagram.inside
    ([0.2], [0.8], True)
    """
    require_fraction("reliability_diagram", "level", level)
    found = binning.bin_forecasts(probs, labels, num_bins=num_bins, bins=bins)
    tail = (1 - level) / 2
    joint_tail = (1 - level ** (1 / len(found.count))) / 2
    rule = f"{len(found.count)} of at most {num_bins}, {bins.replace('_', ' ')}, {binning.EDGE_RULE}"
    return ReliabilityDiagram(
        *found,
        *clopper_pearson(found.frequency * found.count, found.count, level),
        *(stats.binom.ppf(q, found.count, found.forecast).clip(0) / found.count for q in (tail, 1 - tail)),
        *(stats.binom.ppf(q, found.count, found.forecast).clip(0) / found.count for q in (joint_tail, 1 - joint_tail)),
        float(level),
        rule,
        binning.bin_caveats(found, num_bins),
    )


def clopper_pearson(events: Any, trials: Any, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of the interval for a binomial's chance that holds it at least `level` of the time (Clopper & Pearson
    1934), by quantiles of the beta distribution; elementwise.

    >>> [float(end.round(4)) for end in clopper_pearson(0, 10)]
    [0.0, 0.3085]
    """
    require_fraction("clopper_pearson", "level", level)
    events, trials = np.round(np.asarray(events, float)), np.asarray(trials, float)
    tail = (1 - level) / 2
    low = stats.beta.ppf(tail, np.maximum(events, 1), trials - events + 1)
    high = stats.beta.ppf(1 - tail, events + 1, np.maximum(trials - events, 1))
    return np.where(events == 0, 0.0, low), np.where(events == trials, 1.0, high)


class CorpCurve(NamedTuple):
    """forecast: [P], increasing. recalibrated: [P], the isotonic fit there. band_low, band_high: [P], where such a fit
    lies, point by point, for a calibrated model. count: [P] rows."""

    forecast: np.ndarray
    recalibrated: np.ndarray
    band_low: np.ndarray
    band_high: np.ndarray
    count: np.ndarray
    level: float
    caveats: tuple[str, ...]


def corp_curve(key: Array, probs: Any, labels: Any, *, level: float = 0.95, num_simulations: int = 200) -> CorpCurve:
    """The increasing function of the forecast nearest to the labels (pool adjacent violators), a reliability diagram
    without bins (CORP; Dimitriadis, Gneiting & Jordan 2021), and its consistency band: the fits to labels that are
    drawn from the forecasts.

    Not traceable. Of more than 1000 unlike forecasts, a thousand by rank are returned.

    Args:
        key: consumed.
        probs: [N], of the event. labels: [N], 1 where it occurred, else 0.
        level: of the band, at each point.
        num_simulations: fits behind the band.

    Raises:
        ValueError: as `calibration_error`; num_simulations below 1.

    >>> curve = corp_curve(jax.random.key(0), np.array([0.1, 0.4, 0.4, 0.8]), np.array([0, 1, 0, 1]))
    >>> curve.recalibrated.tolist(), curve.count.tolist()
    ([0.0, 0.5, 1.0], [1, 2, 1])
    """
    require_fraction("corp_curve", "level", level)
    require_counts("corp_curve", num_simulations=(num_simulations, 1))
    probs = np.asarray(binning.of_event("corp_curve", probs), float)
    labels = np.asarray(check_labels("corp_curve", labels, len(probs), 2))
    forecast, place, count = np.unique(probs, return_inverse=True, return_counts=True)

    def fit(events):
        return isotonic_regression(events / count, weights=count).x

    shown = np.unique(np.linspace(0, len(forecast) - 1, min(MAX_POINTS, len(forecast))).round().astype(int))
    fits = np.empty((num_simulations, len(shown)))
    for row, one in enumerate(jax.random.split(key, num_simulations)):
        uniform = np.asarray(jax.random.uniform(one, probs.shape))
        fits[row] = fit(np.bincount(place, uniform < probs, len(forecast)))[shown]
    low, high = np.quantile(fits, [(1 - level) / 2, (1 + level) / 2], axis=0)
    said = []
    if len(forecast) == 1:
        said.append("all forecasts are equal: the curve is one point")
    if labels.min() == labels.max():
        said.append(f"all labels are {labels[0]}: the curve is flat")
    if num_simulations * (1 - level) / 2 < 2:
        said.append(f"{num_simulations} fits are few for a band of level {level:g}")
    curve = fit(np.bincount(place, labels, len(forecast)))
    return CorpCurve(forecast[shown], curve[shown], low, high, count[shown], float(level), tuple(said))
