"""Minimisers that converge and say so: the gradient norm at the end stands in `info`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.flatten_util import ravel_pytree

from probjax.types import Params
from probjax.validation import require_counts, require_positive

PATIENCE = 100  # steps of `lbfgs` that gain nothing; near a smooth optimum the gradient still falls, but in fewer


def lbfgs(
    objective: Callable[[Params], Array], params: Params, *, max_steps: int = 1000, tolerance: float | None = None
) -> tuple[Params, dict[str, Array]]:
    """Minimise a smooth deterministic function by L-BFGS with a zoom line search (Nocedal & Wright 2006 §7.2, §3.5).

    Args:
        tolerance: converged when max|∇| ≤ tolerance · max(1, |objective|). Default: 1e-10 in float64, 1e-5 in float32.

    Returns:
        The minimiser, and info: `grad_norm` (max norm), `objective`, `num_steps`, `converged`. It stops early,
        without claiming convergence, when a step no longer moves the parameters, the objective is not finite, or
        `PATIENCE` steps have not lowered it by more than rounding (at a kink the gradient never vanishes); where
        the line search has led uphill (at a kink it may, far), the lowest point seen is returned.

    >>> params, info = lbfgs(lambda w: jnp.sum((w - 3.0) ** 2), jnp.zeros(2))
    >>> jnp.round(params, 4).tolist(), bool(info["converged"])
    ([3.0, 3.0], True)
    """
    flat, unravel = ravel_pytree(params)
    tolerance = _default_tolerance(flat.dtype) if tolerance is None else tolerance
    loss = lambda w: objective(unravel(w)).astype(flat.dtype)  # wider data would make it wider than the parameters
    value_and_grad = optax.value_and_grad_from_state(loss)
    optimiser = optax.lbfgs()

    def step(carry):
        last, lowest, state, num_steps, idle, _ = carry
        value, grad = value_and_grad(last.w, state=state)
        updates, state = optimiser.update(grad, state, last.w, value=value, grad=grad, value_fn=loss)
        grad_norm = jnp.max(jnp.abs(optax.tree.get(state, "grad")))
        moved = _Point(optax.apply_updates(last.w, updates), optax.tree.get(state, "value"), grad_norm)
        gained = lowest.value - moved.value > 4 * jnp.finfo(flat.dtype).eps * jnp.abs(moved.value)
        idle = jnp.where(gained, 0, idle + 1)
        stuck = jnp.all(moved.w == last.w) | ~jnp.isfinite(moved.value) | (idle >= PATIENCE)
        return moved, _either(moved.value <= lowest.value, moved, lowest), state, num_steps + 1, idle, stuck

    def unfinished(carry):
        last, lowest, _, num_steps, _, stuck = carry  # against the lowest: uphill, gradients are small beside the value
        return (num_steps < max_steps) & ~stuck & ~_converged(last.grad_norm, lowest.value, tolerance)

    infinite = jnp.asarray(jnp.inf, flat.dtype)
    begin = _Point(flat, infinite, infinite)
    carry = (begin, begin, optimiser.init(flat), 0, 0, jnp.asarray(False))
    last, lowest, _, num_steps, _, _ = jax.lax.while_loop(unfinished, step, carry)
    end = _either(_converged(last.grad_norm, lowest.value, tolerance) | ~jnp.isfinite(lowest.value), last, lowest)
    converged = _converged(end.grad_norm, end.value, tolerance)
    info = {"grad_norm": end.grad_norm, "objective": end.value, "num_steps": num_steps, "converged": converged}
    return unravel(end.w), info


class _Point(NamedTuple):
    w: Array
    value: Array
    grad_norm: Array


def _either(condition, a, b):
    return jax.tree.map(partial(jnp.where, condition), a, b)


def adam(
    objective: Callable[[Params], Array],
    params: Params,
    *,
    num_steps: int = 2000,
    learning_rate: float = 0.01,
    tolerance: float = 1e-3,
) -> tuple[Params, dict[str, Array]]:
    """Minimise by full-batch Adam (Kingma & Ba 2015) with a cosine-decayed rate.

    Args:
        tolerance: converged when max|∇| ≤ tolerance · max(1, min(|objective|, max|∇| at the start)) at the end: an
            objective holds constants, which grow with the number of parameters, and a start says what is steep here.

    Returns:
        As `lbfgs`.

    Raises:
        ValueError: a learning rate that is not above 0, no steps.
    """
    _check_steps("adam", num_steps, learning_rate)
    before = _max_norm(jax.grad(objective)(params))
    params = _adam_scan(lambda w, _: objective(w), params, None, num_steps, learning_rate)
    value, grad = jax.value_and_grad(objective)(params)
    return params, _report(value, grad, before, num_steps, tolerance)


def stochastic_adam(
    key: Array,
    objective: Callable[[Params, Array], Array],
    params: Params,
    *,
    num_steps: int = 2000,
    learning_rate: float = 0.01,
    tolerance: float = 0.05,
    num_final: int = 256,
) -> tuple[Params, dict[str, Array]]:
    """Minimise E_key[objective(params, key)] by Adam on fresh keys, the rate decaying to zero (Robbins–Monro's
    condition in spirit).

    The iterates of the last quarter are averaged (Polyak & Juditsky 1992).

    Args:
        tolerance: as `adam`'s, of means over `num_final` fresh keys.

    Returns:
        As `lbfgs`, the norm being that of the mean gradient over `num_final` fresh keys.

    Raises:
        ValueError: as `adam`.
    """
    _check_steps("stochastic_adam", num_steps, learning_rate)
    step_key, final_key = jax.random.split(key)
    mean = partial(_mean_slope, objective, jax.random.split(final_key, num_final))
    before = _max_norm(mean(params)[1])
    params = _adam_scan(
        objective, params, jax.random.split(step_key, num_steps), num_steps, learning_rate, average=True
    )
    return params, _report(*mean(params), before, num_steps, tolerance)


def _mean_slope(objective, keys, params):
    """Means over the keys of the objective and of its gradient, in the memory of one key."""
    slope = lambda key: jax.value_and_grad(objective)(params, key)
    add = lambda total, key: (jax.tree.map(jnp.add, total, slope(key)), None)
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(slope, keys[0]))
    return jax.tree.map(lambda leaf: leaf / len(keys), jax.lax.scan(add, nothing, keys)[0])


def _check_steps(where, num_steps, learning_rate):
    require_counts(where, num_steps=(num_steps, 1))
    require_positive(where, "learning_rate", learning_rate, "0.01 is the default")


def _max_norm(grad):
    return jnp.max(jnp.abs(ravel_pytree(grad)[0]))


def _adam_scan(objective: Any, params, inputs, num_steps, learning_rate, average=False):
    flat, unravel = ravel_pytree(params)
    optimiser = optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))

    def step(carry, this):
        w, state, total = carry
        index, inputs = this
        grad = jax.grad(lambda w: objective(unravel(w), inputs))(w)
        updates, state = optimiser.update(grad, state)
        w = optax.apply_updates(w, updates)
        return (w, state, total + jnp.where(index >= num_steps - num_steps // 4, w, 0.0)), None

    start = (flat, optimiser.init(flat), jnp.zeros_like(flat))
    (w, _, total), _ = jax.lax.scan(step, start, (jnp.arange(num_steps), inputs))
    return unravel(total / (num_steps // 4) if average and num_steps >= 4 else w)


def _report(value, grad, before, num_steps, tolerance):
    grad_norm = _max_norm(grad)
    converged = small_slope(grad_norm, value, before, tolerance)
    return {"grad_norm": grad_norm, "objective": value, "num_steps": jnp.asarray(num_steps), "converged": converged}


def small_slope(grad_norm: Array, value: Array, before: Array, tolerance: float) -> Array:
    """Whether max|∇| is small beside the objective and beside what it was before; never where either is not finite."""
    scale = jnp.maximum(1.0, jnp.minimum(jnp.abs(value), before))
    return jnp.isfinite(value) & (grad_norm <= tolerance * scale)


def _converged(grad_norm, value, tolerance):
    # an infinite objective would make any gradient small against it
    return jnp.isfinite(value) & (grad_norm <= tolerance * jnp.maximum(1.0, jnp.abs(value)))


def _default_tolerance(dtype) -> float:
    return 1e-10 if dtype == jnp.float64 else 1e-5
