"""Logistic regression on a few features of many rows, the work inside `platt` and `beta`."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

STRIDE, WORTH_A_SAMPLE = 16, 16_000  # Newton's method starts from the optimum of every 16th of so many rows
MAX_STEPS = 100


class Fit(NamedTuple):
    """coefficients [F], intercept; num_steps; decrement: ∇ᵀH⁻¹∇ before the last step, which leaves about that much
    of it; converged."""

    coefficients: Array
    intercept: Array
    num_steps: Array
    decrement: Array
    converged: Array


class _State(NamedTuple):
    w: Array
    grad: Array
    hessian: Array
    direction: Array
    size: Array
    decrement: Array
    num_steps: Array


def fit(features: tuple[Array, ...], targets: Array, free: Array) -> Fit:
    """Minimise the mean of log(1 + eᶠ) − tf, f = Σ cⱼxⱼ + intercept, by Newton's method.

    Args:
        features: F arrays [N], finite.
        targets: [N], in [0, 1].
        free: [F], 1 where a coefficient is fitted, 0 where it stays 0. A feature that is constant stays out as well.
    """
    return _fit(features, targets, jnp.asarray(free, targets.dtype))


@jax.jit
def cross_entropy(fit: Fit, features: tuple[Array, ...], targets: Array) -> Array:
    """Mean of log(1 + eᶠ) − tf, nats a row."""
    f = sum(c * x for c, x in zip(fit.coefficients, features)) + fit.intercept
    return jnp.mean(jax.nn.softplus(f) - targets * f)


@jax.jit
def _fit(features, targets, free):
    dtype = targets.dtype
    centre = jnp.stack([jnp.mean(x) for x in features])
    spread = jnp.stack([jnp.std(x) for x in features])
    extent = jnp.stack([jnp.max(jnp.abs(x)) for x in features])
    varies = spread > 8 * jnp.finfo(dtype).eps * extent  # less is the rounding of the mean
    shift, rate = jnp.where(varies, centre, 0.0), free * varies / jnp.where(varies, spread, 1.0)
    scaled = tuple((x - s) * r for x, s, r in zip(features, shift, rate))
    open_ = jnp.append(free * varies, 1.0).astype(dtype)
    end = _newton(scaled, targets, open_, _near(scaled, targets, open_), _tolerance(dtype))
    coefficients = end.w[:-1] * rate
    converged = (end.decrement <= _tolerance(dtype)) & jnp.all(jnp.isfinite(end.w))
    intercept = end.w[-1] - jnp.dot(coefficients, shift)
    return Fit(coefficients, intercept, end.num_steps + 1, end.decrement, converged)


def _near(features, targets, open_):
    """Where to start: the optimum of some rows, then of all, in single precision, which costs a third."""
    dtype, start = targets.dtype, jnp.zeros(len(features) + 1, jnp.float32)
    if len(targets) < WORTH_A_SAMPLE:
        return start
    features, targets, open_ = jax.tree.map(lambda x: x.astype(jnp.float32), (features, targets, open_))
    part = tuple(x[::STRIDE] for x in features)
    finite = lambda w: jnp.where(jnp.all(jnp.abs(w) < 1e3), w, 0.0)  # the sample may be separated where all are not
    start = finite(_newton(part, targets[::STRIDE], open_, start, 1e-2).w)
    if dtype != jnp.float32:
        start = finite(_newton(features, targets, open_, start, _tolerance(jnp.float32)).w)
    return start


def _tolerance(dtype):
    return float(jnp.finfo(dtype).eps) ** 0.65


def _newton(features, targets, open_, start, tolerance):
    start = start.astype(targets.dtype)
    evaluate = partial(_gradient_and_hessian, features, targets, open_)

    def towards(w, grad, hessian, num_steps):
        direction = -jnp.linalg.solve(hessian, grad)
        return _State(w, grad, hessian, direction, jnp.ones_like(w[0]), -jnp.vdot(grad, direction), num_steps)

    def step(state):
        w = state.w + state.size * state.direction
        grad, hessian = evaluate(w)
        end, slope = jnp.vdot(grad, state.direction), jnp.vdot(state.grad, state.direction)
        # of a convex function all that a line search has to see: whether it ends too far up the other side
        too_far = ~jnp.isfinite(end) | (end > 0.9 * jnp.abs(slope))
        shorter = state._replace(size=0.3 * state.size, num_steps=state.num_steps + 1)
        taken = towards(w, grad, hessian, state.num_steps + 1)
        return jax.tree.map(partial(jnp.where, too_far), shorter, taken)

    # a step is judged by its decrement before it is taken: one that small is taken, and is the last
    begin = towards(start, *evaluate(start), jnp.asarray(0))
    unfinished = lambda s: (s.decrement > tolerance) & (s.num_steps < MAX_STEPS)
    end = jax.lax.while_loop(unfinished, step, begin)
    return end._replace(w=jnp.where(end.decrement <= tolerance, end.w + end.direction, end.w))


def _gradient_and_hessian(features, targets, open_, w):
    f = sum(c * x for c, x in zip(w[:-1], features)) + w[-1]
    prob = jax.lax.optimization_barrier(jax.nn.sigmoid(f))  # else every sum below takes the exponentials anew
    columns = (*features, jnp.ones_like(prob))
    gap, weight = prob - targets, prob * (1 - prob)
    gradient = jnp.stack([jnp.mean(gap * x) for x in columns])
    num = len(columns)
    hessian = jnp.zeros((num, num), prob.dtype)
    for i in range(num):
        for j in range(i + 1):
            value = jnp.mean(weight * columns[i] * columns[j])
            hessian = hessian.at[i, j].set(value).at[j, i].set(value)
    # collinear features leave a direction flat, a coefficient that is not free has none: a small ridge, in H only
    ridge = jnp.diag(1 - open_ + jnp.finfo(prob.dtype).eps * (1 + jnp.diag(hessian)))
    return open_ * gradient, hessian + ridge
