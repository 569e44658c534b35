"""Bugs of the checks: a mutated check must misjudge exact draws, or the damage that the right check is there for.

A mutant is (name of the check, wrong estimate made from the right one, damage of exact draws that the check must fail).
Both are seen at one look of the full budget.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from verification.checks import Estimate
from verification.exact.reference import LEVELS
from verification.mutants.draws import DRAW_MUTANTS


class CheckMutant(NamedTuple):
    """check: its name. wrong: (right estimate function) -> wrong one. damage: a name in DRAW_MUTANTS."""

    check: str
    wrong: Callable
    damage: str


def _in_raw_units(right):
    return lambda s, reference, unit: right(s, reference, np.ones_like(unit))


def _first_query_only(right):
    def estimate(s, reference, unit):
        found = right(s, reference, unit)
        return found if isinstance(found, str) else Estimate(*(part[:1] for part in found))

    return estimate


def _zero_sd_left_out(right):
    """A log-ratio of sds, collapsed ones left out for being infinite: then nothing is left to show."""

    def estimate(s, reference, unit):
        sd = np.sqrt(s.variance.mean(0))
        with np.errstate(divide="ignore"):
            ratio = np.log(sd / reference.sd)
        kept = ratio > np.log(1e-6)
        if not kept.any():
            return "no finite ratio"
        names = tuple(np.array(reference.names)[kept])
        return Estimate(names, ratio[kept], np.zeros(kept.sum()))

    return estimate


def _sd_of_run_means(right):
    """The spread of the runs' means taken for the posterior's."""

    def estimate(s, reference, unit):
        found = right(s, reference, unit)
        return found if isinstance(found, str) else found._replace(error=s.mean.std(0, ddof=1) / unit - 1)

    return estimate


def _variances(right):
    """Variances for sds on both sides: an error of the sd of 5% shows as one of 10%, and units are squared."""

    def estimate(s, reference, unit):
        found = right(s, reference, unit)
        return found if isinstance(found, str) else found._replace(error=(s.variance.mean(0) - reference.sd**2))

    return estimate


def _other_tail(field):
    def wrong(right):
        swapped = lambda s: type(s)(**{**s._asdict(), field: getattr(s, _OTHER[field])})  # its len is not its fields'
        return lambda s, reference, unit: right(swapped(s), reference, unit)

    return wrong


_OTHER = {"q05": "q95", "q95": "q05"}


def _squared(right):
    """R² for r: signs are lost."""

    def estimate(s, reference, unit):
        found = right(s, reference, unit)
        if isinstance(found, str):
            return found
        i, j = np.triu_indices(len(reference.names), 1)
        exact = reference.corr[i, j]
        exact = exact[np.isfinite(exact)][: len(found.error)]
        return found._replace(error=(found.error + exact) ** 2 - exact**2)

    return estimate


def _never_divided(right):
    def estimate(s, reference, unit):
        found = right(s, reference, unit)
        return found if isinstance(found, str) else found._replace(error=found.error + reference.log_predictive)

    return estimate


def _levels_reversed(right):
    """Survival functions for distribution functions."""
    claimed = 1 - np.array(LEVELS)[:, None]
    return lambda s, reference, unit: right(s, reference, unit, np.broadcast_to(claimed, reference.quantiles.shape))


def _largest_gap(right):
    """The largest gap of the distribution functions for the area between them."""

    def estimate(s, reference, unit):
        found = right(s, reference, unit)
        if isinstance(found, str):
            return found
        gaps = np.abs(s.below.mean(0) - np.array(LEVELS)[:, None]).max(0)
        return found._replace(error=gaps[: len(found.error)])

    return estimate


def _signs_kept(right):
    """Σₖ (p̄ₖ − pₖ), which is 0 whatever p̄ is."""

    def estimate(s, reference, unit):
        found = right(s, reference, unit)
        if isinstance(found, str):
            return found
        gaps = s.mean.mean(0) - reference.mean
        return found._replace(error=np.array([0.5 * gaps[list(group)].sum() for group in reference.classes]))

    return estimate


def _with_itself(right):
    """The method's decisions compared with its own."""

    def estimate(s, reference, unit):
        return right(s, reference._replace(mean=s.mean.mean(0)), unit)

    return estimate


CHECK_MUTANTS: dict[str, CheckMutant] = {
    "means in raw units": CheckMutant("mean", _in_raw_units, "mean + 0.06 sd"),
    "means of the first query only": CheckMutant("mean", _first_query_only, "one query's mean + 0.06 sd"),
    "a log-ratio of sds without the zeros": CheckMutant("sd", _zero_sd_left_out, "one draw a run, repeated"),
    "the spread of the runs' means for the sd": CheckMutant("sd", _sd_of_run_means, "sd × 1.05"),
    "variances compared for sds": CheckMutant("sd", _variances, "sd × 1.05"),
    "the upper quantile for the lower": CheckMutant("q05", _other_tail("q05"), "sd × 1.05"),
    "the lower quantile for the upper": CheckMutant("q95", _other_tail("q95"), "upper tail cut at 1.7 sd"),
    "squared correlations": CheckMutant("correlation", _squared, "a correlation's sign lost"),
    "distribution functions against survival functions": CheckMutant("ks", _levels_reversed, "mean + 0.06 sd"),
    "areas in raw units": CheckMutant("w1", _in_raw_units, "mean + 0.06 sd"),
    "a largest gap for an area": CheckMutant("w1", _largest_gap, "mean + 0.06 sd"),
    "total variation with its signs": CheckMutant("total_variation", _signs_kept, "classes exchanged"),
    "a method's decisions against its own": CheckMutant("agreement", _with_itself, "classes exchanged"),
    "log predictive not divided by rows": CheckMutant("log_predictive", _never_divided, "a held-out row not scored"),
}
DAMAGES = {mutant.damage: DRAW_MUTANTS[mutant.damage] for mutant in CHECK_MUTANTS.values()}
