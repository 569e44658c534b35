"""What the harness passes around: exact answers with their certificates, problems, verdicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Bug(NamedTuple):
    """A wrong program whose draws can be made from exact ones.

    name: what it does wrong, in words; bugs of several problems that are the same have the same name.
    damage: (numpy Generator, params with leading S, drawn from the exact posterior) -> params with leading S as the
        wrong program would draw them.
    """

    name: str
    damage: Callable


class Problem(NamedTuple):
    """A model with data whose posterior is known.

    name, about: for tables and pages.
    model, data: what a method is given; `model` is a probjax Model or Target.
    query: params -> [Q], the quantities judged, in the order of `reference.names`; functions of a network, never its
        weights.
    log_new: params -> log p(y_new | params), summed over the new rows, nats; None where the problem has no held-out
        rows.
    reference: the exact answer for the queries.
    exact_draws: (numpy Generator, S) -> params with leading S, drawn from the exact posterior; None where there is no
        such sampler.
    log_concave: whether the posterior has one mode for sure.
    linear: the regression behind a Gaussian posterior, from which `limits` computes known wrong answers; else None.
    bug: a wrong program that this problem, and few others, can catch; needs `exact_draws`.
    more_keys: a factor for the keys of each look, where long tails would leave exact draws undecided.
    """

    name: str
    about: str
    model: Any
    data: Any
    query: Callable
    log_new: Callable | None
    reference: Any
    exact_draws: Callable | None
    log_concave: bool = False
    linear: Any = None
    bug: Bug | None = None
    more_keys: int = 1


class Replications(NamedTuple):
    """Draws of the queries from R independent runs of a method."""

    queries: np.ndarray  # [R, S, Q]
    log_new: np.ndarray | None  # [R, S], nats
    log_evidence: np.ndarray | None = None  # [R], nats, where the method says it
    elbo: np.ndarray | None = None  # [R], nats, likewise: a lower bound of the log evidence
    pareto_k: np.ndarray | None = None  # [R], of the importance ratios, where the method says `log_q`


class Verdict(NamedTuple):
    """One check of one method on one problem; its worst query stands for it. `error`, `margin` and `tolerance` share
    units."""

    problem: str
    method: str
    check: str
    query: str
    error: float
    margin: float
    tolerance: float
    outcome: str  # pass | fail | unresolved | not_applicable | error
    expected: str  # theorem | measured | noisy | no
    reason: str
    num_replications: int  # R behind the numbers; 0 where there are none
    errors: dict[str, Any]  # query -> (error, standard error), for the findings; empty where draws are not finite
    contradicts: bool = False  # a theorem governs the cell and its number is surely not the method's

    @classmethod
    def without_numbers(cls, *, problem, method, check, tolerance, outcome, reason, expected="no") -> Verdict:
        """A cell that has no error to show: not applicable, an error, or draws that are not finite."""
        nan = float("nan")
        return cls(problem, method, check, "", nan, nan, tolerance, outcome, expected, reason, 0, {})


class Limit(NamedTuple):
    """A wrong answer that a theorem predicts: `reference` is what the method must show instead of the exact answer, and
    `below` [9, Q] its distribution functions at the *exact* quantiles, `pareto_k` its k̂ at as many draws; None where
    they are not known."""

    reference: Any
    reason: str
    source: str
    below: np.ndarray | None = None
    pareto_k: float | None = None
