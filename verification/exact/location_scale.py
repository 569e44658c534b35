"""Two location models that are not conjugate: a normal known to the unit alone, by rules in two dimensions; Laplace
noise with a normal prior, whose posterior is made of pieces of normals."""

from __future__ import annotations

import numpy as np
from scipy import optimize
from scipy.special import log_ndtr, logsumexp

from verification.exact.marginals import Marginal, Panels, assembled, certified, grid_moments, panels
from verification.exact.quadrature import sinc_quantile
from verification.exact.reference import LEVELS, Reference, correlation


def log_interval(low, high):
    """log(Φ(high) − Φ(low)), low < high; in the lower tail, where Φ keeps its digits."""
    flip = low + high > 0
    low, high = np.where(flip, -high, low), np.where(flip, -low, high)
    top = log_ndtr(high)
    return top + np.log(-np.expm1(log_ndtr(low) - top))


class Rounded:
    """y = round(μ + σε), ε ~ N(0, 1); μ ~ N(loc, scale²), log σ ~ N(0, 1)."""

    def __init__(self, y, loc: float, scale: float):
        self.values, self.counts = np.unique(y, return_counts=True)
        self.loc, self.scale = loc, scale

    def log_likelihood(self, mu, u):
        """Of μ and u = log σ, of shapes that broadcast."""
        total = 0.0
        for value, count in zip(self.values, self.counts):
            total = total + count * log_interval((value - 0.5 - mu) * np.exp(-u), (value + 0.5 - mu) * np.exp(-u))
        return total

    def log_density(self, mu, u):
        """log p(μ, u, y)."""
        prior = -0.5 * ((mu - self.loc) / self.scale) ** 2 - 0.5 * u**2
        return self.log_likelihood(mu, u) + prior - np.log(2 * np.pi * self.scale)


def rounded_normal(names, data: Rounded, new: Rounded, num_new, slope: float, mu_range, u_range) -> Reference:
    """Queries: μ, σ, log σ, μ + slope σ. In the coordinates (μ + kσ, u), which keep area, any such query is an axis;
    its marginal is a trapezoid over u, integrated by panels. Second method: the trapezoid over both."""
    inner_mu, inner_u = np.linspace(*mu_range, 401)[:, None], np.linspace(*u_range, 301)[:, None]
    along = lambda k: panels(lambda q: _inner(data.log_density(q - k * np.exp(inner_u), inner_u)), *mu_range, 40)
    high = mu_range[1] + slope * np.exp(u_range[1])
    tilted = lambda q: _inner(data.log_density(q - slope * np.exp(inner_u), inner_u))
    scale = panels(lambda u: _inner(data.log_density(inner_mu, u)), *u_range, 40)
    mu, log_sigma, upper = along(0.0), scale.marginal(), panels(tilted, mu_range[0], high, 80).marginal()
    spread = np.exp(scale.points)
    sigma = Marginal(scale.weights @ spread, 0.0, np.exp(log_sigma.quantiles))
    sigma = sigma._replace(sd=np.sqrt(scale.weights @ (spread - sigma.mean) ** 2))
    answers = [_by_grid(data, new, slope, mu_range, u_range, shape) for shape in ((501, 301), (401, 241))]
    more = {"log_predictive": answers[0][3], "num_new": num_new}
    more["log_evidence"] = scale.log_mass + float(np.log(inner_mu[1, 0] - inner_mu[0, 0]))
    corr = correlation(answers[0][1])
    first = assembled(names, [mu.marginal(), sigma, log_sigma, upper], corr, **more)
    mean, covariance, evidence, predictive = answers[1]
    marginals = [
        Marginal(m, s, q)
        for m, s, q in zip(mean, np.sqrt(np.diag(covariance)), _grid_quantiles(data, slope, mu_range, u_range))
    ]
    more = {"log_predictive": predictive, "num_new": num_new, "log_evidence": evidence}
    second = assembled(names, marginals, correlation(covariance), **more)
    return certified(first, second, "trapezoid over both parameters, sinc quantiles", "Gauss–Legendre panels")


def _inner(log_values):
    return logsumexp(log_values, axis=0)


def _by_grid(data, new, slope, mu_range, u_range, shape):
    axes = [np.linspace(*mu_range, shape[0]), np.linspace(*u_range, shape[1])]
    density = lambda t: data.log_density(t[:, 0], t[:, 1])

    def values(t):
        sigma = np.exp(t[:, 1])
        return np.column_stack([t[:, 0], sigma, t[:, 1], t[:, 0] + slope * sigma])

    mean, covariance, evidence = grid_moments(density, axes, values)
    both = grid_moments(lambda t: density(t) + new.log_likelihood(t[:, 0], t[:, 1]), axes, values)
    return mean, covariance, evidence, both[2] - evidence


def _grid_quantiles(data, slope, mu_range, u_range):
    mu, u = np.linspace(*mu_range, 501), np.linspace(*u_range, 351)
    tilted = np.linspace(mu_range[0], mu_range[1] + slope * np.exp(u_range[1]), 1001)
    table, tilt = data.log_density(mu, u[:, None]), data.log_density(tilted - slope * np.exp(u[:, None]), u[:, None])
    mass = lambda log_values, axis: np.exp(logsumexp(log_values, axis=axis) - log_values.max())
    along = lambda axis, weights: np.array([sinc_quantile(axis, weights, p) for p in LEVELS])
    log_sigma = along(u, mass(table, 1))
    return along(mu, mass(table, 0)), np.exp(log_sigma), log_sigma, along(tilted, mass(tilt, 0))


class Pieces:
    """∝ N(μ; loc, scale²) Πₙ exp(−|yₙ − μ|/b)/2b: between two data its log is a parabola of curvature 1/scale²."""

    def __init__(self, y, noise: float, loc: float, scale: float):
        self.y, self.noise, self.loc, self.scale = np.sort(np.asarray(y, float)), noise, loc, scale
        below = np.arange(len(y) + 1)
        self.slopes = (len(y) - 2 * below) / noise  # of Σ −|yₙ − μ|/b, with `below` data under μ
        partial = np.append(0.0, np.cumsum(self.y))
        self.offsets = (2 * partial - partial[-1]) / noise - len(y) * np.log(2 * noise)
        self.ends = np.concatenate([[-np.inf], self.y, [np.inf]])

    def log_density(self, mu):
        """log p(μ, y), [M] -> [M]."""
        prior = -0.5 * ((mu - self.loc) / self.scale) ** 2 - 0.5 * np.log(2 * np.pi * self.scale**2)
        noise = -np.abs(self.y[:, None] - mu).sum(0) / self.noise - len(self.y) * np.log(2 * self.noise)
        return prior + noise

    def tilted(self, t=0.0):
        """Under exp(tμ) p(μ, y): the pieces' log masses, their normals' means, and their ends in those normals' sds."""
        slopes = self.slopes + t
        means = self.loc + self.scale**2 * slopes
        low, high = (self.ends[:-1] - means) / self.scale, (self.ends[1:] - means) / self.scale
        masses = self.offsets + self.loc * slopes + 0.5 * self.scale**2 * slopes**2 + log_interval(low, high)
        return masses, means, low, high

    def moments(self, t=0.0):
        """log ∫ exp(tμ) p(μ, y) dμ, and mean and variance of μ under it (truncated normals: Johnson, Kotz &
        Balakrishnan 1994 §13.10)."""
        masses, means, low, high = self.tilted(t)
        total = logsumexp(masses)
        weights, log_inside = np.exp(masses - total), log_interval(low, high)
        phi = lambda z: np.exp(-0.5 * np.square(z) - log_inside) / np.sqrt(2 * np.pi)
        edge = lambda z: np.where(np.isinf(z), 0.0, z) * phi(z)
        shift = phi(low) - phi(high)
        centre = means + self.scale * shift
        spread = self.scale**2 * (1 + edge(low) - edge(high) - shift**2)
        mean = weights @ centre
        return float(total), float(mean), float(weights @ (spread + (centre - mean) ** 2))

    def quantiles(self, levels):
        masses, means, low, high = self.tilted()
        weights = np.exp(masses - logsumexp(masses))
        found = []
        for p in levels:
            k = int(np.searchsorted(np.cumsum(weights), p))
            z = lambda x, k=k: (x - means[k]) / self.scale
            share = lambda x, k=k, z=z: np.exp(log_interval(low[k], z(x)) - log_interval(low[k], high[k]))
            left, right = (
                max(self.ends[k], self.y[0] - 30 * self.scale),
                min(self.ends[k + 1], self.y[-1] + 30 * self.scale),
            )
            below = lambda x, k=k, share=share, p=p: weights[:k].sum() + weights[k] * share(x) - p
            found.append(optimize.brentq(below, left + 1e-12, right, xtol=1e-15, rtol=1e-14))
        return np.array(found)


def laplace_location(names, data: Pieces, threshold: float, new_y) -> Reference:
    """Queries: μ, and P(y > threshold | μ) = ½ exp((μ − threshold)/b), for a threshold above all that the posterior
    holds. Panels between the data; second method: the pieces of normals, and their exponential moments."""
    joined = Pieces(np.append(data.y, new_y), data.noise, data.loc, data.scale)
    rule = Panels(data.log_density, _knots(joined))
    exceed = lambda x: 0.5 * np.exp((x - threshold) / data.noise)
    values = np.column_stack([rule.points, exceed(rule.points)])
    mean = rule.weights @ values
    covariance = (values - mean).T @ (rule.weights[:, None] * (values - mean))
    mu, sd = rule.marginal(), np.sqrt(np.diag(covariance))
    more = {"log_evidence": rule.log_mass, "num_new": len(new_y)}
    more["log_predictive"] = Panels(joined.log_density, _knots(joined)).log_mass - rule.log_mass
    first = assembled(names, [mu, Marginal(mean[1], sd[1], exceed(mu.quantiles))], correlation(covariance), **more)
    second = _by_pieces(names, data, joined, exceed, len(new_y))
    return certified(first, second, "pieces of normals", "Gauss–Legendre panels between the data")


def _knots(pieces):
    """The data, and steps outwards until the density is nothing."""
    steps = pieces.scale * np.linspace(0.2, 10, 50)
    ends = np.concatenate([pieces.y[0] - steps, pieces.y, pieces.y[-1] + steps])
    return np.unique(ends)


def _by_pieces(names, data, joined, exceed, num_new) -> Reference:
    (log_z, mean, variance), once, twice = (data.moments(k / data.noise) for k in range(3))
    level = float(exceed(0.0))
    first, second = level * np.exp(once[0] - log_z), level**2 * np.exp(twice[0] - log_z)
    sd, sd_exceed = np.sqrt(variance), np.sqrt(second - first**2)
    corr = first * (once[1] - mean) / sd / sd_exceed
    quantiles = data.quantiles(LEVELS)
    marginals = [Marginal(mean, sd, quantiles), Marginal(first, sd_exceed, exceed(quantiles))]
    more = {"log_evidence": log_z, "log_predictive": joined.moments()[0] - log_z, "num_new": num_new}
    return assembled(names, marginals, np.array([[1.0, corr], [corr, 1.0]]), **more)
