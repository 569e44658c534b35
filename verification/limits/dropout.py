"""Dropout's exact predictions on a linear model, by all masks."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.special import betainc, logsumexp

from verification.exact.conjugate import LinearGaussian
from verification.exact.reference import Reference, correlation
from verification.methods import Method
from verification.types import Limit, Problem

WOBBLE = 0.05  # posterior sds by which fits may end apart: an atom this near to a quantile falls on either side


def dropout(method: Method, problem: Problem) -> Limit | None:
    """Bernoulli masks on a linear model: f(x) = Σ wⱼxⱼmⱼ/q, each mⱼ 1 with probability q and else 0, so that Var f =
    (1 − q)/q Σ wⱼ²xⱼ² over the masked inputs, w the adaptive-ridge solution (Wager et al. 2013; Gal & Ghahramani 2016).

    All 2ᴰ masks are added up: f is a sum of atoms, not a Gaussian. An entry of `below` [9, Q] is NaN where an atom lies
    within `WOBBLE` posterior sds of the quantile. None where the problem is no linear regression."""
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
