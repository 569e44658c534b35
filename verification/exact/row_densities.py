"""log p(y | f) of whole data sets over many parameter values at once, written from the textbook formulas alone.

Every function takes the outputs f as [M, N] (M parameter values, N rows) and returns [M].
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, gammaln, log_expit, log_ndtr, ndtr

LOG_TWO_PI = np.log(2 * np.pi)


def normal_prior(theta, loc, scale) -> np.ndarray:
    """Σ log N(θ_j | loc_j, scale_j²), [M, D] -> [M]."""
    scale = np.broadcast_to(scale, theta.shape[1:])
    return -0.5 * (((theta - loc) / scale) ** 2).sum(1) - np.log(scale).sum() - 0.5 * theta.shape[1] * LOG_TWO_PI


def probit(y, f) -> np.ndarray:
    """P(y = 1) = Φ(f)."""
    return log_ndtr((2 * y - 1) * f).sum(1)


def poisson(y, f) -> np.ndarray:
    """Rate exp(f)."""
    return f @ y - np.exp(f).sum(1) - gammaln(y + 1).sum()


def ordinal(y, f, cutpoints) -> np.ndarray:
    """P(y ≤ k) = σ(c_k − f), cutpoints [M, K − 1]; of two neighbouring σ the one difference that does not cancel."""
    total = np.zeros(len(f))
    for k in range(cutpoints.shape[1] + 1):
        rows = f[:, y == k]
        if k < cutpoints.shape[1]:
            total += log_expit(cutpoints[:, k : k + 1] - rows).sum(1)
        if k > 0:
            total += log_expit(rows - cutpoints[:, k - 1 : k]).sum(1)
        if 0 < k < cutpoints.shape[1]:
            total += rows.shape[1] * np.log(-np.expm1(cutpoints[:, k - 1] - cutpoints[:, k]))
    return total


def negative_binomial(y, f, r) -> np.ndarray:
    """Mean exp(f), variance μ + μ²/r, r [M]. Γ(y + r)/Γ(r) as the product r (r + 1) … (r + y − 1)."""
    r = r[:, None]
    above = np.array([(y > j).sum() for j in range(int(y.max()))])
    rising = np.log(r + np.arange(len(above))) @ above
    log_total = np.log(r + np.exp(f))
    return rising - gammaln(y + 1).sum() + f @ y - (r * (log_total - np.log(r))).sum(1) - log_total @ y


def gamma(y, f, shape) -> np.ndarray:
    """Mean exp(f), shape k [M], rate k/mean."""
    num, log_y = len(y), np.log(y).sum()
    log_rate = np.log(shape)[:, None] - f
    return shape * log_rate.sum(1) - num * gammaln(shape) + (shape - 1) * log_y - np.exp(log_rate) @ y


def beta(y, f, precision) -> np.ndarray:
    """Mean σ(f), precision φ [M]: Beta(μφ, (1 − μ)φ)."""
    a, b = precision[:, None] * expit(f), precision[:, None] * expit(-f)
    log_normaliser = len(y) * gammaln(precision) - (gammaln(a) + gammaln(b)).sum(1)
    return a @ np.log(y) + b @ np.log1p(-y) + log_normaliser - (np.log(y) + np.log1p(-y)).sum()


def zero_inflated_poisson(y, log_rate, zero_logit) -> np.ndarray:
    """One rate and one probability of a sure zero for all rows; both [M]."""
    zeros, some = (y == 0).sum(), y[y > 0]
    none = log_expit(-zero_logit) + np.logaddexp(zero_logit, -np.exp(log_rate))
    positive = len(some) * (log_expit(-zero_logit) - np.exp(log_rate)) + some.sum() * log_rate
    return zeros * none + positive - gammaln(some + 1).sum()


def binomial(y, f, trials) -> np.ndarray:
    """y successes in `trials` [N], each with probability σ(f)."""
    choose = gammaln(trials + 1) - gammaln(y + 1) - gammaln(trials - y + 1)
    return log_expit(f) @ y + log_expit(-f) @ (trials - y) + choose.sum()


def student_t(y, f, scale, df) -> np.ndarray:
    """y = f + scale · t_ν."""
    normaliser = gammaln((df + 1) / 2) - gammaln(df / 2) - 0.5 * np.log(df * np.pi) - np.log(scale)
    return len(y) * normaliser - (df + 1) / 2 * np.log1p(((y - f) / scale) ** 2 / df).sum(1)


def huber(y, f, scale, delta) -> np.ndarray:
    """exp(−ρ(z))/(Z scale), ρ(z) = z²/2 within ±δ and δ|z| − δ²/2 beyond."""
    size = np.abs((y - f) / scale)
    loss = np.where(size <= delta, 0.5 * size**2, delta * size - 0.5 * delta**2)
    normaliser = np.sqrt(2 * np.pi) * (2 * ndtr(delta) - 1) + 2 / delta * np.exp(-0.5 * delta**2)
    return -loss.sum(1) - len(y) * np.log(normaliser * scale)


def asymmetric_laplace(y, f, scale, quantile) -> np.ndarray:
    """q(1 − q)/s exp(−ρ(z)), ρ(z) = q z above 0 and (q − 1) z below."""
    z = (y - f) / scale
    loss = np.maximum(quantile * z, (quantile - 1) * z)
    return len(y) * np.log(quantile * (1 - quantile) / scale) - loss.sum(1)


def normal(y, f, scale) -> np.ndarray:
    """y = f + scale · standard normal; scale a number or [N]."""
    z, scale = (y - f) / scale, np.broadcast_to(scale, y.shape)
    return -0.5 * (z**2).sum(1) - np.log(scale).sum() - 0.5 * len(y) * LOG_TWO_PI
