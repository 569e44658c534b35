"""Temperature scaling: one number for all classes."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from probjax.forecasts import Forecast
from probjax.recalibration.calibrator import Calibrator, Rows, check_not_nan, check_rows, finished, mark

STRIDE, WORTH_A_SAMPLE = 16, 16_000  # Newton's method starts from the optimum of every 16th of so many rows
MAX_STEPS = 100
SMALL = 1e-6  # a β below which the slope at 0 is asked whether the optimum is there


class Temperature(NamedTuple):
    """inverse_temperature: β = 1/T, a scalar; 0 where T is infinite, inf where T is 0."""

    inverse_temperature: Array


def temperature(forecast: Forecast, labels: Any) -> Calibrator:
    """softmax(z/T), T by maximum likelihood (Guo, Pleiss, Sun & Weinberger 2017).

    With β = 1/T the log-likelihood of a row is βz_y − log Σₖ exp(βz_k): concave in β, slope z_y − E_β[z], curvature
    −Var_β[z]. So the optimum is one point, found by Halley's steps inside a bracket. It is finite and positive exactly
    where some row's class is not (among) its most probable and the mean of z_y − z̄ is positive (z̄: the plain mean over
    classes, the slope at β = 0). Otherwise the calibrator warns and holds the limit: no row wrong, β = ∞ (every
    forecast becomes certain); mean not positive, β = 0 (every forecast becomes uniform over the classes it allows).

    The most probable class stays in every row. The order of rows by confidence stays for two classes only.

    Args:
        forecast, labels: N held-out rows, [N, K] and [N]. A probability of 0 stays 0.

    Returns:
        params `Temperature`; info: `num_steps`, `last_step` (relative to β, of steps that each leave about its cube),
        `converged`. Rows that are all uniform determine nothing: β = 1.

    Raises:
        ValueError: a class occurred that had probability 0: no temperature changes that infinite loss.

    Reads values, so it cannot be traced; the map that it returns can.

    >>> import numpy as np
    >>> from probjax.forecasts import from_logits
    >>> forecast = from_logits(np.array([3.0, 3.0, 3.0, -3.0]))  # right in three of four
    >>> round(float(1 / temperature(forecast, np.array([1, 1, 0, 0])).params.inverse_temperature), 3)  # 3 / log 3
    2.731
    """
    forecast, labels = check_rows("temperature", forecast, labels)
    fit = _fit(forecast.log_probs, labels)
    info = {"num_steps": fit.search.num_steps, "last_step": fit.search.size, "converged": fit.converged}
    note, beta = "", fit.search.beta
    if not fit.plain:
        note, beta, changed = _examined(fit, forecast, labels)
        info |= changed
    params = Temperature(jnp.asarray(beta, forecast.log_probs.dtype))
    return finished("temperature", params, apply, info, forecast, labels, note=note, warn=note != "", rows=fit.rows)


def apply(params: Temperature, forecast: Forecast) -> Forecast:
    """log softmax(β log p); at β = 0 and ∞ its limit."""
    below = forecast.log_probs - jnp.max(forecast.log_probs, axis=1, keepdims=True)
    scaled = jnp.where(below == 0, 0.0, params.inverse_temperature * below)  # 0, not ∞ · 0, at the top
    scaled = jnp.where(jnp.isneginf(below), -jnp.inf, scaled)  # nor 0 · ∞ at the bottom
    return Forecast(scaled - jax.nn.logsumexp(scaled, axis=1, keepdims=True))


_INFINITE = (
    "temperature is infinite: the mean of z_y − z̄ is {:.3g}, so these forecasts are worth less than uniform ones, "
    "which take their place; look whether the columns are in the order of the labels"
)
_ZERO = (
    "temperature is 0: no row is wrong, so the likelihood rises for ever as forecasts become certain; any wrong row to "
    "come will cost infinitely much: fit on more rows"
)


def _examined(fit, forecast, labels):
    """(note, β, changes to info) of a fit that is not plain."""
    z = forecast.log_probs
    if np.isnan(fit.least_top):
        check_not_nan("temperature", forecast)
    if lost := int(fit.num_lost):
        raise ValueError(
            f"temperature: in {lost} of {len(z)} rows (first: row {int(fit.first_lost)}) the class that occurred had "
            "probability 0: the loss is infinite at every temperature; remove those rows, or say what 0 means with "
            "floored(forecast, least)"
        )
    known = {"num_steps": 0, "last_step": 0.0, "converged": True}
    if not fit.num_wrong:
        if (jnp.isneginf(z) | (z == jnp.max(z, axis=1, keepdims=True))).all():
            return "every row is uniform: no temperature changes anything, and 1 is kept", 1.0, known
        return _ZERO, jnp.inf, known
    if (slope := _slope_at_zero(z, labels)) <= 0:
        return _INFINITE.format(float(slope)), 0.0, {"converged": True}
    return "" if fit.converged else f"not converged after {int(fit.search.num_steps)} steps", fit.search.beta, {}


class _Search(NamedTuple):
    """β, the bracket of its optimum, the last step relative to β, passes over the rows."""

    beta: Array
    low: Array
    high: Array
    size: Array
    num_steps: Array


class _Fit(NamedTuple):
    """search, converged: at its end. num_lost, first_lost, num_wrong: rows whose class had probability 0, the first of
    them, rows whose class was not the most probable. least_top: min_i max_k z_ik, NaN if any of z is. plain: nothing
    of all this needs a second look. rows: their mark."""

    search: _Search
    converged: Array
    plain: Array
    rows: Rows
    num_lost: Array
    first_lost: Array
    num_wrong: Array
    least_top: Array


@jax.jit
def _fit(log_probs, labels) -> _Fit:
    """One program for the whole fit: each pass over the rows, and each return to the host, counts."""
    dtype = log_probs.dtype
    tolerance = 5 * float(jnp.finfo(dtype).eps) ** (1 / 3)  # a cubic step from there ends at rounding
    top = jnp.max(log_probs, axis=1)
    own = jnp.take_along_axis(log_probs, labels[:, None], axis=1)[:, 0] - top
    lost, least_top, num_wrong = jnp.isneginf(own), jnp.min(top), jnp.sum(own < 0)
    wanted = (num_wrong > 0) & ~lost.any() & ~jnp.isnan(least_top)
    beta = jnp.ones((), dtype)
    if len(log_probs) >= WORTH_A_SAMPLE:
        beta = _near(log_probs, top, own, wanted).astype(dtype)
    search = _searched(log_probs, top, own, beta, tolerance, wanted)
    converged = search.size <= tolerance
    plain = wanted & converged & (search.beta >= SMALL)
    rows = mark(Forecast(log_probs), labels)
    return _Fit(search, converged, plain, rows, jnp.sum(lost), jnp.argmax(lost), num_wrong, least_top)


def _near(log_probs, top, own, wanted):
    """A β near the optimum, in single precision, whose exponentials cost a third: the optimum of every `STRIDE`th row,
    then one step on all rows."""
    single = lambda a: a.astype(jnp.float32)
    some = _searched(*(single(a[::STRIDE]) for a in (log_probs, top, own)), jnp.ones((), jnp.float32), 0.1, wanted).beta
    start = _start(jnp.clip(some, 1e-3, 1e3))  # the sample's optimum may be at a limit
    return jnp.clip(_step(start, single(log_probs - top[:, None]), single(own)).beta, 1e-3, 1e3)


def _searched(log_probs, top, own, beta, tolerance, wanted) -> _Search:
    """From β to the root of the mean slope."""
    unfinished = lambda search: wanted & (search.size > tolerance) & (search.num_steps < MAX_STEPS)

    def body(search):
        # tied to the search, or XLA would take the difference out of the loop and write it to memory
        z, t, search = jax.lax.optimization_barrier((log_probs, top, search))
        return _step(search, z - t[:, None], own)

    return jax.lax.while_loop(unfinished, body, _start(beta))


def _start(beta) -> _Search:
    zero = jnp.zeros_like(beta)
    return _Search(beta, zero, zero + jnp.inf, zero + jnp.inf, jnp.zeros((), jnp.int32))


def _step(search: _Search, below, own) -> _Search:
    """Halley's step inside the bracket."""
    beta, low, high, _, num_steps = search
    mean, variance, third = _moments(below, beta)
    slope = jnp.mean(own) - mean
    low, high = jnp.where(slope >= 0, beta, low), jnp.where(slope <= 0, beta, high)
    newton = slope / variance
    bend = jnp.clip(1 + 0.5 * newton * third / variance, 0.5, 2.0)  # far away, Newton's step within a factor 2
    new = beta + newton / bend
    # 4β or β/5 at most: a slope that is nearly flat sends the step far off
    inside = (new > jnp.maximum(low, beta / 5)) & (new < jnp.minimum(high, 4 * beta))
    outward = jnp.where(slope > 0, jnp.minimum(4 * beta, 0.5 * (beta + high)), low + 0.2 * (beta - low))
    new = jnp.where(slope == 0, beta, jnp.where(inside, new, outward))
    return _Search(new, low, high, jnp.abs(new - beta) / new, num_steps + 1)


@jax.jit
def _slope_at_zero(log_probs, labels):
    """The mean of z_y − z̄, z̄ over the classes that are possible."""
    possible = ~jnp.isneginf(log_probs)
    own = jnp.take_along_axis(log_probs, labels[:, None], axis=1)[:, 0]
    return jnp.mean(own - jnp.mean(log_probs, axis=1, where=possible))


def _moments(below, beta):
    """Mean over rows of the mean, variance and third central moment of z − max z, `below`, under softmax(βz)."""
    # an impossible class lies so far below that no weight is left to it, and 0 · ∞ does not arise
    below = jnp.maximum(below, -(float(jnp.finfo(below.dtype).max) ** 0.25))
    weight = jnp.exp(beta * below)
    first = weight * below
    second = first * below
    # one reduction of four: apart, each would take the exponentials anew
    add = lambda some, more: tuple(a + b for a, b in zip(some, more))
    zeros = (jnp.zeros((), below.dtype),) * 4
    total, first, second, third = jax.lax.reduce((weight, first, second, second * below), zeros, add, (1,))
    m = first / total
    variance = second / total - m**2
    third = third / total - m * (3 * variance + m**2)
    return jnp.mean(m), jnp.mean(variance), jnp.mean(third)
