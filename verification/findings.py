"""Recorded findings: failures without a theorem, measured once and guarded since.

`findings.json` is made by `python -m verification --record` (full budget; with `--all-methods`, the default one) and
never by hand. A later run departs from it when a query's error differs from the record by more than a window: what
the spread between keys, the larger of both runs', makes of both numbers of keys (at α = 10⁻⁶, for there are thousands
of them) and a tenth of the tolerance; or when that spread has grown tenfold. Where the window is wider than the
recorded error even of the queries that fail, sizes cannot be compared, and the cell says so: "noisy".
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy import stats

from verification.methods import METHODS
from verification.types import Verdict

FILE = Path(__file__).with_name("findings.json")
ALPHA = 1e-6
MOST_NOISE = (
    10.0  # times the recorded spread between keys; where draws have heavy tails that of few keys may be 4 times
)
NOT_CROSSED = {  # what one chain of NUTS at its settings does not go through
    "mixture_separated": "two modes ten sds apart",
    "network_relu": "modes of a unit that faces right and of one that faces left",
    "funnel": "a neck too narrow for any step that suits its mouth",
    "banana_sharp": "a ridge whose width and curvature ask for different steps",
}


def load(path: Path = FILE) -> dict:
    """{"problem/method/check": {"level": budget, "num_replications": R, "errors": {query: [error, standard error]}}};
    empty without a file. Draws that were not finite have no errors."""
    return json.loads(path.read_text()) if path.exists() else {}


def record(verdicts: list[Verdict], path: Path = FILE, *, level: str = "full") -> int:
    """Write what a run at this budget found to fail, or could not tell from failing, without a theorem; returns how
    many such cells.

    A (problem, method) that this run did not judge keeps what an earlier one recorded, and so does one that was
    recorded at the full budget when this run was at the default one.
    """
    earlier = load(path)
    finer = {_pair(name) for name, value in earlier.items() if level == "default" and value["level"] == "full"}
    verdicts = [v for v in verdicts if f"{v.problem}/{v.method}" not in finer]
    judged = {f"{v.problem}/{v.method}" for v in verdicts}
    kept = {name: value for name, value in earlier.items() if _pair(name) not in judged}
    new = {
        _name(v): {"level": level, "num_replications": v.num_replications, "errors": _rounded(v.errors)}
        for v in verdicts
        if v.outcome in ("fail", "unresolved") and v.expected != "theorem" and not v.contradicts
        if _has_findings(v.method, v.problem)
    }
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in sorted({**kept, **new}.items())]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    return len(new)


def _pair(name: str) -> str:
    return name.rpartition("/")[0]


def _has_findings(method: str, problem: str) -> bool:
    """The library's own approximations have some, an exact method only where its chains are known not to reach the
    whole posterior; nothing excuses a stranger."""
    return method in METHODS and (not METHODS[method].exact or problem in NOT_CROSSED)


def _rounded(errors: dict) -> dict:
    return {query: [float(f"{number:.6g}") for number in pair] for query, pair in errors.items()}


def compared(result: dict, findings: dict) -> dict:
    """A task's result with its verdicts held against the record; a stranger has none, controls have no verdicts."""
    if result["task"]["stranger"] or "verdicts" not in result:
        return result
    return {**result, "verdicts": [compare(Verdict(**v), findings)._asdict() for v in result["verdicts"]]}


def compare(verdict: Verdict, findings: dict) -> Verdict:
    """The verdict with `expected` "measured" where a fail, or what could not be told from one, has the recorded
    numbers: an error near the tolerance stays near it, and the record has its size from more keys. "noisy": so it does
    as far as can be seen, but the record varies so much between keys that as few as these would not show the flaw gone.
    One that departs from its record stays unexpected, and is an error where the recorded fail is gone."""
    recorded = findings.get(_name(verdict))
    judged = verdict.outcome in ("fail", "pass", "unresolved") and verdict.expected != "theorem"
    if recorded is None or not judged or not _has_findings(verdict.method, verdict.problem):
        return verdict
    if bool(recorded["errors"]) != bool(verdict.errors):
        departed = "departs from the recorded finding: finite draws there and not here, or the other way round"
    else:
        departed = _departure(verdict, recorded)
    if departed is not None:
        return verdict._replace(outcome="fail" if verdict.outcome == "fail" else "error", reason=departed)
    if verdict.outcome == "pass":
        return verdict
    return verdict._replace(expected="measured" if _comparable(verdict, recorded) else "noisy")


def _departure(verdict: Verdict, recorded: dict) -> str | None:
    if verdict.errors.keys() != recorded["errors"].keys():
        return "departs from the recorded finding: its queries are other ones than those of this run"
    windows, slack = _windows(verdict, recorded), 0.1 * verdict.tolerance
    fewer = np.sqrt(recorded["num_replications"] / max(verdict.num_replications, 1))
    for query in verdict.errors:
        (now, now_se), (then, then_se) = verdict.errors[query], recorded["errors"][query]
        same = now == then or np.abs(now - then) <= windows[query]  # NaN is neither; two infinities are the same
        if not same:
            size = f"{query} {now:+.3g} now, {then:+.3g} recorded, window {windows[query]:.2g}"
            return f"departs from the recorded finding: {size}"
        if now_se > MOST_NOISE * then_se * fewer + slack:
            size = f"standard error of {query} {now_se:.2g} now, {then_se * fewer:.2g} by the record"
            return f"departs from the recorded finding: {size}: its runs differ more than they did"
    return None


def _windows(verdict: Verdict, recorded: dict) -> dict[str, float]:
    """How far each query's error may be from the recorded one."""
    now, then = verdict.num_replications, recorded["num_replications"]
    windows = {}
    for query, (_, then_se) in recorded["errors"].items():
        now_se = verdict.errors[query][1] if query in verdict.errors else 0.0
        wider, num = max((then_se * np.sqrt(then), then), (now_se * np.sqrt(now), now))
        windows[query] = stats.t.ppf(1 - ALPHA / 2, num - 1) * wider * np.sqrt(1 / now + 1 / then)
        windows[query] += 0.1 * verdict.tolerance
    return windows


def _comparable(verdict: Verdict, recorded: dict) -> bool:
    """Whether the flaw, were it gone, would be seen to be: of the queries that the record has beyond the tolerance (of
    all, if it has none), one's window is no wider than its error or the tolerance."""
    if not verdict.errors:  # draws that are not finite, there as here
        return True
    windows = _windows(verdict, recorded)
    sizes = {query: abs(error) for query, (error, _) in recorded["errors"].items()}
    decisive = [query for query, size in sizes.items() if size > verdict.tolerance] or list(sizes)
    # errors that are not finite are compared exactly
    return any(not np.isfinite(sizes[q]) or windows[q] <= max(sizes[q], verdict.tolerance) for q in decisive)


def _name(verdict: Verdict) -> str:
    return f"{verdict.problem}/{verdict.method}/{verdict.check}"
