"""Priors of independent elements, one density each."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from probjax import special
from probjax.likelihoods import kinked, real_line
from probjax.priors.composition import independent
from probjax.types import Prior
from probjax.validation import require_finite, require_fraction, require_positive

NO_PRIOR = "for no prior at all use priors.flat()"


def normal(loc: Any = 0.0, scale: Any = 1.0) -> Prior:
    """Independent Gaussians: log p = Σ −½ log 2π − log τ − (w − μ)² / 2τ² (ridge: λ = σ²/τ² under noise σ).

    Args:
        loc, scale: μ and τ > 0: numbers, or trees matching the parameters (or a prefix of their tree).

    >>> float(normal(0.0, 1.0).log_prob({"w": jnp.zeros(2)}))  # −log 2π
    -1.8378770...
    """
    require_finite("priors.normal", "loc", loc)
    require_positive("priors.normal", "scale", scale, NO_PRIOR)
    return independent(real_line.NORMAL.log_prob, real_line.NORMAL.sample, loc, scale)


def laplace(loc: Any = 0.0, scale: Any = 1.0) -> Prior:
    """Independent double exponentials: log p = Σ −log 2b − |w − μ| / b (lasso: λ = σ²/b for the objective ½SSE +
    λ‖w‖₁). Its mode has exact zeros; the density has none, and neither has the posterior: there is no atom at 0.

    Args:
        loc, scale: μ and b > 0: numbers, or trees matching the parameters (or a prefix of their tree).

    >>> float(laplace(0.0, 0.5).log_prob({"w": jnp.zeros(3)}))
    0.0
    """
    require_finite("priors.laplace", "loc", loc)
    require_positive("priors.laplace", "scale", scale, NO_PRIOR)
    return independent(kinked.LAPLACE.log_prob, kinked.LAPLACE.sample, loc, scale)


def student_t(df: Any, loc: Any = 0.0, scale: Any = 1.0) -> Prior:
    """Independent Student's t with ν degrees of freedom: heavier tails than the Gaussian's and, the density being
    smooth at its centre, no zeros in the mode.

    Args:
        df, loc, scale: ν > 0, μ, s > 0: numbers, or trees matching the parameters (or a prefix of their tree).

    >>> float(student_t(1.0).log_prob({"w": jnp.zeros(1)}))  # −log π
    -1.144729...
    """
    require_positive("priors.student_t", "df", df, NO_PRIOR)
    require_finite("priors.student_t", "loc", loc)
    require_positive("priors.student_t", "scale", scale, NO_PRIOR)
    return independent(real_line.STUDENT_T.log_prob, real_line.STUDENT_T.sample, loc, scale, df)


def cauchy(loc: Any = 0.0, scale: Any = 1.0) -> Prior:
    """Student's t with one degree of freedom: log p = Σ −log πs − log(1 + (w − μ)²/s²).

    >>> float(cauchy(0.0, 2.0).log_prob(jnp.zeros(1)))  # −log 2π
    -1.8378770...
    """
    return student_t(1.0, loc, scale)


def half_normal(scale: Any = 1.0) -> Prior:
    """For a scale σ that is half-normal, the parameter being t = log σ: log p(t) = ½ log 2/π − log s − e²ᵗ/2s² + t, the
    last term being the log Jacobian of σ = eᵗ (Gelman 2006 discusses priors of scales).

    >>> round(float(half_normal(1.0).log_prob(jnp.zeros(()))), 4)  # ½ log 2/π − ½
    -0.7258
    """
    require_positive("priors.half_normal", "scale", scale, NO_PRIOR)
    return independent(_half_normal_log_density, _half_normal_sample, scale)


def _half_normal_log_density(log_value, scale):
    return math.log(2) - special.HALF_LOG_TWO_PI - jnp.log(scale) - 0.5 * (jnp.exp(log_value) / scale) ** 2 + log_value


def _half_normal_sample(key, scale):
    return jnp.log(scale * jnp.abs(jax.random.normal(key, scale.shape, scale.dtype)))


def half_cauchy(scale: Any = 1.0) -> Prior:
    """For a scale σ that is half-Cauchy, the parameter being t = log σ: log p(t) = log 2/π + u − log(1 + e²ᵘ) with
    u = t − log s, Jacobian included (Gelman 2006 §3.2).

    >>> round(float(half_cauchy(1.0).log_prob(jnp.zeros(()))), 4)  # −log π
    -1.1447
    """
    require_positive("priors.half_cauchy", "scale", scale, NO_PRIOR)
    return independent(_half_cauchy_log_density, _half_cauchy_sample, scale)


def _half_cauchy_log_density(log_value, scale):
    u = special.log_ratio(log_value, scale)
    return math.log(2 / math.pi) + u - jax.nn.softplus(2 * u)


def _half_cauchy_sample(key, scale):
    return jnp.log(scale) + jnp.log(jnp.abs(jax.random.cauchy(key, scale.shape, scale.dtype)))


def horseshoe(scale: Any = 1.0) -> Prior:
    """w = τ λ z with z standard normal and λ half-Cauchy, λ integrated out: log p = −½ log 2π³ − log τ + x + log E₁(x),
    x = w²/2τ² (Carvalho, Polson & Scott 2010). Infinite at w = 0 (slowly, as log(1/w²)), so that a mode means nothing;
    sample it, or use its mean.

    Args:
        scale: τ > 0, the global scale.
    """
    require_positive("priors.horseshoe", "scale", scale, NO_PRIOR)
    return independent(horseshoe_log_density, _horseshoe_sample, scale)


def horseshoe_log_density(w, scale):
    """Of `horseshoe`, an element each; ∞ at w = 0."""
    return -0.5 * math.log(2 * math.pi**3) - jnp.log(scale) + special.log_scaled_exp1(0.5 * (w / scale) ** 2)


def _horseshoe_sample(key, scale):
    local_key, noise_key = jax.random.split(key)
    local = jax.random.cauchy(local_key, scale.shape, scale.dtype)
    return scale * local * jax.random.normal(noise_key, scale.shape, scale.dtype)


def spike_and_slab(probability: Any = 0.5, scale: Any = 1.0) -> Prior:
    """w = 0 with probability 1 − π, else N(0, s²) (Mitchell & Beauchamp 1988).

    log p is a density with respect to Lebesgue measure plus a point mass at 0: log(1 − π) at w = 0 exactly, log π +
    log N(w | 0, s²) elsewhere. It has the atom that no continuous prior has. Gradient-based methods never see it, so
    they are wrong here; draw from it, or enumerate.

    Args:
        probability: π in (0, 1), of the slab. scale: s > 0.
    """
    require_fraction("priors.spike_and_slab", "probability", probability)
    require_positive("priors.spike_and_slab", "scale", scale, NO_PRIOR)
    return independent(spike_and_slab_log_density, _spike_and_slab_sample, probability, scale)


def spike_and_slab_log_density(w, probability, scale):
    """Of `spike_and_slab`, an element each, with respect to Lebesgue measure plus a point mass at 0."""
    slab = jnp.log(probability) + real_line.NORMAL.log_prob(w, 0.0, scale)
    return jnp.where(w == 0, jnp.log1p(-probability), slab)


def _spike_and_slab_sample(key, probability, scale):
    slab_key, value_key = jax.random.split(key)
    values = scale * jax.random.normal(value_key, scale.shape, scale.dtype)
    return jnp.where(jax.random.bernoulli(slab_key, probability), values, 0.0)
