"""Calibrators of two classes made to serve K."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from probjax.forecasts import Forecast
from probjax.recalibration.calibrator import Calibrator, check_fit, finished


def one_vs_rest(fit: Callable[..., Calibrator]) -> Callable[..., Calibrator]:
    """A fit for K classes out of one for two: class k against all others for each k, then q_k / Σ q (Zadrozny & Elkan
    2002).

    What it breaks: after the division no class is calibrated any more, not even on the rows of the fit; the most
    probable class can change, in ties above all; and it is no maximum-likelihood fit of anything. Rows where every
    class comes out as 0 become uniform.

    Args:
        fit: (forecast, labels, …) -> Calibrator of two classes: `platt`, `beta`, `isotonic`, `histogram_binning`.

    Returns:
        fit for K classes, of the same settings; params: a tuple of K; info: `converged` [K].

    A class that never occurs is one class alone to `fit`: those that refuse that refuse this.

    >>> import numpy as np
    >>> from probjax.forecasts import from_probs
    >>> from probjax.recalibration import isotonic
    >>> forecast = from_probs(np.array([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.3, 0.2, 0.5]]))
    >>> one_vs_rest(isotonic)(forecast, np.array([0, 1, 2])).name
    'one_vs_rest(isotonic)'
    """
    return partial(_fit, fit)


def _fit(fit, forecast: Forecast, labels: Any, **settings) -> Calibrator:
    made = getattr(fit, "__name__", "fit")
    name = f"one_vs_rest({made})"
    forecast, labels = check_fit(name, forecast, labels)
    fits = []
    for k in range(forecast.log_probs.shape[1]):
        try:
            fits.append(fit(against_rest(forecast, k), (labels == k).astype(jnp.int32), **settings))
        except ValueError as error:
            raise ValueError(f"{name}: class {k} against the others: {error}") from error
    notes = "; ".join(f"class {k}: {each.note}" for k, each in enumerate(fits) if each.note)
    info = {"converged": jnp.stack([each.info["converged"] for each in fits])}
    params = tuple(each.params for each in fits)
    return finished(name, params, Partial(apply, fits[0].apply), info, forecast, labels, note=notes)


def against_rest(forecast: Forecast, k: int) -> Forecast:
    """The forecast of two classes: k (class 1), or any other (class 0)."""
    others = jnp.concatenate([forecast.log_probs[:, :k], forecast.log_probs[:, k + 1 :]], axis=1)
    return Forecast(jnp.stack([jax.nn.logsumexp(others, axis=1), forecast.log_probs[:, k]], axis=1))


def apply(each: Callable, params: tuple, forecast: Forecast) -> Forecast:
    """q_k of each class's own map, divided by their sum."""
    columns = [each(params[k], against_rest(forecast, k)).log_probs[:, 1] for k in range(len(params))]
    log_probs = jnp.stack(columns, axis=1)
    nothing = jnp.isneginf(jnp.max(log_probs, axis=1, keepdims=True))
    return Forecast(jax.nn.log_softmax(jnp.where(nothing, 0.0, log_probs), axis=1))
