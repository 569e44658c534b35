"""Scores of forecasts of classes, unreduced [N]. All are losses: smaller is better.

Each takes `probs`, the chance of class 1 [N] or of K classes [N, K], or a `Forecast`. What a network puts before its
softmax goes through `forecasts.from_logits`, whose logarithms are used as they are: log p is never that of a p that
has underflowed.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from probjax.forecasts import Forecast, check_labels, check_probs, from_probs


def log_score(probs: Array | Forecast, labels: Array) -> Array:
    """−log p_y, in nats (Good 1952). 0 for a sure and right forecast, no upper bound: infinite where what was given no
    chance occurred. Strictly proper. From logits it is `losses.softmax_cross_entropy`.

    Args:
        probs: [N], [N, K], or a `Forecast`.
        labels: [N], the classes that occurred, 0 … K − 1.

    Returns:
        [N], nats per row.

    Raises:
        ValueError: probs outside [0, 1] or rows that do not sum to 1; labels of another length or no such classes
            (inside a trace these have score NaN).

    >>> log_score(jnp.array([0.25, 1.0]), jnp.array([1, 0])).tolist()
    [1.386294..., inf]
    """
    forecast = probs if isinstance(probs, Forecast) else from_probs(probs)
    labels = check_labels("log_score", labels, *forecast.log_probs.shape)
    own = jnp.take_along_axis(forecast.log_probs, labels[:, None], axis=1)[:, 0]
    return _of_classes(0.0 - own, labels, forecast.log_probs.shape[1])


def brier(probs: Array | Forecast, labels: Array) -> Array:
    """[N]: (p − y)². [N, K] or a `Forecast`: Σₖ (pₖ − 1[y = k])², Brier's own form (1950). Strictly proper.

    The second of two columns (1 − p, p) is twice the first: at most 1 against at most 2, ¼ against ½ for p = ½.

    Args, Returns, Raises: as `log_score`; no unit.

    >>> brier(jnp.array([0.5]), jnp.array([1])).tolist(), brier(jnp.array([[0.5, 0.5]]), jnp.array([1])).tolist()
    ([0.25], [0.5])
    """
    probs = _probs("brier", probs)
    labels = check_labels("brier", labels, *_shape(probs))
    if probs.ndim == 1:
        return _of_classes((probs - labels) ** 2, labels, 2)
    hits = jax.nn.one_hot(labels, probs.shape[1], dtype=probs.dtype)
    return _of_classes(jnp.sum((probs - hits) ** 2, axis=1), labels, probs.shape[1])


def spherical(probs: Array | Forecast, labels: Array) -> Array:
    """−p_y/‖p‖₂ (Roby 1965), from −1, sure and right, to 0. Strictly proper. [N] is scored as two classes.

    Args, Returns, Raises: as `log_score`; no unit.

    >>> spherical(jnp.array([[0.5, 0.5], [0.0, 1.0]]), jnp.array([0, 1])).tolist()  # −1/√2
    [-0.7071..., -1.0]
    """
    probs = _probs("spherical", probs)
    labels = check_labels("spherical", labels, *_shape(probs))
    if probs.ndim == 1:
        probs = jnp.stack([1 - probs, probs], axis=1)
    occurred = jnp.take_along_axis(probs, labels[:, None], axis=1)[:, 0]
    return _of_classes(0.0 - occurred / jnp.sqrt(jnp.sum(probs**2, axis=1)), labels, probs.shape[1])


def _of_classes(scores, labels, num_classes):
    """NaN where a label is no class: inside a trace, where labels cannot be refused."""
    return jnp.where((labels >= 0) & (labels < num_classes), scores, jnp.nan)


class Mean(NamedTuple):
    """mean: Σwv/Σw. standard_error: of that mean, over rows drawn independently. Scalars, in the unit of the values."""

    mean: Array
    standard_error: Array


def mean_and_standard_error(values: Array, weights: Array | None = None) -> Mean:
    """v̄ = Σwv/Σw and √(n/(n − 1) · Σw²(v − v̄)²)/Σw, n the rows of weight above 0 (Cochran 1977, §6.3, linearised).

    With equal weights it is s/√n. Weights say how much a row counts, not how often it was seen: only their ratios
    matter, and rows of weight 0 are as good as absent.

    Args:
        values: [N], a score of each row.
        weights: [N], not negative; None: all equal.

    Returns:
        Mean. Its standard error is infinite where there is one row (nothing is known of the spread) or the mean is
        infinite.

    Raises:
        ValueError: values not [N], weights of another shape, negative, not finite, or all 0.

    >>> mean_and_standard_error(jnp.array([1.0, 3.0]))
    Mean(mean=Array(2., dtype=float...), standard_error=Array(1., dtype=float...))
    """
    where = "mean_and_standard_error"
    values = jnp.asarray(values)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"{where}: values has shape {values.shape}; expected [N], one score a row")
    seen = concrete(values)
    if seen is not None and np.isnan(seen).any():
        raise ValueError(f"{where}: values has {int(np.isnan(seen).sum())} NaN of {seen.size}; remove those rows")
    values = values.astype(jnp.result_type(values, jnp.float32))
    weights = check_weights(where, weights, values)
    counted = weights > 0
    total = jnp.sum(weights)
    # 0 · ∞ of a row that does not count is no part of the mean
    mean = jnp.sum(jnp.where(counted, weights * values, 0.0)) / total
    finite = ~jnp.isinf(mean)
    deviation = jnp.where(counted & finite, values - jnp.where(finite, mean, 0.0), 0.0)
    num_rows = jnp.sum(counted)
    variance = num_rows / jnp.maximum(num_rows - 1, 1) * jnp.sum((weights / total * deviation) ** 2)
    return Mean(mean, jnp.where((num_rows > 1) & finite, jnp.sqrt(variance), jnp.inf))


def check_weights(where: str, weights: Array | None, values: Array) -> Array:
    """weights as floats of the shape [N] and dtype of `values`; None: ones.

    Raises:
        ValueError: another shape; where they are concrete, negative or not finite, or all 0.
    """
    if weights is None:
        return jnp.ones(values.shape, values.dtype)
    weights = jnp.asarray(weights)
    if weights.shape != values.shape:
        raise ValueError(
            f"{where}: weights has shape {weights.shape} but there are {values.shape[0]} rows; pass one weight a row"
        )
    seen = concrete(weights)
    if seen is not None:
        bad = ~((seen >= 0) & np.isfinite(seen))
        if bad.any():
            raise ValueError(
                f"{where}: weights has {int(bad.sum())} values of {seen.size} that are negative or not finite (first: "
                f"row {int(bad.argmax())}, {seen[bad.argmax()]:.6g}); a row that should not count has weight 0"
            )
        if not seen.any():
            raise ValueError(f"{where}: all weights are 0; some row must count")
    return weights.astype(values.dtype)


def concrete(values: Array) -> np.ndarray | None:
    """The values, or None inside a trace."""
    return None if isinstance(values, jax.core.Tracer) else np.asarray(values)


def _probs(where, probs):
    return probs.probs if isinstance(probs, Forecast) else check_probs(where, probs)


def _shape(probs):
    """N and K; [N] is of two classes."""
    return probs.shape if probs.ndim == 2 else (probs.shape[0], 2)
