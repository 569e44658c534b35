"""A real neural network solved exactly: one hidden tanh unit, f(x) = a·tanh(wx + b) + c with Gaussian noise and priors.

Given the hidden weights (w, b) the output weights (a, c) are a Bayesian linear regression in closed form, so the
posterior is a mixture of Gaussians over the (w, b) plane, integrated by a 2-D rule over the whole support of the prior.
(w, b, a) and (−w, −b, −a) are the same function with the same density, so the half-plane w ≥ 0 holds half of
everything.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from verification.exact.mixture import mixture_quantiles
from verification.exact.reference import Certificate, Reference, correlation, difference_in_sd

BOX = 7.0  # half-width in prior sd: the prior beyond it weighs 3e-12
LARGEST_RATIO = 2.0  # of the density within half a cell, for the rejection step


class OneUnit(NamedTuple):
    """The data and scales of the network. scales: prior sd of (w, b, a, c)."""

    x: np.ndarray
    y: np.ndarray
    noise_scale: float
    scales: tuple[float, float, float, float]


def conditional(net: OneUnit, hidden: np.ndarray):
    """For hidden weights [M, 2]: log p(w, b, data), and mean [M, 2] and covariance [M, 2, 2] of (a, c)."""
    w, b = hidden[:, :1], hidden[:, 1:]
    unit, s2 = np.tanh(w * net.x + b), net.noise_scale**2
    p11 = (unit**2).sum(1) / s2 + 1 / net.scales[2] ** 2
    p12 = unit.sum(1) / s2
    p22 = len(net.x) / s2 + 1 / net.scales[3] ** 2
    h1, h2, det = unit @ net.y / s2, net.y.sum() / s2, p11 * p22 - p12**2
    mean = np.stack([(p22 * h1 - p12 * h2) / det, (p11 * h2 - p12 * h1) / det], 1)
    covariance = np.stack([np.stack([p22 / det, -p12 / det], 1), np.stack([-p12 / det, p11 / det], 1)], 1)
    quadratic = mean[:, 0] * h1 + mean[:, 1] * h2 - net.y @ net.y / s2
    log_noise = -0.5 * len(net.x) * np.log(2 * np.pi * s2)
    log_output = -0.5 * np.log(det) - np.log(net.scales[2] * net.scales[3])
    z = hidden / np.array(net.scales[:2])
    log_prior = -0.5 * (z**2).sum(1) - np.log(2 * np.pi * net.scales[0] * net.scales[1])
    return log_noise + 0.5 * quadratic + log_output + log_prior, mean, covariance


def _rule(kind: str, nodes: int):
    """Nodes and weights on [−BOX, BOX] for b and on [0, BOX] for w, in prior sd."""
    if kind == "trapezoid":
        points = np.linspace(-BOX, BOX, nodes)  # odd, so that 0 is a node
        weights = np.full(nodes, points[1] - points[0])
        half = weights[nodes // 2 :].copy()
        half[0] /= 2
        return points, weights, points[nodes // 2 :], half
    points, weights = np.polynomial.legendre.leggauss(nodes)
    return BOX * points, BOX * weights, BOX / 2 * (1 + points), BOX / 2 * weights


def _grid(net: OneUnit, kind: str, nodes: int):
    b, b_weights, w, w_weights = _rule(kind, nodes)
    hidden = np.stack(np.meshgrid(w, b, indexing="ij"), -1).reshape(-1, 2) * np.array(net.scales[:2])
    log_cell = np.log(np.outer(w_weights, b_weights)).ravel() + np.log(2 * net.scales[0] * net.scales[1])
    return hidden, log_cell


def _solve(net: OneUnit, names, probes, query_x, new_x, new_y, kind, nodes) -> Reference:
    hidden, log_cell = _grid(net, kind, nodes)
    log_weights, mean, covariance = conditional(net, hidden)
    log_weights = log_weights + log_cell
    evidence = logsumexp(log_weights)
    augmented = net._replace(x=np.append(net.x, new_x), y=np.append(net.y, new_y))
    predictive = logsumexp(conditional(augmented, hidden)[0] + log_cell) - evidence
    keep = log_weights > log_weights.max() - 60  # what is left out weighs less than 1e-20
    weights = np.exp(log_weights[keep] - evidence)
    features = np.stack(
        [np.tanh(hidden[keep, :1] * query_x + hidden[keep, 1:]), np.ones((keep.sum(), len(query_x)))], -1
    )
    features = probes @ features
    f_mean = np.einsum("mqk,mk->mq", features, mean[keep])
    spread = features @ covariance[keep]  # Cov[f_q, (a, c) | w, b], [M, Q, 2]
    sds = np.sqrt((spread * features).sum(-1))
    centre = weights @ f_mean
    centred = f_mean - centre
    within = np.tensordot(weights[:, None, None] * spread, features, ((0, 2), (0, 2)))
    total = within + centred.T @ (weights[:, None] * centred)
    quantiles = mixture_quantiles(weights / weights.sum(), f_mean, sds)
    return Reference(
        tuple(names),
        centre,
        np.sqrt(np.diag(total)),
        quantiles[1],
        quantiles[7],
        correlation(total),
        float(predictive),
        len(new_y),
        float(evidence),
        None,
        quantiles,
    )


def one_unit_network(net: OneUnit, query_x, new_x, new_y, *, contrasts=(), nodes: int = 601) -> Reference:
    """Exact posterior of f at `query_x` [Q], of f(b) − f(a) for each pair (a, b) of `contrasts`, given as positions in
    query_x, and the joint log predictive of (new_x, new_y). Second rule: Gauss–Legendre on as many nodes."""
    query_x = np.asarray(query_x, float)
    names, probes = [f"f({x:g})" for x in query_x], np.eye(len(query_x))
    names += [f"f({query_x[b]:g}) - f({query_x[a]:g})" for a, b in contrasts]
    probes = np.vstack([probes, *(probes[b] - probes[a] for a, b in contrasts)])
    args = (names, probes, query_x, np.asarray(new_x, float), np.asarray(new_y, float))
    fine = _solve(net, *args, "trapezoid", nodes)
    gap = difference_in_sd(fine, _solve(net, *args, "trapezoid", (3 * nodes) // 4 | 1))
    second = difference_in_sd(fine, _solve(net, *args, "legendre", nodes))
    found = f"trapezoid {nodes}² against {(3 * nodes) // 4 | 1}² nodes"
    return fine._replace(certificate=Certificate(max(gap, second), found, f"Gauss–Legendre {nodes}²", second))


def one_unit_sampler(net: OneUnit, nodes: int = 1201):
    """(rng, S) -> exact draws of (w, b, a, c), [S, 4]: a grid cell by its weight, a point in it corrected by
    rejection, (a, c) from their Gaussian given it. The grid is computed at the first call."""
    step = 2 * BOX / (nodes - 1) * np.array(net.scales[:2])
    grid: list[np.ndarray] = []

    def draw(rng: np.random.Generator, num_draws: int) -> np.ndarray:
        if not grid:
            hidden, log_cell = _grid(net, "trapezoid", nodes)
            log_weights = conditional(net, hidden)[0]
            cumulative = np.cumsum(np.exp(log_weights + log_cell - logsumexp(log_weights + log_cell)))
            grid.extend((hidden, log_weights, cumulative / cumulative[-1]))
        hidden, log_weights, cumulative = grid
        accepted, num = [], 0
        while num < num_draws:
            cells = np.searchsorted(cumulative, rng.uniform(size=4096))
            points = hidden[cells] + step * rng.uniform(-0.5, 0.5, (len(cells), 2))
            log_ratio = conditional(net, points)[0] - log_weights[cells]
            if log_ratio.max() > np.log(LARGEST_RATIO):
                raise ArithmeticError(
                    f"the grid of {nodes} nodes is too coarse to draw from: density ratio {np.exp(log_ratio.max()):.2f}"
                )
            accepted.append(points[np.log(rng.uniform(size=len(cells))) < log_ratio - np.log(LARGEST_RATIO)])
            num += len(accepted[-1])
        either_sign = rng.choice([-1.0, 1.0], (num_draws, 1))  # of the symmetry
        points = np.concatenate(accepted)[:num_draws] * either_sign
        _, mean, covariance = conditional(net, points)
        noise = rng.standard_normal((num_draws, 2))
        return np.column_stack([points, mean + np.einsum("mkl,ml->mk", np.linalg.cholesky(covariance), noise)])

    return draw
