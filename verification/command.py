"""The command line: what to run, the live table, the files, the exit status."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import time
from pathlib import Path

from verification.page import markdown
from verification.report import RATES, Cost, Outcome, complaints, stored_summary, summary, write_whole
from verification.types import Verdict
from verification.work import Task

PLAIN_WIDTH = 150  # of tables that go into a file or a pipe
RESERVED = ("doctor",)
COMMANDS = ("controls", "claims", "mutants", "score")
EPILOG = """exit status: 0 when every fail is expected (a theorem's number or a recorded finding, matched within the
margins) and at most 2% of applicable cells are unresolved (none with --quick or --method); 1 otherwise; 2 for bad
usage; 130 after Ctrl-C (finished cells are kept and the same command resumes)."""


class UsageError(Exception):
    """Something on the command line that cannot be; exit status 2."""


def parser() -> argparse.ArgumentParser:
    """The options of `python -m verification`."""
    p = argparse.ArgumentParser(
        "python -m verification", description="Hold approximations to exact Bayesian answers.", epilog=EPILOG
    )
    p.add_argument(
        "methods",
        nargs="*",
        metavar="METHOD",
        help="which methods (default: all); or a command: `controls` measures the suite's own error rates, `mutants` "
        "which seeded bugs it catches; `score` judges draws from files; `claims [ID …]` executes the ledger of "
        "statements on losses, priors, evidence and information",
    )
    p.add_argument("--quick", action="store_true", help="three small problems")
    p.add_argument(
        "--full", action="store_true", help="all problems and methods, four times the replications, tolerances halved"
    )
    p.add_argument("--all-methods", action="store_true", help="the further methods too, at the default budget")
    p.add_argument(
        "--problem",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="only these problems; or your own, FILE:FUNCTION, a function () -> Problem or (model, data)",
    )
    p.add_argument(
        "--method",
        action="append",
        default=[],
        metavar="FILE:FUNCTION",
        help="put your own (key, model, data) -> Posterior on trial (or package.module:function)",
    )
    p.add_argument(
        "--draws",
        nargs="+",
        default=[],
        metavar="FILE",
        help="for `score`: draws made anywhere (npz, NetCDF, CSV, Stan CSV; one file, or one a chain)",
    )
    p.add_argument("--posteriordb", metavar="DIR", help="add the ported posteriors of a clone of posteriordb")
    p.add_argument(
        "--out", default="results", metavar="DIR", help="where cells, summary.json and report.md go (default: results)"
    )
    p.add_argument("--seed", type=int, default=0, metavar="N", help="of every random draw (default: 0)")
    p.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="worker processes (default: one a core)"
    )
    p.add_argument(
        "--cell-timeout",
        type=float,
        default=1800.0,
        metavar="SECONDS",
        help="a method that takes longer on a problem is stopped, its cells are errors (default: 1800)",
    )
    p.add_argument("--fresh", action="store_true", help="do not reuse stored cells of an earlier run")
    p.add_argument(
        "--record",
        action="store_true",
        help="run at the full budget (with --all-methods at the default one) and rewrite the recorded findings; with "
        "`controls`, the recorded rates",
    )
    p.add_argument(
        "--runs",
        type=int,
        default=300,
        metavar="N",
        help="trials of each control, for `controls`; clean runs of each core problem, for `mutants` (default: 300)",
    )
    p.add_argument("--list", action="store_true", help="print the methods, problems and claims, and stop")
    return p


def main(argv: list[str] | None = None) -> int:
    """Parse, run, report; returns the exit status."""
    from rich.console import Console

    options = parser().parse_intermixed_args(argv)
    console = Console(width=None if Console().is_terminal else PLAIN_WIDTH)
    try:
        if options.list:
            return _list(console, options)
        _check_numbers(options)
        if options.methods[:1] == ["claims"]:
            from verification.claims.command import run as run_claims

            return run_claims(console, _claims(options), Path(options.out), options.seed, options.jobs)
        if options.methods == ["controls"]:
            from verification.problems import PROBLEMS
            from verification.rates import measure

            path = RATES if options.record else Path(options.out) / RATES.name
            drawable = [name for name in _problems(options) if name in PROBLEMS]
            return measure(console, drawable, options.runs, options.seed, options.jobs, path)
        if options.methods == ["score"]:
            return _score(console, options)
        if options.methods == ["mutants"]:
            from verification.mutants.command import run as run_mutants
            from verification.problems import CORE

            chosen = _problems(options)
            return run_mutants(console, chosen, CORE, options.runs, options.seed, options.jobs, Path(options.out))
        tasks, methods, problems = _tasks(options)
    except KeyboardInterrupt:  # of `controls` or `claims`, which keep nothing unfinished
        return 130
    except UsageError as error:
        Console(stderr=True).print(f"[bold]usage:[/] {error}", highlight=False, soft_wrap=True)
        return 2
    return _run(console, options, tasks, methods, problems)


def _score(console, options) -> int:
    from verification.score import run as run_score

    if len(options.problem) != 1 or not options.draws:
        raise UsageError("score needs one problem and the draws: score --problem NAME --draws FILE [FILE …]")
    name = _problems(options)[0]
    try:
        return run_score(console, name, [Path(p) for p in options.draws], "full" if options.full else "default")
    except ValueError as error:
        raise UsageError(str(error)) from error


def _check_numbers(options) -> None:
    for name in ("jobs", "runs", "cell_timeout"):
        if not getattr(options, name) >= 1:
            raise UsageError(f"--{name.replace('_', '-')} is {getattr(options, name)} but at least 1 is needed")
    if options.seed < 0:
        raise UsageError(f"--seed is {options.seed} but must be 0 or more")
    if Path(options.out).is_file():
        raise UsageError(f"--out: {options.out} is a file; pass a folder, which is made if it does not exist")


def _claims(options) -> list[str]:
    """The ids to run, in the ledger's order."""
    from verification.claims import BY_ID

    others = {
        "--quick": options.quick,
        "--full": options.full,
        "--record": options.record,
        "--problem": options.problem,
        "--method": options.method,
        "--posteriordb": options.posteriordb,
        "--fresh": options.fresh,
    }
    for name, value in others.items():
        if value:
            raise UsageError(f"claims takes no {name}: its options are --out, --seed and --jobs")
    for name in options.methods[1:]:
        if name.upper() not in BY_ID:
            raise UsageError(_unknown("claim", name, BY_ID))
    wanted = [name.upper() for name in options.methods[1:]] or list(BY_ID)
    return [name for name in BY_ID if name in wanted]


def _tasks(options) -> tuple[list[Task], list[str], list[str]]:
    from verification.methods import METHODS, load_method
    from verification.problems import PROBLEMS

    for name in options.methods:
        if name in RESERVED or name in COMMANDS:
            raise UsageError(
                f"`{name}` is a command of its own{'' if name in COMMANDS else ', reserved for a later version'}; "
                "it takes no METHODs beside it"
            )
        if name not in METHODS:
            problem = f"; {name} is a problem: --problem {name}" if name in PROBLEMS else ""
            raise UsageError(
                _unknown("method", name, [*METHODS, *COMMANDS]) + "; your own goes to --method FILE:FUNCTION" + problem
            )
    for spec in options.method:
        try:
            load_method(spec)
        except ValueError as error:
            raise UsageError(str(error)) from error
    problems = _problems(options)
    level = _level(options)
    usual = [name for name, method in METHODS.items() if options.full or options.all_methods or method.usual]
    chosen = options.methods or ([] if options.method else usual)
    database = None if options.posteriordb is None else str(Path(options.posteriordb).resolve())
    task = lambda problem, method, stranger: Task(problem, method, stranger, level, options.seed, database)
    tasks = []
    for problem in problems:
        tasks.append(task(problem, "controls", False))
        tasks += [task(problem, m, False) for m in chosen] + [task(problem, m, True) for m in options.method]
    return tasks, [*chosen, *options.method], problems


def _problems(options) -> list[str]:
    from verification.problems import CORE, PROBLEMS, QUICK

    ported = []
    if options.posteriordb is not None:
        from verification.posteriordb import names

        try:
            ported, _ = names(options.posteriordb)
        except ValueError as error:
            raise UsageError(str(error)) from error
    known = [*PROBLEMS, *ported]
    for name in options.problem:
        if ":" in name:
            _load_problem(name)
        elif name not in known:
            raise UsageError(_unknown("problem", name, known))
    chosen = QUICK if options.quick else PROBLEMS if _level(options) == "full" else CORE
    return options.problem or [*chosen, *ported]


def _level(options) -> str:
    return "full" if options.full or (options.record and not options.all_methods) else "default"


def _load_problem(spec: str) -> None:
    from verification.methods import load_function

    try:
        load_function(spec, "--problem", ())
    except ValueError as error:
        raise UsageError(str(error)) from error


def _unknown(kind: str, name: str, known) -> str:
    close = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean {close[0]}?" if close else "."
    return f"no {kind} named {name!r}{hint} Known are {', '.join(known)}"


def _run(console, options, tasks, methods, problems) -> int:
    from verification import findings
    from verification.live import Board
    from verification.run import run

    out, start, results = Path(options.out), time.monotonic(), {}
    interrupted, recorded = False, {} if options.record else findings.load()
    with Board(console, problems, methods, len(tasks)) as board:
        try:
            for event in run(tasks, out, jobs=options.jobs, fresh=options.fresh, timeout=options.cell_timeout):
                if event.result is not None:
                    event = event._replace(result=findings.compared(event.result, recorded))
                    results[event.task] = event.result
                board.show(event)
        except KeyboardInterrupt:
            interrupted = True
    seconds = time.monotonic() - start
    outcome = _gather(options, tasks, results, methods, problems, seconds)
    if options.record and not outcome.unfinished:
        console.print(f"{findings.record(outcome.verdicts, level=outcome.level)} findings recorded in {findings.FILE}")
        results = {task: findings.compared(result, findings.load()) for task, result in results.items()}
        outcome = _gather(options, tasks, results, methods, problems, seconds)
    status = 130 if interrupted else int(bool(complaints(outcome)))
    _write_files(out, outcome, status)
    _print_end(console, outcome, out, status)
    return status


def _gather(options, tasks, results, methods, problems, seconds) -> Outcome:
    verdicts, costs, reports, controls, certificates = [], {}, {}, [], {}
    for task in tasks:
        result = results.get(task)
        if result is None:
            continue
        if "certificate" in result:
            certificates[task.problem] = result["certificate"]
        if "controls" in result:
            controls += result["controls"]
            continue
        verdicts += [Verdict(**v) for v in result["verdicts"]]
        costs[task.problem, task.method] = Cost(**{name: result[name] for name in Cost._fields})
        reports[task.problem, task.method] = result["report"]
    strict = options.quick or bool(options.method)
    return Outcome(
        methods=methods,
        problems=problems,
        verdicts=verdicts,
        costs=costs,
        reports=reports,
        controls=controls,
        certificates=certificates,
        unfinished=len(tasks) - len(results),
        max_unresolved=0.0 if strict else 0.02,
        seconds=seconds,
        seed=options.seed,
        level=_level(options),
    )


def _write_files(out: Path, outcome: Outcome, status: int) -> None:
    claims = {key: value for key, value in stored_summary(out).items() if key == "claims"}  # another command's
    write_whole(out / "summary.json", json.dumps({**summary(outcome, status), **claims}, indent=1))
    write_whole(out / "report.md", markdown(outcome, status))


def _print_end(console, outcome, out, status) -> None:
    from verification.live import print_outcome

    print_outcome(console, outcome)
    for complaint in complaints(outcome):
        console.print(f"[bold red]✗[/] {complaint}", highlight=False)
    console.print(
        f"{out / 'report.md'}, {out / 'summary.json'}; {outcome.seconds:.0f} s, exit status {status}", highlight=False
    )


def _list(console, options) -> int:
    from verification.methods import METHODS
    from verification.problems import CORE, PROBLEMS, QUICK

    console.print("methods: " + ", ".join(METHODS), highlight=False)
    for name in PROBLEMS:
        kind = " (quick, core)" if name in QUICK else " (core)" if name in CORE else ""
        console.print(f"problem: {name}{kind}", highlight=False)
    from verification.claims import LEDGER

    for claim in LEDGER:
        console.print(f"claim: {claim.id:3} {claim.statement}", highlight=False)
    if options.posteriordb is not None:
        from verification.posteriordb import names

        ported, others = names(options.posteriordb)
        console.print("posteriordb, ported: " + ", ".join(ported), highlight=False)
        console.print("posteriordb, no port yet: " + ", ".join(others), highlight=False)
    return 0
