"""Verdicts in words: the matrix, a sentence for each failure, the summary and the Markdown page."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from verification.checks import CHECKS
from verification.types import Verdict

RATES = Path(__file__).with_name("control_rates.json")
CELL_KEYS = ("problem", "method", "check", "query", "error", "margin", "tolerance", "outcome", "expected")


class Outcome(NamedTuple):
    """All a run found. verdicts: one a (problem, method, check); timings and reports: by (problem, method); status: the exit status."""

    methods: list[str]
    problems: list[str]
    verdicts: list[Verdict]
    timings: dict[tuple[str, str], tuple[float, float]]
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
    kinds = Counter("fail_expected" if v.outcome == "fail" and v.expected != "no" else v.outcome for v in outcome.verdicts)
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


def complaints(outcome: Outcome) -> list[str]:
    """Why the exit status is 1, in sentences; empty when it is 0."""
    kinds, controls, found = counts(outcome), control_counts(outcome), []
    applicable = sum(kinds.values()) - kinds["not_applicable"]
    if kinds["fail"]:
        found.append(f"{kinds['fail']} cells fail that no theorem and no recorded finding accounts for")
    if kinds["error"]:
        found.append(f"{kinds['error']} cells ended in an error")
    if kinds["unresolved"] > outcome.max_unresolved * applicable:
        found.append(f"{kinds['unresolved']} of {applicable} applicable cells are unresolved; at most {outcome.max_unresolved:.0%} may be")
    if controls["caught"] < controls["total"]:
        found.append(f"{controls['total'] - controls['caught']} of {controls['total']} damaged controls slipped through")
    if controls["false_alarms"]:
        found.append(f"{controls['false_alarms']} of {controls['clean']} controls of exact draws did not pass")
    if outcome.unfinished:
        found.append(f"{outcome.unfinished} tasks were not finished; the same command resumes them")
    return found


def symbol(verdicts: list[Verdict]) -> str:
    """A matrix entry: what failed, or the best that can be said."""
    by = lambda kind: [v.check for v in verdicts if v.outcome == kind]  # noqa: E731
    if by("error"):
        return "ERROR"
    failed = [v for v in verdicts if v.outcome == "fail"]
    if failed:
        unexpected = any(v.expected == "no" for v in failed)
        kinds = sorted({v.expected for v in failed})
        return f"{'FAIL' if unexpected else 'fail'} {len(failed)}/{len(verdicts) - len(by('not_applicable'))}" + (
            "" if unexpected else " " + "+".join(kinds)
        )
    if by("unresolved"):
        return "unresolved"
    if by("pass"):
        return f"pass {len(by('pass'))}"
    return "n/a"


def sentence(verdicts: list[Verdict]) -> str:
    """One method on one problem, failures in words: how wrong, in which direction, in posterior sd."""
    failed = [v for v in verdicts if v.outcome == "fail"]
    head = f"{failed[0].method} on {failed[0].problem}: "
    expected = {}
    for v in failed:
        expected.setdefault((v.expected, v.reason if v.expected != "measured" else ""), []).append(v)
    parts = []
    for (kind, reason), group in expected.items():
        told = "; ".join(_told(v) for v in group)
        why = {"theorem": f" [expected, theorem: {reason}]", "measured": " [expected, as measured and recorded]", "no": " [not expected]"}[kind]
        parts.append(told + why + (f" ({reason})" if kind == "no" and reason else ""))
    return head + ". ".join(parts) + "."


def _told(v: Verdict) -> str:
    if math.isnan(v.error):
        return f"{v.check}: {v.reason or 'not finite'}"
    margin = f"± {v.margin:.2g}, tolerance {v.tolerance:g}"
    if v.check == "sd":
        return f"sd of {v.query} {abs(v.error):.0%} too {'small' if v.error < 0 else 'large'} ({v.error:+.3f} {margin})"
    if v.check == "correlation":
        return f"correlation of {v.query} off by {v.error:+.3f} ({margin})"
    if v.check == "log_predictive":
        return f"joint log predictive {abs(v.error):.3f} nats a row too {'low' if v.error < 0 else 'high'} ({margin})"
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
        compile_s, run_s = outcome.timings.get((v.problem, v.method), (0.0, 0.0))
        cell = {key: _plain(getattr(v, key)) for key in CELL_KEYS}
        cells.append({**cell, "reason": v.reason, "seconds_compile": compile_s, "seconds_run": run_s})
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


def _plain(value):
    return None if isinstance(value, float) and not math.isfinite(value) else value


def rates() -> dict[str, Any]:
    """The measured error rates of the suite (`python -m verification controls` remakes them)."""
    return json.loads(RATES.read_text()) if RATES.exists() else {}


def markdown(outcome: Outcome, status: int) -> str:
    """report.md: the matrix, the failures, the errors, the exact answers' certificates, the suite's own error rates."""
    kinds, controls, groups = counts(outcome), control_counts(outcome), grouped(outcome)
    lines = ["# Verification report", "", f"Budget {outcome.level}, seed {outcome.seed}, {outcome.seconds:.0f} s, exit status {status}.", ""]
    lines += [", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in kinds.items()) + f" (of {len(outcome.verdicts)} cells).", ""]
    lines += [f"- {c}" for c in complaints(outcome)] + [""]
    lines += ["## Matrix", "", _row(["problem", *outcome.methods]), _row(["---"] * (len(outcome.methods) + 1))]
    for p in outcome.problems:
        lines.append(_row([p, *(symbol(groups[p, m]) if (p, m) in groups else "" for m in outcome.methods)]))
    lines += ["", "`fail a/b`: a of b applicable checks fail; theorem: by the number theory predicts; measured: as recorded; FAIL: not expected.", ""]
    failures = [sentence(vs) for vs in groups.values() if any(v.outcome == "fail" for v in vs)]
    lines += ["## Failures", "", *(f"- {s}" for s in failures), ""] if failures else []
    others = [v for v in outcome.verdicts if v.outcome in ("error", "unresolved")]
    lines += ["## Errors and unresolved", "", *(f"- {_other(v)}" for v in others), ""] if others else []
    silent = {(m, vs[0].reason): [] for (_, m), vs in groups.items() if all(v.outcome == "not_applicable" for v in vs)}
    for (p, m), vs in groups.items():
        if (m, vs[0].reason) in silent and all(v.outcome == "not_applicable" for v in vs):
            silent[m, vs[0].reason].append(p)
    lines += ["## Not applicable", "", *(f"- {m} on {', '.join(ps)}: {reason}" for (m, reason), ps in silent.items()), ""] if silent else []
    lines += ["## Worst query of each check", "", _row(["problem", "method", "check", "query", "error", "margin", "tolerance", "outcome", "expected"])]
    lines += [_row(["---"] * 9)]
    for v in outcome.verdicts:
        if v.outcome not in ("not_applicable", "error"):
            row = (v.problem, v.method, v.check, v.query.replace("|", "\\|"), f"{v.error:+.4f}", f"{v.margin:.4f}", f"{v.tolerance:g}", v.outcome, v.expected)
            lines.append(_row(row))
    lines += ["", *_cost_table(outcome), *_certificate_table(outcome), *_control_table(outcome, controls)]
    return "\n".join(lines) + "\n"


def _other(v: Verdict) -> str:
    if v.outcome == "error":
        return f"{v.method} on {v.problem}, {v.check}: {v.reason}"
    return f"{v.method} on {v.problem}, {v.check} of {v.query}: {v.error:+.3f} ± {v.margin:.3f} straddles the tolerance {v.tolerance:g}"


def _row(cells) -> str:
    return "| " + " | ".join(cells) + " |"


def _cost_table(outcome: Outcome) -> list[str]:
    lines = ["## Cost", "", _row(["problem", "method", "compile s", "run s", "the method says"]), _row(["---"] * 5)]
    for (p, m), (compile_s, run_s) in outcome.timings.items():
        said = ", ".join(f"{k} {v:.3g}" for k, v in outcome.reports.get((p, m), {}).items())
        lines.append(_row([p, m, f"{compile_s:.1f}", f"{run_s:.1f}", said]))
    return [*lines, ""]


def _certificate_table(outcome: Outcome) -> list[str]:
    lines = ["## Exact answers", "", _row(["problem", "error (posterior sd)", "found by", "second method", "agreement"]), _row(["---"] * 5)]
    for name, c in outcome.certificates.items():
        lines.append(_row([name, f"{c['error']:.1e}", c["found"], c["second"], f"{c['agreement']:.1e}"]))
    return [*lines, ""]


def _control_table(outcome: Outcome, controls) -> list[str]:
    lines = ["## Who verifies the verifier", ""]
    lines += [f"This run: {controls['caught']} of {controls['total']} damaged draws caught; {controls['false_alarms']} false alarms in {controls['clean']}.", ""]
    stored = rates()
    if not stored:
        return lines
    lines += [f"Measured over {stored['runs']} runs a control at the default budget (`python -m verification controls`):", ""]
    lines += [_row(["problem", "control", "must fail", "failed", "passed", "unresolved", *[f"by {c.name}" for c in CHECKS]]), _row(["---"] * (6 + len(CHECKS)))]
    for row in stored["rates"]:
        by = [f"{row['caught_by'].get(c.name, 0)}" for c in CHECKS]
        lines.append(
            _row([row["problem"], row["control"], "yes" if row["must_fail"] else "no", *(str(row[k]) for k in ("fail", "pass", "unresolved")), *by])
        )
    return [*lines, ""]
