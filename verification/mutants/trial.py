"""One problem against the whole catalogue and against its own bug; kernels and calibrations, which bring their own
problems."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from probjax.types import function
from verification.checks import CHECKS, summarise
from verification.controls import CONTROLS, evaluate, run_control
from verification.judge import Budget, examine, judge
from verification.mutants import ROOMS, calibrations, kernels, stages
from verification.mutants.draws import DRAW_MUTANTS
from verification.problems._parts import reweighted
from verification.types import Replications

BUDGET = Budget(num_replications=64, doublings=1, level="full")
RUNS, DRAWS = 4 * BUDGET.num_replications, 1000  # all that a verdict can ask for


class Tried(NamedTuple):
    """rows: as of `try_problem`; clean: as of `clean_runs`, one a right program."""

    rows: list[dict]
    clean: list[dict]


class Pool:
    """Exact draws of a problem as `RUNS` replications; a mutant sees them from the start."""

    def __init__(self, problem, rng: np.random.Generator):
        self.problem, self.rng = problem, rng
        self.params = problem.exact_draws(rng, RUNS * DRAWS)
        self.exact = self.replications(self.params)

    def replications(self, params) -> Replications:
        """params [RUNS · DRAWS, …] -> queries and scores of the runs."""
        queries, log_new = evaluate(function(self.problem.query), self.problem.log_new, params)
        queries = np.asarray(queries).reshape(RUNS, DRAWS, -1)
        return Replications(queries, None if log_new is None else np.asarray(log_new).reshape(RUNS, DRAWS))

    def verdict(self, name: str, replications: Replications, problem=None) -> tuple[str, list[str]]:
        """caught, slipped or unresolved, and the checks whose fail was confirmed."""
        used = 0

        def draw(number):
            nonlocal used
            used += number
            return Replications(*(None if part is None else part[used - number : used] for part in replications))

        verdicts = judge(problem or self.problem, name, draw, BUDGET, stop_at_fail=True)
        by = [v.check for v in verdicts if v.outcome == "fail"]
        unresolved = any(v.outcome == "unresolved" for v in verdicts)
        return ("caught" if by else "unresolved" if unresolved else "slipped"), by


def trial(task: tuple, tell=None) -> list[dict] | dict | Tried:
    """("mutants", problem, seed), ("clean", problem, runs, seed), ("kernels", seeds, seed) or ("calibrations", seeds,
    seed)."""
    kind, *arguments = task
    return _KINDS[kind](*arguments)


def try_problem(name: str, seed: int) -> list[dict]:
    """Every mutant that the problem can show: {problem, room, mutant, outcome, caught_by}."""
    jax.config.update("jax_enable_x64", True)
    from verification.work import build_problem

    problem = build_problem(name, None)
    if problem.exact_draws is None:
        return []
    pool = Pool(problem, np.random.default_rng([seed, zlib.crc32(name.encode()), 2]))
    rows = []
    for room, attempt in _TRIALS.items():
        for mutant, what in ROOMS[room].items():
            found = attempt(pool, mutant, what)
            if found is not None:
                rows.append(_row(name, room, mutant, found))
    if problem.bug is not None:
        wrong = pool.replications(problem.bug.damage(pool.rng, pool.params))
        rows.append(_row(name, "problem", problem.bug.name, pool.verdict(problem.bug.name, wrong)))
    return rows


def _row(problem, room, mutant, found):
    outcome, by = found
    return {"problem": problem, "room": room, "mutant": mutant, "outcome": outcome, "caught_by": by}


def _draws(pool, name, mutant):
    damaged = mutant(pool.rng, pool.exact, pool.problem)
    return None if damaged is None else pool.verdict(name, damaged)


def _model(pool, name, mutant):
    log_ratio = mutant(pool.problem)
    if log_ratio is None:
        return None
    try:
        params = reweighted(log_ratio)(pool.rng, pool.params)
    except ArithmeticError:  # so wrong that exact draws say nothing of it
        return None
    return pool.verdict(name, pool.replications(params))


def _reference(pool, name, mutant):
    wrong = mutant(pool.problem.reference)
    return None if wrong is None else pool.verdict(name, pool.exact, pool.problem._replace(reference=wrong))


def _check(pool, name, mutant):
    """Caught where the mutated check does not pass exact draws, or does not fail the damage that the right one
    fails."""
    right = next(check for check in CHECKS if check.name == mutant.check)
    wrong = right._replace(estimate=mutant.wrong(right.estimate))
    damaged = DRAW_MUTANTS[mutant.damage](pool.rng, pool.exact, pool.problem)
    if damaged is None:
        return None
    reference, half = pool.problem.reference, BUDGET.num_replications
    outcome = lambda check, part: (
        examine(
            check,
            summarise(Replications(*(None if leaf is None else leaf[:half] for leaf in part)), reference.quantiles),
            reference,
            reference.scale,
            BUDGET.level,
        ).outcome
    )
    if outcome(right, pool.exact) != "pass" or outcome(right, damaged) != "fail":
        return None
    caught = [word for word, part, due in (("exact draws", pool.exact, "pass"), (mutant.damage, damaged, "fail"))
              if outcome(wrong, part) != due]  # fmt: skip
    return ("caught" if caught else "slipped"), caught


_TRIALS = {"draws": _draws, "model": _model, "reference": _reference, "check": _check}


def clean_runs(name: str, runs: int, seed: int) -> dict:
    """Exact draws held to the exact answer at the default budget, every other run autocorrelated like NUTS's."""
    jax.config.update("jax_enable_x64", True)
    from verification.work import build_problem

    problem = build_problem(name, None)
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), 3])
    clean = [control for control in CONTROLS if not control.must_fail]
    results = [run_control(problem, clean[index % len(clean)], rng) for index in range(runs)]
    results = [r for r in results if r is not None]
    failed = [r for r in results if r.outcome == "fail"]
    unresolved = sum(r.outcome == "unresolved" for r in results)
    return {
        "problem": name,
        "runs": len(results),
        "failed": len(failed),
        "unresolved": unresolved,
        "by": [c for r in failed for c in r.caught_by],
    }


def try_kernels(seeds: int, seed: int) -> Tried:
    """Every wrong kernel once on each stage that can show it, and each right one `seeds` times."""
    jax.config.update("jax_enable_x64", True)
    from verification.work import build_problem

    rows, alarms = [], {name: [] for name in kernels.RIGHT_KERNELS}
    for name in stages.STAGES:
        stage = stages.stage_of(build_problem(name, None))
        made = stages.programs(stage, {**kernels.RIGHT_KERNELS, **kernels.KERNEL_MUTANTS})
        for kernel in made.names:
            if kernel in alarms:
                alarms[kernel] += [_alarms(stages.examined(made, kernel, seed + index)) for index in range(seeds)]
            else:
                by = _alarms(stages.examined(made, kernel, seed))
                rows.append(_row(name, "kernel", kernel, ("caught" if by else "slipped", by)))
    return Tried(rows, [_clean_row(f"kernel: {name}", by) for name, by in alarms.items() if by])


def _alarms(report) -> list[str]:
    if not report.finite:
        return ["not finite"]
    return ["invariance"] * (not report.invariant) + ["movement"] * (not report.moves)


def try_calibrations(seeds: int, seed: int) -> Tried:
    """Every wrong posterior and every wrong ranking once, and each right posterior `seeds` times."""
    jax.config.update("jax_enable_x64", True)
    from verification.work import build_problem

    settings = calibrations.settings(lambda name: build_problem(name, None))

    def alarms(name: str, program, seed: int) -> list[str]:
        setting = settings[program.setting]
        found = calibrations.judged(setting.names, calibrations.simulate(setting, name, seed))
        worst = found.names[int(np.argmin(found.p_value))]
        return [] if found.calibrated else [f"ranks of {worst}"]

    rows = []
    for name, program in calibrations.METHOD_MUTANTS.items():
        by = alarms(name, program, seed)
        rows.append(_row(program.setting, "calibration", name, ("caught" if by else "slipped", by)))
    for name, mutant in calibrations.JUDGE_MUTANTS.items():
        rows.append(_row("linear", "calibration", name, _judge(settings["linear"], mutant, seed)))
    right = calibrations.RIGHT_POSTERIORS.items()
    clean = {name: [alarms(name, program, seed + index) for index in range(seeds)] for name, program in right}
    return Tried(rows, [_clean_row(f"calibration: {name}", by) for name, by in clean.items()])


def _judge(setting, mutant, seed):
    """Caught where the wrong ranking does not pass the exact posterior, or passes its damage, which the right one
    fails."""
    exact = calibrations.simulate(setting, calibrations.EXACT, seed)
    damaged = calibrations.simulate(setting, mutant.damage, seed)
    caught = ["exact posterior"] * (not mutant.wrong(setting.names, exact))
    caught += [mutant.damage] * mutant.wrong(setting.names, damaged)
    return ("caught" if caught else "slipped"), caught


def _clean_row(name, alarms):
    by = [check for found in alarms for check in found]
    return {"problem": name, "runs": len(alarms), "failed": sum(map(bool, alarms)), "unresolved": 0, "by": by}


_KINDS: dict[str, Callable] = {
    "mutants": try_problem,
    "clean": clean_runs,
    "kernels": try_kernels,
    "calibrations": try_calibrations,
}
