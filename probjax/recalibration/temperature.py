"""Temperature scaling: one number for all classes."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from probjax.forecasts import Forecast
from probjax.recalibration.calibrator import Calibrator, check_not_nan, check_rows, finished

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
    rows = _prepared(forecast.log_probs, labels)
    if np.isnan(rows.least_top):
        check_not_nan("temperature", forecast)
    info = {"num_steps": 0, "last_step": 0.0, "converged": True}
    note, beta = _without_search(rows, forecast.log_probs)
    if beta is None:
        beta, num_steps, size, converged = _solve(forecast.log_probs, rows)
        info = {"num_steps": num_steps, "last_step": size, "converged": converged}
        note = "" if converged else f"not converged after {int(num_steps)} steps"
        if (beta < SMALL or not converged) and (slope := _slope_at_zero(forecast.log_probs, labels)) <= 0:
            note, beta, info["converged"] = _INFINITE.format(float(slope)), 0.0, True
    params = Temperature(jnp.asarray(beta, forecast.log_probs.dtype))
    return finished("temperature", params, apply, info, forecast, labels, note=note, warn=note != "")


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


def _without_search(rows, log_probs):
    """(note, β) where no row is wrong, ("", None) where one is."""
    lost = int(rows.num_lost)
    if lost:
        raise ValueError(
            f"temperature: in {lost} of {len(rows.own)} rows (first: row {int(jnp.argmin(rows.own))}) the class that "
            "occurred had probability 0: the loss is infinite at every temperature; remove those rows, or say what 0 "
            "means with floored(forecast, least)"
        )
    if rows.num_wrong:
        return "", None
    if (jnp.isneginf(log_probs) | (log_probs == rows.top[:, None])).all():
        return "every row is uniform: no temperature changes anything, and 1 is kept", 1.0
    return _ZERO, jnp.inf


class _Rows(NamedTuple):
    """top: max_k z_k [N], and the least of them, NaN if any of z is. own: z_y less the top [N]. single: z less the top
    in single precision [N, K]. num_lost, num_wrong: rows whose class had probability 0, and rows whose class was not
    the most probable."""

    top: Array
    least_top: Array
    own: Array
    single: Array
    num_lost: Array
    num_wrong: Array


@jax.jit
def _prepared(log_probs, labels) -> _Rows:
    top = jnp.max(log_probs, axis=1)
    own = jnp.take_along_axis(log_probs, labels[:, None], axis=1)[:, 0]
    single = (log_probs - top[:, None]).astype(jnp.float32)
    return _Rows(top, jnp.min(top), own - top, single, jnp.sum(jnp.isneginf(own)), jnp.sum(own < top))


@jax.jit
def _slope_at_zero(log_probs, labels):
    """The mean of z_y − z̄, z̄ over the classes that are possible."""
    possible = ~jnp.isneginf(log_probs)
    own = jnp.take_along_axis(log_probs, labels[:, None], axis=1)[:, 0]
    return jnp.mean(own - jnp.mean(log_probs, axis=1, where=possible))


@jax.jit
def _solve(log_probs, rows):
    """(β, number of passes over all rows, relative size of the last step, converged)."""
    dtype = log_probs.dtype
    tolerance = 5 * float(jnp.finfo(dtype).eps) ** (1 / 3)  # a cubic step from there ends at rounding
    beta = jnp.ones((), dtype)
    if len(log_probs) >= WORTH_A_SAMPLE:
        # single precision first, whose exponentials cost a third: to the sample's optimum, then one step on all rows
        own = rows.own.astype(jnp.float32)
        near = _halley(rows.single[::STRIDE], 0, own[::STRIDE], beta.astype(jnp.float32), 0.1)[0]
        near = jnp.clip(near, 1e-3, 1e3)  # the sample's optimum may be at a limit
        beta = jnp.clip(_halley(rows.single, 0, own, near, 0.5)[0], 1e-3, 1e3).astype(dtype)
    beta, size, num_steps = _halley(log_probs, rows.top[:, None], rows.own, beta, tolerance)
    return beta, num_steps, size, size <= tolerance


def _halley(log_probs, top, own, beta, tolerance):
    """The root in β of the mean slope: (β, relative size of the last step, number of passes over the rows)."""
    target = jnp.mean(own)

    def step(carry):
        beta, low, high, _, number = carry
        mean, variance, third = _moments(log_probs - top, beta)
        slope = target - mean
        low, high = jnp.where(slope >= 0, beta, low), jnp.where(slope <= 0, beta, high)
        newton = slope / variance
        bend = jnp.clip(1 + 0.5 * newton * third / variance, 0.5, 2.0)  # far away, Newton's step within a factor 2
        new = beta + newton / bend
        # 4β or β/5 at most: a slope that is nearly flat sends the step far off
        inside = (new > jnp.maximum(low, beta / 5)) & (new < jnp.minimum(high, 4 * beta))
        outward = jnp.where(slope > 0, jnp.minimum(4 * beta, 0.5 * (beta + high)), low + 0.2 * (beta - low))
        new = jnp.where(slope == 0, beta, jnp.where(inside, new, outward))
        return new, low, high, jnp.abs(new - beta) / new, number + 1

    unfinished = lambda carry: (carry[3] > tolerance) & (carry[4] < MAX_STEPS)
    zero = jnp.zeros_like(beta)
    carry = (beta, zero, zero + jnp.inf, zero + jnp.inf, 0)
    beta, _, _, size, number = jax.lax.while_loop(unfinished, step, carry)
    return beta, size, number


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
