"""`python -m verification claims [ID …]`: run the ledger, draw it, and write what was found."""

from __future__ import annotations

import json
import math
import textwrap
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from verification.claims.types import UNDECIDED, Measurement, control_rejected, decisive, verdict
from verification.workers import completed, in_processes

FOLDER = "claims"
BROKEN = "error"


def run(console, ids: list[str], out: Path, seed: int, jobs: int) -> int:
    """Run the claims of these ids; the table grows as they end. Written: out/claims/ID.png, out/claims.md, and
    `claims` in out/summary.json, where claims of earlier runs and the matrix stay as they are.

    Returns:
        0 when every verdict is the ledger's and every negative control was rejected, else 1.
    """
    from verification.claims.ledger import BY_ID

    (out / FOLDER).mkdir(parents=True, exist_ok=True)
    start, entries = time.monotonic(), {}
    tasks = [(name, str(out), seed) for name in reversed(ids)]  # the longest stand at the end of the ledger
    for number, ended in enumerate(in_processes(run_claim, tasks, jobs=jobs), 1):
        name, entry = ended.task[0], completed(ended)
        entries[name] = entry
        console.print(f"[{number}/{len(ids)}] {'✓' if right(entry) else '✗'} {name} {told(entry)}", markup=False)
    merged = write(out, {name: entries[name] for name in ids})
    wrong = [name for name in ids if not right(entries[name])]
    if wrong:
        console.print(
            f"✗ not as the ledger says, or a negative control slipped through: {', '.join(wrong)}", markup=False
        )
    kinds = [entries[name]["verdict"] for name in ids]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(BY_ID[name].verdict for name in ids))
    rejected = sum(entry["control_rejected"] for entry in entries.values())
    told_controls = f"{rejected} of {len(ids)} negative controls rejected"
    seconds = time.monotonic() - start
    console.print(f"{counts}; {told_controls}; {merged}; {seconds:.0f} s, exit status {int(bool(wrong))}", markup=False)
    return int(bool(wrong))


def right(entry: dict[str, Any]) -> bool:
    """Whether the verdict is the one that the ledger has, and the control was rejected."""
    return entry["verdict"] == entry["ledger"] and entry["control_rejected"]


def told(entry: dict[str, Any]) -> str:
    """The claim in a line: the statement, the verdict, the number it hangs on."""
    if entry["verdict"] == BROKEN:
        return f"{entry['statement']} {BROKEN}: {entry['what']}"
    number = f"{entry['what']}: {_shown(entry['measured'])} against {_shown(entry['tolerance'])}"
    control = "control rejected" if entry["control_rejected"] else "CONTROL NOT REJECTED"
    ledger = "" if entry["verdict"] == entry["ledger"] else f" (the ledger says: {entry['ledger']})"
    return f"{entry['statement']} {entry['verdict'].upper()}{ledger} [{number}; {control}]"


def _shown(value) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"


def run_claim(task: tuple[str, str, int], tell=None) -> dict[str, Any]:
    """One claim, (id, folder, seed), as a worker process does it: computed, judged, drawn."""
    name, out, seed = task
    import jax

    jax.config.update("jax_enable_x64", True)
    from verification.claims.ledger import BY_ID

    claim, start = BY_ID[name], time.perf_counter()
    entry = {"statement": claim.statement, "answer": claim.answer, "ledger": claim.verdict}
    try:
        finding = claim.run(np.random.default_rng([seed, zlib.crc32(name.encode())]))
        judged = summarised(finding.measurements)
        figure = _draw(claim, judged, finding.draw, Path(out) / FOLDER / f"{name}.png")
    except Exception as error:  # whatever goes wrong in one claim is that claim's entry, not the end of the others
        judged = {"verdict": BROKEN, "control_rejected": False, "measured": None, "tolerance": None, "measurements": []}
        judged["what"], figure = f"{type(error).__name__}: {error}", None
    jax.clear_caches()
    return {**entry, **judged, "figure": figure, "seed": seed, "seconds": round(time.perf_counter() - start, 1)}


def summarised(measurements: list[Measurement]) -> dict[str, Any]:
    """Verdict, control, the number the verdict hangs on, and all numbers, fit for JSON."""
    main = decisive(measurements)
    rows = [{**m._asdict(), "met": m.met} for m in measurements]
    return {
        "verdict": verdict(measurements),
        "control_rejected": control_rejected(measurements),
        "what": main.what,
        "measured": _plain(main.value),
        "tolerance": _plain(main.bound),
        "margin": _plain(main.margin),
        "at_least": main.at_least,
        "measurements": [{key: _plain(value) for key, value in row.items()} for row in rows],
    }


def _plain(value):
    """JSON has no infinities: they become the words "inf", "-inf", "nan"; and no arrays of one number."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value


def _draw(claim, judged, draw, path: Path) -> str:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    figure, ax = plt.subplots(figsize=(7.0, 4.6), layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    draw(ax)
    for axis in (ax.xaxis, ax.yaxis):
        low, high = sorted(axis.get_view_interval())
        if axis.get_scale() == "log" and high / low < 1e3:  # few decades: 1, 2, 5 in plain numbers
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())
    heading = "\n".join(textwrap.wrap(f"{claim.id}  {claim.statement}  {judged['verdict'].upper()}", 88))
    figure.suptitle(heading, fontsize=10, x=0.02, ha="left")
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return f"{FOLDER}/{path.name}"


def write(out: Path, entries: dict[str, dict]) -> str:
    """summary.json with these claims in it, and claims.md of all it holds; returns both names."""
    from verification.claims.ledger import BY_ID
    from verification.report import stored_summary, write_whole

    summary = stored_summary(out)
    claims = {**summary.get("claims", {}), **entries}
    ordered = {name: claims[name] for name in BY_ID if name in claims}
    write_whole(out / "summary.json", json.dumps({**summary, "claims": ordered}, indent=1))
    write_whole(out / "claims.md", page(ordered))
    return f"{out / 'claims.md'}, {out / 'summary.json'}"


def page(claims: dict[str, dict]) -> str:
    """claims.md: the ledger as a table, then each claim with its numbers and its figure."""
    cell = lambda text: str(text).replace("|", "\\|")
    lines = [
        "# The ledger",
        "",
        "| id | statement | verdict | control rejected | seconds |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, entry in claims.items():
        rejected = "yes" if entry["control_rejected"] else "**no**"
        lines.append(f"| {name} | {cell(entry['statement'])} | {entry['verdict']} | {rejected} | {entry['seconds']} |")
    for name, entry in claims.items():
        lines += ["", f"## {name}: {entry['verdict']}", "", f"*{entry['statement']}* {entry['answer']}", ""]
        if entry["verdict"] in (BROKEN, UNDECIDED):
            lines += [f"{entry['verdict']}: {entry['what']}", ""]
        lines += ["| role | number | value | bound | met |", "| --- | --- | --- | --- | --- |"]
        for m in entry["measurements"]:
            margin = f" ± {m['margin']:.2g}" if m["margin"] else ""
            met = {True: "yes", False: "no", None: "undecided"}[m["met"]]
            bound = f"{'≥' if m['at_least'] else '≤'} {_shown(m['bound'])}"
            lines.append(f"| {m['role']} | {cell(m['what'])} | {_shown(m['value'])}{margin} | {bound} | {met} |")
        if entry["figure"]:
            lines += ["", f"![{name}]({entry['figure']})"]
    return "\n".join(lines) + "\n"
