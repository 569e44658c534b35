"""`python -m verification controls`: the suite's own false-alarm rate and power, measured."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from verification import power
from verification.controls import CONTROLS
from verification.workers import completed, in_processes

KINDS = ("fail", "pass", "unresolved")
PART = 50  # runs a task makes: what a process is left with at the end keeps the others waiting


def measure_controls(console, problems: list[str], runs: int, seed: int, jobs: int, path: Path) -> int:
    """Every control `runs` times on each of the problems that can draw exactly, at the default budget; the table is
    printed as it grows and written to `path`. What that holds of power stays, and of other problems where it comes from
    as many runs and the same seed.

    Returns:
        0 when no exact draws failed or stayed unresolved and every damage was caught in at least 98% of runs, else 1.
    """
    rows: dict[tuple[str, int], dict] = {}
    parts = [(part, min(PART, runs - part)) for part in range(0, runs, PART)]
    tasks = [(name, k, part, some, seed) for name in problems for k in range(len(CONTROLS)) for part, some in parts]
    for number, ended in enumerate(in_processes(measure_control, tasks, jobs=jobs), 1):
        row = completed(ended)
        if row is None:
            continue
        row = rows[ended.task[:2]] = added(rows.get(ended.task[:2]), row)
        made = row["fail"] + row["pass"] + row["unresolved"]
        told = f"{row['fail']} failed, {row['pass']} passed, {row['unresolved']} unresolved of {made}"
        mark = "✗" if wrong(row, made) else "✓"
        console.print(f"[{number}/{len(tasks)}] {mark} {row['problem']}, {row['control']}: {told}", markup=False)
    ordered = [rows[task] for task in dict.fromkeys(task[:2] for task in tasks) if task in rows]
    stored = json.loads(path.read_text()) if path.exists() else {}
    header = {"runs": runs, "seed": seed, "budget": "default"}
    alike = all(stored.get(key) == value for key, value in header.items())
    others = [row for row in stored["rates"] if row["problem"] not in problems] if alike else []
    power_table = {"power": stored["power"]} if "power" in stored else {}
    write(path, {**header, "rates": [*others, *ordered], **power_table})
    console.print(f"written to {path}", markup=False)
    return int(any(wrong(row, runs) for row in ordered))


def measure_power(console, runs: int, seed: int, jobs: int, path: Path) -> int:
    """The power of every check alone; what `path` holds of the controls stays as it is.

    Returns:
        0, or 1 when a bar is missed (`power.complaints`).
    """
    table = power.run(console, runs, seed, jobs)
    write(path, {**(json.loads(path.read_text()) if path.exists() else {}), "power": table})
    missed = [sentence for row in table for sentence in power.complaints(row)]
    for sentence in missed:
        console.print(f"✗ {sentence}", markup=False)
    console.print(f"written to {path}", markup=False)
    return int(bool(missed))


def write(path: Path, stored: dict[str, Any]) -> None:
    """JSON, with each row of the power table on a line of its own."""
    rest = {key: value for key, value in stored.items() if key != "power"}
    text = json.dumps(rest, indent=1)
    if "power" in stored:
        lines = ",\n".join(f"  {json.dumps(row)}" for row in stored["power"])
        text = text.removesuffix("\n}").removesuffix("{}") + f',\n "power": [\n{lines}\n ]\n}}'
        text = text if rest else "{" + text.removeprefix(",")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def wrong(row: dict, runs: int) -> bool:
    """Whether a control misses the bar: any alarm on exact draws, more than 2% of damaged ones not caught."""
    return row["fail"] < 0.98 * runs if row["must_fail"] else row["fail"] + row["unresolved"] > 0


def added(row: dict | None, more: dict) -> dict:
    """A row of the table with the runs of another part of it."""
    if row is None:
        return more
    caught_by = dict(Counter(row["caught_by"]) + Counter(more["caught_by"]))
    return {**row, "caught_by": caught_by, **{kind: row[kind] + more[kind] for kind in KINDS}}


def measure_control(task: tuple[str, int, int, int, int], tell=None) -> dict | None:
    """A part of a row of the table, from (problem, index of the control, number of runs before, runs, seed); None where
    the problem cannot make that control."""
    name, index, before, runs, seed = task
    import jax

    jax.config.update("jax_enable_x64", True)
    from verification.controls import run_control
    from verification.work import build_problem

    problem, control = build_problem(name, None), CONTROLS[index]
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), index, before, 1])
    results = [run_control(problem, control, rng) for _ in range(runs)]
    if results[0] is None:
        return None
    kinds = Counter(r.outcome for r in results)
    by = Counter(check for r in results for check in r.caught_by)
    row = {"problem": name, "control": control.name, "must_fail": control.must_fail, "caught_by": dict(by)}
    return {**row, **{kind: kinds[kind] for kind in KINDS}}
