"""Likelihoods of one label out of K: unordered and ordered."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logit, ndtri
from jax.tree_util import Partial

from probjax import special
from probjax.types import Likelihood, Static


def categorical() -> Likelihood:
    """K classes: log p(y = k | f) = f_k − logsumexp(f), f [N, K] the logits. Canonical link: log, but for a constant.

    y [N] holds integers 0..K−1, or y [N, K] probabilities q of labels (soft or smoothed labels): then `log_prob` is the
    expected log-density Σ_k q_k log p(k | f). Where q is one-hot that is the density itself; elsewhere it is no density
    of q (its exponentials do not integrate to 1 over the simplex).

    `mean` and `variance` are those of the one-hot vector, [N, K].

    >>> round(float(categorical().log_prob(jnp.array([2]), jnp.zeros((1, 3)))[0]), 4)  # −log 3
    -1.0986
    """
    return Likelihood(_categorical_log_prob, jax.random.categorical, jax.nn.softmax, _one_hot_variance, _label, jnp.log)


def _categorical_log_prob(y, f):
    if jnp.ndim(f) != 2 or jnp.shape(f)[1] < 2:
        raise ValueError(
            f"f has shape {jnp.shape(f)} but categorical needs logits [N, K], K ≥ 2; let the network have K outputs"
        )
    if jnp.ndim(y) == 2:
        return jnp.sum(y * jax.nn.log_softmax(f), axis=1)
    return _log_softmax_at(f, jnp.asarray(y).astype(int))


@jax.custom_jvp
def _log_softmax_at(f, label):
    # the digits of a probability near 1 are in Σ − 1, which is `rest` itself where the label is the most probable
    _, ahead, mass, rest = _masses(f, label)
    return ahead - jnp.log1p(rest + (mass - 1))


@_log_softmax_at.defjvp
def _log_softmax_at_jvp(primals, tangents):
    f, label = primals
    others, _, mass, rest = _masses(f, label)
    # at the label the sum of the others, not 1 − p: the same number with its digits
    slope = jnp.where(jnp.arange(f.shape[1]) == label[:, None], rest[:, None], -others) / (mass + rest)[:, None]
    return _log_softmax_at(f, label), jnp.sum(slope * tangents[0], axis=1)


def _masses(f, label):
    """With m = max f: exp(f_j − m), 0 at the label y, [N, K]; f_y − m; exp(f_y − m); the sum of the first, each [N]."""
    below = f - jnp.max(f, axis=1, keepdims=True)
    own = jnp.arange(f.shape[1]) == label[:, None]
    others = jnp.where(own, 0.0, jnp.exp(below))
    ahead = jnp.take_along_axis(below, label[:, None], axis=1)[:, 0]
    rest = others @ jnp.ones(f.shape[1], f.dtype)  # a product: XLA is slow in summing short rows
    return others, ahead, jnp.exp(ahead), rest


def _one_hot_variance(f):
    probs = jax.nn.softmax(f)
    return probs * (1 - probs)


def _label(y, f):
    """an integer label 0..K−1, K the number of columns of f, or K probabilities that sum to 1"""
    if jnp.ndim(y) == 2 and jnp.shape(y) == jnp.shape(f):
        return jnp.all((y >= 0) & (y <= 1), axis=1) & (jnp.abs(jnp.sum(y, axis=1) - 1) < 1e-5)
    return (y >= 0) & (y < f.shape[-1]) & (y == jnp.floor(y))


def ordinal(link: str = "logit") -> Likelihood:
    """K ordered classes: P(y ≤ k | f) = F(c_k − η), F logistic or Gaussian (McCullagh 1980).

    f is (η, c): η [N] and the K − 1 cutpoints [N, K − 1], increasing (`heads.with_cutpoints` makes them so by
    construction; where they are not, a class has a negative mass and its log-density is NaN). y [N] holds integers
    0..K−1. `mean` and `variance` are those of the one-hot vector, [N, K].

    Args:
        link: "logit" (proportional odds) or "probit". With K = 2 they are logistic and probit regression.

    Raises:
        ValueError: another link.

    >>> float(ordinal().log_prob(jnp.array([1]), (jnp.zeros(1), jnp.zeros((1, 1))))[0])  # log ½
    -0.693147...
    """
    if link not in _LINKS:
        raise ValueError(f"likelihoods.ordinal: link is {link!r} but must be one of {sorted(_LINKS)}")
    how = Static(link)
    members = (Partial(member, how) for member in (_ordinal_log_prob, _ordinal_sample, _ordinal_mean))
    return Likelihood(*members, Partial(_ordinal_variance, how), _rank, _LINKS[link].of_probability)


def _ordinal_log_prob(link, y, f):
    return _log_interval(link, *_edges(y, f))


def _edges(y, f):
    """For each row: lower and upper − η, their distance, and which of them exist."""
    location, cutpoints = _unpacked(f)
    last = cutpoints.shape[1]
    y = jnp.asarray(y).astype(int)
    at = lambda index: jnp.take_along_axis(cutpoints, jnp.clip(index, 0, last - 1)[:, None], axis=1)[:, 0]
    lower, upper = at(y - 1), at(y)
    return lower - location, upper - location, upper - lower, y > 0, y < last


def _log_interval(link, lower, upper, width, has_lower, has_upper):
    log_cdf, log_between = _LINKS[link.value].log_cdf, _LINKS[link.value].log_between
    both = has_lower & has_upper
    # an ordered pair stands in where one edge is infinite, so that no NaN hides in the unused branch
    inner = log_between(jnp.where(both, lower, -1.0), jnp.where(both, upper, 1.0), jnp.where(both, width, 2.0))
    outer = log_cdf(jnp.where(has_upper, upper, -lower))
    return jnp.where(both, inner, outer)


def _log_between_logistic(lower, upper, width):
    """log(σ(b) − σ(a)) = log σ(b) + log σ(−a) + log(1 − e^(a−b))."""
    return jax.nn.log_sigmoid(upper) + jax.nn.log_sigmoid(-lower) + _log1m_exp(width)


def _log1m_exp(x):
    """log(1 − e^−x) for x > 0 (Mächler 2012)."""
    near = x < special.LOG_TWO
    return jnp.where(near, jnp.log(-jnp.expm1(-jnp.where(near, x, 1.0))), jnp.log1p(-jnp.exp(-jnp.where(near, 1.0, x))))


def _log_between_normal(lower, upper, width):
    """log(Φ(b) − Φ(a)): by Gauss–Legendre quadrature where the interval is short, as a difference where it is not."""
    middle, half = 0.5 * (lower + upper), 0.5 * width
    short = (half < 1) & (jnp.abs(middle) * half < 1.5)
    by_nodes = _log_short_interval(jnp.where(short, middle, 0.0), jnp.where(short, half, 0.5))
    flip = middle > 0  # the left tail keeps its digits, so the interval is mirrored into it
    a, b = jnp.where(flip, -upper, lower), jnp.where(flip, -lower, upper)
    straddling = b > 0
    log_a, log_b = special.log_normal_cdf(a), special.log_normal_cdf(b)
    tail = log_b + _log1m_exp(jnp.where(short | straddling, 1.0, log_b - log_a))
    outside = jnp.exp(log_a) + jnp.exp(special.log_normal_cdf(-b))
    central = jnp.log1p(-jnp.where(straddling, outside, 0.5))
    return jnp.where(short, by_nodes, jnp.where(straddling, central, tail))


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


def _log_short_interval(middle, half):
    """log ∫ φ(m + t) dt over |t| < h = log φ(m) + log 2h + log of the mean of exp(−t²/2) cosh(mt)."""
    t = half[..., None] * jnp.asarray(_NODES, half.dtype)
    # exp − 1 of both factors, so that a short interval's mean, which is near 1, keeps its digits in the logarithm
    excess = jnp.expm1(-0.5 * t * t + special.log_cosh(middle[..., None] * t))
    mean = jnp.sum(0.5 * jnp.asarray(_WEIGHTS, half.dtype) * excess, axis=-1)
    return -0.5 * middle * middle - special.HALF_LOG_TWO_PI + jnp.log(2 * half) + jnp.log1p(mean)


class _Link(NamedTuple):
    """F as log F, log(F(b) − F(a)), its inverse, and noise with that distribution function."""

    log_cdf: Callable
    log_between: Callable
    of_probability: Callable
    noise: Callable


_LINKS = {
    "logit": _Link(jax.nn.log_sigmoid, _log_between_logistic, logit, jax.random.logistic),
    "probit": _Link(special.log_normal_cdf, _log_between_normal, ndtri, jax.random.normal),
}


def _unpacked(f):
    if not isinstance(f, tuple) or len(f) != 2 or jnp.ndim(f[1]) != 2:
        raise ValueError(
            "likelihoods.ordinal takes f = (location [N], cutpoints [N, K−1]); wrap the network in with_cutpoints"
        )
    return f


def _ordinal_sample(link, key, f):
    location, cutpoints = _unpacked(f)
    latent = location + _LINKS[link.value].noise(key, location.shape, location.dtype)
    return jnp.sum(latent[:, None] > cutpoints, axis=1)


def _ordinal_mean(link, f):
    location, cutpoints = _unpacked(f)
    labels = range(cutpoints.shape[1] + 1)
    return jnp.stack([jnp.exp(_ordinal_log_prob(link, jnp.full(location.shape, k), f)) for k in labels], axis=1)


def _ordinal_variance(link, f):
    probs = _ordinal_mean(link, f)
    return probs * (1 - probs)


def _rank(y, f):
    """an integer rank 0..K−1, K − 1 being the number of cutpoints"""
    _, cutpoints = _unpacked(f)
    return (y >= 0) & (y <= cutpoints.shape[-1]) & (y == jnp.floor(y))
