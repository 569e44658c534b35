"""What the harness passes around: exact answers with their certificates, problems, verdicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


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
    prior_draws: likewise from the prior, for the controls; None when it is improper.
    structure: what `limits` needs to compute known wrong answers (design, precision …), by name.
    """

    name: str
    about: str
    model: Any
    data: Any
    query: Callable
    log_new: Callable | None
    reference: Any
    exact_draws: Callable | None
    prior_draws: Callable | None
    structure: dict[str, Any]


class Replications(NamedTuple):
    """Draws of the queries from R independent runs of a method."""

    queries: np.ndarray  # [R, S, Q]
    log_new: np.ndarray | None  # [R, S], nats


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
    expected: str  # theorem | measured | no
    reason: str
    errors: dict[str, Any]  # query -> (error, standard error), and "num_replications"; for the findings
