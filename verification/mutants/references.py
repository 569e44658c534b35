"""Bugs of exact answers: right draws are held to a wrong reference, and must fail it.

A mutant is a function Reference -> Reference, or None where the wrong answer would be the right one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from verification.exact.reference import Z95


def _moved(reference, field, change):
    value = getattr(reference, field)
    return None if value is None else reference._replace(**{field: change(np.array(value, float))})


def _first_mean(reference):
    if reference.mean is None or reference.sd is None:
        return None
    return reference._replace(mean=reference.mean + 0.06 * reference.sd * (np.arange(len(reference.mean)) == 0))


def _mode_for_mean(reference):
    """Mean + half of the skew: where a mode might lie."""
    if reference.mean is None or reference.q05 is None:
        return None
    skew = reference.q05 + reference.q95 - 2 * reference.mean
    return reference._replace(mean=reference.mean - skew / 2) if np.max(np.abs(skew) / reference.sd) > 0.2 else None


def _variance_for_sd(reference):
    return None if reference.sd is None or np.allclose(reference.sd, 1, atol=0.1) else _square(reference)


def _square(reference):
    return reference._replace(sd=reference.sd**2)


def _gaussian_quantiles(reference):
    if reference.mean is None or reference.sd is None or reference.q05 is None:
        return None
    low, high = reference.mean - Z95 * reference.sd, reference.mean + Z95 * reference.sd
    gap = np.maximum(np.abs(low - reference.q05), np.abs(high - reference.q95)) / reference.sd
    return reference._replace(q05=low, q95=high) if gap.max() > 0.1 else None


def _quantiles_swapped(reference):
    return None if reference.q05 is None else reference._replace(q05=reference.q95, q95=reference.q05)


def _correlations(change):
    def mutant(reference):
        corr = reference.corr
        if corr is None or np.nanmax(np.abs(corr - np.eye(len(corr)))) < 0.1:
            return None
        return reference._replace(corr=change(corr))

    return mutant


def _one_row_more(reference):
    if reference.log_predictive is None:
        return None
    return reference._replace(log_predictive=reference.log_predictive * (1 + 1 / reference.num_new))


def _another_order(reference):
    if len(reference.names) < 2:
        return None
    roll = lambda value: None if value is None else np.roll(value, 1, axis=0)
    return reference._replace(**{field: roll(getattr(reference, field)) for field in ("mean", "sd", "q05", "q95")})


REFERENCE_MUTANTS: dict[str, Callable] = {
    "one mean + 0.06 sd": _first_mean,
    "the mode for the mean": _mode_for_mean,
    "sds × 1.05": lambda reference: _moved(reference, "sd", lambda sd: 1.05 * sd),
    "variances for sds": _variance_for_sd,
    "quantiles of a Gaussian": _gaussian_quantiles,
    "5% and 95% quantiles swapped": _quantiles_swapped,
    "correlations' signs flipped": _correlations(lambda corr: 2 * np.eye(len(corr)) - corr),
    "correlations of independent queries": _correlations(lambda corr: np.eye(len(corr))),
    "log predictive of one row more": _one_row_more,
    "numbers in another order than names": _another_order,
}
