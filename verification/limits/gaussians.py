"""Point masses, and Gaussians that miss the covariance."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from verification.checks import importance
from verification.exact.reference import Reference
from verification.methods import Method
from verification.types import Limit, Problem


def map_estimate(method: Method, problem: Problem) -> Limit:
    """One draw, at the mode: every query's sd is 0, and neither quantiles nor correlations exist. Its mean and
    log-predictive are known where the posterior is Gaussian, the mode being the mean (Bishop 2006 §3.3)."""
    return Limit(point_mass(problem), "a single draw has no spread", "by definition")


def ensemble(method: Method, problem: Problem) -> Limit | None:
    """Members that differ by their starts alone: a strictly concave log posterior has one maximum, which all of them
    reach (Boyd & Vandenberghe 2004 §4.2.1), so their sd is 0 in every query. None where log p is not known to be
    concave."""
    if not problem.log_concave:
        return None
    reason = "every member of an ensemble reaches the one mode of a log-concave posterior"
    return Limit(point_mass(problem), reason, "convexity")


def mean_field(method: Method, problem: Problem) -> Limit | None:
    """The factorised q that minimises KL(q ‖ p) for p = N(m, Λ⁻¹), Λ [P, P]: N(m, diag(1/Λᵢᵢ)) (Bishop 2006 §10.1.2).

    `below` [9, Q] is that of the queries' Gaussians. `pareto_k` is that of as many exact draws of q. None where the
    problem is no linear regression."""
    if problem.linear is None:
        return None
    mean, precision = problem.linear.posterior
    reference = problem.linear.answers(mean, np.diag(1 / np.diag(precision)))
    reason = "mean-field variances are 1/Λᵢᵢ, without correlations"
    quantiles = problem.reference.quantiles
    below = None if quantiles is None else ndtr((quantiles - reference.mean) / reference.sd)
    return Limit(
        reference, reason, "Bishop 2006 §10.1.2", below, _oracle(mean, precision, method.settings["num_draws"])
    )


def _oracle(mean, precision, num_draws) -> float:
    """k̂ of as many exact draws of the best factorised Gaussian: at a finite number it is far from the index of the
    ratios' tail, 1 − 1/λ for the largest eigenvalue λ of Λᵢᵢ^½ Σ Λⱼⱼ^½."""
    p, q = (mean, np.linalg.inv(precision)), (mean, np.diag(1 / np.diag(precision)))
    return float(np.mean(importance.oracle_pareto_k(np.random.default_rng(0), p, q, num_draws=num_draws, runs=100)))


def point_mass(problem: Problem) -> Reference:
    """All draws at the mode; where the posterior is Gaussian, the mode, and so every number, is known."""
    exact = problem.reference
    if problem.linear is None:
        known = exact._replace(mean=None, log_predictive=None, certificate=None, classes=())
    else:
        mean, precision = problem.linear.posterior
        known = problem.linear.answers(mean, np.zeros_like(precision))
    return known._replace(sd=np.zeros_like(exact.sd), q05=None, q95=None, corr=None, quantiles=None, log_evidence=None)
