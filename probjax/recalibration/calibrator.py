"""What every fit returns: a map from forecasts to forecasts, what is known of the fit, and a mark of its rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from probjax.forecasts import Forecast, check_labels
from probjax.types import Params, Static, function


class Rows(NamedTuple):
    """A mark of the rows of a fit: how many they are, and a sum over rows of hashes of (log p_y, y), modulo 2³²,
    which their order does not move. Other rows share it with a chance of about 2⁻³²."""

    num_rows: Array
    digest: Array


class _Calibrator(NamedTuple):
    params: Params
    apply: Callable[[Params, Forecast], Forecast]
    info: dict[str, Array]
    rows: Rows
    words: Static


class Calibrator(_Calibrator):
    """A map of forecasts, fitted on held-out rows; `calibrator(forecast)` is the recalibrated `Forecast`.

    params: arrays (their names and units stand with each fit).
    apply:  (params, forecast) -> Forecast, pure and traceable. It is a `Partial` over a module's function, so that
            under jit, given as arguments, it and params are compiled once a kind and a shape.
    info:   arrays about the fit, `converged` among them.
    rows:   the mark of the rows it was fitted on, by which `assess` knows them again.
    name, note: the fit's name, and in words what a reader must know of this fit ("" if nothing).
    """

    __slots__ = ()

    def __new__(cls, params, apply, info, rows, words):
        return super().__new__(cls, params, function(apply), info, rows, words)

    @property
    def name(self) -> str:
        return self.words.value[0]

    @property
    def note(self) -> str:
        return self.words.value[1]

    def __str__(self) -> str:
        note = f"\nnote: {self.note}" if self.note else ""
        return f"{self.name}, fitted on {self.rows.num_rows} rows: {self.params}{note}"

    def __call__(self, forecast: Forecast) -> Forecast:
        if not isinstance(forecast, Forecast):
            raise TypeError(
                f"{self.name}: a calibrator maps a Forecast, not a {type(forecast).__name__}; make one with "
                "forecasts.from_probs or forecasts.from_logits"
            )
        return self.apply(self.params, forecast)


def finished(
    name: str,
    params: Params,
    apply: Callable,
    info: dict[str, Any],
    forecast: Forecast,
    labels: Array,
    *,
    note: str = "",
    warn: bool = False,
    rows: Rows | None = None,
) -> Calibrator:
    """The `Calibrator` of a fit that is done. `warn`: the note is also a UserWarning. `rows`: their mark, if known."""
    if warn and note:
        warnings.warn(f"{name}: {note}", stacklevel=3)
    rows = mark(forecast, labels) if rows is None else rows
    return Calibrator(params, apply, {k: jnp.asarray(v) for k, v in info.items()}, rows, Static((name, note)))


def check_fit(where: str, forecast: Any, labels: Any) -> tuple[Forecast, Array]:
    """The forecast and its labels as integers.

    Raises:
        TypeError: not a Forecast.
        ValueError: labels that `forecasts.check_labels` refuses; NaN among the log-probabilities.
    """
    forecast, labels = check_rows(where, forecast, labels)
    if np.isnan(np.min(forecast.log_probs)):
        check_not_nan(where, forecast)
    return forecast, labels


def check_rows(where: str, forecast: Any, labels: Any) -> tuple[Forecast, Array]:
    """As `check_fit`, without a look at the log-probabilities."""
    if not isinstance(forecast, Forecast):
        raise TypeError(
            f"{where}: forecast is a {type(forecast).__name__}; expected a Forecast: pass probabilities through "
            "forecasts.from_probs, logits through forecasts.from_logits"
        )
    return forecast, check_labels(where, labels, *forecast.log_probs.shape)


def check_not_nan(where: str, forecast: Forecast) -> None:
    """Raises:
    ValueError: NaN among the log-probabilities.
    """
    bad = jnp.isnan(forecast.log_probs).any(axis=1)
    if bad.any():
        raise ValueError(
            f"{where}: forecast.log_probs has NaN in {int(bad.sum())} of {len(bad)} rows (first: row "
            f"{int(jnp.argmax(bad))}); remove those rows"
        )


def check_binary(where: str, forecast: Forecast) -> None:
    """Two classes, or an error that names the way for more."""
    if forecast.log_probs.shape[1] != 2:
        raise ValueError(
            f"{where}: forecast has {forecast.log_probs.shape[1]} classes but {where} is for 2; for more use "
            f"one_vs_rest({where})"
        )


def check_possible(where: str, forecast: Forecast) -> None:
    """No probability of exactly 0: its logarithm would be a point of infinite leverage in the fit."""
    if np.isneginf(np.min(forecast.log_probs)):
        zero = jnp.isneginf(forecast.log_probs).any(axis=1)
        raise ValueError(
            f"{where}: {int(zero.sum())} of {len(zero)} rows have a probability of exactly 0 (first: row "
            f"{int(jnp.argmax(zero))}), so their logits are infinite; say the least that 0 may mean with "
            "floored(forecast, least), for a forest of T trees 1/(2T)"
        )


def floored(forecast: Forecast, least: Array) -> Forecast:
    """max(p, least) in each class, divided by its sum over classes: for forecasts whose 0 means "seldom".

    Args:
        least: of a probability, between 0 and 1/K.

    >>> import numpy as np
    >>> from probjax.forecasts import from_probs
    >>> bool(np.isfinite(floored(from_probs(np.array([0.0, 1.0])), 0.01).log_probs).all())
    True
    """
    raised = jnp.maximum(forecast.log_probs, jnp.log(least))
    return Forecast(jax.nn.log_softmax(raised, axis=1))


def finite(log_probs: Array) -> Array:
    """log-probabilities, −inf as the logarithm of the least normal number: maps of logits then stay finite."""
    return jnp.maximum(log_probs, jnp.log(jnp.finfo(log_probs.dtype).tiny))


def log_odds(forecast: Forecast) -> Array:
    """log p₁ − log p₀, [N], of two classes."""
    log_probs = finite(forecast.log_probs)
    return log_probs[:, 1] - log_probs[:, 0]


def forecast_of_log_odds(f: Array) -> Forecast:
    """The forecast of two classes whose log-odds of class 1 are f [N]."""
    return Forecast(jnp.stack([jax.nn.log_sigmoid(-f), jax.nn.log_sigmoid(f)], axis=1))


@jax.jit
def mark(forecast: Forecast, labels: Array) -> Rows:
    """The mark of these rows."""
    own = jnp.take_along_axis(forecast.log_probs, labels[:, None], axis=1)[:, 0]
    words = jax.lax.bitcast_convert_type(own.astype(jnp.float32), jnp.uint32)
    if own.dtype == jnp.float64:  # what single precision leaves out of it tells rows apart too
        rest = (own - jnp.where(jnp.isneginf(own), 0.0, own).astype(jnp.float32)).astype(jnp.float32)
        words = words + jnp.uint32(2654435769) * jax.lax.bitcast_convert_type(rest, jnp.uint32)
    row = words + labels.astype(jnp.uint32) * jnp.uint32(2246822519)
    for shift, factor in ((16, 2146121005), (15, 2221713035)):  # mixes the bits of a row before rows are added
        row = (row ^ (row >> shift)) * jnp.uint32(factor)
    return Rows(jnp.asarray(len(labels)), jnp.sum(row ^ (row >> 16), dtype=jnp.uint32))
