"""Closed forms: Bayesian linear regression, Beta–Bernoulli, Gamma–Poisson, Dirichlet–categorical (Gelman et al. 2013
§§2–3, 14)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.special import betaln, digamma, gammaln, polygamma

from verification.exact.reference import (
    LEVELS,
    Certificate,
    Reference,
    correlation,
    difference_in_sd,
    gaussian_reference,
)


class LinearGaussian(NamedTuple):
    """y ~ N(design @ w, noise_scale²), w ~ N(0, prior_scale²); the queries are `queries @ w`. Whatever Gaussian w is
    given, true posterior or not, `answers` says what it predicts."""

    names: tuple[str, ...]
    design: np.ndarray
    y: np.ndarray
    noise_scale: float
    prior_scale: float
    queries: np.ndarray
    new_design: np.ndarray
    new_y: np.ndarray

    @property
    def posterior(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and precision of w."""
        return linear_posterior(self.design, self.y, self.noise_scale, self.prior_scale)

    def answers(self, mean, covariance) -> Reference:
        """Queries and predictions when w ~ N(mean, covariance)."""
        spread = self.new_design @ covariance @ self.new_design.T + self.noise_scale**2 * np.eye(len(self.new_y))
        new = (self.new_y, self.new_design @ mean, spread)
        return gaussian_reference(self.names, self.queries @ mean, self.queries @ covariance @ self.queries.T, new=new)


def linear_posterior(design, y, noise_scale, prior_scale):
    """w ~ N(0, τ²I), y | w ~ N(Xw, σ²I): Λ = XᵀX/σ² + I/τ², mean Λ⁻¹Xᵀy/σ². Returns (mean, precision Λ).

    `prior_scale` is a number or one per column.
    """
    prior_precision = np.broadcast_to(1 / np.asarray(prior_scale, float) ** 2, design.shape[1:])
    precision = design.T @ design / noise_scale**2 + np.diag(prior_precision)
    return np.linalg.solve(precision, design.T @ y / noise_scale**2), precision


def linear_regression(problem: LinearGaussian) -> Reference:
    """Bayesian linear regression with known noise; second method: the n×n (function-space) form."""
    design, y, noise_scale = problem.design, problem.y, problem.noise_scale
    mean, precision = problem.posterior
    primal = problem.answers(mean, np.linalg.inv(precision))
    prior_covariance = problem.prior_scale**2 * np.eye(design.shape[1])
    kernel = design @ prior_covariance @ design.T + noise_scale**2 * np.eye(len(y))
    gain = np.linalg.solve(kernel, design @ prior_covariance).T
    dual = problem.answers(gain @ y, prior_covariance - gain @ design @ prior_covariance)
    gap = difference_in_sd(primal, dual)
    evidence = float(stats.multivariate_normal.logpdf(y, np.zeros(len(y)), kernel))
    found = "closed form in weight space; rounding bounded by the second method"
    certificate = Certificate(gap, found, "function-space (n×n) form", gap)
    return primal._replace(log_evidence=evidence, certificate=certificate)


def normal_inverse_gamma(names, design, y, prior_scale, shape, rate, queries, new_design, new_y) -> Reference:
    """w | σ² ~ N(0, σ²τ²I), σ² ~ InvGamma(shape, rate): w is Student-t with 2aₙ degrees of freedom, σ² stays inverse
    gamma.

    The queries are `queries @ w` and, last, log σ.
    """
    precision = design.T @ design + np.eye(design.shape[1]) / prior_scale**2
    mean = np.linalg.solve(precision, design.T @ y)
    a, b = shape + len(y) / 2, rate + 0.5 * (y @ y - mean @ precision @ mean)
    scale = b / a * queries @ np.linalg.solve(precision, queries.T)
    t, sd_t = stats.t(2 * a), np.sqrt(np.diag(scale))
    covariance = np.zeros((len(scale) + 1, len(scale) + 1))
    covariance[:-1, :-1] = scale * a / (a - 1)
    covariance[-1, -1] = polygamma(1, a) / 4  # Var[log σ²] = ψ′(a); w and log σ are uncorrelated by symmetry of w | σ²
    log_sd = (np.log(b) - digamma(a)) / 2
    of_scale = 0.5 * np.log(stats.invgamma.ppf(LEVELS, a, scale=b))
    new_scale = b / a * (np.eye(len(new_y)) + new_design @ np.linalg.solve(precision, new_design.T))
    prior = 0.5 * np.linalg.slogdet(prior_scale**2 * precision)[1]
    evidence = (
        shape * np.log(rate) - a * np.log(b) + gammaln(a) - gammaln(shape) - len(y) / 2 * np.log(2 * np.pi) - prior
    )
    centre = queries @ mean
    quantiles = np.column_stack([centre + np.outer(t.ppf(LEVELS), sd_t), of_scale])
    return Reference(
        names=(*names, "log_scale"),
        mean=np.append(centre, log_sd),
        sd=np.sqrt(np.diag(covariance)),
        q05=quantiles[1],
        q95=quantiles[7],
        corr=correlation(covariance),
        log_predictive=float(stats.multivariate_t.logpdf(new_y, new_design @ mean, new_scale, df=2 * a)),
        num_new=len(new_y),
        log_evidence=float(evidence),
        certificate=None,
        quantiles=quantiles,
    )


def beta_bernoulli(a, b, y, new_y) -> Reference:
    """p ~ Beta(a, b), y ~ Bernoulli(p). Queries: p and its log-odds; Cov(p, logit p) = 1/(aₙ + bₙ) exactly."""
    a, b = a + np.sum(y), b + np.sum(1 - y)
    post, successes = stats.beta(a, b), np.sum(new_y)
    covariance = np.array([[post.var(), 1 / (a + b)], [1 / (a + b), polygamma(1, a) + polygamma(1, b)]])
    at = post.ppf(LEVELS)
    quantiles = np.column_stack([at, np.log(at) - np.log1p(-at)])
    return Reference(
        names=("p", "logit_p"),
        mean=np.array([post.mean(), digamma(a) - digamma(b)]),
        sd=np.sqrt(np.diag(covariance)),
        q05=quantiles[1],
        q95=quantiles[7],
        corr=correlation(covariance),
        log_predictive=float(betaln(a + successes, b + len(new_y) - successes) - betaln(a, b)),
        num_new=len(new_y),
        log_evidence=float(betaln(a, b) - betaln(a - np.sum(y), b - np.sum(1 - y))),
        certificate=None,
        quantiles=quantiles,
    )


def gamma_poisson(shape, rate, y, new_y) -> Reference:
    """λ ~ Gamma(shape, rate), y ~ Poisson(λ). Queries: λ and log λ; Cov(λ, log λ) = 1/rateₙ exactly."""
    a, b = shape + np.sum(y), rate + len(y)
    post = stats.gamma(a, scale=1 / b)
    covariance = np.array([[post.var(), 1 / b], [1 / b, polygamma(1, a)]])
    at = post.ppf(LEVELS)
    quantiles = np.column_stack([at, np.log(at)])
    evidence = lambda a, b, y: (
        a * np.log(b)
        - (a + np.sum(y)) * np.log(b + len(y))
        + gammaln(a + np.sum(y))
        - gammaln(a)
        - gammaln(y + 1).sum()
    )
    return Reference(
        names=("rate", "log_rate"),
        mean=np.array([post.mean(), digamma(a) - np.log(b)]),
        sd=np.sqrt(np.diag(covariance)),
        q05=quantiles[1],
        q95=quantiles[7],
        corr=correlation(covariance),
        log_predictive=float(evidence(a, b, new_y)),
        num_new=len(new_y),
        log_evidence=float(evidence(shape, rate, y)),
        certificate=None,
        quantiles=quantiles,
    )


def dirichlet_categorical(concentration, y, new_y) -> Reference:
    """p ~ Dirichlet(α), y ~ Categorical(p). Queries: p₁ … p_K, each Beta(αₖ, Σα − αₖ)."""
    count = lambda labels: np.bincount(labels, minlength=len(concentration))
    prior, alpha = np.asarray(concentration, float), concentration + count(y)
    total = alpha.sum()
    mean = alpha / total
    covariance = (np.diag(mean) - np.outer(mean, mean)) / (total + 1)
    log_beta = lambda a: gammaln(a).sum() - gammaln(a.sum())
    quantiles = np.stack([stats.beta.ppf(level, alpha, total - alpha) for level in LEVELS])
    return Reference(
        names=tuple(f"p[{k}]" for k in range(len(alpha))),
        mean=mean,
        sd=np.sqrt(np.diag(covariance)),
        q05=quantiles[1],
        q95=quantiles[7],
        corr=correlation(covariance),
        log_predictive=float(log_beta(alpha + count(new_y)) - log_beta(alpha)),
        num_new=len(new_y),
        log_evidence=float(log_beta(alpha) - log_beta(prior)),
        certificate=None,
        quantiles=quantiles,
    )
