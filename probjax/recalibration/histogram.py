"""Histogram binning of two classes."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from probjax.forecasts import Forecast
from probjax.recalibration.calibrator import Calibrator, check_binary, check_fit, finished
from probjax.validation import require_counts, require_finite


class Bins(NamedTuple):
    """edges [B − 1] between the bins of p₁, ascending: bin b is [edges[b − 1], edges[b]), the last one closed at 1.
    values [B]: the new p₁ in each."""

    edges: Array
    values: Array


def histogram_binning(
    forecast: Forecast, labels: Any, *, num_bins: int = 15, equal_mass: bool = True, pseudo_count: Array = 1.0
) -> Calibrator:
    """(n₁ + s)/(n + 2s) in each bin of p₁, n₁ of its n rows being of class 1 (Zadrozny & Elkan 2001; s = 1 is
    Laplace's rule of succession).

    Args:
        forecast, labels: N held-out rows of two classes.
        num_bins: at most; equal edges, where forecasts are tied, make one bin.
        equal_mass: edges at the quantiles of the forecasts; False: B equal widths of [0, 1].
        pseudo_count: s ≥ 0 rows of each class in every bin. 0: shares, which can be exactly 0 and 1. An empty bin
            then takes its middle, an empty bin with s > 0 ½.

    Returns:
        params `Bins`; info: `counts` [B], `converged` (always).

    Raises:
        ValueError: more classes than 2; settings outside their ranges.

    Sorts in NumPy, so it cannot be traced; the map that it returns can.

    >>> from probjax.forecasts import from_probs
    >>> forecast = from_probs(np.array([0.1, 0.2, 0.7, 1.0]))
    >>> fitted = histogram_binning(forecast, np.array([0, 0, 1, 0]), num_bins=2, equal_mass=False)
    >>> fitted.params.values.tolist()
    [0.25, 0.5]
    """
    forecast, labels = check_fit("histogram_binning", forecast, labels)
    check_binary("histogram_binning", forecast)
    require_counts("histogram_binning", num_bins=(num_bins, 1))
    require_finite("histogram_binning", "pseudo_count", pseudo_count)
    if pseudo_count < 0:
        raise ValueError(f"histogram_binning: pseudo_count is {pseudo_count} but must not be negative; 0 is none")
    prob = np.exp(np.asarray(forecast.log_probs[:, 1]))
    inner = np.linspace(0, 1, num_bins + 1)[1:-1].astype(prob.dtype)
    edges = np.unique(np.quantile(prob, inner)).astype(prob.dtype) if equal_mass else inner
    edges = edges[edges > prob.min()] if equal_mass else edges  # at the least forecast nothing lies below an edge
    index = np.searchsorted(edges, prob, side="right")
    counts = np.bincount(index, minlength=len(edges) + 1)
    ones = np.bincount(index, weights=np.asarray(labels), minlength=len(edges) + 1)
    bounds = np.concatenate([[0], edges, [1]])
    total = counts + 2 * float(pseudo_count)
    values = np.where(
        total > 0, (ones + float(pseudo_count)) / np.maximum(total, 1e-300), (bounds[1:] + bounds[:-1]) / 2
    )
    empty = int((counts == 0).sum())
    note = f"{empty} of {len(counts)} bins have no row" if empty else ""
    params = Bins(jnp.asarray(edges), jnp.asarray(values, prob.dtype))
    info = {"counts": counts, "converged": True}
    return finished("histogram_binning", params, apply, info, forecast, labels, note=note)


def apply(params: Bins, forecast: Forecast) -> Forecast:
    """The value of each row's bin."""
    prob = params.values[jnp.searchsorted(params.edges, forecast.probs[:, 1], side="right")]
    return Forecast(jnp.stack([jnp.log1p(-prob), jnp.log(prob)], axis=1))
