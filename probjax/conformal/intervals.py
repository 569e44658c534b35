"""Scores of real labels, and the intervals that a threshold on them makes. Pure, elementwise and jit-able."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from probjax.validation import require_positive


class Interval(NamedTuple):
    """lower ≤ y ≤ upper. An infinite threshold gives −inf and +inf; lower > upper is the empty set."""

    lower: Array
    upper: Array


def absolute_residual(y: Array, prediction: Array) -> Array:
    """|y − μ|: intervals of one width (Lei et al. 2018). [N], in units of y.

    Raises:
        ValueError: y and prediction of unlike shapes.

    >>> absolute_residual(jnp.array([1.0, 5.0]), jnp.array([2.0, 2.0])).tolist()
    [1.0, 3.0]
    """
    _check_shapes("absolute_residual", y=y, prediction=prediction)
    return jnp.abs(y - prediction)


def scaled_residual(y: Array, prediction: Array, scale: Array) -> Array:
    """|y − μ|/σ: intervals as wide as the model's own σ(x) says (Papadopoulos et al. 2008; Lei et al. 2018). [N].

    Args:
        scale: [N], positive; learnt on other rows than those of the calibration.

    Raises:
        ValueError: unlike shapes, or a scale that is not positive.

    >>> scaled_residual(jnp.array([1.0]), jnp.array([2.0]), jnp.array([0.5])).tolist()
    [2.0]
    """
    _check_shapes("scaled_residual", y=y, prediction=prediction, scale=scale)
    require_positive("scaled_residual", "scale", scale, "pass a standard deviation of each row")
    return jnp.abs(y - prediction) / scale


def quantile_residual(y: Array, lower: Array, upper: Array) -> Array:
    """max(lower − y, y − upper), negative inside: conformalised quantile regression (Romano, Patterson & Candès 2019).

    Args:
        lower, upper: [N], quantile regressions of levels about α/2 and 1 − α/2; they may cross.

    Raises:
        ValueError: unlike shapes.

    >>> quantile_residual(jnp.array([0.0, 4.0]), jnp.array([-1.0, 1.0]), jnp.array([2.0, 3.0])).tolist()
    [-1.0, 1.0]
    """
    _check_shapes("quantile_residual", y=y, lower=lower, upper=upper)
    return jnp.maximum(lower - y, y - upper)


def interval(prediction: Array, threshold: Array, scale: Array = 1.0) -> Interval:
    """{y: |y − μ|/σ ≤ t} = μ ∓ t σ.

    Args:
        prediction: [N].
        threshold: t of `absolute_residual`, or of `scaled_residual` with its scale. What broadcasts against [N]: a
            number, [N] by group, or [A, 1] for A values of α.
        scale: 1, or [N], positive.

    Raises:
        ValueError: a scale that is not positive, or not one a row.

    >>> interval(jnp.array([0.0, 1.0]), 2.0, jnp.array([1.0, 3.0])).upper.tolist()
    [2.0, 7.0]
    """
    require_positive("interval", "scale", scale, "pass a standard deviation of each row")
    if jnp.ndim(scale) > 0:
        _check_shapes("interval", prediction=prediction, scale=scale)
    half = jnp.asarray(threshold) * scale
    return Interval(prediction - half, prediction + half)


def widened(lower: Array, upper: Array, threshold: Array) -> Interval:
    """{y: max(lower − y, y − upper) ≤ t} = [lower − t, upper + t]. A negative t narrows quantiles that were too wide;
    an interval narrower than −2t becomes empty (lower > upper).

    >>> widened(jnp.array([0.0]), jnp.array([2.0]), -0.5).upper.tolist()
    [1.5]
    """
    _check_shapes("widened", lower=lower, upper=upper)
    return Interval(lower - jnp.asarray(threshold), upper + jnp.asarray(threshold))


def covered(y: Array, interval: Interval) -> Array:
    """lower ≤ y ≤ upper, as booleans [..., N]. Their mean over new rows is held against `coverage_law`.

    Raises:
        ValueError: unlike shapes; NaN among y (outside a trace), which would count as missed.

    >>> covered(jnp.array([1.0, 3.0]), Interval(jnp.zeros(2), jnp.full(2, 2.0))).tolist()
    [True, False]
    """
    if jnp.shape(y) != jnp.shape(interval.lower)[-1:]:
        raise ValueError(
            f"covered: y has shape {jnp.shape(y)} but the interval {jnp.shape(interval.lower)}; expected y [N], "
            "interval [..., N]"
        )
    if not isinstance(y, jax.core.Tracer) and np.isnan(y).any():
        raise ValueError(f"covered: y has {int(np.isnan(y).sum())} NaN, which no interval covers; remove those rows")
    return (interval.lower <= y) & (y <= interval.upper)


def _check_shapes(where, **arrays):
    """y [N] against a prediction [N, 1] would broadcast to [N, N] without a word."""
    (first, array), *others = arrays.items()
    for name, other in others:
        if jnp.shape(other) != jnp.shape(array):
            raise ValueError(
                f"conformal.{where}: {first} has shape {jnp.shape(array)} but {name} has {jnp.shape(other)}; "
                "give each row one of each"
            )
