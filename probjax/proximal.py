"""A smooth convex function plus Σ rateⱼ |wⱼ − centreⱼ|: proximal Newton on a working set, with exact zeros.

Each step minimises a quadratic model of the smooth part plus the kinks (Lee, Sun & Saunders 2014), among the
coordinates that are off their kink or are pulled off it. That inner problem is solved by its active set: Newton's step
for the present signs, cut at the best of the places where a coordinate meets its kink (Lee, Battle, Raina & Ng 2007),
until the signs stand. A coordinate that ends on its kink is there exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

SETS = (64, 256, 1024, 4096)  # sizes of working sets: the first that is large enough, or all coordinates
MAX_CUTS = 30
HALVINGS = 8
MAX_INNER = 500
DAMPING = 1e-10  # of a unit diagonal


class Kinks(NamedTuple):
    """Σ rateⱼ |wⱼ − centreⱼ|; rate 0: no kink there. Both [P]."""

    centre: Array
    rate: Array

    def penalty(self, w: Array) -> Array:
        """Its value at w."""
        return jnp.sum(self.rate * jnp.abs(w - self.centre))


class Quadratic(NamedTuple):
    """A quadratic: its slope at 0 and its curvature."""

    slope: Array
    hessian: Array


class Smooth(NamedTuple):
    """The smooth part. value: w -> scalar. gradient: w -> [P]. curvature: (w, columns [K]) -> [K, K].
    quadratic: whether its curvature is constant. known: the quadratic itself, up to rounding, where it is small enough
    to be kept; else None."""

    value: Callable
    gradient: Callable
    curvature: Callable
    quadratic: bool
    known: Quadratic | None


class State(NamedTuple):
    """w, the smooth gradient there, the largest violation of the optimality conditions, steps taken; stuck: a step no
    longer improved matters."""

    w: Array
    grad: Array
    violation: Array
    num_steps: Array
    stuck: Array


def violations(w: Array, grad: Array, kinks: Kinks) -> Array:
    """Distance of 0 from ∂(smooth + kinks) along each coordinate: |∇ⱼ + rateⱼ signⱼ| off the kink, |∇ⱼ| − rateⱼ or 0 on
    it (Karush–Kuhn–Tucker)."""
    off = jnp.abs(grad + kinks.rate * jnp.sign(w - kinks.centre))
    return jnp.where(w == kinks.centre, jnp.maximum(jnp.abs(grad) - kinks.rate, 0.0), off)


def minimise(smooth: Smooth, kinks: Kinks, start: Array, *, max_steps: int, tolerance: float) -> State:
    """Find the minimum from `start`; done when the largest violation is at most `tolerance`."""
    if smooth.known is None:
        grad = smooth.gradient(start)
        violation = jnp.max(violations(start, grad, kinks))
    else:  # good enough for the first step, and no pass over the data
        grad = smooth.known.slope + smooth.known.hessian @ start
        violation = jnp.asarray(jnp.inf, start.dtype)

    def step(state):
        goal = _newton_goal(smooth, kinks, state.w, state.grad)
        w = goal if smooth.quadratic else _cut_back(smooth, kinks, state, goal)
        grad = smooth.gradient(w)
        violation = jnp.max(violations(w, grad, kinks))
        stuck = jnp.all(w == state.w) | ~jnp.isfinite(violation)
        return State(w, grad, violation, state.num_steps + 1, stuck)

    unfinished = lambda s: (s.violation > tolerance) & ~s.stuck & (s.num_steps < max_steps)
    return jax.lax.while_loop(unfinished, step, State(start, grad, violation, jnp.asarray(0), jnp.asarray(False)))


def _newton_goal(smooth, kinks, w, grad):
    """Where the quadratic model plus the kinks has its minimum, over a working set."""
    off = (w != kinks.centre) | (kinks.rate == 0)
    score = jnp.where(off, jnp.inf, jnp.abs(grad) - kinks.rate)

    def curvature(columns):
        if smooth.known is None:
            return smooth.curvature(w, columns)
        return smooth.known.hessian[columns[:, None], columns]

    def within(size):
        def solve(_):
            columns = jax.lax.top_k(score, size)[1]
            kept = w - kinks.centre
            part = _solve_model(curvature(columns), grad[columns], kept[columns], kinks.rate[columns])
            return w.at[columns].set(kinks.centre[columns] + part)

        return solve

    sizes = [size for size in SETS if size < w.size] + [w.size]
    wanted = jnp.minimum(2 * jnp.sum(off) + 16, jnp.sum(score > 0) + 1)
    return jax.lax.switch(jnp.searchsorted(jnp.asarray(sizes[:-1]), wanted), [within(size) for size in sizes], None)


class _Inner(NamedTuple):
    """failed: the last Newton step gained nothing."""

    z: Array
    slope: Array
    failed: Array
    num_steps: Array
    done: Array


def _solve_model(hessian, grad, start, rate):
    """argmin over z of grad·(z − start) + ½ (z − start)ᵀH(z − start) + Σ rate |z|: Newton's steps on the active set,
    and a sweep of coordinate descent, which always gains something if anything can, where such a step gains nothing."""
    scale = jnp.max(jnp.abs(grad) + rate) + jnp.max(jnp.abs(hessian) @ jnp.abs(start))
    noise = 4 * jnp.finfo(start.dtype).eps * scale
    no = jnp.asarray(False)

    def step(inner):
        zero = (inner.z == 0) & (rate > 0)
        # no more new ones at once than there are already: many are pulled only until the first of them have moved
        pull = jnp.where(zero, jnp.abs(inner.slope) - rate, -jnp.inf)
        most = jnp.clip(jnp.sum(~zero) // 2 + 8, 1, rate.size)
        pulled = (pull > noise) & (pull >= jnp.sort(pull)[rate.size - most])
        sign = jnp.where(zero, -jnp.sign(inner.slope), jnp.sign(inner.z))
        residual = jnp.where(~zero | pulled, inner.slope + rate * sign, 0.0)

        def newton():
            return _best_step(hessian, inner, sign, -_solve_active(hessian, ~zero | pulled, residual), rate)

        z, gain = jax.lax.cond(inner.failed, lambda: _sweep(hessian, inner, rate), newton)
        better = gain > 0
        z = jnp.where(better, z, inner.z)
        settled = ~jnp.any(pulled) & (jnp.max(jnp.abs(residual)) <= noise)
        slope = grad + hessian @ (z - start)
        return _Inner(z, slope, ~better, inner.num_steps + 1, settled | (~better & inner.failed))

    first = _Inner(start, grad, no, jnp.asarray(0), no)
    return jax.lax.while_loop(lambda i: ~i.done & (i.num_steps < MAX_INNER), step, first).z


def _sweep(hessian, inner, rate):
    """Each coordinate to its own minimum in turn, and what that gains."""
    size = jnp.diag(hessian)

    def one(j, carry):
        z, slope, gain = carry
        goal = size[j] * z[j] - slope[j]
        best = jnp.sign(goal) * jnp.maximum(jnp.abs(goal) - rate[j], 0.0) / jnp.where(size[j] > 0, size[j], 1.0)
        best = jnp.where(size[j] > 0, best, jnp.where(rate[j] > 0, 0.0, z[j]))
        move = best - z[j]
        gain -= slope[j] * move + 0.5 * size[j] * move**2 + rate[j] * (jnp.abs(best) - jnp.abs(z[j]))
        return z.at[j].set(best), slope + hessian[j] * move, gain

    z, _, gain = jax.lax.fori_loop(0, rate.size, one, (inner.z, inner.slope, jnp.zeros((), rate.dtype)))
    return z, gain


def _solve_active(hessian, active, right):
    """H⁻¹ right among the active coordinates, 0 elsewhere. `DAMPING` keeps directions that other coordinates span at
    rest; in others the next steps make up for it."""
    norms = jnp.where(active, jnp.sqrt(jnp.diag(hessian)), 1.0)
    norms = jnp.where(norms > 0, norms, 1.0)
    both = active[:, None] & active[None]
    scaled = jnp.where(both, hessian / jnp.outer(norms, norms), 0.0)
    damping = 1 + max(DAMPING, 10 * len(norms) * float(jnp.finfo(norms.dtype).eps))
    scaled = jnp.where(jnp.eye(len(norms), dtype=bool), damping, scaled)
    factor = jax.scipy.linalg.cho_factor(scaled, lower=True)
    return jnp.where(active, jax.scipy.linalg.cho_solve(factor, right / norms) / norms, 0.0)


def _best_step(hessian, inner, sign, move, rate):
    """The best place along the way to the full step, and what it gains: where a coordinate meets 0; or at the halvings
    of the step, all coordinates that would have changed sign being held at 0 (Andrew & Gao 2007)."""
    z, end = inner.z, inner.z + move
    crosses = z * end < 0
    cuts = jnp.where(crosses, -z / jnp.where(crosses, move, 1.0), 1.0)
    along, curved = inner.slope @ move, move @ hessian @ move
    change = cuts * along + 0.5 * cuts**2 * curved + jnp.abs(z + cuts[:, None] * move) @ rate - jnp.abs(z) @ rate
    best = jnp.argmin(change)
    stopped = jnp.where(crosses & (cuts == cuts[best]), 0.0, z + cuts[best] * move)

    ends = z + 0.5 ** jnp.arange(HALVINGS)[:, None] * move
    held = jnp.where((rate > 0) & (ends * sign < 0), 0.0, ends)
    moved = held - z
    fall = moved @ inner.slope + 0.5 * jnp.sum((moved @ hessian) * moved, axis=1) + jnp.abs(held) @ rate
    fall -= jnp.abs(z) @ rate
    first = jnp.argmin(fall)
    straight = change[best] <= fall[first]
    return jnp.where(straight, stopped, held[first]), -jnp.minimum(change[best], fall[first])


def _cut_back(smooth, kinks, state, goal):
    """Armijo's rule for a smooth function with kinks (Tseng & Yun 2009): halve the step until the fall is 1e-4 of what
    the gradient and the kinks promise."""
    move = goal - state.w
    start = smooth.value(state.w) + kinks.penalty(state.w)
    promise = state.grad @ move + kinks.penalty(goal) - kinks.penalty(state.w)
    rounding = 8 * jnp.finfo(move.dtype).eps * jnp.abs(start)
    value = lambda w: smooth.value(w) + kinks.penalty(w)
    place = lambda size: jnp.where(size == 1, goal, state.w + size * move)

    def too_high(carry):
        size, value, cuts = carry
        return ~(value <= start + 1e-4 * size * promise + rounding) & (cuts < MAX_CUTS)

    def cut(carry):
        size, _, cuts = carry
        return 0.5 * size, value(place(0.5 * size)), cuts + 1

    one = jnp.ones((), move.dtype)
    size, _, cuts = jax.lax.while_loop(too_high, cut, (one, value(goal), jnp.asarray(0)))
    return jnp.where(cuts < MAX_CUTS, place(size), state.w)
