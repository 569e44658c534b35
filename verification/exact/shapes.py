"""Curved densities without data: funnel, banana, ring. All are normalised: their log evidence is 0."""

from __future__ import annotations

import numpy as np
from scipy import optimize, stats
from scipy.special import ndtr, polygamma, psi

from verification.exact.marginals import Marginal, assembled, certified, frozen, grid_moments, grid_reference, panels
from verification.exact.quadrature import mixture_quantile
from verification.exact.reference import LEVELS, Reference, correlation


def log_funnel(v, x, scale):
    """v ~ N(0, scale²), xᵢ | v ~ N(0, eᵛ) (Neal 2003). v [M], x [M, N]."""
    return stats.norm.logpdf(v, 0, scale) + stats.norm.logpdf(x, 0, np.exp(v / 2)[:, None]).sum(1)


def funnel(names, scale: float, num: int) -> Reference:
    """Queries: v; asinh x₁, whose moments a sample can show, which those of x₁ are not; log √(mean x²); x₁ e^(−v/2).

    log √(mean x²) is v/2 + ½ log(χ²/N); x₁ is a mixture of normals over v. What is odd in x is uncorrelated with what
    is even.
    """
    parts = [_funnel_parts(scale, num, nodes, w) for nodes, w in ((801, 9.0), (641, 8.5))]
    first, second = (_funnel_answer(names, scale, num, *part) for part in parts)
    density = lambda t: -0.5 * (2 * t[:, 0] - t[:, 1]) ** 2 / scale**2 + 0.5 * num * t[:, 1] - 0.5 * np.exp(t[:, 1])
    at = first.mean[2] + 0.5 * np.log(num)  # ½ log χ² integrated on a grid with log √Σx², not in closed form
    axes = [at + first.sd[2] * np.linspace(-22, 14, 701), np.linspace(-70 / num - 5, 6.0, 701)]
    mean, covariance, _ = grid_moments(density, axes, lambda t: t)
    means, sds = second.mean.copy(), second.sd.copy()
    means[2], sds[2] = mean[0] - 0.5 * np.log(num), np.sqrt(covariance[0, 0])
    second = second._replace(mean=means, sd=sds)
    return certified(first, second, "another grid; log √(mean x²) by a rule in two dimensions", "trapezoid, refined")


def _funnel_parts(scale, num, nodes, width):
    """Mixture weights over v, and over log χ²; second moments of asinh x₁ and of it with z by a rule in (v, log z)."""
    v = scale * np.linspace(-width, width, nodes)
    weights = np.exp(-0.5 * (v / scale) ** 2)
    log_z = np.linspace(-38.0, np.log(width), nodes)  # analytic in a strip, as asinh eʷ is
    z_weights = np.exp(log_z - 0.5 * np.exp(2 * log_z))
    weights, z_weights = weights / weights.sum(), z_weights / z_weights.sum()
    value = np.arcsinh(np.exp(v[:, None] / 2 + log_z))
    square, with_z = weights @ value**2 @ z_weights, weights @ value @ (z_weights * np.exp(log_z))
    log_c = np.linspace(-80 / num - 5, np.log(40.0 + 6 * num), nodes)
    c_weights = np.exp(0.5 * num * log_c - 0.5 * np.exp(log_c))
    return v, weights, log_c, c_weights / c_weights.sum(), square, with_z


def _funnel_answer(names, scale, num, v, weights, log_c, c_weights, square, with_z) -> Reference:
    x = np.array([mixture_quantile(weights, 0 * v, np.exp(v / 2), p) for p in LEVELS])
    rms_means, rms_sds = 0.5 * (log_c - np.log(num)), np.full(len(log_c), scale / 2)
    rms = Marginal(
        0.5 * (psi(num / 2) + np.log(2 / num)),
        0.5 * np.sqrt(scale**2 + polygamma(1, num / 2)),
        np.array([mixture_quantile(c_weights, rms_means, rms_sds, p) for p in LEVELS]),
    )
    marginals = [
        frozen(stats.norm(0, scale)),
        Marginal(0.0, np.sqrt(square), np.arcsinh(x)),
        rms,
        frozen(stats.norm()),
    ]
    corr = np.eye(4)
    corr[0, 2] = corr[2, 0] = scale / 2 / rms.sd
    corr[1, 3] = corr[3, 1] = with_z / np.sqrt(square)
    return assembled(names, marginals, corr, log_evidence=0.0)


def log_banana(x, width, bend):
    """x₁ ~ N(0, width²), x₂ | x₁ ~ N(bend (x₁² − width²), 1): a twisted Gaussian (Haario, Saksman & Tamminen 1999)."""
    return stats.norm.logpdf(x[:, 0], 0, width) + stats.norm.logpdf(x[:, 1], bend * (x[:, 0] ** 2 - width**2), 1)


def banana(names, width: float, bend: float) -> Reference:
    """Queries: x₁, x₂, x₁², and x₂ − bend (x₁² − width²). The twist keeps volume; x₂ is a mixture over x₁."""
    variance = 1 + 2 * bend**2 * width**4
    cov = np.diag([width**2, variance, 2 * width**4, 1.0])
    cov[1, 2] = cov[2, 1] = 2 * bend * width**4
    cov[1, 3] = cov[3, 1] = 1.0
    mixtures = []
    for z, rule in (_trapezoid(10.0, 1001), _legendre(9.0, 400)):
        weights = rule * np.exp(-0.5 * z**2)
        means = bend * width**2 * (z**2 - 1)
        mixtures.append([mixture_quantile(weights / weights.sum(), means, np.ones(len(z)), p) for p in LEVELS])
    square = stats.chi2(1, scale=width**2)
    ends = [frozen(stats.norm(0, width)), frozen(square), frozen(stats.norm())]
    first, second = (
        [ends[0], Marginal(0.0, np.sqrt(variance), np.array(quantiles)), *ends[1:]] for quantiles in mixtures
    )
    first = assembled(names, first, correlation(cov), log_evidence=0.0)
    twisted = lambda y: np.column_stack([y[:, 0], y[:, 1] + bend * (y[:, 0] ** 2 - width**2)])
    axes = [width * np.linspace(-10, 10, 501), np.linspace(-10, 10, 201)]  # of the untwisted coordinates
    values = lambda y: np.column_stack([twisted(y), y[:, 0] ** 2, y[:, 1]])
    density = lambda y: log_banana(twisted(y), width, bend)
    return certified(first, grid_reference(names, density, axes, values, second), "trapezoid; another mixture rule")


def _trapezoid(half_width, nodes):
    return np.linspace(-half_width, half_width, nodes), np.ones(nodes)


def _legendre(half_width, nodes):
    points, weights = np.polynomial.legendre.leggauss(nodes)
    return half_width * points, weights


def ring_log_normaliser(radius, width):
    """log ∫ exp(−(‖x‖ − R)²/2s²) dx over the plane = log 2π (s² e^(−R²/2s²) + R s √2π Φ(R/s))."""
    edge = width**2 * np.exp(-0.5 * (radius / width) ** 2)
    return np.log(2 * np.pi * (edge + radius * width * np.sqrt(2 * np.pi) * ndtr(radius / width)))


def log_ring(x, radius, width):
    """log p(x), p(x) ∝ exp(−(‖x‖ − R)²/2s²), x [M, 2]."""
    return -0.5 * ((np.linalg.norm(x, axis=1) - radius) / width) ** 2 - ring_log_normaliser(radius, width)


def ring(names, radius: float, width: float) -> Reference:
    """Queries: x₁, x₂, x₁ + x₂ and ‖x‖. The radius has density ∝ r exp(−(r − R)²/2s²); along any direction
    P(x₁ ≤ t) = ½ + (1/π)∫ P(r ≤ t/cos θ) dθ over (0, π/2), a periodic integrand that the trapezoid sums to rounding."""
    total = np.exp(ring_log_normaliser(radius, width)) / (2 * np.pi)
    low = np.exp(-0.5 * (radius / width) ** 2)

    def radial_cdf(r):
        z = (r - radius) / width
        gauss = radius * width * np.sqrt(2 * np.pi) * (ndtr(z) - ndtr(-radius / width))
        return (width**2 * (low - np.exp(-0.5 * z**2)) + gauss) / total

    angles = (np.arange(2000) + 0.5) / 2000 * np.pi / 2
    above = lambda t: 0.5 + 0.5 * np.mean(radial_cdf(t / np.cos(angles)))
    reach = radius + 12 * width
    root = lambda f, p, lo: optimize.brentq(lambda t: f(t) - p, lo, reach, xtol=1e-15, rtol=1e-14)
    upper = [0.0 if p == 0.5 else root(above, p, 1e-9) for p in LEVELS[4:]]
    across = np.append(-np.array(upper[:0:-1]), upper)
    radial = panels(lambda r: np.log(r) - 0.5 * ((r - radius) / width) ** 2, 1e-300, reach)
    mean = radial.weights @ radial.points
    square = radial.weights @ radial.points**2
    line, norm = np.sqrt(square / 2), np.array([root(radial_cdf, p, 1e-9) for p in LEVELS])
    cov = np.array([[1, 0, 1, 0], [0, 1, 1, 0], [1, 1, 2, 0], [0, 0, 0, 1.0]])
    marginals = [Marginal(0.0, line, across)] * 2
    marginals += [
        Marginal(0.0, np.sqrt(2) * line, np.sqrt(2) * across),
        Marginal(mean, np.sqrt(square - mean**2), norm),
    ]
    first = assembled(names, marginals, correlation(cov), log_evidence=0.0)
    y = np.linspace(-reach, reach, 2001)
    along = lambda t: np.log(np.exp(-0.5 * ((np.hypot(t[:, None], y) - radius) / width) ** 2).sum(1))
    side = panels(along, -reach, reach, 100).marginal()
    again = [side, side, Marginal(0.0, 1.0, np.sqrt(2) * side.quantiles), radial.marginal()]
    axes = [np.linspace(-reach, reach, 801)] * 2
    values = lambda x: np.column_stack([x, x.sum(1), np.linalg.norm(x, axis=1)])
    second = grid_reference(names, lambda x: log_ring(x, radius, width), axes, values, again)
    return certified(first, second, "trapezoid in the plane; panels over the marginal density")
