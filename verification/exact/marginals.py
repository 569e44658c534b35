"""One-dimensional marginals to rounding: Gauss–Legendre panels with their own quantiles, and answers put together from
them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize
from scipy.special import logsumexp

from verification.exact.quadrature import sinc_quantile
from verification.exact.reference import LEVELS, Certificate, Reference, correlation, difference_in_sd

ORDER = 24  # Gauss–Legendre nodes a panel
NODES, WEIGHTS = np.polynomial.legendre.leggauss(ORDER)
FOUND = "closed form; rounding bounded by the second method"


class Marginal(NamedTuple):
    """mean, sd and the quantiles [9] at `LEVELS` of one query."""

    mean: float
    sd: float
    quantiles: np.ndarray


class Function(NamedTuple):
    """A monotone function of one parameter, whose quantiles are the parameter's, carried over."""

    name: str
    of: Callable
    increasing: bool = True


def frozen(distribution) -> Marginal:
    """Of a frozen distribution of SciPy."""
    return Marginal(distribution.mean(), distribution.std(), distribution.ppf(LEVELS))


class Panels:
    """A density on [edges₀, edges_P], exact to rounding where it is smooth between the edges.

    points, weights: nodes and probabilities, flat; log_mass: log ∫ exp(log_density).
    """

    def __init__(self, log_density: Callable, edges: np.ndarray):
        """log_density: [M] -> [M], unnormalised; kinks belong on the edges."""
        self.log_density, self.edges = log_density, np.asarray(edges, float)
        half = np.diff(self.edges)[:, None] / 2
        points = self.edges[:-1, None] + half * (1 + NODES)
        log_weights = np.asarray(log_density(points.ravel())).reshape(points.shape) + np.log(half * WEIGHTS)
        self.log_mass = float(logsumexp(log_weights))
        weights = np.exp(log_weights - self.log_mass)
        self.points, self.weights = points.ravel(), weights.ravel()
        self.cumulative = np.append(0.0, np.cumsum(weights.sum(1)))

    def cdf(self, x: float) -> float:
        """P(X ≤ x): whole panels, and the part of one by a rule of its own."""
        panel = int(np.clip(np.searchsorted(self.edges, x) - 1, 0, len(self.edges) - 2))
        half = (x - self.edges[panel]) / 2
        inner = np.exp(self.log_density(self.edges[panel] + half * (1 + NODES)) - self.log_mass)
        return float(self.cumulative[panel] + half * WEIGHTS @ inner)

    def quantile(self, p: float) -> float:
        panel = int(np.clip(np.searchsorted(self.cumulative, p) - 1, 0, len(self.edges) - 2))
        low, high = self.edges[max(panel - 1, 0)], self.edges[min(panel + 2, len(self.edges) - 1)]
        return optimize.brentq(lambda x: self.cdf(x) - p, low, high, xtol=1e-15, rtol=1e-14)

    def marginal(self) -> Marginal:
        mean = self.weights @ self.points
        sd = np.sqrt(self.weights @ (self.points - mean) ** 2)
        return Marginal(mean, sd, np.array([self.quantile(p) for p in LEVELS]))


def panels(log_density: Callable, low: float, high: float, num: int = 120) -> Panels:
    """`num` panels of equal width."""
    return Panels(log_density, np.linspace(low, high, num + 1))


def assembled(names: Sequence[str], marginals: Sequence[Marginal], corr, **more) -> Reference:
    """The answer made of one marginal a query and their correlations; `more` are further fields of `Reference`."""
    mean, sd, quantiles = (np.array(part, float) for part in zip(*marginals))
    fields = {"log_predictive": None, "num_new": 0, "log_evidence": None, "certificate": None} | more
    q05, q95 = quantiles[:, 1], quantiles[:, 7]
    return Reference(tuple(names), mean, sd, q05, q95, corr, quantiles=quantiles.T, **fields)


def certified(reference: Reference, second: Reference, second_name: str, found: str = FOUND) -> Reference:
    """`reference` with its agreement with a second answer, log evidences included, as certificate."""
    gap = difference_in_sd(reference, second)
    if reference.log_evidence is not None and second.log_evidence is not None:
        gap = max(gap, abs(reference.log_evidence - second.log_evidence))
    return reference._replace(certificate=Certificate(gap, found, second_name, gap))


def grid_moments(log_density: Callable, axes: Sequence[np.ndarray], functions: Callable):
    """Trapezoid over the tensor product of uniform axes that reach to where the density is nothing.

    Args:
        log_density: points [M, D] -> [M]. functions: points [M, D] -> [M, Q].

    Returns:
        mean [Q], covariance [Q, Q], log of the integral.
    """
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))
    log_weights = log_density(points)
    total = logsumexp(log_weights)
    weights = np.exp(log_weights - total)
    points, weights = points[weights > 0], weights[weights > 0]
    values = functions(points)
    mean = weights @ values
    centred = values - mean
    cell = np.sum([np.log(axis[1] - axis[0]) for axis in axes])
    return mean, centred.T @ (weights[:, None] * centred), float(total + cell)


def grid_reference(names, log_density, axes, functions, marginals) -> Reference:
    """The second answer most often taken: means, sds, correlations and evidence by `grid_moments`, quantiles by
    `marginals`."""
    mean, covariance, log_evidence = grid_moments(log_density, axes, functions)
    reference = assembled(names, marginals, correlation(covariance), log_evidence=log_evidence)
    return reference._replace(mean=mean, sd=np.sqrt(np.diag(covariance)))


def one_parameter(log_density, low, high, functions: Sequence[Function], *, log_new=None, num_new=0) -> Reference:
    """Monotone functions of one unconstrained parameter u, by 120 Gauss–Legendre panels; the second method is the
    trapezoid on 2,001 nodes with the CDF of its sinc interpolant.

    Args:
        log_density: log p(u, data), [M] -> [M], normalised when the evidence is wanted.
        low, high: where it has decayed to nothing.
        log_new: log p(y_new | u), [M] -> [M].
    """
    rule = panels(log_density, low, high)
    fine = _functions_of(rule.points, rule.weights, rule.quantile, functions, log_new, num_new, rule.log_mass)
    axis = np.linspace(low, high, 2001)
    log_weights = log_density(axis)
    total = logsumexp(log_weights)
    weights, evidence = np.exp(log_weights - total), float(total + np.log(axis[1] - axis[0]))
    quantile = lambda p: sinc_quantile(axis, weights, p)
    second = _functions_of(axis, weights, quantile, functions, log_new, num_new, evidence)
    found = f"120 Gauss–Legendre panels of {ORDER} nodes; bounded by the second method"
    return certified(fine, second, "trapezoid, 2001 nodes, sinc quantiles", found)


def _functions_of(points, weights, quantile, functions, log_new, num_new, log_evidence) -> Reference:
    values = np.stack([f.of(points) for f in functions], 1)
    mean = weights @ values
    covariance = (values - mean).T @ (weights[:, None] * (values - mean))
    at = np.array([quantile(p) for p in LEVELS])
    quantiles = [f.of(at if f.increasing else at[::-1]) for f in functions]  # LEVELS are symmetric about ½
    predictive = None if log_new is None else float(logsumexp(log_new(points), b=weights))
    marginals = [Marginal(*three) for three in zip(mean, np.sqrt(np.diag(covariance)), quantiles)]
    more = {"log_predictive": predictive, "num_new": num_new, "log_evidence": log_evidence}
    return assembled([f.name for f in functions], marginals, correlation(covariance), **more)
