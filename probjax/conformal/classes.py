"""Scores of every class of every row, [N, K], and the sets of classes that a threshold on them makes. Pure, jit-able.

Calibration takes the scores of the labels that occurred, `threshold(at_label(scores, labels), alpha)`; a new row's set
holds the classes whose score is at most that: `prediction_set(scores, threshold)`.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array

from probjax.forecasts import check_labels, check_probs


def lac_scores(probs: Any) -> Array:
    """1 − p_k (Sadinle, Lei & Wasserman 2019): with the true probabilities the smallest sets on average, at the price
    of too little coverage of hard rows; a set may be empty.

    Args:
        probs: [N] of class 1 of two, or [N, K].

    Raises:
        ValueError: as `forecasts.check_probs`.

    >>> lac_scores(jnp.array([[0.75, 0.25]])).tolist()
    [[0.25, 0.75]]
    """
    return 1 - _by_class("lac_scores", probs)


def aps_scores(probs: Any, uniform: Array = 1.0) -> Array:
    """Σ_{j before k} p_j + u p_k, classes in falling order of p (Romano, Sesia & Candès 2020): adaptive sets.

    With u uniform and the true probabilities the score of the label is uniform *given x*, so that coverage holds at
    every x. u = 1 is the version without randomness: never an empty set (for a threshold of at least max p), larger
    ones, and more than 1 − α at x where few classes are possible.

    Args:
        probs: [N] of class 1 of two, or [N, K]. Equal ones are ordered by class.
        uniform: u in [0, 1], [N], drawn afresh for each row (`jax.random.uniform(key, (N,))`), of calibration and of
            test; or 1. Randomised sets may be empty.

    Raises:
        ValueError: as `forecasts.check_probs`; uniform of another shape.

    >>> aps_scores(jnp.array([[0.25, 0.75]])).tolist()
    [[1.0, 0.75]]
    """
    before, _, own = _ordered(_by_class("aps_scores", probs))
    return before + _column("aps_scores", uniform, own) * own


def raps_scores(probs: Any, penalty: Array, num_free: Array, uniform: Array = 1.0) -> Array:
    """The score of `aps_scores` plus λ (r_k − k₀)₊, r_k = 1, 2, … the class's place in falling order of p
    (Angelopoulos et al. 2021): it shuts the long tails of unlikely classes out. λ = 0 is `aps_scores`.

    Args:
        probs, uniform: as `aps_scores`.
        penalty: λ ≥ 0, a number. Chosen, as k₀ is, on other rows than those of the calibration.
        num_free: k₀ ≥ 0: so many places cost nothing.

    Raises:
        ValueError: as `aps_scores`.

    >>> raps_scores(jnp.array([[0.25, 0.75]]), penalty=0.5, num_free=1).tolist()
    [[1.5, 0.75]]
    """
    before, place, own = _ordered(_by_class("raps_scores", probs))
    return before + _column("raps_scores", uniform, own) * own + penalty * jnp.maximum(place - num_free, 0)


def at_label(scores: Array, labels: Any) -> Array:
    """scores[n, label n], [N]: of the classes that occurred. Of sets [N, K] it says which rows are covered.

    Raises:
        ValueError: labels outside 0 … K − 1 or not one a row.

    >>> at_label(jnp.array([[0.25, 0.75], [0.5, 0.5]]), jnp.array([1, 0])).tolist()
    [0.75, 0.5]
    """
    scores = _matrix("at_label", scores)
    labels = check_labels("at_label", labels, *scores.shape)
    return jnp.take_along_axis(scores, labels[:, None], axis=1)[:, 0]


def prediction_set(scores: Array, threshold: Array) -> Array:
    """{k: score of k ≤ threshold}, as booleans [N, K].

    Args:
        scores: [N, K].
        threshold: what broadcasts against [N, K]: a number, [K] by class, or [N, 1] by row.

    >>> prediction_set(jnp.array([[0.1, 0.9], [0.4, 0.6]]), 0.6).tolist()
    [[True, False], [True, True]]
    """
    scores, threshold = _matrix("prediction_set", scores), jnp.asarray(threshold)
    if threshold.shape not in ((), (scores.shape[1],), (scores.shape[0], 1)):
        n, k = scores.shape
        raise ValueError(
            f"prediction_set: threshold has shape {threshold.shape}; expected a number, ({k},) by class or ({n}, 1) by "
            "row"
        )
    return scores <= threshold


def _by_class(where, probs):
    probs = check_probs(where, probs)
    return jnp.stack([1 - probs, probs], axis=1) if probs.ndim == 1 else probs


def _ordered(probs):
    """Of each class: the mass of those before it in falling order, its place from 1, its own mass; [N, K]."""
    order = jnp.argsort(-probs, axis=1, stable=True)
    place = jnp.argsort(order, axis=1)
    cumulative = jnp.cumsum(jnp.take_along_axis(probs, order, axis=1), axis=1)
    before = jnp.concatenate([jnp.zeros_like(cumulative[:, :1]), cumulative[:, :-1]], axis=1)
    return jnp.take_along_axis(before, place, axis=1), place + 1, probs


def _column(where, uniform, probs):
    uniform = jnp.asarray(uniform, probs.dtype)
    if uniform.shape not in ((), (probs.shape[0],)):
        raise ValueError(
            f"{where}: uniform has shape {uniform.shape} but there are {probs.shape[0]} rows; pass "
            f"jax.random.uniform(key, ({probs.shape[0]},)), or 1 for no randomness"
        )
    return jnp.broadcast_to(uniform, (probs.shape[0],))[:, None]


def _matrix(where, scores):
    scores = jnp.asarray(scores)
    if scores.ndim != 2:
        raise ValueError(f"{where}: scores has shape {scores.shape}; expected [N, K], a score for every class")
    return scores
