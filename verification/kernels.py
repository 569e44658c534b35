"""One step of a Markov kernel from exact draws: it must leave the posterior where it is, and it must move.

If x₀ is drawn from the posterior and the kernel leaves it invariant, then x₁ has the posterior's distribution too, so
that of the pairs (x₀, x₁) as many cross any threshold q upwards as downwards: given the number of crossings, those
upwards are Binomial(·, ½) exactly (McNemar 1947). Only the pairs that cross count, so a kernel of small steps is
judged by its own small spread and not by the posterior's. That tells nothing of a kernel that stays where it is; for
that there is the expected squared jump (Pasarica & Gelman 2010).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.tree_util import Partial
from scipy import stats

from verification.exact.reference import LEVELS

FALSE_ALARM = 1e-6
FLOOR = 1e-3  # of the mean squared jump, in posterior variances; fresh draws jump by 2


class KernelReport(NamedTuple):
    """What one step did, [9, Q] and [Q].

    net_flow: P(x₁ ≤ q) − P(x₀ ≤ q), estimated; p_value: of its being 0.
    jump: mean squared jump of each query in posterior variances.
    false_alarm: of `invariant` for a kernel that is; over all queries and levels together.
    """

    names: tuple[str, ...]
    net_flow: np.ndarray
    p_value: np.ndarray
    jump: np.ndarray
    finite: bool
    false_alarm: float
    floor: float

    @property
    def invariant(self) -> bool:
        """Whether nothing says that the step leaves the posterior (Bonferroni over queries and levels)."""
        return self.finite and bool(np.min(self.p_value) * self.p_value.size >= self.false_alarm)

    @property
    def moves(self) -> bool:
        """Whether every query moves."""
        return self.finite and bool(np.all(self.jump >= self.floor))

    @property
    def reason(self) -> str:
        """What is wrong, in words; empty where nothing is."""
        if not self.finite:
            return "a state is NaN or infinite after the step"
        if not self.invariant:
            level, query = np.unravel_index(np.argmin(self.p_value), self.p_value.shape)
            flow, p = self.net_flow[level, query], self.p_value[level, query]
            where = f"P({self.names[query]} ≤ its exact {LEVELS[level]:g} quantile)"
            return f"not invariant: {where} moves by {flow:+.2g}, p = {p:.1g}"
        if not self.moves:
            slowest = int(np.argmin(self.jump))
            return f"does not move: {self.names[slowest]} jumps by {self.jump[slowest]:.1g} posterior variances"
        return ""


def examine_kernel(
    kernel: Callable[[jax.Array, Any], Any],
    key: jax.Array,
    states: Any,
    query: Callable,
    reference,
    *,
    num_steps: int = 1,
    false_alarm: float = FALSE_ALARM,
    floor: float = FLOOR,
) -> KernelReport:
    """Take one step from every exact draw and see whether the queries' distributions stay and their values change.

    A kernel that is wrong in a rarely visited place, or whose error is of a high order in its step, needs many draws or
    a few steps; one that is invariant and moves may still not be ergodic.

    Args:
        kernel: (key, state) -> state.
        states: pytree with leading S, independent and exact: `problem.exact_draws`, with whatever auxiliary part the
            state has (a momentum) drawn exactly too.
        query: state -> [Q].
        reference: its names, sds, and quantiles [9, Q], the thresholds.
        num_steps: steps taken; the pairs are of first and last.

    Raises:
        ValueError: the reference has no quantiles or the query another size than the reference.
    """
    if reference.quantiles is None:
        raise ValueError("reference.quantiles is None; crossings are counted at exact quantiles: solve for them")
    states, query = jax.tree.map(jax.numpy.asarray, states), query if isinstance(query, Partial) else Partial(query)
    before, after = map(np.asarray, _step(kernel, num_steps, key, states, query))
    if before.shape[1] != len(reference.names):
        raise ValueError(f"query gives {before.shape[1]} numbers but reference names {len(reference.names)}; see query")
    finite = bool(np.isfinite(after).all())
    net_flow, p_value = zip(*(_crossings(before, after, q) for q in reference.quantiles))
    jump = ((after - before) ** 2).mean(0) / reference.sd**2 if finite else np.full(before.shape[1], np.nan)
    return KernelReport(reference.names, np.array(net_flow), np.array(p_value), jump, finite, false_alarm, floor)


@partial(jax.jit, static_argnums=(0, 1))
def _step(kernel, num_steps, key, states, query):
    num = jax.tree.leaves(states)[0].shape[0]

    def several(key, state):
        return jax.lax.fori_loop(0, num_steps, lambda i, s: kernel(jax.random.fold_in(key, i), s), state)

    after = jax.vmap(several)(jax.random.split(key, num), states)
    return jax.vmap(query)(states), jax.vmap(query)(after)


def _crossings(before, after, threshold):
    """Net share that came below each threshold [Q], and its two-sided p-value; 1 where nothing crosses."""
    left, came = (before <= threshold) & ~(after <= threshold), ~(before <= threshold) & (after <= threshold)
    left, came = left.sum(0), came.sum(0)
    tail = stats.binom.cdf(np.minimum(left, came), left + came, 0.5)
    return (came - left) / len(before), np.minimum(2 * tail, 1.0)
