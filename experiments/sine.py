"""A sine that experiments ask beyond its data, and what the posterior of an infinitely wide network says of it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from probjax import Data
from verification.exact.infinite_width import InfiniteNetwork, process_posterior

NUM_ROWS, NOISE = 100, 0.1
EDGE, FAR = 3.0, 5.0  # the rows end at EDGE, the questions at FAR
ROWS, GRID = np.linspace(-EDGE, EDGE, NUM_ROWS), np.linspace(-FAR, FAR, 201)
INSIDE = np.abs(GRID) <= EDGE
WEIGHT_SD, BIAS_SDS = 2**0.5, (0.3, 1.0, 3.0, 6.0, 12.0)  # of the infinite network: He's scale, biases by the evidence


def data_sets(key: jax.Array, num_sets: int) -> Data:
    """x [R, N, 1], y [R, N]."""
    noise = NOISE * jax.random.normal(key, (num_sets, NUM_ROWS))
    x = jnp.broadcast_to(jnp.asarray(ROWS, noise.dtype)[:, None], (num_sets, NUM_ROWS, 1))
    return Data(x, jnp.sin(x[..., 0]) + noise)


def infinite(data: Data) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sd at GRID, [R, G], of the exact posterior of f with the kernel of two infinitely wide ReLU layers, the
    noise known, and the scale of biases of the largest evidence."""
    means, sds = [], []
    for y in np.asarray(data.y, float):
        net = InfiniteNetwork(ROWS[:, None], y, NOISE**2, WEIGHT_SD, 1.0, 2, "relu")
        tried = [process_posterior(net._replace(bias_sd=scale), GRID[:, None]) for scale in BIAS_SDS]
        mean, covariance, _ = max(tried, key=lambda one: one[2])
        means.append(mean)
        sds.append(np.sqrt(np.diag(covariance)))
    return np.stack(means), np.stack(sds)
