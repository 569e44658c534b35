"""Scores of binary forecasts that are sorted into bins, as exact sums of terms.

Bins are those of `calibration.bins`: [a, b), the last [a, b], so that p = 1 belongs.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from probjax.calibration.bins import bin_index, equal_width_edges
from probjax.forecasts import Forecast, check_labels, check_probs
from probjax.information import entropy, kl
from probjax.scores.classes import check_weights, concrete, log_score

LANES = 64  # partial sums a bin: a float32 sum of 1e5 terms in a row loses four digits


class BinnedBrier(NamedTuple):
    """score = reliability − resolution + uncertainty + within_bin_variance − 2 within_bin_covariance. Scalars, ≥ 0 but
    for the covariance."""

    score: Array
    reliability: Array
    resolution: Array
    uncertainty: Array
    within_bin_variance: Array
    within_bin_covariance: Array


def brier_in_bins(
    probs: Array | Forecast, labels: Array, edges: Array | None = None, weights: Array | None = None
) -> BinnedBrier:
    """Brier's score in five terms (Stephenson, Coelho & Jolliffe 2008), p̄_b, ȳ_b and w_b being bin b's means and share:

    Σ w_b (p̄_b − ȳ_b)² − Σ w_b (ȳ_b − ȳ)² + ȳ(1 − ȳ) + Σ w_b Var_b[p] − 2 Σ w_b Cov_b[p, y].

    Murphy's (1973) three terms are the score only where each bin holds one value of p.

    Args:
        probs: [N], of class 1; or [N, K] or a `Forecast`: each term is summed over the classes, one against the rest,
            and the score is `brier`'s of [N, K].
        labels: [N].
        edges: [B + 1], from 0 to 1, increasing; None: ten bins of equal width.
        weights: [N], not negative; None: all equal.

    Returns:
        BinnedBrier. The score is the mean of `brier`; that the terms sum to it holds to rounding.

    Raises:
        ValueError: as `brier`; edges that do not rise from 0 to 1; weights as `mean_and_standard_error`.

    >>> terms = brier_in_bins(jnp.array([0.0, 1.0, 0.5, 0.5]), jnp.array([0, 1, 1, 0]))
    >>> float(terms.reliability), float(terms.resolution), float(terms.uncertainty)
    (0.0, 0.125, 0.25)
    """
    where = "brier_in_bins"
    probs = probs.probs if isinstance(probs, Forecast) else check_probs(where, probs)
    labels = check_labels(where, labels, probs.shape[0], probs.shape[1] if probs.ndim == 2 else 2)
    edges = _check_edges(where, edges, probs.dtype)
    weights = None if weights is None else check_weights(where, weights, probs[:, 0] if probs.ndim == 2 else probs)
    if probs.ndim == 1:
        return _brier_terms(probs, labels, edges, weights)
    events = (labels[:, None] == jnp.arange(probs.shape[1])).astype(labels.dtype)
    terms = jax.vmap(_brier_terms, in_axes=(1, 1, None, None))(probs, events, edges, weights)
    return jax.tree.map(jnp.sum, terms)


def _brier_terms(probs, events, edges, weights):
    mass, total = _sums_by_bin(probs, bin_index(probs, edges), events, edges.size - 1, weights)
    share, mean = _share_and_mean(mass, total)
    rate = _rates(mass)[:, 1]
    base_rate = jnp.sum(mass[:, 1]) / jnp.sum(mass)
    average = lambda values: jnp.mean(values) if weights is None else jnp.sum(weights * values) / jnp.sum(weights)
    return BinnedBrier(
        score=average((probs - events) ** 2),
        reliability=jnp.sum(share * (mean - rate) ** 2),
        resolution=jnp.sum(share * (rate - base_rate) ** 2),
        uncertainty=base_rate * (1 - base_rate),
        within_bin_variance=average(probs**2) - jnp.sum(share * mean**2),
        within_bin_covariance=average(probs * events) - jnp.sum(share * mean * rate),
    )


class BinnedLogScore(NamedTuple):
    """score = reliability − resolution + uncertainty + within_bin. Scalars, nats per row; the first three terms are
    never negative."""

    score: Array
    reliability: Array
    resolution: Array
    uncertainty: Array
    within_bin: Array


def log_score_in_bins(
    probs: Array, labels: Array, edges: Array | None = None, weights: Array | None = None
) -> BinnedLogScore:
    """The log score with Kullback–Leibler divergences for squares (Weijs, van Nooijen & van de Giesen 2010) and what
    bins lose:

    Σ w_b KL(ȳ_b ‖ p̄_b) − Σ w_b KL(ȳ_b ‖ ȳ) + H(ȳ) + mean of log(p̄_b(y)/p(y)).

    The last term, 0 where each bin holds one value of p, has either sign: it weighs the spread of p within bins against
    what that spread knows of y.

    Args:
        probs: [N], of class 1.
        labels, edges, weights: as `brier_in_bins`.

    Returns:
        BinnedLogScore. The score is the mean of `log_score`. Where p = 0 occurred it is infinite, and so is either
        reliability, if all of the bin said 0, or within_bin.

    Raises:
        ValueError: as `brier_in_bins`; probs not [N].

    >>> terms = log_score_in_bins(jnp.array([0.0, 1.0, 0.5, 0.5]), jnp.array([0, 1, 1, 0]))
    >>> float(terms.score) == float(terms.resolution), float(terms.within_bin)  # ½ log 2
    (True, 0.0)
    """
    where = "log_score_in_bins"
    probs = check_probs(where, probs)
    if probs.ndim != 1:
        raise ValueError(
            f"{where}: probs has shape {probs.shape}; expected [N]: pass one column, and labels of 0 and 1"
        )
    labels = check_labels(where, labels, probs.shape[0], 2)
    edges = _check_edges(where, edges, probs.dtype)
    weights = check_weights(where, weights, probs)
    bins, num_bins = bin_index(probs, edges), edges.size - 1
    mass, total = _sums_by_bin(probs, bins, labels, num_bins, weights)
    share, mean = _share_and_mean(mass, total)
    # 1 − p̄ is summed by itself: p̄ may round to 1 where some p is less
    rest = _share_and_mean(mass, _sums_by_bin(1 - probs, bins, labels, num_bins, weights)[1])[1]
    means, rates, base_rates = jnp.stack([rest, mean], axis=1), _rates(mass), jnp.sum(mass, axis=0) / jnp.sum(mass)
    average = lambda values: jnp.sum(jnp.where(weights > 0, weights * values, 0.0)) / jnp.sum(weights)
    over_bins = lambda values: jnp.sum(jnp.where(share > 0, share * values, 0.0))
    own, binned = jnp.where(labels == 1, probs, 1 - probs), means[bins, labels]
    differ = own != binned  # where neither gave y a chance the ratio is 1
    return BinnedLogScore(
        score=average(log_score(probs, labels)),
        reliability=over_bins(kl(rates, means)),
        resolution=over_bins(kl(rates, base_rates)),
        uncertainty=entropy(base_rates),
        within_bin=average(jnp.where(differ, jnp.log(jnp.where(differ, binned, 1.0)) - jnp.log(own), 0.0)),
    )


def _sums_by_bin(values, bins, events, num_bins, weights):
    """Σw and Σwv over the rows of each bin and label, both [B, 2]."""
    lane = jax.lax.iota(jnp.int32, values.size) % LANES
    cell = (2 * bins + events) * LANES + lane
    add = lambda terms: jax.ops.segment_sum(terms, cell, 2 * num_bins * LANES).reshape(num_bins, 2, LANES).sum(-1)
    mass = add(jnp.ones(values.shape, jnp.int32)) if weights is None else add(weights)
    return mass.astype(values.dtype), add(values if weights is None else weights * values)


def _share_and_mean(mass, total):
    """[B]: the share of each bin in all, and the mean of its values (0 where it is empty)."""
    of_bin = jnp.sum(mass, axis=1)
    return of_bin / jnp.sum(of_bin), jnp.sum(total, axis=1) / jnp.where(of_bin > 0, of_bin, 1.0)


def _rates(mass):
    """[B, 2]: how often each label occurred in each bin; exactly 0 where it did not."""
    of_bin = jnp.sum(mass, axis=1, keepdims=True)
    return mass / jnp.where(of_bin > 0, of_bin, 1.0)


def _check_edges(where, edges, dtype):
    edges = equal_width_edges(10) if edges is None else edges
    edges = jnp.asarray(edges, dtype)
    if edges.ndim != 1 or edges.size < 2:
        raise ValueError(
            f"{where}: edges has shape {edges.shape}; expected [B + 1], as calibration.equal_width_edges(10)"
        )
    seen = concrete(edges)
    if seen is not None and not (seen[0] == 0 and seen[-1] == 1 and (np.diff(seen) > 0).all()):
        raise ValueError(
            f"{where}: edges must rise from 0 to 1; got {seen.size} from {seen[0]:.6g} to {seen[-1]:.6g}, "
            f"least step {np.diff(seen).min():.3g}"
        )
    return edges
