"""Scores of how unlike the training data an input looks to a classifier, all *larger for stranger inputs*, and how well
a score tells two sets of inputs apart.

Entropy and mutual information are such scores too: `information.entropy(probs)` and
`uncertainty.split_entropy(probs).epistemic`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import stats

from probjax.forecasts import check_probs
from probjax.validation import require_positive


def doubt(probs: Any) -> Array:
    """1 − max p (Hendrycks & Gimpel 2017), summed over the other classes, so that 1e-30 is not 0.

    Args:
        probs: [N] of class 1 of two, or [N, K].

    Returns:
        [N], in [0, 1 − 1/K].

    Raises:
        ValueError: as `forecasts.check_probs`.

    >>> doubt(jnp.array([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]])).tolist()
    [0.5, 0.0]
    """
    probs = _by_class("doubt", probs)
    likeliest = jnp.arange(probs.shape[1]) == jnp.argmax(probs, axis=1)[:, None]
    return jnp.sum(jnp.where(likeliest, 0.0, probs), axis=1)


def closeness(probs: Any) -> Array:
    """1 − (p₍₁₎ − p₍₂₎), the two likeliest classes: 1 less the margin (Scheffer, Decomain & Wrobel 2001).

    Args, Raises: as `doubt`.

    Returns:
        [N], in [0, 1]; 1 where two classes tie.

    >>> closeness(jnp.array([[0.5, 0.25, 0.25], [0.5, 0.5, 0.0]])).tolist()
    [0.75, 1.0]
    """
    probs = _by_class("closeness", probs)
    two, at = jax.lax.top_k(probs, 2)
    others = jnp.sum(jnp.where(jnp.arange(probs.shape[1]) == at[:, :1], 0.0, probs), axis=1)
    return others + two[:, 1]  # 1 − p₍₁₎ + p₍₂₎ without the subtraction


def free_energy(logits: Array, temperature: Array = 1.0) -> Array:
    """−T log Σ_k exp(f_k/T) (Liu et al. 2020, the "energy" of a classifier; not the energy score of a forecast).

    It needs logits as the network gives them: a constant added to a row changes nothing in the probabilities and
    everything here.

    Args:
        logits: [N, K]; −inf is a class that cannot occur.
        temperature: T > 0; towards 0 it becomes −max f.

    Returns:
        [N], in units of the logits.

    Raises:
        ValueError: another shape, NaN or +inf, a temperature that is not positive.

    >>> free_energy(jnp.array([[0.0, 0.0], [3.0, -jnp.inf]])).round(4).tolist()
    [-0.693..., -3.0]
    """
    logits = jnp.asarray(logits)
    if logits.ndim != 2:
        raise ValueError(f"free_energy: logits has shape {logits.shape}; expected [N, K], before the softmax")
    if not isinstance(logits, jax.core.Tracer):
        bad = np.isnan(logits) | np.isposinf(logits)
        if bad.any():
            raise ValueError(
                f"free_energy: logits has {int(bad.sum())} values of {bad.size} that are NaN or +inf (first: row "
                f"{int(bad.any(1).argmax())}); remove the rows"
            )
    require_positive("free_energy", "temperature", temperature, "1 is the usual one")
    return -temperature * jax.nn.logsumexp(logits / temperature, axis=1)


class Auroc(NamedTuple):
    """area: P(out > in) + ½ P(out = in); ½ is chance. standard_error: of it."""

    area: float
    standard_error: float


def auroc(score_in: Any, score_out: Any) -> Auroc:
    """The area under the ROC curve, Mann & Whitney's U/(mn), ties one half, with the standard error of DeLong, DeLong &
    Clarke-Pearson 1988: √(s²_in/m + s²_out/n), the spread of each row's share of the other set on its right side.

    The standard error is 0 where the two sets do not overlap: it then says that m and n are too small to tell 1 from
    1 − 3/min(m, n), not that the area is known. Midranks by sorting, O((m + n) log(m + n)); not traceable.

    Args:
        score_in: [m], of rows like the training data, m ≥ 2. Infinite scores are ordered as they are.
        score_out: [n], of the strange ones, n ≥ 2; rows independent.

    Raises:
        ValueError: other shapes, fewer than two rows, NaN.

    >>> auroc([0.1, 0.2, 0.3], [0.2, 0.4]).area
    0.75
    """
    score_in, score_out = _checked("score_in", score_in), _checked("score_out", score_out)
    m, n = len(score_in), len(score_out)
    together = stats.rankdata(np.concatenate([score_in, score_out]))
    share_in = 1 - (together[:m] - stats.rankdata(score_in)) / n  # of out above each in
    share_out = (together[m:] - stats.rankdata(score_out)) / m  # of in below each out
    spread = np.var(share_in, ddof=1) / m + np.var(share_out, ddof=1) / n
    return Auroc(float(np.mean(share_out)), float(np.sqrt(spread)))


def _by_class(where, probs):
    probs = check_probs(where, probs)
    return jnp.stack([1 - probs, probs], axis=1) if probs.ndim == 1 else probs


def _checked(name, scores):
    scores = np.asarray(scores)
    if scores.ndim != 1 or scores.size < 2:
        raise ValueError(f"auroc: {name} has shape {scores.shape}; expected one score a row, two rows or more")
    if np.isnan(scores).any():
        raise ValueError(f"auroc: {name} has {int(np.isnan(scores).sum())} NaN of {scores.size}; remove those rows")
    return scores
