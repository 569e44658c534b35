"""Summaries of mixtures of millions of Gaussians that come in chunks: a posterior over nodes of hidden weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from scipy import optimize
from scipy.special import ndtr

from verification.exact.reference import LEVELS, Reference, correlation

CELL = 0.02  # width of a cell of components, in its sd and in log sd
NARROWEST = 1e-4  # of the sd of the mixture: narrower components are widened to it for quantiles


class Chunk(NamedTuple):
    """K components: log weights [K] (p(y, ·) and the rule's weight), means and sds [K, Q] of the queries, `within`:
    weights [K] -> Σ w Cov[Q, Q], log p(y_new | ·, y) [K]."""

    log_weights: np.ndarray
    means: np.ndarray
    sds: np.ndarray
    within: Callable
    log_new: np.ndarray


def mixture_reference(names, chunks: Iterable[Chunk], num_new: int) -> Reference:
    """Mean and covariance by total expectation, quantiles of the mixture, evidence and predictive as weighted sums."""
    parts, moments, shift = [], [], None
    for chunk in chunks:
        shift = chunk.log_weights.max() if shift is None else shift
        w = np.exp(chunk.log_weights - shift)
        second = chunk.within(w) + chunk.means.T @ (w[:, None] * chunk.means)
        moments.append((w.sum(), w @ chunk.means, second, w @ np.exp(chunk.log_new)))
        # single precision halves the memory, and its rounding averages out in a quantile
        parts.append((w, chunk.means.astype(np.float32), chunk.sds.astype(np.float32)))
    total, first, second, new = (sum(values) for values in zip(*moments))
    mean = first / total
    covariance = second / total - np.outer(mean, mean)
    weights, means, sds = (np.concatenate(values) for values in zip(*parts))
    quantiles = mixture_quantiles(weights / total, means, sds)
    sd, log_evidence = np.sqrt(np.diag(covariance)), float(shift + np.log(total))
    q05, q95, log_new = quantiles[1], quantiles[7], float(np.log(new / total))
    return Reference(
        tuple(names), mean, sd, q05, q95, correlation(covariance), log_new, num_new, log_evidence, None, quantiles
    )


def mixture_quantiles(weights, means, sds) -> np.ndarray:
    """[9, Q] quantiles at `LEVELS` of Q mixtures Σₖ wₖ N(meanₖ, sdₖ²), [K] and [K, Q]; the weights sum to 1."""
    found = []
    for q in range(means.shape[1]):
        m, s = means[:, q].astype(float), sds[:, q].astype(float)
        centre = weights @ m
        spread = np.sqrt(weights @ (s**2 + (m - centre) ** 2))
        cdf = _compressed_cdf(weights, m, np.maximum(s, NARROWEST * spread))
        inside = [centre - 12 * spread, centre + 12 * spread]
        found.append([optimize.brentq(lambda x: cdf(x) - p, *inside, xtol=1e-12 * spread) for p in LEVELS])  # noqa: B023
    return np.transpose(found)


def _compressed_cdf(weights, means, sds) -> Callable:
    """x -> Σₖ wₖ Φ((x − mₖ)/sₖ), components gathered in cells of the (mean, log sd) plane. A cell stands for its
    components by its Taylor series to second order in δ = (m − m₀)/s₀ and η = log(s/s₀), so that the error is of
    third order in half a cell, about 1e-7."""
    row = np.round(np.log(sds) / CELL)
    s0 = np.exp(CELL * row)
    column = np.round(means / (CELL * s0))
    width = column.max() - column.min() + 1
    _, first, cell = np.unique(
        (row - row.min()) * width + (column - column.min()), return_index=True, return_inverse=True
    )
    delta, eta = means / s0 - CELL * column, np.log(sds) - CELL * row
    total = lambda factor: np.bincount(cell, weights * factor)
    mass, s_d, s_e = total(1.0), total(delta), total(eta)
    s_dd, s_de, s_ee = total(delta**2) / 2, total(delta * eta), total(eta**2) / 2
    centre, scale = (CELL * column * s0)[first], s0[first]

    def cdf(x: float) -> float:
        z = (x - centre) / scale
        slope = s_d + z * (s_e + s_dd) - (1 - z**2) * (s_de + z * s_ee)
        return float(mass @ ndtr(z) - slope @ np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi))

    return cdf
