"""Methods side by side: how far each is from the exact answers, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from verification.report import Cost, Outcome
from verification.types import Verdict

COLUMNS = {  # heading -> checks it goes over; the larger error counts
    "mean, sd": ("mean",),
    "sd, relative": ("sd",),
    "5% and 95% points, sd": ("q05", "q95"),
    "correlation": ("correlation",),
    "joint predictive, nats/row": ("log_predictive",),
    "evidence, nats": ("evidence",),
}
RESOLVED = ("pass", "fail")


class Row(NamedTuple):
    """One method. errors: heading -> (median, largest) over problems of the size of the worst query's error, None where
    no problem has the check; costs are medians over problems."""

    method: str
    applicable: int
    resolved: int
    passed: int
    errors: dict[str, tuple[float, float] | None]
    seconds_compile: float
    seconds_key: float
    memory: float


def compare_methods(outcome: Outcome) -> list[Row]:
    """A row a method, those first whose median error of the sd is smallest."""
    rows = [_row(m, [v for v in outcome.verdicts if v.method == m], outcome.costs) for m in outcome.methods]
    order = lambda row: (row.errors["sd, relative"] or (math.inf,))[0]
    return sorted((row for row in rows if row.applicable), key=order)


def _row(method: str, verdicts: list[Verdict], costs: dict[tuple[str, str], Cost]) -> Row:
    judged = [v for v in verdicts if v.outcome not in ("not_applicable", "error")]
    problems = dict.fromkeys(v.problem for v in judged)
    paid = [costs[p, method] for p in problems if (p, method) in costs]
    median = lambda values: float(np.median(values)) if (values := list(values)) else math.nan
    return Row(
        method,
        applicable=sum(v.outcome != "not_applicable" for v in verdicts),
        resolved=sum(v.outcome in RESOLVED for v in judged),
        passed=sum(v.outcome == "pass" for v in judged),
        errors={heading: _errors(judged, checks, problems) for heading, checks in COLUMNS.items()},
        seconds_compile=median(c.seconds_compile for c in paid),
        seconds_key=median(c.seconds_run / c.num_keys for c in paid if c.num_keys),
        memory=median(c.memory for c in paid if c.memory is not None),
    )


def _errors(judged: list[Verdict], checks: tuple[str, ...], problems: Iterable[str]):
    """(median, largest) over problems; draws that are not finite are infinitely far off."""
    sizes = [
        max(math.inf if math.isnan(v.error) else abs(v.error) for v in found)
        for problem in problems
        if (found := [v for v in judged if v.problem == problem and v.check in checks])
    ]
    return (float(np.median(sizes)), max(sizes)) if sizes else None


HEADER = ["method", "cells", *COLUMNS, "compile, s", "a key, ms", "memory, MiB"]


def told(row: Row) -> list[str]:
    """The row in words, under HEADER."""
    pair = lambda pair: "" if pair is None else f"{pair[0]:.2g} ({pair[1]:.2g})"
    number = lambda value, form: "" if math.isnan(value) else format(value, form)
    cost = [number(row.seconds_compile, ".1f"), number(1000 * row.seconds_key, ".3g")]
    cells = f"{row.passed}/{row.resolved} of {row.applicable}"
    return [row.method, cells, *map(pair, row.errors.values()), *cost, number(row.memory / 2**20, ".3g")]
