"""Rows in groups with a normal intercept each, both scales unknown: intercepts and their mean integrate in closed form,
the two scales on a grid (Gelman & Hill 2006 §12.3)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp, ndtr

from verification.exact.parameter_grid import edge_weight, quantiles
from verification.exact.reference import LEVELS, Certificate, Reference, correlation, difference_in_sd

LOG_2PI = np.log(2 * np.pi)


class Grouped(NamedTuple):
    """What the data say of normal rows in J groups, and the priors' scales.

    count, mean: [J], rows and their mean; within: Σ over all rows of squared distance to their group's mean.
    loc_scale: of the N(0, ·²) prior of the intercepts' mean; scale_scale: of both half-normal priors.
    """

    count: np.ndarray
    mean: np.ndarray
    within: float
    loc_scale: float
    scale_scale: float


def grouped(y, group, *, loc_scale, scale_scale) -> Grouped:
    """Group indices count from 0; every group has a row."""
    count = np.bincount(group).astype(float)
    mean = np.bincount(group, y) / count
    return Grouped(count, mean, float(np.sum((y - mean[group]) ** 2)), loc_scale, scale_scale)


def conditional(data: Grouped, log_noise, log_spread):
    """For log scales [M] of the rows and of the intercepts: log p(y, log scales) [M], mean and variance [M] of the
    intercepts' mean μ, and of intercept j the mean `shift + weight μ` and the variance: [M, J] each."""
    noise, spread = np.exp(2 * log_noise)[:, None], np.exp(2 * log_spread)[:, None]
    variance = spread + noise / data.count  # of a group's mean around μ
    precision = (1 / variance).sum(1) + 1 / data.loc_scale**2
    mean = (data.mean / variance).sum(1) / precision
    rows = -0.5 * (data.count.sum() * LOG_2PI + (data.count.sum() - len(data.count)) * 2 * log_noise)
    rows = rows - 0.5 * np.log(data.count).sum() - 0.5 * data.within / noise[:, 0]
    groups = -0.5 * np.log(variance).sum(1) - 0.5 * ((data.mean**2 / variance).sum(1) - precision * mean**2)
    groups = groups - 0.5 * np.log(precision) - np.log(data.loc_scale)
    prior = sum(
        0.5 * np.log(2 / np.pi) - np.log(data.scale_scale) - 0.5 * (np.exp(u) / data.scale_scale) ** 2 + u
        for u in (log_noise, log_spread)
    )
    weight = noise / data.count / variance  # of μ in an intercept; the rest is its group's own mean
    return rows + groups + prior, mean, 1 / precision, (1 - weight) * data.mean, weight, spread * weight


def _gaussian_mixture_quantiles(weights, means, sds) -> np.ndarray:
    """[9, Q] of Q mixtures, weights [M], means and sds [M, Q]: Newton on the CDF, kept inside a bisection's bracket."""
    centre = weights @ means
    spread = np.sqrt(weights @ (sds**2 + (means - centre) ** 2))
    levels = np.array(LEVELS)[:, None]
    low, high = (centre + sign * 12 * spread + 0 * levels for sign in (-1, 1))
    x = centre + 0 * levels
    for _ in range(60):
        z = (x[:, None] - means) / sds  # [9, M, Q]
        gap = np.einsum("m,lmq->lq", weights, ndtr(z)) - levels
        density = np.einsum("m,lmq->lq", weights, np.exp(-0.5 * z**2) / sds) / np.sqrt(2 * np.pi)
        low, high = np.where(gap < 0, x, low), np.where(gap < 0, high, x)
        step = x - gap / np.maximum(density, 1e-300)
        step = np.where((step > low) & (step < high), step, (low + high) / 2)
        done = np.max(np.abs(step - x) / spread) < 1e-13
        x = step
        if done:
            break
    return x


def _solve(names, data, centre, sd, nodes, half_width, rule="trapezoid") -> tuple[Reference, float]:
    z, width = np.linspace(-half_width, half_width, nodes), np.full(nodes, 2 * half_width / (nodes - 1))
    if rule == "legendre":
        z, width = (half_width * part for part in np.polynomial.legendre.leggauss(nodes))
    noise, spread = centre[0] + sd[0] * z, centre[1] + sd[1] * z
    u, v = (axis.ravel() for axis in np.meshgrid(noise, spread, indexing="ij"))
    log_density, loc, loc_variance, shift, weight, variance = conditional(data, u, v)
    values = log_density + np.add.outer(np.log(width * sd[0]), np.log(width * sd[1])).ravel()
    total = logsumexp(values)
    w = np.exp(values - total)
    kept = w > 1e-13
    w, loc, loc_variance, u, v = (part[kept] for part in (w, loc, loc_variance, u, v))
    shift, weight, variance = (part[kept] for part in (shift, weight, variance))
    means = np.column_stack([shift + weight * loc[:, None], loc, np.exp(u), np.exp(v)])
    mean = w @ means
    loading = np.column_stack([weight, np.ones(len(w)), np.zeros((len(w), 2))])  # of μ's own uncertainty
    covariance = (means - mean).T @ (w[:, None] * (means - mean)) + loading.T @ ((w * loc_variance)[:, None] * loading)
    own = np.column_stack([variance, np.zeros((len(w), 3))])
    covariance += np.diag(w @ own)
    sds = np.sqrt(own + loading**2 * loc_variance[:, None])
    table = None
    if rule == "trapezoid":
        grid = np.exp(values - total).reshape(nodes, nodes)
        scales = np.exp(np.stack([quantiles(noise, grid.sum(1)), quantiles(spread, grid.sum(0))], 1))
        table = np.column_stack([_gaussian_mixture_quantiles(w, means[:, :-2], sds[:, :-2]), scales])
    q05, q95 = (None, None) if table is None else table[[1, 7]]
    reference = Reference(
        tuple(names), mean, np.sqrt(np.diag(covariance)), q05, q95, correlation(covariance), None, 0, float(total), None
    )
    return reference._replace(quantiles=table), edge_weight(log_density.reshape(nodes, nodes))


def varying_intercept(names, data: Grouped, *, nodes=47, half_width=9.0) -> Reference:
    """y_n ~ N(α_{j(n)}, σ²), α_j ~ N(μ, τ²), μ ~ N(0, loc_scale²), σ and τ half-normal(scale_scale).

    Queries: α₁ … α_J, μ, σ, τ. Made for data that bound τ away from 0: the grid is centred on the mode of the log
    scales and its edges, where the density must have vanished, are part of the certificate.
    """
    centre = np.array([0.5 * np.log(data.within / (data.count.sum() - len(data.count))), np.log(data.mean.std())])
    sd = np.array([0.1, 0.5])
    for _ in range(4):  # nearer and nearer to the posterior's own centre and width
        u, v = (c + s * np.linspace(-6, 6, 61) for c, s in zip(centre, sd))
        log_density = conditional(data, *(part.ravel() for part in np.meshgrid(u, v, indexing="ij")))[0]
        w = np.exp(log_density - logsumexp(log_density)).reshape(61, 61)
        centre = np.array([w.sum(1) @ u, w.sum(0) @ v])
        sd = np.sqrt([w.sum(1) @ (u - centre[0]) ** 2, w.sum(0) @ (v - centre[1]) ** 2])
    fine, edge = _solve(names, data, centre, sd, nodes, half_width)
    coarse, _ = _solve(names, data, centre, sd, 3 * nodes // 4 | 1, half_width - 0.5)
    other, _ = _solve(names, data, centre, sd, nodes + 16, half_width, "legendre")
    found = f"trapezoid over two log scales, {nodes}² nodes against {3 * nodes // 4 | 1}² on a smaller box, and edges"
    agreement = difference_in_sd(fine, other)
    second = f"Gauss–Legendre, {nodes + 16}² nodes (means, sds, correlations)"
    return fine._replace(certificate=Certificate(max(difference_in_sd(fine, coarse), edge), found, second, agreement))
