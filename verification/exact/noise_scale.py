"""Regression whose noise has an unknown scale: y ~ N(Xβ, σ²R), β ~ N(0, τ²), any prior of σ given as that of u = log σ.

Given u all is Gaussian, so what is left is one integral over u by the trapezoid. The second method knows no Gaussian
algebra: it integrates the joint density over (β, u) by Gauss–Legendre panels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from verification.exact.glm_grid import Query, panels
from verification.exact.quadrature import mixture_quantile, sinc_quantile
from verification.exact.reference import LEVELS, Certificate, Reference, correlation, difference_in_sd

LOG_TWO_PI = np.log(2 * np.pi)
LARGEST = 1.0  # log ratio of densities within half a cell, for the rejection step


class NoisyRows(NamedTuple):
    """design [N, D], y [N]; relative [N]: sd of each row's noise over σ; prior_scale: τ; log_prior: u -> log p(u)."""

    design: np.ndarray
    y: np.ndarray
    relative: np.ndarray
    prior_scale: float
    log_prior: Callable


def conditional(rows: NoisyRows, u: np.ndarray):
    """For u [M]: log p(u, y), and mean [M, D] and covariance [M, D, D] of β given u and y, in the eigenbasis of the
    weighted Gram matrix."""
    design, y = rows.design / rows.relative[:, None], rows.y / rows.relative
    eigenvalues, basis = np.linalg.eigh(design.T @ design)
    weight, prior = np.exp(-2 * u)[:, None], 1 / rows.prior_scale**2
    precision = weight * eigenvalues + prior
    cross = weight * (basis.T @ (design.T @ y))
    mean = cross / precision
    quadratic = weight[:, 0] * (y @ y) - (mean * cross).sum(1)
    log_det = np.log(precision / prior).sum(1) + 2 * len(y) * u + 2 * np.log(rows.relative).sum()
    covariance = np.einsum("ij,mj,kj->mik", basis, 1 / precision, basis)
    return -0.5 * (len(y) * LOG_TWO_PI + log_det + quadratic) + rows.log_prior(u), mean @ basis.T, covariance


def log_joint(rows: NoisyRows, theta: np.ndarray) -> np.ndarray:
    """log p(β, u, y) for θ = [u, β], [M, 1 + D] -> [M]."""
    u, beta = theta[:, 0], theta[:, 1:]
    z = (rows.y - beta @ rows.design.T) / (np.exp(u)[:, None] * rows.relative)
    log_noise = -0.5 * (z**2).sum(1) - len(rows.y) * (u + 0.5 * LOG_TWO_PI) - np.log(rows.relative).sum()
    log_beta = -0.5 * ((beta / rows.prior_scale) ** 2 + LOG_TWO_PI).sum(1) - beta.shape[1] * np.log(rows.prior_scale)
    return log_noise + log_beta + rows.log_prior(u)


class _Moments(NamedTuple):
    mean: np.ndarray
    covariance: np.ndarray
    predictive: float
    evidence: float


def _split(queries):
    """Which queries are of u, and the directions in β of the others, [Q, D]."""
    directions = np.array([query.direction for query in queries], float)
    of_scale = directions[:, 0] != 0
    for query, scaled in zip(queries, of_scale):
        if scaled and any(query.direction[1:]):
            raise ValueError(f"query {query.name!r} has direction {query.direction}; give log σ or β, not a mixture")
        if not scaled and query.transform is not np.asarray:
            raise ValueError(f"query {query.name!r} of β has a transform; only those of log σ may")
    return of_scale, directions[:, 1:]


def _values(queries, u):
    """transform(direction u) for queries of the scale, 0 for others: [M, Q]."""
    scaled = [q.transform(q.direction[0] * u) if q.direction[0] else np.zeros(len(u)) for q in queries]
    return np.column_stack(scaled)


def _closed_form(queries, rows, new: NoisyRows, u) -> tuple[_Moments, np.ndarray, np.ndarray, np.ndarray]:
    """Moments by total expectation on a uniform grid of u, and the mixture behind the quantiles."""
    _, directions = _split(queries)
    log_weights, mean, covariance = conditional(rows, u)
    log_weights = log_weights + np.log(u[1] - u[0])
    both = rows._replace(
        design=np.vstack([rows.design, new.design]),
        y=np.append(rows.y, new.y),
        relative=np.append(rows.relative, new.relative),
    )
    evidence = logsumexp(log_weights)
    predictive = logsumexp(conditional(both, u)[0] + np.log(u[1] - u[0])) - evidence
    weights = np.exp(log_weights - evidence)
    values = mean @ directions.T + _values(queries, u)
    centre = weights @ values
    between = (values - centre).T @ (weights[:, None] * (values - centre))
    total = between + directions @ np.tensordot(weights, covariance, 1) @ directions.T
    variances = np.einsum("qi,mij,qj->mq", directions, covariance, directions)
    return _Moments(centre, total, float(predictive), float(evidence)), weights, values, variances


def _quantiles(queries, u, weights, values, variances) -> np.ndarray:
    kept = weights > 1e-18
    columns = []
    for q, query in enumerate(queries):
        if query.direction[0]:
            levels = LEVELS if query.direction[0] > 0 else [1 - p for p in LEVELS]
            at = np.array([sinc_quantile(u, weights, p) for p in levels])
            columns.append(query.transform(query.direction[0] * at))
        else:
            sds = np.sqrt(variances[kept, q])
            columns.append([mixture_quantile(weights[kept], values[kept, q], sds, p) for p in LEVELS])
    return np.column_stack(columns)


def _joint_moments(queries, rows, new, low, high) -> _Moments:
    """The same from the joint density of (β, u) alone; the Gaussian of β given u says only where to put nodes."""
    u, rule = panels(np.linspace(low, high, int(np.ceil(3 * (high - low))) + 1), [8] * int(np.ceil(3 * (high - low))))
    node, weight = np.polynomial.legendre.leggauss(64)
    z = 8 * np.stack(np.meshgrid(*[node] * rows.design.shape[1], indexing="ij"), -1).reshape(-1, rows.design.shape[1])
    log_weight = np.log(8 * np.stack(np.meshgrid(*[weight] * z.shape[1], indexing="ij"), -1).reshape(z.shape)).sum(1)
    _, mean, covariance = conditional(rows, u)
    factor = np.linalg.cholesky(covariance)
    beta = mean[:, None] + z @ factor.swapaxes(1, 2)
    theta = np.concatenate([np.broadcast_to(u[:, None, None], (*beta.shape[:2], 1)), beta], -1).reshape(
        -1, 1 + len(z.T)
    )
    log_cell = np.log(rule) + np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(1)
    values = log_joint(rows, theta) + (log_cell[:, None] + log_weight).ravel()
    evidence = logsumexp(values)
    weights = np.exp(values - evidence)
    heavy = weights > 1e-22
    theta, weights = theta[heavy], weights[heavy]
    _, directions = _split(queries)
    found = theta[:, 1:] @ directions.T + _values(queries, theta[:, 0])
    centre = weights @ found
    covariance = (found - centre).T @ (weights[:, None] * (found - centre))
    log_new = log_joint(new, theta) - log_joint(
        new._replace(design=new.design[:0], y=new.y[:0], relative=new.y[:0]), theta
    )
    return _Moments(centre, covariance, float(logsumexp(np.log(weights) + log_new)), float(evidence))


def solve(queries: list[Query], rows: NoisyRows, new: NoisyRows, low: float, high: float, nodes=1201) -> Reference:
    """Exact summaries of queries of θ = [u, β], each of u (any increasing function) or of β (linear).

    Args:
        new: the held-out rows, with the same priors.
        low, high: range of u; the density at its edges is part of the certificate.
    """
    u = np.linspace(low, high, nodes)
    fine, *mixture = _closed_form(queries, rows, new, u)
    quantiles = _quantiles(queries, u, *mixture)
    reference = _reference(queries, fine, quantiles, len(new.y))
    coarse, *mixture = _closed_form(queries, rows, new, u[::2])
    other = _reference(queries, coarse, _quantiles(queries, u[::2], *mixture), len(new.y))
    log_edges = conditional(rows, u)[0]
    edge = np.exp(max(log_edges[0], log_edges[-1]) - log_edges.max())
    gap = max(difference_in_sd(reference, other), float(edge), abs(fine.evidence - coarse.evidence))
    joint = _joint_moments(queries, rows, new, low, high)
    second = _reference(queries, joint, quantiles, len(new.y))
    agreement = max(difference_in_sd(reference, second), abs(joint.evidence - fine.evidence))
    found = f"trapezoid in log σ, {nodes} nodes against {len(u[::2])}, and the density at the edges"
    how = "Gauss–Legendre over (β, log σ) of the joint density (all but quantiles)"
    return reference._replace(certificate=Certificate(max(gap, agreement), found, how, agreement))


def _reference(queries, moments: _Moments, quantiles, num_new) -> Reference:
    names, sd, corr = (
        tuple(q.name for q in queries),
        np.sqrt(np.diag(moments.covariance)),
        correlation(moments.covariance),
    )
    at = quantiles[1], quantiles[7]
    return Reference(names, moments.mean, sd, *at, corr, moments.predictive, num_new, moments.evidence, None, quantiles)


def sampler(rows: NoisyRows, low: float, high: float, cells: int = 2000):
    """(rng, S) -> exact draws of θ = [u, β], [S, 1 + D]: a cell of u by its weight, a point in it corrected by
    rejection, β from its Gaussian given u."""
    step = (high - low) / cells
    centres = low + step * (np.arange(cells) + 0.5)
    log_weights = conditional(rows, centres)[0]
    cumulative = np.cumsum(np.exp(log_weights - log_weights.max()))

    def draw(rng, num_draws):
        kept, num = [], 0
        while num < num_draws:
            cell = np.searchsorted(cumulative, cumulative[-1] * rng.uniform(size=num_draws))
            u = centres[cell] + step * rng.uniform(-0.5, 0.5, num_draws)
            log_ratio = conditional(rows, u)[0] - log_weights[cell]
            if log_ratio.max() > LARGEST:
                raise ArithmeticError(f"{cells} cells are too coarse to draw from: log ratio {log_ratio.max():.2f}")
            kept.append(u[np.log(rng.uniform(size=num_draws)) < log_ratio - LARGEST])
            num += len(kept[-1])
        u = np.concatenate(kept)[:num_draws]
        _, mean, covariance = conditional(rows, u)
        noise = rng.standard_normal(mean.shape)
        return np.column_stack([u, mean + np.einsum("mkl,ml->mk", np.linalg.cholesky(covariance), noise)])

    return draw
