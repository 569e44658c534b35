"""Forecasts of an event in bins: edges, and the count, mean forecast and observed frequency of each bin.

The edge rule, everywhere: a bin holds its lower edge and not its upper one, [a, b); the last, [a, b], holds both, so
that a forecast of exactly 1 belongs to it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from probjax.forecasts import check_labels, check_probs
from probjax.validation import require_counts

EDGE_RULE = "[a, b), the last [a, b]"
BINNINGS = ("equal_mass", "equal_width")
FEW = 5  # rows of either label in a bin below which normal approximations are not to be relied on
UNROLLED = 64  # edges that are compared one by one; more are searched


class Bins(NamedTuple):
    """Bins that hold at least one row, by increasing forecast.

    low, high: [B], edges. count: [B] integers. forecast, frequency: [B], means of the forecasts and of the events.
    """

    low: np.ndarray
    high: np.ndarray
    count: np.ndarray
    forecast: np.ndarray
    frequency: np.ndarray


def equal_width_edges(num_bins: int) -> np.ndarray:
    """[B + 1], the numbers k/B.

    Raises:
        ValueError: num_bins is not a positive integer.

    >>> equal_width_edges(4).tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    require_counts("equal_width_edges", num_bins=(num_bins, 1))
    return np.arange(num_bins + 1) / num_bins


def equal_mass_edges(probs: Any, num_bins: int) -> np.ndarray:
    """Edges 0 = e₀ < … ≤ 1 of at most B bins that hold N/B rows each, as nearly as ties allow: equal forecasts share a
    bin, so each of the B − 1 cuts moves to the nearest place between unlike ones, and cuts that meet become one.

    Not traceable: it sorts, in C.

    Args:
        probs: [N].
        num_bins: B.

    Raises:
        ValueError: probs not [N] or outside [0, 1]; num_bins is not a positive integer.

    >>> equal_mass_edges(np.array([0.125, 0.25, 0.25, 0.5, 0.75, 0.75]), 3).tolist()
    [0.0, 0.25, 0.75, 1.0]
    """
    require_counts("equal_mass_edges", num_bins=(num_bins, 1))
    ordered = np.sort(np.asarray(of_event("equal_mass_edges", probs)))
    starts = np.flatnonzero(ordered[1:] > ordered[:-1]) + 1  # where a cut splits no tie
    if len(starts) == 0 or num_bins == 1:
        return np.array([0, 1], ordered.dtype)
    wanted = np.arange(1, num_bins) * len(ordered) / num_bins
    above = np.minimum(np.searchsorted(starts, wanted), len(starts) - 1)
    below = np.maximum(above - 1, 0)
    nearer = np.where(wanted - starts[below] <= np.abs(starts[above] - wanted), below, above)
    cuts = ordered[starts[np.unique(nearer)]]
    return np.concatenate([[0], cuts, [1]]).astype(ordered.dtype)  # a bin [1, 1] is one of forecasts of exactly 1


def bin_index(probs: Array, edges: Any) -> Array:
    """Which of B bins each forecast falls in, by `EDGE_RULE`.

    Args:
        probs: [N].
        edges: [B + 1], ascending.

    Returns:
        [N] integers 0 … B − 1.

    >>> bin_index(jnp.array([0.0, 0.5, 1.0]), jnp.array([0.0, 0.5, 1.0])).tolist()
    [0, 1, 1]
    """
    inner = jnp.asarray(edges, jnp.result_type(probs))[1:-1]
    if len(inner) > UNROLLED:
        return jnp.searchsorted(inner, probs, side="right").astype(jnp.int32)
    # edges are compared, not divided by: ⌊pB⌋ errs by one at some edges (0.29 · 100 < 29)
    index = jnp.zeros(jnp.shape(probs), jnp.int32)
    for edge in inner:
        index = index + (probs >= edge).astype(jnp.int32)
    return index


def bin_sums(probs: Array, labels: Array, edges: Any) -> tuple[Array, Array, Array]:
    """Per bin: the number of rows, the sum of their forecasts, the number of their events; each [B], an empty bin 0.
    Pure and traceable; nothing is checked.

    Args:
        probs: [N], of the event.
        labels: [N] integers 0 or 1.
        edges: [B + 1], ascending.

    >>> [part.tolist() for part in bin_sums(jnp.array([0.25, 0.5, 1.0]), jnp.array([0, 0, 1]), equal_width_edges(2))]
    [[1, 2], [0.25, 1.5], [0, 1]]
    """
    num_bins = len(edges) - 1
    cell = 2 * bin_index(probs, edges) + labels.astype(jnp.int32)  # events apart: two sums where three would do it
    count = jax.ops.segment_sum(jnp.ones_like(cell), cell, 2 * num_bins, mode="promise_in_bounds").reshape(-1, 2)
    total = jax.ops.segment_sum(probs, cell, 2 * num_bins, mode="promise_in_bounds").reshape(-1, 2)
    return jnp.sum(count, axis=1), jnp.sum(total, axis=1), count[:, 1]


def bin_forecasts(probs: Any, labels: Any, *, num_bins: int = 15, bins: str = "equal_mass") -> Bins:
    """The bins that hold rows.

    Not traceable (empty bins are dropped); `bin_sums` is.

    Args:
        probs: [N], of the event.
        labels: [N], 1 where it occurred, else 0.
        num_bins: B, how many at most.
        bins: "equal_mass" or "equal_width".

    Raises:
        ValueError: probs not [N], NaN or outside [0, 1]; labels other than 0 and 1; an unknown kind of bins.

    >>> found = bin_forecasts(np.array([0.25, 0.25, 0.75, 1.0]), np.array([0, 1, 1, 1]), num_bins=2)
    >>> found.frequency.tolist(), found.forecast.tolist()
    ([0.5, 1.0], [0.25, 0.875])
    """
    require_counts("bin_forecasts", num_bins=(num_bins, 1))
    probs, labels, edges = _checked("bin_forecasts", probs, labels, num_bins, bins)
    count, forecast, events = (np.asarray(part) for part in _compiled_sums(probs, labels, jnp.asarray(edges)))
    held = count > 0
    low, high = np.asarray(edges[:-1], float), np.asarray(edges[1:], float)
    count = count[held]
    return Bins(low[held], high[held], count, np.asarray(forecast, float)[held] / count, events[held] / count)


def bin_caveats(found: Bins, num_bins: int) -> tuple[str, ...]:
    """What a reader of binned numbers should be told."""
    said = []
    num_rows, num_events = int(found.count.sum()), float(found.frequency @ found.count)
    if num_rows < num_bins:
        said.append(f"{num_rows} rows for {num_bins} bins: fewer bins, or more rows")
    if len(found.count) == 1 and num_bins > 1:
        said.append("all forecasts share one bin: only their mean is compared with the frequency")
    elif len(found.count) < num_bins:
        said.append(f"{len(found.count)} bins of {num_bins} hold rows (ties are not split, empty bins are dropped)")
    few = int((found.count * np.minimum(found.forecast, 1 - found.forecast) < FEW).sum())
    if few:
        said.append(
            f"bins with fewer than {FEW} rows of either label to be expected: {few} of {len(found.count)}; there "
            "intervals are rough, being by a normal approximation"
        )
    if round(num_events) in (0, num_rows):
        said.append(f"all labels are {int(round(num_events) > 0)}: nothing can be learnt of the other class")
    return tuple(said)


_compiled_sums = jax.jit(bin_sums)


def of_event(where: str, probs: Any) -> Array:
    """probs [N] of one event.

    Raises:
        ValueError: another shape, or probs that are none.
    """
    probs = check_probs(where, probs)
    if probs.ndim != 1:
        raise ValueError(
            f"{where}: probs has shape {probs.shape} but must be [N], chances of one event; for K classes pass one "
            "column, or see classwise_error and top_label_error"
        )
    return probs


def _checked(where, probs, labels, num_bins, bins):
    """probs [N], labels [N] and edges [B + 1]."""
    if bins not in BINNINGS:
        raise ValueError(f"{where}: bins is {bins!r} but must be one of {', '.join(BINNINGS)}")
    probs = of_event(where, probs)
    labels = check_labels(where, labels, probs.shape[0], 2)
    return probs, labels, equal_width_edges(num_bins) if bins == "equal_width" else equal_mass_edges(probs, num_bins)
