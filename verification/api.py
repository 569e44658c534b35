"""From Python: a method on trial, and draws compared with an exact answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax

from verification.judge import DEFAULT, FULL, judge
from verification.sampling import Sampler
from verification.score import compare, told
from verification.types import Problem, Verdict

__all__ = ["compare", "told", "verify"]


def verify(
    key: jax.Array, method: Callable, *, problems: Sequence[str | Problem] | None = None, level: str = "default"
) -> list[Verdict]:
    """Hold a method to exact answers.

    Args:
        method: (key, model, data) -> Posterior.
        problems: names in `verification.problems.PROBLEMS`, or Problems; default: the three quick ones.
        level: "default", or "full": four times the replications, tolerances halved.

    Returns:
        One Verdict a problem and check. A method that does not apply to a problem has the outcome "not_applicable"
        there, one that raises "error"; the reason is in words.

    Raises:
        ValueError: no such problem, an unknown level, or numbers that are not in float64
            (`jax.config.update("jax_enable_x64", True)` at the start of the program).

    >>> from probjax import laplace
    >>> verdicts = verify(jax.random.key(0), laplace, problems=["linear"])
    >>> {v.outcome for v in verdicts} <= {"pass", "not_applicable"}
    True
    """
    from verification.problems import PROBLEMS, QUICK
    from verification.work import build_problem, failed_cells

    budgets = {"default": DEFAULT, "full": FULL}
    if level not in budgets:
        raise ValueError(f"verify: level is {level!r} but should be one of {', '.join(budgets)}")
    if not jax.config.jax_enable_x64:
        raise ValueError('verify needs float64: jax.config.update("jax_enable_x64", True) before anything is computed')
    verdicts = []
    for index, problem in enumerate(QUICK if problems is None else problems):
        if isinstance(problem, str) and problem not in PROBLEMS and ":" not in problem:
            raise ValueError(f"verify: no problem named {problem!r}; known are {', '.join(PROBLEMS)}")
        solved = build_problem(problem, None) if isinstance(problem, str) else problem
        name = getattr(method, "__name__", type(method).__name__)

        own_key = jax.random.fold_in(key, index)

        def trial(problem=solved, name=name, own_key=own_key):
            return judge(problem, name, Sampler(method, problem, own_key).draw, budgets[level])

        verdicts += failed_cells(trial, solved.name, name, level)
    return verdicts
