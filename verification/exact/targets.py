"""Densities without data whose every summary is known: Gaussians, skew normal, Student-t, Cauchy, mixtures, densities
at a boundary. All are normalised: their log evidence is 0."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import optimize, stats
from scipy.special import betaln, expit, log_ndtr, logsumexp, ndtr, polygamma, psi

from verification.exact.marginals import (
    FOUND,
    Marginal,
    assembled,
    certified,
    frozen,
    grid_reference,
    panels,
)
from verification.exact.quadrature import mixture_quantile
from verification.exact.reference import LEVELS, Certificate, Reference, correlation, gaussian_reference

ON_PANELS = "trapezoid for moments and evidence, Gauss–Legendre panels for quantiles"


def gaussian(names, mean, factor, queries) -> Reference:
    """`queries @ x`, x ~ N(mean, factor factorᵀ); second method: through the inverse of the precision."""
    covariance = factor @ factor.T
    inverse = np.linalg.inv(factor)
    again = np.linalg.inv(inverse.T @ inverse)
    first, second = (gaussian_reference(names, queries @ mean, queries @ c @ queries.T) for c in (covariance, again))
    spread = queries @ factor  # no difference of large squares: a narrow direction keeps its digits
    first = first._replace(sd=np.sqrt((spread**2).sum(1)), log_evidence=0.0)
    return certified(first, second, "inverse of the precision matrix")


class SkewNormal(NamedTuple):
    """x = loc + scale ∘ z, p(z) = 2 φ(z; Ω) Φ(αᵀz), Ω a correlation matrix (Azzalini & Dalla Valle 1996)."""

    loc: np.ndarray
    scale: np.ndarray
    omega: np.ndarray
    alpha: np.ndarray

    @property
    def delta(self) -> np.ndarray:
        """Corr(z, the latent half-normal): Ωα/√(1 + αᵀΩα)."""
        return self.omega @ self.alpha / np.sqrt(1 + self.alpha @ self.omega @ self.alpha)

    def log_density(self, x):
        z = (x - self.loc) / self.scale
        gauss = stats.multivariate_normal(np.zeros(len(self.loc)), self.omega).logpdf(z)
        return np.log(2) + gauss + log_ndtr(z @ self.alpha) - np.log(self.scale).sum()


def skew_normal(names, target: SkewNormal, queries) -> Reference:
    """cᵀx is skew normal in one dimension; E z = √(2/π) δ, Cov z = Ω − (2/π) δδᵀ."""
    rows = queries * target.scale
    mean = queries @ target.loc + np.sqrt(2 / np.pi) * rows @ target.delta
    covariance = rows @ (target.omega - 2 / np.pi * np.outer(target.delta, target.delta)) @ rows.T
    marginals, again = [], []
    for row, centre, m, v in zip(rows, queries @ target.loc, mean, np.diag(covariance)):
        width = np.sqrt(row @ target.omega @ row)
        slope = row @ target.delta / width
        shape = slope / np.sqrt(1 - slope**2)
        density = lambda z, shape=shape: -0.5 * z**2 + log_ndtr(shape * z)
        quantiles = centre + width * panels(density, -10.0, 10.0).marginal().quantiles
        marginals.append(Marginal(m, np.sqrt(v), quantiles))
        again.append(Marginal(m, np.sqrt(v), centre + width * stats.skewnorm(shape).ppf(LEVELS)))
    first = assembled(names, marginals, correlation(covariance), log_evidence=0.0)
    axes = [loc + s * np.linspace(-9, 9, 361) for loc, s in zip(target.loc, target.scale)]
    second = grid_reference(names, target.log_density, axes, lambda x: x @ queries.T, again)
    return certified(first, second, "trapezoid for moments, Owen's T function for quantiles")


def student_t(names, dof, loc, factor, queries) -> Reference:
    """x = loc + factor z, z spherical Student-t: cᵀx is Student-t, ‖z‖²/D is F(D, ν) (Kotz & Nadarajah 2004). Queries:
    `queries @ x` and, last, log ‖z‖. Second method: the mixture N(0, w), w ~ InvGamma(ν/2, ν/2), over log w."""
    dim, scale = len(loc), np.sqrt(((queries @ factor) ** 2).sum(1))
    linear = [frozen(stats.t(dof, m, s)) for m, s in zip(queries @ loc, scale)]
    log_radius = Marginal(
        0.5 * (psi(dim / 2) - psi(dof / 2) + np.log(dof)),
        0.5 * np.sqrt(polygamma(1, dim / 2) + polygamma(1, dof / 2)),
        0.5 * np.log(dim * stats.f(dim, dof).ppf(LEVELS)),
    )
    corr = np.eye(len(scale) + 1)
    corr[:-1, :-1] = correlation((queries @ factor) @ (queries @ factor).T)  # log ‖z‖ is even in z, so uncorrelated
    first = assembled(names, [*linear, log_radius], corr, log_evidence=0.0)
    half = dof / 2
    log_w = np.linspace(-6, 60 / half, 6001)
    weights = np.exp(-half * log_w - half * np.exp(-log_w))
    weights, sds = weights / weights.sum(), np.exp(log_w / 2)
    standard = Marginal(
        0.0, np.sqrt(weights @ sds**2), np.array([mixture_quantile(weights, 0 * sds, sds, p) for p in LEVELS])
    )
    again = [Marginal(m, s * standard.sd, m + s * standard.quantiles) for m, s in zip(queries @ loc, scale)]
    density = lambda r: dim * r - 0.5 * (dof + dim) * np.log1p(np.exp(2 * r) / dof)
    second = assembled(names, [*again, panels(density, -14.0, 9.0).marginal()], None)
    return certified(first, second, "scale mixture of normals; Gauss–Legendre panels for log ‖z‖")


def log_cauchy(x, loc, scale):
    """Two-dimensional Cauchy: x = loc + scale ∘ z, p(z) = (1 + ‖z‖²)^(−3/2)/2π."""
    z = (x - loc) / scale
    return -1.5 * np.log1p((z**2).sum(1)) - np.log(2 * np.pi) - np.log(scale).sum()


def cauchy(names, loc, scale, queries) -> Reference:
    """cᵀx ~ Cauchy(cᵀloc, ‖c ∘ scale‖). No mean, no sd, no correlation; errors are counted in the query's scale.
    Second method: panels over asinh z₁, whose density is sech/π."""
    centre, width = queries @ loc, np.sqrt(((queries * scale) ** 2).sum(1))
    standard = np.tan(np.pi * (np.array(LEVELS) - 0.5))
    gap = float(np.max(np.abs(np.sinh(_sech().quantiles) - standard)))
    quantiles = centre + np.outer(standard, width)
    certificate = Certificate(gap, FOUND + "; in scales", "Gauss–Legendre panels over asinh", gap)
    return Reference(
        tuple(names), None, None, quantiles[1], quantiles[7], None, None, 0, 0.0, certificate, quantiles=quantiles
    )


def cauchy_compressed(names) -> Reference:
    """Queries asinh z₁, asinh z₂, log ‖z‖: the first two have density sech(u)/π, mean 0, sd π/2, quantiles
    asinh tan(π(p − ½)) (Johnson, Kotz & Balakrishnan 1995 §23.11); P(‖z‖ ≤ r) = 1 − 1/√(1 + r²), E log ‖z‖ = log 2.
    All are uncorrelated by symmetry."""
    levels = np.array(LEVELS)
    compressed = Marginal(0.0, np.pi / 2, np.arcsinh(np.tan(np.pi * (levels - 0.5))))
    spread = 0.5 * np.sqrt(polygamma(1, 1.0) + polygamma(1, 0.5))
    log_radius = Marginal(np.log(2.0), spread, 0.5 * np.log((1 - levels) ** -2.0 - 1))
    first = assembled(names, [compressed, compressed, log_radius], np.eye(3), log_evidence=0.0)
    radial = panels(lambda r: 2 * r - 1.5 * np.logaddexp(0, 2 * r), -30.0, 45.0).marginal()
    second = assembled(names, [_sech(), _sech(), radial], None)
    return certified(first, second, "Gauss–Legendre panels")


def _sech():
    return panels(lambda u: -np.logaddexp(u, -u), -45.0, 45.0).marginal()


class Mixture(NamedTuple):
    """Σ weightₖ N(meanₖ, covarianceₖ)."""

    weights: np.ndarray  # [K]
    means: np.ndarray  # [K, D]
    covariances: np.ndarray  # [K, D, D]

    def log_density(self, x):
        parts = [
            np.log(w) + np.atleast_1d(stats.multivariate_normal(m, c).logpdf(x))
            for w, m, c in zip(self.weights, self.means, self.covariances)
        ]
        return logsumexp(parts, axis=0)


def mixture(names, target: Mixture, queries, half_width: float) -> Reference:
    """`queries @ x` of a Gaussian mixture: moments by total expectation, quantiles of mixtures in one dimension."""
    means = target.means @ queries.T
    mean = target.weights @ means
    within = np.tensordot(target.weights, target.covariances, 1)
    centred = target.means - target.weights @ target.means
    total = within + centred.T @ (target.weights[:, None] * centred)
    covariance = queries @ total @ queries.T
    variances = np.einsum("qi,kij,qj->kq", queries, target.covariances, queries)
    marginals, again = [], []
    for q, (m, v) in enumerate(zip(mean, np.diag(covariance))):
        parts, sds = means[:, q], np.sqrt(variances[:, q])
        marginals.append(
            Marginal(m, np.sqrt(v), np.array([mixture_quantile(target.weights, parts, sds, p) for p in LEVELS]))
        )
        density = lambda x, parts=parts, sds=sds: logsumexp(
            -0.5 * ((x[:, None] - parts) / sds) ** 2 - np.log(sds), b=target.weights, axis=1
        )
        again.append(panels(density, (parts - 9 * sds).min(), (parts + 9 * sds).max(), 240).marginal())
    first = assembled(names, marginals, correlation(covariance), log_evidence=0.0)
    axes = [np.linspace(-half_width, half_width, 501)] * len(queries[0])
    second = grid_reference(names, target.log_density, axes, lambda x: x @ queries.T, again)
    return certified(first, second, ON_PANELS)


def log_beta_of_logit(u, a, b):
    """log p(u) of u = logit p, p ~ Beta(a, b): the Jacobian p(1 − p) is in it."""
    return a * -np.logaddexp(0, -u) + b * -np.logaddexp(0, u) - betaln(a, b)


def independent_betas(names, shapes, low=-140.0, high=90.0) -> Reference:
    """pᵢ ~ Beta(aᵢ, bᵢ), independent; queries p₁, logit p₁, p₂, logit p₂ …; Cov(p, logit p) = 1/(a + b)."""
    marginals, again, corr = [], [], np.eye(2 * len(shapes))
    for k, (a, b) in enumerate(shapes):
        beta = stats.beta(a, b)
        p = beta.ppf(LEVELS)
        upper = stats.beta(b, a).ppf(1 - np.array(LEVELS))  # 1 − p with all its digits
        logit = np.where(p < 0.5, np.log(p) - np.log1p(-p), np.log1p(-upper) - np.log(upper))
        spread = np.sqrt(polygamma(1, a) + polygamma(1, b))
        marginals += [frozen(beta), Marginal(psi(a) - psi(b), spread, logit)]
        corr[2 * k, 2 * k + 1] = corr[2 * k + 1, 2 * k] = 1 / (a + b) / beta.std() / spread
        rule = panels(lambda u, a=a, b=b: log_beta_of_logit(u, a, b), low, high, 460)
        u = rule.marginal()
        mean = rule.weights @ expit(rule.points)
        sd = np.sqrt(rule.weights @ (expit(rule.points) - mean) ** 2)
        again += [Marginal(mean, sd, expit(u.quantiles)), u]
    first = assembled(names, marginals, corr, log_evidence=0.0)
    return certified(first, assembled(names, again, None), "Gauss–Legendre panels on the logit scale")


def log_density_of_logs(u):
    """log p(log a, log e): a half-normal(1), e ~ Exponential(1), Jacobians in it."""
    a, e = np.exp(u).T
    return 0.5 * np.log(2 / np.pi) - 0.5 * a**2 - e + u.sum(1)


def ordered_pair(names) -> Reference:
    """a half-normal(1), b = a + e, e ~ Exponential(1). Queries: a, b, log a, log e.

    P(b ≤ t) = 2Φ(t) − 1 − 2 e^(½ − t) (Φ(t − 1) − Φ(−1)); Cov(a, log a) = √(2/π) log 2, Cov(e, log e) = 1.
    """
    spread = lambda t: 2 * np.exp(0.5 - t) * (ndtr(t - 1) - ndtr(-1.0))  # also the density of b
    cdf = lambda t: 2 * ndtr(t) - 1 - spread(t)
    b = np.array([optimize.brentq(lambda t, p=p: cdf(t) - p, 1e-9, 60.0, xtol=1e-15, rtol=1e-14) for p in LEVELS])
    half_normal, exponential = stats.halfnorm(), stats.expon()
    var_a, var_log_a, var_log_e = half_normal.var(), polygamma(1, 0.5) / 4, polygamma(1, 1.0)
    cov = np.zeros((4, 4))
    cov[0, :3] = [var_a, var_a, np.sqrt(2 / np.pi) * np.log(2)]
    cov[1, 1:] = [var_a + 1, cov[0, 2], 1.0]
    cov[2, 2], cov[3, 3] = var_log_a, var_log_e
    cov = np.triu(cov) + np.triu(cov, 1).T
    mean = [half_normal.mean(), half_normal.mean() + 1, 0.5 * (psi(0.5) + np.log(2)), psi(1.0)]
    levels = [half_normal.ppf(LEVELS), b, np.log(half_normal.ppf(LEVELS)), np.log(exponential.ppf(LEVELS))]
    marginals = [Marginal(*three) for three in zip(mean, np.sqrt(np.diag(cov)), levels)]
    first = assembled(names, marginals, correlation(cov), log_evidence=0.0)
    log_a = panels(lambda u: -0.5 * np.exp(2 * u) + u, -40.0, 2.6).marginal()
    log_e = panels(lambda u: -np.exp(u) + u, -40.0, 4.5).marginal()
    of_b = panels(lambda t: np.log(spread(t)), 1e-12, 45.0).marginal()
    again = [Marginal(*log_a[:2], np.exp(log_a.quantiles)), of_b, log_a, log_e]
    axes = [np.linspace(-38.0, 2.6, 700), np.linspace(-38.0, 4.5, 700)]
    values = lambda u: np.column_stack([np.exp(u[:, 0]), np.exp(u).sum(1), u])
    second = grid_reference(names, log_density_of_logs, axes, values, again)
    return certified(first, second, ON_PANELS)
