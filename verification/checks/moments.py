"""Means, sds, two quantiles, correlations and the joint log predictive against the exact ones."""

from __future__ import annotations

import numpy as np

from verification.checks.check import Estimate, standard_error
from verification.checks.summaries import MIN_DRAWS_FOR_QUANTILES

COLLAPSED = 1e-3  # of the posterior sd: what spreads less has no correlation worth the name, and its sd fails anyway


def mean(s, reference, unit):
    """Means, in posterior sd."""
    if reference.mean is None:
        return "no claim about means"
    return Estimate(reference.names, (s.mean.mean(0) - reference.mean) / unit, standard_error(s.mean) / unit)


def sd(s, reference, unit):
    """sds, relative to the posterior sd."""
    if reference.sd is None:
        return "no claim about sds"
    # variances, unlike sds, are unbiased, so they are pooled; a collapsed posterior has sd 0 and error −1, not −inf
    variance = s.variance.mean(0)
    sd = np.sqrt(variance)
    error = np.divide(standard_error(s.variance), 2 * sd, out=np.zeros_like(sd), where=sd > 0)
    return Estimate(reference.names, (sd - reference.sd) / unit, error / unit)


def quantile(field):
    """The estimate of "q05" or "q95", in posterior sd."""

    def estimate(s, reference, unit):
        claimed, found = getattr(reference, field), getattr(s, field)
        if claimed is None:
            return "no claim about quantiles"
        if found is None:
            return f"{s.num_draws} draws; quantiles need {MIN_DRAWS_FOR_QUANTILES}"
        return Estimate(reference.names, (found.mean(0) - claimed) / unit, standard_error(found) / unit)

    return estimate


def correlation(s, reference, unit):
    """Correlations of all pairs of queries that spread."""
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
    return Estimate(names, corr - reference.corr[i, j], standard_error(influence))


def log_predictive(s, reference, unit):
    """log p(y_new | y) of all held-out rows jointly, nats a row."""
    if reference.log_predictive is None or s.log_predictive is None:
        return "no held-out rows"
    per_row = s.log_predictive / reference.num_new
    error = np.array([per_row.mean() - reference.log_predictive / reference.num_new])
    return Estimate(("joint",), error, np.array([standard_error(per_row)]))


def predictive_error(reference):
    """The exact answer's own error, nats a row."""
    certificate = reference.certificate
    total = certificate.error if certificate.predictive_error is None else certificate.predictive_error
    return total / reference.num_new
