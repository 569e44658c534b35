"""What a run shows: a live matrix on a terminal, plain lines elsewhere, and at the end the matrix with a sentence
for each failure."""

from __future__ import annotations

import time

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from verification.report import LEGEND, Outcome, counts, grouped, other, sentence, symbol, told_controls, unexpected
from verification.run import Event
from verification.types import Verdict

COLOURS = {
    "pass": "green",
    "fail": "yellow",
    "FAIL": "bold red",
    "ERROR": "bold red",
    "unresolved": "magenta",
    "n/a": "dim",
}


class Board:
    """The state of every cell. On a terminal it is redrawn in place; in a pipe each change of state is a line."""

    def __init__(self, console: Console, problems: list[str], methods: list[str], total: int):
        self.console, self.problems, self.methods, self.total = console, problems, methods, total
        self.entries: dict[tuple[str, str], str] = {}
        self.running: dict[tuple[str, str], tuple[str, float]] = {}
        self.finished, self.start = 0, time.monotonic()
        self.live = (
            Live(console=console, refresh_per_second=4, transient=True, get_renderable=self._render)
            if console.is_terminal
            else None
        )

    def __enter__(self):
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_):
        if self.live:
            self.live.stop()

    def show(self, event: Event) -> None:
        """Take an event in and let it be seen."""
        where = (event.task.problem, event.task.method)
        if event.result is None:
            begun = self.running.get(where, ("", time.monotonic()))[1]
            self.running[where] = (event.state, begun)
            if not self.live and event.state == "compiling":
                self.console.print(
                    f"[{self.finished}/{self.total}] {where[1]} on {where[0]}: compiling", markup=False, highlight=False
                )
            return
        self.finished += 1
        self.running.pop(where, None)
        entry = _entry(event.result)
        self.entries[where] = entry
        if not self.live:
            stored = " (stored)" if event.stored else ""
            seconds = event.result.get("seconds_compile", 0.0), event.result.get("seconds_run", 0.0)
            took = f"compile {seconds[0]:.1f} s, run {seconds[1]:.1f} s"
            self.console.print(
                f"[{self.finished}/{self.total}] {where[1]} on {where[0]}: {entry}{stored}, {took}",
                markup=False,
                highlight=False,
            )

    def _render(self):
        table = Table(
            title=f"{self.finished} of {self.total} tasks, {time.monotonic() - self.start:.0f} s", title_justify="left"
        )
        table.add_column("problem", overflow="fold")
        columns = [*self.methods, "controls"]
        for method in columns:
            table.add_column(_short(method))
        for problem in self.problems:
            table.add_row(problem, *(self._cell(problem, method) for method in columns))
        lines = [
            f"{m} on {p}: {state}, {time.monotonic() - begun:.0f} s" for (p, m), (state, begun) in self.running.items()
        ]
        lines = lines or ["starting worker processes"]
        return Group(table, Text("\n".join(lines), style="dim"))

    def _cell(self, problem, method):
        if (problem, method) in self.entries:
            return _coloured(self.entries[problem, method])
        return Text("…" if (problem, method) in self.running else "", style="dim")


def print_outcome(console: Console, outcome: Outcome) -> None:
    """The matrix, the failures explained (the unexpected ones last, where the eye is), the counts."""
    groups = grouped(outcome)
    table = Table(title="Verdicts", title_justify="left")
    table.add_column("problem", overflow="fold")
    for method in outcome.methods:
        table.add_column(_short(method))
    for p in outcome.problems:
        table.add_row(p, *(_coloured(symbol(groups[p, m])) if (p, m) in groups else "" for m in outcome.methods))
    console.print(table)
    _say(console, LEGEND)
    failed = [vs for vs in groups.values() if any(v.outcome == "fail" for v in vs)]
    for verdicts in sorted(failed, key=unexpected):
        _say(console, "• " + sentence(verdicts), "bold red" if unexpected(verdicts) else "")
    errors = dict.fromkeys(f"{v.method} on {v.problem}: {v.reason}" for v in outcome.verdicts if v.outcome == "error")
    for text in [
        *(f"• error: {e}" for e in errors),
        *(f"• {other(v)}" for v in outcome.verdicts if v.outcome == "unresolved"),
    ]:
        _say(console, text, "bold red")
    _say(console, ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in counts(outcome).items()) + " (cells)")
    _say(console, told_controls(outcome))


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=True)


def _entry(result: dict) -> str:
    if "controls" in result:
        return f"{sum(c['right'] for c in result['controls'])}/{len(result['controls'])} right"
    return symbol([Verdict(**v) for v in result["verdicts"]])


def _coloured(entry: str) -> Text:
    return Text(entry, style=COLOURS.get(entry.split(" ")[0], ""))


def _short(method: str) -> str:
    return method.rpartition(":")[2]
