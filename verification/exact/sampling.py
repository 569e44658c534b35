"""Exact draws: rejection from a heavy-tailed proposal."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def rejection_sampler(
    log_density: Callable, mean: np.ndarray, covariance: np.ndarray, *, dof: float = 10.0, slack: float = 0.1
) -> Callable:
    """(rng, S) -> [S, D], drawn from a density by rejection from a multivariate t with its mean and covariance.

    Args:
        log_density: [M, D] -> [M], unnormalised.
        dof: of the proposal; few enough that its tails cover the density's.
        slack: nats added to the largest ratio found on 40,000 probes.

    Raises (when drawing):
        ArithmeticError: a draw's ratio is above the bound, so that the draws would not be exact.
    """
    factor, dim = np.linalg.cholesky(covariance), len(mean)
    log_t = lambda z: -0.5 * (dof + dim) * np.log1p((z**2).sum(1) / dof)
    probe = np.random.default_rng(0).standard_normal((40_000, dim)) * 2.0
    bound = np.max(log_density(mean + probe @ factor.T) - log_t(probe)) + slack

    def draw(rng, num_draws):
        kept, num = [], 0
        while num < num_draws:
            z = rng.standard_normal((4096, dim)) / np.sqrt(rng.chisquare(dof, 4096) / dof)[:, None]
            log_ratio = log_density(mean + z @ factor.T) - log_t(z) - bound
            if log_ratio.max() > 0:
                raise ArithmeticError(f"the rejection bound is exceeded by {log_ratio.max():.3f} nats; raise `slack`")
            kept.append(z[np.log(rng.uniform(size=4096)) < log_ratio])
            num += len(kept[-1])
        return mean + np.concatenate(kept)[:num_draws] @ factor.T

    return draw
