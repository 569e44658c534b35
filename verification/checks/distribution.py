"""Whole marginal distributions: the distribution function of the draws at nine exact quantiles.

The share F̂ᵣ(q) of a replication's draws that are at most an exact quantile q is unbiased for the method's own F(q),
whatever S is and however its draws depend on each other; so a single draw can be judged too.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from verification.checks.check import ALPHA, Estimate, standard_error, sum_of_absolutes
from verification.checks.moments import COLLAPSED
from verification.exact.reference import LEVELS


def kolmogorov_smirnov(s, reference, unit, claimed=None):
    """F(q_l) − l for each query and level l; the largest is the Kolmogorov–Smirnov distance on the nine levels.

    Args:
        claimed: [9, Q], what F is claimed to be at the exact quantiles, where a theorem says that it is not `LEVELS`;
            NaN where it does not say.
    """
    found = _exceedances(s, reference, unit, claimed)
    if isinstance(found, str):
        return found
    below, claimed, known, names = found
    level, query = np.nonzero(known)
    claimed = claimed[level, query]
    error = below[:, level, query].mean(0) - claimed
    labels = tuple(f"{names[q]} ≤ {LEVELS[k]:g}" for k, q in zip(level, query))
    return Estimate(labels, error, _no_less_than_chance(standard_error(below[:, level, query]), claimed, s))


def _no_less_than_chance(standard_error, claimed, s):
    """A few draws may all fall on one side and then show no spread. Independent ones would have √(l(1 − l)/RS), which
    is known and so needs a normal quantile where the replications' own needs Student's."""
    num = len(s) * s.num_draws
    normal, student = stats.norm.ppf(1 - ALPHA / 2), stats.t.ppf(1 - ALPHA / 2, len(s) - 1)
    return np.maximum(standard_error, normal / student * np.sqrt(np.clip(claimed * (1 - claimed), 0, None) / num))


def wasserstein(s, reference, unit, claimed=None):
    """T = Σ_l |F̄(q_l) − l| Δq_l, with the trapezoid's widths Δq_l in posterior sd: the Wasserstein-1 distance
    ∫|F̄ − F| dx between the first and the last exact quantile."""
    found = _exceedances(s, reference, unit, claimed)
    if isinstance(found, str):
        return found
    below, claimed, known, names = found
    kept = np.nonzero(known.all(0))[0]
    if not len(kept):
        return "no claim about the whole distribution"
    widths = np.gradient(reference.quantiles[:, kept], axis=0) / unit[kept]
    widths[[0, -1]] /= 2  # the first and the last are halves: the trapezoid rule
    found = [sum_of_absolutes(below[:, :, k] - claimed[:, k], width) for k, width in zip(kept, widths.T)]
    error, margin = map(np.array, zip(*found))
    return Estimate(tuple(names[k] for k in kept), error, margin)


def _exceedances(s, reference, unit, claimed):
    """F̂ [R, 9, Q], the F [9, Q] claimed, where there is a claim [9, Q], and names; or why there are none."""
    if reference.quantiles is None or s.below is None:
        return "no claim about the distribution"
    if claimed is None:
        claimed = np.broadcast_to(np.array(LEVELS)[:, None], reference.quantiles.shape)
    # a point mass fails by its sd; on which side of a quantile it falls may be a matter of rounding
    spreads = s.variance.mean(0) + s.mean.var(0) > (COLLAPSED * unit) ** 2
    known = np.isfinite(reference.quantiles) & np.isfinite(claimed)
    if not known.any():
        return "no claim about the distribution"
    if not (known & spreads).any():
        return "draws without spread have no distribution"
    return s.below, claimed, known & spreads, reference.names
