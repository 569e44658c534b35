"""From held-out scores to the threshold below which a new score falls with probability 1 − α, and the law of that.

A score says how badly a label fits its forecast; the sets are "all labels whose score is at most the threshold". The
calibration rows must not have been trained on, and must be exchangeable with the new ones: a shift of the inputs, or
time, breaks the promise. These functions sort in NumPy and are not traceable.
"""

from __future__ import annotations

import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import stats

from probjax.validation import require_counts, require_fraction


def rank(num_calibration: int, alpha: Any) -> np.ndarray:
    """k = ⌈(n + 1)(1 − α)⌉ (Vovk, Gammerman & Shafer 2005): the threshold is the k-th smallest score; n + 1 says that
    there are too few. Integers, of α's shape. α is read as the decimal it rounds: n = 99, α = 0.29 is 71, not 72.

    >>> rank(99, [0.1, 0.29, 0.001]).tolist()
    [90, 71, 100]
    """
    require_counts("rank", num_calibration=(num_calibration, 1))
    require_fraction("rank", "alpha", alpha)
    alpha = np.asarray(alpha)
    rounding = np.finfo(alpha.dtype).eps / 2 * alpha.astype(float) + 2 * np.finfo(float).eps
    k = np.ceil((num_calibration + 1) * (1 - alpha.astype(float) - rounding)).astype(int)
    return np.maximum(k, 1)


def threshold(scores: Any, alpha: Any) -> Array:
    """The k-th smallest score, k = ⌈(n + 1)(1 − α)⌉: P(new score ≤ threshold) is at least 1 − α for exchangeable
    scores, and at most 1 − α + 1/(n + 1) when ties have probability 0 (Vovk, Gammerman & Shafer 2005; Lei et al. 2018).

    Args:
        scores: [..., n] of held-out rows, larger is worse; +inf may occur. Ties only add coverage.
        alpha: the chance of missing, a number or an array.

    Returns:
        [..., *α's shape]. +inf, with a warning, where n < 1/α − 1: no finite set is safe then.

    Raises:
        ValueError: no scores, NaN, or α not between 0 and 1.

    >>> import numpy as np
    >>> threshold(np.arange(1.0, 20.0), [0.5, 0.1]).tolist()
    [10.0, 18.0]
    """
    scores = checked_scores("threshold", scores)
    ranks = rank(scores.shape[-1], alpha)
    warn_if_infinite("threshold", ranks, scores.shape[-1], alpha)
    return jnp.asarray(kth_smallest(scores, ranks))


def group_thresholds(scores: Any, groups: Any, alpha: Any, num_groups: int) -> Array:
    """A threshold for each group, from its own rows alone (Mondrian; Vovk 2003): coverage 1 − α *within every group*.

    With the label as the group the sets cover every class alike; a new label's score is then held against the
    threshold of that label: `prediction_set(scores, thresholds)`. With a group known from x it is
    `prediction_set(scores, thresholds[groups][:, None])`.

    Args:
        scores: [n].
        groups: [n] integers 0 … G − 1, known without looking at the scores.
        alpha: a number or an array.
        num_groups: G.

    Returns:
        [G, *α's shape]; +inf, with a warning, for groups of too few rows or none.

    Raises:
        ValueError: shapes that do not match, groups other than 0 … G − 1, and as `threshold`.

    >>> import numpy as np
    >>> group_thresholds(np.arange(8.0), np.arange(8) % 2, 0.2, num_groups=2).tolist()
    [6.0, 7.0]
    """
    scores, groups = checked_scores("group_thresholds", scores), np.asarray(groups)
    require_counts("group_thresholds", num_groups=(num_groups, 1))
    if scores.ndim != 1 or groups.shape != scores.shape:
        raise ValueError(
            f"group_thresholds: scores has shape {scores.shape} and groups {groups.shape}; both must be [n], row by row"
        )
    bad = ~np.isin(groups, np.arange(num_groups))
    if bad.any():
        raise ValueError(
            f"group_thresholds: groups must be integers 0 … {num_groups - 1}; {int(bad.sum())} of {len(groups)} are "
            f"not (first: row {int(bad.argmax())}, {groups[bad.argmax()]}); number the groups in order"
        )
    groups = groups.astype(int)
    sizes = np.bincount(groups, minlength=num_groups)
    ranks = np.stack([rank(size, alpha) if size else np.ones(np.shape(alpha), int) for size in sizes.tolist()])
    short = np.flatnonzero((ranks.reshape(num_groups, -1) > sizes[:, None]).any(1))
    if short.size:
        rows = ", ".join(f"group {g}: {sizes[g]} rows" for g in short[:5]) + (", …" if short.size > 5 else "")
        warnings.warn(
            f"group_thresholds: {short.size} of {num_groups} groups have too few calibration rows ({rows}); at least "
            f"{_fewest(alpha)} are needed for α = {np.min(alpha):g}, so their thresholds are infinite: merge groups",
            stacklevel=2,
        )
    parts = np.split(scores[np.argsort(groups, kind="stable")], np.cumsum(sizes)[:-1])
    return jnp.asarray(np.stack([kth_smallest(part, k) for part, k in zip(parts, ranks)]))


def coverage_law(num_calibration: int, alpha: float, num_test: int | None = None) -> Any:
    """The law of what a threshold really covers. Over the draw of n calibration rows the chance that a new row is
    covered is Beta(k, n + 1 − k), k = ⌈(n + 1)(1 − α)⌉ (Vovk 2012), of mean k/(n + 1) in [1 − α, 1 − α + 1/(n + 1)),
    for scores without ties, whatever their distribution. With ties it is stochastically no smaller.

    Args:
        num_test: m. Given, the law is that of the *number* covered of m new rows: beta-binomial(m, k, n + 1 − k).

    Returns:
        A frozen SciPy distribution, with `mean`, `std`, `cdf`, `interval` …

    Raises:
        ValueError: n too small for α: the threshold is infinite and covers always.

    >>> law = coverage_law(99, 0.1)
    >>> round(float(law.mean()), 12), round(float(law.std()), 4)
    (0.9, 0.0299)
    """
    k = int(rank(num_calibration, alpha))
    if k > num_calibration:
        raise ValueError(
            f"coverage_law: num_calibration is {num_calibration}, too few for α = {alpha}: the threshold is infinite "
            f"and coverage 1; use at least {_fewest(alpha)}"
        )
    if num_test is None:
        return stats.beta(k, num_calibration + 1 - k)
    require_counts("coverage_law", num_test=(num_test, 1))
    return stats.betabinom(num_test, k, num_calibration + 1 - k)


def checked_scores(where: str, scores: Any) -> np.ndarray:
    """scores in the precision that JAX computes new scores in, so that a tie stays a tie."""
    scores = np.asarray(jnp.asarray(scores))
    if scores.ndim == 0 or scores.size == 0:
        raise ValueError(f"{where}: scores has shape {scores.shape}; expected [n], a score for each calibration row")
    scores = scores if np.issubdtype(scores.dtype, np.floating) else scores.astype(jnp.result_type(float))
    if np.isnan(scores).any():
        first = tuple(int(i) for i in np.argwhere(np.isnan(scores))[0])
        count = int(np.isnan(scores).sum())
        raise ValueError(f"{where}: scores has {count} NaN of {scores.size} (first at {first}); remove the rows")
    return scores


def kth_smallest(scores: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """scores [..., n], ranks from 1: [..., *shape of ranks]; rank n + 1 is +inf."""
    beyond = np.full((*scores.shape[:-1], 1), np.inf, scores.dtype)
    return np.take(np.concatenate([np.sort(scores, axis=-1), beyond], axis=-1), ranks - 1, axis=-1)


def warn_if_infinite(where: str, ranks: np.ndarray, n: int, alpha: Any) -> None:
    """A caveat in words where n rows cannot promise 1 − α."""
    if (ranks > n).any():
        alphas = np.broadcast_to(np.asarray(alpha, float), np.shape(ranks))
        told = ", ".join(f"{each:g}" for each in np.unique(alphas[np.asarray(ranks) > n]))
        warnings.warn(
            f"{where}: {n} calibration rows are too few for α = {told}: at least {_fewest(alpha)} are needed, so the "
            "threshold there is infinite and every label is covered",
            stacklevel=3,
        )


def _fewest(alpha) -> int:
    """The fewest rows with a finite threshold at the smallest α."""
    n = int(np.ceil(1 / float(np.min(alpha)))) - 1
    return n if n >= 1 and rank(n, np.min(alpha)) <= n else n + 1
