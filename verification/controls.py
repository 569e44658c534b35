"""Who verifies the verifier: exact draws must pass and damaged ones fail.

Draws come as R replications of S, independent or autocorrelated like NUTS's. A chain that keeps its state with
probability 1 − a and else takes a fresh exact draw has the exact marginal and autocorrelation (1 − a)ᵏ for every
function: effective draws a/(2 − a) of S.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from verification.judge import DEFAULT, Budget, judge
from verification.methods import NUTS_DRAWS as NUM_DRAWS
from verification.types import Replications

EFFICIENCY = 0.4  # effective draws a draw of the autocorrelated controls; NUTS's squared deviations have about this


class Control(NamedTuple):
    """damage: (rng, Replications [R, S, Q], problem) -> Replications; must_fail: whether the suite has to catch it."""

    name: str
    damage: Callable
    must_fail: bool
    correlated: bool = False


def _clean(rng, exact, problem):
    return exact


def _shift_mean(rng, exact, problem):
    return exact._replace(queries=exact.queries + 0.1 * problem.reference.sd)


def _shrink_sd(rng, exact, problem):
    mean = problem.reference.mean
    return exact._replace(queries=mean + 0.9 * (exact.queries - mean))


def _cut_tails(rng, exact, problem):
    """Draws beyond 2 posterior sd are replaced by draws within."""
    z = (exact.queries - problem.reference.mean) / problem.reference.sd
    for _ in range(4):
        z = np.where(np.abs(z) > 2, z[:, rng.permutation(z.shape[1])], z)
    return exact._replace(queries=problem.reference.mean + problem.reference.sd * np.clip(z, -2, 2))


def _destroy_correlation(rng, exact, problem):
    return exact._replace(queries=rng.permuted(exact.queries, axis=1))


CONTROLS = (
    Control("exact, independent", _clean, False),
    Control("exact, autocorrelated", _clean, False, correlated=True),
    Control("mean + 0.1 sd", _shift_mean, True),
    Control("sd × 0.9", _shrink_sd, True),
    Control("tails cut at 2 sd", _cut_tails, True),
    Control("correlation destroyed", _destroy_correlation, True),
    Control("prior for posterior", _clean, True),
)


class ControlResult(NamedTuple):
    """outcome: pass, fail or unresolved, the strictest of the checks; caught_by: the checks that failed."""

    problem: str
    control: str
    must_fail: bool
    outcome: str
    caught_by: list[str]

    @property
    def right(self) -> bool:
        """Damaged draws must fail; exact ones must pass with nothing unresolved."""
        return self.outcome == ("fail" if self.must_fail else "pass")


def run_control(problem, control: Control, rng: np.random.Generator, budget: Budget = DEFAULT) -> ControlResult | None:
    """One trial of the suite on draws whose truth is known; None where the problem cannot make them."""
    source = problem.prior_draws if control.name == "prior for posterior" else problem.exact_draws
    if source is None or (control.name == "correlation destroyed" and not correlated(problem)):
        return None

    def draw(num_replications):
        exact = _replications(problem, source, rng, num_replications, control.correlated)
        return control.damage(rng, exact, problem)

    verdicts = judge(problem, control.name, draw, budget)
    failed = [v.check for v in verdicts if v.outcome == "fail"]
    open_ = any(v.outcome == "unresolved" for v in verdicts)
    return ControlResult(
        problem.name, control.name, control.must_fail, "fail" if failed else "unresolved" if open_ else "pass", failed
    )


def correlated(problem) -> bool:
    """Whether any two queries are correlated enough for their loss to be a defect."""
    corr = problem.reference.corr
    return corr is not None and bool(np.nanmax(np.abs(corr - np.eye(len(corr)))) > 0.15)


def _replications(problem, source, rng, num_replications, chained) -> Replications:
    params = source(rng, num_replications * NUM_DRAWS)
    queries, log_new = _evaluate(problem)(params)
    queries = np.asarray(queries).reshape(num_replications, NUM_DRAWS, -1)
    log_new = None if log_new is None else np.asarray(log_new).reshape(num_replications, NUM_DRAWS)
    if chained:
        refresh = 2 * EFFICIENCY / (1 + EFFICIENCY)
        fresh = rng.uniform(size=(num_replications, NUM_DRAWS)) < refresh
        fresh[:, 0] = True
        index = np.maximum.accumulate(np.where(fresh, np.arange(NUM_DRAWS), 0), axis=1)
        queries = np.take_along_axis(queries, index[..., None], 1)
        log_new = None if log_new is None else np.take_along_axis(log_new, index, 1)
    return Replications(queries, log_new)


_EVALUATORS: dict[str, Callable] = {}


def _evaluate(problem):
    """params [S, …] -> queries [S, Q], log_new [S]; compiled once a problem."""
    if problem.name not in _EVALUATORS:

        def both(params):
            log_new = None if problem.log_new is None else jax.vmap(problem.log_new)(params)
            return jax.vmap(problem.query)(params), log_new

        _EVALUATORS[problem.name] = jax.jit(both)
    return _EVALUATORS[problem.name]
