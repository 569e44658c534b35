"""Whom smoothed targets help: nets that learn from wrong labels, and students of nets that were smoothed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax, softmax

from probjax import forecasts, recalibration
from verification.claims import small_nets as nets
from verification.claims.parts import BAD, GOOD, THIRD, TRUTH
from verification.claims.replicated import average
from verification.claims.types import CONTROL, INSTEAD, REFUTED, STATED, Finding

SPLITS, TRAIN, FEW, HELD = 16, 300, 100, 300
NOISE, FOR_NOISE = 0.5, 0.3  # the share of wrong labels, and the ε against them
OF_TEACHER, TEMPERATURE = 0.1, 4.0


def noise_and_students(rng) -> Finding:
    """Digits, networks of two hidden layers.

    Noise: of 100 labels half are another digit at random; nats of the true labels of new rows, with ε = 0.3 and
    without. What is spared is over-confidence alone: a temperature spares it too, and no more answers are right.

    Students learn, on 100 of its 300 rows, a teacher's probabilities at temperature 4. Their nats are those after a
    temperature of their own, fitted on held-out rows, so that a teacher's want of confidence does not count. A teacher
    of ε = 0.1 puts all wrong classes at one distance, and what it knew of how digits resemble each other is lost
    (Müller, Kornblith & Hinton 2019). At temperature 1 there is little of that to lose."""
    splits = [nets.split(rng, "digits", TRAIN) for _ in range(SPLITS)]
    found, soft = _by_labels(rng, splits)
    found |= _students(rng, splits, soft)
    less = lambda what, a, b: getattr(found[a], what) - getattr(found[b], what)
    above = lambda role, what, values: average(role, what, values, 0.0, at_least=True)
    noise = f"{{}}: nats of the true ones, ε = 0 less ε = {FOR_NOISE}"
    tempered = f"half the labels wrong: nats after a temperature of their own, ε = 0 less ε = {FOR_NOISE}"
    answers = f"half the labels wrong: share of right answers, ε = {FOR_NOISE} less ε = 0"
    students = "smoothed teacher's students less the plain one's: share of right answers"
    nats = "plain teacher's students less the smoothed one's: nats"
    return Finding(
        [
            above(STATED, noise.format("half the labels wrong"), less("nats", "noisy", "noisy smoothed")),
            above(REFUTED, students, less("right", "smoothed 4", "plain 4")),
            above(REFUTED, nats, less("calibrated", "plain 4", "smoothed 4")),
            above(INSTEAD, "plain teacher's students less those of labels", less("right", "plain 4", "clean")),
            average(INSTEAD, tempered, less("calibrated", "noisy", "noisy smoothed"), 0.1),
            average(INSTEAD, answers, less("right", "noisy smoothed", "noisy"), 0.02),
            above(CONTROL, noise.format("300 clean labels"), less("nats", "plain", "smoothed more")),
        ],
        lambda ax: _draw_students(ax, found),
    )


class Judged(NamedTuple):
    """Nets on new rows, [R]: share of right answers, nats, nats after their own temperature."""

    right: np.ndarray
    nats: np.ndarray
    calibrated: np.ndarray


def _by_labels(rng, splits):
    """Nets by arm, and the softened probabilities that the two teachers have at their training rows."""
    clean = [nets.one_hot(data.labels) for data in splits]
    noisy = [nets.one_hot(_flipped(rng, data.labels)) for data in splits]
    arms = {
        "plain": _arm(splits, clean, 0.0, TRAIN),
        "smoothed": _arm(splits, clean, OF_TEACHER, TRAIN),
        "smoothed more": _arm(splits, clean, FOR_NOISE, TRAIN),
        "noisy": _arm(splits, noisy, 0.0, FEW),
        "noisy smoothed": _arm(splits, noisy, FOR_NOISE, FEW),
    }
    trained, found = _trained(rng, splits, arms)
    z = nets.logits(trained, np.stack([data.x for data in splits] * len(arms)))
    return found, dict(zip(arms, z.reshape(len(arms), len(splits), TRAIN, -1)))


def _arm(splits, targets, epsilon, rows):
    return [(data.x[:rows], nets.smoothed(t[:rows], epsilon), 1.0) for data, t in zip(splits, targets)]


def _students(rng, splits, teachers):
    """teachers: logits [R, N, 10] by name."""
    arms = {"clean": _arm(splits, [nets.one_hot(data.labels) for data in splits], 0.0, FEW)}
    for name in ("plain", "smoothed"):
        for temperature in (1.0, TEMPERATURE):
            soft = softmax(teachers[name][:, :FEW] / temperature, axis=-1).astype(np.float32)
            arms[f"{name} {temperature:.0f}"] = [(d.x[:FEW], t, temperature) for d, t in zip(splits, soft)]
    return _trained(rng, splits, arms)[1]


def _trained(rng, splits, arms):
    """arms: for each name and split rows, targets and the temperature they are learnt at."""
    x, targets, temperature = zip(*(each for arm in arms.values() for each in arm))
    trained = nets.train(rng, list(x), list(targets), nets.Recipe(temperature=np.array(temperature)), least=TRAIN)
    z = nets.logits(trained, np.stack([data.test_x for data in splits] * len(arms)))
    z = z.reshape(len(arms), len(splits), -1, nets.CLASSES)
    judged = (Judged(*np.array([_judged(*each) for each in zip(arm, splits)]).T) for arm in z)
    return trained, dict(zip(arms, judged))


def _judged(z, data):
    held, labels = data.test_labels[:HELD], data.test_labels[HELD:]
    fitted = recalibration.temperature(forecasts.from_logits(z[:HELD]), held)
    z = z[HELD:]
    nats = lambda logits: -np.mean(log_softmax(logits, axis=1)[np.arange(len(labels)), labels])
    return np.mean(z.argmax(1) == labels), nats(z), nats(z * float(fitted.params.inverse_temperature))


def _flipped(rng, labels):
    """A share of them replaced by another digit."""
    other = (labels + rng.integers(1, nets.CLASSES, len(labels))) % nets.CLASSES
    return np.where(rng.uniform(size=len(labels)) < NOISE, other, labels)


_SHOWN = {
    "clean": ("100 labels", TRUTH),
    "plain 4": ("plain teacher, T = 4", GOOD),
    "smoothed 4": ("smoothed teacher, T = 4", BAD),
    "plain 1": ("plain teacher, T = 1", GOOD),
    "smoothed 1": ("smoothed teacher, T = 1", BAD),
    "noisy": ("100 labels, half of them wrong", TRUTH),
    "noisy smoothed": ("the same, smoothed", THIRD),
}


def _draw_students(ax, found):
    for place, (name, (_, colour)) in enumerate(_SHOWN.items()):
        right = found[name].right
        ax.plot(right, np.full(len(right), -place), ".", color=colour, alpha=0.5)
        ax.plot(right.mean(), -place, "D", color=colour)
    ax.set_yticks(-np.arange(len(_SHOWN)), [label for label, _ in _SHOWN.values()])
    ax.set(xlabel="share of right answers on new rows: 16 splits, and their mean")
