"""Pareto-smoothed importance sampling's k̂: whether draws of q can stand for p once weighted."""

from __future__ import annotations

import numpy as np

from verification.checks.check import Estimate, standard_error

USABLE = 0.7  # k̂ up to which weighted draws can be used, at a few thousand of them (Vehtari et al. 2024)
FLAT = 1e-9  # nats: ratios that differ by less are equal but for rounding
FEWEST = 25  # draws, for a tail of five
NO_TAIL = -1.0  # the number that stands for k̂ = −∞ in a mean


def mean_pareto_k(s, reference, unit, claimed=0.0):
    """k̂ of the method's own `log_q`, its mean over replications: above 0.7 its draws cannot be weighted into the
    posterior's. One number for all params, so that it sees what no query shows."""
    if s.pareto_k is None:
        return "the method says no log_q"
    return Estimate(("draws",), np.array([s.pareto_k.mean() - claimed]), np.array([standard_error(s.pareto_k)]))


def pareto_k(log_ratios: np.ndarray) -> float:
    """k̂ of a generalised Pareto tail fitted to the largest importance ratios (Vehtari et al. 2024, "Pareto smoothed
    importance sampling"): the tail is the largest min(S/5, 3√S) ratios. Below 0.7 the weighted draws can be used.

    Args:
        log_ratios: log p(params, data) − log q(params) of S draws of q, nats; a constant does not matter.

    Raises:
        ValueError: fewer than 25 ratios, or one that is NaN or +∞.

    >>> bool(abs(pareto_k(-0.4 * np.log(np.random.default_rng(0).uniform(size=100_000))) - 0.4) < 0.1)
    True
    """
    log_ratios = np.sort(np.asarray(log_ratios, float).ravel())
    num = len(log_ratios)
    if num < FEWEST:
        raise ValueError(f"log_ratios has {num} draws; the tail of five or more that k̂ is fitted to takes {FEWEST}")
    if np.isnan(log_ratios).any() or log_ratios[-1] == np.inf:
        raise ValueError("log_ratios holds NaN or +∞; log q must be finite wherever q has drawn")
    size = int(min(num / 5, 3 * np.sqrt(num)))
    ratios = np.exp(log_ratios - log_ratios[-1])
    excess = ratios[-size:] - ratios[-size - 1]
    excess = excess[excess > 0]
    # equal ratios have no tail, and what rounding makes of them has none
    flat = np.ptp(log_ratios[-size - 1 :]) < FLAT
    return -np.inf if flat or len(excess) < 5 else generalised_pareto_shape(excess)


def generalised_pareto_shape(excess: np.ndarray, *, weakly_informed: bool = True) -> float:
    """k of p(x) = (1 + kx/σ)^(−1/k − 1)/σ by the posterior mean of θ = −k/σ on a grid under a data-dependent prior
    (Zhang & Stephens 2009).

    Args:
        excess: positive.
        weakly_informed: pull k̂ towards ½ as ten more values would (Vehtari et al. 2024, appendix G).
    """
    x = np.sort(np.asarray(excess, float))
    if not (len(x) >= 5 and x[0] > 0):
        raise ValueError(
            f"excess holds {len(x)} values from {x.min(initial=np.inf):.3g}; 5 or more, all > 0, are needed"
        )
    num, grid = len(x), 30 + int(np.sqrt(len(x)))
    quartile = x[int(num / 4 + 0.5) - 1]
    theta = 1 / x[-1] + (1 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))) / (3 * quartile)
    k = np.array([np.log1p(-t * x).mean() for t in theta])  # the profile of k given θ, as −k in their sign
    log_likelihood = num * (np.log(-theta / k) - k - 1)
    weights = np.exp(log_likelihood - log_likelihood.max())
    best = theta @ weights / weights.sum()
    shape = np.log1p(-best * x).mean()
    return float((shape * num + 0.5 * 10) / (num + 10) if weakly_informed else shape)


def oracle_pareto_k(rng, p, q, *, num_draws: int, runs: int = 100) -> np.ndarray:
    """k̂ of exact draws of q = N(mean, covariance) for the posterior p = N(mean, covariance), `runs` times: at a finite
    S k̂ is far from the index of the ratios' tail, so a method's k̂ is compared with these.

    Args:
        rng: numpy Generator.
        p, q: (mean [D], covariance [D, D]).
        num_draws: S of the method.

    Returns:
        [runs].
    """
    mean, covariance = q
    root = np.linalg.cholesky(covariance)
    ratios = lambda w: log_normal(w, *p) - log_normal(w, *q)
    draws = lambda: mean + rng.standard_normal((num_draws, len(mean))) @ root.T
    return np.array([pareto_k(ratios(draws())) for _ in range(runs)])


def log_normal(w: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """log N(w | mean, covariance) for each row of w."""
    root = np.linalg.cholesky(covariance)
    z = np.linalg.solve(root, (w - mean).T)
    return -0.5 * (z**2).sum(0) - np.log(np.diag(root)).sum() - 0.5 * len(root) * np.log(2 * np.pi)
