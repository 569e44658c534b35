"""The options of the command line, and what they choose: problems, methods, claims."""

from __future__ import annotations

import argparse
import difflib
import os
from pathlib import Path

from verification.work import Task

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
    _add_methods(p)
    _add_problems(p)
    _add_running(p)
    _add_recording(p)
    return p


def _add_methods(p):
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


def _add_problems(p):
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


def _add_running(p):
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


def _add_recording(p):
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


def check_numbers(options: argparse.Namespace) -> None:
    """Raises UsageError for a number that cannot be, or an --out that is a file."""
    for name in ("jobs", "runs", "cell_timeout"):
        if not getattr(options, name) >= 1:
            raise UsageError(f"--{name.replace('_', '-')} is {getattr(options, name)} but at least 1 is needed")
    if options.seed < 0:
        raise UsageError(f"--seed is {options.seed} but must be 0 or more")
    if Path(options.out).is_file():
        raise UsageError(f"--out: {options.out} is a file; pass a folder, which is made if it does not exist")


def chosen_claims(options: argparse.Namespace) -> list[str]:
    """The ids to run, in the ledger's order; UsageError for an unknown one, and for options that claims do not take."""
    from verification.claims.ledger import BY_ID

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


def chosen_tasks(options: argparse.Namespace) -> tuple[list[Task], list[str], list[str]]:
    """(cells to run with the controls of each problem, methods, problems); UsageError for a name that is not known."""
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
    problems = chosen_problems(options)
    level = level_of(options)
    usual = [name for name, method in METHODS.items() if options.full or options.all_methods or method.usual]
    chosen = options.methods or ([] if options.method else usual)
    database = None if options.posteriordb is None else str(Path(options.posteriordb).resolve())
    task = lambda problem, method, stranger: Task(problem, method, stranger, level, options.seed, database)
    tasks = []
    for problem in problems:
        tasks.append(task(problem, "controls", False))
        tasks += [task(problem, m, False) for m in chosen] + [task(problem, m, True) for m in options.method]
    return tasks, [*chosen, *options.method], problems


def chosen_problems(options: argparse.Namespace) -> list[str]:
    """Names, ported and own problems included; UsageError for one that is not known or does not load."""
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
    chosen = QUICK if options.quick else PROBLEMS if level_of(options) == "full" else CORE
    return options.problem or [*chosen, *ported]


def level_of(options: argparse.Namespace) -> str:
    """The budget: "full" or "default". Records of findings are made at the full one."""
    findings = options.record and not options.all_methods and options.methods != ["controls"]
    return "full" if options.full or findings else "default"


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
