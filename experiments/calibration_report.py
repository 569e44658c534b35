"""What is measured of predictions, and what follows from it: the numbers and the words of `experiments.calibrate`."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import jax
import numpy as np

from experiments.calibration_trials import Fit, recommend, try_all
from experiments.prediction_files import Predictions
from probjax import calibration, conformal, scores, selective
from probjax.forecasts import Forecast

NUM_BINS = 15
MISS = 0.1  # of conformal sets
TEST_NUMBERS = 2_000_000  # rows times events that the test takes; more rows are sampled
KERNEL_ROWS = 4_000  # of the quadratic kernel error


class Row(NamedTuple):
    """A line of the report: what, the number, its interval or standard error, and what to hold beside it."""

    what: str
    value: str
    spread: str = ""
    beside: str = ""


class Report(NamedTuple):
    """rows, recommendation and caveats are the report; the rest is the figure's (chance: [N], of the event)."""

    rows: list[Row]
    recommendation: list[str]
    caveats: list[str]
    diagram: calibration.ReliabilityDiagram
    event: str
    chance: np.ndarray
    curve: selective.RiskCoverage
    aurc: selective.Aurc


def measure(predictions: Predictions, seed: int, level: float = 0.95) -> Report:
    """Every number of the report. `seed`: of the split into halves and of the test's simulations."""
    test_key, sample_key, split_key = jax.random.split(jax.random.key(seed), 3)
    forecast, labels = predictions.forecast, predictions.labels
    probs = np.asarray(forecast.probs)
    probs = probs / probs.sum(axis=1, keepdims=True)
    caveats = [*predictions.doubts, *data_caveats(predictions)]
    binary = probs.shape[1] == 2
    chance, occurred = (probs[:, 1], labels) if binary else map(np.asarray, calibration.top_label(probs, labels))
    event = f"class {predictions.classes[1]}" if binary else "the most likely class is right"
    rows = score_rows(forecast, probs[:, 1] if binary else probs, labels, level)
    rows += error_rows(probs, labels, chance, occurred, binary, level, caveats)
    test, some = run_test(test_key, sample_key, probs, labels, binary)
    beside = f"{test.num_simulations} simulations" + ("" if some == len(labels) else f", {some} rows drawn")
    rows.append(Row("calibration test, p", f"{test.p_value:.3f}", "", beside))
    caveats += test.caveats
    right = np.argmax(probs, axis=1) == labels
    area = selective.aurc(probs.max(axis=1), ~right)
    rows.append(Row("area below risk–coverage", f"{area.area:.4f}", f"± {area.standard_error:.4f}", risk_words(area)))
    order = np.asarray(jax.random.permutation(split_key, len(labels)))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    fits, more = half_rows(forecast, labels, halves, seed, level, caveats)
    rows += more
    diagram = calibration.reliability_diagram(chance, occurred, num_bins=NUM_BINS, level=level)
    curve = selective.risk_coverage(probs.max(axis=1), ~right)
    said = [*predictions.doubts, *recommend(fits, test.p_value, 1 - level, labels, halves)]
    return Report(rows, said, list(dict.fromkeys(caveats)), diagram, event, chance, curve, area)


def data_caveats(predictions: Predictions) -> list[str]:
    """What the data themselves do not allow to be known."""
    log_probs, labels = np.asarray(predictions.forecast.log_probs), predictions.labels
    num_rows, num_classes = log_probs.shape
    counts, said = np.bincount(labels, minlength=num_classes), []
    if (counts > 0).sum() == 1:
        said.append(f"all labels are class {predictions.classes[labels[0]]}: nothing can be learnt of the others")
    elif (counts == 0).any():
        absent = [predictions.classes[k] for k in np.flatnonzero(counts == 0)[:10]]
        said.append(f"no label of class {', '.join(absent)}: their probabilities are judged by absence alone")
    if (log_probs == log_probs[0]).all():
        said.append("all forecasts are equal: they tell no row from another, and only their mean can be judged")
    elif len(np.unique(log_probs, axis=0)) < num_rows / 2:
        kinds = len(np.unique(log_probs, axis=0))
        said.append(f"ties: {kinds} different forecasts in {num_rows} rows; equal ones are never split between bins")
    if num_rows < NUM_BINS:
        said.append(f"{num_rows} rows are fewer than {NUM_BINS} bins: binned numbers say next to nothing")
    zero = np.isneginf(log_probs).any(axis=1)
    lost = np.isneginf(log_probs[np.arange(num_rows), labels])
    if zero.any():
        said.append(
            f"{int(zero.sum())} rows have a probability of exactly 0, and in {int(lost.sum())} of them that class "
            "occurred" + (": the log score is infinite" if lost.any() else "")
        )
    return said


def score_rows(forecast: Forecast, probs: np.ndarray, labels: np.ndarray, level: float) -> list[Row]:
    """Scores with standard errors, and their CORP decompositions."""
    rows = []
    for name, values, unit in (
        ("log score", scores.log_score(forecast, labels), "nats a row"),
        ("Brier score", scores.brier(probs, labels), "(p − y)²" if probs.ndim == 1 else "summed over classes"),
    ):
        mean, error = scores.mean_and_standard_error(values)
        terms = (scores.corp_log if name == "log score" else scores.corp_brier)(
            forecast if name == "log score" else probs, labels
        )
        error = f"± {error:.4f}" if np.isfinite(error) else ""
        rows.append(Row(name, f"{mean:.4f}", error, f"{unit}; the base rate alone: {terms.uncertainty:.4f}"))
        words = f"{terms.miscalibration:.4f} miscalibration − {terms.discrimination:.4f} discrimination"
        words += ", in the order of the columns" if name == "log score" and probs.ndim > 1 else ""
        rows.append(Row("  its parts (CORP)", f"{terms.score:.4f}", "", f"= {words} + base rate's"))
    return rows


def error_rows(probs, labels, chance, occurred, binary, level, caveats) -> list[Row]:
    """Calibration errors with intervals, and what a calibrated model would show."""
    settings = {"num_bins": NUM_BINS, "level": level}
    found = calibration.calibration_error(chance, occurred, **settings)
    squared = calibration.debiased_squared_error(chance, occurred, **settings)
    named = "" if binary else ", most likely class"
    span = lambda low, high: f"[{low:.4f}, {high:.4f}]"
    null = lambda value: f"a calibrated model shows {value:.4f}"
    rows = [
        Row(f"calibration error{named}", f"{found.value:.4f}", span(found.low, found.high), null(found.null_value)),
        Row("  norm; bins", "", "", f"L1; {found.rule}"),
        Row(
            f"debiased squared error{named}",
            f"{squared.value:.1e}",
            f"[{squared.low:.1e}, {squared.high:.1e}]",
            "of a probability's square; a calibrated model's is 0 on average, so either sign",
        ),
    ]
    caveats += [said for said in (*found.caveats, *squared.caveats) if not said.startswith("all labels are")]
    if not binary:
        each = calibration.classwise_error(probs, labels, **settings)
        rows.insert(2, Row("classwise error", f"{each.value:.4f}", span(each.low, each.high), null(each.null_value)))
    if len(labels) >= 4:
        kernel = calibration.kernel_calibration_error(probs, labels, linear=len(labels) > KERNEL_ROWS, level=level)
        beside = f"0 if calibrated; {kernel.estimator}"
        rows.append(
            Row("squared kernel error", f"{kernel.value:.1e}", f"[{kernel.low:.1e}, {kernel.high:.1e}]", beside)
        )
        caveats += kernel.caveats
    return rows


def run_test(test_key, sample_key, probs, labels, binary):
    """The test of calibration, and the number of rows it saw."""
    most = TEST_NUMBERS // (1 if binary else probs.shape[1] + 1)
    if len(labels) > most:
        chosen = np.asarray(jax.random.permutation(sample_key, len(labels)))[:most]
        probs, labels = probs[chosen], labels[chosen]
    return calibration.calibration_test(test_key, probs[:, 1] if binary else probs, labels), len(labels)


def risk_words(area: selective.Aurc) -> str:
    """The line of risk and coverage."""
    worse = "; worse than a random order" if area.area > area.mean_loss + 2 * area.standard_error else ""
    return f"error {area.mean_loss:.4f} if all are answered; best order {area.best:.4f}{worse}"


def half_rows(forecast, labels, halves, seed, level, caveats) -> tuple[list[Fit], list[Row]]:
    """Maps and conformal sets, made on the first half and judged on the second."""
    if len(labels) < 4:
        return [], []
    sizes = " | ".join(str(len(half)) for half in halves)
    rows = [Row("halves", sizes, "", f"split by seed {seed}: fitted on one, judged on the other")]
    rows += set_rows(np.asarray(forecast.log_probs), labels, halves, level)
    fits, said = try_all(forecast, labels, halves)
    caveats += [said] if said else []
    for fit in fits:
        if fit.failed:
            rows.append(Row(f"  {fit.name}", "not fitted", "", fit.failed))
            continue
        change = fit.assessment.log_score
        words = f"nats a row saved; {change.verdict}"
        rows.append(Row(f"  {fit.name}", f"{change.mean:+.4f}", f"± {change.standard_error:.4f}", words))
        caveats += [f"{fit.name}: {shortened(fit.calibrator.note)}"] if fit.calibrator.note else []
    return fits, rows


def shortened(note: str) -> str:
    """A note whose clauses, one a class, are more than three: the first two, and how many more."""
    clauses = note.split("; ")
    return note if len(clauses) <= 3 else "; ".join([*clauses[:2], f"and {len(clauses) - 2} more such"])


def set_rows(log_probs, labels, halves, level) -> list[Row]:
    """Split-conformal sets: threshold from the first half, size and coverage on the second."""
    first, second = halves
    badness = -np.exp(log_probs)  # 1 − p, but for a constant
    with warnings.catch_warnings(record=True):  # too few rows: an infinite threshold, which the size shows
        warnings.simplefilter("always")
        threshold = float(conformal.threshold(badness[first, labels[first]], MISS))
    sets = badness[second] <= threshold
    covered, size = sets[np.arange(len(second)), labels[second]], sets.sum(axis=1)
    beside = f"classes of {log_probs.shape[1]}; covers {covered.mean():.3f}"
    if np.isfinite(threshold):
        law = conformal.coverage_law(len(first), MISS, len(second))
        usual = np.array(law.interval(level)) / len(second)
        beside += f", of {level:.0%} of splits {usual[0]:.3f} to {usual[1]:.3f} (more with ties)"
    beside += f"; {np.mean(size == 0):.1%} empty" if (size == 0).any() else ""
    error = size.std(ddof=1) / np.sqrt(len(size))
    return [Row(f"conformal set at {1 - MISS:.0%}, size", f"{size.mean():.3f}", f"± {error:.3f}", beside)]
