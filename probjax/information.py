"""Entropy, cross-entropy and Kullback–Leibler divergence, in nats, with zeros meaning what they mean: no clipping.

Probabilities are the last axis [..., K]. 0 log 0 is 0; mass where the other has none is infinite.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from probjax.special import deviance_term, expm1_remainder


def entropy(p: Array) -> Array:
    """H(p) = −Σ p log p.

    >>> float(entropy(jnp.array([0.0, 1.0])))
    0.0
    """
    positive = jnp.where(p > 0, p, 1.0)
    return -jnp.sum(p * jnp.log(positive), axis=-1) + 0.0


def cross_entropy(p: Array, q: Array) -> Array:
    """H(p, q) = −Σ p log q = H(p) + KL(p ‖ q); infinite where q = 0 < p.

    >>> float(cross_entropy(jnp.array([0.0, 1.0]), jnp.array([1.0, 0.0])))
    inf
    """
    # where neither has mass log q is not asked for, so that no 0/0 hides in a gradient
    return -jnp.sum(p * jnp.log(jnp.where((p > 0) | (q > 0), q, 1.0)), axis=-1) + 0.0


def kl(p: Array, q: Array) -> Array:
    """KL(p ‖ q) = Σ p log(p/q), as Σ (p log(p/q) + q − p), whose terms are never negative: for probabilities the same
    number, with its digits where p is near q.

    >>> float(kl(jnp.array([0.5, 0.5]), jnp.array([0.5, 0.5])))
    0.0
    """
    seen, possible = p > 0, q > 0
    ratio = jnp.where(seen & possible, q, 1.0) / jnp.where(seen & possible, p, 1.0)
    u = jnp.where(jnp.abs(ratio - 1) < 0.5, jnp.log1p(_relative(p, q, seen & possible)), jnp.log(ratio))
    terms = deviance_term(jnp.where(seen, p, 1.0), q, u)
    return jnp.sum(jnp.where(seen, jnp.where(possible, terms, jnp.inf), q), axis=-1)


def _relative(p, q, usable):
    """q/p − 1, exact in the difference; 0 where it is not used."""
    change = (q - p) / jnp.where(usable, p, 1.0)
    return jnp.where(usable & (jnp.abs(change) < 0.6), change, 0.0)


def kl_normal(loc: Array, scale: Array, other_loc: Array, other_scale: Array) -> Array:
    """KL(N(μ₀, σ₀²) ‖ N(μ₁, σ₁²)) = log(σ₁/σ₀) + (σ₀² + (μ₀ − μ₁)²)/2σ₁² − ½, elementwise.

    >>> float(kl_normal(0.0, 1.0, 1.0, 1.0))
    0.5
    """
    log_ratio = jnp.log(jnp.asarray(scale) / other_scale)
    # (e²ʳ − 1 − 2r)/2 with r = log(σ₀/σ₁): never negative
    return 0.5 * expm1_remainder(2 * log_ratio) + 0.5 * ((loc - other_loc) / other_scale) ** 2
