"""Likelihoods of positive numbers and of proportions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import logit

from probjax import special
from probjax.likelihoods.family import Family, check_positive, likelihood, positive
from probjax.special import HALF_LOG_TWO_PI
from probjax.types import Likelihood


def gamma(concentration: float | Array | None = None) -> Likelihood:
    """Positive y with mean μ = eᶠ and shape k: log p = k log(k/μ) + (k − 1) log y − k y/μ − log Γ(k) (McCullagh &
    Nelder 1989 §8.2). The link is the logarithm; the canonical one, −1/μ, would not keep μ positive.

    Args:
        concentration: k > 0, 1/k being the squared coefficient of variation; `None`: f is (log μ, k).

    >>> float(gamma(1.0).log_prob(jnp.ones(1), jnp.zeros(1))[0])  # exponential
    -1.0
    """
    check_positive("gamma", concentration=concentration)
    return likelihood(_GAMMA, positive, jnp.log, concentration=concentration)


def _gamma_log_prob(y, log_mean, concentration):
    # −k (y/μ − 1 − log(y/μ)) − log y + ½ log k/2π − R(k): nothing here grows with k near the mode
    u = -special.log_ratio(log_mean, y)
    deviance = special.deviance_term(concentration, concentration * y * jnp.exp(-log_mean), u)
    return special.half_log_less_remainder(concentration) - deviance - jnp.log(y) - HALF_LOG_TWO_PI


def _gamma_sample(key, log_mean, concentration):
    return jnp.exp(log_mean + jax.random.loggamma(key, concentration, log_mean.shape)) / concentration


_GAMMA = Family(
    "gamma",
    ("log_mean", "concentration"),
    _gamma_log_prob,
    _gamma_sample,
    lambda log_mean, concentration: jnp.exp(log_mean),
    lambda log_mean, concentration: jnp.exp(2 * log_mean) / concentration,
)


def log_normal(scale: float | Array | None = None) -> Likelihood:
    """Positive y whose logarithm is Gaussian: log p = −log y − log σ − ½ log 2π − (log y − μ)² / 2σ².

    Args:
        scale: σ > 0 of log y; `None`: f is (μ, σ). μ is the log of y's median, not of its mean exp(μ + σ²/2).

    >>> round(float(log_normal(1.0).log_prob(jnp.ones(1), jnp.zeros(1))[0]), 4)
    -0.9189
    """
    check_positive("log_normal", scale=scale)
    return likelihood(_LOG_NORMAL, positive, jnp.log, scale=scale)


def _log_normal_log_prob(y, loc, scale):
    z = special.log_ratio(loc, y) / scale
    return -jnp.log(y) - jnp.log(scale) - HALF_LOG_TWO_PI - 0.5 * z * z


def _log_normal_sample(key, loc, scale):
    return jnp.exp(loc + scale * jax.random.normal(key, loc.shape, loc.dtype))


_LOG_NORMAL = Family(
    "log_normal",
    ("loc", "scale"),
    _log_normal_log_prob,
    _log_normal_sample,
    lambda loc, scale: jnp.exp(loc + 0.5 * scale**2),
    lambda loc, scale: jnp.expm1(scale**2) * jnp.exp(2 * loc + scale**2),
)


def beta(precision: float | Array | None = None) -> Likelihood:
    """A proportion with mean μ = σ(f) and precision φ: Beta(μφ, (1 − μ)φ), log p = log Γ(φ) − log Γ(μφ) − log Γ((1−μ)φ)
    + (μφ − 1) log y + ((1 − μ)φ − 1) log(1 − y) (Ferrari & Cribari-Neto 2004). Its variance is μ(1 − μ)/(1 + φ).

    Args:
        precision: φ > 0; `None`: f is (logit μ, φ).

    y = 0 and y = 1 have no density here: squeeze them by (y (N − 1) + ½)/N (Smithson & Verkuilen 2006) and say so, or
    model them apart.

    >>> bool(abs(beta(2.0).log_prob(jnp.array([0.3]), jnp.zeros(1))[0]) < 1e-6)  # uniform
    True
    """
    check_positive("beta", precision=precision)
    return likelihood(_BETA, _proportion, logit, precision=precision)


def _beta_log_prob(y, logit_mean, precision):
    # ½ log(ab/φ) + R(φ) − R(a) − R(b) − φ KL(μ ‖ y) − ½ log 2π − log y − log(1 − y), a = μφ, b = (1 − μ)φ
    weight = _beta_weight(logit_mean, precision) - special.half_log_less_remainder(precision)
    return weight - _beta_deviance(y, logit_mean, precision) - HALF_LOG_TWO_PI - jnp.log(y) - jnp.log1p(-y)


def _beta_weight(logit_mean, precision):
    """½ log ab − R(a) − R(b), where a or b may underflow."""
    log_precision = jnp.log(precision)
    log_shapes = [log_precision + jax.nn.log_sigmoid(sign * logit_mean) for sign in (1, -1)]
    both_small = precision < 1
    # for tiny φ log a + log b must be even in f to the last digit: its slope −tanh(f/2) is all that is left there
    even = 2 * (log_precision - special.LOG_TWO - special.log_cosh(0.5 * logit_mean))
    weight = jnp.where(both_small, even, 0.0)
    for log_shape in log_shapes:
        shape = jnp.exp(log_shape)
        small = shape < 1
        near_zero = special.remainder_near_zero(jnp.where(small, shape, 0.5), jnp.where(small, log_shape, 0.0))
        near_zero += jnp.where(both_small, 0.0, log_shape)
        weight += jnp.where(small, near_zero, special.half_log_less_remainder(jnp.where(small, 1.0, shape)))
    return weight


@jax.custom_jvp
def _beta_deviance(y, logit_mean, precision):
    """φ KL(μ ‖ y), with the two terms each small where y is near μ."""
    mean, rest = jax.nn.sigmoid(logit_mean), jax.nn.sigmoid(-logit_mean)
    log_y, log_gap = jnp.log(y), jnp.log1p(-y)
    odds = special.log_ratio(logit_mean, y / (1 - y))
    near = jnp.abs(odds) < 1
    v = jnp.where(near, odds, 0.0)
    # log μ/y and log (1−μ)/(1−y) from the log odds ratio, exact where it is small
    up, down = -jnp.log1p((1 - y) * jnp.expm1(-v)), -jnp.log1p(y * jnp.expm1(v))
    close = mean * special.expm1_remainder(-up) + rest * special.expm1_remainder(-down)
    apart = mean * (jax.nn.log_sigmoid(logit_mean) - log_y) + rest * (jax.nn.log_sigmoid(-logit_mean) - log_gap)
    return precision * jnp.where(near, close, apart)


@_beta_deviance.defjvp
def _beta_deviance_jvp(primals, tangents):
    y, logit_mean, precision = primals
    dy, df, dprecision = tangents
    mean, rest = jax.nn.sigmoid(logit_mean), jax.nn.sigmoid(-logit_mean)
    excess = jnp.where(y > 0.5, rest - (1 - y), y - mean)
    along_f = precision * mean * rest * special.log_ratio(logit_mean, y / (1 - y))
    tangent = precision * excess / (y * (1 - y)) * dy + along_f * df
    return _beta_deviance(y, logit_mean, precision), tangent + _beta_deviance(
        y, logit_mean, jnp.ones_like(precision)
    ) * dprecision


def _beta_sample(key, logit_mean, precision):
    a, b = precision * jax.nn.sigmoid(logit_mean), precision * jax.nn.sigmoid(-logit_mean)
    return jax.random.beta(key, a, b, logit_mean.shape, logit_mean.dtype)


def _beta_variance(logit_mean, precision):
    return jax.nn.sigmoid(logit_mean) * jax.nn.sigmoid(-logit_mean) / (1 + precision)


def _proportion(y, f, **known):
    """numbers strictly between 0 and 1; for exact 0 or 1 squeeze y to (y(N−1) + 0.5)/N and say so"""
    return (y > 0) & (y < 1)


_BETA = Family(
    "beta",
    ("logit_mean", "precision"),
    _beta_log_prob,
    _beta_sample,
    lambda logit_mean, precision: jax.nn.sigmoid(logit_mean),
    _beta_variance,
)
