"""Verdicts in words: the matrix, a sentence for each failure, and the summary."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from verification.methods import METHODS
from verification.types import Verdict

RATES = Path(__file__).with_name("control_rates.json")
CELL_KEYS = ("problem", "method", "check", "query", "error", "margin", "tolerance", "outcome", "expected")


class Cost(NamedTuple):
    """Of one method on one problem. seconds: of compilation, and of all keys; memory: bytes of the compiled program
    for a block of keys (temporaries, arguments, results), None where it is not compiled."""

    seconds_compile: float
    seconds_run: float
    num_keys: int
    memory: int | None


class Outcome(NamedTuple):
    """All a run found. verdicts: one a (problem, method, check); costs and reports: by (problem, method);
    certificates: by problem, with what the problem is about."""

    methods: list[str]
    problems: list[str]
    verdicts: list[Verdict]
    costs: dict[tuple[str, str], Cost]
    reports: dict[tuple[str, str], dict[str, Any]]
    controls: list[dict[str, Any]]
    certificates: dict[str, dict[str, Any]]
    unfinished: int
    max_unresolved: float
    seconds: float
    seed: int
    level: str


def counts(outcome: Outcome) -> dict[str, int]:
    """How many cells ended how; the six numbers add up to all cells."""
    kinds = Counter(
        "fail_expected" if v.outcome == "fail" and v.expected != "no" else v.outcome for v in outcome.verdicts
    )
    return {kind: kinds[kind] for kind in ("pass", "fail", "fail_expected", "unresolved", "not_applicable", "error")}


def control_counts(outcome: Outcome) -> dict[str, int]:
    """caught of total: damaged draws that failed; false_alarms of clean: exact draws that did not pass."""
    damaged = [c for c in outcome.controls if c["must_fail"]]
    clean = [c for c in outcome.controls if not c["must_fail"]]
    return {
        "caught": sum(c["right"] for c in damaged),
        "total": len(damaged),
        "false_alarms": sum(not c["right"] for c in clean),
        "clean": len(clean),
    }


def told_controls(outcome: Outcome) -> str:
    """The controls of this run in a sentence."""
    c = control_counts(outcome)
    alarms = f"{c['false_alarms']} false alarms in {c['clean']} of exact draws"
    return f"controls: {c['caught']} of {c['total']} damaged draws caught, {alarms}"


def complaints(outcome: Outcome) -> list[str]:
    """Why the exit status is 1, in sentences; empty when it is 0."""
    kinds, controls, found = counts(outcome), control_counts(outcome), []
    if kinds["fail"]:
        found.append(f"{kinds['fail']} cells fail that no theorem and no recorded finding accounts for")
    if kinds["error"]:
        found.append(f"{kinds['error']} cells are errors: a method raised, or departs from a theorem or record")
    open_, applicable = _open(outcome.verdicts)
    if open_ > outcome.max_unresolved * applicable:
        allowed = f"at most {outcome.max_unresolved:.0%} may be" if outcome.max_unresolved else "none may be here"
        found.append(f"{open_} of {applicable} applicable cells are unresolved, not as recorded; {allowed}")
    exact = [v for v in outcome.verdicts if v.method in METHODS and METHODS[v.method].exact]
    open_, applicable = _open(exact)
    if open_ > outcome.max_unresolved * applicable:  # those of others do not make room for them
        found.append(f"{open_} of {applicable} applicable cells of exact methods are unresolved, not as recorded")
    if controls["caught"] < controls["total"]:
        found.append(
            f"{controls['total'] - controls['caught']} of {controls['total']} damaged controls slipped through"
        )
    if controls["false_alarms"]:
        found.append(f"{controls['false_alarms']} of {controls['clean']} controls of exact draws did not pass")
    if outcome.unfinished:
        found.append(f"{outcome.unfinished} tasks were not finished; the same command resumes them")
    return found


def _open(verdicts: list[Verdict]) -> tuple[int, int]:
    """How many are unresolved other than as recorded, and how many apply."""
    open_ = sum(v.outcome == "unresolved" and v.expected == "no" for v in verdicts)
    return open_, sum(v.outcome != "not_applicable" for v in verdicts)


LEGEND = (
    "fail a/b: a of b applicable checks fail; T: by the number a theorem gives, M: as measured and recorded, N: as "
    "recorded, but too different from key to key for sizes to be compared; FAIL: none of these. pass n: all n "
    "applicable checks pass."
)


def unexpected(verdicts: list[Verdict]) -> bool:
    """Whether something fails here that no theorem and no record accounts for."""
    return any(v.outcome == "fail" and v.expected == "no" for v in verdicts)


def symbol(verdicts: list[Verdict]) -> str:
    """A matrix entry: what failed, or the best that can be said."""
    number = Counter(v.outcome for v in verdicts)
    if number["error"]:
        return "ERROR"
    if number["fail"]:
        share = f"{number['fail']}/{len(verdicts) - number['not_applicable']}"
        reasons = {v.expected for v in verdicts}
        kinds = "".join(k[0].upper() for k in ("theorem", "measured", "noisy") if k in reasons)
        return f"FAIL {share}" if unexpected(verdicts) else f"fail {share} {kinds}"
    if number["unresolved"]:
        return f"unresolved {number['unresolved']}/{len(verdicts) - number['not_applicable']}"
    return f"pass {number['pass']}" if number["pass"] else "n/a"


def sentence(verdicts: list[Verdict]) -> str:
    """One method on one problem, failures in words: how wrong, in which direction, in posterior sd."""
    failed = [v for v in verdicts if v.outcome == "fail"]
    head = f"{failed[0].method} on {failed[0].problem}: "
    expected = {}
    for v in failed:
        expected.setdefault((v.expected, v.reason if v.expected in ("theorem", "no") else ""), []).append(v)
    parts = []
    for (kind, reason), group in expected.items():
        told = "; ".join(dict.fromkeys(_told(v) for v in group))
        why = {
            "theorem": f" [expected, theorem: {reason}]",
            "measured": " [expected, as measured and recorded]",
            "noisy": " [expected: fails as recorded, but its size varies too much between keys to be compared]",
            "no": " [not expected]",
        }[kind]
        parts.append(told + why + (f" ({reason})" if kind == "no" and reason and reason not in told else ""))
    return head + ". ".join(parts) + "."


def _told(v: Verdict) -> str:
    if math.isnan(v.error):
        return v.reason
    margin = f"± {v.margin:.2g}, tolerance {v.tolerance:g}"
    if v.check == "sd":
        return f"sd of {v.query} {abs(v.error):.0%} too {'small' if v.error < 0 else 'large'} ({v.error:+.3f} {margin})"
    if v.check == "correlation":
        return f"correlation of {v.query} off by {v.error:+.3f} ({margin})"
    if v.check == "log_predictive":
        return f"joint log predictive {abs(v.error):.3f} nats a row too {'low' if v.error < 0 else 'high'} ({margin})"
    if v.check in ("evidence", "elbo"):
        return f"{v.check} {abs(v.error):.3f} nats too {'low' if v.error < 0 else 'high'} ({margin})"
    if v.check == "ks":
        return f"P({v.query.replace(' ≤ ', ' ≤ its quantile ')}) off by {v.error:+.3f} ({margin})"
    if v.check == "pareto_k":
        return f"importance ratios with k̂ = {v.error:.2f} ({margin}): its draws cannot be weighted into the posterior's"
    if v.check == "total_variation":
        return f"class probabilities {v.error:.3f} off at {v.query} ({margin})"
    if v.check == "agreement":
        return f"{-v.error:.0%} of clear decisions are other ones ({margin})"
    if v.check == "w1":
        return f"distribution of {v.query} {v.error:.2f} posterior sd off on average ({margin})"
    name = {"mean": "mean", "q05": "5% quantile", "q95": "95% quantile"}[v.check]
    return f"{name} of {v.query} {abs(v.error):.2f} posterior sd too {'low' if v.error < 0 else 'high'} ({margin})"


def grouped(outcome: Outcome) -> dict[tuple[str, str], list[Verdict]]:
    """Verdicts by (problem, method), in the order of the run."""
    groups: dict[tuple[str, str], list[Verdict]] = {}
    for v in outcome.verdicts:
        groups.setdefault((v.problem, v.method), []).append(v)
    return groups


def summary(outcome: Outcome, status: int) -> dict[str, Any]:
    """What summary.json holds."""
    cells = []
    for v in outcome.verdicts:
        cell = {key: _plain(getattr(v, key)) for key in CELL_KEYS}
        cells.append({**cell, "reason": v.reason, **outcome.costs[v.problem, v.method]._asdict()})
    return {
        "methods": outcome.methods,
        "problems": outcome.problems,
        "cells": cells,
        "outcomes": counts(outcome),
        "controls": {**control_counts(outcome), "trials": outcome.controls, "measured_rates": rates()},
        "certificates": outcome.certificates,
        "complaints": complaints(outcome),
        "status": status,
        "seed": outcome.seed,
        "budget": outcome.level,
        "seconds": outcome.seconds,
    }


def stored_summary(out: Path) -> dict[str, Any]:
    """What summary.json holds already; empty where there is none, or none that can be read."""
    try:
        return json.loads((out / "summary.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    temporary.replace(path)


def _plain(value):
    return None if isinstance(value, float) and not math.isfinite(value) else value


def rates() -> dict[str, Any]:
    """The measured error rates of the suite (`python -m verification controls --record` remakes them)."""
    return json.loads(RATES.read_text()) if RATES.exists() else {}


def other(v: Verdict) -> str:
    """An error or an unresolved cell in a sentence."""
    if v.outcome == "error":
        return f"error: {v.method} on {v.problem}, {v.check}: {v.reason}"
    size = f"{v.error:+.3f} ± {v.margin:.3f} straddles the tolerance {v.tolerance:g}"
    return f"unresolved: {v.method} on {v.problem}, {v.check} of {v.query}: {size}"
