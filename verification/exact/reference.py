"""The record of an exact answer, and Gaussian ones made from linear algebra."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import ndtri
from scipy.stats import multivariate_normal


class Certificate(NamedTuple):
    """How far an answer may be off, and who says so.

    error: a bound on the numerical error of means, sds and quantiles, in posterior sd.
    found: how the bound was found.
    second: the independent second method; agreement: its largest difference, in posterior sd (nan where there is none).
    exact: False for Monte-Carlo references (long NUTS), whose error is a standard error.
    predictive_error: of the joint log predictive, nats over all new rows; None: `error` bounds it too.
    """

    error: float
    found: str
    second: str
    agreement: float
    exact: bool = True
    predictive_error: float | None = None


Z95 = 1.6448536269514722  # Φ⁻¹(0.95)
LEVELS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)  # at which whole distributions are compared


class Reference(NamedTuple):
    """Posterior summaries of Q named queries. A field that is None makes no claim.

    mean, sd, q05, q95: [Q]; corr: [Q, Q]; log_predictive: joint log p(y_new | data), nats, over num_new rows;
    log_evidence: log p(data), nats, None when the prior is improper; quantiles: [9, Q] at `LEVELS`.
    classes: for each input at which classes are predicted the indices of the queries that are their probabilities: of
    all classes, or of one of two.
    """

    names: tuple[str, ...]
    mean: np.ndarray | None
    sd: np.ndarray | None
    q05: np.ndarray | None
    q95: np.ndarray | None
    corr: np.ndarray | None
    log_predictive: float | None
    num_new: int
    log_evidence: float | None
    certificate: Certificate | None
    quantiles: np.ndarray | None = None
    classes: tuple[tuple[int, ...], ...] = ()

    @property
    def scale(self) -> np.ndarray:
        """[Q], the unit of errors: the sd, or where there is none (a Cauchy's) that of a normal with the same 5% and
        95% quantiles."""
        return self.sd if self.sd is not None else (self.q95 - self.q05) / (2 * Z95)


def correlation(covariance: np.ndarray) -> np.ndarray:
    """Cov → Corr; rows of zero variance give nan off the diagonal."""
    sd = np.sqrt(np.diag(covariance))
    with np.errstate(invalid="ignore", divide="ignore"):
        corr = covariance / np.outer(sd, sd)
    np.fill_diagonal(corr, 1.0)
    return corr


def gaussian_reference(names, mean, covariance, *, new=None, log_evidence=None, certificate=None) -> Reference:
    """Queries that are jointly N(mean, covariance).

    Args:
        new: (y_new, mean, covariance) of the Gaussian predictive of new rows, noise included; None for none.
    """
    mean, covariance = np.asarray(mean, float), np.asarray(covariance, float)
    sd = np.sqrt(np.diag(covariance))
    quantiles = mean + np.outer(ndtri(LEVELS), sd)
    log_predictive = None if new is None else float(multivariate_normal.logpdf(new[0], new[1], new[2]))
    num_new = 0 if new is None else len(new[0])
    return Reference(
        tuple(names),
        mean,
        sd,
        mean - Z95 * sd,
        mean + Z95 * sd,
        correlation(covariance),
        log_predictive,
        num_new,
        log_evidence,
        certificate,
        quantiles,
    )


def difference_in_sd(a: Reference, b: Reference) -> float:
    """The largest difference of two answers over means, sds, quantiles (in sd of `a`), correlations and log
    predictive (nats)."""
    gaps = [0.0]
    for field in ("mean", "sd", "q05", "q95", "quantiles"):
        left, right = getattr(a, field), getattr(b, field)
        if left is not None and right is not None:
            gaps.append(np.max(np.abs(left - right) / a.sd))
    if a.corr is not None and b.corr is not None:
        gaps.append(np.max(np.abs(a.corr - b.corr)))
    if a.log_predictive is not None and b.log_predictive is not None:
        gaps.append(abs(a.log_predictive - b.log_predictive))
    return float(max(gaps)) if np.all(np.isfinite(gaps)) else float("inf")  # a NaN is no agreement
