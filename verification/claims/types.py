"""A claim: a statement, both sides of it computed, a bound for their distance, a verdict, a negative control."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

EPS = float(np.finfo(float).eps)
ROUNDINGS = 64 * EPS  # of the sum of the sizes of what is added: what a few dozen operations may lose

HOLDS, HOLDS_IF, FALSE, UNDECIDED = "holds", "holds if", "false as stated", "undecided"
STATED, REFUTED, UNDER, WITHOUT = "as stated", "stated, and not so", "under the condition", "without it"
INSTEAD, CONTROL = "instead", "control"


class Measurement(NamedTuple):
    """One number against its bound.

    role: STATED, the statement itself; REFUTED, a part of it that has to miss its bound for sure; UNDER and WITHOUT,
        the statement where its condition is met and where it is not; INSTEAD, what is true in its place; CONTROL, a
        wrong variant that must not meet the bound.
    margin: of the number's own error (0 for what is computed exactly up to the bound).
    at_least: the number must be no smaller than the bound, rather than no larger.
    """

    role: str
    what: str
    value: float
    bound: float
    margin: float = 0.0
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the bound is surely met, or surely not (False), or neither (None)."""
        if math.isnan(self.value) or math.isnan(self.margin):
            return None
        low, high = self.value - self.margin, self.value + self.margin
        if self.at_least:
            return True if low >= self.bound else False if high < self.bound else None
        return True if high <= self.bound else False if low > self.bound else None


class Finding(NamedTuple):
    """What a claim's function returns: its measurements, and how to draw them: `draw(ax)`."""

    measurements: list[Measurement]
    draw: Callable[[Any], None]


class Claim(NamedTuple):
    """id: in the ledger. statement: as it is made. answer: what is true, in a sentence. verdict: what its measurements
    must give. run: rng -> Finding."""

    id: str
    statement: str
    answer: str
    verdict: str
    run: Callable[[np.random.Generator], Finding]


def verdict(measurements: list[Measurement]) -> str:
    """`holds`: all that is stated is met. `holds if`: met under the condition, and not without it. `false as stated`:
    every part that is said to be refuted is, all other parts are met, and so is what is said instead. `undecided`:
    anything else, as where a part that was thought to hold does not."""
    of = lambda role: [m.met for m in measurements if m.role == role]
    stated, refuted, under, without, instead = map(of, (STATED, REFUTED, UNDER, WITHOUT, INSTEAD))
    if any(met is None for met in (*stated, *refuted, *under, *without, *instead)):
        return UNDECIDED
    if under or without:
        conditional = under and without and all(under) and not any(without) and all(stated) and all(instead)
        return HOLDS_IF if conditional and not refuted else UNDECIDED
    if refuted:
        return FALSE if instead and not any(refuted) and all(stated) and all(instead) else UNDECIDED
    return HOLDS if stated and all(stated) and all(instead) else UNDECIDED


def control_rejected(measurements: list[Measurement]) -> bool:
    """Whether there are controls and every one of them surely misses its bound."""
    met = [m.met for m in measurements if m.role == CONTROL]
    return bool(met) and all(value is False for value in met)


def decisive(measurements: list[Measurement]) -> Measurement:
    """The measurement that the verdict hangs on: the first that is not met among what is stated or without the
    condition; where all are met, the one nearest to its bound."""
    judged = [m for m in measurements if m.role in (STATED, REFUTED, UNDER, WITHOUT)]
    missed = [m for m in judged if not m.met]
    if missed:
        return missed[0]
    closeness = lambda m: abs(m.bound) / max(abs(m.value), 1e-300) if m.at_least else abs(m.value) / (m.bound or 1e-300)
    return max(judged, key=closeness)


def standard_error(values) -> float:
    """Of the mean of independent values."""
    values = np.asarray(values, float)
    return float(values.std(ddof=1) / np.sqrt(len(values)))
