"""Recalibration of regression: one factor on the scale, or a map of the levels of quantiles."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.stats import norm

from probjax.recalibration.assessment import NUM_STANDARD_ERRORS, Change, change_of
from probjax.validation import require_finite, require_positive


class ScaleFactor(NamedTuple):
    """factor: s of N(μ, (sσ)²). num_data: rows of the fit."""

    factor: Array
    num_data: int

    def __call__(self, scale: Array) -> Array:
        """sσ, as scale is shaped."""
        return self.factor * jnp.asarray(scale)


def variance_scaling(loc: Any, scale: Any, y: Any) -> ScaleFactor:
    """s = √mean((y − μ)²/σ²), the maximum-likelihood factor on σ of normal predictions (Levi et al. 2022).

    Args:
        loc, scale, y: [N], of held-out rows; scale positive.

    Returns:
        `ScaleFactor`: call it on other scales.

    Raises:
        ValueError: unlike shapes, no rows, values that are not finite, scales that are not positive, all y = loc
            (s would be 0, a density without end).

    >>> fitted = variance_scaling(np.zeros(2), np.ones(2), np.array([3.0, -4.0]))
    >>> round(float(fitted.factor) ** 2, 3), fitted(np.array([2.0])).shape  # (9 + 16) / 2
    (12.5, (1,))
    """
    z = _standardised("variance_scaling", loc, scale, y)
    factor = jnp.sqrt(jnp.mean(z**2))
    if factor == 0:
        raise ValueError(
            "variance_scaling: y equals loc in every row, so the best factor is 0 and the density has no bound; these "
            "are not held-out rows of a model with noise"
        )
    return ScaleFactor(factor, len(z))


def assess_scale(
    fitted: ScaleFactor, loc: Any, scale: Any, y: Any, *, num_standard_errors: float = NUM_STANDARD_ERRORS
) -> Change:
    """Mean over held-out rows of log N(y | μ, (sσ)²) − log N(y | μ, σ²), nats a row, judged as by `assess`.

    >>> assess_scale(ScaleFactor(jnp.array(2.0), 9), np.zeros(3), np.ones(3), np.array([2.0, -2.5, 3.0])).verdict
    'better'
    """
    z = _standardised("assess_scale", loc, scale, y)
    difference = norm.logpdf(z / fitted.factor) - jnp.log(fitted.factor) - norm.logpdf(z)
    return change_of(difference, fitted.factor == 1, num_standard_errors=num_standard_errors)


class Levels(NamedTuple):
    """R: [0, 1] → [0, 1], strictly ascending and linear between knots [J], where it takes values [J]."""

    knots: Array
    values: Array

    def __call__(self, level: Array) -> Array:
        """R(F(y)), the recalibrated distribution function where the model's is `level`."""
        return jnp.interp(jnp.asarray(level), self.knots, self.values)

    def inverse(self, level: Array) -> Array:
        """R⁻¹(q): the level at which the model's quantile function gives the recalibrated q-quantile."""
        return jnp.interp(jnp.asarray(level), self.values, self.knots)


def quantile_recalibration(pit: Any) -> Levels:
    """R ∘ F with R the empirical distribution of F(y) (Kuleshov, Fenner & Ermon 2018).

    The i-th smallest of N values is given level i/(N + 1), not their i/N: for one more exchangeable row P(F(y) ≤ that
    value) is exactly i/(N + 1), and neither level 0 nor 1 is claimed for what was seen. Such points ascend of
    themselves, so the isotonic regression of the paper is they; equal values keep the last, for P(F(y) ≤ value).
    Between them, and from (0, 0) and to (1, 1), R is linear.

    Args:
        pit: [N], F(y) of held-out rows, in [0, 1].

    Raises:
        ValueError: another shape, values outside [0, 1] or NaN; fewer than 2 distinct values inside (0, 1).

    Sorts in NumPy, so it cannot be traced; the map that it returns can.

    >>> levels = quantile_recalibration(np.array([0.4, 0.5, 0.6]))  # too wide
    >>> levels.inverse(jnp.array([0.25, 0.75])).round(3).tolist() == jnp.array([0.4, 0.6]).round(3).tolist()
    True
    """
    pit = _levels("quantile_recalibration", pit)
    values, counts = np.unique(pit, return_counts=True)
    counts = np.cumsum(counts)
    inside = (values > 0) & (values < 1)
    if inside.sum() < 2:
        raise ValueError(
            f"quantile_recalibration: pit has {int(inside.sum())} distinct values strictly between 0 and 1 in "
            f"{len(pit)} rows; at least 2 are needed: check that it is F(y) and not F at one point"
        )
    knots = np.concatenate([[0.0], values[inside], [1.0]])
    heights = np.concatenate([[0.0], counts[inside] / (len(pit) + 1), [1.0]])
    return Levels(jnp.asarray(knots), jnp.asarray(heights))


def assess_levels(fitted: Levels, pit: Any, *, num_standard_errors: float = NUM_STANDARD_ERRORS) -> Change:
    """Mean over held-out rows of log R′(F(y)), nats a row: the change of the log density, judged as by `assess`.

    R is made for coverage. Its slope is that of a histogram with a row in each bin, whose log score is bad: some
    −0.6 nats a row even where the model was calibrated.

    >>> rng = np.random.default_rng(0)
    >>> assess_levels(quantile_recalibration(rng.uniform(size=300)), rng.uniform(size=300)).verdict
    'worse'
    """
    pit = _levels("assess_levels", pit)
    slopes = jnp.diff(fitted.values) / jnp.diff(fitted.knots)
    index = jnp.clip(jnp.searchsorted(fitted.knots, pit, side="right") - 1, 0, len(slopes) - 1)
    return change_of(jnp.log(slopes[index]), num_standard_errors=num_standard_errors)


def _standardised(where, loc, scale, y):
    loc, scale, y = (jnp.asarray(value) for value in (loc, scale, y))
    if y.ndim != 1 or not y.shape == loc.shape == scale.shape or len(y) == 0:
        raise ValueError(
            f"{where}: loc, scale and y have shapes {loc.shape}, {scale.shape}, {y.shape}; expected three times [N], "
            "N at least 1"
        )
    for name, value in (("loc", loc), ("y", y)):
        require_finite(where, name, value)
    require_positive(where, "scale", scale, "it is a standard deviation, not its logarithm")
    return (y - loc) / scale


def _levels(where, pit):
    pit = np.asarray(pit)
    if pit.ndim != 1 or len(pit) == 0:
        raise ValueError(f"{where}: pit has shape {pit.shape}; expected [N], F(y) of each row")
    outside = ~((pit >= 0) & (pit <= 1))
    if outside.any():
        row = int(outside.argmax())
        raise ValueError(
            f"{where}: pit has {int(outside.sum())} values of {len(pit)} that are NaN or outside [0, 1] (first: row "
            f"{row}, {pit[row]}); it is the model's distribution function at y"
        )
    return pit
