"""`python -m verification mutants`: which seeded bugs the suite catches, and how often it cries wolf."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path

from verification.mutants import ROOMS
from verification.mutants.trial import Tried, trial
from verification.report import stored_summary, write_whole
from verification.workers import completed, in_processes

LEAST_SCORE = 0.97
MOST_OTHERS = 3


def run(console, problems: list[str], core: Iterable[str], runs: int, seed: int, jobs: int, out: Path) -> int:
    """The catalogue on `problems` at the full budget, and `runs` clean runs of those of them that are in `core` at the
    default one; where these are the whole core, the kernels and calibrations too, right ones a thirtieth as often.
    Written: out/mutants.md, and `mutation_score`, `false_alarm_rate`, `mutants` in out/summary.json.

    Returns:
        0 when the score is at least 0.97, no clean run failed and every problem catches its own bug, else 1.
    """
    start, rows, clean = time.monotonic(), [], []
    tasks = tasks_of(problems, core, runs, seed)
    for number, ended in enumerate(in_processes(trial, tasks, jobs=jobs), 1):
        head, value = f"[{number}/{len(tasks)}]", completed(ended)
        if ended.task[0] == "mutants":
            rows += value
            console.print(f"{head} {ended.task[1]}: {_told(value)}", markup=False)
        elif isinstance(value, Tried):
            rows += value.rows
            clean += value.clean
            console.print(f"{head} {ended.task[0]}: {_told(value.rows)}", markup=False)
            for told in value.clean:
                console.print(f"{head} {_told_clean(told)}", markup=False)
        elif value["runs"]:
            clean.append(value)
            console.print(f"{head} {_told_clean(value)}", markup=False)
    found = summarised(rows, clean, problems)
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "mutants.md", page(found))
    stored = {key: value for key, value in stored_summary(out).items() if key not in found}
    write_whole(out / "summary.json", json.dumps({**stored, **found}, indent=1))
    _print_end(console, found, out, time.monotonic() - start)
    return int(bool(complaints(found)))


def tasks_of(problems: list[str], core: Iterable[str], runs: int, seed: int) -> list[tuple]:
    """What `trial` has to do. Kernels and calibrations bring their own problems: they are tried once, and not where
    only some problems are asked for."""
    tasks = [("mutants", name, seed) for name in problems]
    if set(core) <= set(problems):
        tasks += [(room, max(1, runs // 30), seed) for room in ("kernels", "calibrations")]
    return tasks + [("clean", name, runs, seed) for name in problems if name in set(core)]


def summarised(rows: list[dict], clean: list[dict], order: list[str]) -> dict:
    """mutation_score: of the mutants that some problem can show, the share that some problem catches."""
    place = {name: index for index, name in enumerate(order)}
    in_order = lambda row: place.get(row["problem"], len(order))  # kernels and calibrations bring their own
    rows = sorted(rows, key=in_order)
    mutants = []
    for room, known in ROOMS.items():
        for mutant in known:
            mutants.append(_entry(room, mutant, [r for r in rows if (r["room"], r["mutant"]) == (room, mutant)]))
    own = [_own(row, rows) for row in rows if row["room"] == "problem"]
    shown = [m for m in mutants if m["shown_by"]] + [{"caught_by": o["caught"]} for o in own]
    total, failed = sum(c["runs"] for c in clean), sum(c["failed"] for c in clean)
    return {
        "mutation_score": sum(bool(m["caught_by"]) for m in shown) / len(shown) if shown else None,
        "false_alarm_rate": failed / total if total else None,
        "mutants": {"catalogue": mutants, "problems": own, "clean": sorted(clean, key=in_order)},
    }


def _entry(room, mutant, rows):
    by: dict[str, int] = {}
    for row in rows:
        for check in row["caught_by"]:
            by[check] = by.get(check, 0) + 1
    return {
        "room": room,
        "mutant": mutant,
        "shown_by": [row["problem"] for row in rows],
        "caught_by": [row["problem"] for row in rows if row["outcome"] == "caught"],
        "checks": by,
    }


def _own(row, rows):
    same = [r["problem"] for r in rows if r["mutant"] == row["mutant"] and r["outcome"] == "caught"]
    others = [name for name in same if name != row["problem"]]
    caught = row["outcome"] == "caught"
    return {"problem": row["problem"], "bug": row["mutant"], "caught": caught, "by": row["caught_by"], "others": others}


def complaints(found: dict) -> list[str]:
    """Why the exit status is 1, in sentences."""
    told, score = [], found["mutation_score"]
    if score is not None and score < LEAST_SCORE:
        told.append(f"the mutation score is {score:.3f}; at least {LEAST_SCORE} is needed")
    if found["false_alarm_rate"]:
        told.append(f"{found['false_alarm_rate']:.2%} of clean runs failed; none may")
    for own in found["mutants"]["problems"]:
        if not own["caught"]:
            told.append(f"{own['problem']} does not catch its own bug: {own['bug']}")
        if len(own["others"]) > MOST_OTHERS:
            told.append(f"{len(own['others'])} other problems catch {own['problem']}'s bug: {own['bug']}")
    return told


def _told(rows):
    kinds = [row["outcome"] for row in rows]
    if not kinds:
        return "has no exact draws"
    slipped = [f"{row['room']}: {row['mutant']}" for row in rows if row["outcome"] != "caught"]
    words = f"; not caught here: {', '.join(slipped)}" if slipped else ""
    return f"{kinds.count('caught')} of {len(kinds)} mutants caught{words}"


def _told_clean(c):
    by = f" ({', '.join(c['by'])})" if c["by"] else ""
    return f"{c['problem']}: {c['runs']} clean runs, {c['failed']} failed{by}, {c['unresolved']} unresolved"


def _print_end(console, found, out, seconds):
    for entry in found["mutants"]["catalogue"]:
        if entry["shown_by"] and not entry["caught_by"]:
            console.print(f"slipped everywhere: {entry['room']}: {entry['mutant']}", markup=False)
    for complaint in complaints(found):
        console.print(f"✗ {complaint}", markup=False)
    score, rate = found["mutation_score"], found["false_alarm_rate"]
    told = f"mutation score {score:.3f}" if score is not None else "no mutants"
    alarms = f"{rate:.2%} of clean runs failed" if rate is not None else "no clean runs"
    console.print(f"{told}; {alarms}; {out / 'mutants.md'}; {seconds:.0f} s", markup=False)


def page(found: dict) -> str:
    """mutants.md."""
    score, rate = found["mutation_score"], found["false_alarm_rate"]
    lines = ["# Seeded bugs", ""]
    lines += [f"Mutation score {score:.3f}." if score is not None else "No mutants."]
    lines += ["", f"Clean runs that failed: {rate:.2%}." if rate is not None else "No clean runs.", ""]
    lines += ["| room | bug | caught by | of | checks |", "| --- | --- | --- | --- | --- |"]
    for m in found["mutants"]["catalogue"]:
        checks = ", ".join(f"{name} {number}" for name, number in sorted(m["checks"].items(), key=lambda c: -c[1]))
        lines.append(f"| {m['room']} | {m['mutant']} | {len(m['caught_by'])} | {len(m['shown_by'])} | {checks} |")
    lines += ["", "## Each problem's own bug", "", "| problem | bug | caught by | others that catch it |"]
    lines += ["| --- | --- | --- | --- |"]
    for own in found["mutants"]["problems"]:
        by = ", ".join(own["by"]) if own["caught"] else "**not caught**"
        lines.append(f"| {own['problem']} | {own['bug']} | {by} | {', '.join(own['others']) or 'none'} |")
    lines += ["", "## Clean runs", "", "| problem | runs | failed | unresolved |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {c['problem']} | {c['runs']} | {c['failed']} | {c['unresolved']} |" for c in found["mutants"]["clean"]
    ]
    return "\n".join(lines) + "\n"
