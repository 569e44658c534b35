"""One task of a run, as a worker process does it: a method on a problem, or the controls of a problem. Tasks and
results are plain."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np


class Task(NamedTuple):
    """method: a name in METHODS, a stranger's spec, or "controls". level: which budget, "default" or "full"."""

    problem: str
    method: str
    stranger: bool
    level: str
    seed: int
    posteriordb: str | None


def run_task(task: Task, tell: Callable[[str], None] = lambda state: None) -> dict:
    """Do a task; whatever goes wrong inside a method becomes cells with the outcome "error" or "not_applicable".

    Returns:
        {"task", "certificate", "verdicts", "seconds_compile", "seconds_run", "report", …} or {"task", "controls", …}.
    """
    import jax

    jax.config.update("jax_enable_x64", True)
    tell("solving exactly")
    try:
        problem = build_problem(task.problem, task.posteriordb)
    except ValueError as error:  # a stranger's problem; ours have none
        return failed_task(task, str(error))
    result = _controls(task, problem, tell) if task.method == "controls" else _cell(task, problem, tell)
    return {
        "task": task._asdict(),
        "certificate": {"about": problem.about, **problem.reference.certificate._asdict()},
        **result,
    }


def failed_task(task: Task, fault: str) -> dict:
    """The result of a task that could not be done: an error in every cell, with the reason."""
    if task.method == "controls":
        return {"task": task._asdict(), "controls": [], "seconds_run": 0.0}
    verdicts = _all_checks(task.problem, task.method, task.level, "error", fault)
    return {"task": task._asdict(), "verdicts": [v._asdict() for v in verdicts], **_NOTHING_RUN}


_NOTHING_RUN = {
    "seconds_compile": 0.0,
    "seconds_run": 0.0,
    "report": {},
    "num_keys": 0,
    "num_draws": 0,
    "memory": None,
}


@cache
def build_problem(name: str, posteriordb: str | None):
    """The problem of that name, solved; once a process."""
    from verification.problems import PROBLEMS

    if name in PROBLEMS:
        return PROBLEMS[name]()
    if ":" in name:
        from verification.strangers import build as build_stranger

        return build_stranger(name)
    from verification.posteriordb import build

    return build(posteriordb, name)


def _cell(task: Task, problem, tell) -> dict:
    import jax

    from verification.judge import DEFAULT, FULL, judge
    from verification.limits import limit_for
    from verification.methods import METHODS, load_method
    from verification.sampling import Sampler
    from verification.tuning import tuned

    budget = FULL if task.level == "full" else DEFAULT
    method = load_method(task.method) if task.stranger else METHODS[task.method]
    name = task.method.rpartition(":")[2]  # however its file is spelt, a function gets the same keys
    key = jax.random.fold_in(jax.random.key(task.seed), zlib.crc32(f"{task.problem}/{name}".encode()))
    sampler, chosen = None, ""

    def trial():
        nonlocal sampler, chosen
        tried, limit = method, None
        if not task.stranger:
            tell("choosing its settings")
            tried, chosen = tuned(method, problem, jax.random.fold_in(key, 1 << 20))
            limit = limit_for(tried, problem)
        sampler = Sampler(tried, problem, key, tell)
        return judge(problem, task.method, sampler.draw, budget, limit)

    verdicts = failed_cells(trial, task.problem, task.method, budget.level)
    if sampler is None:
        return {"verdicts": [v._asdict() for v in verdicts], **_NOTHING_RUN}
    return {
        "verdicts": [v._asdict() for v in _with_hints(verdicts, sampler.report())],
        "seconds_compile": sampler.seconds_compile,
        "seconds_run": sampler.seconds_run,
        "report": sampler.report(),
        "num_keys": sampler.num_keys,
        "num_draws": sampler.num_draws,
        "memory": sampler.memory,
        "compiled": sampler.compiled_here,
        "chosen": chosen,
    }


def _with_hints(verdicts, report):
    """Where draws are not finite, say what the method said of its run."""
    said = ", ".join(f"{name} {value:.3g}" for name, value in report.items())
    return [
        v._replace(reason=f"{v.reason}; the method says: {said}")
        if v.outcome == "fail" and not v.errors and said
        else v
        for v in verdicts
    ]


def failed_cells(trial: Callable, problem: str, method: str, level: str) -> list:
    """trial(), or a cell a check that says why there is none: the method does not apply, or it raised."""
    from probjax import NotApplicable
    from verification.sampling import MethodError

    try:
        return trial()
    except NotApplicable as error:
        return _all_checks(problem, method, level, "not_applicable", str(error))
    except MethodError as error:
        return _all_checks(problem, method, level, "error", str(error))


def _all_checks(problem: str, method: str, level: str, outcome: str, reason: str) -> list:
    from verification.checks import CHECKS
    from verification.types import Verdict

    cell = lambda c: {"problem": problem, "method": method, "check": c.name, "tolerance": c.tolerance[level]}
    return [Verdict.without_numbers(**cell(c), outcome=outcome, reason=reason) for c in CHECKS]


def _controls(task: Task, problem, tell) -> dict:
    from verification.controls import CONTROLS, run_control
    from verification.judge import DEFAULT

    start, results = time.perf_counter(), []
    for index, control in enumerate(CONTROLS):
        tell(f"control: {control.name}")
        rng = np.random.default_rng([task.seed, zlib.crc32(task.problem.encode()), index])
        results.append(run_control(problem, control, rng, DEFAULT))
    controls = [{**r._asdict(), "right": r.right} for r in results if r is not None]
    return {"controls": controls, "seconds_run": time.perf_counter() - start}
