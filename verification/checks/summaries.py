"""Draws reduced to the statistics that the checks use; nothing else of the draws is kept."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from verification.types import Replications

MIN_DRAWS_FOR_QUANTILES = 100
ARRAYS = ("mean", "variance", "q05", "q95", "covariance", "log_predictive", "below", "log_evidence", "elbo", "pareto_k")


class Summaries(NamedTuple):
    """Per-replication statistics. R replications, S draws each, Q queries; None where S is too small to have them, or
    where the method does not say them."""

    num_draws: int
    mean: np.ndarray  # [R, Q]
    variance: np.ndarray  # [R, Q], unbiased; 0 for a single draw
    q05: np.ndarray | None  # [R, Q]
    q95: np.ndarray | None
    covariance: np.ndarray | None  # [R, Q, Q], unbiased
    log_predictive: np.ndarray | None  # [R], nats, joint over the new rows
    finite: bool
    below: np.ndarray | None = None  # [R, 9, Q], the share of draws at most the exact quantiles; unbiased for any S
    log_evidence: np.ndarray | None = None  # [R], nats
    elbo: np.ndarray | None = None  # [R], nats
    pareto_k: np.ndarray | None = None  # [R]

    def __len__(self):
        return len(self.mean)


def summarise(replications: Replications, quantiles: np.ndarray | None = None) -> Summaries:
    """The statistics of R replications.

    Args:
        quantiles: [9, Q], the exact ones, at which the distribution functions of the draws are taken; None for none.
            A column of NaN makes no claim about its query.
    """
    q, log_new = replications.queries, replications.log_new
    num_draws = q.shape[1]
    if quantiles is not None and np.shape(quantiles)[1:] != q.shape[2:]:
        raise ValueError(f"quantiles are {np.shape(quantiles)} but the draws have {q.shape[2]} queries; pass [9, Q]")
    finite = bool(np.isfinite(q).all() and (log_new is None or not np.isnan(log_new).any()))
    with np.errstate(invalid="ignore"):  # infinite draws: `finite` says so
        mean = q.mean(1)
        centred = q - mean[:, None]
        covariance = centred.swapaxes(1, 2) @ centred / max(num_draws - 1, 1)
    by_query = np.ascontiguousarray(q.swapaxes(1, 2))  # [R, Q, S]: draws of a query side by side
    q05 = q95 = None
    if num_draws >= MIN_DRAWS_FOR_QUANTILES:
        q05, q95 = _quantiles(by_query)
    return Summaries(
        num_draws=num_draws,
        mean=mean,
        variance=np.diagonal(covariance, axis1=1, axis2=2),
        q05=q05,
        q95=q95,
        covariance=covariance if num_draws > 1 else None,
        log_predictive=None if log_new is None else logsumexp(log_new, axis=1) - np.log(num_draws),
        finite=finite,
        below=None if quantiles is None else _below(by_query, quantiles),
        log_evidence=replications.log_evidence,
        elbo=replications.elbo,
        pareto_k=replications.pareto_k,
    )


def _below(by_query, quantiles):
    """The share of draws at most each quantile: [R, 9, Q]."""
    count = lambda row: np.count_nonzero(by_query <= np.asarray(row)[:, None], axis=-1)
    return np.stack([count(row) for row in quantiles], 1) / by_query.shape[-1]


def _quantiles(by_query):
    """5% and 95% sample quantiles over the last axis, median-unbiased (Hyndman & Fan 1996, type 8)."""
    num = by_query.shape[-1]
    positions = [min(max(p * (num + 1 / 3) - 2 / 3, 0.0), num - 1.0) for p in (0.05, 0.95)]  # zero-based
    neighbours = [(int(position), min(int(position) + 1, num - 1)) for position in positions]
    ordered = np.partition(by_query, sorted({k for pair in neighbours for k in pair}))
    return [
        ordered[..., low] + (position - low) * (ordered[..., high] - ordered[..., low])
        for position, (low, high) in zip(positions, neighbours)
    ]


def pool(parts: list[Summaries]) -> Summaries:
    """Replications of several batches as one."""
    join = lambda name: None if getattr(parts[0], name) is None else np.concatenate([getattr(p, name) for p in parts])
    arrays = {name: join(name) for name in ARRAYS}
    return Summaries(num_draws=parts[0].num_draws, **arrays, finite=all(p.finite for p in parts))


def placeholder(summaries: Summaries) -> Summaries:
    """The same statistics with variance 1 and all else 0: what there is to be checked, without its values."""
    arrays = {name: getattr(summaries, name) for name in ARRAYS}
    arrays = {name: None if value is None else np.zeros_like(value) for name, value in arrays.items()}
    arrays["variance"] = np.ones_like(summaries.variance)
    if summaries.covariance is not None:
        arrays["covariance"] = np.broadcast_to(np.eye(summaries.mean.shape[1]), summaries.covariance.shape)
    return Summaries(num_draws=summaries.num_draws, **arrays, finite=True)
