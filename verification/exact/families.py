"""Normal–inverse-gamma and normal–inverse-Wishart posteriors, in closed form but for one integral
(Gelman et al. 2013 §§3.3, 3.6)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import optimize, stats
from scipy.special import gammaln, hyp2f1, logsumexp, multigammaln, ndtr, polygamma, psi

from verification.exact.marginals import (
    Marginal,
    assembled,
    certified,
    frozen,
    grid_moments,
    grid_reference,
    panels,
)
from verification.exact.quadrature import mixture_quantile
from verification.exact.reference import LEVELS, Reference, correlation


class ScaleOfVariance(NamedTuple):
    """σ² ~ InvGamma(a, b): moments of σ and log σ in closed form."""

    a: float
    b: float

    def power(self, k):
        """E σᵏ = b^(k/2) Γ(a − k/2)/Γ(a)."""
        return np.exp(k / 2 * np.log(self.b) + gammaln(self.a - k / 2) - gammaln(self.a))

    def log_power(self, k):
        """E[σᵏ log σ], the derivative of the above in k."""
        return self.power(k) * 0.5 * (np.log(self.b) - psi(self.a - k / 2))

    def sigma(self) -> Marginal:
        spread = np.sqrt(self.power(2) - self.power(1) ** 2)
        return Marginal(self.power(1), spread, np.sqrt(stats.invgamma(self.a, scale=self.b).ppf(LEVELS)))

    def log_density(self, u):
        """log p(u) of u = log σ."""
        return np.log(2) + self.a * np.log(self.b) - gammaln(self.a) - 2 * self.a * u - self.b * np.exp(-2 * u)

    def range(self):
        """Ends of log σ between which all but e⁻⁶⁰ of the mass lies."""
        centre = 0.5 * np.log(self.b / self.a)
        return centre - 1.2 - 2.5 / np.sqrt(self.a), centre + 1.0 + 34 / self.a


class Normal(NamedTuple):
    """Normal–inverse-gamma: μ | σ² ~ N(mean, σ²/count), σ² ~ InvGamma(shape, rate)."""

    mean: float
    count: float
    shape: float
    rate: float

    def given(self, y) -> Normal:
        n, centre = len(y), np.mean(y)
        count = self.count + n
        between = self.count * n / count * (centre - self.mean) ** 2
        rate = self.rate + 0.5 * (np.sum((y - centre) ** 2) + between)
        return Normal((self.count * self.mean + n * centre) / count, count, self.shape + n / 2, rate)

    def log_constant(self):
        return 0.5 * np.log(self.count) + self.shape * np.log(self.rate) - gammaln(self.shape)

    def log_evidence(self, y):
        return self.log_constant() - self.given(y).log_constant() - len(y) / 2 * np.log(2 * np.pi)


def normal_sample(names, prior: Normal, y, new_y) -> Reference:
    """Queries: μ, σ, log σ, μ/σ. Given σ both μ and μ/σ are normal, so all moments are those of powers of σ."""
    post = prior.given(y)
    s, m, k = ScaleOfVariance(post.shape, post.rate), post.mean, post.count
    mean = np.array([m, s.power(1), s.log_power(0), m * s.power(-1)])
    cov = np.zeros((4, 4))
    cov[0, 0], cov[0, 3] = s.power(2) / k, s.power(1) / k
    cov[1, 1:] = s.power(2) - s.power(1) ** 2, s.log_power(1) - mean[1] * mean[2], m - mean[1] * mean[3]
    cov[2, 2:] = polygamma(1, s.a) / 4, m * s.log_power(-1) - mean[2] * mean[3]
    cov[3, 3] = m**2 * (s.power(-2) - s.power(-1) ** 2) + 1 / k
    cov = np.triu(cov) + np.triu(cov, 1).T
    low, high = s.range()
    u = np.linspace(low, high, 1201)
    weights = np.exp(s.log_density(u) - logsumexp(s.log_density(u)))
    mixed = lambda means, sds: np.array([mixture_quantile(weights, means, sds, p) for p in LEVELS])
    signal, sigma = mixed(m * np.exp(-u), np.full(len(u), k**-0.5)), s.sigma().quantiles
    t = stats.t(2 * s.a, m, np.sqrt(s.b / s.a / k)).ppf(LEVELS)
    quantiles = [t, sigma, np.log(sigma), signal]
    more = {"log_evidence": float(prior.log_evidence(y)), "num_new": len(new_y)}
    more["log_predictive"] = float(post.log_evidence(new_y))
    marginals = [Marginal(*three) for three in zip(mean, np.sqrt(np.diag(cov)), quantiles)]
    first = assembled(names, marginals, correlation(cov), **more)

    second = _normal_by_grid(names, prior, y, post, mixed, u)
    return certified(first, second, "trapezoid for moments and evidence; mixtures and panels for quantiles")


def _normal_by_grid(names, prior, y, post, mixed, u) -> Reference:
    """The same from p(μ, log σ, y) as it is defined, over z and log σ with μ = mean + σz/√count; the quantiles of μ as
    those of a mixture over log σ."""
    s, m, k = ScaleOfVariance(post.shape, post.rate), post.mean, post.count
    mu_of = lambda t: m + np.exp(t[:, 1]) * t[:, 0] / np.sqrt(k)

    def density(t):
        mu, sigma = mu_of(t), np.exp(t[:, 1])
        start = ScaleOfVariance(prior.shape, prior.rate).log_density(t[:, 1])
        start += stats.norm.logpdf(mu, prior.mean, sigma / np.sqrt(prior.count))
        return start + stats.norm.logpdf(y, mu[:, None], sigma[:, None]).sum(1) + np.log(sigma) - 0.5 * np.log(k)

    values = lambda t: np.column_stack([mu_of(t), np.exp(t[:, 1]), t[:, 1], mu_of(t) * np.exp(-t[:, 1])])
    log_sigma = panels(s.log_density, u[0], u[-1]).marginal().quantiles
    centre, reach = m * s.power(-1), 14 * np.sqrt(m**2 * (s.power(-2) - s.power(-1) ** 2) + 1 / k)
    of_ratio = lambda r: logsumexp(s.log_density(u) - 0.5 * k * (r[:, None] - m * np.exp(-u)) ** 2, axis=1)
    ratio = panels(of_ratio, centre - reach, centre + reach, 60).marginal().quantiles
    quantiles = [mixed(np.full(len(u), m), np.exp(u) / np.sqrt(k)), np.exp(log_sigma), log_sigma, ratio]
    marginals = [Marginal(0.0, 1.0, q) for q in quantiles]
    return grid_reference(names, density, [np.linspace(-9, 9, 121), u[::3]], values, marginals)


class Wishart(NamedTuple):
    """Normal–inverse-Wishart in two dimensions: μ | Σ ~ N(mean, Σ/count), Σ ~ IW(dof, scatter)."""

    mean: np.ndarray
    count: float
    dof: float
    scatter: np.ndarray

    def given(self, y) -> Wishart:
        n, centre = len(y), y.mean(0)
        count, gap = self.count + n, centre - self.mean
        within = (y - centre).T @ (y - centre) + self.count * n / count * np.outer(gap, gap)
        return Wishart((self.count * self.mean + n * centre) / count, count, self.dof + n, self.scatter + within)

    def log_constant(self):
        return np.log(self.count) + self.dof / 2 * np.linalg.slogdet(self.scatter)[1] - multigammaln(self.dof / 2, 2)

    def log_evidence(self, y):
        return self.log_constant() - self.given(y).log_constant() - len(y) * np.log(np.pi)

    def variances(self) -> list[ScaleOfVariance]:
        """Σ₁₁ and Σ₂₂."""
        return [ScaleOfVariance((self.dof - 1) / 2, self.scatter[i, i] / 2) for i in range(2)]

    def regression(self):
        """Σ₁₁ ~ InvGamma, Σ₂₂.₁ ~ InvGamma, Σ₁₂/Σ₁₁ | Σ₂₂.₁ ~ N(slope, Σ₂₂.₁/Ψ₁₁): the first two and slope, Ψ₁₁."""
        (p11, p12), (_, p22) = self.scatter
        return self.variances()[0], ScaleOfVariance(self.dof / 2, (p22 - p12**2 / p11) / 2), p12 / p11, p11

    def log_density_of_correlation(self, r):
        """Of Σ₁₂/√(Σ₁₁Σ₂₂), unnormalised: Hotelling's (1953) density of a sample correlation from dof + 1 rows, since
        Σ⁻¹ is Wishart."""
        rho, n = correlation(self.scatter)[0, 1], self.dof + 1
        tail = (n - 4) / 2 * np.log1p(-(r**2)) - (n - 1.5) * np.log1p(-rho * r)
        return tail + np.log(hyp2f1(0.5, 0.5, n - 0.5, (1 + rho * r) / 2))


def wishart_sample(names, prior: Wishart, y, new_y) -> Reference:
    """Queries: μ₁, μ₂, √Σ₁₁, √Σ₂₂, the correlation and the slope Σ₁₂/Σ₁₁. Correlations among them by a trapezoid over
    the three independent parts of Σ; μ is uncorrelated with any function of Σ."""
    post = prior.given(y)
    one, rest, slope, p11 = post.regression()
    sds = [s.sigma() for s in post.variances()]
    fisher = panels(lambda e: post.log_density_of_correlation(np.tanh(e)) - 2 * np.log(np.cosh(e)), -9.0, 9.0)
    r = np.tanh(fisher.points)
    rho = Marginal(fisher.weights @ r, np.sqrt(fisher.weights @ r**2 - (fisher.weights @ r) ** 2), None)
    rho = rho._replace(quantiles=np.tanh(fisher.marginal().quantiles))
    t_scale = np.sqrt(np.diag(post.scatter) / post.count / (post.dof - 1))
    mus = [frozen(stats.t(post.dof - 1, m, s)) for m, s in zip(post.mean, t_scale)]
    beta = frozen(stats.t(post.dof, slope, np.sqrt(2 * rest.b / post.dof / p11)))
    fine, coarse = (_covariance_moments(one, rest, slope, p11, num) for num in (97, 73))
    corr = np.eye(6)
    corr[:2, :2], corr[2:, 2:] = correlation(post.scatter), correlation(fine[1])
    more = {"log_evidence": float(prior.log_evidence(y)), "num_new": len(new_y)}
    more["log_predictive"] = float(post.log_evidence(new_y))
    first = assembled(names, [*mus, *sds, rho, beta], corr, **more)
    again = _wishart_quantiles(post)
    second = assembled(names, [Marginal(0.0, 1.0, q) for q in again], None)
    mu_sd = [np.sqrt(s.power(2) / post.count) for s in post.variances()]
    second_corr = corr.copy()
    second_corr[2:, 2:] = correlation(coarse[1])
    second = second._replace(
        mean=np.append(post.mean, coarse[0]), sd=np.append(mu_sd, np.sqrt(np.diag(coarse[1]))), corr=second_corr
    )
    return certified(first, second, "trapezoid over the regression form of the inverse Wishart")


def _covariance_moments(one, rest, slope, p11, num):
    """Mean and covariance of √Σ₁₁, √Σ₂₂, correlation, slope; axes log √Σ₁₁, log √Σ₂₂.₁ and z of the slope."""
    axes = [np.linspace(*one.range(), num), np.linspace(*rest.range(), num), np.linspace(-8.5, 8.5, num)]
    density = lambda t: one.log_density(t[:, 0]) + rest.log_density(t[:, 1]) - 0.5 * t[:, 2] ** 2

    def values(t):
        sd, left = np.exp(t[:, 0]), np.exp(t[:, 1])
        beta = slope + left * t[:, 2] / np.sqrt(p11)
        second = np.hypot(beta * sd, left)
        return np.column_stack([sd, second, beta * sd / second, beta])

    mean, covariance, _ = grid_moments(density, axes, values)
    return mean, covariance


def _wishart_quantiles(post: Wishart):
    """All six again: the t's as mixtures of normals over log σ, the sds by panels, the correlation from
    P(ρ ≤ r | Σ₁₁, Σ₂₂.₁) = Φ."""
    _, rest, slope, p11 = post.regression()
    one, two = post.variances()

    def mixture(s, centre, divisor):
        u = np.linspace(*s.range(), 1501)
        weights = np.exp(s.log_density(u))
        return [mixture_quantile(weights / weights.sum(), 0 * u + centre, np.exp(u) / divisor, p) for p in LEVELS]

    u1, u2 = np.linspace(*one.range(), 161), np.linspace(*rest.range(), 161)
    weights = np.exp(one.log_density(u1)[:, None] + rest.log_density(u2))
    weights /= weights.sum()
    # ρ ≤ r exactly where the slope is at most √Σ₂₂.₁/√Σ₁₁ · r/√(1 − r²)
    cdf = lambda r: np.sum(weights * ndtr(_limit(r, u1, u2, slope, p11)))
    root = lambda p: optimize.brentq(lambda r: cdf(r) - p, -1 + 1e-9, 1 - 1e-9, xtol=1e-15, rtol=1e-14)
    mus = [mixture(s, m, np.sqrt(post.count)) for s, m in zip((one, two), post.mean)]
    sds = [np.exp(panels(s.log_density, *s.range()).marginal().quantiles) for s in (one, two)]
    return [*mus, *sds, [root(p) for p in LEVELS], mixture(rest, slope, np.sqrt(p11))]


def _limit(r, u1, u2, slope, p11):
    left = np.exp(u2)
    return (left * np.exp(-u1)[:, None] * r / np.sqrt(1 - r**2) - slope) * np.sqrt(p11) / left
