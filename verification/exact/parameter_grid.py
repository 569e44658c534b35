"""Posteriors known on a tensor grid whose axes are the unconstrained parameters themselves: every summary of an
increasing function of one of them is a sum over its marginal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.interpolate import make_interp_spline
from scipy.special import logsumexp

from verification.exact.quadrature import sinc_quantile
from verification.exact.reference import LEVELS, Reference, correlation

DEGREE = 9  # of the spline through log weights; a Gaussian's is a parabola, so this reproduces it to rounding
SMALLEST = 1e-13  # relative weight below which nodes are left out of a marginal


def refined(axis: np.ndarray, weights: np.ndarray, num=801) -> tuple[np.ndarray, np.ndarray]:
    """A smooth positive density at uniform nodes -> the same on `num` nodes, by a spline through its logarithm.

    The trapezoid sum of a Gaussian is exact at nodes 0.8 sd apart, its sinc interpolant is not: interpolating the
    logarithm, which is nearly a polynomial of low degree, makes quantiles as accurate as the sums.
    """
    kept = np.flatnonzero(weights > SMALLEST * weights.max())
    kept = slice(kept[0], kept[-1] + 1)
    x, log_weights = axis[kept], np.log(np.maximum(weights[kept], 1e-300))
    fine = np.linspace(x[0], x[-1], num)
    values = make_interp_spline(x, log_weights - log_weights.max(), k=DEGREE)(fine)
    return fine, np.exp(values)


def quantiles(axis: np.ndarray, weights: np.ndarray, levels: Sequence[float] = LEVELS) -> np.ndarray:
    """[len(levels)] of a density known at uniform nodes."""
    fine, density = refined(axis, weights)
    return np.array([sinc_quantile(fine, density, p) for p in levels])


def grid_reference(names, axes, log_density: np.ndarray, functions: Sequence[Callable], *, proper=True) -> Reference:
    """Summaries of one increasing function of each parameter.

    Args:
        axes: D uniform axes, the unconstrained parameters.
        log_density: [n₁, …, n_D], unnormalised log posterior density at the nodes.
        functions: D increasing functions of the parameters, vectorised.
        proper: False where the prior is improper: no evidence is reported.

    Returns:
        A Reference without certificate; two grids that agree make one.
    """
    dim, total = len(axes), logsumexp(log_density)
    weights = np.exp(log_density - total)
    marginal = lambda *kept: weights.sum(tuple(i for i in range(dim) if i not in kept))
    values = [g(axis) for g, axis in zip(functions, axes)]
    mean = np.array([marginal(i) @ values[i] for i in range(dim)])
    centred = [value - m for value, m in zip(values, mean)]
    covariance = np.diag([marginal(i) @ centred[i] ** 2 for i in range(dim)])
    for i in range(dim):
        for j in range(i + 1, dim):
            covariance[i, j] = covariance[j, i] = centred[i] @ marginal(i, j) @ centred[j]
    at = np.stack([functions[i](quantiles(axes[i], marginal(i))) for i in range(dim)], 1)
    evidence = float(total + sum(np.log(axis[1] - axis[0]) for axis in axes)) if proper else None
    sd = np.sqrt(np.diag(covariance))
    return Reference(
        tuple(names), mean, sd, at[1], at[7], correlation(covariance), None, 0, evidence, None, quantiles=at
    )


def edge_weight(log_density: np.ndarray) -> float:
    """The largest density on the faces of a grid, relative to the largest inside: what the box cuts off."""
    faces = [np.take(log_density, k, axis).max() for axis in range(log_density.ndim) for k in (0, -1)]
    return float(np.exp(max(faces) - log_density.max()))
