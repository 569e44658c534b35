"""Densities over the plane that are smooth but for kinks along straight lines: lasso, Huber and quantile regression.

Between lines a density is smooth, so Gauss–Legendre panels that end at every line, and at every crossing of two lines
in the outer direction, converge geometrically. The exponent between two lines is a quadratic, so the second method
integrates the inner direction in closed form, and the outer one by a fine uniform rule that knows of no crossing.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.optimize import brentq
from scipy.special import log_ndtr, logsumexp

from verification.exact.glm_grid import Pilot, Query, Region, box, region, turned
from verification.exact.quadrature import LogDensity
from verification.exact.reference import LEVELS, Certificate, Reference, correlation, difference_in_sd

LONGEST = 1.0  # panel, in posterior sd
INNER = 8  # Gauss–Legendre nodes a panel; the coarse answer has two fewer
POINTS = 200_000  # evaluated at once


class Lines(NamedTuple):
    """The kinks: normalᵀθ = offset. normals [K, 2], offsets [K]."""

    normals: np.ndarray
    offsets: np.ndarray


class _Frame(NamedTuple):
    """θ = centre + factor (t, s), t along the query; lines a t + b s = c; the box that holds the mass."""

    centre: np.ndarray
    factor: np.ndarray
    lines: np.ndarray  # [K, 3]: a, b, c
    low: np.ndarray
    high: np.ndarray


def _frame(where: Region, direction, lines: Lines) -> _Frame:
    factor = turned(where.covariance, direction)
    rotated = lines.normals @ factor
    rotated[np.abs(rotated) < 1e-12 * np.abs(rotated).max()] = 0.0
    stacked = np.column_stack([rotated, lines.offsets - lines.normals @ where.mean])
    return _Frame(where.mean, factor, stacked, *box(where, factor))


def _outer_edges(frame: _Frame) -> np.ndarray:
    """Ends of panels in t: crossings of lines, lines along s, and none longer than LONGEST."""
    a, b, c = frame.lines.T
    i, j = np.triu_indices(len(a), 1)
    det = a[i] * b[j] - a[j] * b[i]
    crossing = np.abs(det) > 1e-12
    t = ((c[i] * b[j] - c[j] * b[i])[crossing]) / det[crossing]
    straight = b == 0
    return _with_uniform(np.concatenate([t, c[straight] / a[straight]]), frame.low[0], frame.high[0])


def _with_uniform(points, low, high) -> np.ndarray:
    even = np.linspace(low, high, int(np.ceil((high - low) / LONGEST)) + 1)
    edges = np.sort(np.concatenate([points[(points > low) & (points < high)], even]))
    return edges[np.append(np.diff(edges) > 1e-10, True)]


def _inner_edges(frame: _Frame, t: np.ndarray) -> np.ndarray:
    """Ends of panels in s for each t, [T, P + 1]; some panels are empty."""
    a, b, c = frame.lines[frame.lines[:, 1] != 0].T
    even = np.linspace(frame.low[1], frame.high[1], int(np.ceil((frame.high[1] - frame.low[1]) / LONGEST)) + 1)
    kinks = np.clip((c - np.outer(t, a)) / b, frame.low[1], frame.high[1])
    return np.sort(np.concatenate([kinks, np.broadcast_to(even, (len(t), len(even)))], axis=1), axis=1)


def _blocks(frame, t):
    size = len(frame.lines) + int(frame.high[1] - frame.low[1]) + 2
    return np.array_split(np.arange(len(t)), max(1, len(t) * size * INNER // POINTS))


def _inner_moments(log_density: LogDensity, frame: _Frame, t: np.ndarray, order: int) -> np.ndarray:
    """log ∫ p ds and the first two moments of s given t, [T, 3]."""
    x, w = np.polynomial.legendre.leggauss(order)
    rows = []
    for block in _blocks(frame, t):
        edges = _inner_edges(frame, t[block])
        half = np.diff(edges, axis=1)[..., None] / 2
        s = ((edges[:, :-1] + edges[:, 1:])[..., None] / 2 + half * x).reshape(len(block), -1)
        weights = (half * w).reshape(len(block), -1)
        z = np.stack([np.broadcast_to(t[block, None], s.shape), s], -1).reshape(-1, 2)
        values = log_density(frame.centre + z @ frame.factor.T).reshape(s.shape)
        top = values.max(1, keepdims=True)
        mass = weights * np.exp(values - top)
        total = mass.sum(1)
        rows.append(
            np.column_stack([top[:, 0] + np.log(total), (mass * s).sum(1) / total, (mass * s**2).sum(1) / total])
        )
    return np.concatenate(rows)


class _Along(NamedTuple):
    """What one direction gives: log ∫ p, mean and sd of the query, its quantiles, mean and covariance of θ."""

    evidence: float
    mean: float
    sd: float
    quantiles: np.ndarray
    location: np.ndarray
    covariance: np.ndarray


def _along(log_density, where, direction, lines, order) -> _Along:
    frame, direction = _frame(where, direction, lines), np.asarray(direction, float)
    x, w = np.polynomial.legendre.leggauss(order)
    edges = _outer_edges(frame)
    half = np.diff(edges)[:, None] / 2
    t, weights = ((edges[:-1] + edges[1:])[:, None] / 2 + half * x).ravel(), (half * w).ravel()
    inner = _inner_moments(log_density, frame, t, order)
    values = inner[:, 0] + np.log(weights)
    total = logsumexp(values)
    mass = np.exp(values - total)
    z = np.array([mass @ t, mass @ inner[:, 1]])
    cross = mass @ (t * inner[:, 1])
    second = np.array([[mass @ t**2, cross], [cross, mass @ inner[:, 2]]]) - np.outer(z, z)
    location, covariance = frame.centre + frame.factor @ z, frame.factor @ second @ frame.factor.T
    below = np.append(0.0, np.cumsum(mass.reshape(-1, order).sum(1)))
    partial = lambda end, start: _mass_between(log_density, frame, start, end, order, total)
    at = [_crossing(edges, below, partial, p) for p in LEVELS]
    evidence = float(total + np.linalg.slogdet(frame.factor)[1])
    scale = direction @ frame.factor[:, 0]
    quantiles = direction @ frame.centre + scale * np.array(at)
    return _Along(
        evidence, direction @ location, np.sqrt(direction @ covariance @ direction), quantiles, location, covariance
    )


def _mass_between(log_density, frame, start, end, order, total) -> float:
    x, w = np.polynomial.legendre.leggauss(order)
    t = (start + end) / 2 + (end - start) / 2 * x
    return float((end - start) / 2 * w @ np.exp(_inner_moments(log_density, frame, t, order)[:, 0] - total))


def _crossing(edges, below, partial, p) -> float:
    """Where the distribution function reaches p: the panel by its running sum, the place in it by a root."""
    k = int(np.searchsorted(below, p)) - 1
    return brentq(lambda t: below[k] + partial(t, edges[k]) - p, edges[k], edges[k + 1], xtol=1e-13, rtol=1e-14)


def _closed_form(log_density, where, direction, lines, quantiles, nodes=2001):
    """log ∫ p, mean and sd of the query, and by how much its quantiles must move, with the inner integral in closed
    form and splines through uniform nodes of the outer."""
    frame = _frame(where, direction, lines)
    straight = [c / a for a, b, c in frame.lines if b == 0]  # where the marginal itself has a kink
    ends = [frame.low[0], *sorted(v for v in straight if frame.low[0] < v < frame.high[0]), frame.high[0]]
    pieces = [np.linspace(left, right, nodes) for left, right in pairwise(ends)]
    log_pieces = [_quadratic_panels(log_density, frame, t) for t in pieces]
    top = max(values.max() for values in log_pieces)
    densities = [np.exp(values - top) for values in log_pieces]
    moment = lambda g: sum(CubicSpline(t, g(t) * d).integrate(t[0], t[-1]) for t, d in zip(pieces, densities))
    total, scale = moment(np.ones_like), direction @ frame.factor[:, 0]
    centre = moment(np.asarray) / total
    sd = np.sqrt(moment(lambda t: (t - centre) ** 2) / total)
    splines = [CubicSpline(t, d / total) for t, d in zip(pieces, densities)]
    below = lambda v: sum(f.integrate(t[0], min(v, t[-1])) for t, f in zip(pieces, splines) if v > t[0])
    density = lambda v: next(float(f(v)) for t, f in zip(pieces, splines) if v <= t[-1])
    shift = [(p - below(v)) / density(v) for p, v in zip(LEVELS, (quantiles - direction @ frame.centre) / scale)]
    evidence = top + np.log(total) + np.linalg.slogdet(frame.factor)[1]
    return evidence, direction @ frame.centre + scale * centre, scale * sd, scale * np.array(shift)


def _quadratic_panels(log_density, frame, t):
    return np.concatenate([_quadratic_block(log_density, frame, t[block]) for block in _blocks(frame, t)])


def _quadratic_block(log_density, frame, t):
    """log ∫ p ds, p = exp(A + B u + C u²/2) on each panel, u from its middle: three values give A, B, C < 0."""
    edges = _inner_edges(frame, t)
    middle, half = (edges[:, 1:] + edges[:, :-1]) / 2, np.diff(edges, axis=1) / 2
    used = half > 1e-9
    reach = np.where(used, half, 1.0)
    at = lambda s: log_density(
        frame.centre + np.stack([np.broadcast_to(t[:, None], s.shape), s], -1).reshape(-1, 2) @ frame.factor.T
    ).reshape(s.shape)
    left, centre, right = at(middle - half), at(middle), at(middle + half)
    slope, bend = (right - left) / (2 * reach), np.minimum((right + left - 2 * centre) / reach**2, -1e-12)
    root = np.sqrt(-bend)
    # ∫ exp(A + Bu − (root u)²/2) du over ±half: a Gaussian around B/root² of sd 1/root
    low, high = -root * half - slope / root, root * half - slope / root
    flip = low + high > 0  # differences of Φ keep their digits in the left tail
    low, high = np.where(flip, -high, low), np.where(flip, -low, high)
    log_high, log_low = log_ndtr(high), log_ndtr(low)
    gap = np.where(used, log_high - log_low, 1.0)
    log_mass = log_high + np.log(-np.expm1(-np.maximum(gap, 1e-300)))
    pieces = centre + 0.5 * (slope / root) ** 2 - np.log(root) + 0.5 * np.log(2 * np.pi) + log_mass
    return logsumexp(np.where(used, pieces, -np.inf), axis=1)


def solve(queries: list[Query], log_density, lines: Lines, pilot: Pilot, *, log_new=None, num_new=0) -> Reference:
    """Exact summaries of linear queries.

    Args:
        queries: at least three directions, no two parallel, so that their sds say the covariance.
        log_density: log p(θ, data), [M, 2] -> [M], normalised; between lines a quadratic, curved downwards.
        lines: the kinks of `log_density` and of `log_new`.
        log_new: log p(y_new | θ), quadratic between lines too.
    """
    where = region(log_density, pilot)
    fine = _answer(queries, log_density, where, lines, log_new, num_new, INNER)
    coarse = _answer(queries, log_density, where, lines, log_new, num_new, INNER - 2)
    gap = max(difference_in_sd(fine, coarse), abs(fine.log_evidence - coarse.log_evidence))
    gaps = []
    for j, query in enumerate(queries):
        direction = np.array(query.direction, float)
        evidence, mean, sd, shift = _closed_form(log_density, where, direction, lines, fine.quantiles[:, j])
        in_sd = [mean - fine.mean[j], sd - fine.sd[j], *shift]
        gaps += [abs(evidence - fine.log_evidence), np.max(np.abs(in_sd)) / fine.sd[j]]
    if log_new is not None:
        both = lambda theta: log_density(theta) + log_new(theta)
        evidence = _closed_form(both, where, direction, lines, fine.quantiles[:, j])[0]
        gaps.append(abs(evidence - fine.log_evidence - fine.log_predictive))
    agreement = float(max(gaps))
    found = f"Gauss–Legendre panels between kinks, {INNER} nodes each against {INNER - 2}"
    second = "inner integral in closed form, 2001 uniform nodes in the outer"
    return fine._replace(certificate=Certificate(max(gap, agreement), found, second, agreement))


def _answer(queries, log_density, where, lines, log_new, num_new, order) -> Reference:
    directions = np.array([query.direction for query in queries], float)
    along = [_along(log_density, where, direction, lines, order) for direction in directions]
    predictive = None
    if log_new is not None:
        both = lambda theta: log_density(theta) + log_new(theta)
        predictive = _along(both, where, directions[0], lines, order).evidence - along[0].evidence
    corr = correlation(directions @ along[0].covariance @ directions.T)
    quantiles = np.column_stack([a.quantiles for a in along])
    mean, sd = (np.array([getattr(a, field) for a in along]) for field in ("mean", "sd"))
    names, at, evidence = tuple(query.name for query in queries), (quantiles[1], quantiles[7]), along[0].evidence
    return Reference(names, mean, sd, *at, corr, predictive, num_new, evidence, None, quantiles)


def residual_lines(design, y, distances=(0.0,)) -> Lines:
    """The lines yₙ − xₙᵀθ = d for each distance d of each row: where a robust loss has its kinks."""
    design = np.asarray(design, float)
    return Lines(np.tile(design, (len(distances), 1)), np.concatenate([y - d for d in distances]))
