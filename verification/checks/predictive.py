"""Predictions compared: classes and their probabilities, and rows that show whether predictions hang together."""

from __future__ import annotations

import numpy as np


def agreement(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Whether two predictions name the same class (Izmailov et al. 2021, "What are Bayesian neural network posteriors
    really like?"; its mean over rows is their agreement).

    Args:
        p, q: probabilities [N, K].

    Returns:
        [N] of 0 and 1.

    >>> agreement(np.array([[0.7, 0.3], [0.4, 0.6]]), np.array([[0.9, 0.1], [0.8, 0.2]])).tolist()
    [1.0, 0.0]
    """
    p, q = _probabilities(p, q)
    return (p.argmax(-1) == q.argmax(-1)).astype(float)


def total_variation(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """½ Σₖ |pₖ − qₖ|: the largest difference in the probability of any set of classes.

    Args:
        p, q: probabilities [N, K].

    Returns:
        [N], between 0 and 1.

    >>> total_variation(np.array([[0.7, 0.3]]), np.array([[0.9, 0.1]])).round(12).tolist()
    [0.2]
    """
    p, q = _probabilities(p, q)
    return 0.5 * np.abs(p - q).sum(-1)


def _probabilities(p, q):
    p, q = np.asarray(p, float), np.asarray(q, float)
    if p.shape != q.shape or p.ndim < 1:
        raise ValueError(f"p is {p.shape} but q is {q.shape}; pass both as [rows, classes]")
    for name, value in (("p", p), ("q", q)):
        off = np.max(np.abs(value.sum(-1) - 1), initial=0.0)
        if not (off < 1e-6 and np.all(value >= 0)):
            raise ValueError(
                f"{name} has a row that is no distribution (its sum is off by {off:.2g}); pass softmax(logits)"
            )
    return p, q


def dyadic_rows(rng: np.random.Generator, num_rows: int, *, repeats: int = 10) -> np.ndarray:
    """Two rows drawn out of `num_rows`, each of `repeats` places one of the two at random (Osband et al. 2022, "The
    neural testbed", §4): what is seen at a place says much about the others, so that the joint log predictive of these
    rows tells predictions that hang together from independent ones with the same marginals.

    Returns:
        [repeats] row numbers; draw each place's y anew.
    """
    if num_rows < 2:
        raise ValueError(f"num_rows is {num_rows}; a dyad takes two different rows")
    pair = rng.choice(num_rows, 2, replace=False)
    return pair[rng.integers(2, size=repeats)]
