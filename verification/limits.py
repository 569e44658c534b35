"""Known flaws: for a method and a property of the problem, the wrong answer that a theorem predicts, as a number.

A limit is a whole `Reference`: the method must match it within the margins wherever it fails the exact answer. None
is written for a single cell, none for NUTS.
"""

from __future__ import annotations

import itertools

import numpy as np
from scipy.special import betainc, logsumexp

from verification.exact.conjugate import gaussian_pushforward
from verification.exact.reference import Reference, correlation
from verification.judge import Limit
from verification.methods import NUM_DRAWS  # of dropout on trial: expectations of its sample quantiles depend on it


def limit_for(method: str, problem, settings: dict | None = None) -> Limit | None:
    """The theorem that governs a method on a problem, or None."""
    s = problem.structure
    if method == "map_estimate":
        reason = "a single draw has no spread"
        return Limit(_point_mass(problem), reason, "by definition")
    if method == "ensemble" and s.get("log_concave"):
        return Limit(
            _point_mass(problem),
            "every member of an ensemble reaches the one mode of a log-concave posterior",
            "convexity",
        )
    if method == "mean_field" and s.get("gaussian"):
        covariance = np.diag(1 / np.diag(s["precision"]))
        reference = _linear(problem, s["mean"], covariance)
        return Limit(reference, "mean-field variances are 1/Λᵢᵢ, without correlations", "Bishop 2006 §10.1.2")
    if method == "dropout" and s.get("gaussian"):
        keep = 1 - (settings or {}).get("rate", 0.1)
        reason = "dropout's f is Σ wⱼxⱼmⱼ/q, variance (1−q)/q Σ w²x², w the adaptive-ridge solution"
        return Limit(_dropout(problem, keep), reason, "Wager et al. 2013; Gal & Ghahramani 2016")
    return None


def _point_mass(problem) -> Reference:
    """All draws at the mode; where the posterior is Gaussian, the mode, and so every number, is known."""
    exact, s = problem.reference, problem.structure
    zeros = np.zeros_like(exact.sd)
    if not s.get("gaussian"):
        return exact._replace(mean=None, sd=zeros, q05=None, q95=None, corr=None, log_predictive=None, certificate=None)
    return _linear(problem, s["mean"], np.zeros_like(s["precision"]))._replace(q05=None, q95=None, corr=None)


def _linear(problem, mean, covariance) -> Reference:
    s = problem.structure
    return gaussian_pushforward(
        problem.reference.names, mean, covariance, s["queries"], s["new_design"], s["new_y"], s["noise_scale"]
    )


def adaptive_ridge(s: dict, keep: float) -> np.ndarray:
    """argmin E_m‖y − X(m∘w)/q‖²/2σ² + ‖w‖²/2τ²: the masks add (1−q)/q diag(XᵀX)/σ² on the masked columns."""
    gram = s["design"].T @ s["design"] / s["noise_scale"] ** 2
    penalty = np.where(s["masked"], (1 - keep) / keep * np.diag(gram), 0.0) + 1 / s["prior_scale"] ** 2
    return np.linalg.solve(gram + np.diag(penalty), s["design"].T @ s["y"] / s["noise_scale"] ** 2)


def _dropout(problem, keep) -> Reference:
    """The exact distribution of dropout's predictions on a linear model, by all 2ᴰ masks."""
    s = problem.structure
    w, masked = adaptive_ridge(s, keep), s["masked"]
    masks = np.array(list(itertools.product([0.0, 1.0], repeat=int(masked.sum()))))
    log_weights = masks.sum(1) * np.log(keep) + (1 - masks).sum(1) * np.log(1 - keep)
    scaled = np.repeat(w[None], len(masks), 0)
    scaled[:, masked] *= masks / keep
    values, weights = scaled @ s["queries"].T, np.exp(log_weights)
    mean = weights @ values
    covariance = (values - mean).T @ (weights[:, None] * (values - mean))
    residual = (s["new_y"] - scaled @ s["new_design"].T) / s["noise_scale"]
    log_noise = -0.5 * (residual**2).sum(1) - residual.shape[1] * np.log(np.sqrt(2 * np.pi) * s["noise_scale"])
    sd = np.sqrt(np.diag(covariance))
    return problem.reference._replace(
        mean=mean, sd=sd, q05=_expected_quantile(values, weights, 0.05), q95=_expected_quantile(values, weights, 0.95),
        corr=correlation(covariance), log_predictive=float(logsumexp(log_noise + log_weights)), certificate=None,
    )  # fmt: skip


def _expected_quantile(values, weights, p):
    """The expectation of the p-quantile of NUM_DRAWS draws, as `checks` computes it, of a discrete distribution: with
    gaps between its atoms it is not the quantile itself. P(X₍ₖ₎ ≤ x) = I_F(x)(k, S − k + 1)."""
    order = np.argsort(values, axis=0, kind="stable")
    cumulative = np.clip(np.cumsum(weights[order], axis=0), 0, 1)
    atoms = np.take_along_axis(values, order, 0)
    position = p * (NUM_DRAWS + 1 / 3) - 2 / 3
    low = int(position)

    def order_statistic(k):
        below = betainc(k, NUM_DRAWS - k + 1, cumulative)
        return (np.diff(below, axis=0, prepend=0.0) * atoms).sum(0)

    return (1 - (position - low)) * order_statistic(low + 1) + (position - low) * order_statistic(low + 2)
