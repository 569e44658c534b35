"""The command line: what runs, the live table, the files, the exit status."""

from __future__ import annotations

import json
import time
from pathlib import Path

from verification.options import (
    UsageError,
    check_numbers,
    chosen_claims,
    chosen_problems,
    chosen_tasks,
    level_of,
    parser,
)
from verification.page import markdown
from verification.report import RATES, Cost, Outcome, complaints, stored_summary, summary, write_whole
from verification.types import Verdict

PLAIN_WIDTH = 150  # of tables that go into a file or a pipe


def main(argv: list[str] | None = None) -> int:
    """Parse, run, report; returns the exit status."""
    from rich.console import Console

    options = parser().parse_intermixed_args(argv)
    console = Console(width=None if Console().is_terminal else PLAIN_WIDTH)
    try:
        if options.list:
            return _list(console, options)
        check_numbers(options)
        if options.methods[:1] == ["claims"]:
            from verification.claims.command import run as run_claims

            return run_claims(console, chosen_claims(options), Path(options.out), options.seed, options.jobs)
        if options.methods == ["controls"]:
            from verification.problems import PROBLEMS
            from verification.rates import measure_controls, measure_power

            path = RATES if options.record else Path(options.out) / RATES.name
            drawable = [name for name in chosen_problems(options) if name in PROBLEMS]
            how = (options.runs, options.seed, options.jobs, path)
            missed = measure_controls(console, drawable, *how)
            # power is no problem's own: named problems leave it as it is
            return missed if options.problem else max(missed, measure_power(console, *how))
        if options.methods == ["score"]:
            return _score(console, options)
        if options.methods == ["mutants"]:
            from verification.mutants.command import run as run_mutants
            from verification.problems import CORE

            chosen = chosen_problems(options)
            return run_mutants(console, chosen, CORE, options.runs, options.seed, options.jobs, Path(options.out))
        tasks, methods, problems = chosen_tasks(options)
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
    name = chosen_problems(options)[0]
    try:
        return run_score(console, name, [Path(p) for p in options.draws], "full" if options.full else "default")
    except ValueError as error:
        raise UsageError(str(error)) from error


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
        level=level_of(options),
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
    from verification.claims.ledger import LEDGER

    for claim in LEDGER:
        console.print(f"claim: {claim.id:3} {claim.statement}", highlight=False)
    if options.posteriordb is not None:
        from verification.posteriordb import names

        ported, others = names(options.posteriordb)
        console.print("posteriordb, ported: " + ", ".join(ported), highlight=False)
        console.print("posteriordb, no port yet: " + ", ".join(others), highlight=False)
    return 0
