"""Binned calibration errors of forecasts of K classes: each class against the rest, or the most likely class."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from probjax.calibration.errors import CalibrationError, calibration_error
from probjax.forecasts import check_labels, check_probs


class ClasswiseError(NamedTuple):
    """value: the mean over classes of their errors; low, high: the means of the ends of their intervals; null_value:
    the mean of what a calibrated model shows. per_class: K results. caveats: of the whole; each class has its own."""

    value: float
    low: float
    high: float
    level: float
    null_value: float
    per_class: tuple[CalibrationError, ...]
    caveats: tuple[str, ...]

    def __str__(self) -> str:
        first = self.per_class[0]
        lines = [
            f"classwise calibration error {self.value:.5f}, {self.level:.0%} interval [{self.low:.5f}, "
            f"{self.high:.5f}]; a calibrated model shows {self.null_value:.5f}",
            f"mean over {len(self.per_class)} classes, each against the rest; norm: {first.norm}",
            f"bins: {first.rule} (of class 0)",
            *(f"caveat: {caveat}" for caveat in self.caveats),
        ]
        return "\n".join(lines)


def classwise_error(probs: Any, labels: Any, **settings: Any) -> ClasswiseError:
    """(1/K) Σ_k of the calibration error of "class k or not" (Kull et al. 2019; Nixon et al. 2019).

    The interval has the means of the classes' ends: exact if the classes' errors moved together, too wide otherwise.

    Args:
        probs: [N, K], or [N] of class 1 of two.
        labels: [N] integers 0 … K − 1.
        settings: num_bins, bins, norm, level as of `calibration_error`.

    Raises:
        ValueError: as `calibration_error`.

    >>> probs = np.array([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]])
    >>> classwise_error(probs, np.array([0, 1]), num_bins=1).value == (0 + 0.25 + 0.25) / 3
    True
    """
    probs, labels = two_columns("classwise_error", probs, labels)
    results = tuple(
        calibration_error(column, (labels == k).astype(int), **settings) for k, column in enumerate(np.asarray(probs).T)
    )
    mean = {
        name: float(np.mean([getattr(r, name) for r in results])) for name in ("value", "low", "high", "null_value")
    }
    counts = np.bincount(labels, minlength=len(results))
    absent = np.flatnonzero(counts == 0)
    caveats = (f"classes {', '.join(map(str, absent[:10]))} have no label here",) if len(absent) else ()
    return ClasswiseError(**mean, level=results[0].level, per_class=results, caveats=caveats)


def top_label_error(probs: Any, labels: Any, **settings: Any) -> CalibrationError:
    """The calibration error of "the most likely class is right", forecast by its probability (Guo et al. 2017). Among
    equals the first is taken.

    It says nothing of the other classes' probabilities.

    Args:
        probs, labels, settings: as `classwise_error`.

    Raises:
        ValueError: as `calibration_error`.

    >>> top_label_error(np.array([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]]), np.array([0, 1]), num_bins=1).value
    0.5
    """
    confidence, right = top_label(*two_columns("top_label_error", probs, labels))
    return calibration_error(confidence, right, **settings)


def top_label(probs: Array, labels: Array) -> tuple[Array, Array]:
    """[N] probability of the most likely class, and whether it occurred, 0 or 1, from probs [N, K].

    >>> [part.tolist() for part in top_label(jnp.array([[0.25, 0.75]]), jnp.array([0]))]
    [[0.75], [0]]
    """
    return jnp.max(probs, axis=1), (jnp.argmax(probs, axis=1) == labels).astype(jnp.int32)


def two_columns(where: str, probs: Any, labels: Any) -> tuple[Array, Array]:
    """probs [N, K], labels [N]."""
    probs = check_probs(where, probs)
    if probs.ndim == 1:
        probs = jnp.stack([1 - probs, probs], axis=1)
    return probs, check_labels(where, labels, *probs.shape)
