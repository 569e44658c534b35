"""What recalibration mends and what it keeps: temperature, Platt's sigmoid, isotonic steps."""

from __future__ import annotations

import jax
import numpy as np
from scipy import optimize, special

from probjax.forecasts import from_logits
from probjax.recalibration import isotonic, platt, temperature
from verification.claims.parts import BAD, GOOD, THIRD, gap
from verification.claims.replicated import average
from verification.claims.types import (
    CONTROL,
    INSTEAD,
    REFUTED,
    STATED,
    UNDER,
    WITHOUT,
    Finding,
    Measurement,
)

CROSSING = np.array([[1.0, 0.0, -100.0], [1.2, 0.0, 0.0]])
F = 2 * special.ndtri((np.arange(2000) + 0.5) / 2000)  # log-odds of class 1, N(0, 2²), by its quantiles
CHANCE = special.expit(F)


def temperature_scaling(rng) -> Finding:
    """softmax(βz), β = 1/T. The loss of a row, log Σ exp(β(z_k − z_y)), has the slope E_β[z] − z_y in β and the
    curvature Var_β[z]. At β = 0 the slope is z̄ − z_y, at β = ∞ max z − z_y: between them lies a zero exactly if the
    mean of z_y − z̄ is positive and some row is wrong. Of two classes all that counts is z₁ − z₀, so that confidence
    σ(β|z₁ − z₀|) keeps the rows' order; of three, two rows may change places."""
    logits = {k: 3 * rng.standard_normal((500, k)) for k in (2, 10)}
    labels = np.argmax(logits[10] / 2 + rng.gumbel(size=(500, 10)), 1)  # drawn from softmax(z/2)
    forecast = from_logits(logits[10])
    fit = temperature(forecast, labels)
    beta = float(fit.params.inverse_temperature)
    top = lambda z: np.argmax(z, 1)
    moved = sum(int(np.sum(top(special.log_softmax(b * logits[10], 1)) != top(logits[10]))) for b in _BETAS)
    per_class = int(np.sum(top(beta * logits[10] * np.linspace(0.8, 1.2, 10)) != top(logits[10])))
    applied = int(np.sum(top(np.asarray(fit(forecast).log_probs)) != top(logits[10])))
    places = {k: _changed_places(z, beta) for k, z in logits.items()}
    loss = lambda inverse: _losses(logits[10][None], labels[None], inverse)[0]
    bends = lambda inverse: float(np.min(np.diff(loss(inverse), 2)))
    even = np.linspace(0.05, 5, 100)
    wrong, both = _finite_by_rule(rng)
    four = special.softmax([1, 5] * CROSSING[..., None], axis=1)[:, 0]  # [row, β]

    def draw(ax):
        inverse = np.geomspace(0.3, 8, 200)
        for row, colour in zip(CROSSING, (GOOD, BAD)):
            name = ", ".join(f"{z:g}" for z in row).replace("-", "−")
            log_odds = -special.logsumexp(-inverse[:, None] * (row[0] - row[1:]), axis=1)
            ax.semilogx(1 / inverse, log_odds, color=colour, label=f"logits ({name})")
        ax.axvline(1, color="0.8", lw=0.8)
        ax.set(xlabel="temperature T", ylabel="log-odds of the most probable class", ylim=(-0.5, 8))
        ax.legend(frameon=False)

    pairs = "pairs of 500 rows that change places by confidence at the fitted temperature, K = {}"
    rule = "data sets of 1200 whose optimum is finite against the rule: some row wrong{}"
    return Finding(
        [
            Measurement(STATED, "parameters less 1", len(jax.tree.leaves(fit.params)) - 1, 0.0),
            Measurement(STATED, "most probable classes that move, T from 0.02 to 50", moved + applied, 0.0),
            Measurement(REFUTED, pairs.format(10), places[10], 0.0),
            Measurement(INSTEAD, pairs.format(2), places[2], 0.0),
            Measurement(INSTEAD, "two rows less .731 > .624, .9933 < .9951", gap(four, _PRINTED), 5e-4),
            Measurement(INSTEAD, "least second difference of the loss over 1/T", bends(even), 0.0, at_least=True),
            Measurement(INSTEAD, rule.format(", mean of z_y − z̄ > 0"), both, 0.0),
            Measurement(CONTROL, "least second difference over T", bends(1 / (4 * even)), 0.0, at_least=True),
            Measurement(CONTROL, rule.format(""), wrong, 0.0),
            Measurement(CONTROL, "most probable classes that move, a temperature a class", per_class, 0.0),
        ],
        draw,
    )


_BETAS = np.geomspace(0.02, 50, 9)
_PRINTED = np.array([[0.731, 0.9933], [0.624, 0.9951]])


def _changed_places(logits, beta):
    """Pairs whose order by the largest probability is another, by more than rounding."""
    before, after = (special.log_softmax(b * logits, 1).max(1) for b in (1.0, beta))
    above = lambda v, w: np.subtract.outer(v, v) * w > 1e-12
    return int(np.sum(above(before, 1) & above(after, -1)))


def _losses(z, labels, betas):
    """Mean loss of data sets z [R, N, K] at each β: [R, B]."""
    below = z - np.take_along_axis(z, labels[..., None], axis=2)
    return np.stack([special.logsumexp(b * below, axis=2).mean(1) for b in betas], axis=1)


def _finite_by_rule(rng):
    """In how many of small data sets the least loss on a wide grid lies inside where the rule says no, or the other
    way round: by the rule's first half, and by both halves."""
    z = rng.standard_normal((1200, 4, 3))
    labels = np.where(rng.random((1200, 1)) < 0.3, z.argmax(2), rng.integers(0, 3, (1200, 4)))
    loss = _losses(z, labels, np.geomspace(1e-8, 1e7, 400))
    inside = loss[:, 1:-1].min(1) < np.minimum(loss[:, 0], loss[:, -1]) - 1e-13
    own = np.take_along_axis(z, labels[..., None], axis=2)[..., 0]
    wrong, positive = (own < z.max(2)).any(1), (own - z.mean(2)).mean(1) > 0
    return int(np.sum(inside != wrong)), int(np.sum(inside != (wrong & positive)))


def _affine(f):
    return 2 * f + 1


def _one_sided(f):
    """Log-odds that are right for class 0 and four times too large for class 1."""
    return np.where(f > 0, 4 * f, f)


def _excess(calibrator, distorted):
    """Over the population: KL from the truth, nats a row (or infinite), and mean squared distance from it."""
    log_probs = np.asarray(calibrator(from_logits(distorted)).log_probs)
    cross = -(1 - CHANCE) @ log_probs[:, 0] - CHANCE @ log_probs[:, 1]
    entropy = np.sum(special.entr(CHANCE) + special.entr(1 - CHANCE))
    return float(cross - entropy) / len(F), float(np.mean((np.exp(log_probs[:, 1]) - CHANCE) ** 2))


def _rows(rng, num):
    f = 2 * rng.standard_normal(num)
    return f, (rng.random(num) < special.expit(f)).astype(int)


def _fits(rng, fit, distort, num, copies):
    """Fits to `copies` data sets of distorted log-odds, and their `_excess` [R, 2]."""
    fits = [fit(from_logits(distort(f)), labels) for f, labels in (_rows(rng, num) for _ in range(copies))]
    return fits, np.array([_excess(each, distort(F)) for each in fits])


ROWS, COPIES = 4000, 40


def platts_sigmoid(rng) -> Finding:
    """σ(af + b) of log-odds f: two parameters of maximum likelihood, so that n · KL(truth ‖ fit) averages 2/2 where
    the true log-odds are affine in f, and grows as n where they are another ascending map of it. Platt's targets are
    (N₁ + 1)/(N₁ + 2) and 1/(N₀ + 2) (Platt 1999)."""
    sigmoid, on_affine = _fits(rng, platt, _affine, ROWS, COPIES)
    bent, on_bent = _fits(rng, platt, _one_sided, ROWS, COPIES)
    steps, by_steps = _fits(rng, isotonic, _one_sided, ROWS, COPIES)
    before = ROWS * np.mean(CHANCE * (F - _affine(F)) - np.log1p(np.exp(F)) + np.log1p(np.exp(_affine(F))))
    f, labels = _rows(rng, ROWS)
    params = platt(from_logits(f), labels).params
    ones = labels.sum()
    targets = np.where(labels == 1, (ones + 1) / (ones + 2), 1 / (ROWS - ones + 2))
    slope = (special.expit(float(params.slope) * f + float(params.intercept)) - targets) @ np.c_[f, np.ones(ROWS)]
    gain = np.log(on_bent[:, 1]) - np.log(by_steps[:, 1])

    def draw(ax):
        for distort, colour, name in ((_affine, GOOD, "affine"), (_one_sided, BAD, "one-sided")):
            ax.plot(special.expit(distort(F)), CHANCE, color=colour, lw=4, alpha=0.35, label=f"truth, {name}")
        for fits, distort, style, colour, name in (
            (sigmoid, _affine, "-", GOOD, "Platt, affine"),
            (bent, _one_sided, "-", BAD, "Platt, one-sided"),
            (steps, _one_sided, ":", THIRD, "isotonic, one-sided"),
        ):
            fitted = fits[0](from_logits(distort(F))).probs[:, 1]
            ax.plot(special.expit(distort(F)), fitted, style, color=colour, lw=1.5, label=name)
        ax.set(xlabel="probability of class 1 as forecast", ylabel="chance, and what is fitted")
        ax.legend(frameon=False)

    excess = f"n · KL(truth ‖ fit), n = {ROWS}: "
    gained = "one-sided: log of Platt's mean squared distance from the chances over isotonic's"
    return Finding(
        [
            average(UNDER, excess + "log-odds doubled and moved by 1", ROWS * on_affine[:, 0], 3.0),
            average(WITHOUT, excess + "log-odds above 0 made four times as large", ROWS * on_bent[:, 0], 3.0),
            average(INSTEAD, gained, gain, 0.5, at_least=True),
            Measurement(INSTEAD, "gradient for Platt's targets at the fit, a row", gap(slope / ROWS, 0), 1e-10),
            Measurement(CONTROL, excess + "the affine one, not recalibrated", before, 3.0),
        ],
        draw,
    )


NUMBERS, REPEATS = (100, 3000, 100_000), (60, 12, 8)  # rows of a fit, and fits


def isotonic_overfits(rng) -> Finding:
    """The least-squares ascending map by pooling neighbours that are out of order. Its values are shares of blocks of
    rows, whose squared error falls as n^(−2/3); the blocks at the ends are pure, so that 0 and 1 are forecast, and the
    expected log score of new rows is infinite, however many rows there were."""
    curve = lambda distort: [_fits(rng, isotonic, distort, *size)[1] for size in zip(NUMBERS, REPEATS)]
    same, bent = curve(lambda f: f), curve(_one_sided)
    stiff = _fits(rng, platt, _one_sided, NUMBERS[1], REPEATS[1])[1]
    alone = np.mean((special.expit(_one_sided(F)) - CHANCE) ** 2)
    infinite = lambda excess: float(np.mean(np.isinf(excess[:, 0])))

    def draw(ax):
        for found, colour, name in ((same, GOOD, "calibrated before"), (bent, BAD, "one-sided before")):
            ax.loglog(NUMBERS, [each[:, 1].mean() for each in found], "o-", color=colour, label=name)
        ax.axhline(alone, color=BAD, ls="--", lw=1, label="one-sided, left alone")
        ax.axhline(stiff[:, 1].mean(), color=THIRD, ls="--", lw=1, label=f"one-sided, by Platt, {NUMBERS[1]:,} rows")
        ax.set(xlabel="rows of the isotonic fit", ylabel="Brier score above the truth's, new rows")
        ax.legend(frameon=False)

    few, some, many = (f"n = {number:,}" for number in NUMBERS)
    lost = "Brier score that a calibrated forecast loses by it on new rows, "
    left, certain = "one-sided distortion: Brier above the truth's, ", "share of fits whose log loss on new rows is ∞, "
    return Finding(
        [
            average(STATED, lost + few, same[0][:, 1], 0.003, at_least=True),
            average(STATED, left + many, bent[-1][:, 1], 3e-4),
            Measurement(STATED, "its map less that of non-negative least squares", _against_nnls(rng), 1e-12),
            Measurement(INSTEAD, certain + few, infinite(same[0]), 0.9, at_least=True),
            Measurement(INSTEAD, certain + many, infinite(same[-1]), 0.9, at_least=True),
            average(CONTROL, lost + many, same[-1][:, 1], 0.003, at_least=True),
            average(CONTROL, left + some + ", by Platt", stiff[:, 1], 3e-4),
        ],
        draw,
    )


def _against_nnls(rng):
    """The fit at its own rows against a sum of steps of non-negative height, by an active-set method."""
    f, labels = _rows(rng, 40)
    order = np.argsort(f)
    forecast, y = from_logits(f[order]), labels[order]
    heights, _ = optimize.nnls(np.tri(40), y.astype(float))
    return gap(np.exp(isotonic(forecast, y)(forecast).log_probs[:, 1]), np.tri(40) @ heights)
