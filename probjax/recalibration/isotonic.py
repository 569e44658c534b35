"""Isotonic calibration of two classes, by SciPy's pool-adjacent-violators in C."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.optimize import isotonic_regression

from probjax.forecasts import Forecast
from probjax.recalibration.calibrator import Calibrator, check_binary, check_fit, finished


class Steps(NamedTuple):
    """The map of the probability of class 1: values [J] at knots [J], both ascending; linear between, constant
    outside."""

    knots: Array
    values: Array


def isotonic(forecast: Forecast, labels: Any) -> Calibrator:
    """The ascending map of p₁ that minimises Σ(yₙ − m(pₙ))² (Zadrozny & Elkan 2002), and with it every proper score
    of these rows (Ayer et al. 1955; Brümmer & du Preez 2013).

    Equal forecasts are pooled first. Between the ends of its blocks the map is linear, outside the range of the fit
    constant: scikit-learn's rule. Its values are shares of rows, so they can be exactly 0 and 1 at the ends, where one
    wrong row to come costs an infinite log score: the note says how many rows of the fit lie there. It overfits small
    sets; `assess` shows by how much.

    Args:
        forecast, labels: N held-out rows of two classes; probabilities of exactly 0 and 1 are welcome.

    Returns:
        params `Steps`; info: `num_blocks`, `converged` (always).

    Raises:
        ValueError: more classes than 2.

    Sorts in NumPy, so it cannot be traced; the map that it returns can.

    >>> from probjax.forecasts import from_probs
    >>> fitted = isotonic(from_probs(np.array([0.1, 0.3, 0.4, 0.8])), np.array([0, 1, 0, 1]))
    >>> fitted.params.values.tolist(), fitted.note
    ([0.0, 0.5, 0.5, 1.0], '2 of 4 rows are mapped to exactly 0 or 1, ...')
    """
    forecast, labels = check_fit("isotonic", forecast, labels)
    check_binary("isotonic", forecast)
    prob = np.asarray(jnp.exp(forecast.log_probs[:, 1]), np.float64)  # as `apply` takes it, to the last bit
    points, counts, ones = _pooled(prob, np.asarray(labels))
    fitted = isotonic_regression(ones / counts, weights=counts)
    first, last = fitted.blocks[:-1], fitted.blocks[1:] - 1
    ends = np.unique(np.concatenate([first, last]))
    certain = int(counts[(fitted.x == 0) | (fitted.x == 1)].sum())
    note = f"{certain} of {len(prob)} rows are mapped to exactly 0 or 1, where a wrong one costs an infinite log score"
    dtype = forecast.log_probs.dtype
    params = Steps(jnp.asarray(points[ends], dtype), jnp.asarray(fitted.x[ends], dtype))
    info = {"num_blocks": len(first), "converged": True}
    return finished("isotonic", params, apply, info, forecast, labels, note=note if certain else "")


def apply(params: Steps, forecast: Forecast) -> Forecast:
    """The map, by linear interpolation."""
    prob = jnp.interp(jnp.exp(forecast.log_probs[:, 1]), params.knots, params.values)
    return Forecast(jnp.stack([jnp.log1p(-prob), jnp.log(prob)], axis=1))


def _pooled(prob, labels):
    """The distinct forecasts in order, how many rows each has, and how many of those are of class 1."""
    # the bits of a number that is not negative are in its order and leave the lowest place free once shifted: with the
    # label there, sorting moves both, at a third of the price of argsort
    keys = (prob + 0.0).view(np.uint64) << np.uint64(1)
    keys |= labels.astype(np.uint64)
    keys.sort()
    ones = (keys & np.uint64(1)).astype(np.float64)
    keys >>= np.uint64(1)
    points = keys.view(np.float64)
    starts = np.flatnonzero(points[1:] != points[:-1]) + 1
    if len(starts) == len(points) - 1:
        return points, np.ones(len(points)), ones
    starts = np.concatenate([[0], starts])
    return points[starts], np.diff(starts, append=len(points)).astype(np.float64), np.add.reduceat(ones, starts)
