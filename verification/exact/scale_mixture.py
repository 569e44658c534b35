"""Gaussian parameters given one scale: integrate the Gaussian part in closed form and the scale by a fine trapezoid
in its logarithm."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import logsumexp

from verification.exact.quadrature import mixture_quantile, sinc_quantile
from verification.exact.reference import LEVELS, Certificate, Reference, correlation, difference_in_sd

Conditional = Callable[[float], tuple[float, np.ndarray, np.ndarray]]  # u -> log weight, mean [Q], covariance [Q, Q]


def scale_mixture(
    names, conditional: Conditional, low: float, high: float, *, of_scale: Callable = np.exp, nodes=801, proper=True
) -> Reference:
    """Posterior of Q linear queries and, last, of `of_scale(u)`, where θ | u is Gaussian and u = log scale has weight
    exp(log weight) du.

    Means and covariances by total expectation; quantiles of a linear query are those of a Gaussian mixture, of the
    scale by the sinc CDF. The certificate compares the grid with its every second node.

    Args:
        conditional: u -> log p(u, data), mean and covariance of the queries given u.
        low, high: range of u; must hold all the mass (the edge weight is part of the certificate).
        of_scale: increasing function of u that is queried.
    """
    u = np.linspace(low, high, nodes)
    log_weights, means, covariances = map(np.array, zip(*map(conditional, u)))
    fine = _summaries(names, u, log_weights, means, covariances, of_scale)
    coarse = _summaries(names, u[::2], log_weights[::2], means[::2], covariances[::2], of_scale)
    edge = np.exp(max(log_weights[0], log_weights[-1]) - log_weights.max())
    gap = max(difference_in_sd(fine, coarse), float(edge))
    found = f"trapezoid in log scale, {nodes} nodes against {len(u[::2])}, and the weight at the edges"
    agreement = difference_in_sd(fine, _legendre_moments(fine, conditional, low, high, of_scale, nodes // 2))
    second = f"Gauss–Legendre, {nodes // 2} nodes (means and sds)"
    certificate = Certificate(max(gap, agreement), found, second, agreement)
    return fine._replace(certificate=certificate, log_evidence=fine.log_evidence if proper else None)


def _legendre_moments(fine, conditional, low, high, of_scale, nodes):
    """Means, sds and correlations by another rule."""
    points, rule = np.polynomial.legendre.leggauss(nodes)
    u = low + (high - low) * (1 + points) / 2
    log_weights, means, covariances = map(np.array, zip(*map(conditional, u)))
    weights = rule * np.exp(log_weights - log_weights.max())
    weights, values = weights / weights.sum(), np.column_stack([means, of_scale(u)])
    mean = weights @ values
    covariance = (values - mean).T @ (weights[:, None] * (values - mean))
    covariance[:-1, :-1] += np.tensordot(weights, covariances, 1)
    sd, corr = np.sqrt(np.diag(covariance)), correlation(covariance)
    return fine._replace(mean=mean, sd=sd, q05=None, q95=None, quantiles=None, corr=corr)


def _summaries(names, u, log_weights, means, covariances, of_scale):
    total = logsumexp(log_weights)
    weights, scale = np.exp(log_weights - total), of_scale(u)
    values = np.column_stack([means, scale])
    mean = weights @ values
    centred = values - mean
    covariance = centred.T @ (weights[:, None] * centred)
    covariance[:-1, :-1] += np.tensordot(weights, covariances, 1)
    sds = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    kept = weights > 1e-18
    quantiles = np.array(
        [
            [mixture_quantile(weights[kept], means[kept, q], sds[kept, q], p) for q in range(means.shape[1])]
            + [of_scale(sinc_quantile(u, weights, p))]
            for p in LEVELS
        ]
    )
    evidence = float(total + np.log(u[1] - u[0]))
    sd = np.sqrt(np.diag(covariance))
    corr, q05, q95 = correlation(covariance), quantiles[1], quantiles[7]
    return Reference(tuple(names), mean, sd, q05, q95, corr, None, 0, evidence, None, quantiles)


def linear_regression_unknown_noise(
    names,
    design,
    y,
    log_prior_log_scale: Callable,
    low,
    high,
    *,
    prior_precision=0.0,
    queries=None,
    of_scale=np.exp,
    nodes=801,
) -> Reference:
    """y ~ N(Xβ, σ²), β flat or N(0, 1/prior_precision), any prior on σ given as the log-density of u = log σ.

    Queries: `queries @ β` (default: β itself), then `of_scale(log σ)`. A flat prior on β has no evidence.
    """
    queries = np.eye(design.shape[1]) if queries is None else queries
    gram, cross, n = design.T @ design, design.T @ y, len(y)

    def conditional(u):
        variance = np.exp(2 * u)
        precision = gram / variance + prior_precision * np.eye(len(gram))
        mean = np.linalg.solve(precision, cross / variance)
        log_det = np.linalg.slogdet(precision)[1]
        proper = 0.5 * len(gram) * np.log(prior_precision) if prior_precision else 0.5 * len(gram) * np.log(2 * np.pi)
        residual = np.sum((y - design @ mean) ** 2) / variance + prior_precision * mean @ mean
        log_weight = (
            -n * (u + 0.5 * np.log(2 * np.pi)) - 0.5 * residual - 0.5 * log_det + proper + log_prior_log_scale(u)
        )
        return log_weight, queries @ mean, queries @ np.linalg.solve(precision, queries.T)

    return scale_mixture(names, conditional, low, high, of_scale=of_scale, nodes=nodes, proper=bool(prior_precision))


def eight_schools(y, sigma, mu_scale=5.0, tau_scale=5.0, nodes=1601) -> Reference:
    """y_j ~ N(θ_j, σ_j²), θ_j ~ N(μ, τ²), μ ~ N(0, mu_scale²), τ ~ half-Cauchy(tau_scale) (Rubin 1981; Gelman 2006).

    Given τ all else is Gaussian. Queries: θ₁ … θ_J, μ, τ.
    """
    y, variance = np.asarray(y, float), np.asarray(sigma, float) ** 2
    num = len(y)

    def conditional(u):
        tau = np.exp(u)
        prior = tau**2 * np.eye(num) + mu_scale**2  # Cov[θ | τ]
        marginal = prior + np.diag(variance)
        with_mu = np.vstack([prior, np.full(num, mu_scale**2)])  # Cov[(θ, μ), y]
        gain = np.linalg.solve(marginal, with_mu.T).T
        joint = np.block(
            [[prior, np.full((num, 1), mu_scale**2)], [np.full((1, num), mu_scale**2), np.full((1, 1), mu_scale**2)]]
        )
        log_likelihood = -0.5 * (
            y @ np.linalg.solve(marginal, y) + np.linalg.slogdet(marginal)[1] + num * np.log(2 * np.pi)
        )
        log_prior = np.log(2 / np.pi) - np.log(tau_scale) - np.log1p((tau / tau_scale) ** 2) + u
        return log_likelihood + log_prior, gain @ y, joint - gain @ with_mu.T

    names = [f"theta[{j + 1}]" for j in range(num)] + ["mu", "tau"]
    return scale_mixture(names, conditional, -34.0, 12.0, nodes=nodes)
