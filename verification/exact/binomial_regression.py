"""Logistic regression of counts, whitened at the mode: Newton's mode and curvature, tensor trapezoids, one grid turned
along each coefficient."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import expit, gammaln, logsumexp

from verification.exact.parameter_grid import edge_weight, quantiles
from verification.exact.reference import Certificate, Reference, correlation, difference_in_sd

GROUP = 32  # rows multiplied together before a logarithm is taken


class Counts(NamedTuple):
    """successes[n] ~ Binomial(trials[n], logistic(x[n] · β)), β_d ~ N(0, prior_scale²); an infinite scale is flat."""

    x: np.ndarray
    successes: np.ndarray
    trials: np.ndarray
    prior_scale: float


def single_trials(x, y, prior_scale=np.inf) -> Counts:
    """Rows of one trial each; where few inputs are distinct, their rows are put together."""
    rows, index = np.unique(x, axis=0, return_inverse=True)
    if 2 * len(rows) > len(x):
        return Counts(np.asarray(x), np.asarray(y), np.ones(len(x)), prior_scale)
    index = index.ravel()
    return Counts(rows, np.bincount(index, y), np.bincount(index).astype(float), prior_scale)


def _log_prior(data: Counts, beta):
    if np.isinf(data.prior_scale):
        return np.zeros(len(beta))
    return (-0.5 * (beta / data.prior_scale) ** 2 - 0.5 * np.log(2 * np.pi * data.prior_scale**2)).sum(1)


def log_joint(data: Counts, beta) -> np.ndarray:
    """log p(successes, β) for β [M, D], without binomial coefficients; a flat prior counts as 1."""
    f = beta @ data.x.T
    return f @ data.successes - np.logaddexp(0, f) @ data.trials + _log_prior(data, beta)


def log_coefficients(data: Counts) -> float:
    """Σₙ log of trials[n] over successes[n]."""
    n, k = data.trials, data.successes
    return float(np.sum(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)))


def mode_and_factor(data: Counts) -> tuple[np.ndarray, np.ndarray]:
    """The mode by Newton's method and L, LLᵀ the inverse of the exact curvature there.

    Raises:
        ValueError: no finite mode, which a flat prior and data that a plane separates do not have.
    """
    precision, beta = 1 / data.prior_scale**2, np.zeros(data.x.shape[1])
    for _ in range(100):
        p = expit(data.x @ beta)
        gradient = data.x.T @ (data.successes - data.trials * p) - precision * beta
        curvature = (data.x.T * (data.trials * p * (1 - p))) @ data.x + precision * np.eye(len(beta))
        if np.linalg.cond(curvature) > 1e14:
            break
        step = np.linalg.solve(curvature, gradient)
        beta = beta + step
        if np.abs(data.x @ step).max() < 1e-10:
            return beta, np.linalg.inv(np.linalg.cholesky(curvature)).T
    raise ValueError(
        "Newton's method found no mode; a flat prior needs inputs of full rank and data no plane separates"
    )


def _aligned(factor, d):
    """LQ, Q orthogonal, such that β_d varies along the first axis only, upwards."""
    basis = np.linalg.qr(np.column_stack([factor[d], np.eye(len(factor))]))[0][:, : len(factor)]
    return factor @ (basis * np.sign(basis[:, 0] @ factor[d]))


def _log_joint_on_grid(data: Counts, mode, factor, axes) -> tuple[np.ndarray, np.ndarray]:
    """β [M, D] = mode + Lz for z on the tensor grid of `axes`, and its log joint [M]. e^f is a product of one table a
    dimension, and the product of GROUP factors 1 + e^f takes one logarithm, which is far fewer of both than the plain
    density takes."""
    slopes = data.x @ factor
    tables = [np.exp(np.outer(axis, slopes[:, d])) for d, axis in enumerate(axes)]  # [n, N]
    odds = np.exp(data.x @ mode)[None]
    for table in tables[:-1]:
        odds = (odds[:, None] * table).reshape(-1, odds.shape[1])
    group = GROUP if np.ptp(data.trials) == 0 else 1
    pad = ((0, 0), (0, -odds.shape[1] % group))  # zero odds: factors of one
    odds = np.pad(odds, pad).reshape(len(odds), group, -1, 1)
    last = np.pad(tables[-1], pad).T.reshape(group, -1, len(axes[-1]))
    trials = data.trials if group == 1 else np.full(last.shape[1], data.trials[0])
    softplus = np.concatenate([trials @ np.log(np.multiply.reduce(1 + row * last)) for row in odds])
    z = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))
    beta = mode + z @ factor.T
    return beta, beta @ (data.x.T @ data.successes) - softplus + _log_prior(data, beta)


def _solve(names, data, mode, factor, nodes, half_width) -> tuple[Reference, float]:
    """`nodes` a dimension, half as many again along the query, whose quantiles need them."""
    along, across = (np.linspace(-half_width, half_width, n) for n in (3 * nodes // 2, nodes))
    axes, columns, edges = [along] + [across] * (len(mode) - 1), [], []
    for d in range(len(mode)):
        turned = _aligned(factor, d)
        beta, values = _log_joint_on_grid(data, mode, turned, axes)
        total = logsumexp(values)
        marginal = np.exp(values - total).reshape(len(along), -1).sum(1)
        columns.append(mode[d] + turned[d, 0] * quantiles(along, marginal))
        edges.append(edge_weight(values.reshape([len(axis) for axis in axes])))
    table, weights = np.stack(columns, 1), np.exp(values - total)
    evidence = total + sum(np.log(axis[1] - axis[0]) for axis in axes) + np.linalg.slogdet(factor)[1]
    moments = _moments(names, beta, weights, float(evidence))
    return moments._replace(q05=table[1], q95=table[7], quantiles=table), max(edges)


def _moments(names, beta, weights, evidence) -> Reference:
    mean = weights @ beta
    covariance = (beta - mean).T @ (weights[:, None] * (beta - mean))
    sd = np.sqrt(np.diag(covariance))
    return Reference(tuple(names), mean, sd, None, None, correlation(covariance), None, 0, evidence, None)


def _gauss_hermite(names, data, mode, factor, nodes) -> Reference:
    """Another rule on the plain density."""
    dim = len(mode)
    points, rule = np.polynomial.hermite_e.hermegauss(nodes)
    z = np.stack(np.meshgrid(*[points] * dim, indexing="ij"), -1).reshape(-1, dim)
    log_rule = np.stack(np.meshgrid(*[np.log(rule)] * dim, indexing="ij"), -1).reshape(-1, dim).sum(1)
    beta = mode + z @ factor.T
    blocks = np.array_split(beta, max(1, len(beta) // 1000))
    values = np.concatenate([log_joint(data, block) for block in blocks]) + log_rule + 0.5 * (z**2).sum(1)
    total = logsumexp(values)
    return _moments(names, beta, np.exp(values - total), float(total + np.linalg.slogdet(factor)[1]))


def binomial_regression(names, data: Counts) -> Reference:
    """Summaries of each of D ≤ 4 coefficients, in the order of the columns of x. The evidence includes the binomial
    coefficients; a flat prior has none."""
    mode, factor = mode_and_factor(data)
    nodes, half_width, hermite = (19, 7.2, 12) if len(mode) <= 3 else (16, 6.8, 11)
    fine, edge = _solve(names, data, mode, factor, nodes, half_width)
    coarse, _ = _solve(names, data, mode, factor, nodes - 2, half_width - 0.2)
    agreement = difference_in_sd(fine, _gauss_hermite(names, data, mode, factor, hermite))
    found = f"trapezoid, {nodes} whitened nodes a dimension, against {nodes - 2} on a smaller box; edge {edge:.0e}"
    second = f"Gauss–Hermite, {hermite} nodes a dimension (means, sds, correlations)"
    certificate = Certificate(max(difference_in_sd(fine, coarse), edge), found, second, agreement)
    evidence = None if np.isinf(data.prior_scale) else fine.log_evidence + log_coefficients(data)
    return fine._replace(certificate=certificate, log_evidence=evidence)
