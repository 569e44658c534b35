"""How often a test raises an alarm as a function of the size of what is wrong: false alarms at 0, and the smallest
effect that it finds nearly always."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from scipy import stats

from verification.checks import CHECKS
from verification.judge import DEFAULT, Budget, judge
from verification.types import Problem

SCREEN = 30  # runs that a bracket is narrowed by; the effect named is judged by all


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


def search(
    alarm: Callable[[np.random.Generator, float], bool],
    grid: Sequence[float],
    *,
    runs: int,
    seed: Sequence[int],
    level: float = 0.99,
) -> dict[float, tuple[int, int]]:
    """Alarms at as few effects of a grid as tell the smallest that is found with power `level`.

    Bisection by a few runs an effect narrows the bracket, power being taken to grow with the effect; then the effect
    goes up until `runs` runs find it and down while they still do. An effect is left as soon as it has missed more
    often than `runs` runs at `level` may, so that its share is found low with fewer runs.

    Args:
        grid: effects > 0, ascending.
        seed: of all; the runs at one effect are the same whichever others are tried.

    Returns:
        effect -> (runs made, alarms), ascending; `smallest_effect` reads them.
    """
    made: dict[int, list[bool]] = {}
    source = cache(lambda k: np.random.default_rng([*seed, k]))

    def found(k, runs):
        seen, allowed = made.setdefault(k, []), int(runs * (1 - level) + 1e-9)
        while len(seen) < runs and seen.count(False) <= allowed:
            seen.append(bool(alarm(source(k), grid[k])))
        return seen.count(False) <= allowed

    low, high = -1, len(grid)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if found(middle, min(SCREEN, runs)) else (middle, high)
    first = next((k for k in range(high, len(grid)) if found(k, runs)), None)
    while first is not None and first > 0 and found(first - 1, runs):
        first -= 1
    return {grid[k]: (len(made[k]), sum(made[k])) for k in sorted(made)}


def upper_bound(alarms: int, runs: int, confidence: float = 0.95) -> float:
    """The exact one-sided bound of a rate (Clopper & Pearson 1934): the p at which so few alarms have probability
    1 − confidence.

    >>> round(upper_bound(0, 300), 5)  # 1 − 0.05^(1/300)
    0.00994
    """
    return 1.0 if alarms >= runs else float(stats.beta.ppf(confidence, alarms + 1, runs - alarms))


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
