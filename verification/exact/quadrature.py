"""Tensor trapezoid rules in coordinates whitened at the mode, and the quantiles that go with them.

On a smooth density that has decayed to nothing at the edges the trapezoid rule converges geometrically (Trefethen &
Weideman 2014), so two resolutions that agree certify the answer.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import optimize
from scipy.special import logsumexp, ndtr, sici

from verification.exact.reference import LEVELS, Certificate, Reference, correlation, difference_in_sd

LogDensity = Callable[[np.ndarray], np.ndarray]  # [M, D] -> [M]


def mode_and_factor(log_density: LogDensity, start) -> tuple[np.ndarray, np.ndarray]:
    """The mode and a factor L of the inverse curvature there (LLᵀ ≈ H⁻¹): they set coordinates, not answers."""
    single = lambda theta: -float(log_density(theta[None])[0])
    mode = optimize.minimize(single, np.asarray(start, float), method="BFGS", options={"gtol": 1e-6}).x
    mode = optimize.minimize(
        single, mode, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9, "maxiter": 2000}
    ).x
    step = 1e-4 * np.maximum(1e-2, np.abs(mode)) * np.eye(len(mode))
    shifts = np.array(
        [
            [single(mode + a + b) - single(mode + a - b) - single(mode - a + b) + single(mode - a - b) for b in step]
            for a in step
        ]
    )
    hessian = shifts / (4 * np.outer(step.diagonal(), step.diagonal()))
    eigenvalues, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
    return mode, vectors / np.sqrt(np.maximum(eigenvalues, 1e-8 * eigenvalues.max()))


def tensor_grid(log_density: LogDensity, mode, factor, nodes: int, half_width: float, rule: str = "trapezoid"):
    """Nodes z of a trapezoid (or "legendre": Gauss–Legendre) rule on [−w, w]ᴰ mapped to θ = mode + Lz.

    Returns:
        axis [nodes], points [M, D], weights [M] summing to 1, log_evidence (the log of the integral).
    """
    dim = len(mode)
    axis, width = np.linspace(-half_width, half_width, nodes), np.full(nodes, 2 * half_width / (nodes - 1))
    if rule == "legendre":
        axis, width = (half_width * part for part in np.polynomial.legendre.leggauss(nodes))
    z = np.stack(np.meshgrid(*[axis] * dim, indexing="ij"), -1).reshape(-1, dim)
    log_width = np.stack(np.meshgrid(*[np.log(width)] * dim, indexing="ij"), -1).reshape(-1, dim).sum(1)
    points = mode + z @ factor.T
    values = (
        np.concatenate([log_density(block) for block in np.array_split(points, max(1, len(points) // 8192))])
        + log_width
    )
    total = logsumexp(values)
    return axis, points, np.exp(values - total), total + np.linalg.slogdet(factor)[1]


def sinc_quantile(axis: np.ndarray, weights: np.ndarray, p: float) -> float:
    """The p-quantile of a density known at the nodes of a uniform grid, `weights` ∝ its values there.

    The CDF is the integral of the sinc interpolant, Σₖ wₖ(½ + Si(π(x − xₖ)/h)/π) (Stenger 1993): as accurate as the
    trapezoid sum.
    """
    weights, h = weights / weights.sum(), axis[1] - axis[0]
    cdf = lambda x: float(weights @ (0.5 + sici(np.pi * (x - axis) / h)[0] / np.pi)) - p
    crossing = int(np.searchsorted(np.cumsum(weights), p))
    return optimize.brentq(
        cdf, axis[max(crossing - 3, 0)], axis[min(crossing + 3, len(axis) - 1)], xtol=1e-14, rtol=1e-14
    )


def mixture_quantile(weights, means, sds, p: float) -> float:
    """The p-quantile of Σ wₘ N(meanₘ, sdₘ²)."""
    centre, spread = weights @ means, np.sqrt(weights @ (sds**2 + (means - weights @ means) ** 2))
    cdf = lambda x: float(weights @ ndtr((x - means) / sds)) - p
    return optimize.brentq(cdf, centre - 12 * spread, centre + 12 * spread, xtol=1e-13 * spread + 1e-300, rtol=1e-14)


def linear_queries(
    names,
    log_density: LogDensity,
    start,
    queries,
    *,
    log_new: LogDensity | None = None,
    num_new=0,
    nodes=33,
    half_width=7.0,
    proper=True,
    links=None,
) -> Reference:
    """Exact summaries of the queries g(cᵀθ), g increasing, by tensor quadrature in D ≤ 3 dimensions; for each one the
    grid is turned so that its first axis runs along c. The certificate compares two resolutions and two box sizes; the
    second method is a Gauss–Legendre rule, for everything but the quantiles.

    Args:
        queries: [Q, D], the vectors c.
        links: {index of a query: g}; g is the identity where there is none.
        log_new: log p(y_new | θ); the joint log predictive is then a ratio of two integrals.
        proper: False where the prior is improper: no evidence is reported.
    """
    mode, factor = mode_and_factor(log_density, start)
    links = [(links or {}).get(k, lambda value: value) for k in range(len(queries))]
    setting = (names, log_density, mode, factor, queries, links, log_new, num_new)
    fine = _linear_queries(*setting, nodes, half_width)
    gap = difference_in_sd(fine, _linear_queries(*setting, (3 * nodes) // 4 | 1, half_width - 0.5))
    legendre = _legendre_check(fine, log_density, mode, factor, queries, links, log_new, nodes + 16, half_width)
    found = f"trapezoid {nodes} nodes a dimension against {(3 * nodes) // 4 | 1} on a smaller box"
    agreement = difference_in_sd(fine, legendre)
    second = f"Gauss–Legendre {nodes + 16} nodes a dimension"
    certificate = Certificate(max(gap, agreement), found, second, agreement)
    return fine._replace(certificate=certificate, log_evidence=fine.log_evidence if proper else None)


def _legendre_check(fine, log_density, mode, factor, queries, links, log_new, nodes, half_width):
    _, points, weights, _ = tensor_grid(log_density, mode, factor, nodes, half_width, "legendre")
    values = np.column_stack([link(points @ query) for link, query in zip(links, queries)])
    mean = weights @ values
    covariance = (values - mean).T @ (weights[:, None] * (values - mean))
    log_predictive = None if log_new is None else float(np.log(weights @ np.exp(log_new(points))))
    corr = correlation(covariance)
    return fine._replace(
        mean=mean,
        sd=np.sqrt(np.diag(covariance)),
        q05=None,
        q95=None,
        quantiles=None,
        corr=corr,
        log_predictive=log_predictive,
    )


def _linear_queries(names, log_density, mode, factor, queries, links, log_new, num_new, nodes, half_width):
    summaries = []
    for query, link in zip(queries, links):
        axis, points, weights, evidence = tensor_grid(log_density, mode, _aligned(factor, query), nodes, half_width)
        values = link(points @ query)
        mean = weights @ values
        marginal = weights.reshape(nodes, -1).sum(1)
        scale = np.linalg.norm(factor.T @ query)
        at = [link(query @ mode + scale * sinc_quantile(axis, marginal, p)) for p in LEVELS]
        summaries.append((mean, np.sqrt(weights @ (values - mean) ** 2), at))
    mean, sd, quantiles = map(np.array, zip(*summaries))
    quantiles = quantiles.T
    centred = np.column_stack([link(points @ query) for link, query in zip(links, queries)]) - mean
    log_predictive = None
    if log_new is not None:
        both = lambda theta: log_density(theta) + log_new(theta)
        log_predictive = float(tensor_grid(both, *mode_and_factor(both, mode), nodes, half_width)[3] - evidence)
    corr = correlation(centred.T @ (weights[:, None] * centred))
    tails = quantiles[1], quantiles[7]
    return Reference(tuple(names), mean, sd, *tails, corr, log_predictive, num_new, float(evidence), None, quantiles)


def _aligned(factor, query):
    """LQ with Q orthogonal and the query varying along the first axis only."""
    direction = factor.T @ query
    basis = np.linalg.qr(np.column_stack([direction, np.eye(len(query))]))[0][:, : len(query)]
    return factor @ (basis * np.sign(basis[:, 0] @ direction))


def increasing_queries(
    names, log_density: LogDensity, start: float, functions, *, log_new=None, num_new=0, nodes=401, half_width=26.0
) -> Reference:
    """Exact summaries of increasing functions of one unconstrained parameter, from `log_density([M, 1]) -> [M]`."""
    mode, factor = mode_and_factor(log_density, [start])
    axis, points, weights, evidence = tensor_grid(log_density, mode, factor, nodes, half_width)
    values = np.stack([g(points[:, 0]) for g in functions], 1)
    mean = weights @ values
    covariance = (values - mean).T @ (weights[:, None] * (values - mean))
    at = [mode[0] + factor[0, 0] * sinc_quantile(axis, weights, p) for p in LEVELS]
    quantiles = np.array([[g(u) for g in functions] for u in at])
    predictive = None if log_new is None else float(np.log(weights @ np.exp(log_new(points))))
    return Reference(
        tuple(names),
        mean,
        np.sqrt(np.diag(covariance)),
        quantiles[1],
        quantiles[7],
        correlation(covariance),
        predictive,
        num_new,
        float(evidence),
        None,
        quantiles,
    )
