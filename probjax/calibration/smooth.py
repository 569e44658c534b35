"""The integrated calibration index: the distance of forecasts from a smooth calibration curve, without bins."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from probjax.calibration import bins as binning
from probjax.forecasts import check_labels
from probjax.newton import minimise
from probjax.validation import require_fraction

KNOTS = (0.05, 0.275, 0.5, 0.725, 0.95)  # quantiles of the logits (Harrell 2015 §2.4.6)
LOOSE = 10.0  # sd of the prior on each coefficient: nothing beside data that are not separable
NUM_POINTS, NUM_DRAWS = 200, 1000  # behind the interval


class CalibrationIndex(NamedTuple):
    """ici, e50, e90: mean, median and 90% quantile of |p − c(p)| over the rows. low, high: of ici, confidence `level`.
    null_value: the ici that a calibrated model shows on average. curve: [N], c(p) of each row."""

    ici: float
    e50: float
    e90: float
    low: float
    high: float
    level: float
    null_value: float
    curve: np.ndarray
    caveats: tuple[str, ...]

    def __str__(self) -> str:
        lines = [
            f"integrated calibration index {self.ici:.5f}, {self.level:.0%} interval [{self.low:.5f}, "
            f"{self.high:.5f}]; a calibrated model shows {self.null_value:.5f}",
            f"E50 {self.e50:.5f}, E90 {self.e90:.5f}; curve: logistic, natural cubic spline of the logit, "
            f"{len(KNOTS)} knots",
            *(f"caveat: {caveat}" for caveat in self.caveats),
        ]
        return "\n".join(lines)


def integrated_calibration_index(probs: Any, labels: Any, *, level: float = 0.95) -> CalibrationIndex:
    """(1/N) Σ |p − c(p)|, c the calibration curve estimated smoothly, with E50 and E90 (Austin & Steyerberg 2019).

    c(p) = σ(β₀ + β₁ logit p + β₂ s₂ + … + β₄ s₄), s natural cubic splines of logit p, by maximum likelihood: theirs by
    splines, and not by loess, because here c(p) = p is one of the curves, so that a calibrated model is fitted without
    bias, c stays within [0, 1], and N rows cost O(N). Coefficients have a prior about that curve with sd 10, which
    keeps them finite.

    The interval is by inversion: along β = identity + t (β̂ − identity) it holds those indices under which one as high,
    and one as low, as that seen has probability at least (1 − level)/2, β̂ being about normal. The index itself is
    biased upwards. Numbers behind the interval and null value are over at most 200 rows, evenly by rank.

    Not traceable.

    Args:
        probs: [N], of the event; forecasts of exactly 0 or 1 are moved inside by the float's resolution (a caveat).
        labels: [N], 1 where it occurred, else 0.
        level: of the interval.

    Raises:
        ValueError: as `calibration_error`.

    >>> grid = (np.arange(200) + 0.5) / 200
    >>> result = integrated_calibration_index(grid, (np.arange(200) * 7919 % 200 < 200 * grid).astype(int))
    >>> result.low, result.ici < 0.1
    (0.0, True)
    """
    where = "integrated_calibration_index"
    require_fraction(where, "level", level)
    probs = binning.of_event(where, probs)
    labels = np.asarray(check_labels(where, labels, len(probs), 2))
    small = float(jnp.finfo(probs.dtype).eps)
    probs = np.asarray(probs, float)
    inner = np.clip(probs, small, 1 - small)
    logit = np.log(inner) - np.log1p(-inner)
    basis = _basis(logit)
    identity = np.zeros(basis.shape[1])
    identity[:2] = [logit.mean(), logit.std()][: len(identity)]  # c(p) = p
    fitted, curvature = (
        np.asarray(part, float) for part in _fit(*map(jnp.asarray, (basis, labels.astype(float), identity)))
    )
    curve = _sigmoid(basis @ fitted)
    gaps = np.abs(curve - probs)
    rows = np.argsort(inner)[np.unique(np.linspace(0, len(probs) - 1, NUM_POINTS).astype(int))]
    low, high, null = _interval(basis[rows], inner[rows], identity, fitted, curvature, level)
    at_ends = int((inner != probs).sum())
    said = (f"{at_ends} forecasts of 0 or 1 have no finite logit and were moved by {small:.1e}",) if at_ends else ()
    caveats = said + _caveats(probs, labels, basis)
    return CalibrationIndex(
        float(gaps.mean()), *map(float, np.quantile(gaps, [0.5, 0.9])), low, high, float(level), null, curve, caveats
    )


def _sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


def _basis(logit):
    """[N, P]: 1, the logit and natural cubic splines with the knots that differ, each of mean 0 and sd 1."""
    knots = np.unique(np.quantile(logit, KNOTS))
    columns = [logit] if logit.std() > 0 else []
    if len(knots) > 2:
        last, before = knots[-1], knots[-2]
        cube = lambda knot: np.maximum(logit - knot, 0) ** 3
        for knot in knots[:-2]:
            bend = cube(knot) + ((before - knot) * cube(last) - (last - knot) * cube(before)) / (last - before)
            columns.append(bend / (last - knots[0]) ** 2)
    columns = [(column - column.mean()) / column.std() for column in columns if column.std() > 0]
    return np.column_stack([np.ones_like(logit), *columns])


@jax.jit
def _fit(basis, labels, identity):
    """β̂ and the curvature of −log posterior there."""
    precision = jnp.full(identity.shape, LOOSE**-2).at[:1].set(0.01 * LOOSE**-2)

    def gradient(w):
        return basis.T @ (jax.nn.sigmoid(basis @ w) - labels) + precision * (w - identity), ()

    def curvature(w):
        chance = jax.nn.sigmoid(basis @ w)
        return (basis.T * (chance * (1 - chance))) @ basis + jnp.diag(precision)

    solve = lambda factor, v: jax.scipy.linalg.cho_solve((factor, True), v)
    factorise = lambda w: jnp.linalg.cholesky(curvature(w))
    settings = {"kind": "exact", "max_steps": 50, "tolerance": 1e-9 * len(labels)}
    end = minimise(gradient, factorise, solve, identity, factorise(identity), **settings)
    return end.w, curvature(end.w)


def _interval(basis, probs, identity, fitted, curvature, level):
    """Both ends, and what a calibrated model shows on average."""
    normals = np.random.default_rng(0).standard_normal((NUM_DRAWS, len(fitted)))
    noise = np.linalg.solve(np.linalg.cholesky(curvature).T, normals.T).T @ basis.T
    tail = (1 - level) / 2

    def at(t):
        middle = basis @ (identity + t * (fitted - identity))
        seen = np.abs(_sigmoid(middle + noise) - probs).mean(axis=1)
        return float(np.abs(_sigmoid(middle) - probs).mean()), seen

    index = at(1.0)[0]

    def crossing(probability):
        """The true index under which the one seen is that quantile."""
        reached = lambda t: np.quantile(at(t)[1], probability) >= index
        if reached(0.0):
            return 0.0
        low, high = 0.0, 1.0
        while not reached(high) and high < 64:
            low, high = high, 2 * high
        for _ in range(14):
            middle = 0.5 * (low + high)
            low, high = (low, middle) if reached(middle) else (middle, high)
        return at(high)[0]

    return crossing(1 - tail), crossing(tail), float(at(0.0)[1].mean())


def _caveats(probs, labels, basis):
    said = []
    if basis.shape[1] == 1:
        said.append("all forecasts are equal: only their mean is compared with the frequency")
    elif basis.shape[1] < len(KNOTS):
        said.append(f"ties leave {basis.shape[1] - 1} curves of {len(KNOTS) - 1}: the calibration curve is stiffer")
    least = min(labels.sum(), len(labels) - labels.sum())
    if least == 0:
        said.append(f"all labels are {labels[0]}: the curve is held by its prior alone")
    elif least < 10 * basis.shape[1]:
        said.append(f"the rarer class has {least} rows for {basis.shape[1]} coefficients: the curve may overfit")
    return tuple(said)
