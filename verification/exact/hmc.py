"""A plain Hamiltonian Monte Carlo in NumPy, many chains at once: the second sampler for references that no closed
form reaches."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def hmc(
    rng: np.random.Generator,
    log_density_and_grad: Callable,
    mode: np.ndarray,
    factor: np.ndarray,
    *,
    num_chains: int = 256,
    num_warmup: int = 100,
    num_draws: int = 400,
    step_size: float = 0.2,
    path_length: float = 1.6,
) -> tuple[np.ndarray, float]:
    """Fixed-metric HMC with jittered paths (Neal 2011 §3.2) in coordinates θ = mode + Lz, where the posterior is near
    N(0, I).

    Args:
        log_density_and_grad: [C, D] -> ([C], [C, D]).
        step_size, path_length: of a trajectory, in posterior sd; both are jittered by ±20% at each step to avoid
            periods.

    Returns:
        draws [num_draws, C, D] and the mean acceptance rate.
    """

    def evaluate(z):
        value, grad = log_density_and_grad(mode + z @ factor.T)
        return value, grad @ factor

    z = rng.standard_normal((num_chains, len(mode)))
    value, grad = evaluate(z)
    draws, accepted = np.empty((num_draws, num_chains, len(mode))), 0.0
    for index in range(num_warmup + num_draws):
        step = step_size * rng.uniform(0.8, 1.2)
        momentum = rng.standard_normal(z.shape)
        new_z, new_grad, p = z, grad, momentum + 0.5 * step * grad
        for leap in range(num_leaps := max(1, int(path_length * rng.uniform(0.8, 1.2) / step))):
            new_z = new_z + step * p
            new_value, new_grad = evaluate(new_z)
            p = p + (step if leap < num_leaps - 1 else 0.5 * step) * new_grad
        log_ratio = new_value - value - 0.5 * ((p**2).sum(1) - (momentum**2).sum(1))
        accept = np.log(rng.uniform(size=num_chains)) < log_ratio
        z, grad = np.where(accept[:, None], new_z, z), np.where(accept[:, None], new_grad, grad)
        value = np.where(accept, new_value, value)
        if index >= num_warmup:
            draws[index - num_warmup] = mode + z @ factor.T
            accepted += accept.mean() / num_draws
    return draws, accepted
