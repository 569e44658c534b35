"""Likelihoods of counts: yes or no, how many of n, how many at all.

The large terms of log p cancel; each density is written as −(half deviance) − (Stirling remainders), both small
(Loader 2000).
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jax.scipy.special import logit

from probjax import special
from probjax.likelihoods.family import Family, check_positive, count, likelihood, standard_uniform
from probjax.types import Likelihood
from probjax.validation import require_positive


def bernoulli() -> Likelihood:
    """Two classes: log p(y | f) = y log σ(f) + (1 − y) log σ(−f), f [N] the logits, y in {0, 1}. Canonical link: logit.

    >>> float(bernoulli().log_prob(jnp.array([1.0]), jnp.array([-1e4]))[0])
    -10000.0
    """
    return likelihood(_BERNOULLI, _binary, logit)


@jax.custom_jvp
def _bernoulli_log_prob(y, logits):
    # log σ(±f) = min(±f, 0) − log(1 + e^−|f|), not log(1 − σ(f)): finite at ±1e4, and exact to the last digits of
    # probabilities like 1e-300; one exponential and one logarithm for both
    outside = y * jnp.minimum(logits, 0.0) + (1 - y) * jnp.minimum(-logits, 0.0)
    return outside - jnp.log1p(jnp.exp(-jnp.abs(logits)))


@partial(_bernoulli_log_prob.defjvp, symbolic_zeros=True)
def _bernoulli_log_prob_jvp(primals, tangents):
    y, logits = primals
    along_y, along_f = tangents
    value = _bernoulli_log_prob(y, logits)
    tangent = jnp.zeros_like(value)
    if not isinstance(along_f, SymbolicZero):
        tangent += _bernoulli_slope(y, logits) * along_f
    if not isinstance(along_y, SymbolicZero):
        tangent += logits * along_y
    return value, tangent


@jax.custom_jvp
def _bernoulli_slope(y, logits):
    """y − σ(f), as y σ(−f) − (1 − y) σ(f): small slopes keep their digits. Its exponential is that of the density."""
    small = jnp.exp(-jnp.abs(logits))
    near = 1 / (1 + small)
    far = small * near
    return y * jnp.where(logits >= 0, far, near) - (1 - y) * jnp.where(logits >= 0, near, far)


@_bernoulli_slope.defjvp
def _bernoulli_slope_jvp(primals, tangents):
    # |f| has no derivative at 0, where a network that starts at 0 is
    return _bernoulli_slope(*primals), tangents[0] - _bernoulli_variance(primals[1]) * tangents[1]


def _bernoulli_sample(key, logits):
    return jax.random.bernoulli(key, jax.nn.sigmoid(logits)).astype(logits.dtype)


def _bernoulli_variance(logits):
    return jax.nn.sigmoid(logits) * jax.nn.sigmoid(-logits)


def _binary(y, f):
    """0 or 1"""
    return (y == 0) | (y == 1)


_BERNOULLI = Family(
    "bernoulli", ("logits",), _bernoulli_log_prob, _bernoulli_sample, jax.nn.sigmoid, _bernoulli_variance
)


def binomial(total_count: float | Array | None = None) -> Likelihood:
    """y successes in n trials: log p = log C(n, y) + y log σ(f) + (n − y) log σ(−f). Canonical link: logit.

    Args:
        total_count: n, a number or [N]; `None`: f is (logits, n), n coming with x.

    >>> round(float(jnp.exp(binomial(4.0).log_prob(jnp.array([2.0]), jnp.zeros(1)))[0]), 6)
    0.375
    """
    require_positive("likelihoods.binomial", "total_count", total_count, "for one that comes with x pass None")
    return likelihood(_BINOMIAL, _within_total, logit, total_count=total_count)


def _binomial_log_prob(y, logits, total):
    inner = (y > 0) & (y < total)
    trials = jnp.where(inner, total, 2.0)
    hits = jnp.where(inner, y, 1.0)
    misses = trials - hits
    deviance = special.binomial_deviance(hits, misses, special.log_ratio(logits, hits / misses))
    choose = special.log_factorial_remainder(trials) - special.log_factorial_remainder(hits)
    between = choose - special.log_factorial_remainder(misses) - deviance
    # at y = 0 and y = n one term is left
    return jnp.where(inner, between, total * jax.nn.log_sigmoid(jnp.where(y > 0, logits, -logits)))


def _binomial_sample(key, logits, total):
    return jax.random.binomial(key, total, jax.nn.sigmoid(logits), logits.shape, logits.dtype)


def _within_total(y, f, total_count=None):
    """a count 0, 1, …, n"""
    total = f[1] if total_count is None else jnp.asarray(total_count)
    return count(y, f) & (y <= total)


_BINOMIAL = Family(
    "binomial",
    ("logits", "total_count"),
    _binomial_log_prob,
    _binomial_sample,
    lambda logits, total: total * jax.nn.sigmoid(logits),
    lambda logits, total: total * _bernoulli_variance(logits),
)


def poisson() -> Likelihood:
    """Counts: log p(y | f) = y f − eᶠ − log y!, f [N] the log rate. Canonical link: log.

    >>> float(poisson().log_prob(jnp.array([0.0]), jnp.array([0.0]))[0])
    -1.0
    """
    return likelihood(_POISSON, count, jnp.log)


@jax.custom_jvp
def _poisson_log_prob(y, log_rate):
    seen = y > 0
    hits = jnp.where(seen, y, 1.0)
    deviance = special.deviance_term(hits, jnp.exp(log_rate), special.log_ratio(log_rate, hits))
    return -jnp.where(seen, deviance, jnp.exp(log_rate)) - special.log_factorial_remainder(y)


@partial(_poisson_log_prob.defjvp, symbolic_zeros=True)
def _poisson_log_prob_jvp(primals, tangents):
    # y − eᶠ along f: a fifth of the work of differentiating the form above, and fits do little else
    y, log_rate = primals
    along_y, along_f = tangents
    value = _poisson_log_prob(y, log_rate)
    tangent = jnp.zeros_like(value)
    if not isinstance(along_f, SymbolicZero):
        # two forms of y − eᶠ: the digits of −eᶠ at 0, and of 1 − eᶠ for f near 0
        slope = jnp.where(y > 0, (y - 1) - jnp.expm1(log_rate), -jnp.exp(log_rate))
        tangent += slope * along_f
    if not isinstance(along_y, SymbolicZero):  # f − ψ(y + 1), Γ standing in for the factorial
        tangent += (log_rate - jax.scipy.special.digamma(y + 1)) * along_y
    return value, tangent


def _poisson_sample(key, log_rate):
    return jax.random.poisson(key, jnp.exp(log_rate), log_rate.shape).astype(log_rate.dtype)


_POISSON = Family("poisson", ("log_rate",), _poisson_log_prob, _poisson_sample, jnp.exp, jnp.exp)


def negative_binomial(concentration: float | Array | None = None) -> Likelihood:
    """Overdispersed counts with mean μ = eᶠ and variance μ + μ²/r: a Poisson whose rate is Gamma with shape r.

    log p = log Γ(y + r) − log Γ(r) − log y! + r log(r/(r + μ)) + y log(μ/(r + μ)) (Hilbe 2011, NB2). The link is the
    logarithm, which is not canonical.

    Args:
        concentration: r > 0; r → ∞ is the Poisson; `None`: f is (log μ, r).

    >>> float(negative_binomial(1.0).log_prob(jnp.zeros(1), jnp.zeros(1))[0])  # geometric: log ½
    -0.693147...
    """
    check_positive("negative_binomial", concentration=concentration)
    return likelihood(_NEGATIVE_BINOMIAL, count, jnp.log, concentration=concentration)


def _negative_binomial_log_prob(y, log_mean, r):
    odds = special.log_ratio(log_mean, r)  # log μ/r
    far = odds > 30
    few = (y == 0) | ((y == 1) & (log_mean < -1) & ~far)
    hits = jnp.where(few, 1.0, y)
    deviance = special.binomial_deviance(hits, r, special.log_ratio(log_mean, hits))
    remainders = special.stirling_remainder(hits + r) - special.stirling_remainder(r)
    many = remainders - 0.5 * jnp.log1p(hits / r) - special.log_factorial_remainder(hits) - deviance
    # y f − (y + r) log(1 + μ/r): all there is at 0 and 1; at 1 and a small mean the terms above cancel to nothing in r
    mean = jnp.exp(jnp.where(far, 0.0, log_mean))
    log_share = jnp.where(far, r * jax.nn.softplus(jnp.where(far, odds, 31.0)), special.scaled_log1p(mean, r))
    return jnp.where(few, jnp.where(y > 0, log_mean - jnp.log1p(mean / r), 0.0) - log_share, many)


def _negative_binomial_sample(key, log_mean, r):
    rate_key, count_key = jax.random.split(key)
    log_rate = log_mean + jax.random.loggamma(rate_key, r, log_mean.shape) - jnp.log(r)
    return _poisson_sample(count_key, log_rate.astype(log_mean.dtype))


_NEGATIVE_BINOMIAL = Family(
    "negative_binomial",
    ("log_mean", "concentration"),
    _negative_binomial_log_prob,
    _negative_binomial_sample,
    lambda log_mean, r: jnp.exp(log_mean),
    lambda log_mean, r: jnp.exp(log_mean) + jnp.exp(2 * log_mean) / r,
)


def zero_inflated_poisson(zero_logit: float | Array | None = None) -> Likelihood:
    """A count that is 0 for sure with probability π = σ(zero_logit), else Poisson with rate λ = eᶠ (Lambert 1992):
    p(0) = π + (1 − π) e^−λ, p(y) = (1 − π) Poisson(y | λ).

    Args:
        zero_logit: known; `None`: f is (log λ, zero_logit).

    >>> float(zero_inflated_poisson(0.0).log_prob(jnp.zeros(1), jnp.full(1, 100.0))[0])  # log ½
    -0.693147...
    """
    return likelihood(_ZERO_INFLATED, count, jnp.log, zero_logit=zero_logit)


def _zero_inflated_log_prob(y, log_rate, zero_logit):
    rate = jnp.exp(jnp.minimum(log_rate, 80.0))  # p(0) is π far below this; an infinite rate would make 0 · ∞
    # log(π + (1 − π) e^−λ) as log(1 − (1 − π)(1 − e^−λ)) where that is above ½, so that p(0) near 1 keeps its digits
    # (as an exponential of a logarithm: the derivative of jax.nn.sigmoid loses its digits where it is near 1)
    lost = jnp.exp(jax.nn.log_sigmoid(-zero_logit)) * -jnp.expm1(-rate)
    likely = lost < 0.5
    direct = jnp.log1p(-jnp.where(likely, lost, 0.0))
    none = jnp.where(likely, direct, jax.nn.log_sigmoid(-zero_logit) + jnp.logaddexp(zero_logit, -rate))
    some = jax.nn.log_sigmoid(-zero_logit) + _poisson_log_prob(y, jnp.where(y > 0, log_rate, 0.0))
    return jnp.where(y > 0, some, none)


def _zero_inflated_sample(key, log_rate, zero_logit):
    zero_key, count_key = jax.random.split(key)
    counts = _poisson_sample(count_key, log_rate)
    return jnp.where(standard_uniform(zero_key, log_rate) < jax.nn.sigmoid(zero_logit), 0.0, counts)


def _zero_inflated_variance(log_rate, zero_logit):
    rate = jnp.exp(log_rate)
    return jax.nn.sigmoid(-zero_logit) * rate * (1 + jax.nn.sigmoid(zero_logit) * rate)


_ZERO_INFLATED = Family(
    "zero_inflated_poisson",
    ("log_rate", "zero_logit"),
    _zero_inflated_log_prob,
    _zero_inflated_sample,
    lambda log_rate, zero_logit: jax.nn.sigmoid(-zero_logit) * jnp.exp(log_rate),
    _zero_inflated_variance,
)
