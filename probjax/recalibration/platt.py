"""Platt's sigmoid of two classes' log-odds, or of raw margins."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from probjax.forecasts import Forecast, from_logits
from probjax.recalibration import logistic
from probjax.recalibration.calibrator import (
    Calibrator,
    check_binary,
    check_fit,
    check_possible,
    finished,
    forecast_of_log_odds,
    log_odds,
)


class Sigmoid(NamedTuple):
    """P(class 1) = σ(slope · f + intercept), f the log-odds that came in."""

    slope: Array
    intercept: Array


def platt(forecast: Forecast, labels: Any, *, smoothing: bool = True) -> Calibrator:
    """σ(a f + b) of the log-odds f of class 1, by maximum likelihood (Platt 1999).

    With smoothing the targets are (N₁ + 1)/(N₁ + 2) for the N₁ rows of class 1 and 1/(N₀ + 2) for the others: the
    optimum is then finite for separated classes, and for one class alone. Consistent where log-odds are wrong by an
    affine map; other monotone distortions stay. The features are log-odds, for which a = 1, b = 0 changes nothing; a
    sigmoid of the *probability*, which scikit-learn fits where a classifier has no decision function, is another map.

    Args:
        forecast, labels: N held-out rows of two classes.
        smoothing: Platt's targets. Without, the targets are 0 and 1, and the map is logistic calibration.

    Returns:
        params `Sigmoid`; info: `num_steps`, `decrement` (∇ᵀH⁻¹∇ a row before the last step, which leaves about that
        much of itself), `converged`. A constant forecast determines no slope: it is 0.

    Raises:
        ValueError: more classes than 2; a probability of exactly 0; without smoothing, classes that a threshold
            separates, or one class alone: the optimum is at infinity.

    Reads values, so it cannot be traced; the map that it returns can.

    >>> import numpy as np
    >>> forecast = from_logits(np.array([2.0, 2.0, 2.0, -2.0, -2.0, -2.0]))
    >>> fitted = platt(forecast, np.array([1, 1, 0, 0, 0, 1]), smoothing=False).params
    >>> round(float(fitted.slope), 4), abs(round(float(fitted.intercept), 4))  # 2 of 3 right: ½ log 2
    (0.3466, 0.0)
    """
    forecast, labels = check_fit("platt", forecast, labels)
    check_binary("platt", forecast)
    check_possible("platt", forecast)
    if not smoothing:
        refuse_separated("platt", forecast, labels, either_way=True, cure="use smoothing=True")
    fit = _fit(forecast, labels, jnp.asarray(smoothing))
    params = Sigmoid(fit.coefficients[0], fit.intercept)
    info = {"num_steps": fit.num_steps, "decrement": fit.decrement, "converged": fit.converged}
    return finished("platt", params, apply, info, forecast, labels, note=_note(fit))


@jax.jit
def _fit(forecast, labels, smoothing):
    f = log_odds(forecast)
    one = jnp.sum(labels).astype(f.dtype)
    high = jnp.where(smoothing, (one + 1) / (one + 2), 1.0)
    low = jnp.where(smoothing, 1 / (len(labels) - one + 2), 0.0)
    return logistic.fit((f,), jnp.where(labels == 1, high, low), jnp.ones(1))


def platt_from_margins(margins: Any, labels: Any, *, smoothing: bool = True) -> Calibrator:
    """`platt` of raw margins: a support vector machine's decision function, which is no log-odds of anything before
    it is calibrated. New margins m go in as `calibrator(from_logits(m))`.

    Args:
        margins: [N], larger for class 1.

    >>> import numpy as np
    >>> calibrator = platt_from_margins(np.array([-1.5, -0.5, 0.2, 1.0]), np.array([0, 1, 0, 1]))
    >>> calibrator(from_logits(np.array([0.3]))).probs.shape
    (1, 2)
    """
    if jnp.ndim(margins) != 1:
        raise ValueError(
            f"platt_from_margins: margins has shape {jnp.shape(margins)}; expected [N], one decision value a row"
        )
    return platt(from_logits(margins), labels, smoothing=smoothing)


def apply(params: Sigmoid, forecast: Forecast) -> Forecast:
    """The sigmoid; an infinite log-odds counts as the largest finite one."""
    return forecast_of_log_odds(params.slope * log_odds(forecast) + params.intercept)


def refuse_separated(where: str, forecast: Forecast, labels: Array, *, either_way: bool, cure: str) -> None:
    """A ValueError where no finite optimum exists: one class alone, or classes that a threshold separates
    (`either_way`: class 1 below it, too)."""
    f, one = log_odds(forecast), labels == 1
    if one.all() or not one.any():
        raise ValueError(
            f"{where}: all {len(labels)} rows are of class {int(labels[0])}, so the best intercept is infinite; "
            f"{cure}, or fit on rows of both classes"
        )
    top = jnp.max(jnp.where(one, -jnp.inf, f)), jnp.max(jnp.where(one, f, -jnp.inf))
    low = jnp.min(jnp.where(one, jnp.inf, f)), jnp.min(jnp.where(one, f, jnp.inf))
    apart = top[0] <= low[1] or (either_way and top[1] <= low[0])
    if apart and jnp.any(f != f[0]):
        raise ValueError(
            f"{where}: a threshold separates the two classes in these {len(labels)} rows, so the best slope is "
            f"infinite; {cure}, or fit on more rows"
        )


def _note(fit):
    slope = float(fit.coefficients[0])
    if not fit.converged:
        return f"not converged: decrement {float(fit.decrement):.2g} after {int(fit.num_steps)} steps"
    if slope < 0:
        return f"slope {slope:.3g} is negative: the order of rows is reversed; is class 1 the second column?"
    return "constant forecasts: the answer is a constant" if slope == 0 else ""
