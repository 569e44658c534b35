"""Normal hierarchies with their effects integrated in closed form: one-way pooling, eight schools, growth curves."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


def log_half_normal(u, scale=1.0):
    """log-density of u = log τ when τ ~ half-N(0, scale²), the Jacobian τ included."""
    return 0.5 * np.log(2 / np.pi) - np.log(scale) - 0.5 * (np.exp(u) / scale) ** 2 + u


def log_half_cauchy(u, scale=1.0):
    """log-density of u = log τ when τ ~ half-Cauchy(scale), the Jacobian τ included."""
    return np.log(2 / np.pi) - np.log(scale) - np.log1p((np.exp(u) / scale) ** 2) + u


class Pooled(NamedTuple):
    """ȳ_j ~ N(θ_j, variance_j), θ_j ~ N(μ, τ²), μ ~ N(0, mu_scale²), for M values of the scales (Gelman et al., BDA3
    §5.4). Latents: θ₁ … θ_J, μ.

    means: [J]; variance: [M, J]; tau: [M].
    """

    means: np.ndarray
    variance: np.ndarray
    tau: np.ndarray
    mu_scale: float

    @property
    def total(self):
        return self.variance + self.tau[:, None] ** 2

    def mu(self):
        """Mean and variance of μ, [M] each."""
        precision = (1 / self.total).sum(1) + 1 / self.mu_scale**2
        return (self.means / self.total).sum(1) / precision, 1 / precision

    def log_marginal(self):
        """log p(ȳ | τ), [M]."""
        mean, variance = self.mu()
        quadratic = (self.means**2 / self.total).sum(1) - mean**2 / variance
        log_det = np.log(2 * np.pi * self.total).sum(1) + np.log(self.mu_scale**2 / variance)
        return -0.5 * (quadratic + log_det)

    def conditional(self, matrix):
        """Mean and covariance of `matrix @ (θ, μ)`: given μ the effects are independent."""
        kept = self.tau[:, None] ** 2 / self.total  # how much of ȳ_j stays in θ_j
        mu, mu_variance = self.mu()
        of_effects, of_mu = matrix[:, :-1], matrix[:, -1]
        mean = (kept * self.means + (1 - kept) * mu[:, None]) @ of_effects.T + np.outer(mu, of_mu)
        slope = (1 - kept) @ of_effects.T + of_mu
        own = (of_effects * (kept * self.variance)[:, None, :]) @ of_effects.T
        return mean, own + mu_variance[:, None, None] * slope[:, :, None] * slope[:, None, :]

    def draw(self, rng):
        kept = self.tau[:, None] ** 2 / self.total
        mu, mu_variance = self.mu()
        mu = mu + np.sqrt(mu_variance) * rng.standard_normal(len(mu))
        noise = rng.standard_normal(kept.shape)
        effects = kept * self.means + (1 - kept) * mu[:, None] + np.sqrt(kept * self.variance) * noise
        return np.column_stack([effects, mu])


class EightSchools(NamedTuple):
    """y_j ~ N(θ_j, σ_j²), θ_j ~ N(μ, τ²), μ ~ N(0, 5²), τ ~ half-Cauchy(5); v = log τ (Rubin 1981; Gelman 2006).

    power: τ enters as τ^power; 2 is the program that passes a variance where a standard deviation is due.
    """

    y: np.ndarray
    sigma: np.ndarray
    mu_scale: float = 5.0
    tau_scale: float = 5.0
    power: float = 1.0
    box: tuple = ((-60.0,), (14.0,))

    def _pooled(self, v):
        variance = np.broadcast_to(self.sigma**2, (len(v), len(self.y)))
        return Pooled(self.y, variance, np.exp(self.power * v[:, 0]), self.mu_scale)

    def log_weight(self, v):
        return self._pooled(v).log_marginal() + log_half_cauchy(v[:, 0], self.tau_scale)

    def conditional(self, v, matrix):
        return self._pooled(v).conditional(matrix)

    def draw(self, rng, v):
        return self._pooled(v).draw(rng)


class OneWay(NamedTuple):
    """y_n ~ N(θ_{g(n)}, σ²), θ_j ~ N(μ, τ²), μ ~ N(0, mu_scale²), τ and σ ~ half-N(0, scale²); v = (log τ, log σ).

    counts [J], means [J], within: rows and mean of each group, and the sum of squares about the group means.
    """

    counts: np.ndarray
    means: np.ndarray
    within: float
    mu_scale: float
    scale: float
    box: tuple = ((-12.0, -6.0), (4.0, 4.0))

    @classmethod
    def of_rows(cls, y, group, num_groups, mu_scale, scale):
        counts = np.bincount(group, minlength=num_groups).astype(float)
        means = np.bincount(group, y, minlength=num_groups) / counts
        return cls(counts, means, float(((y - means[group]) ** 2).sum()), mu_scale, scale)

    def _pooled(self, v):
        return Pooled(self.means, np.exp(2 * v[:, 1:]) / self.counts, np.exp(v[:, 0]), self.mu_scale)

    def log_weight(self, v):
        left = self.counts.sum() - len(self.counts)  # degrees of freedom within groups
        within = -0.5 * left * np.log(2 * np.pi) - left * v[:, 1] - 0.5 * self.within * np.exp(-2 * v[:, 1])
        within = within - 0.5 * np.log(self.counts).sum()
        prior = log_half_normal(v, self.scale).sum(1)
        return self._pooled(v).log_marginal() + within + prior

    def conditional(self, v, matrix):
        return self._pooled(v).conditional(matrix)

    def draw(self, rng, v):
        return self._pooled(v).draw(rng)


class GrowthCurves(NamedTuple):
    """y_it ~ N(a_i + b_i t, σ²) at T times common to all and summing to 0, a_i ~ N(μ_a, τ_a²), b_i ~ N(μ_b, τ_b²),
    both means ~ N(0, mu_scale²), all scales ~ half-N(0, scale²); v = (log τ_a, log τ_b, log σ) (Gelfand et al. 1990).

    Centred times make a subject's mean and least-squares slope independent, so that intercepts and slopes are two
    one-way poolings that share σ. Latents: a₁ … a_I, μ_a, b₁ … b_I, μ_b.

    means, slopes: [I]; residual: sum of squares about the subjects' own lines; time_squares: what the slopes' precision
    is made of, Σt².
    """

    means: np.ndarray
    slopes: np.ndarray
    residual: float
    num_times: int
    time_squares: float
    mu_scale: float
    scale: float
    box: tuple = ((-8.0, -9.0, -6.0), (3.0, 3.0, 3.0))

    @classmethod
    def of_rows(cls, y, times, mu_scale, scale):
        """y: [I, T]."""
        means, squares = y.mean(1), float(times @ times)
        slopes = y @ times / squares
        residual = float(((y - means[:, None] - np.outer(slopes, times)) ** 2).sum())
        return cls(means, slopes, residual, len(times), squares, mu_scale, scale)

    def _pooled(self, v):
        shape = (len(v), len(self.means))
        noise = np.exp(2 * v[:, 2:])
        intercepts = Pooled(self.means, np.broadcast_to(noise / self.num_times, shape), np.exp(v[:, 0]), self.mu_scale)
        slopes = Pooled(self.slopes, np.broadcast_to(noise / self.time_squares, shape), np.exp(v[:, 1]), self.mu_scale)
        return intercepts, slopes

    def log_weight(self, v):
        intercepts, slopes = self._pooled(v)
        num = len(self.means)
        left = num * (self.num_times - 2)
        rest = -0.5 * left * np.log(2 * np.pi) - left * v[:, 2] - 0.5 * self.residual * np.exp(-2 * v[:, 2])
        rest = rest - 0.5 * num * np.log(self.num_times * self.time_squares)
        return intercepts.log_marginal() + slopes.log_marginal() + rest + log_half_normal(v, self.scale).sum(1)

    def conditional(self, v, matrix):
        half = len(self.means) + 1
        (mean_a, cov_a), (mean_b, cov_b) = (
            part.conditional(block) for part, block in zip(self._pooled(v), (matrix[:, :half], matrix[:, half:]))
        )
        return mean_a + mean_b, cov_a + cov_b

    def draw(self, rng, v):
        return np.hstack([part.draw(rng) for part in self._pooled(v)])

    def log_new(self, v, matrix, y_new):
        """log N(y_new | `matrix @ latents`, σ²), the latents integrated out given v."""
        mean, covariance = self.conditional(v, matrix)
        covariance = covariance + np.exp(2 * v[:, 2])[:, None, None] * np.eye(len(y_new))
        gap = y_new - mean
        quadratic = (gap * np.linalg.solve(covariance, gap[..., None])[..., 0]).sum(1)
        return -0.5 * (quadratic + np.linalg.slogdet(2 * np.pi * covariance)[1])


class Dense(NamedTuple):
    """The same posteriors by dense algebra: θ ~ N(0, prior(v)), y = design θ + N(0, noise(v)); for checks.

    prior: [M, D] -> [M, L, L]; noise: [M, D] -> [M, N] variances; log_prior: [M, D] -> [M].
    """

    design: np.ndarray
    y: np.ndarray
    prior: Callable
    noise: Callable
    log_prior: Callable
    box: tuple = ()

    def _parts(self, v):
        prior = self.prior(v)
        cross = self.design @ prior  # Cov[y, θ]
        marginal = cross @ self.design.T + self.noise(v)[:, :, None] * np.eye(len(self.y))
        return prior, cross, marginal

    def log_weight(self, v):
        marginal = self._parts(v)[2]
        y = np.broadcast_to(self.y[:, None], (len(v), len(self.y), 1))
        quadratic = (self.y * np.linalg.solve(marginal, y)[..., 0]).sum(1)
        return -0.5 * (quadratic + np.linalg.slogdet(2 * np.pi * marginal)[1]) + self.log_prior(v)

    def conditional(self, v, matrix):
        prior, cross, marginal = self._parts(v)
        gain = np.linalg.solve(marginal, cross).swapaxes(1, 2)
        covariance = prior - gain @ cross
        return (gain @ self.y) @ matrix.T, matrix @ covariance @ matrix.T
