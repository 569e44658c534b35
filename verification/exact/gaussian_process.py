"""Gaussian-process regression: function values in closed form, hyperparameters by quadrature."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from verification.exact.reference import Certificate, Reference, difference_in_sd, gaussian_reference


def rbf(x, length_scale, amplitude):
    """k(x, x') = amplitude² exp(−(x − x')²/2 length_scale²); the scales may have leading axes [..., 1, 1]."""
    return amplitude**2 * np.exp(-0.5 * ((x[:, None] - x) / length_scale) ** 2)


def posterior(kernel, observed, y, noise_scale):
    """Mean and covariance of f ~ N(0, kernel) given y = f[observed] + N(0, noise_scale²) (Rasmussen & Williams 2006,
    eqs. 2.23–2.24)."""
    cross = kernel[observed]
    marginal = kernel[np.ix_(observed, observed)] + noise_scale**2 * np.eye(len(y))
    gain = np.linalg.solve(marginal, cross).T
    covariance = kernel - gain @ cross
    return gain @ y, (covariance + covariance.T) / 2


def posterior_one_by_one(kernel, observed, y, noise_scale):
    """As `posterior`, with one observation after another: no system is solved. Also log p(y)."""
    mean, covariance, log_evidence = np.zeros(len(kernel)), kernel.copy(), 0.0
    for index, value in zip(observed, y):
        total, gap = covariance[index, index] + noise_scale**2, value - mean[index]
        log_evidence -= 0.5 * (np.log(2 * np.pi * total) + gap**2 / total)
        mean = mean + covariance[index] / total * gap
        covariance = covariance - np.outer(covariance[index], covariance[index]) / total
    return mean, covariance, log_evidence


def function_values(names, kernel, observed, y, noise_scale, matrix, new) -> Reference:
    """Exact posterior of `matrix @ f`, certified by conditioning on one observation at a time.

    Args:
        new: (rows, y_new): positions of the held-out observations in f, and their values.
    """
    rows, y_new = new

    def reference(mean, covariance, log_evidence):
        noisy = covariance[np.ix_(rows, rows)] + noise_scale**2 * np.eye(len(rows))
        return gaussian_reference(
            names,
            matrix @ mean,
            matrix @ covariance @ matrix.T,
            new=(y_new, mean[rows], noisy),
            log_evidence=log_evidence,
        )

    mean, covariance = posterior(kernel, observed, y, noise_scale)
    marginal = kernel[np.ix_(observed, observed)] + noise_scale**2 * np.eye(len(y))
    log_evidence = -0.5 * (y @ np.linalg.solve(marginal, y) + np.linalg.slogdet(2 * np.pi * marginal)[1])
    exact = reference(mean, covariance, float(log_evidence))
    second = reference(*posterior_one_by_one(kernel, observed, y, noise_scale))
    gap = max(difference_in_sd(exact, second), abs(exact.log_evidence - second.log_evidence))
    found = "closed form; rounding bounded by the second method"
    return exact._replace(certificate=Certificate(gap, found, "one observation at a time", gap))


class Hyperparameters(NamedTuple):
    """y ~ N(0, a²R(ℓ) + s²I), R the unit RBF kernel at x; v = (log ℓ, log a, log s) ~ N(0, prior_scale²). There are no
    latents.

    noise_power: s enters as s^noise_power; 1 is the program that adds the sd where the variance is due.
    """

    x: np.ndarray
    y: np.ndarray
    prior_scale: float = 1.0
    noise_power: float = 2.0
    box: tuple = ((-8.0,) * 3, (8.0,) * 3)

    def log_weight(self, v):
        few = len(np.unique(v[:, 0])) < len(v) / 8
        return self._log_prior(v) + (self.by_eigenvalues(v) if few else self.by_cholesky(v))

    def _log_prior(self, v):
        return -0.5 * ((v / self.prior_scale) ** 2 + np.log(2 * np.pi * self.prior_scale**2)).sum(1)

    def by_eigenvalues(self, v):
        """log p(y | v) from R = UΛUᵀ, once for each length scale, of which a grid has few."""
        log_length, index = np.unique(v[:, 0], return_inverse=True)
        eigenvalues, vectors = np.linalg.eigh(rbf(self.x, np.exp(log_length)[:, None, None], 1.0))
        projected = (self.y @ vectors)[index] ** 2
        noise = np.exp(self.noise_power * v[:, 2:])
        total = np.exp(2 * v[:, 1:2]) * np.maximum(eigenvalues, 0)[index] + noise
        return -0.5 * (projected / total + np.log(2 * np.pi * total)).sum(1)

    def by_cholesky(self, v):
        """log p(y | v) from a Cholesky factor for each v."""
        scales, num = np.exp(v)[..., None, None], len(self.y)
        noise = scales[:, 2] ** self.noise_power
        bordered = np.empty((len(v), num + 1, num + 1))
        bordered[:, :num, :num] = rbf(self.x, scales[:, 0], scales[:, 1]) + noise * np.eye(num)
        bordered[:, num, :num] = bordered[:, :num, num] = self.y
        bordered[:, num, num] = 1 + self.y @ self.y / noise[:, 0, 0]  # above yᵀΣ⁻¹y; it is not used
        factor = np.linalg.cholesky(bordered)[:, :, :num]  # its last row is L⁻¹y: no second solve
        log_det = np.log(np.diagonal(factor[:, :num], axis1=1, axis2=2)).sum(1)
        return -0.5 * (factor[:, num] ** 2).sum(1) - log_det - 0.5 * num * np.log(2 * np.pi)

    def conditional(self, v, matrix):
        return np.zeros((len(v), 0)), np.zeros((len(v), 0, 0))

    def draw(self, rng, v):
        return np.zeros((len(v), 0))


class DenseHyperparameters(NamedTuple):
    """`Hyperparameters` by a Cholesky factor of every covariance, the second method."""

    of: Hyperparameters

    def log_weight(self, v):
        return self.of._log_prior(v) + self.of.by_cholesky(v)

    def conditional(self, v, matrix):
        return self.of.conditional(v, matrix)
