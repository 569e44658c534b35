"""Scores of forecasts: their ends, and whether they pay for saying what one believes."""

from __future__ import annotations

import numpy as np
from scipy import special

from probjax.calibration import bin_forecasts
from probjax.forecasts import from_logits
from probjax.scores import brier, log_score, spherical
from verification.claims.parts import BAD, GOOD, THIRD, TRUTH, gap
from verification.claims.replicated import average
from verification.claims.types import CONTROL, INSTEAD, STATED, Finding, Measurement

EXACT = 1e-12
SURE = np.array([0.99])


def ends(rng) -> Finding:
    """(p − y)² lies in [0, 1]; −log p_y has no upper end: log(1 + eᶻ) ≥ z where a logit of z was wrong."""
    y, none = rng.integers(2, size=300), np.zeros(4, int)
    grid = np.linspace(0, 1, 301)
    largest = max(float(np.max(brier(grid, np.full(301, label)))) for label in (0, 1))
    right = y.astype(float)
    z = np.array([10.0, 100.0, 1000.0, 1e4])
    growth = float(np.min(np.asarray(log_score(from_logits(z), none)) / z))
    rare = np.mean(brier(np.full(300, 0.01), (np.arange(300) % 100 == 0).astype(int)))
    stated = lambda what, value, bound: Measurement(STATED, what, value, bound)
    return Finding(
        [
            stated("Brier score of right and sure forecasts", float(np.max(brier(right, y))), 0.0),
            stated("log score of right and sure forecasts", float(np.max(log_score(right, y))), 0.0),
            stated("Brier score of ½ less ¼", gap(brier(np.full(300, 0.5), y), 0.25), 0.0),
            stated("largest Brier score of any p", largest, 1.0),
            stated("Brier score of 0.99, wrong, less 0.9801", gap(brier(SURE, [0]), 0.9801), EXACT),
            stated("log score of 0.99, wrong, less log 100", gap(log_score(SURE, [0]), np.log(100)), EXACT),
            Measurement(STATED, "log score over z of wrong logits z to 10⁴, least", growth, 1.0, at_least=True),
            Measurement(INSTEAD, "over both columns, (½, ½) less ½", gap(brier(np.full((300, 2), 0.5), y), 0.5), 0.0),
            Measurement(INSTEAD, "one event in 100, base rate forecast: ¼ is no bar", float(rare), 0.01),
            Measurement(
                CONTROL, "the same over z, p clipped at 1e-15", float(np.min(_clipped(z) / z)), 1.0, at_least=True
            ),
        ],
        _draw_ends,
    )


def _clipped(logits):
    """Log scores of a forecast of what did not occur, as code that clips has them."""
    return -np.log(np.maximum(special.expit(-logits), 1e-15))


def _draw_ends(ax):
    at = np.linspace(-10, 60, 300)
    ax.plot(at, np.logaddexp(0, at), color=GOOD, label="log score")
    ax.plot(at, _clipped(at), "--", color=BAD, label="log score, p clipped at 1e-15")
    ax.plot(at, special.expit(at) ** 2, color=THIRD, label="Brier score")
    ax.set(xlabel="logit of a forecast of what did not occur", ylabel="score")
    ax.legend(frameon=False)


STEPS = 20  # of the simplex of three classes


def proper(rng) -> Finding:
    """Σ_k p_k S(q, k) is least at q = p, over all pairs of a grid on the simplex: by KL(p ‖ q), ‖p − q‖² and
    ‖p‖ − p·q/‖q‖. −q_k is not proper; binned errors score no forecast: the base rate has none."""
    grid = np.array([(i, j, STEPS - i - j) for i in range(STEPS + 1) for j in range(STEPS + 1 - i)]) / STEPS
    excess = {name: _excess(score, grid) for name, score in _SCORES.items()}
    other = np.where(np.eye(len(grid)) > 0, np.inf, 0.0)
    beaten = {name: int(np.sum(np.min(each + other, axis=1) < 1e-9)) for name, each in excess.items()}
    p, q = grid[:, None], grid[None]
    kl, squared = special.rel_entr(p, q).sum(-1), np.sum((p - q) ** 2, axis=-1)
    angle = np.linalg.norm(p, axis=-1) - np.sum(p * q, axis=-1) / np.linalg.norm(q, axis=-1)
    finite = np.isfinite(kl)
    alone = int(np.sum(np.isinf(excess["log"]) == finite))
    binned, squares = _samples(rng)
    truths = f"truths of {len(grid)} that another forecast does not cost more than, "
    return Finding(
        [
            *(Measurement(STATED, truths + name, beaten[name], 0) for name in ("log", "Brier", "spherical")),
            Measurement(STATED, "log score's cost less KL(p ‖ q)", gap(excess["log"][finite], kl[finite]), EXACT),
            Measurement(STATED, "pairs where one of these is infinite and the other not", alone, 0),
            Measurement(STATED, "Brier score's cost less ‖p − q‖²", gap(excess["Brier"], squared), EXACT),
            Measurement(STATED, "spherical score's cost less ‖p‖ − p·q/‖q‖", gap(excess["spherical"], angle), EXACT),
            average(STATED, "Brier score, base rate less truth, 400 rows", squares[1] - squares[0], 0.05, True),
            Measurement(INSTEAD, "binned error of the base rate, largest of 100 samples", binned[1].max(), EXACT),
            average(INSTEAD, "binned error of the truth, 400 rows", binned[0], 0.02, True),
            Measurement(CONTROL, truths + "linear", beaten["linear"], 0),
            average(CONTROL, "binned error, base rate less truth", binned[1] - binned[0], 0.0, True),
        ],
        _draw_proper,
    )


def _samples(rng):
    """Binned errors and Brier scores [2, R] of the true chances of 400 rows and of the rate of their events."""
    chance = rng.uniform(size=(100, 400))
    labels = (rng.uniform(size=chance.shape) < chance).astype(int)
    forecasts = np.stack([chance, np.repeat(labels.mean(1, keepdims=True), 400, axis=1)])
    binned = [[_binned_error(*row) for row in zip(forecast, labels)] for forecast in forecasts]
    return np.array(binned), np.mean((forecasts - labels) ** 2, axis=2)


_SCORES = {
    "log": log_score,
    "Brier": brier,
    "spherical": spherical,
    "linear": lambda probs, labels: -probs[np.arange(len(labels)), labels],
}


def _excess(score, grid):
    """E_p S(q, Y) − E_p S(p, Y), [P, Q]."""
    each = np.stack([np.asarray(score(grid, np.full(len(grid), k))) for k in range(grid.shape[1])], axis=1)
    chosen = grid[:, None] > 0  # what cannot occur costs nothing, not 0 · ∞
    expected = np.where(chosen, grid[:, None] * np.where(chosen, each[None], 0.0), 0.0).sum(-1)
    return expected - np.diag(expected)[:, None]


def _binned_error(forecast, labels):
    found = bin_forecasts(forecast, labels)
    return np.abs(found.frequency - found.forecast) @ found.count / len(labels)


def _draw_proper(ax):
    t = np.linspace(1e-3, 1 - 1e-3, 400)
    grid, truth = np.column_stack([1 - t, t]), np.array([0.7, 0.3])
    expected = lambda score, q: sum(truth[k] * np.asarray(score(q, np.full(len(q), k))) for k in (0, 1))
    for (name, score), colour in zip(_SCORES.items(), (GOOD, THIRD, "#7570b3", BAD)):
        ax.plot(t, expected(score, grid) - expected(score, truth[None]), color=colour, label=name)
    ax.axvline(0.3, color=TRUTH, lw=0.8)
    ax.axhline(0, color=TRUTH, lw=0.8)
    ax.set(xlabel="forecast of what has chance 0.3", ylabel="expected score less the truth's", ylim=(-0.3, 0.8))
    ax.legend(frameon=False)
