"""All the statistics of a verdict: replications, margins, looks, repeats.

A method runs on R keys. The error of each query is the mean over replications, its margin t₍R₋₁₎(1 − α/2) standard
errors plus the numerical error of the exact answer. |error| + margin < tolerance is a pass, |error| − margin >
tolerance a fail, anything else doubles R, at most twice, and not where the last look would most likely leave it open
too. A fail counts only if the same query fails, with the same sign, on as many fresh keys; draws that are NaN or
infinite fail at once. Where a bound is checked, the signed error
takes the place of |error|.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy import stats

from verification.checks import ALPHA, CHECKS, Check, Estimate, Summaries, placeholder, pool, summarise
from verification.exact.reference import LEVELS, Reference
from verification.types import Limit, Replications, Verdict

CLAIMED = {"ks": "below", "w1": "below", "pareto_k": "pareto_k"}  # what a limit says beside its reference


class Budget(NamedTuple):
    """num_replications: R at the first look; doublings: looks after it; level: which column of the tolerances."""

    num_replications: int = 16
    doublings: int = 2
    level: str = "default"


DEFAULT = Budget()
FULL = Budget(num_replications=64, level="full")


class Look(NamedTuple):
    """One check at one look. `estimate`, `margin` and `size` (how large a fault each error is) are None where the check
    does not apply or draws are not finite."""

    outcome: str  # pass | fail | unresolved | not_applicable
    estimate: Estimate | None
    margin: np.ndarray | None
    size: np.ndarray | None
    reason: str

    def failing(self, tolerance: float) -> dict[str, float]:
        """The queries that surely exceed the tolerance, with the sign of their error."""
        beyond = self.size - self.margin > tolerance
        return {n: float(np.sign(e)) for n, e, bad in zip(self.estimate.names, self.estimate.error, beyond) if bad}

    def stays_open(self, tolerance: float, num: int, last: int) -> bool:
        """Whether the `num` keys of today, made `last`, will leave it unresolved, but for a chance of some 5% if
        today's spread between keys is the true one. Over runs that spread is itself uncertain: of simulated checks
        some 2% at most were given up that more keys would have settled.

        Then margins are t₍last₋₁₎/t₍num₋₁₎ · √(num/last) of today's, and a mean has moved by a standard deviation of
        √(1 − num/last) of today's standard error: 1.64 of them are allowed for, in the direction that helps.
        """
        if self.size is None:
            return False
        t = stats.t.ppf(1 - ALPHA / 2, np.array([num, last]) - 1)
        margin = self.margin * t[1] / t[0] * np.sqrt(num / last)
        moved = 1.64 * np.sqrt(1 - num / last) * self.estimate.standard_error
        may_pass = np.all(self.size - moved + margin < tolerance)
        may_fail = np.any(self.size + moved - margin > tolerance)
        return not (may_pass or may_fail)

    @property
    def worst(self) -> int:
        """The query that stands for the check: the surest failure, or else the one nearest to failing."""
        return int(np.argmax(self.size - self.margin if self.outcome == "fail" else self.size + self.margin))


def judge(
    problem,
    method: str,
    draw: Callable[[int], Replications],
    budget: Budget = DEFAULT,
    limit: Limit | None = None,
    *,
    stop_at_fail: bool = False,
    only: tuple[str, ...] | None = None,
) -> list[Verdict]:
    """Hold a method to a problem's exact answer by every check.

    Args:
        problem: a `Problem`; only its name, reference and `more_keys` are used.
        draw: R -> Replications from R fresh keys, never the same twice.
        limit: a theorem's wrong answer, or None.
        stop_at_fail: leave what is open unresolved once one fail is confirmed.
        only: the names of the checks to make; None: all.

    Returns:
        One Verdict a check. `expected` is "theorem" or "no" here; the findings are compared by the caller.
    """
    summaries = summarise(draw(budget.num_replications * problem.more_keys), problem.reference.quantiles)
    checks = [check for check in CHECKS if only is None or check.name in only]
    pending, verdicts = checks, {}
    for look in range(budget.doublings + 1):
        last = look == budget.doublings
        looks = {
            c.name: examine(c, summaries, problem.reference, problem.reference.scale, budget.level) for c in pending
        }
        for check in pending:
            seen = looks[check.name]
            if seen.outcome in ("pass", "not_applicable") or not summaries.finite:  # a NaN is no matter of chance
                verdicts[check.name] = _verdict(problem, method, check, seen, budget, summaries, limit)
        pending = [c for c in pending if c.name not in verdicts]
        failing = [c for c in pending if looks[c.name].outcome == "fail"]
        keys = len(summaries), len(summaries) * 2 ** (budget.doublings - look)
        settling = limit is not None or any(
            not looks[c.name].stays_open(c.tolerance[budget.level], *keys) for c in pending
        )
        if not pending or (not failing and (last or not settling)):
            break
        fresh = summarise(draw(len(summaries)), problem.reference.quantiles)
        summaries = pool([summaries, fresh])
        for check in failing:
            again = examine(check, fresh, problem.reference, problem.reference.scale, budget.level)
            settled = last or matches_limit(check, summaries, problem, limit, budget.level)[0] != "unresolved"
            if repeated(looks[check.name], again, check.tolerance[budget.level]) and settled:
                seen = examine(check, summaries, problem.reference, problem.reference.scale, budget.level)
                verdicts[check.name] = _verdict(
                    problem, method, check, seen._replace(outcome="fail"), budget, summaries, limit
                )
        pending = [c for c in pending if c.name not in verdicts]
        if stop_at_fail and any(v.outcome == "fail" for v in verdicts.values()):
            break
    for check in pending:
        # keys drawn to repeat another check's fail are one more look here; a fail seen only now has not been repeated
        seen = examine(check, summaries, problem.reference, problem.reference.scale, budget.level)
        outcome = "pass" if seen.outcome == "pass" else "unresolved" if summaries.finite else "fail"
        verdicts[check.name] = _verdict(
            problem, method, check, seen._replace(outcome=outcome), budget, summaries, limit
        )
    return [verdicts[check.name] for check in checks]


def examine(
    check: Check, summaries: Summaries, reference: Reference, unit: np.ndarray, level: str, alpha: float = ALPHA
) -> Look:
    """One look at one check; errors in units of `unit` where the check's units are posterior sds."""
    # whether a check applies hangs on what there is, not on its values
    estimate = check.estimate(summaries if summaries.finite else placeholder(summaries), reference, unit)
    if isinstance(estimate, str):
        return Look("not_applicable", None, None, None, estimate)
    if not summaries.finite:
        return Look("fail", None, None, None, "draws are NaN or infinite")
    margin = _margin(check, estimate.standard_error, len(summaries), reference, alpha)
    size, tolerance = check.size(estimate.error), check.tolerance[level]
    if np.any(~np.isfinite(size)) or np.any(size - margin > tolerance):
        return Look("fail", estimate, margin, size, "")
    return Look("pass" if np.all(size + margin < tolerance) else "unresolved", estimate, margin, size, "")


def _margin(check, standard_error, num_replications, reference, alpha):
    """t standard errors and the exact answer's own error: added where it is a bound, in quadrature where it is a
    standard error too."""
    t = stats.t.ppf(1 - alpha / 2, num_replications - 1)
    if reference.certificate is None:
        return t * standard_error
    numerical = check.reference_error(reference)
    if not reference.certificate.exact:
        return t * np.hypot(standard_error, numerical)
    return t * standard_error + numerical


def repeated(first: Look, again: Look, tolerance: float) -> bool:
    """Whether a fail on one set of keys is one on the other: some query fails in both, with one sign."""
    if first.estimate is None or again.estimate is None:
        return first.outcome == again.outcome == "fail"
    if not (np.isfinite(first.estimate.error).all() and np.isfinite(again.estimate.error).all()):
        return True
    return bool(first.failing(tolerance).items() & again.failing(tolerance).items())


def matches_limit(
    check: Check, summaries: Summaries, problem, limit: Limit | None, level: str
) -> tuple[str, Look | None]:
    """Whether the method shows the theorem's number: "pass", "fail" for another one, "unresolved", or "none"."""
    if limit is None:
        return "none", None
    if check.name in CLAIMED:  # the draws are counted at the exact quantiles, not at the limit's
        claimed = getattr(limit, CLAIMED[check.name])
        if claimed is None:
            return "none", None
        check = check._replace(estimate=partial(check.estimate, claimed=claimed), one_sided=False)
        if check.closeness is not None:
            check = check._replace(tolerance={level: check.closeness})
        look = examine(check, summaries, problem.reference, problem.reference.scale, level)
    else:
        look = examine(check, summaries, limit.reference, problem.reference.scale, level)
    return ("none" if look.outcome == "not_applicable" else look.outcome), look


def predicted_to_fail(check: Check, problem, limit: Limit | None, level: str) -> bool:
    """Whether the theorem's answer differs from the exact one by more than the tolerance, so that the method must
    fail."""
    if limit is None:
        return False
    unit = problem.reference.scale
    if check.name == "ks" and limit.below is not None:
        return bool(np.nanmax(np.abs(limit.below - np.array(LEVELS)[:, None])) > check.tolerance[level])
    if check.name == "pareto_k" and limit.pareto_k is not None:
        return limit.pareto_k - check.closeness > check.tolerance[level]
    for field, name in (("mean", "mean"), ("sd", "sd"), ("q05", "q05"), ("q95", "q95"), ("corr", "correlation")):
        wrong, right = getattr(limit.reference, field), getattr(problem.reference, field)
        if name == check.name and wrong is not None and right is not None:
            gap = np.abs(wrong - right) / (1.0 if name == "correlation" else unit)
            return bool(np.nanmax(gap) > check.tolerance[level])
    if (
        check.name == "log_predictive"
        and limit.reference.log_predictive is not None
        and problem.reference.log_predictive is not None
    ):
        gap = abs(limit.reference.log_predictive - problem.reference.log_predictive) / problem.reference.num_new
        return gap > check.tolerance[level]
    return False


def _verdict(problem, method, check, look, budget, summaries, limit) -> Verdict:
    tolerance, outcome, expected, reason = check.tolerance[budget.level], look.outcome, "no", look.reason
    matched, against = "none", None
    if outcome in ("fail", "unresolved") and look.estimate is not None:
        matched, against = matches_limit(check, summaries, problem, limit, budget.level)
        if matched == "pass":  # an error that the theorem puts near the tolerance stays near it
            expected, reason = "theorem", f"{limit.reason} ({limit.source})"
        elif outcome == "fail" and matched in ("fail", "unresolved"):
            worst = against.worst
            size = f"{against.estimate.error[worst]:+.3g} ± {against.margin[worst]:.2g}"
            reason = f"not what theory predicts ({limit.reason}): off by {size} in {against.estimate.names[worst]}"
    if outcome == "pass" and predicted_to_fail(check, problem, limit, budget.level):
        outcome, reason = "error", f"stale limit: theory predicts a failure here ({limit.reason}) but the method passes"
    named = {"problem": problem.name, "method": method, "check": check.name, "tolerance": tolerance}
    named |= {"outcome": outcome, "expected": expected, "reason": reason}
    if look.estimate is None:
        return Verdict.without_numbers(**named)
    worst, names = look.worst, look.estimate.names
    error, margin = float(look.estimate.error[worst]), float(look.margin[worst])
    errors = {n: (float(e), float(s)) for n, e, s in zip(names, look.estimate.error, look.estimate.standard_error)}
    numbers = {"query": names[worst], "error": error, "margin": margin, "num_replications": len(summaries)}
    return Verdict(**named, **numbers, errors=errors, contradicts=outcome == "fail" and matched == "fail")
