"""Constant-step stochastic gradients on a Gaussian posterior: their exact moments, by linear algebra.

A minibatch gradient of a linear regression is affine in w with random coefficients, so the second moment of
δ = w − mean obeys a *linear* recursion: for SGD with step h and precision Λ,

    S ← (I − hΛ) S (I − hΛ)ᵀ + h² E[C(w)],   C(w) = Cov(minibatch gradient | w), quadratic in w,

the discrete Lyapunov equation with multiplicative noise (Ziyin et al. 2022). Langevin dynamics add εI.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from verification.exact.conjugate import LinearGaussian


class Noise(NamedTuple):
    """E[C(w)] = constant + Σᵢ slopesᵢ S slopesᵢᵀ − mean_slope S mean_slopeᵀ when w has second moment S about the
    posterior mean; all [P, P], slopes [N, P, P]."""

    constant: np.ndarray
    slopes: np.ndarray
    mean_slope: np.ndarray

    def __call__(self, second: np.ndarray) -> np.ndarray:
        each = np.einsum("nij,jk,nlk->il", self.slopes, second, self.slopes)
        return self.constant + each - self.mean_slope @ second @ self.mean_slope.T


class Recursion(NamedTuple):
    """S ← push S pushᵀ + noise(S), for the state whose first `size` parts are w."""

    push: np.ndarray
    noise: Callable
    size: int

    def __call__(self, second: np.ndarray) -> np.ndarray:
        return self.push @ second @ self.push.T + self.noise(second)

    @property
    def affine(self) -> tuple[np.ndarray, np.ndarray]:
        """(matrix, constant) of the recursion on vec S."""
        m = len(self.push)
        constant = self(np.zeros((m, m)))
        units = np.eye(m * m).reshape(m * m, m, m)
        return np.stack([(self(unit) - constant).ravel() for unit in units], axis=1), constant.ravel()


def gradient_noise(s: LinearGaussian, batch_size: int, replace: bool = True) -> Noise:
    """The covariance of (N/B) Σ_{n ∈ batch} gₙ(w), gₙ = xₙ(yₙ − xₙᵀw)/σ²: N²/B · Cov over rows, times
    (N − B)/(N − 1) for batches without replacement (Cochran 1977 §2.6)."""
    n = len(s.y)
    if not 1 <= batch_size <= n:
        raise ValueError(f"batch_size is {batch_size} but must lie in 1..{n}")
    finite = 1.0 if replace else (n - batch_size) / max(n - 1, 1)
    factor = finite * n**2 / batch_size
    mean, _ = s.posterior
    at_mean = s.design * ((s.y - s.design @ mean) / s.noise_scale**2)[:, None]
    slopes = np.einsum("ni,nj->nij", s.design, s.design) / s.noise_scale**2
    constant = factor * np.cov(at_mean.T, bias=True).reshape(slopes.shape[1:])
    return Noise(constant, np.sqrt(factor / n) * slopes, np.sqrt(factor) * slopes.mean(0))


def no_noise(second: np.ndarray) -> np.ndarray:
    """E[C(w)] = 0 [P, P] whatever the second moment [P, P]: the gradient of all rows."""
    return np.zeros_like(second)


def descent(precision: np.ndarray, step_size: float, noise: Callable = no_noise) -> Recursion:
    """w ← w + h ĝ."""
    push = np.eye(len(precision)) - step_size * precision
    return Recursion(push, lambda second: step_size**2 * noise(second), len(precision))


def langevin(precision: np.ndarray, step_size: float, noise: Callable = no_noise) -> Recursion:
    """w ← w + (ε/2) ĝ + √ε ξ."""
    eye = np.eye(len(precision))
    half = step_size / 2
    return Recursion(eye - half * precision, lambda second: half**2 * noise(second) + step_size * eye, len(eye))


def hamiltonian(precision: np.ndarray, step_size: float, friction: float, noise: Callable = no_noise) -> Recursion:
    """v ← (1 − α)v + (ε/2) ĝ + √(αε) ξ, w ← w + v; the state is (w, v)."""
    p, half = len(precision), step_size / 2
    eye = np.eye(p)
    kick, glide = -half * precision, (1 - friction) * eye
    push = np.block([[eye + kick, glide], [kick, glide]])

    def both(second):  # what is added to v is in w too
        added = half**2 * noise(second[:p, :p]) + friction * step_size * eye
        return np.tile(added, (2, 2))

    return Recursion(push, both, p)


def stationary(recursion: Recursion) -> np.ndarray:
    """The covariance of w that the recursion leaves in place, [P, P], from one linear system.

    Raises:
        ValueError: there is none, the recursion's spectral radius being 1 or more.
    """
    matrix, constant = recursion.affine
    radius = np.max(np.abs(np.linalg.eigvals(matrix)))
    if radius >= 1:
        raise ValueError(f"no stationary law: the second moment grows by {radius:.4g} a step; take a smaller step_size")
    m = len(recursion.push)
    second = np.linalg.solve(np.eye(m * m) - matrix, constant).reshape(m, m)
    return (second + second.T)[: recursion.size, : recursion.size] / 2


def langevin_covariance(precision: np.ndarray, step_size: float, friction: float = 1.0) -> np.ndarray:
    """Λ⁻¹(I − εΛ/(4(2 − α)))⁻¹, the full gradient's closed form; α = 1 is SGLD."""
    eye = np.eye(len(precision))
    return np.linalg.inv(precision @ (eye - step_size * precision / (4 * (2 - friction))))


class Path(NamedTuple):
    """Second moments of T snapshots of a walk that starts at the posterior mean at rest.

    each: Cov(w_t), [T, P, P]; with_mean: Cov(w_t, w̄), [T, P, P]; of_mean: Cov(w̄), [P, P].
    """

    each: np.ndarray
    with_mean: np.ndarray
    of_mean: np.ndarray


def path(recursion: Recursion, num_warmup: int, thinning: int, num_snapshots: int) -> Path:
    """Exact, with the start and the correlation of snapshots: Cov(w_t, w_s) = push^(t−s) Cov(w_s) for s ≤ t."""
    matrix, constant = recursion.affine
    m, p = len(recursion.push), recursion.size
    homogeneous = np.block([[matrix, constant[:, None]], [np.zeros((1, m * m)), np.ones((1, 1))]])
    between = np.linalg.matrix_power(homogeneous, thinning)
    state = np.linalg.matrix_power(homogeneous, num_warmup) @ np.append(np.zeros(m * m), 1.0)
    hop = np.linalg.matrix_power(recursion.push, thinning)
    each, past = np.empty((num_snapshots, m, m)), np.empty((num_snapshots, m, m))
    for t in range(num_snapshots):
        state = between @ state
        each[t] = state[:-1].reshape(m, m)
        past[t] = hop @ (past[t - 1] + each[t - 1]) if t else 0.0  # Σ_{s<t} Cov(w_t, w_s)
    hops = np.zeros((m, m))  # Σ_{k=1}^{T−1−t} hopᵏ
    future = np.empty_like(each)
    for t in reversed(range(num_snapshots)):
        future[t] = each[t] @ hops.T  # Σ_{s>t} Cov(w_t, w_s)
        hops = hop @ (np.eye(m) + hops)
    with_mean = ((past + each + future) / num_snapshots)[:, :p, :p]
    return Path(each[:, :p, :p], with_mean, with_mean.mean(0))


def pooled_covariance(p: Path, num_chains: int = 1) -> np.ndarray:
    """E[sample covariance] of the draws of independent chains taken together, the divisor being their number less 1."""
    total = num_chains * len(p.each)
    return (num_chains * p.each.sum(0) - len(p.each) * p.of_mean) / (total - 1)


def swag_covariance(p: Path, rank: int, num_members: int = 1) -> np.ndarray:
    """E[covariance of SWAG's draws]: ½ diag E[s] + ½ E[DDᵀ]/(K − 1), and (1 − 1/M) Cov(w̄) between M members."""
    about_mean = p.each - p.with_mean - p.with_mean.transpose(0, 2, 1) + p.of_mean
    variances = np.diag(about_mean.mean(0))
    low_rank = about_mean[len(about_mean) - rank :].sum(0) / (rank - 1)
    return (np.diag(variances) + low_rank) / 2 + (1 - 1 / num_members) * p.of_mean
