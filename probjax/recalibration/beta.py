"""Beta calibration of two classes."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from probjax.forecasts import Forecast
from probjax.recalibration import logistic
from probjax.recalibration.calibrator import (
    Calibrator,
    check_binary,
    check_fit,
    check_possible,
    finished,
    finite,
    forecast_of_log_odds,
)
from probjax.recalibration.platt import refuse_separated


class Beta(NamedTuple):
    """P(class 1) = σ(a log p − b log(1 − p) + c), a and b ≥ 0."""

    a: Array
    b: Array
    c: Array


def beta(forecast: Forecast, labels: Any) -> Calibrator:
    """σ(a log p − b log(1 − p) + c) by maximum likelihood under a, b ≥ 0 (Kull, Silva Filho & Flach 2017).

    The true map where p follows a beta distribution in either class. a = b is Platt's sigmoid of the log-odds;
    a = b = 1, c = 0 changes nothing. The optimum of this convex problem under its bounds is exact: that of all three
    parameters where it obeys them, otherwise the best of those with a = 0, with b = 0, and with both.

    Args:
        forecast, labels: N held-out rows of two classes.

    Returns:
        params `Beta`; info as of `platt`. A constant forecast determines neither a nor b: a constant comes back.

    Raises:
        ValueError: more classes than 2; a probability of exactly 0; one class alone; classes that a threshold of p
            separates.

    Reads values, so it cannot be traced; the map that it returns can.

    >>> import numpy as np
    >>> from probjax.forecasts import from_probs
    >>> fitted = beta(from_probs(np.array([0.9, 0.9, 0.9, 0.1, 0.1])), np.array([1, 1, 0, 0, 1]))
    >>> [round(p, 3) for p in fitted(from_probs(np.array([0.9, 0.1]))).probs[:, 1].tolist()]
    [0.667, 0.5]
    """
    forecast, labels = check_fit("beta", forecast, labels)
    check_binary("beta", forecast)
    check_possible("beta", forecast)
    cure = "use platt, whose smoothed targets keep it finite"
    refuse_separated("beta", forecast, labels, either_way=False, cure=cure)
    log_probs = finite(forecast.log_probs)
    features = (log_probs[:, 1], -log_probs[:, 0])
    targets = labels.astype(log_probs.dtype)
    fits = [logistic.fit(features, targets, jnp.ones(2))]
    if not (fits[0].coefficients >= 0).all():
        faces = [logistic.fit(features, targets, jnp.array(free)) for free in ([0.0, 1.0], [1.0, 0.0], [0.0, 0.0])]
        fits = [fit for fit in faces if (fit.coefficients >= 0).all()]
    best = min(fits, key=lambda fit: float(logistic.cross_entropy(fit, features, targets)))
    info = {"num_steps": best.num_steps, "decrement": best.decrement, "converged": best.converged}
    params = Beta(*best.coefficients, best.intercept)
    note = "" if (best.coefficients > 0).any() else "a = b = 0: the answer is a constant, the share of class 1"
    return finished("beta", params, apply, info, forecast, labels, note=note)


def apply(params: Beta, forecast: Forecast) -> Forecast:
    """The map; log 0 counts as the logarithm of the least normal number."""
    log_probs = finite(forecast.log_probs)
    return forecast_of_log_odds(params.a * log_probs[:, 1] - params.b * log_probs[:, 0] + params.c)
