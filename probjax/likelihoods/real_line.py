"""Likelihoods of real numbers, smooth in their location: it, a scale, and how heavy the tails are.

With z = (y − μ)/s each density is exp(−ρ(z)) / (Z s); ρ is the loss that people minimise, and Z what they leave out.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import Array

from probjax import special
from probjax.likelihoods.family import Family, check_positive, identity, likelihood, real, standard_uniform
from probjax.special import HALF_LOG_TWO_PI
from probjax.types import Likelihood

_ROOT_TWO_PI, _ROOT_HALF_PI, _ROOT_HALF = math.sqrt(2 * math.pi), math.sqrt(math.pi / 2), math.sqrt(0.5)


def normal(scale: float | Array | None = None) -> Likelihood:
    """Gaussian noise: log p(y | f) = −½ log 2π − log σ − (y − μ)² / 2σ² (Gelman et al. 2013, appendix A).

    Args:
        scale: σ > 0, known; then f is μ with shape [N]. `None`: f is a pair (μ, σ), each [N], for a learnt or
            input-dependent scale (`heads.with_learnt_scale`, `heads.location_and_scale`).

    Raises:
        ValueError: scale is not positive.

    >>> float(normal(2.0).log_prob(jnp.array([1.0]), jnp.array([1.0]))[0])  # −½ log 2π − log 2
    -1.6120857...
    """
    check_positive("normal", scale=scale)
    return likelihood(NORMAL, real, identity, scale=scale)


def is_homoscedastic(likelihood: Likelihood) -> bool:
    """Whether it is `normal` with one known scale: −log p is a quadratic in f, of the same curvature for all rows."""
    log_prob = likelihood.log_prob
    family, known = log_prob.args if len(getattr(log_prob, "args", ())) == 2 else (None, {})
    return getattr(family, "value", None) is NORMAL and known["scale"] is not None and jnp.ndim(known["scale"]) == 0


def _normal_log_prob(y, loc, scale):
    z = (y - loc) / scale
    return -HALF_LOG_TWO_PI - jnp.log(scale) - 0.5 * z * z


def _normal_sample(key, loc, scale):
    return loc + scale * jax.random.normal(key, loc.shape, loc.dtype)


def _location(loc, *others):
    return loc


NORMAL = Family(
    "normal", ("loc", "scale"), _normal_log_prob, _normal_sample, _location, lambda loc, scale: jnp.square(scale)
)


def student_t(df: float | Array | None = None, scale: float | Array | None = None) -> Likelihood:
    """Student's t: log p = log Γ((ν+1)/2) − log Γ(ν/2) − ½ log νπ − log s − (ν+1)/2 · log(1 + z²/ν), z = (y − μ)/s.

    The score (ν+1)z/(ν+z²) falls back to 0: an outlier loses its pull (Lange, Little & Taylor 1989).

    Args:
        df, scale: ν > 0 and s > 0; `None`: f holds them after μ, as (μ, s), (μ, ν) or (μ, s, ν).

    `mean` is NaN for ν ≤ 1; `variance` infinite for 1 < ν ≤ 2 and NaN below.

    >>> float(student_t(1.0, 1.0).log_prob(jnp.zeros(1), jnp.zeros(1))[0])  # Cauchy: −log π
    -1.144729...
    """
    check_positive("student_t", df=df, scale=scale)
    return likelihood(STUDENT_T, real, identity, scale=scale, df=df)


def _student_t_log_prob(y, loc, scale, df):
    half = df / 2
    normaliser = special.scaled_log1p(0.5 * jnp.ones_like(half), half) - 0.5
    normaliser += special.stirling_remainder(half + 0.5) - special.stirling_remainder(half) - HALF_LOG_TWO_PI
    return normaliser - jnp.log(scale) - _student_t_loss((y - loc) / scale, df)


@jax.custom_jvp
def _student_t_loss(z, df):
    """(ν+1)/2 · log(1 + z²/ν)."""
    return 0.5 * (df + 1) * special.log1p_square(z / jnp.sqrt(df))


@_student_t_loss.defjvp
def _student_t_loss_jvp(primals, tangents):
    z, df = primals
    t = z / jnp.sqrt(df)
    far = jnp.abs(t) > 1
    near, outside = jnp.where(far, 0.0, t), jnp.where(far, t, 1.0)
    inverse = 1 / outside
    ratio = jnp.where(far, inverse / (1 + inverse * inverse), near / (1 + near * near))  # t/(1 + t²), no overflow
    share = jnp.where(far, 1 / (1 + inverse * inverse), near * near / (1 + near * near))  # t²/(1 + t²)
    gap = jnp.where(far, special.log1p_square(t) - share, special.log1p_gap(near * near))
    along_df = 0.5 * gap - 0.5 * share / df
    return _student_t_loss(z, df), (df + 1) / jnp.sqrt(df) * ratio * tangents[0] + along_df * tangents[1]


def _student_t_sample(key, loc, scale, df):
    return loc + scale * jax.random.t(key, df, loc.shape, loc.dtype)


def _student_t_variance(loc, scale, df):
    proper = jnp.where(df > 2, df, 3.0)
    finite = scale**2 * proper / (proper - 2)
    return jnp.where(df > 2, finite, jnp.where(df > 1, jnp.inf, jnp.nan))


STUDENT_T = Family(
    "student_t",
    ("loc", "scale", "df"),
    _student_t_log_prob,
    _student_t_sample,
    lambda loc, scale, df: jnp.where(df > 1, loc, jnp.nan),
    _student_t_variance,
)


def huber(delta: float | Array | None = 1.345, scale: float | Array | None = None) -> Likelihood:
    """Gaussian within δ scales of μ, exponential outside: log p = −log Z(δ) − log s − ρ(z), with ρ(z) = z²/2 for
    |z| ≤ δ and δ|z| − δ²/2 beyond, and Z(δ) = √2π (2Φ(δ) − 1) + (2/δ) exp(−δ²/2).

    It is one density, not a mixture of a Gaussian and a Laplace: Huber's (1964) least favourable distribution, which
    minimises the Fisher information among (1 − ε) N + ε H, 2φ(δ)/δ − 2Φ(−δ) = ε/(1 − ε).

    Args:
        delta: δ > 0 in scales; 1.345 is 95% efficient under Gaussian noise.
        scale: s > 0. `None` for either: f holds it after μ, as (μ, s), (μ, δ) or (μ, s, δ).

    >>> core = huber(delta=30.0, scale=1.0).log_prob(jnp.ones(1), jnp.zeros(1))  # δ → ∞: Gaussian
    >>> bool(jnp.allclose(core, normal(1.0).log_prob(jnp.ones(1), jnp.zeros(1))))
    True
    """
    check_positive("huber", delta=delta, scale=scale)
    return likelihood(_HUBER, real, identity, scale=scale, delta=delta)


def _huber_log_prob(y, loc, scale, delta):
    return -_huber_log_normaliser(delta) - jnp.log(scale) - huber_loss((y - loc) / scale, delta)


def huber_loss(z: Array, delta: Array) -> Array:
    """ρ(z) = z²/2 within ±δ, δ|z| − δ²/2 beyond."""
    size = jnp.abs(z)
    within = jnp.minimum(size, delta)
    return within * (size - 0.5 * within)


def _huber_log_normaliser(delta):
    # two forms of one number: the first keeps its digits for large δ, the second for small
    wide = delta > 1
    large, small = jnp.where(wide, delta, 1.0), jnp.where(wide, 1.0, delta)
    first = 2 * jnp.exp(-0.5 * large * large) / (_ROOT_TWO_PI * large) + jax.lax.erf(large * _ROOT_HALF)
    second = jnp.exp(-0.5 * small * small) + small * _ROOT_HALF_PI * jax.lax.erf(small * _ROOT_HALF)
    return jnp.where(wide, HALF_LOG_TWO_PI + jnp.log(first), math.log(2) - jnp.log(small) + jnp.log(second))


def _huber_sample(key, loc, scale, delta):
    side_key, core_key, tail_key, sign_key = jax.random.split(key, 4)
    tail = 2 / delta * jnp.exp(-0.5 * delta**2 - _huber_log_normaliser(delta))  # mass outside ±δ
    inside = jax.random.truncated_normal(core_key, -delta, delta, loc.shape, loc.dtype)
    outside = delta + jax.random.exponential(tail_key, loc.shape, loc.dtype) / delta
    outside = outside * jax.random.rademacher(sign_key, loc.shape, loc.dtype)
    z = jnp.where(standard_uniform(side_key, loc) < tail, outside, inside)
    return loc + scale * z


def _huber_variance(loc, scale, delta):
    edge = jnp.exp(-0.5 * delta**2)
    second_moment = _ROOT_TWO_PI * jax.lax.erf(delta * _ROOT_HALF) + 4 * edge * (1 / delta + 1 / delta**3)
    return scale**2 * second_moment * jnp.exp(-_huber_log_normaliser(delta))


_HUBER = Family("huber", ("loc", "scale", "delta"), _huber_log_prob, _huber_sample, _location, _huber_variance)


def log_cosh(scale: float | Array | None = None) -> Likelihood:
    """Hyperbolic secant: log p = −log πs − log cosh z, z = (y − μ)/s: quadratic near 0, linear far out.

    Args:
        scale: s > 0; `None`: f is (μ, s).

    >>> float(log_cosh(1.0).log_prob(jnp.zeros(1), jnp.zeros(1))[0])  # −log π
    -1.144729...
    """
    check_positive("log_cosh", scale=scale)
    return likelihood(_LOG_COSH, real, identity, scale=scale)


def _log_cosh_log_prob(y, loc, scale):
    return -math.log(math.pi) - jnp.log(scale) - special.log_cosh((y - loc) / scale)


def _log_cosh_sample(key, loc, scale):
    size_key, sign_key = jax.random.split(key)
    size = -jnp.log(jnp.tan(0.25 * math.pi * standard_uniform(size_key, loc)))  # F(z) = (2/π) arctan eᶻ
    return loc + scale * size * jax.random.rademacher(sign_key, loc.shape, loc.dtype)


_LOG_COSH = Family(
    "log_cosh",
    ("loc", "scale"),
    _log_cosh_log_prob,
    _log_cosh_sample,
    _location,
    lambda loc, scale: (0.5 * math.pi * scale) ** 2,
)
