"""What is compared with the exact answer: a check turns replications into errors and standard errors, one a query.

Units: means and quantiles in posterior sd; sds relative to the posterior sd; correlations as they are; the joint log
predictive in nats per new row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from verification.exact.reference import Reference
from verification.types import Replications

MIN_DRAWS_FOR_QUANTILES = 100
COLLAPSED = 1e-3  # of the posterior sd: what spreads less has no correlation worth the name, and its sd fails anyway


class Summaries(NamedTuple):
    """Per-replication statistics. R replications, S draws each, Q queries; None where S is too small to have them."""

    num_draws: int
    mean: np.ndarray  # [R, Q]
    variance: np.ndarray  # [R, Q], unbiased; 0 for a single draw
    q05: np.ndarray | None  # [R, Q]
    q95: np.ndarray | None
    covariance: np.ndarray | None  # [R, Q, Q], unbiased
    log_predictive: np.ndarray | None  # [R], nats, joint over the new rows
    finite: bool

    def __len__(self):
        return len(self.mean)


def summarise(replications: Replications) -> Summaries:
    """Reduce draws to the statistics that the checks use; nothing else of the draws is kept."""
    q, log_new = replications
    num_draws = q.shape[1]
    finite = bool(np.isfinite(q).all() and (log_new is None or not np.isnan(log_new).any()))
    mean = q.mean(1)
    centred = q - mean[:, None]
    covariance = centred.swapaxes(1, 2) @ centred / max(num_draws - 1, 1)
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    q05 = q95 = None
    if num_draws >= MIN_DRAWS_FOR_QUANTILES:
        q05, q95 = _quantiles(q)
    log_predictive = None if log_new is None else logsumexp(log_new, axis=1) - np.log(num_draws)
    return Summaries(num_draws, mean, variance, q05, q95, covariance if num_draws > 1 else None, log_predictive, finite)


def _quantiles(q):
    """5% and 95% sample quantiles over axis 1, median-unbiased (Hyndman & Fan 1996, type 8)."""
    num = q.shape[1]
    positions = [min(max(p * (num + 1 / 3) - 2 / 3, 0.0), num - 1.0) for p in (0.05, 0.95)]  # zero-based
    neighbours = [(int(position), min(int(position) + 1, num - 1)) for position in positions]
    ordered = np.partition(np.ascontiguousarray(q.swapaxes(1, 2)), sorted({k for pair in neighbours for k in pair}))
    return [
        ordered[..., low] + (position - low) * (ordered[..., high] - ordered[..., low])
        for position, (low, high) in zip(positions, neighbours)
    ]


def pool(parts: list[Summaries]) -> Summaries:
    """Replications of several batches as one."""
    join = lambda name: None if getattr(parts[0], name) is None else np.concatenate([getattr(p, name) for p in parts])
    arrays = {name: join(name) for name in ("mean", "variance", "q05", "q95", "covariance", "log_predictive")}
    return Summaries(num_draws=parts[0].num_draws, **arrays, finite=all(p.finite for p in parts))


class Estimate(NamedTuple):
    """errors and standard errors over R replications, by query name."""

    names: tuple[str, ...]
    error: np.ndarray
    standard_error: np.ndarray


class Check(NamedTuple):
    """A named comparison. estimate: (summaries, reference, unit sd) -> Estimate, or a string: why it does not apply.

    tolerance: {"default": …, "full": …}, fixed by the table of the design, in the check's units.
    reference_error: the exact answer's own error, in those units.
    """

    name: str
    tolerance: dict[str, float]
    units: str
    estimate: Callable[[Summaries, Reference, np.ndarray], Estimate | str]
    reference_error: Callable[[Reference], float] = lambda reference: reference.certificate.error


def _standard_error(values):
    return values.std(0, ddof=1) / np.sqrt(len(values))


def _mean(s, reference, unit):
    if reference.mean is None:
        return "no claim about means"
    return Estimate(reference.names, (s.mean.mean(0) - reference.mean) / unit, _standard_error(s.mean) / unit)


def _sd(s, reference, unit):
    if reference.sd is None:
        return "no claim about sds"
    # variances, unlike sds, are unbiased, so they are pooled; a collapsed posterior has sd 0 and error −1, not −inf
    variance = s.variance.mean(0)
    sd = np.sqrt(variance)
    standard_error = np.divide(_standard_error(s.variance), 2 * sd, out=np.zeros_like(sd), where=sd > 0)
    return Estimate(reference.names, (sd - reference.sd) / unit, standard_error / unit)


def _quantile(field):
    def estimate(s, reference, unit):
        claimed, found = getattr(reference, field), getattr(s, field)
        if claimed is None:
            return "no claim about quantiles"
        if found is None:
            return f"{s.num_draws} draws; quantiles need {MIN_DRAWS_FOR_QUANTILES}"
        return Estimate(reference.names, (found.mean(0) - claimed) / unit, _standard_error(found) / unit)

    return estimate


def _correlation(s, reference, unit):
    if reference.corr is None or len(reference.names) < 2:
        return "no claim about correlations"
    if s.covariance is None:
        return "one draw has no correlation"
    covariance = s.covariance.mean(0)
    sd = np.sqrt(np.diag(covariance))
    i, j = np.triu_indices(len(sd), 1)
    known = (sd[i] > COLLAPSED * unit[i]) & (sd[j] > COLLAPSED * unit[j]) & np.isfinite(reference.corr[i, j])
    i, j = i[known], j[known]
    if not len(i):
        return "a posterior without spread has no correlation"
    scaled = s.covariance / np.outer(sd, np.where(sd > 0, sd, 1.0)).clip(1e-300)
    corr = covariance[i, j] / (sd[i] * sd[j])
    # delta method: d corr_ij = dC_ij/(sᵢsⱼ) − corr_ij (dC_ii/sᵢ² + dC_jj/sⱼ²)/2
    influence = scaled[:, i, j] - 0.5 * corr * (scaled[:, i, i] + scaled[:, j, j])
    names = tuple(f"{reference.names[a]} ~ {reference.names[b]}" for a, b in zip(i, j))
    return Estimate(names, corr - reference.corr[i, j], _standard_error(influence))


def _log_predictive(s, reference, unit):
    if reference.log_predictive is None or s.log_predictive is None:
        return "no held-out rows"
    per_row = s.log_predictive / reference.num_new
    error = np.array([per_row.mean() - reference.log_predictive / reference.num_new])
    return Estimate(("joint",), error, np.array([_standard_error(per_row)]))


def _predictive_error(reference):
    certificate = reference.certificate
    total = certificate.error if certificate.predictive_error is None else certificate.predictive_error
    return total / reference.num_new


CHECKS = (
    Check("mean", {"default": 0.05, "full": 0.025}, "posterior sd", _mean),
    Check("sd", {"default": 0.05, "full": 0.025}, "of the posterior sd", _sd),
    Check("q05", {"default": 0.10, "full": 0.05}, "posterior sd", _quantile("q05")),
    Check("q95", {"default": 0.10, "full": 0.05}, "posterior sd", _quantile("q95")),
    Check("correlation", {"default": 0.05, "full": 0.025}, "", _correlation),
    Check("log_predictive", {"default": 0.02, "full": 0.01}, "nats a row", _log_predictive, _predictive_error),
)
