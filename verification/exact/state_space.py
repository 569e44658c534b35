"""Time series with few unknowns beyond a Gaussian part: local level, AR(p) by regression, ARMA(1,1)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from verification.exact.hierarchy import log_half_normal


class LocalLevel(NamedTuple):
    """y_t ~ N(x_t, r²), x_t ~ N(x_{t−1}, q²), x_1 ~ N(0, start_scale²), q and r ~ half-N(0, scale²); v = (log q, log r)
    (Durbin & Koopman 2012, ch. 2). The levels x_t beyond the last observation are forecasts. Latents: x_1 … x_T.

    y: [N], N ≤ num_times.
    """

    y: np.ndarray
    num_times: int
    start_scale: float
    scale: float
    box: tuple = ((-45.0, -45.0), (4.0, 4.0))

    def filter(self, v):
        """Kalman filter: log p(y | v) [M], and mean and variance of x_t given y_1 … y_t, [T, M] each."""
        level_noise, noise = np.exp(2 * v).T
        mean, variance = np.zeros(len(v)), np.full(len(v), self.start_scale**2)
        means, variances, log_likelihood = [], [], np.zeros(len(v))
        for t in range(self.num_times):
            if t:
                variance = variance + level_noise
            if t < len(self.y):
                total, gap = variance + noise, self.y[t] - mean
                log_likelihood -= 0.5 * (np.log(2 * np.pi * total) + gap**2 / total)
                mean, variance = mean + variance / total * gap, variance * noise / total
            means.append(mean)
            variances.append(variance)
        return log_likelihood, np.array(means), np.array(variances)

    def log_weight(self, v):
        return self.filter(v)[0] + log_half_normal(v, self.scale).sum(1)

    def smoother(self, v):
        """Mean [M, T] and covariance [M, T, T] of x given all of y: the Rauch–Tung–Striebel recursion, whose gains also
        carry Cov[x_t, x_s] = G_t Cov[x_{t+1}, x_s] for s > t."""
        _, means, variances = self.filter(v)
        gains = variances / (variances + np.exp(2 * v[:, 0]))
        smooth = means.copy()
        covariance = np.empty((len(v), self.num_times, self.num_times))
        covariance[:, -1, -1] = variances[-1]
        for t in range(self.num_times - 2, -1, -1):
            smooth[t] = means[t] + gains[t] * (smooth[t + 1] - means[t])
            ahead = covariance[:, t + 1, t + 1]
            covariance[:, t, t] = variances[t] * (1 - gains[t]) + gains[t] ** 2 * ahead
            covariance[:, t, t + 1 :] = gains[t][:, None] * covariance[:, t + 1, t + 1 :]
            covariance[:, t + 1 :, t] = covariance[:, t, t + 1 :]
        return smooth.T, covariance

    def conditional(self, v, matrix):
        mean, covariance = self.smoother(v)
        return mean @ matrix.T, matrix @ covariance @ matrix.T

    def draw(self, rng, v):
        """Forward filtering, backward sampling (Frühwirth-Schnatter 1994)."""
        _, means, variances = self.filter(v)
        gains = variances / (variances + np.exp(2 * v[:, 0]))
        x = np.empty_like(means)
        x[-1] = means[-1] + np.sqrt(variances[-1]) * rng.standard_normal(len(v))
        for t in range(self.num_times - 2, -1, -1):
            noise = np.sqrt(variances[t] * (1 - gains[t])) * rng.standard_normal(len(v))
            x[t] = means[t] + gains[t] * (x[t + 1] - means[t]) + noise
        return x.T


class Regression(NamedTuple):
    """y ~ N(Xβ, σ²), β ~ N(0, prior_scale²), σ ~ half-N(0, scale²); v = log σ. An AR(p) given its first p values is
    one, with lagged values for inputs. Latents: β."""

    design: np.ndarray
    y: np.ndarray
    prior_scale: float
    scale: float
    box: tuple = ((-8.0,), (4.0,))

    def _posterior(self, v):
        """Mean [M, D] and covariance [M, D, D] of β."""
        variance, size = np.exp(2 * v[:, :1, None]), self.design.shape[1]
        precision = self.design.T @ self.design / variance + np.eye(size) / self.prior_scale**2
        covariance = np.linalg.inv(precision)
        return (covariance @ (self.design.T @ self.y)) / variance[..., 0], covariance

    def log_weight(self, v):
        mean, covariance = self._posterior(v)
        variance, num = np.exp(2 * v[:, 0]), len(self.y)
        residual = ((self.y - mean @ self.design.T) ** 2).sum(1) / variance + (mean**2).sum(1) / self.prior_scale**2
        log_det = np.linalg.slogdet(covariance / self.prior_scale**2)[1]
        log_likelihood = -0.5 * num * np.log(2 * np.pi * variance) - 0.5 * residual + 0.5 * log_det
        return log_likelihood + log_half_normal(v[:, 0], self.scale)

    def conditional(self, v, matrix):
        mean, covariance = self._posterior(v)
        return mean @ matrix.T, matrix @ covariance @ matrix.T

    def draw(self, rng, v):
        mean, covariance = self._posterior(v)
        noise = rng.standard_normal(mean.shape)
        return mean + np.einsum("mkl,ml->mk", np.linalg.cholesky(covariance), noise)


def lagged(series: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Design [T − p, 1 + p] (a one, then the last p values, latest first) and response of an AR(p) given its first p
    values."""
    rows = np.arange(order, len(series))
    return np.column_stack([np.ones(len(rows)), *(series[rows - lag] for lag in range(1, order + 1))]), series[rows]


class Arma(NamedTuple):
    """ARMA(1,1) by its conditional likelihood: e_1 = y_1 − (μ + φμ), e_t = y_t − (μ + φy_{t−1} + ϑe_{t−1}), all
    N(0, σ²); μ ~ N(0, mu_scale²), φ and ϑ ~ N(0, coef_scale²), σ ~ half-Cauchy(sigma_scale); v = (φ, ϑ, log σ).

    Given v the errors are linear in μ, which integrates in closed form. Latents: μ.

    free_start: e_1 = 0 in place of the above, the start of many textbooks' recursions.
    """

    y: np.ndarray
    mu_scale: float
    coef_scale: float
    sigma_scale: float
    free_start: bool = False
    box: tuple = ((-3.0, -3.0, -6.0), (3.0, 3.0, 4.0))

    def _start(self, v):
        """a_1 and b_1 of e_1 = a_1 − b_1 μ."""
        if self.free_start:
            return np.zeros(len(v)), np.zeros(len(v))
        return np.full(len(v), self.y[0]), 1 + v[:, 0]

    def _mu(self, v):
        """Mean and variance of μ, and Σe_t² at its mean, [M] each."""
        phi, theta = v[:, 0], v[:, 1]
        a, b = self._start(v)
        products, slopes = a * b, b**2
        for last, now in zip(self.y[:-1], self.y[1:]):
            a, b = now - phi * last - theta * a, 1 - theta * b
            products, slopes = products + a * b, slopes + b**2
        variance = np.exp(2 * v[:, 2])
        precision = slopes / variance + 1 / self.mu_scale**2
        mean = products / variance / precision
        # a second pass, not Σa² − …: for |ϑ| > 1 that difference of huge numbers could be anything
        error = self._start(v)[0] - self._start(v)[1] * mean
        squares = error**2
        for last, now in zip(self.y[:-1], self.y[1:]):
            error = now - mean - phi * last - theta * error
            squares = squares + error**2
        return mean, 1 / precision, squares

    def log_weight(self, v):
        mean, variance, squares = self._mu(v)
        num = len(self.y) - self.free_start
        quadratic = squares * np.exp(-2 * v[:, 2]) + mean**2 / self.mu_scale**2
        log_likelihood = -num * (v[:, 2] + 0.5 * np.log(2 * np.pi)) - 0.5 * quadratic
        log_mu = 0.5 * np.log(variance / self.mu_scale**2)
        coefs = -0.5 * (v[:, :2] ** 2).sum(1) / self.coef_scale**2 - np.log(2 * np.pi * self.coef_scale**2)
        tail = (np.exp(v[:, 2]) / self.sigma_scale) ** 2
        log_sigma = np.log(2 / np.pi) - np.log(self.sigma_scale) - np.log1p(tail) + v[:, 2]
        return log_likelihood + log_mu + coefs + log_sigma

    def conditional(self, v, matrix):
        mean, variance, _ = self._mu(v)
        return np.outer(mean, matrix[:, 0]), variance[:, None, None] * np.outer(matrix[:, 0], matrix[:, 0])

    def draw(self, rng, v):
        mean, variance, _ = self._mu(v)
        return (mean + np.sqrt(variance) * rng.standard_normal(len(v)))[:, None]
