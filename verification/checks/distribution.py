"""Whole marginal distributions: the distribution function of the draws at nine exact quantiles.

The share F̂ᵣ(q) of a replication's draws that are at most an exact quantile q is unbiased for the method's own F(q),
whatever S is and however its draws depend on each other; so a single draw can be judged too.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from verification.checks.check import ALPHA, Estimate, standard_error
from verification.checks.moments import COLLAPSED
from verification.exact.reference import LEVELS

NOISES = 20_000  # simulated, for the margin of a distance


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
    ∫|F̄ − F| dx between the first and the last exact quantile.

    Noise pushes T upwards, but |T − W| ≤ Σ_l |ε_l| Δq_l for the truth W and the noise ε of F̄ (the triangle
    inequality). So the margin is the 1 − α quantile of that bound under ε ~ t₍R₋₁₎(0, Σ̂/R), Σ̂ the covariance of F̂ᵣ
    over replications: simulated with fixed noise, at α = 10⁻³. The standard error returned is that margin over
    t₍R₋₁₎(1 − α/2), so that the judge's margin is the one meant.

    It is none of `CHECKS`: at tolerances of 0.05 sd it was seen to fail no shift, width, skewness, heavy tail or second
    mode that means, sds or `kolmogorov_smirnov` at 0.02 did not fail at the same size or a smaller one.
    """
    found = _exceedances(s, reference, unit, claimed)
    if isinstance(found, str):
        return found
    below, claimed, known, names = found
    kept = np.nonzero(known.all(0))[0]
    widths = np.gradient(reference.quantiles[:, kept], axis=0) / unit[kept]
    widths[[0, -1]] /= 2  # the first and the last are halves: the trapezoid rule
    gaps = np.abs(below.mean(0) - claimed)[:, kept]
    rng, dof = np.random.default_rng(0), len(s) - 1
    noise = rng.standard_normal((NOISES, len(LEVELS))) / np.sqrt(rng.chisquare(dof, NOISES) / dof)[:, None]
    margins = []
    for column, width in zip(kept, widths.T):
        values, vectors = np.linalg.eigh(np.cov(below[:, :, column].T) / len(s))
        root = vectors * np.sqrt(np.clip(values, 0, None))
        margins.append(np.quantile(np.abs(noise @ root.T) @ width, 1 - ALPHA))
    error = np.array(margins) / stats.t.ppf(1 - ALPHA / 2, dof)
    return Estimate(tuple(names[k] for k in kept), (gaps * widths).sum(0), error)


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
