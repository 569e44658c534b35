"""Regressions with two or three parameters and a smooth posterior: tensor rules over the region that holds the mass.

A pilot grid finds the region and its moments. Means, sds, correlations and the predictive come from one trapezoid grid
in whitened coordinates; quantiles from one grid a query, turned so that its first axis runs along the query. The second
method is a composite Gauss–Legendre rule whose panels end at the quantiles claimed: their masses must be the levels.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from verification.exact.quadrature import LogDensity, mode_and_factor, sinc_quantile
from verification.exact.reference import LEVELS, Certificate, Reference, correlation, difference_in_sd

EDGE = 1e-15  # of the largest density: what is below it lies outside the region
FINER = 1.15  # the coarse step over the fine one
BLOCK = 8192  # points evaluated at once: they stay in the processor's cache


class Query(NamedTuple):
    """transform(directionᵀφ), increasing; φ are the coordinates of `view`."""

    name: str
    direction: tuple[float, ...]
    transform: Callable = np.asarray
    view: int = 0


class View(NamedTuple):
    """Coordinates φ in which a curved function of θ is linear. Maps of [M, D]; log_jacobian: log |dθ/dφ|, [M]."""

    to_theta: Callable
    of_theta: Callable
    log_jacobian: Callable


IDENTITY = View(np.asarray, np.asarray, lambda phi: 0.0)


class Pilot(NamedTuple):
    """Where to look first: θ = centre + factor z, |z_j| ≤ half_width, in steps of 1."""

    centre: np.ndarray
    factor: np.ndarray
    half_width: float = 10.0


class Region(NamedTuple):
    """Mean and covariance, the pilot's points that hold mass [K, D], and the edges of its cells as columns."""

    mean: np.ndarray
    covariance: np.ndarray
    points: np.ndarray
    cell: np.ndarray


def region(log_density: LogDensity, pilot: Pilot) -> Region:
    """The pilot widened until nothing lies at its edges.

    Raises:
        ArithmeticError: mass remains at the edges of the widest pilot.
    """
    dim, half_width = len(pilot.centre), pilot.half_width
    for _ in range(5):
        axis = np.arange(-half_width, half_width + 1)
        shape = (len(axis),) * dim
        points = pilot.centre + _mesh([axis] * dim) @ pilot.factor.T
        values = evaluate(log_density, points)
        weights = np.exp(values - values.max())
        heavy = (weights > EDGE).reshape(shape)
        inside = heavy[(slice(1, -1),) * dim].sum()
        if inside == heavy.sum():
            weights = weights / weights.sum()
            mean = weights @ points
            covariance = (points - mean).T @ (weights[:, None] * (points - mean))
            return Region(mean, covariance, points[heavy.ravel()], pilot.factor)
        half_width = np.ceil(1.5 * half_width)
    raise ArithmeticError(
        f"the posterior has mass at {half_width:.0f} cells from the pilot's centre; give a wider `pilot`"
    )


def evaluate(log_density: LogDensity, points: np.ndarray) -> np.ndarray:
    """log_density over points [M, D], block by block."""
    return np.concatenate([log_density(points[i : i + BLOCK]) for i in range(0, len(points), BLOCK)])


def _mesh(axes):
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))


def box(where: Region, factor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest z, mean + factor z holding the region and half a cell more."""
    inverse = np.linalg.inv(factor)
    z, margin = (where.points - where.mean) @ inverse.T, 0.5 * np.abs(inverse @ where.cell).sum(1)
    return z.min(0) - margin, z.max(0) + margin


def turned(covariance: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """A factor F of the covariance, FFᵀ = Σ, whose first column alone moves `direction`ᵀθ, upwards."""
    factor = np.linalg.cholesky(covariance)
    along = factor.T @ direction
    basis = np.linalg.qr(np.column_stack([along, np.eye(len(along))]))[0][:, : len(along)]
    return factor @ (basis * np.sign(along @ basis[:, 0]))


class Rule(NamedTuple):
    """Nodes and weights along each axis."""

    nodes: list[np.ndarray]
    weights: list[np.ndarray]


def trapezoid(low, high, step) -> Rule:
    """Uniform nodes a step apart; the ends hold nothing."""
    nodes = [np.linspace(a, b, int(np.ceil((b - a) / step)) + 1) for a, b in zip(low, high)]
    return Rule(nodes, [np.full(len(x), x[1] - x[0]) for x in nodes])


def panels(edges, orders) -> tuple[np.ndarray, np.ndarray]:
    """Gauss–Legendre nodes and weights on each panel between neighbouring edges."""
    parts = [
        ((a + b) / 2 + (b - a) / 2 * x, (b - a) / 2 * w)
        for (a, b), (x, w) in zip(pairwise(edges), map(np.polynomial.legendre.leggauss, orders))
    ]
    return np.concatenate([x for x, _ in parts]), np.concatenate([w for _, w in parts])


def legendre(low, high, step) -> Rule:
    """One panel an axis, with as many nodes as a Gaussian of that many sds needs."""
    rules = [panels((a, b), [int(np.ceil(0.85 * (b - a) / step))]) for a, b in zip(low, high)]
    return Rule(*map(list, zip(*rules)))


def integrate(log_density, centre, factor, rule: Rule):
    """points [M, D], weights [M] that sum to 1, log ∫ exp(log_density) dθ."""
    points = centre + _mesh(rule.nodes) @ factor.T
    weights = rule.weights[0]
    for more in rule.weights[1:]:
        weights = np.multiply.outer(weights, more).ravel()
    values = evaluate(log_density, points) + np.log(weights)
    total = logsumexp(values)
    return points, np.exp(values - total), float(total + np.linalg.slogdet(factor)[1])


class _Setting(NamedTuple):
    """What every rule integrates. densities, regions: one a view."""

    queries: list[Query]
    views: tuple[View, ...]
    densities: list[LogDensity]
    regions: list[Region]
    log_new: LogDensity | None


def solve(
    queries: list[Query], log_density, start, *, log_new=None, num_new=0, step=0.36, views=(IDENTITY,), pilot=None
) -> Reference:
    """Exact summaries of increasing functions of linear ones.

    Args:
        log_density: log p(θ, data), [M, D] -> [M]; normalised where the prior is proper.
        start: where the search for a mode begins.
        log_new: log p(y_new | θ), [M, D] -> [M].
        step: of the trapezoid, in posterior sd.
        views: coordinates by number, the first the identity.
        pilot: where to look first; default: around the mode, by its curvature.
    """
    densities = [lambda phi, view=view: log_density(view.to_theta(phi)) + view.log_jacobian(phi) for view in views]
    pilot = Pilot(*mode_and_factor(log_density, start)) if pilot is None else pilot
    regions = [region(log_density, pilot)]
    for view, density in zip(views[1:], densities[1:]):
        mode = mode_and_factor(density, view.of_theta(pilot.centre[None])[0])
        regions.append(region(density, Pilot(*mode)))
    setting = _Setting(queries, tuple(views), densities, regions, log_new)
    fine, linear = _answer(setting, num_new, step)
    mean, sd, corr, predictive, evidence = _moments(setting, trapezoid, FINER * step)
    coarse = fine._replace(mean=mean, sd=sd, corr=corr, log_predictive=predictive)
    gap = max(difference_in_sd(fine, coarse), abs(fine.log_evidence - evidence))
    agreement = _legendre_gap(setting, fine, linear, step)
    found = f"trapezoid, step {step:g} sd against {FINER * step:.3g}; quantiles by the second method"
    second = "composite Gauss–Legendre, panels ending at the quantiles"
    return fine._replace(certificate=Certificate(max(gap, agreement), found, second, agreement))


def _answer(setting: _Setting, num_new: int, step: float):
    """The trapezoid's answer, and the quantiles of the linear queries behind it."""
    mean, sd, corr, predictive, evidence = _moments(setting, trapezoid, step)
    linear = {}
    for query in setting.queries:
        if (key := (query.view, tuple(query.direction))) not in linear:
            linear[key] = _linear_quantiles(setting, *key, step)
    columns = [query.transform(linear[query.view, tuple(query.direction)]) for query in setting.queries]
    names, quantiles = tuple(query.name for query in setting.queries), np.column_stack(columns)
    at = quantiles[1], quantiles[7]
    return Reference(names, mean, sd, *at, corr, predictive, num_new, evidence, None, quantiles), linear


def _moments(setting: _Setting, rule, step: float):
    """mean, sd, corr, log predictive and log evidence from one grid."""
    where = setting.regions[0]
    factor = np.linalg.cholesky(where.covariance)
    points, weights, evidence = integrate(setting.densities[0], where.mean, factor, rule(*box(where, factor), step))
    heavy = weights > 1e-24 * weights.max()
    points, weights = points[heavy], weights[heavy]
    coordinates = [view.of_theta(points) for view in setting.views]
    values = [q.transform(coordinates[q.view] @ np.array(q.direction, float)) for q in setting.queries]
    values = np.column_stack(values)
    mean = weights @ values
    covariance = (values - mean).T @ (weights[:, None] * (values - mean))
    predictive = None
    if setting.log_new is not None:
        predictive = float(logsumexp(np.log(weights) + evaluate(setting.log_new, points)))
    return mean, np.sqrt(np.diag(covariance)), correlation(covariance), predictive, evidence


def _linear_quantiles(setting: _Setting, view: int, direction, step: float) -> np.ndarray:
    """Quantiles of directionᵀφ at LEVELS."""
    where, direction = setting.regions[view], np.array(direction, float)
    factor = turned(where.covariance, direction)
    rule = trapezoid(*box(where, factor), step)
    _, weights, _ = integrate(setting.densities[view], where.mean, factor, rule)
    marginal = weights.reshape(len(rule.nodes[0]), -1).sum(1)
    z = np.array([sinc_quantile(rule.nodes[0], marginal, p) for p in LEVELS])
    return direction @ where.mean + direction @ factor[:, 0] * z


def _legendre_gap(setting: _Setting, fine: Reference, linear: dict, step: float) -> float:
    """The largest difference of `fine` from Gauss–Legendre rules, in posterior sd (evidence, predictive: nats)."""
    mean, sd, corr, predictive, evidence = _moments(setting, legendre, step)
    other = fine._replace(mean=mean, sd=sd, corr=corr, log_predictive=predictive)
    gaps = [difference_in_sd(fine, other), abs(evidence - fine.log_evidence)]
    for (view, direction), quantiles in linear.items():
        shift = _quantile_errors(setting, view, np.array(direction, float), quantiles, step)
        for j, query in enumerate(setting.queries):
            if (query.view, tuple(query.direction)) == (view, direction):
                moved = query.transform(quantiles + shift) - fine.quantiles[:, j]
                gaps.append(np.max(np.abs(moved)) / fine.sd[j])
    return float(max(gaps))


def _quantile_errors(setting: _Setting, view: int, direction, quantiles, step: float) -> np.ndarray:
    """By how much each claimed quantile must move for the masses between them to be the levels."""
    where = setting.regions[view]
    factor = turned(where.covariance, direction)
    scale = direction @ factor[:, 0]
    z = (quantiles - direction @ where.mean) / scale
    low, high = box(where, factor)
    edges = np.concatenate([low[:1], z, high[:1]])
    outer = panels(edges, [8 + int(np.ceil(0.6 / step * length)) for length in np.diff(edges)])
    inner = legendre(low[1:], high[1:], step)
    rule = Rule([outer[0], *inner.nodes], [outer[1], *inner.weights])
    _, weights, _ = integrate(setting.densities[view], where.mean, factor, rule)
    mass = weights.reshape(len(outer[0]), -1).sum(1)
    below = np.array([mass[outer[0] < edge].sum() for edge in z])
    density = np.interp(z, outer[0], mass / outer[1])
    return (np.array(LEVELS) - below) / density * scale
