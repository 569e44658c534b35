"""Newton's method for convex functions whose gradient is dear and whose curvature is known roughly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

MEMORY = 8  # steps that correct a rough curvature
WORTH = 0.25  # a rough curvature is kept while each step with it cuts the gradient to this
MAX_CUTS = 30


class State(NamedTuple):
    """w, ∇ there and what `gradient` kept beside it, the curvature's factor, the last steps and gradient changes
    [MEMORY, …], how many of them count; decrement: ∇ᵀH⁻¹∇ at the start of the last step."""

    w: Array
    grad: Array
    beside: Any
    factor: Any
    steps: Array
    changes: Array
    num_kept: Array
    num_steps: Array
    decrement: Array
    stuck: Array


def minimise(
    gradient: Callable[[Array], tuple[Array, Any]],
    factorise: Callable[[Array], Any],
    solve: Callable[[Any, Array], Array],
    start: Array,
    factor: Any,
    *,
    kind: str,
    max_steps: int,
    tolerance: float,
) -> State:
    """Find ∇ = 0 of a convex function.

    The direction is −H⁻¹∇ with H as `factorise` gives it, corrected (unless it is "exact") by the last `MEMORY` steps
    as in L-BFGS (Nocedal & Wright 2006 §7.2). A step is cut back while the slope at its end is more than 0.9 of the
    slope at its start, upwards: of a convex function that is all a line search has to see, and no value is computed.

    Args:
        gradient: w -> (∇ at w, whatever is to be kept beside it).
        factorise: w -> a factor of H at w.
        solve: (factor, v) -> H⁻¹ v.
        factor: at the start.
        kind: "exact": H is the curvature at w, and made afresh at every step. "rough": near it, and kept while it
            serves. "constant": the function is quadratic, so H is made once, and the steps only correct its rounding:
            they go on until they no longer gain, whatever the tolerance.

    Returns:
        The last state: `stuck` says that a step no longer moved w.
    """
    empty = jnp.zeros((MEMORY, *start.shape), start.dtype)
    zero = jnp.asarray(0)
    far = jnp.asarray(jnp.inf, start.dtype)
    state = State(start, *gradient(start), factor, empty, empty, zero, zero, far, zero > 0)

    def unfinished(state):
        open_ = jnp.asarray(True) if kind == "constant" else ~(jnp.max(jnp.abs(state.grad)) <= tolerance)
        return open_ & ~state.stuck & (state.num_steps < max_steps)

    def step(state):
        direction = -solve(state.factor, state.grad) if kind == "exact" else -_corrected(solve, state)
        slope = jnp.vdot(state.grad, direction)
        w, grad, beside = _cut_back(gradient, state.w, direction, slope)
        moved, change = w - state.w, grad - state.grad
        keep = jnp.vdot(moved, change) > 0
        roll = lambda kept, new: jnp.where(keep, jnp.roll(kept, 1, axis=0).at[0].set(new), kept)
        number = state.num_steps + 1
        size = jnp.max(jnp.abs(grad))
        again = {"exact": True, "constant": False, "rough": ~(size < WORTH * jnp.max(jnp.abs(state.grad)))}[kind]
        factor = jax.lax.cond(again, lambda: factorise(w), lambda: state.factor)
        idle = (kind == "constant") & (-slope > WORTH * state.decrement)
        return State(
            w,
            grad,
            beside,
            factor,
            roll(state.steps, moved),
            roll(state.changes, change),
            jnp.minimum(state.num_kept + keep, MEMORY),
            number,
            -slope,
            jnp.all(moved == 0) | ~jnp.isfinite(size) | idle,
        )

    return jax.lax.while_loop(unfinished, step, state)


def _cut_back(gradient, w, direction, slope):
    """The end of the step, the gradient there and what came beside it."""

    def too_far(carry):
        _, grad, _, end, cuts = carry
        bad = ~jnp.all(jnp.isfinite(grad)) | (end > 0.9 * jnp.abs(slope))
        return bad & (cuts < MAX_CUTS)

    def cut(carry):
        size, _, _, end, cuts = carry
        # where the slope would vanish were it linear in the step, or a tenth where it is not finite
        share = jnp.where(jnp.isfinite(end), jnp.abs(slope) / (jnp.abs(slope) + end), 0.1)
        return trial(size * jnp.clip(share, 0.05, 0.7), cuts + 1)

    def trial(size, cuts):
        grad, beside = gradient(w + size * direction)
        return size, grad, beside, jnp.vdot(grad, direction), cuts

    first = trial(jnp.ones_like(slope), jnp.asarray(0))
    size, grad, beside, _, _ = jax.lax.while_loop(too_far, cut, first)
    return w + size * direction, grad, beside


def _corrected(solve, state):
    """H⁻¹∇ by the two-loop recursion, H the rough curvature corrected by the kept steps."""
    counted = jnp.arange(MEMORY) < state.num_kept
    products = jax.vmap(jnp.vdot)(state.steps, state.changes)
    inverse = jnp.where(counted, 1 / jnp.where(counted, products, 1.0), 0.0)

    def backward(v, pair):
        moved, change, rho = pair
        share = rho * jnp.vdot(moved, v)
        return v - share * change, share

    pairs = (state.steps, state.changes, inverse)
    v, shares = jax.lax.scan(backward, state.grad, pairs)

    def forward(v, pair):
        moved, change, rho, share = pair
        return v + (share - rho * jnp.vdot(change, v)) * moved, None

    return jax.lax.scan(forward, solve(state.factor, v), (*pairs, shares), reverse=True)[0]
