"""What methods that walk on gradients share: minibatches, step sizes, schedules and the chains themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from probjax.axis import over_leading_axis
from probjax.density import log_joint, target
from probjax.diagnostics import split_rhat
from probjax.types import Data, Model, NotApplicable, Params, Posterior, Target
from probjax.validation import check_inputs, check_params, num_data, require_counts, require_positive


class Schedule(NamedTuple):
    """When a chain draws. Each of `num_cycles` cycles is `num_warmup` steps, then its draws, `thinning` steps apart.

    cyclical: within a cycle the step falls as a cosine and no noise is added during the warm-up (Zhang et al. 2020);
    otherwise there is one cycle, of constant step and noise.
    """

    num_chains: int
    num_draws: int  # of one cycle of one chain
    num_warmup: int
    thinning: int
    num_cycles: int
    cyclical: bool

    @property
    def cycle_length(self) -> int:
        return self.num_warmup + self.num_draws * self.thinning

    @property
    def num_steps(self) -> int:
        return self.num_cycles * self.cycle_length

    @property
    def stops(self) -> np.ndarray:
        """The number of steps taken before each draw of a chain."""
        within = self.num_warmup + self.thinning * np.arange(1, self.num_draws + 1)
        return (self.cycle_length * np.arange(self.num_cycles)[:, None] + within).ravel()

    def at(self, step: Array, step_size: Array) -> tuple[Array, Array]:
        """Step size and noise factor (0 or 1) of a step: ε (1 + cos πr) / 2, r the elapsed part of the cycle."""
        if not self.cyclical:
            return step_size, jnp.ones_like(step_size)
        place = step % self.cycle_length
        fall = (1 + jnp.cos(jnp.pi * place / self.cycle_length)) / 2
        return step_size * fall.astype(step_size.dtype), (place >= self.num_warmup).astype(step_size.dtype)


def schedule(where: str, *, num_draws, num_warmup, thinning, num_chains, num_cycles) -> Schedule:
    """A Schedule that makes num_draws draws over all chains and cycles together; num_cycles None is not cyclical.

    Raises:
        ValueError: a count below its least, or num_draws not a multiple of num_chains · num_cycles.
    """
    cycles = 1 if num_cycles is None else num_cycles
    counts = {"num_draws": (num_draws, 1), "num_warmup": (num_warmup, 0), "thinning": (thinning, 1)}
    require_counts(where, **counts, num_chains=(num_chains, 1), num_cycles=(cycles, 1))
    if num_draws % (num_chains * cycles):
        raise ValueError(
            f"{where}: num_draws is {num_draws} but must be a multiple of num_chains · num_cycles = "
            f"{num_chains} · {cycles}, as each cycle of each chain makes as many"
        )
    per_cycle = num_draws // (num_chains * cycles)
    return Schedule(num_chains, per_cycle, num_warmup, thinning, cycles, num_cycles is not None)


def sample_rows(key: Array, num_total: int, batch_size: int, replace: bool) -> Array:
    """[B] rows, uniform. With replacement the cost does not depend on num_total."""
    if replace:
        return jax.random.randint(key, (batch_size,), 0, num_total)
    return jax.random.choice(key, num_total, (batch_size,), replace=False)


def row_gradient(model: Model, data: Data, unravel: Callable, rows: Array, w: Array) -> Array:
    """∇ [log p(w) + N/B Σ_{n ∈ rows} log p(yₙ | xₙ, w)], [P]."""
    batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[rows], data)
    return jax.grad(lambda w: log_joint(model, unravel(w), batch, num_total=num_data(data)))(w)


def gradient_of(
    where: str, model: Model | Target, data: Any, unravel: Callable, batch_size: int | None, replace: bool
) -> Callable[[Array, Array], Array]:
    """(key, w [P]) -> ∇ log p(y, w | x), from fresh uniform rows each time (Robbins & Monro 1951), so unbiased; without
    batch_size from all rows, and the key is of no effect.

    Raises:
        NotApplicable: batch_size with a Target, whose log-joint is no sum over rows that one could sample.
        ValueError: batch_size outside 1..N.
    """
    if batch_size is None:
        density = target(model)
        return lambda key, w: jax.grad(lambda w: density.log_joint(unravel(w), data))(w)
    if not isinstance(model, Model):
        raise NotApplicable("minibatches need a Model: the log-joint of a Target is no sum over rows")
    num_total = num_data(data)
    require_counts(where, batch_size=(batch_size, 1))
    if batch_size > num_total:
        raise ValueError(f"{where}: batch_size is {batch_size} but data has {num_total} rows; None takes all")
    return lambda key, w: row_gradient(model, data, unravel, sample_rows(key, num_total, batch_size, replace), w)


def largest_curvature(key: Array, log_density: Callable[[Array], Array], w: Array, num_iterations: int = 64) -> Array:
    """max |eigenvalue| of ∇² log p at w, by the power method (Golub & Van Loan 2013 §8.2), from below.

    1 where the density is flat: any step is then as good as another.
    """
    product = lambda v: jax.jvp(jax.grad(log_density), (w,), (v,))[1]
    tiny = jnp.finfo(w.dtype).tiny

    def iterate(v, _):
        image = product(v)
        norm = jnp.linalg.norm(image)
        return image / jnp.maximum(norm, tiny), norm

    start = jax.random.normal(key, w.shape, w.dtype)
    _, norms = jax.lax.scan(iterate, start / jnp.linalg.norm(start), None, length=num_iterations)
    return jnp.where(norms[-1] == 0, 1.0, norms[-1])


def start_and_step(
    key: Array, density: Target, data: Any, *, start: Params | None, fit: Callable, step_size: Any, relative: float
) -> tuple[Array, Array]:
    """Where a walk begins [P], `start` or else the mode that `fit` finds, and its step: step_size, or else `relative`
    over the largest curvature there."""
    init_key, curvature_key = jax.random.split(key)
    negative = lambda params: -density.log_joint(params, data)
    params = fit(negative, density.init(init_key))[0] if start is None else start
    w, unravel = ravel_pytree(params)
    if step_size is None:
        step_size = relative / largest_curvature(curvature_key, lambda w: density.log_joint(unravel(w), data), w)
    return w, jnp.asarray(step_size, w.dtype)


def check_walk(where: str, model: Model | Target, data: Any, start: Params | None, step_size: Any) -> Params | None:
    """Bad input raises; `start` comes back in the dtypes of model.init."""
    check_inputs(model, data)
    if step_size is not None:
        require_positive(where, "step_size", step_size, "None takes a fraction of the largest stable one")
    if start is None:
        return None
    density = target(model)
    check_params(density, start)
    like = jax.eval_shape(density.init, jax.random.key(0))
    return jax.tree.map(lambda leaf, shape: jnp.asarray(leaf, shape.dtype), start, like)


def advance(step: Callable, carry: tuple, stop: Array) -> tuple:
    """Take steps (index, state) -> state until the carry's index reaches `stop`: one body to compile, whatever the
    distances between stops."""
    return jax.lax.while_loop(lambda c: c[0] < stop, lambda c: (c[0] + 1, step(*c)), carry)


def langevin_chains(
    where: str,
    key: Array,
    model: Model | Target,
    data: Any,
    *,
    begin: Callable[[Array], tuple],
    update: Callable,
    plan: Schedule,
    step_size: Any,
    relative: float,
    batch_size: int | None,
    replace: bool,
    start: Params | None,
    fit: Callable,
) -> Posterior:
    """Chains of state ← update(state, ĝ(w), ξ, ε), ξ ~ N(0, I), the first part of the state being w.

    Args:
        begin: w -> state.

    Returns:
        Posterior with draws [S, …], chain after chain; info as `sgld` says.
    """
    start = check_walk(where, model, data, start, step_size)
    density = target(model)
    _, unravel = ravel_pytree(density.init(key) if start is None else start)
    gradient = gradient_of(where, model, data, unravel, batch_size, replace)
    stops = jnp.asarray(plan.stops)

    def chain(key):
        start_key, walk_key = jax.random.split(key)
        settings = {"start": start, "fit": fit, "step_size": step_size, "relative": relative}
        w, epsilon = start_and_step(start_key, density, data, **settings)

        def step(index, state):
            batch_key, noise_key = jax.random.split(jax.random.fold_in(walk_key, index))
            size, heat = plan.at(index, epsilon)
            noise = heat * jax.random.normal(noise_key, w.shape, w.dtype)
            return update(state, gradient(batch_key, state[0]), noise, size)

        def draw(carry, stop):
            carry = advance(step, carry, stop)
            return carry, carry[1][0]

        _, draws = jax.lax.scan(draw, (jnp.zeros((), stops.dtype), begin(w)), stops)
        return draws, epsilon, plan.at(stops[-1] - 1, epsilon)[0]

    draws, first, last = over_leading_axis(chain, jax.random.split(key, plan.num_chains))
    mean = jnp.mean(draws, (0, 1))
    slope = jax.grad(lambda w: density.log_joint(unravel(w), data))(mean)
    info = {
        "step_size": first,
        "final_step_size": last,
        "num_steps": jnp.asarray(plan.num_steps * plan.num_chains),
        "mean_grad_norm": jnp.max(jnp.abs(slope)),
        "max_rhat": jnp.max(split_rhat(draws)) if draws.shape[1] >= 4 else jnp.nan,
        "diverged": ~jnp.all(jnp.isfinite(draws), (1, 2)),
    }
    return Posterior(jax.vmap(unravel)(draws.reshape(-1, draws.shape[-1])), info)
