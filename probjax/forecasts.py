"""Forecasts of classes: probabilities of K classes for each of N rows, kept as logarithms.

What comes in is told apart by the name of the function it is given to, never guessed from its values: `from_probs`
takes probabilities, `from_logits` what a network puts before its softmax.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

SUM_TOLERANCE = {"float16": 1e-2, "bfloat16": 1e-2, "float32": 1e-4, "float64": 1e-6}  # rounding of a sum of classes
MANY_LOGITS = 20  # log-odds that all lie in [0, 1] by chance are fewer


class Forecast(NamedTuple):
    """log_probs: [N, K], nats; each row's probabilities sum to 1. A probability of 0 is −inf."""

    log_probs: Array

    @property
    def probs(self) -> Array:
        """[N, K]."""
        return jnp.exp(self.log_probs)


def from_probs(probs: Any) -> Forecast:
    """A forecast from probabilities.

    Args:
        probs: [N] of class 1 of two, or [N, K] with rows that sum to 1 (to rounding; what is left is divided out).

    Raises:
        ValueError: another shape, values that are NaN or outside [0, 1], rows that do not sum to 1; it says where and
            by how much.

    >>> import numpy as np
    >>> from_probs(np.array([0.25, 1.0])).log_probs.shape
    (2, 2)
    """
    probs = check_probs("from_probs", probs)
    if probs.ndim == 1:
        return Forecast(jnp.stack([jnp.log1p(-probs), jnp.log(probs)], axis=1))
    total = jnp.sum(probs, axis=1, keepdims=True)
    # a sum that is 1 to rounding stays: divided out, it would part equal probabilities of unlike rows
    total = jnp.where(jnp.abs(total - 1) <= probs.shape[1] * jnp.finfo(probs.dtype).eps, 1.0, total)
    return Forecast(jnp.log(probs) - jnp.log(total))


def from_logits(logits: Any) -> Forecast:
    """A forecast from logits: log softmax of each row.

    Args:
        logits: [N] log-odds of class 1 of two, or [N, K]; −inf is a probability of 0.

    Raises:
        ValueError: another shape, NaN or +inf.

    Rows in [0, 1] that all sum to 1, and a column that lies in [0, 1], are warned about: they look like probabilities.

    >>> import numpy as np
    >>> from_logits(np.zeros((2, 4))).probs[0, 0].item()
    0.25
    """
    logits = _floating("from_logits", "logits", logits)
    seen = _seen(logits)
    if seen is not None:
        _refuse_bad_logits(seen)
    if logits.ndim == 1:
        return Forecast(jnp.stack([-jnp.logaddexp(0.0, logits), -jnp.logaddexp(0.0, -logits)], axis=1))
    return Forecast(logits - jax.nn.logsumexp(logits, axis=1, keepdims=True))


def check_probs(where: str, probs: Any) -> Array:
    """probs as a floating array [N] or [N, K]; values are checked where they are concrete.

    Raises:
        ValueError: as `from_probs`.
    """
    if isinstance(probs, Forecast):
        raise TypeError(f"{where}: probs is a Forecast; pass its .probs [N, K], or .probs[:, 1] for one event")
    probs = _floating(where, "probs", probs)
    seen = _seen(probs)
    if seen is None:
        return probs
    if not (seen.min() >= 0 and seen.max() <= 1):  # NaN is neither
        outside = ~((seen >= 0) & (seen <= 1))
        row = np.argwhere(outside)[0]
        value, count = seen[tuple(row)], int(outside.sum())
        cure = "remove those rows" if np.isnan(value) else "if these are logits, pass them through from_logits"
        raise ValueError(
            f"{where}: probs has {count} values of {seen.size} outside [0, 1] (first: {value:.6g} in row {row[0]}); "
            f"{cure}"
        )
    if seen.ndim == 2:
        gap = np.abs(seen.sum(1, dtype=np.float64) - 1)
        if gap.max() > SUM_TOLERANCE[str(probs.dtype)]:
            row = int(gap.argmax())
            raise ValueError(
                f"{where}: rows of probs must sum to 1, but {int((gap > SUM_TOLERANCE[str(probs.dtype)]).sum())} of "
                f"{len(seen)} do not; row {row} sums to {seen[row].sum():.6g}, off by {gap[row]:.3g}; divide each row "
                "by its sum, or pass one column [N] if these are chances of class 1"
            )
    return probs


def check_labels(where: str, labels: Any, num_rows: int, num_classes: int) -> Array:
    """labels as integers [N] in 0 … K − 1.

    Raises:
        ValueError: another shape, other numbers than those, or as many labels as there are no rows.
    """
    labels = labels if isinstance(labels, jax.Array) else np.asarray(labels)
    if labels.dtype.kind not in "biuf":
        raise ValueError(
            f"{where}: labels are {labels.dtype}, not numbers; encode classes as 0 … {num_classes - 1}, in the order "
            "of the columns"
        )
    if labels.ndim != 1 or labels.shape[0] != num_rows:
        raise ValueError(
            f"{where}: labels has shape {labels.shape} but there are {num_rows} rows of forecasts; expected "
            f"({num_rows},), the number of the class that occurred"
        )
    seen = _seen(labels)
    if seen is not None and not _whole_between(seen, 0, num_classes - 1):
        bad = ~np.isin(seen, np.arange(num_classes))
        row = int(bad.argmax())
        raise ValueError(
            f"{where}: labels must be integers 0 … {num_classes - 1}; {int(bad.sum())} of {len(seen)} are not "
            f"(first: row {row}, {seen[row]}); encode classes as numbers, in the order of the columns"
        )
    return jnp.asarray(labels.astype(np.int32))


def _whole_between(values, low, high) -> bool:
    """Whether all are whole numbers from low to high, in a few passes over the memory."""
    within = bool(values.min() >= low and values.max() <= high)
    return within and (values.dtype.kind in "iub" or bool(np.all(values == np.round(values))))


def _floating(where, name, values):
    values = jnp.asarray(values)
    if values.ndim not in (1, 2) or 0 in values.shape or (values.ndim == 2 and values.shape[1] < 2):
        raise ValueError(
            f"{where}: {name} has shape {values.shape}; expected [N], of class 1 of two, or [N, K], a column a class"
        )
    return values if jnp.issubdtype(values.dtype, jnp.floating) else values.astype(jnp.result_type(float))


def _seen(values) -> np.ndarray | None:
    """The values, or None inside a trace."""
    return None if isinstance(values, jax.core.Tracer) else np.asarray(values)


def _refuse_bad_logits(seen):
    bad = np.isnan(seen) | np.isposinf(seen) if seen.ndim == 2 else np.isnan(seen)
    if bad.any():
        row = np.argwhere(bad)[0]
        raise ValueError(
            f"from_logits: logits has {int(bad.sum())} values that are NaN or +inf (first: row {row[0]}); remove these "
            "rows"
        )
    if seen.ndim == 2:
        empty = np.isneginf(seen).all(1)
        if empty.any():
            raise ValueError(f"from_logits: row {int(empty.argmax())} of logits is all −inf; no class can occur there")
        if (seen >= 0).all() and np.allclose(seen.sum(1), 1, atol=1e-4):
            warnings.warn(
                "from_logits: all rows lie in [0, 1] and sum to 1, as probabilities do; if they are, use from_probs",
                stacklevel=3,
            )
    elif len(seen) >= MANY_LOGITS and (seen >= 0).all() and (seen <= 1).all():
        warnings.warn(
            "from_logits: all log-odds lie in [0, 1], as probabilities do; if they are, use from_probs", stacklevel=3
        )
