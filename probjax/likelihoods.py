"""Likelihoods p(y | f): normalised log-densities, unreduced. Formulas as in Gelman et al. 2013, appendix A.

Each factory returns a `Likelihood`; its hyperparameters are array leaves, so new values do not recompile.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from probjax.types import Likelihood
from probjax.validation import require_positive

_HALF_LOG_TWO_PI = 0.9189385332046727  # ½ log 2π
# log k! − k log k + k for k = 0 … 15: JAX's gammaln loses four digits here
_SMALL_REMAINDERS = [0.0, *(math.log(math.factorial(k)) - k * math.log(k) + k for k in range(1, 16))]


def normal(scale: float | Array | None = None) -> Likelihood:
    """Gaussian noise: log p(y | f) = −½ log 2π − log σ − (y − μ)² / 2σ².

    Args:
        scale: σ > 0, known; then f is μ with shape [N]. `None`: f is a pair (μ, σ), each [N], for a learnt or
            input-dependent scale (`networks.with_learnt_scale`, `networks.location_and_scale`).

    Raises:
        ValueError: scale is not positive.

    >>> float(normal(2.0).log_prob(jnp.array([1.0]), jnp.array([1.0]))[0])  # −½ log 2π − log 2
    -1.6120857...
    """
    if scale is None:
        return Likelihood(_normal_log_prob, _normal_sample, _normal_mean, _normal_variance, _real)
    require_positive("likelihoods.normal", "scale", scale, "for a learnt one pass scale=None")
    known = dict(scale=scale)
    return Likelihood(
        Partial(_known_normal_log_prob, **known),
        Partial(_known_normal_sample, **known),
        _known_normal_mean,
        Partial(_known_normal_variance, **known),
        _real,
    )


def _normal_log_prob(y, f):
    loc, scale = _pair(f)
    z = (y - loc) / scale
    return -_HALF_LOG_TWO_PI - jnp.log(scale) - 0.5 * z * z


def _pair(f):
    if not isinstance(f, tuple) or len(f) != 2:
        raise ValueError(
            "likelihoods.normal() takes f = (loc, scale) but the network gives one output; wrap it in "
            "with_learnt_scale or location_and_scale, or say the known scale: likelihoods.normal(scale)"
        )
    return f


def _normal_sample(key, f):
    loc, scale = _pair(f)
    return loc + scale * jax.random.normal(key, jnp.shape(loc), jnp.result_type(loc))


def _normal_mean(f):
    return f[0]


def _normal_variance(f):
    return f[1] ** 2


def _known_normal_log_prob(y, f, scale):
    if isinstance(f, tuple):
        raise ValueError(
            "likelihoods.normal(scale) takes f = loc but the network gives (loc, scale); use likelihoods.normal()"
        )
    return _normal_log_prob(y, (f, jnp.asarray(scale, jnp.result_type(f))))


def _known_normal_sample(key, f, scale):
    return _normal_sample(key, (f, scale))


def _known_normal_mean(f):
    return f


def _known_normal_variance(f, scale):
    return jnp.full_like(f, 1.0) * jnp.asarray(scale) ** 2


def _real(y, f):
    """finite real numbers"""
    return jnp.isfinite(y)


def bernoulli() -> Likelihood:
    """Two classes: log p(y | f) = y log σ(f) + (1 − y) log σ(−f), f [N] the logits, y in {0, 1}.

    >>> float(bernoulli().log_prob(jnp.array([1.0]), jnp.array([-1e4]))[0])
    -10000.0
    """
    return Likelihood(_bernoulli_log_prob, _bernoulli_sample, jax.nn.sigmoid, _bernoulli_variance, _binary)


def _bernoulli_log_prob(y, f):
    # log σ(±f), not log(1 − σ(f)): finite at ±1e4 and exact to the last digits of probabilities like 1e-300
    return y * jax.nn.log_sigmoid(f) + (1 - y) * jax.nn.log_sigmoid(-f)


def _bernoulli_sample(key, f):
    return jax.random.bernoulli(key, jax.nn.sigmoid(f)).astype(jnp.result_type(f))


def _bernoulli_variance(f):
    return jax.nn.sigmoid(f) * jax.nn.sigmoid(-f)


def _binary(y, f):
    """0 or 1"""
    return (y == 0) | (y == 1)


def categorical() -> Likelihood:
    """K classes: log p(y = k | f) = f_k − logsumexp(f), f [N, K] the logits, y [N] integers 0..K−1.

    `mean` and `variance` are those of the one-hot vector, [N, K].

    >>> round(float(categorical().log_prob(jnp.array([2]), jnp.zeros((1, 3)))[0]), 4)  # −log 3
    -1.0986
    """
    return Likelihood(_categorical_log_prob, _categorical_sample, jax.nn.softmax, _categorical_variance, _label)


def _categorical_log_prob(y, f):
    if jnp.ndim(f) != 2:
        raise ValueError(
            f"f has shape {jnp.shape(f)} but categorical needs logits [N, K]; let the network have K outputs"
        )
    log_probs = jax.nn.log_softmax(f)
    return jnp.take_along_axis(log_probs, jnp.asarray(y).astype(int)[:, None], axis=1)[:, 0]


def _categorical_sample(key, f):
    return jax.random.categorical(key, f)


def _categorical_variance(f):
    probs = jax.nn.softmax(f)
    return probs * (1 - probs)


def _label(y, f):
    """an integer label 0..K−1, K the number of columns of f"""
    return (y >= 0) & (y < f.shape[-1]) & (y == jnp.floor(y))


def poisson() -> Likelihood:
    """Counts: log p(y | f) = y f − eᶠ − log y!, f [N] the log rate.

    >>> float(poisson().log_prob(jnp.array([0.0]), jnp.array([0.0]))[0])
    -1.0
    """
    return Likelihood(_poisson_log_prob, _poisson_sample, jnp.exp, jnp.exp, _count)


def _poisson_log_prob(y, f):
    # y·f − eᶠ − log y! cancels catastrophically for large counts. With λ = eᶠ it equals −D(y, λ) minus the Stirling
    # remainder log y! − y log y + y, D being the half deviance (Loader 2000): both small, the second a series in 1/y
    y = jnp.asarray(y, jnp.result_type(f))
    positive = jnp.where(y > 0, y, 1.0)
    u = f - jnp.log(positive)  # log(λ / y)
    half_deviance = jnp.where(y > 0, positive * (jnp.expm1(u) - u), jnp.exp(f))
    return -half_deviance - _stirling_remainder(y)


def _stirling_remainder(y):
    """log y! − y log y + y, without cancellation for large y."""
    large = jnp.where(y > 15, y, 16.0)
    r = 1 / (large * large)
    series = (1 / 12 - r * (1 / 360 - r * (1 / 1260 - r * (1 / 1680 - r / 1188)))) / large
    small = jnp.asarray(_SMALL_REMAINDERS, series.dtype)[jnp.clip(y, 0, 15).astype(int)]
    return jnp.where(y > 15, _HALF_LOG_TWO_PI + 0.5 * jnp.log(large) + series, small)


def _poisson_sample(key, f):
    return jax.random.poisson(key, jnp.exp(f)).astype(jnp.result_type(f))


def _count(y, f):
    """a count 0, 1, 2, …"""
    return (y >= 0) & (y == jnp.floor(y)) & jnp.isfinite(y)
