"""The posterior density of a network of one hidden tanh layer and its gradient, for many chains at once, in NumPy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp


class Net(NamedTuple):
    """f(x) = tanh(xᵀW + b)ᵀA + c with independent normal priors; y ~ N(f, noise²) or y ~ softmax(f).

    x: [N, D]; y: [N], labels 0..K−1 where there is no noise scale. scales: prior sd of W, b, A, c.
    num_outputs: K; 1 with a noise scale. noise_scale: known; None for a classifier.
    """

    x: np.ndarray
    y: np.ndarray
    scales: tuple[float, float, float, float]
    num_units: int
    num_outputs: int
    noise_scale: float | None

    @property
    def prior_sd(self) -> np.ndarray:
        """[P], in the order of the parameters: W [D, H], b [H], A [H, K], c [K], row by row."""
        return np.repeat(self.scales, [int(np.prod(shape)) for shape in self.shapes])

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of W, b, A, c."""
        dim, units, outputs = self.x.shape[1], self.num_units, self.num_outputs
        return (dim, units), (units,), (units, outputs), (outputs,)


def unpacked(net: Net, params: np.ndarray) -> list[np.ndarray]:
    """[C, P] -> W [C, D, H], b [C, H], A [C, H, K], c [C, K]."""
    sizes = [int(np.prod(shape)) for shape in net.shapes]
    parts = np.split(params, np.cumsum(sizes)[:-1], axis=1)
    return [part.reshape(len(params), *shape) for part, shape in zip(parts, net.shapes)]


def outputs(net: Net, params: np.ndarray, x: np.ndarray) -> np.ndarray:
    """f at the rows of x: [C, N, K]."""
    w, b, a, c = unpacked(net, params)
    return np.tanh(x @ w + b[:, None]) @ a + c[:, None]


def row_log_likelihood(net: Net, f: np.ndarray, y: np.ndarray) -> np.ndarray:
    """log p(y | f), [C, N] in nats, of f [C, N, K]."""
    if net.noise_scale is not None:
        return -0.5 * ((y - f[..., 0]) / net.noise_scale) ** 2 - np.log(net.noise_scale) - 0.5 * np.log(2 * np.pi)
    return f[:, np.arange(len(y)), y] - logsumexp(f, axis=2)


def log_density_and_grad(net: Net, params: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log p(y, params) in nats, [C], and its gradient, [C, P]; by hand, backwards through the layer."""
    w, b, a, c = unpacked(net, params)
    unit = np.tanh(net.x @ w + b[:, None])
    f = unit @ a + c[:, None]
    if net.noise_scale is not None:
        slope = (net.y[:, None] - f) / net.noise_scale**2
        fit = row_log_likelihood(net, f, net.y).sum(1)
    else:
        shifted = f - f.max(2, keepdims=True)
        weights = np.exp(shifted)
        total = weights.sum(2, keepdims=True)
        slope = np.eye(net.num_outputs)[net.y] - weights / total
        rows = np.arange(len(net.y))
        fit = (shifted[:, rows, net.y] - np.log(total[..., 0])).sum(1)
    back = (slope @ a.transpose(0, 2, 1)) * (1 - unit**2)
    parts = (net.x.T @ back, back.sum(1), unit.transpose(0, 2, 1) @ slope, slope.sum(1))
    sd = net.prior_sd
    log_prior = -0.5 * ((params / sd) ** 2).sum(1) - np.log(sd).sum() - 0.5 * len(sd) * np.log(2 * np.pi)
    return fit + log_prior, np.concatenate([p.reshape(len(params), -1) for p in parts], 1) - params / sd**2
