"""A classifying network solved exactly: P(y = 1 | x) = σ(a·tanh(wx + b) + c) with Gaussian priors on all four weights.

Nothing is Gaussian given anything, so all four dimensions are integrated: (w, b) by a rule of `unit_rules`, (a, c) by a
trapezoid. Each row's likelihood is 1/(1 + e^(−s a φ) e^(−s c)), s = ±1: two small tables of exponentials and no
logarithm make the grid. For quantiles of a logit the output bias gives way to the logit itself, whose marginal then
lies on a uniform grid.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import expit

from verification.exact.network_units import Rule, Units
from verification.exact.quadrature import sinc_quantile
from verification.exact.reference import LEVELS, Certificate, Reference, correlation, difference_in_sd
from verification.exact.unit_rules import half_circle

BOX = 6.5  # half-width of the (a, c) grid in prior sd
MOST_ROWS = 16  # the product of that many 1 + e^|f| stays below the largest double


class Queries(NamedTuple):
    """Logits at x [P], their linear functions `extra` [E, P] @ f, and probabilities at x; held-out rows (new_x, new_y).
    Rows of `extra` must sum to more than 0.1: the output bias has to smooth them."""

    names: tuple[str, ...]
    x: np.ndarray
    extra: np.ndarray
    new_x: np.ndarray
    new_y: np.ndarray

    @property
    def probes(self) -> np.ndarray:
        return np.vstack([np.eye(len(self.x)), self.extra])


class Grid(NamedTuple):
    """A rule over (w, b) and the number of trapezoid nodes in a, in c and in a logit."""

    rule: Rule
    a: int
    c: int
    logit: int


def log_likelihood(net: Units, weights: np.ndarray, x=None, y=None) -> np.ndarray:
    """Σ log P(yₙ | xₙ) for weights [M, 4] = (w, b, a, c)."""
    x, y = (net.x, net.y) if x is None else (x, y)
    w, b, a, c = weights.T[:, :, None]
    return -np.logaddexp(0.0, (1 - 2 * y) * (a * np.tanh(w * x + b) + c)).sum(1)


def solve_classifier(net: Units, queries: Queries) -> Reference:
    """Exact posterior of the queries by a polar rule over (w, b); second rule: another in the radius, another
    step in a and c.

    Raises:
        ValueError: too many rows for the product of likelihoods to stay finite, or an extra query with too small a sum.
    """
    if np.any(queries.extra.sum(1) < 0.1):
        raise ValueError(
            f"rows of extra sum to {queries.extra.sum(1)}, but must sum to more than 0.1; weigh the points unequally"
        )
    if len(net.x) > MOST_ROWS:
        raise ValueError(f"{len(net.x)} rows given, but at most {MOST_ROWS} keep the grid finite; fit fewer rows")
    fine = _solve(net, queries, Grid(half_circle(net, 36, 56), 61, 31, 121))
    coarse = _solve(net, queries, Grid(half_circle(net, 32, 50), 57, 29, 115))
    log_radius = _solve(net, queries, Grid(half_circle(net, 64, 54, "trapezoid"), 59, 30, 117))
    gap, agreement = difference_in_sd(fine, coarse), difference_in_sd(fine, log_radius)
    found = "a coarser grid in all four dimensions"
    return fine._replace(
        certificate=Certificate(max(gap, agreement), found, "trapezoid in the log radius of (w, b)", agreement)
    )


def _axis(width: float, nodes: int) -> np.ndarray:
    return np.linspace(-BOX * width, BOX * width, nodes)


def _posterior(net: Units, unit: np.ndarray, probe: np.ndarray, log_rule, a, f) -> np.ndarray:
    """Weights [M, A, F] of (w, b), a and the logit f where the unit's output is `probe` [M]; with probe 0 that is c.

    unit: [M, N], the unit's outputs at the rows.
    """
    bias = f - (a * probe[:, None])[..., None]
    log_prior = -0.5 * (bias / net.scales[3]) ** 2 - 0.5 * (a[:, None] / net.scales[2]) ** 2
    odds = np.ones_like(bias)
    for n in range(len(net.x)):
        sign = 1 - 2 * net.y[n]
        odds *= 1 + np.exp(sign * a * (unit[:, n] - probe)[:, None])[..., None] * np.exp(sign * f)
    return np.exp(log_prior + log_rule[:, None, None]) / odds


def _blocks(grid: Grid, size: int) -> list[slice]:
    rows = max(1, (1 << 20) // size)
    return [slice(k, k + rows) for k in range(0, len(grid.rule.hidden), rows)]


def _solve(net: Units, queries: Queries, grid: Grid) -> Reference:
    outputs = lambda x: np.tanh(grid.rule.hidden[:, :1] * x + grid.rule.hidden[:, 1:])
    unit, at, at_new = outputs(net.x), outputs(queries.x), outputs(queries.new_x)
    a, c = _axis(net.scales[2], grid.a), _axis(net.scales[3], grid.c)
    total, first, second, new = 0.0, 0.0, 0.0, 0.0
    for block in _blocks(grid, grid.a * grid.c):
        weights = _posterior(net, unit[block], np.zeros(len(unit[block])), grid.rule.log_weights[block], a, c)
        logit = lambda t: a[:, None, None] * t[:, None, None, :] + c[:, None]  # [M, A, C, P]
        f, flat = logit(at[block]).reshape(weights.size, -1), weights.ravel()
        values = np.concatenate([f @ queries.probes.T, expit(f)], 1)
        total, first = total + flat.sum(), first + flat @ values
        second = second + values.T @ (flat[:, None] * values)
        new += np.sum(weights * np.prod(expit((2 * queries.new_y - 1) * logit(at_new[block])), -1))
    mean = first / total
    covariance = second / total - np.outer(mean, mean)
    size = queries.probes.sum(1)
    means = np.array([_mean_quantiles(net, grid, unit, at @ probe) for probe in queries.probes / size[:, None]])
    quantiles = np.concatenate([means * size[:, None], expit(means[: len(queries.x)])]).T
    log_evidence = np.log(total * (a[1] - a[0]) * (c[1] - c[0]) / (2 * np.pi * net.scales[2] * net.scales[3]))
    return Reference(
        queries.names,
        mean,
        np.sqrt(np.diag(covariance)),
        quantiles[1],
        quantiles[7],
        correlation(covariance),
        float(np.log(new / total)),
        len(queries.new_y),
        float(log_evidence),
        None,
        quantiles,
    )


def _mean_quantiles(net: Units, grid: Grid, unit, probe) -> list[float]:
    """Of a·probe + c, a weighted mean of logits: its marginal on a uniform grid, inverted by the sinc interpolant."""
    a, f = _axis(net.scales[2], grid.a), _axis(np.hypot(net.scales[2], net.scales[3]), grid.logit)
    marginal = sum(
        _posterior(net, unit[block], probe[block], grid.rule.log_weights[block], a, f).sum((0, 1))
        for block in _blocks(grid, grid.a * grid.logit)
    )
    return [sinc_quantile(f, marginal, p) for p in LEVELS]
