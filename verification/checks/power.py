"""How often a test raises an alarm as a function of the size of what is wrong: false alarms at 0, and the smallest
effect that it finds nearly always."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from verification.checks import CHECKS
from verification.judge import DEFAULT, Budget, judge
from verification.types import Problem


def power_curve(
    alarm: Callable[[np.random.Generator, float], bool], effects: list[float], *, runs: int, rng: np.random.Generator
) -> np.ndarray:
    """Shares of alarms.

    Args:
        alarm: (rng, effect) -> whether one run of the test, on data with that effect, raises it.
        effects: sizes of what is wrong; 0 gives the false-alarm rate.
        runs: a size.

    Returns:
        [len(effects)].
    """
    return np.array([np.mean([alarm(rng, effect) for _ in range(runs)]) for effect in effects])


def smallest_effect(effects: list[float], power: np.ndarray, level: float = 0.99) -> float:
    """The smallest of the effects from which on, upwards, the power is at least `level`; ∞ where there is none.

    >>> smallest_effect([0.0, 0.1, 0.2, 0.3], np.array([0.0, 0.3, 1.0, 1.0]))
    0.2
    """
    order = np.argsort(effects)
    reached = np.logical_and.accumulate(np.asarray(power)[order][::-1] >= level)[::-1]
    return float(np.asarray(effects)[order][reached][0]) if reached.any() else float("inf")


def check_alarm(name: str, reference, replications: Callable, budget: Budget = DEFAULT) -> Callable:
    """The alarm of one check of the judge, its looks and repeats included.

    Args:
        replications: (rng, R, effect) -> Replications.
    """
    if name not in {check.name for check in CHECKS}:
        raise ValueError(f"name is {name!r}; the checks are {', '.join(check.name for check in CHECKS)}")
    problem = Problem("simulated", "", None, None, None, None, reference, None)

    def alarm(rng, effect):
        verdicts = judge(problem, name, lambda num: replications(rng, num, effect), budget, only=(name,))
        return verdicts[0].outcome == "fail"

    return alarm
