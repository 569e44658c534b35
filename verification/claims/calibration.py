"""What it is to be calibrated, how it is tested, and what binned errors say of it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special, stats

from probjax.calibration import (
    bin_forecasts,
    calibration_error,
    debiased_squared_error,
    monte_carlo_p_value,
    null_value,
    reliability_diagram,
)
from verification.claims.parts import BAD, GOOD, THIRD, TRUTH
from verification.claims.replicated import average, farthest
from verification.claims.types import CONTROL, INSTEAD, STATED, UNDER, WITHOUT, Finding, Measurement

SHARPENED = 1.5  # what logits are multiplied by where forecasts are to be too bold
SETS, SET_ROWS, SIMULATIONS, COMPONENTS = 40_000, 200, 19, 4
LEVEL = 0.95


def frequencies_are_forecasts(rng) -> Finding:
    """P(Y = 1 | p̂ = p) = p: exactly, over a table of chances, for the forecast that knows all and for the one that
    knows only rows; a diagram in its band, by the exact law of sums of unlike trials; a test at its size."""
    chance, mass = rng.uniform(0.02, 0.98, (30, 40)), rng.dirichlet(np.ones(30 * 40)).reshape(30, 40)
    of_rows = np.repeat((chance * mass).sum(1, keepdims=True) / mass.sum(1, keepdims=True), 40, axis=1)
    off = lambda forecast: _off_frequency(forecast, chance, mass)
    logits = 2 * rng.standard_normal(2000)
    labels = rng.uniform(size=2000) < special.expit(logits)
    diagrams = [
        reliability_diagram(special.expit(factor * logits), labels.astype(int), num_bins=10, level=LEVEL)
        for factor in (1.0, SHARPENED)
    ]
    inside = [
        _chance_inside(diagram, special.expit(factor * logits), special.expit(logits))
        for diagram, factor in zip(diagrams, (1.0, SHARPENED))
    ]
    calm, bold = _p_values(rng)
    size = "test at 5%, {}: share of {} sets of 200 rows rejected over 5%, off 1"
    return Finding(
        [
            Measurement(STATED, "|P(Y = 1 | p̂ = p) − p|, largest, p̂ that knows all", off(chance), 1e-12),
            Measurement(STATED, "the same, p̂ that knows half of the inputs", off(of_rows), 1e-12),
            Measurement(STATED, "chance of 10 bins all in their 95% band, exact", inside[0], LEVEL, at_least=True),
            farthest(STATED, size.format("calibrated", SETS), (calm <= 0.05) / 0.05, 0.2),
            # 20 ranks have no p below 5%: a p of 0, from k/B, would show here
            average(STATED, f"share with p ≤ 1%, {SIMULATIONS} simulations", (calm <= 0.01).astype(float), 0.01),
            average(STATED, "share rejected, logits × 1.5, 200 rows", (bold <= 0.05).astype(float), 0.5, at_least=True),
            Measurement(CONTROL, "|P(Y = 1 | p̂ = p) − p|, largest, logits × 1.5", off(_sharpened(of_rows)), 1e-12),
            Measurement(CONTROL, "chance of all in the band, logits × 1.5", inside[1], LEVEL, at_least=True),
            farthest(CONTROL, size.format("logits × 1.5", len(bold)), (bold <= 0.05) / 0.05, 0.2),
        ],
        lambda ax: _draw_diagrams(ax, diagrams),
    )


def _off_frequency(forecast, chance, mass):
    """The largest |E[chance | forecast] − forecast| over a table."""
    values, place = np.unique(forecast, return_inverse=True)
    place = place.ravel()
    total = lambda weights: np.bincount(place, weights.ravel())
    return float(np.max(np.abs(total(mass * chance) / total(mass) - values)))


def _sharpened(forecast):
    return special.expit(SHARPENED * special.logit(forecast))


def _chance_inside(diagram, forecast, chance):
    """That all frequencies lie in the joint band, where events have these chances [N]."""
    place = np.searchsorted(diagram.low[1:], forecast, side="right")
    inside = 1.0
    for b, count in enumerate(diagram.count):
        events = stats.poisson_binom(chance[place == b])
        low, high = np.round(diagram.joint_low[b] * count), np.round(diagram.joint_high[b] * count)
        inside *= float(events.cdf(high) - events.cdf(low - 1))
    return inside


def _p_values(rng):
    """p of labels drawn again and again [R] of calibrated forecasts, and of bolder ones [R/10]. The forecasts stay: the
    size is exact given them, and one program sorts them once."""
    logits = 2 * rng.standard_normal(SET_ROWS)
    labels = jnp.asarray(rng.uniform(size=(SETS, SET_ROWS)) < special.expit(logits), jnp.int32)
    keys = jax.random.split(jax.random.key(int(rng.integers(2**31))), SETS)
    one = lambda key, probs, labels: monte_carlo_p_value(key, probs, labels, SIMULATIONS, COMPONENTS)[0]
    block = jax.jit(jax.vmap(one, (0, None, 0)))
    step = SETS // 10

    def p_values(factor, num_sets):
        probs = special.expit(factor * logits)
        blocks = [slice(start, start + step) for start in range(0, num_sets, step)]
        return np.concatenate([np.asarray(block(keys[b], probs, labels[b])) for b in blocks])

    return p_values(1.0, SETS), p_values(SHARPENED, step)


def _draw_diagrams(ax, diagrams):
    for diagram, colour, label in zip(diagrams, (GOOD, BAD), ("calibrated", "logits × 1.5")):
        ax.plot(diagram.forecast, diagram.frequency, "o-", color=colour, label=label)
    wide = diagrams[1]  # of the same counts, so that their bands are one function of the forecast
    label = "band that holds all bins of a calibrated forecast, 95%"
    ax.fill_between(wide.forecast, wide.joint_low, wide.joint_high, color="0.85", zorder=0, label=label)
    ax.plot([0, 1], [0, 1], color=TRUTH, lw=0.8, zorder=1)
    ax.set(xlabel="mean forecast of the bin, 2000 rows", ylabel="observed frequency")
    ax.legend(frameon=False)


BINS, FEW, MANY = 15, 1000, 200_000
CLOSE = 5e-3  # of a probability
RATIO = "binned error over its null value, off 1"
UNBIASED, TINY, WIDE_SETS = "20 calibrated rows in one bin, |mean|: ", 2e-3, 2000


def binned_error(rng) -> Finding:
    """Σ (n_b/N)|f_b − p̄_b| against E|P(Y = 1 | p̂) − p̂|, which is known here: with many rows; with few, where it is
    Σ (n_b/N) E|X_b/n_b − p̄_b|, X_b binomial, for a calibrated model; and for errors whose sign changes within bins."""
    few, many = (special.expit(1.5 * rng.standard_normal(n)) for n in (FEW, MANY))
    bold, bold_many, waves = _sharpened(few), _sharpened(many), _wave(many)
    large, large_bins = _gaps(rng, bold_many, many, 16)
    waved, wave_bins = _gaps(rng, many, waves, 16)
    small, small_bins = _gaps(rng, bold, few, 2000)
    null, null_bins = _gaps(rng, few, few, 2000)
    rare = special.expit(special.logit(few) - 2)
    uneven, uneven_bins = _gaps(rng, rare, rare, 2000, "equal_width")
    l1 = lambda gaps, bins: np.abs(gaps) @ bins.count / bins.count.sum()
    error = lambda forecast, chance: np.mean(np.abs(forecast - chance))
    subtracted, unweighted = l1(small, small_bins) - null_value(small_bins), np.abs(uneven).mean(1)
    debiased, square, expected = _squares(rng, bold, few)
    grown, same, of = _by_rows(rng), _same(rng, bold, few), "|mean binned error less E|P(Y = 1 | p̂) − p̂||, "
    own, others = _one_wide_bin(rng)
    return Finding(
        [
            _distance(UNDER, of + "200,000 rows, logits × 1.5", l1(large, large_bins), error(bold_many, many)),
            _distance(WITHOUT, of + "1000 rows, calibrated", l1(null, null_bins), 0.0),
            _distance(WITHOUT, of + "200,000 rows, a wave in each bin", l1(waved, wave_bins), error(many, waves)),
            farthest(INSTEAD, "1000 rows, calibrated: " + RATIO, l1(null, null_bins) / null_value(null_bins), 0.05),
            farthest(INSTEAD, "debiased square over its expectation, off 1", debiased / expected, 0.2),
            _distance(INSTEAD, UNBIASED + "debiased square", own, 0.0, TINY),
            Measurement(INSTEAD, "the library's binned error less the one used here", same, 1e-12),
            farthest(CONTROL, "the plain square over that expectation, off 1", square / expected, 0.2),
            _distance(CONTROL, UNBIASED + "(f − p̄)² − f(1 − f)/(n − 1)", others, 0.0, TINY),
            _distance(CONTROL, of + "1000 rows, logits × 1.5, null value subtracted", subtracted, error(bold, few)),
            farthest(
                CONTROL, "rare events, unweighted over bins: " + RATIO, unweighted / null_value(uneven_bins), 0.05
            ),
        ],
        lambda ax: _draw_by_rows(ax, grown),
    )


def _gaps(rng, forecast, chance, replications, bins="equal_mass"):
    """f_b − p̄_b of labels drawn again and again [R, B], and the bins."""
    order = np.argsort(forecast)
    found = bin_forecasts(forecast, np.zeros(len(forecast), int), num_bins=BINS, bins=bins)
    starts = np.searchsorted(forecast[order], found.low)
    events = np.empty((replications, len(starts)))
    for row in events:
        row[:] = np.add.reduceat((rng.random(len(order)) < chance[order]).astype(float), starts)
    return events / found.count - found.forecast, found


def _one_wide_bin(rng):
    """Of 20 calibrated rows in one bin, again and again [R]: the debiased square, and the form that is without bias
    only where forecasts of a bin are equal: too low by var p/20."""
    own, others = [], []
    for _ in range(WIDE_SETS):
        p = special.expit(1.5 * rng.standard_normal(20))
        result = debiased_squared_error(p, (rng.random(20) < p).astype(int), num_bins=1)
        f, forecast = result.bins.frequency[0], result.bins.forecast[0]
        own.append(result.value)
        others.append((f - forecast) ** 2 - f * (1 - f) / 19)
    return np.array(own), np.array(others)


def _distance(role, what, values, truth, bound=CLOSE):
    mean = average(role, what, values, bound)
    return mean._replace(value=abs(mean.value - truth))


def _wave(forecast):
    """Chances that lie about the forecasts, above in one half of each bin and below in the other."""
    rank = stats.rankdata(forecast) / len(forecast)
    return forecast + 0.8 * forecast * (1 - forecast) * np.sin(2 * np.pi * BINS * rank)


def _squares(rng, forecast, chance, replications=200):
    """Of labels drawn again and again [R]: the debiased squared error and the plain one; and what the first is without
    bias for: Σ (n_b/N) Σ_{i≠j} dᵢdⱼ/(n_b (n_b − 1)), d = chance − forecast."""
    debiased, plain = [], []
    for _ in range(replications):
        result = debiased_squared_error(forecast, (rng.random(len(forecast)) < chance).astype(int), num_bins=BINS)
        debiased.append(result.value)
        found = result.bins
        plain.append((found.frequency - found.forecast) ** 2 @ found.count / len(forecast))
    order = np.argsort(forecast)
    starts = np.searchsorted(forecast[order], found.low)
    d = (chance - forecast)[order]
    pairs = np.add.reduceat(d, starts) ** 2 - np.add.reduceat(d**2, starts)
    return np.array(debiased), np.array(plain), float(np.sum(pairs / (found.count - 1)) / len(d))


def _same(rng, forecast, chance):
    labels = (rng.random(len(forecast)) < chance).astype(int)
    result = calibration_error(forecast, labels, num_bins=BINS)
    place = np.searchsorted(result.bins.low[1:], forecast, side="right")
    return abs(result.value - np.abs(np.bincount(place, labels - forecast)).sum() / len(labels))


def _by_rows(rng):
    """Rows, the binned error of calibrated and of bolder forecasts, their null values, and the truth."""
    rows = np.geomspace(150, 20_000, 6).astype(int)
    found = []
    for n in rows:
        logits = 1.5 * rng.standard_normal(n)
        chance = special.expit(logits)
        line = [n]
        for forecast in (chance, special.expit(SHARPENED * logits)):
            gaps, bins = _gaps(rng, forecast, chance, 100)
            line += [np.mean(np.abs(gaps) @ bins.count) / n, null_value(bins)]
        found.append([*line, np.mean(np.abs(forecast - chance))])
    return np.array(found).T


def _draw_by_rows(ax, grown):
    rows, calibrated, null, bold, bold_null, truth = grown
    ax.loglog(rows, bold, "o-", color=BAD, label="error in bins, logits × 1.5")
    ax.loglog(rows, truth, color=TRUTH, label="true error, logits × 1.5")
    ax.loglog(rows, np.maximum(bold - bold_null, 1e-4), "s--", color=THIRD, label="the null value subtracted")
    ax.loglog(rows, calibrated, "o", color=GOOD, label="error in bins, calibrated (true error: 0)")
    ax.loglog(rows, null, color=GOOD, lw=1, label="its null value")
    ax.set(xlabel="rows", ylabel="calibration error, 15 bins")
    ax.legend(frameon=False)
