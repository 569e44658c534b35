"""Gaussian-process regression with unknown hyperparameters: the function integrates in closed form, length scale,
amplitude and noise on a grid."""

from __future__ import annotations

import numpy as np
from scipy import stats
from scipy.special import logsumexp

from verification.exact.parameter_grid import edge_weight, grid_reference
from verification.exact.reference import Certificate, Reference, correlation, difference_in_sd

LENGTH = stats.gamma(25, scale=1 / 4)  # prior of the length scale
AMPLITUDE_SCALE, NOISE_SCALE = 2.0, 1.0  # of the half-normal priors of the amplitude and of the noise variance
BOX = ((0.4, 3.4), (-16.0, 3.2), (-7.0, 2.6))  # logs of length scale, amplitude, noise variance


def _log_half_normal(log_value, scale):
    """Density of the logarithm of a half-normal variable."""
    return 0.5 * np.log(2 / np.pi) - np.log(scale) - 0.5 * (np.exp(log_value) / scale) ** 2 + log_value


def log_joint(x, y, length, amplitude, noise) -> np.ndarray:
    """log p(y, log ρ, log α, log σ) on the grid of three axes of logarithms, [n₁, n₂, n₃].

    Given ρ one eigendecomposition of exp(−(x − x′)²/2ρ²) serves all amplitudes α and noise variances σ.
    """
    squared = np.subtract.outer(x, x) ** 2
    prior = LENGTH.logpdf(np.exp(length)) + length
    prior = prior[:, None, None] + _log_half_normal(amplitude, AMPLITUDE_SCALE)[:, None]
    prior = prior + _log_half_normal(noise, NOISE_SCALE)
    likelihood = []
    for u in length:
        eigenvalues, vectors = np.linalg.eigh(np.exp(-0.5 * squared / np.exp(2 * u)))
        variances = np.exp(2 * amplitude)[:, None, None] * np.maximum(eigenvalues, 0) + np.exp(noise)[:, None]
        likelihood.append(-0.5 * (np.log(2 * np.pi * variances) + (vectors.T @ y) ** 2 / variances).sum(-1))
    return np.stack(likelihood) + prior


def _legendre(names, x, y, nodes) -> Reference:
    """Means, sds, correlations and evidence by a Gauss–Legendre rule over the hyperparameters themselves, not their
    logarithms."""
    points, rule = np.polynomial.legendre.leggauss(nodes)
    ends = ((1.0, 20.0), (0.0, 15.0), (0.0, 8.0))
    axes = [a + (b - a) * (1 + points) / 2 for a, b in ends]
    widths = [np.log((b - a) / 2 * rule) - np.log(axis) for (a, b), axis in zip(ends, axes)]  # d value = value d log
    values = log_joint(x, y, *map(np.log, axes)) + widths[0][:, None, None] + widths[1][:, None] + widths[2]
    total = logsumexp(values)
    w = np.exp(values - total)
    table = np.stack([part.ravel() for part in np.meshgrid(*axes, indexing="ij")], 1)
    mean = w.ravel() @ table
    covariance = (table - mean).T @ (w.ravel()[:, None] * (table - mean))
    sd = np.sqrt(np.diag(covariance))
    return Reference(tuple(names), mean, sd, None, None, correlation(covariance), None, 0, float(total), None)


def gp_hyperparameters(names, x, y, *, nodes=(61, 193, 225), legendre=80) -> Reference:
    """y ~ N(0, K + σ I), K = α² exp(−(x − x′)²/2ρ²), σ the noise VARIANCE; ρ ~ Gamma(25, rate 4), α half-normal(2),
    σ half-normal(1). Queries: ρ, α, σ.

    The amplitude's logarithm has a long left tail, where its prior falls like α alone; its axis is long for that.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    solve = lambda nodes: [np.linspace(low, high, n) for (low, high), n in zip(BOX, nodes)]
    axes, coarser = solve(nodes), solve([3 * n // 4 | 1 for n in nodes])
    values = log_joint(x, y, *axes)
    fine = grid_reference(names, axes, values, (np.exp, np.exp, np.exp))
    coarse = grid_reference(names, coarser, log_joint(x, y, *coarser), (np.exp, np.exp, np.exp))
    agreement = difference_in_sd(fine, _legendre(names, x, y, legendre))
    edge = edge_weight(values)
    found = f"trapezoid over three logarithms, {nodes} nodes, against three quarters of them; edge {edge:.0e}"
    second = f"Gauss–Legendre, {legendre}³ nodes, over the hyperparameters themselves (means, sds, correlations)"
    gap = max(difference_in_sd(fine, coarse), edge)
    return fine._replace(certificate=Certificate(gap, found, second, agreement))
