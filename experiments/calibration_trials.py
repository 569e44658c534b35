"""Which map mends forecasts, judged on rows that it has not seen, and what that says to do."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from probjax.forecasts import Forecast
from probjax.recalibration import (
    Assessment,
    Calibrator,
    assess,
    beta,
    floored,
    isotonic,
    one_vs_rest,
    platt,
    temperature,
    vector_scaling,
)
from probjax.recalibration.assessment import change_of

MATERIAL = 0.01  # nats a row: less is not worth a map
FEW_ROWS, FEW_OF_A_CLASS = 100, 10  # in the half of the fit; with fewer no map is fitted
MOST_CLASSES = 20  # of one-vs-rest fits


class Fit(NamedTuple):
    """A calibrator of the first half, and its change on the second; `failed` says why there is none.

    own: log p_y of each row of the second half, after."""

    name: str
    calibrator: Calibrator | None = None
    assessment: Assessment | None = None
    own: np.ndarray | None = None
    failed: str = ""


def try_all(forecast: Forecast, labels: np.ndarray, halves: tuple[np.ndarray, np.ndarray]) -> tuple[list[Fit], str]:
    """Every map, fitted on the first half and judged on the second; and how probabilities of 0 were read, if any.

    Without enough rows there are no fits.
    """
    first = halves[0]
    counts = np.sort(np.bincount(labels[first], minlength=forecast.log_probs.shape[1]))
    if len(first) < FEW_ROWS or counts[-2] < FEW_OF_A_CLASS:
        return [], ""
    said = ""
    if np.isneginf(np.asarray(forecast.log_probs)).any():
        least = 1 / (2 * len(labels))
        forecast = floored(forecast, least)
        said = f"maps and their changes read probabilities of 0 as {least:.1e}, 1/(2N)"
    parts = [Forecast(jnp.asarray(forecast.log_probs)[half]) for half in halves]
    maps = calibrators(forecast.log_probs.shape[1])
    return [one_fit(name, fit, parts, labels, halves) for name, fit in maps.items()], said


def calibrators(num_classes: int) -> dict:
    """name: fit, the simplest first."""
    if num_classes == 2:
        return {"temperature": temperature, "platt": platt, "beta": beta, "isotonic": isotonic}
    many = {"temperature": temperature, "vector scaling": vector_scaling}
    if num_classes > MOST_CLASSES:
        return many
    rest = {"platt": platt, "beta": beta, "isotonic": isotonic}
    return many | {f"{name}, one against the rest": one_vs_rest(fit) for name, fit in rest.items()}


def one_fit(name, fit, parts, labels, halves) -> Fit:
    """A calibrator on its trial."""
    with warnings.catch_warnings(record=True):  # they stand in the calibrator's note
        warnings.simplefilter("always")
        try:
            calibrator = fit(parts[0], labels[halves[0]])
        except ValueError as error:
            return Fit(name, failed=str(error))
        held = labels[halves[1]]
        own = np.asarray(calibrator(parts[1]).log_probs)[np.arange(len(held)), held]
        return Fit(name, calibrator, assess(calibrator, parts[1], held), own)


def best_of(fits: list[Fit]) -> Fit | None:
    """The simplest fit that is better than nothing and than which no richer one is better, by two standard errors."""
    best = None
    for fit in fits:
        if fit.failed or fit.assessment.log_score.verdict != "better":
            continue
        if best is None or change_of(jnp.asarray(fit.own - best.own)).verdict == "better":
            best = fit
    return best


def recommend(fits: list[Fit], p_value: float, alpha: float, labels: np.ndarray, halves) -> list[str]:
    """What the numbers say to do, in sentences."""
    refuted = p_value <= alpha
    verdict = (
        f"calibration is refuted (p = {p_value:.3f})" if refuted else f"calibration is not refuted (p = {p_value:.3f})"
    )
    if not fits:
        counts = np.sort(np.bincount(labels, minlength=2))[::-1]
        lacking = f"{len(labels)} rows, and {2 * FEW_ROWS} are the least, half for the fit and half for its judgement"
        if len(labels) >= 2 * FEW_ROWS:
            lacking = f"{counts[1]} rows of any class but one, and {2 * FEW_OF_A_CLASS} are the least"
        return [f"Too few rows to tell how to mend: {lacking}; {verdict}."]
    best = best_of(fits)
    if best is not None:
        change = best.assessment.log_score
        gain = f"{change.mean:.4f} ± {change.standard_error:.4f} nats a row on rows it has not seen"
        if refuted:
            chosen = ", chosen on them" if len(fits) > 1 else ""
            said = [f"Use {best.name}{settings_of(best)}: it saves {gain}{chosen}; {verdict}.", *direction(best)]
            return [*said, "Fit it again on all held-out rows before use, and never on the rows of the training."]
        return [
            f"Do not mend yet: {best.name} would save {gain}, but {verdict}, and the best of {len(fits)} maps "
            "looks better than it is; more rows would tell."
        ]
    fitted = [fit for fit in fits if not fit.failed]
    if refuted:
        return [
            f"Miscalibrated, and none of {len(fitted)} maps mends it on rows not seen: {verdict}. Look at the diagram "
            "for where; with more rows a richer map could be fitted."
        ]
    changes = [fit.assessment.log_score for fit in fitted if np.isfinite(fit.assessment.log_score.mean)]
    upper = max((float(each.mean + 2 * each.standard_error) for each in changes), default=np.inf)
    bound = f"no map saves more than {max(upper, 0.0):.4f} nats a row (two standard errors above its change)"
    if upper <= MATERIAL:
        return [f"Nothing to mend: {verdict}, and {bound}."]
    return [f"Too few rows to tell: {verdict}, but {bound}, and more than {MATERIAL:g} would be worth a map."]


def settings_of(fit: Fit) -> str:
    """Its parameters, where they are few."""
    params = fit.calibrator.params
    if fit.name == "temperature":
        return f" {1 / float(params.inverse_temperature):.3g}"
    if fit.name == "platt":
        return f" (slope {float(params.slope):.3g}, intercept {float(params.intercept):.3g})"
    return f" (a = {params.a:.3g}, b = {params.b:.3g}, c = {params.c:.3g})" if fit.name == "beta" else ""


def direction(fit: Fit) -> list[str]:
    """Whether forecasts were too bold or too timid, where one number says it."""
    if fit.name not in ("temperature", "platt"):
        return []
    factor = float(fit.calibrator.params[0])  # of the logits
    if not 0 < factor < np.inf or (fit.name == "platt" and factor == 1):
        return []
    words = "too bold: it divides logits" if factor < 1 else "too timid: it multiplies logits"
    shift = f" and adds {float(fit.calibrator.params[1]):+.3g}" if fit.name == "platt" else ""
    return [f"The forecasts are {words} by {1 / factor if factor < 1 else factor:.3g}{shift}."]
