"""Known flaws: for a method and a property of the problem, the wrong answer that a theorem predicts, as a number.

A limit is a whole `Reference`: the method must match it within the margins wherever it fails the exact answer. None
is written for a single cell, none for NUTS.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from scipy.special import betainc, logsumexp, ndtr

from probjax import inference
from verification.exact.conjugate import LinearGaussian
from verification.exact.reference import Reference, correlation
from verification.methods import Method
from verification.types import Limit, Problem

WOBBLE = 0.05  # posterior sds by which fits may end apart: an atom this near to a quantile falls on either side


def limit_for(method: Method, problem: Problem) -> Limit | None:
    """The theorem that governs a method, at its settings, on a problem; None where there is none."""
    find = LIMITS.get(method.run)
    return None if find is None else find(method, problem)


def _map_estimate(method, problem):
    return Limit(_point_mass(problem), "a single draw has no spread", "by definition")


def _ensemble(method, problem):
    if not problem.log_concave:
        return None
    reason = "every member of an ensemble reaches the one mode of a log-concave posterior"
    return Limit(_point_mass(problem), reason, "convexity")


def _mean_field(method, problem):
    if problem.linear is None:
        return None
    mean, precision = problem.linear.posterior
    reference = problem.linear.answers(mean, np.diag(1 / np.diag(precision)))
    reason = "mean-field variances are 1/Λᵢᵢ, without correlations"
    quantiles = problem.reference.quantiles
    below = None if quantiles is None else ndtr((quantiles - reference.mean) / reference.sd)
    return Limit(reference, reason, "Bishop 2006 §10.1.2", below)


def _dropout(method, problem):
    if problem.linear is None:
        return None
    keep = 1 - method.settings["rate"]
    reference = dropout_reference(problem.linear, keep, method.settings["num_draws"])
    values, log_weights = _masked_predictions(problem.linear, keep)[1:]
    below = None
    if problem.reference.quantiles is not None:
        gaps = (values[:, None] - problem.reference.quantiles) / problem.reference.sd  # [2ᴰ, 9, Q]
        decided = np.all(np.abs(gaps) > WOBBLE, axis=0)
        below = np.where(decided, np.tensordot(np.exp(log_weights), gaps <= 0, 1), np.nan)
    reason = "dropout's f is Σ wⱼxⱼmⱼ/q, variance (1−q)/q Σ w²x², w the adaptive-ridge solution"
    return Limit(reference, reason, "Wager et al. 2013; Gal & Ghahramani 2016", below)


LIMITS: dict[Callable, Callable[[Method, Problem], Limit | None]] = {
    inference.map_estimate: _map_estimate,
    inference.ensemble: _ensemble,
    inference.mean_field: _mean_field,
    inference.dropout: _dropout,
}


def _point_mass(problem) -> Reference:
    """All draws at the mode; where the posterior is Gaussian, the mode, and so every number, is known."""
    exact = problem.reference
    if problem.linear is None:
        known = exact._replace(mean=None, log_predictive=None, certificate=None)
    else:
        mean, precision = problem.linear.posterior
        known = problem.linear.answers(mean, np.zeros_like(precision))
    return known._replace(sd=np.zeros_like(exact.sd), q05=None, q95=None, corr=None, quantiles=None, log_evidence=None)


def _masked(s: LinearGaussian) -> np.ndarray:
    """[D] bool: the inputs that dropout masks, which are all but the constant one."""
    return ~np.all(s.design == 1, axis=0)


def adaptive_ridge(s: LinearGaussian, keep: float) -> np.ndarray:
    """argmin E_m‖y − X(m∘w)/q‖²/2σ² + ‖w‖²/2τ²: the masks add (1−q)/q diag(XᵀX)/σ² on the masked columns."""
    gram = s.design.T @ s.design / s.noise_scale**2
    penalty = np.where(_masked(s), (1 - keep) / keep * np.diag(gram), 0.0) + 1 / s.prior_scale**2
    return np.linalg.solve(gram + np.diag(penalty), s.design.T @ s.y / s.noise_scale**2)


def dropout_reference(s: LinearGaussian, keep: float, num_draws: int) -> Reference:
    """The exact distribution of dropout's predictions on a linear model, by all 2ᴰ masks."""
    scaled, values, log_weights = _masked_predictions(s, keep)
    weights = np.exp(log_weights)
    mean = weights @ values
    covariance = (values - mean).T @ (weights[:, None] * (values - mean))
    residual = (s.new_y - scaled @ s.new_design.T) / s.noise_scale
    log_noise = -0.5 * (residual**2).sum(1) - residual.shape[1] * np.log(np.sqrt(2 * np.pi) * s.noise_scale)
    sd = np.sqrt(np.diag(covariance))
    q05, q95 = (_expected_quantile(values, weights, p, num_draws) for p in (0.05, 0.95))
    log_predictive = float(logsumexp(log_noise + log_weights))
    return Reference(s.names, mean, sd, q05, q95, correlation(covariance), log_predictive, len(s.new_y), None, None)


def _masked_predictions(s, keep):
    """Masked coefficients [2ᴰ, P], queries [2ᴰ, Q] and log probabilities [2ᴰ] of all masks."""
    w, masked = adaptive_ridge(s, keep), _masked(s)
    masks = np.array(list(itertools.product([0.0, 1.0], repeat=int(masked.sum()))))
    log_weights = masks.sum(1) * np.log(keep) + (1 - masks).sum(1) * np.log(1 - keep)
    scaled = np.repeat(w[None], len(masks), 0)
    scaled[:, masked] *= masks / keep
    return scaled, scaled @ s.queries.T, log_weights


def _expected_quantile(values, weights, p, num_draws):
    """The expectation of the p-quantile of num_draws draws, as `checks` computes it, of a discrete distribution: with
    gaps between its atoms it is not the quantile itself. P(X₍ₖ₎ ≤ x) = I_F(x)(k, S − k + 1)."""
    order = np.argsort(values, axis=0, kind="stable")
    cumulative = np.clip(np.cumsum(weights[order], axis=0), 0, 1)
    atoms = np.take_along_axis(values, order, 0)
    position = p * (num_draws + 1 / 3) - 2 / 3
    low = int(position)

    def order_statistic(k):
        below = betainc(k, num_draws - k + 1, cumulative)
        return (np.diff(below, axis=0, prepend=0.0) * atoms).sum(0)

    return (1 - (position - low)) * order_statistic(low + 1) + (position - low) * order_statistic(low + 2)
