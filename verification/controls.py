"""Who verifies the verifier: exact draws must pass and damaged ones fail.

Draws come as R replications of S, independent or autocorrelated like NUTS's. A chain that keeps its state with
probability 1 − a and else takes a fresh exact draw has the exact marginal and autocorrelation (1 − a)ᵏ for every
function: effective draws a/(2 − a) of S.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from probjax import Model
from probjax.types import function
from verification.judge import DEFAULT, Budget, judge
from verification.methods import METHODS
from verification.types import Replications

NUM_DRAWS = METHODS["nuts"].settings["num_draws"]
EFFICIENCY = 0.4  # effective draws a draw of the autocorrelated controls; NUTS's squared deviations have about this


class Control(NamedTuple):
    """A posterior whose truth is known.

    source: (problem) -> sampler `(rng, S) -> params`, or None where the problem cannot make it.
    damage: (rng, Replications [R, S, Q], problem) -> Replications.
    must_fail: whether the suite has to catch it.
    chained: draws autocorrelated like NUTS's.
    """

    name: str
    must_fail: bool
    source: Callable
    damage: Callable
    chained: bool = False


def _exact(problem):
    return problem.exact_draws


def _exact_with_moments(problem):
    return None if problem.reference.mean is None or problem.reference.sd is None else problem.exact_draws


def _exact_if_correlated(problem):
    """Only where two queries are correlated enough for the loss to be a defect."""
    corr = problem.reference.corr
    return problem.exact_draws if corr is not None and np.nanmax(np.abs(corr - np.eye(len(corr)))) > 0.15 else None


def _prior(problem):
    if problem.exact_draws is None or not isinstance(problem.model, Model) or problem.model.prior.sample is None:
        return None
    like = jax.eval_shape(problem.model.init, jax.random.key(0))
    like = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
    keys = lambda rng, num: jax.random.split(jax.random.key(rng.integers(2**32)), num)
    return lambda rng, num: _sample_prior(problem.model.prior.sample, keys(rng, num), like)


@jax.jit
def _sample_prior(sample, keys, like):
    return jax.vmap(lambda key: sample(key, like))(keys)


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
    Control("exact, independent", False, _exact, _clean),
    Control("exact, autocorrelated", False, _exact, _clean, chained=True),
    Control("mean + 0.1 sd", True, _exact_with_moments, _shift_mean),
    Control("sd × 0.9", True, _exact_with_moments, _shrink_sd),
    Control("tails cut at 2 sd", True, _exact_with_moments, _cut_tails),
    Control("correlation destroyed", True, _exact_if_correlated, _destroy_correlation),
    Control("prior for posterior", True, _prior, _clean),
)


class ControlResult(NamedTuple):
    """outcome: pass, fail or unresolved, the strictest of the checks; caught_by: the checks whose fail
    was confirmed first."""

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
    source = control.source(problem)
    if source is None:
        return None

    def draw(num_replications):
        exact = _replications(problem, source, rng, num_replications, control.chained)
        return control.damage(rng, exact, problem)

    verdicts = judge(problem, control.name, draw, budget, stop_at_fail=True)
    failed = [v.check for v in verdicts if v.outcome == "fail"]
    open_ = any(v.outcome == "unresolved" for v in verdicts)
    return ControlResult(
        problem.name, control.name, control.must_fail, "fail" if failed else "unresolved" if open_ else "pass", failed
    )


def _replications(problem, source, rng, num_replications, chained) -> Replications:
    query, log_new = function(problem.query), problem.log_new
    queries, log_new = evaluate(query, log_new, source(rng, num_replications * NUM_DRAWS))
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


@jax.jit
def evaluate(query, log_new, params):
    """params [S, …] -> queries [S, Q], log_new [S] or None."""
    return jax.vmap(query)(params), None if log_new is None else jax.vmap(log_new)(params)
