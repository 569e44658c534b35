"""report.md: the matrix, the failures, the certificates of the exact answers, the error rates of the suite itself."""

from __future__ import annotations

from collections.abc import Iterable

from verification.checks import CHECKS
from verification.comparison import HEADER, compare_methods
from verification.comparison import told as told_row
from verification.judge import ALPHA
from verification.report import (
    LEGEND,
    Outcome,
    complaints,
    counts,
    grouped,
    other,
    rates,
    sentence,
    symbol,
    told_controls,
)
from verification.run import versions


def markdown(outcome: Outcome, status: int) -> str:
    """The whole page."""
    sections = (
        _head(outcome, status),
        _matrix(outcome),
        _comparison(outcome),
        _failures(outcome),
        _silent(outcome),
        _cells(outcome),
    )
    sections += (_costs(outcome), _certificates(outcome), _rates(outcome))
    return "\n".join(line for section in sections for line in section) + "\n"


def _table(header: list[str], rows: Iterable[list[str]]) -> list[str]:
    cells = lambda row: "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
    return [cells(header), cells(["---"] * len(header)), *map(cells, rows), ""]


def _bullets(title: str, sentences: list[str]) -> list[str]:
    return [f"## {title}", "", *(f"- {s}" for s in sentences), ""] if sentences else []


def _head(outcome, status):
    kinds = ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in counts(outcome).items())
    run = f"Budget {outcome.level}, seed {outcome.seed}, {outcome.seconds:.0f} s, exit status {status}."
    bars = ", ".join(f"{c.name} {c.tolerance[outcome.level]:g}" for c in CHECKS)
    rule = f"Tolerances: {bars} (posterior sd; sd and correlation as they are; log predictive in nats a row; "
    rule += "ks and total variation in probability; evidence and elbo in nats)."
    rule += f" A look is made at α = {ALPHA:g}, two-sided; a fail is repeated on fresh keys."
    with_ = "With " + ", ".join(f"{name} {version}" for name, version in versions().items()) + "."
    lines = ["# Verification report", "", run, "", rule, "", with_, ""]
    lines += [f"{kinds} (of {len(outcome.verdicts)} cells).", ""]
    return [*lines, *(f"- {c}" for c in complaints(outcome)), ""]


def _matrix(outcome):
    groups = grouped(outcome)
    rows = [[p, *(symbol(groups[p, m]) if (p, m) in groups else "" for m in outcome.methods)] for p in outcome.problems]
    return ["## Matrix", "", *_table(["problem", *outcome.methods], rows), LEGEND, ""]


def _comparison(outcome):
    told = "Errors are those of the worst query, their size: median over the problems of this run (largest). Cells: "
    told += "passed/resolved of applicable. Costs are medians over problems; memory is that of sixteen keys."
    return ["## Methods compared", "", *_table(HEADER, map(told_row, compare_methods(outcome))), told, ""]


def _failures(outcome):
    failed = [sentence(vs) for vs in grouped(outcome).values() if any(v.outcome == "fail" for v in vs)]
    others = [other(v) for v in outcome.verdicts if v.outcome in ("error", "unresolved")]
    return _bullets("Failures", failed) + _bullets("Errors and unresolved", others)


def _silent(outcome):
    where: dict[tuple[str, str], list[str]] = {}
    for (problem, method), verdicts in grouped(outcome).items():
        if all(v.outcome == "not_applicable" for v in verdicts):
            where.setdefault((method, verdicts[0].reason), []).append(problem)
    return _bullets("Not applicable", [f"{m} on {', '.join(ps)}: {why}" for (m, why), ps in where.items()])


def _cells(outcome):
    header = ["problem", "method", "check", "query", "error", "margin", "tolerance", "outcome", "expected"]
    rows = [
        [
            v.problem,
            v.method,
            v.check,
            v.query,
            f"{v.error:+.4f}",
            f"{v.margin:.4f}",
            f"{v.tolerance:g}",
            v.outcome,
            v.expected if v.outcome == "fail" else "",
        ]
        for v in outcome.verdicts
        if v.outcome not in ("not_applicable", "error")
    ]
    return ["## Worst query of each check", "", *_table(header, rows)]


def _costs(outcome):
    said = lambda where: ", ".join(f"{k} {v:.3g}" for k, v in outcome.reports.get(where, {}).items())
    rows = [
        [*where, f"{c.seconds_compile:.1f}", f"{c.seconds_run:.1f}", str(c.num_keys), said(where)]
        for where, c in outcome.costs.items()
    ]
    header = ["problem", "method", "compile s", "run s", "keys", "the method says, on average"]
    return ["## Cost", "", *_table(header, rows)]


def _certificates(outcome):
    header = ["problem", "what it is", "error (posterior sd)", "found by", "second method", "agreement"]
    rows = [
        [name, c["about"], f"{c['error']:.1e}", c["found"], c["second"], f"{c['agreement']:.1e}"]
        for name, c in outcome.certificates.items()
    ]
    return ["## Exact answers", "", *_table(header, rows)]


def _rates(outcome):
    lines, stored = ["## Who verifies the verifier", "", f"This run, {told_controls(outcome)}.", ""], rates()
    return lines + _controls(stored) + _power(stored.get("power", []))


def _controls(stored):
    if not stored.get("rates"):
        return []
    command = "`python -m verification controls --record`"
    told = f"Measured over {stored['runs']} runs a control at the default budget ({command}):"
    header = ["problem", "control", "must fail", "failed", "passed", "unresolved", *(f"by {c.name}" for c in CHECKS)]
    rows = [
        [row["problem"], row["control"], "yes" if row["must_fail"] else "no"]
        + [str(row[k]) for k in ("fail", "pass", "unresolved")]
        + ["" if row["caught_by"] is None else str(row["caught_by"].get(c.name, 0)) for c in CHECKS]  # not kept
        for row in stored["rates"]
    ]
    return [told, "", *_table(header, rows)]


def _power(rows):
    if not rows:
        return []
    told = "Each check on exact draws of a Gaussian posterior (three queries, two of them at correlation 0.9), with an "
    told += "exact 95% bound of its false-alarm rate, and on draws wrong by e in one query: the smallest e of a grid, "
    told += "each 1.1 times the one before, that is found with power 0.99, and what was found where a figure is set. "
    told += "What a method says of the evidence has a noise of 0.05 nats and no draws."
    header = ["check", "budget", "draws", "runs", "false alarms", "their rate", "unresolved"]
    header += ["damage", "smallest e found", "units", "at the figure set"]
    return [told, "", *_table(header, map(_power_row, rows))]


def _power_row(row):
    cells = [row["check"], row["budget"], row["draws"]]
    if row["runs"]:
        bound = f"≤ {row['false_alarm_bound']:.2g}"
        cells += [str(row["runs"]), str(row["false_alarms"]), bound, str(row["unresolved"])]
    else:
        cells += ["not measured", "", "", ""]
    if row["damage"] is None:
        return [*cells, "not measured", "", "", ""]
    smallest = "none tried" if row["smallest"] is None else f"{row['smallest']:g}"
    smallest = f"≤ {smallest}" if row["curve"][0][0] == row["smallest"] else smallest  # the grid starts there
    bar = "" if row["bar"] is None else "e = {:g}: {} of {}".format(row["bar"][0], row["bar"][2], row["bar"][1])
    return [*cells, row["damage"], smallest, row["units"], bar]
