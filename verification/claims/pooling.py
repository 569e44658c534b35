"""What averaging probabilities does to their calibration."""

from __future__ import annotations

import jax
import numpy as np
from scipy import stats
from scipy.special import expit, softmax

from probjax import calibration, forecasts, recalibration
from verification.claims import small_nets as nets
from verification.claims.confidence import signed_error
from verification.claims.parts import BAD, THIRD, TRUTH
from verification.claims.replicated import average
from verification.claims.types import CONTROL, INSTEAD, UNDER, WITHOUT, Finding, Measurement

SPLITS, MEMBERS, TRAIN, VALID = 18, 5, 100, 600
RATE, PASSES = 0.1, 30
GAIN = 0.003  # of |confidence less accuracy|
EVIDENCE = 1.0


def pools(rng) -> Finding:
    """Let every member be calibrated, E[Y | pₘ] = pₘ. Then E[pₘY] = E[pₘ²], so for their average E[p̄(Y − p̄)] = E[p̄² of
    the members less p̄'s] = E[variance over members] > 0: the average is under-confident by as much as its members
    disagree (Ranjan & Gneiting 2010 for the fact). Two members see x₁, x₂ ~ N(±a, 1) apart: pₘ = σ(2a xₘ), and the
    right pool is σ(2a(x₁ + x₂)), which is surer than either.

    On digits nets that are over-confident by a little gain by this, and lose where temperature has calibrated them
    before. Dropout averages passes of one net."""
    gain = _digits(rng)
    what = "digits, {}: |confidence less accuracy| of {}"
    of_five = what.format("{}", f"one net less that of the average of {MEMBERS}")
    of_passes = what.format("dropout", f"the net without it less that of {PASSES} passes with it")
    return Finding(
        [
            average(UNDER, "digits, nets: confidence less accuracy of one", gain["excess"], 0.02, at_least=True),
            average(UNDER, of_five.format("nets"), gain["nets"], GAIN, at_least=True),
            average(UNDER, of_passes, gain["dropout"], GAIN, at_least=True),
            average(WITHOUT, of_five.format("tempered nets"), gain["tempered"], GAIN, at_least=True),
            *_calibrated_pair(),
            average(CONTROL, of_five.format("copies of one net"), gain["copies"], GAIN, at_least=True),
        ],
        lambda ax: _draw_pools(ax, rng),
    )


def _two_members(a):
    """Expectations given class 1 by the trapezoid (under class 0 all is mirrored), the members' probabilities, and
    that of the sum of their log-odds, over a grid of (x₁ + x₂)/√2 and (x₁ − x₂)/√2."""
    u, v = np.linspace(-10, 12, 551)[:, None], np.linspace(-10, 10, 501)
    weights = stats.norm.pdf(u - np.sqrt(2) * a) * stats.norm.pdf(v) * 0.04**2
    first, second = expit(np.sqrt(2) * a * (u + v)), expit(np.sqrt(2) * a * (u - v))
    return lambda values: float(np.sum(weights * values)), first, second, expit(2 * np.sqrt(2) * a * (u + 0 * v))


def _slack(expect, p):
    """E[p(Y − p)], half of it from each class: 0 where p is calibrated."""
    return (expect(p) - expect(p**2) - expect((1 - p) ** 2)) / 2


def _calibrated_pair():
    expect, first, second, product = _two_members(EVIDENCE)
    mean = (first + second) / 2
    lacking = stats.norm.cdf(np.sqrt(2) * EVIDENCE) - expect(np.maximum(mean, 1 - mean))
    identity = _slack(expect, mean) - expect((first - second) ** 2) / 4
    disagree = "two calibrated members: E[p̄(Y − p̄)] less the mean variance over members"
    product_slack = "the same, log-odds added: E[p(Y − p)]"
    gain = "two calibrated members: |confidence less accuracy| of one, 0, less that of their average"
    return [
        Measurement(WITHOUT, gain, -abs(lacking), GAIN, at_least=True),
        Measurement(INSTEAD, "the same: accuracy of their average less its confidence", lacking, GAIN, at_least=True),
        Measurement(INSTEAD, disagree, abs(identity), 1e-12),
        Measurement(INSTEAD, product_slack, abs(_slack(expect, product)), 1e-12),
    ]


def _digits(rng):
    """Gains in |confidence less accuracy|, and `excess`, confidence less accuracy of one net; [R] each."""
    splits = [nets.split(rng, "digits", TRAIN) for _ in range(SPLITS)]
    every = [data for data in splits for _ in range(MEMBERS + 1)]
    rate = np.tile(np.append(np.zeros(MEMBERS), RATE), SPLITS)
    targets = [nets.one_hot(data.labels) for data in every]
    trained = nets.train(rng, [data.x for data in every], targets, nets.Recipe(dropout=rate))
    x = np.stack([data.test_x for data in every])
    z = nets.logits(trained, x).reshape(SPLITS, MEMBERS + 1, -1, nets.CLASSES)
    last = slice(MEMBERS, None, MEMBERS + 1)
    passes = nets.dropped(rng, jax.tree.map(lambda leaf: leaf[last], trained), x[last], RATE, PASSES)
    rows = [_gains(data.test_labels, z, p) for data, z, p in zip(splits, z, np.moveaxis(passes, 1, 0))]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _gains(labels, z, passes):
    """Of one split: z [M + 1, Q, 10], the last that of the net with dropout; passes [S, Q, 10]. The first rows set the
    temperatures alone."""
    held, labels = labels[:VALID], labels[VALID:]
    members, single = z[:MEMBERS, VALID:], z[MEMBERS:, VALID:]
    sharpness = [_inverse_temperature(each[:VALID], held) for each in z[:MEMBERS]]
    signed = lambda logits: signed_error(softmax(logits, axis=-1).mean(0), labels)
    of = lambda logits: abs(signed(logits))
    gain = lambda logits: np.mean([of(each[None]) for each in logits]) - of(logits)
    return {
        "excess": np.mean([signed(each[None]) for each in members]),
        "nets": gain(members),
        "tempered": gain(members * np.array(sharpness)[:, None, None]),
        "copies": gain(members[[0] * MEMBERS]),
        "dropout": of(single) - of(passes[:, VALID:]),
    }


def _inverse_temperature(z, labels):
    fitted = recalibration.temperature(forecasts.from_logits(z), labels)
    return float(fitted.params.inverse_temperature)


def _draw_pools(ax, rng):
    labels = rng.uniform(size=200_000) < 0.5
    x = rng.normal(EVIDENCE * np.where(labels, 1, -1)[:, None], 1.0, (len(labels), 8))
    p = expit(2 * EVIDENCE * x)
    for num, colour in ((1, TRUTH), (2, THIRD), (8, BAD)):
        bins = calibration.bin_forecasts(p[:, :num].mean(1), labels.astype(int), num_bins=20, bins="equal_width")
        enough = bins.count > 200
        label = "one calibrated member" if num == 1 else f"average of {num}"
        ax.plot(bins.forecast[enough], bins.frequency[enough], "o-", color=colour, ms=4, label=label)
    ax.plot([0, 1], [0, 1], color="0.6", lw=1, ls=":")
    ax.set(xlabel="forecast", ylabel="frequency of the class")
    ax.legend(frameon=False)
