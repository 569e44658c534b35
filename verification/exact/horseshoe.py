"""Two weights under the horseshoe: w_j = τ λ_j z_j, λ_j half-Cauchy, z_j and the noise Gaussian.

Given (λ₁, λ₂) all is Gaussian, so the posterior is a mixture of Gaussians over the plane of u = log λ, on which the
half-Cauchy is a smooth 2/π / (e^u + e^−u). The second method never sees λ: it integrates the density of w itself,
with its pole at zero, over log |w| in each quadrant.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.special import exp1, k0e, logsumexp

from verification.exact.quadrature import mixture_quantile
from verification.exact.reference import LEVELS, Certificate, Reference, correlation, difference_in_sd

REACH = 37.0  # of |log λ|: what lies beyond weighs e^−37
LOG_TWO_PI = np.log(2 * np.pi)


class TwoWeights(NamedTuple):
    """y = xw + noise_scale · normal, x [N, 2]; tau: the global scale."""

    x: np.ndarray
    y: np.ndarray
    noise_scale: float
    tau: float


def conditional(net: TwoWeights, u: np.ndarray):
    """For u = log λ [M, 2]: log p(u, y), and mean [M, 2] and covariance [M, 2, 2] of w."""
    variance = net.noise_scale**2
    gram, cross = net.x.T @ net.x / variance, net.x.T @ net.y / variance
    spread = net.tau**2 * np.exp(2 * u)  # prior variances of w; the algebra is in √spread, which never divides by 0
    a, b = np.sqrt(spread).T
    p11, p22, p12 = 1 + gram[0, 0] * a * a, 1 + gram[1, 1] * b * b, gram[0, 1] * a * b
    det = p11 * p22 - p12**2
    h1, h2 = a * cross[0], b * cross[1]
    mean = np.stack([a * (p22 * h1 - p12 * h2) / det, b * (p11 * h2 - p12 * h1) / det], 1)
    off = -a * b * p12 / det
    covariance = np.stack([np.stack([a * a * p22 / det, off], 1), np.stack([off, b * b * p11 / det], 1)], 1)
    log_likelihood = -0.5 * (len(net.y) * (LOG_TWO_PI + np.log(variance)) + net.y @ net.y / variance)
    log_likelihood = log_likelihood - 0.5 * np.log(det) + 0.5 * (mean @ cross)
    log_prior = (np.log(2 / np.pi) - np.logaddexp(u, -u)).sum(1)
    return log_likelihood + log_prior, mean, covariance


def _mixture(names, directions, net, new_x, new_y, step) -> Reference:
    axis = np.linspace(-REACH, REACH, int(2 * REACH / step) + 1)
    u = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    log_weights, mean, covariance = conditional(net, u)
    log_weights = log_weights + 2 * np.log(axis[1] - axis[0])
    evidence = logsumexp(log_weights)
    both = net._replace(x=np.vstack([net.x, new_x]), y=np.append(net.y, new_y))
    predictive = logsumexp(conditional(both, u)[0] + 2 * np.log(axis[1] - axis[0])) - evidence
    weights = np.exp(log_weights - evidence)
    kept = weights > 1e-18
    weights, mean, covariance = weights[kept] / weights[kept].sum(), mean[kept], covariance[kept]
    means = mean @ directions.T
    variances = np.einsum("qi,mij,qj->mq", directions, covariance, directions)
    centre = weights @ means
    between = (means - centre).T @ (weights[:, None] * (means - centre))
    total = between + directions @ np.tensordot(weights, covariance, 1) @ directions.T
    quantiles = [
        [mixture_quantile(weights, means[:, q], np.sqrt(variances[:, q]), p) for q in range(len(directions))]
        for p in LEVELS
    ]
    quantiles, sd = np.array(quantiles), np.sqrt(np.diag(total))
    at, corr = (quantiles[1], quantiles[7]), correlation(total)
    return Reference(
        tuple(names), centre, sd, *at, corr, float(predictive), len(new_y), float(evidence), None, quantiles
    )


def log_density(net: TwoWeights, w: np.ndarray) -> np.ndarray:
    """log p(w, y), [M, 2] -> [M]: −½ log 2π³ − log τ + x + log E₁(x) a weight, x = w²/2τ²."""
    x = 0.5 * (w / net.tau) ** 2
    log_prior = (log_scaled_exp1(x) - 0.5 * np.log(2 * np.pi**3) - np.log(net.tau)).sum(1)
    return log_prior + _log_noise((net.y - w @ net.x.T) / net.noise_scale, net.noise_scale)


def _log_noise(z, scale):
    return -0.5 * (z**2).sum(1) - z.shape[1] * (0.5 * LOG_TWO_PI + np.log(scale))


def log_scaled_exp1(x: np.ndarray) -> np.ndarray:
    """x + log E₁(x); far out by the continued fraction, where E₁ underflows (Abramowitz & Stegun 1964, 5.1.22)."""
    near = x < 50
    tail = np.where(near, 50.0, x)
    fraction = tail
    for k in range(40, 0, -1):
        fraction = tail + k / (1 + k / fraction)
    inner = np.where(near, x, 1.0)
    return np.where(near, inner + np.log(exp1(inner)), -np.log(fraction))


def log_half_normal_over_half_cauchy(w: np.ndarray, tau: float) -> np.ndarray:
    """log of K₀(|w|/τ)/(πτ), the density with a half-normal λ, over the horseshoe's."""
    z = np.abs(w) / tau
    return np.log(k0e(z)) - z - np.log(np.pi) - (log_scaled_exp1(0.5 * z**2) - 0.5 * np.log(2 * np.pi**3))


def _by_quadrants(net: TwoWeights, directions, new_x, new_y, step):
    """log evidence, means, sds and log predictive from a trapezoid over log |w|."""
    low, high = -40.0, np.log(60 * net.noise_scale)
    log_w = np.linspace(low, high, int((high - low) / step) + 1)
    total, parts = [], []
    for signs in product((-1.0, 1.0), repeat=2):
        w = np.stack(np.meshgrid(*(s * np.exp(log_w) for s in signs), indexing="ij"), -1).reshape(-1, 2)
        values = log_density(net, w) + np.log(np.abs(w)).sum(1) + 2 * np.log(log_w[1] - log_w[0])
        heavy = values > -700
        total.append(values[heavy])
        parts.append(w[heavy])
    values, w = np.concatenate(total), np.concatenate(parts)
    evidence = logsumexp(values)
    weights = np.exp(values - evidence)
    q = w @ directions.T
    mean = weights @ q
    log_new = _log_noise((new_y - w @ new_x.T) / net.noise_scale, net.noise_scale)
    return evidence, mean, np.sqrt(weights @ (q - mean) ** 2), float(logsumexp(np.log(weights) + log_new))


def _outside(net: TwoWeights, j: int, q: float, evidence: float, step: float) -> float:
    """P(w_j beyond q, away from zero), the pole of w_j never being entered."""
    low, high = np.log(abs(q)), np.log(60 * net.noise_scale)
    edges = np.linspace(low, high, int(np.ceil(2 * (high - low))) + 1)
    x, weight = np.polynomial.legendre.leggauss(12)
    half = np.diff(edges)[:, None] / 2
    v, rule = ((edges[:-1] + edges[1:])[:, None] / 2 + half * x).ravel(), (half * weight).ravel()
    other = np.linspace(-40.0, high, int((high + 40) / step) + 1)
    grid = np.stack(np.meshgrid(np.sign(q) * np.exp(v), np.exp(other), indexing="ij"), -1).reshape(-1, 2)
    log_cell = (np.log(rule)[:, None] + v[:, None] + other + np.log(other[1] - other[0])).ravel()
    sides = [log_density(net, (grid * [1.0, side])[:, [j, 1 - j]]) + log_cell for side in (-1.0, 1.0)]
    return float(np.exp(logsumexp(sides) - evidence))


def _quantile_gap(reference, net, evidence, step) -> float:
    """By how much the quantiles of the two weights must move, in posterior sd; the density is that of the levels."""
    gaps = []
    for j in range(2):
        q = reference.quantiles[:, j]
        for p, value in zip(LEVELS, q):
            nudge = 1e-4 * reference.sd[j] * np.sign(value)
            beyond, further = (_outside(net, j, v, evidence, step) for v in (value, value + nudge))
            level = p if value < 0 else 1 - p
            gaps.append(abs(beyond - level) / (beyond - further) * 1e-4)
    return max(gaps)


def solve(names, directions, net: TwoWeights, new_x, new_y, step: float = 0.2) -> Reference:
    """Exact summaries of directionᵀw, the first two directions being w₁ and w₂ themselves."""
    directions = np.array(directions, float)
    fine = _mixture(names, directions, net, new_x, new_y, step)
    coarse = _mixture(names, directions, net, new_x, new_y, 1.25 * step)
    gap = max(difference_in_sd(fine, coarse), abs(fine.log_evidence - coarse.log_evidence))
    evidence, mean, sd, predictive = _by_quadrants(net, directions, new_x, new_y, step / 2)
    second = fine._replace(mean=mean, sd=sd, log_predictive=predictive, quantiles=None, q05=None, q95=None)
    moments = max(difference_in_sd(fine, second), abs(evidence - fine.log_evidence))
    agreement = max(moments, _quantile_gap(fine, net, evidence, step / 2))
    found = f"trapezoid over log λ, step {step:g} against {1.25 * step:g}"
    how = "trapezoid over log |w|, without λ: moments, and quantiles of single weights"
    return fine._replace(certificate=Certificate(max(gap, agreement), found, how, agreement))


def sampler(net: TwoWeights):
    """(rng, S) -> exact draws [S, 2]: λ from its prior, kept with a chance proportional to p(y | λ); then w given λ."""

    def log_likelihood(u):
        joint, mean, covariance = conditional(net, u)
        return joint - (np.log(2 / np.pi) - np.logaddexp(u, -u)).sum(1), mean, covariance

    axis = np.linspace(-6.0, 6.0, 121)
    bound = log_likelihood(np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2))[0].max() + 0.02

    def draw(rng, num_draws):
        kept, num = [], 0
        while num < num_draws:
            u = np.log(np.abs(np.tan(np.pi * rng.uniform(-0.5, 0.5, (8192, 2)))) + 1e-300)
            value, mean, covariance = log_likelihood(u)
            if value.max() > bound:
                raise ArithmeticError(f"p(y | λ) exceeds its bound by {value.max() - bound:.3f} nats; search finer")
            keep = np.log(rng.uniform(size=len(u))) < value - bound
            a, b, c = covariance[keep, 0, 0], covariance[keep, 0, 1], covariance[keep, 1, 1]
            noise, slope = rng.standard_normal((len(a), 2)), b / np.maximum(a, 1e-300)
            first = mean[keep, 0] + np.sqrt(a) * noise[:, 0]
            rest = np.sqrt(np.maximum(c - slope * b, 0.0))
            second = mean[keep, 1] + slope * (first - mean[keep, 0]) + rest * noise[:, 1]
            kept.append(np.column_stack([first, second]))
            num += len(first)
        return np.concatenate(kept)[:num_draws]

    return draw
