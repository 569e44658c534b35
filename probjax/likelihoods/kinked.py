"""Likelihoods of real numbers whose −log p has a kink where y is the location: its best constant is a quantile."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from probjax.likelihoods.family import Family, check_positive, identity, likelihood, real
from probjax.types import Likelihood
from probjax.validation import require_fraction


def has_kink(likelihood: Likelihood) -> bool:
    """Whether −log p has a kink in f (`laplace`, `asymmetric_laplace`): a mode is not where the gradient vanishes, and
    elsewhere there is no curvature."""
    args = getattr(likelihood.log_prob, "args", ())
    return bool(args) and getattr(args[0], "value", None) in (LAPLACE, _ASYMMETRIC_LAPLACE)


def laplace(scale: float | Array | None = None) -> Likelihood:
    """Double exponential: log p = −log 2b − |y − μ| / b. Its maximum-likelihood constant is the median.

    Args:
        scale: b > 0; `None`: f is (μ, b).

    >>> float(laplace(0.5).log_prob(jnp.ones(1), jnp.zeros(1))[0])
    -2.0
    """
    check_positive("laplace", scale=scale)
    return likelihood(LAPLACE, real, identity, scale=scale)


def _laplace_log_prob(y, loc, scale):
    return -jnp.log(2 * scale) - jnp.abs(y - loc) / scale


def _laplace_sample(key, loc, scale):
    return loc + scale * jax.random.laplace(key, loc.shape, loc.dtype)


LAPLACE = Family(
    "laplace",
    ("loc", "scale"),
    _laplace_log_prob,
    _laplace_sample,
    lambda loc, scale: loc,
    lambda loc, scale: 2 * scale**2,
)


def asymmetric_laplace(quantile: float | Array, scale: float | Array | None = None) -> Likelihood:
    """Two exponentials of unlike slope: log p = log(q(1 − q)) − log s − z (q − 1[z < 0]), z = (y − μ)/s, whose
    q-quantile is μ (Koenker & Machado 1999). Its maximum-likelihood constant is the sample's q-quantile.

    Args:
        quantile: q in (0, 1).
        scale: s > 0; `None`: f is (μ, s).

    `mean` is that of y, μ + s (1 − 2q)/(q(1 − q)), which is not μ unless q = ½.

    >>> float(asymmetric_laplace(0.5, 1.0).log_prob(jnp.zeros(1), jnp.zeros(1))[0])  # log ¼
    -1.386294...
    """
    check_positive("asymmetric_laplace", scale=scale)
    require_fraction("likelihoods.asymmetric_laplace", "quantile", quantile)
    return likelihood(_ASYMMETRIC_LAPLACE, real, identity, scale=scale, quantile=quantile)


def _asymmetric_laplace_log_prob(y, loc, scale, quantile):
    return jnp.log(quantile) + jnp.log1p(-quantile) - jnp.log(scale) - quantile_loss((y - loc) / scale, quantile)


def quantile_loss(z: Array, quantile: Array) -> Array:
    """z (q − 1[z < 0]), also called pinball or check loss."""
    return jnp.where(z < 0, (quantile - 1) * z, quantile * z)


def _asymmetric_laplace_sample(key, loc, scale, quantile):
    up_key, down_key = jax.random.split(key)
    up = jax.random.exponential(up_key, loc.shape, loc.dtype) / quantile
    return loc + scale * (up - jax.random.exponential(down_key, loc.shape, loc.dtype) / (1 - quantile))


_ASYMMETRIC_LAPLACE = Family(
    "asymmetric_laplace",
    ("loc", "scale", "quantile"),
    _asymmetric_laplace_log_prob,
    _asymmetric_laplace_sample,
    lambda loc, scale, q: loc + scale * (1 - 2 * q) / (q * (1 - q)),
    lambda loc, scale, q: scale**2 * (1 - 2 * q * (1 - q)) / (q * (1 - q)) ** 2,
)
