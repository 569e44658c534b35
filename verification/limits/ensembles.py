"""Perturbed fits on a linear model: what anchors alone, and Gaussian masks, give in the place of the posterior.

Randomised MAP is exact there and has no limit; the bootstrap's law has no closed form, and none either.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from probjax import gaussian_mask
from verification.limits import dropout as bernoulli
from verification.types import Limit


def anchored(method, problem):
    """The optimum is Σ(Xᵀy/σ² + w₀/τ²), w₀ ~ N(0, τ²I)."""
    if problem.linear is None:
        return None
    mean, precision = problem.linear.posterior
    covariance = np.linalg.inv(precision)
    reason = "anchors alone give Σ·Σ/τ², Σ the posterior covariance: the data's noise is not redrawn"
    spread = covariance @ covariance / problem.linear.prior_scale**2
    return _gaussian(problem, mean, spread, reason, "Pearce et al. 2020; Matthews et al. 2017")


def dropout(method, problem):
    """By the law of the masks: Gaussian ones here, Bernoulli's by all masks."""
    if method.settings.get("mask") is not gaussian_mask:
        return bernoulli.dropout(method, problem)
    if problem.linear is None:
        return None
    w, variance = gaussian_dropout(problem.linear, method.settings["rate"])
    reason = "Gaussian dropout's f is N(Σ wx, rate/(1 − rate) Σ w²x²), w the adaptive-ridge solution"
    return _gaussian(problem, w, np.diag(variance), reason, "Wager et al. 2013; Srivastava et al. 2014 §10")


def gaussian_dropout(s, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variances [P] of the masked coefficients; those of the constant column are 0."""
    w, masked = bernoulli.adaptive_ridge(s, 1 - rate), ~np.all(s.design == 1, axis=0)
    return w, np.where(masked, rate / (1 - rate) * w**2, 0.0)


def _gaussian(problem, mean, covariance, reason, source) -> Limit:
    reference = problem.linear.answers(mean, covariance)
    below, exact = None, problem.reference
    if exact.quantiles is not None:
        gaps = exact.quantiles - reference.mean
        point = np.broadcast_to(reference.sd == 0, gaps.shape)
        below = ndtr(gaps / np.where(reference.sd == 0, 1.0, reference.sd))
        decided = np.abs(gaps / exact.sd) > bernoulli.WOBBLE  # an atom near a quantile falls on either side of it
        below = np.where(point, np.where(decided, gaps > 0, np.nan), below)
    return Limit(reference, reason, source, below)
