"""Networks of infinite width are Gaussian processes (Neal 1996 §2.1; Lee et al. 2018): their kernels in closed form and
the exact regression with them.

A layer's preactivations are zᵢ(x) = bᵢ + Σⱼ wᵢⱼ φ(zⱼ(x)), with biases N(0, bias_sd²) and weights N(0, weight_sd²/n)
for n units below. As the width grows the covariance of z is K ← bias_sd² + weight_sd² E[φ(u)φ(v)], (u, v) ~ N(0, K),
from K = bias_sd² + weight_sd² x·x′/D at the first layer.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import multivariate_normal

from verification.exact.reference import Certificate, Reference, difference_in_sd, gaussian_reference

EXPECTATIONS = ("relu", "erf")


class InfiniteNetwork(NamedTuple):
    """Rows x [N, D], y [N] under noise of variance `noise_variance`, in the units of y²; the network's scales, number
    of hidden layers and activation."""

    x: np.ndarray
    y: np.ndarray
    noise_variance: float
    weight_sd: float
    bias_sd: float
    depth: int
    activation: str


def nngp_kernel(x, x2, weight_sd: float, bias_sd: float, depth: int, activation: str) -> np.ndarray:
    """Cov[f(x), f(x2)] of an infinitely wide network with `depth` hidden layers: [N, D], [M, D] -> [N, M].

    ReLU: E[φ(u)φ(v)] = √(k₁₁k₂₂)(sin θ + (π − θ) cos θ)/2π (Cho & Saul 2009, arc-cosine kernel of order 1, halved);
    erf: 2/π · asin(2k₁₂/√((1 + 2k₁₁)(1 + 2k₂₂))) (Williams 1998).

    Raises:
        ValueError: another activation, no hidden layer, or inputs of unlike dimension.
    """
    x, x2 = np.asarray(x, float), np.asarray(x2, float)
    if activation not in EXPECTATIONS:
        raise ValueError(f"activation is {activation!r}, but closed forms are known for {', '.join(EXPECTATIONS)}")
    if depth < 1:
        raise ValueError(f"depth is {depth}, but at least one hidden layer is needed")
    if x.ndim != 2 or x2.ndim != 2 or x.shape[1] != x2.shape[1]:
        raise ValueError(f"x and x2 must be [N, D] and [M, D] but are {x.shape} and {x2.shape}; add an axis")
    layer = lambda expectation: bias_sd**2 + weight_sd**2 * expectation
    across = layer(x @ x2.T / x.shape[1])
    left, right = (layer((v**2).mean(1)) for v in (x, x2))
    for _ in range(depth):
        across = layer(expected_product(across, left[:, None], right, activation))
        left, right = (layer(expected_product(k, k, k, activation)) for k in (left, right))
    return across


def expected_product(k12, k11, k22, activation: str) -> np.ndarray:
    """E[φ(u)φ(v)] for (u, v) ~ N(0, [[k₁₁, k₁₂], [k₁₂, k₂₂]])."""
    if activation == "erf":
        return 2 / np.pi * np.arcsin(2 * k12 / np.sqrt((1 + 2 * k11) * (1 + 2 * k22)))
    norm = np.sqrt(k11 * k22)
    cosine = np.clip(k12 / norm, -1, 1)
    angle = np.arccos(cosine)
    return norm * (np.sqrt(1 - cosine**2) + (np.pi - angle) * cosine) / (2 * np.pi)


def process_posterior(net: InfiniteNetwork, points) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean and covariance of f at `points` [P, D] given the rows, and log p(y) (Rasmussen & Williams 2006 §2.2)."""
    kernel = lambda a, b: nngp_kernel(a, b, net.weight_sd, net.bias_sd, net.depth, net.activation)
    marginal = kernel(net.x, net.x) + net.noise_variance * np.eye(len(net.y))
    cross = kernel(points, net.x)
    gain = np.linalg.solve(marginal, cross.T).T
    evidence = multivariate_normal.logpdf(net.y, np.zeros(len(net.y)), marginal)
    return gain @ net.y, kernel(points, points) - gain @ cross.T, float(evidence)


def infinite_network(net: InfiniteNetwork, names, points, probes, new_y) -> Reference:
    """Exact posterior of `probes` [Q, P] @ f at `points` [P, D], whose last len(new_y) are the held-out rows. Second
    method: the rows enter one by one, which needs no linear solve."""
    exact = _reference(net, names, probes, new_y, *process_posterior(net, points))
    second = _reference(net, names, probes, new_y, *_row_by_row(net, points))
    gap = max(difference_in_sd(exact, second), abs(exact.log_evidence - second.log_evidence))
    found = "closed form; rounding bounded by the second method"
    return exact._replace(certificate=Certificate(gap, found, "conditioning on one row after another", gap))


def _reference(net, names, probes, new_y, mean, covariance, evidence) -> Reference:
    new = slice(len(mean) - len(new_y), None)
    predictive = (new_y, mean[new], covariance[new, new] + net.noise_variance * np.eye(len(new_y)))
    return gaussian_reference(
        names, probes @ mean, probes @ covariance @ probes.T, new=predictive, log_evidence=evidence
    )


def _row_by_row(net: InfiniteNetwork, points):
    every = np.concatenate([net.x, points])
    covariance = nngp_kernel(every, every, net.weight_sd, net.bias_sd, net.depth, net.activation)
    mean, evidence = np.zeros(len(every)), 0.0
    for n, y in enumerate(net.y):
        variance, error = covariance[n, n] + net.noise_variance, y - mean[n]
        evidence -= 0.5 * (np.log(2 * np.pi * variance) + error**2 / variance)
        gain = covariance[:, n] / variance
        mean, covariance = mean + gain * error, covariance - np.outer(gain, covariance[n])
    return mean[len(net.x) :], covariance[len(net.x) :, len(net.x) :], evidence
