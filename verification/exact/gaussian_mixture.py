"""Posteriors that are Gaussian given a few hyperparameters: the Gaussian part in closed form, the rest on a grid.

p(v, θ | y) ∝ w(v) N(θ | m(v), V(v)) with v in D ≤ 3 dimensions. The trapezoid rule converges geometrically on a smooth
density that has decayed to nothing at the edges of its box (Trefethen & Weideman 2014).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from scipy.special import logsumexp

from verification.exact.quadrature import mixture_quantile, sinc_quantile
from verification.exact.reference import LEVELS, Certificate, Reference, correlation, difference_in_sd

BLOCK = 4096  # grid points at a time
DROPPED = 1e-12  # probability of all the grid points together that moments leave out
NEGLIGIBLE = -38.0  # log weight, against the largest, of a cell that is never drawn from


class GivenHyper(Protocol):
    """A model whose latents θ [L] are Gaussian given hyperparameters v [D].

    box: (low [D], high [D]), wide enough to hold all the mass.
    """

    box: tuple

    def log_weight(self, v: np.ndarray) -> np.ndarray:
        """log p(v, data) with θ integrated out, [M, D] -> [M]."""

    def conditional(self, v: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean [M, Q] and covariance [M, Q, Q] of `matrix @ θ` given v and the data."""

    def draw(self, rng: np.random.Generator, v: np.ndarray) -> np.ndarray:
        """θ [M, L] given v and the data."""


class HyperQuery(NamedTuple):
    """The increasing function `function` of direction · v."""

    name: str
    direction: tuple[float, ...]
    function: Callable = np.exp


class Queries(NamedTuple):
    """names and rows [Q, L] of the linear queries of θ, then the hyperparameters' queries."""

    names: tuple[str, ...]
    matrix: np.ndarray
    hyper: tuple[HyperQuery, ...]

    @property
    def all_names(self) -> tuple[str, ...]:
        return (*self.names, *(query.name for query in self.hyper))


def fitted_box(log_weight: Callable, low, high, *, nodes: int = 33, drop: float = 36.0):
    """The part of a wide box in which the density is within e^−drop of its largest value, one cell added on each side.
    Three rounds, each on the box of the last."""
    for _ in range(3):
        axes, points, _ = _grid(low, high, [nodes] * len(low), "trapezoid")
        values = in_blocks(log_weight, points).reshape([nodes] * len(low))
        inside = np.nonzero(values > np.nanmax(values) - drop)
        first = [max(int(index.min()) - 1, 0) for index in inside]
        last = [min(int(index.max()) + 1, nodes - 1) for index in inside]
        low = np.array([axis[k] for axis, k in zip(axes, first)])
        high = np.array([axis[k] for axis, k in zip(axes, last)])
    return low, high


def in_blocks(function: Callable, points: np.ndarray) -> np.ndarray:
    """`function(points)` in blocks of rows: memory stays bounded."""
    return np.concatenate(
        [function(points[start : start + BLOCK]) for start in range(0, len(points), BLOCK)] or [np.zeros(0)]
    )


def gaussian_mixture(
    model: GivenHyper, queries: Queries, *, nodes, log_new: Callable | None = None, num_new=0, second=None, drop=36.0
) -> Reference:
    """Exact summaries of `queries`. The certificate compares two resolutions; the second method is a Gauss–Legendre
    rule, for everything but the hyperparameters' quantiles.

    Args:
        nodes: of each axis of the grid, [D].
        log_new: [M, D] -> log p(y_new | v, data), θ integrated out.
        second: another implementation of `model` for the Gauss–Legendre rule; None: the same one.
        drop: nats below the largest weight at which the grid ends.
    """
    low, high = fitted_box(model.log_weight, *map(np.asarray, model.box), drop=drop)
    coarse_nodes = [(3 * n) // 4 | 1 for n in nodes]
    fine = _solve(model, queries, low, high, nodes, "trapezoid", log_new, num_new)
    coarse = _solve(model, queries, low, high, coarse_nodes, "trapezoid", log_new, num_new)
    other = _solve(second or model, queries, low, high, coarse_nodes, "legendre", log_new, num_new)
    unknown = np.isnan(other.quantiles)
    other = other._replace(
        quantiles=np.where(unknown, fine.quantiles, other.quantiles),
        q05=np.where(unknown[1], fine.q05, other.q05),
        q95=np.where(unknown[7], fine.q95, other.q95),
    )
    agreement = max(difference_in_sd(fine, other), abs(fine.log_evidence - other.log_evidence))
    times = " × ".join(map(str, nodes)), " × ".join(map(str, coarse_nodes))
    certificate = Certificate(
        max(difference_in_sd(fine, coarse), agreement, _edge_weight(model, low, high, nodes, fine.log_evidence)),
        f"trapezoid, {times[0]} nodes against {times[1]}, and the weight at the edges",
        f"Gauss–Legendre, {times[1]} nodes{'' if second is None else ', dense Gaussian algebra'}",
        agreement,
    )
    return fine._replace(certificate=certificate)


def _grid(low, high, nodes, rule: str):
    """axes, points [M, D], log cell sizes [M]."""
    axes, widths = [], []
    for a, b, n in zip(low, high, nodes):
        if rule == "legendre":
            z, weights = np.polynomial.legendre.leggauss(n)
            axes.append(a + (b - a) * (1 + z) / 2)
            widths.append((b - a) / 2 * weights)
        else:
            axes.append(np.linspace(a, b, n))
            widths.append(np.full(n, (b - a) / (n - 1)))
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))
    log_cell = sum(np.meshgrid(*map(np.log, widths), indexing="ij")).ravel()
    return axes, points, log_cell


def _edge_weight(model, low, high, nodes, log_evidence) -> float:
    """Share of the grid's outermost nodes in the whole."""
    _, points, log_cell = _grid(low, high, nodes, "trapezoid")
    edge = ((points == low) | (points == high)).any(1)
    return float(np.exp(logsumexp(in_blocks(model.log_weight, points[edge]) + log_cell[edge]) - log_evidence))


def _solve(model, queries, low, high, nodes, rule, log_new, num_new) -> Reference:
    axes, points, log_cell = _grid(low, high, nodes, rule)
    log_weights = in_blocks(model.log_weight, points) + log_cell
    evidence = float(logsumexp(log_weights))
    weights = np.exp(log_weights - evidence)
    lightest = np.argsort(weights)
    kept = np.ones(len(weights), bool)
    kept[lightest[np.cumsum(weights[lightest]) < DROPPED]] = False
    v, w = points[kept], weights[kept]
    means, sds, within = _latent_moments(model, v, w, queries.matrix)
    hyper = [query.function(v @ np.asarray(query.direction)) for query in queries.hyper]
    values = np.column_stack([means, *hyper])
    mean = w @ values
    centred = values - mean
    covariance = centred.T @ (w[:, None] * centred)
    covariance[: len(within), : len(within)] += within
    quantiles = np.full((len(LEVELS), len(mean)), np.nan)
    for q in range(len(within)):
        quantiles[:, q] = [mixture_quantile(w, means[:, q], sds[:, q], p) for p in LEVELS]
    if rule == "trapezoid":
        for k, query in enumerate(queries.hyper):
            at = _hyper_quantiles(model, query, low, high, nodes, axes, weights)
            quantiles[:, len(within) + k] = query.function(at)
    predictive = None if log_new is None else float(logsumexp(np.log(w) + in_blocks(log_new, v)))
    sd, corr = np.sqrt(np.diag(covariance)), correlation(covariance)
    return Reference(
        queries.all_names, mean, sd, quantiles[1], quantiles[7], corr, predictive, num_new, evidence, None, quantiles
    )


def _latent_moments(model, v, w, matrix):
    """Conditional means and sds [M, Q], and the average conditional covariance [Q, Q]."""
    size = len(matrix)
    means, sds, within = np.empty((len(v), size)), np.empty((len(v), size)), np.zeros((size, size))
    for start in range(0, len(v) if size else 0, BLOCK // 4):
        rows = slice(start, start + BLOCK // 4)
        means[rows], covariance = model.conditional(v[rows], matrix)
        # a variance that is a difference of equals may round below 0
        sds[rows] = np.sqrt(np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 1e-30))
        within += np.tensordot(w[rows], covariance, 1)
    return means, sds, within


def _hyper_quantiles(model, query, low, high, nodes, axes, weights) -> np.ndarray:
    """Quantiles of direction · v at LEVELS: the marginal over the other axes, in coordinates of which it is one."""
    direction = np.asarray(query.direction, float)
    pivot = int(np.flatnonzero(np.abs(direction) == np.abs(direction).max())[-1])
    if np.count_nonzero(direction) == 1 and direction[pivot] == 1:
        others = tuple(k for k in range(len(nodes)) if k != pivot)
        marginal = weights.reshape(nodes).sum(others)
        return np.array([sinc_quantile(axes[pivot], marginal, p) for p in LEVELS])
    shear = np.eye(len(direction))
    shear[pivot] = direction
    back = np.linalg.inv(shear).T
    low, high = np.array(low), np.array(high)
    low[pivot], high[pivot] = (
        np.minimum(direction * low, direction * high).sum(),
        np.maximum(direction * low, direction * high).sum(),
    )
    log_weight = lambda sheared: model.log_weight(sheared @ back)
    low, high = fitted_box(log_weight, low, high)
    sheared_axes, points, _ = _grid(low, high, nodes, "trapezoid")
    log_weights = in_blocks(log_weight, points)
    marginal = np.exp(log_weights - log_weights.max()).reshape(nodes)
    marginal = marginal.sum(tuple(k for k in range(len(nodes)) if k != pivot))
    return np.array([sinc_quantile(sheared_axes[pivot], marginal, p) for p in LEVELS])


def hyper_sampler(model: GivenHyper, *, nodes, slack: float = 0.25) -> Callable:
    """(rng, S) -> v [S, D], drawn from p(v | data): a cell of the grid by its largest corner, a point in it corrected
    by rejection. The grid is computed at the first call.

    Args:
        slack: nats by which the density inside a cell may exceed its corners'.

    Raises (when drawing):
        ArithmeticError: a draw's density is above its cell's bound, so that the draws would not be exact.
    """
    made: list = []

    def draw(rng, num_draws):
        if not made:
            made.extend(_cells(model, nodes))
        corner, step, bound, cumulative = made
        kept, num = [], 0
        while num < num_draws:
            cells = np.searchsorted(cumulative, rng.uniform(size=BLOCK))
            v = corner[cells] + step * rng.uniform(size=(BLOCK, len(step)))
            log_ratio = model.log_weight(v) - bound[cells] - slack
            if log_ratio.max() > 0:
                raise ArithmeticError(f"a cell's bound is exceeded by {log_ratio.max():.3f} nats; raise `nodes`")
            kept.append(v[np.log(rng.uniform(size=BLOCK)) < log_ratio])
            num += len(kept[-1])
        return np.concatenate(kept)[:num_draws]

    return draw


def _cells(model, nodes):
    """Lower corners, sizes, the largest log weight at the corners, and cumulative probabilities of the grid's cells."""
    low, high = fitted_box(model.log_weight, *map(np.asarray, model.box))
    axes, points, _ = _grid(low, high, nodes, "trapezoid")
    bound = in_blocks(model.log_weight, points).reshape(nodes)
    for k in range(len(nodes)):
        bound = np.maximum(np.take(bound, np.arange(nodes[k] - 1), k), np.take(bound, np.arange(1, nodes[k]), k))
    corner = np.stack(np.meshgrid(*(axis[:-1] for axis in axes), indexing="ij"), -1).reshape(-1, len(axes))
    bound = bound.ravel()
    keep = bound > bound.max() + NEGLIGIBLE
    cumulative = np.cumsum(np.exp(bound[keep] - bound.max()))
    return corner[keep], np.array([axis[1] - axis[0] for axis in axes]), bound[keep], cumulative / cumulative[-1]


def sampler(model: GivenHyper, nodes) -> Callable:
    """(rng, S) -> v [S, D] and θ [S, L], exact draws of both."""
    draw_hyper = hyper_sampler(model, nodes=nodes)

    def draw(rng, num_draws):
        v = draw_hyper(rng, num_draws)
        return v, model.draw(rng, v)

    return draw
