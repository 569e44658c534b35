"""Known flaws: for a method and a property of the problem, the wrong answer that a theorem predicts, as a number.

A limit is a whole `Reference`: the method must match it within the margins wherever it fails the exact answer. None
is written for a single cell, none for NUTS.
"""

from __future__ import annotations

from collections.abc import Callable

from probjax import inference
from verification.limits import ensembles, gaussians, stochastic_gradients
from verification.methods import Method
from verification.types import Limit, Problem

LIMITS: dict[Callable, Callable[[Method, Problem], Limit | None]] = {
    inference.map_estimate: gaussians.map_estimate,
    inference.ensemble: gaussians.ensemble,
    inference.mean_field: gaussians.mean_field,
    inference.dropout: ensembles.dropout,
    inference.anchored: ensembles.anchored,
    inference.sgld: stochastic_gradients.sgld,
    inference.sghmc: stochastic_gradients.sghmc,
    inference.swag: stochastic_gradients.swag,
    inference.multi_swag: stochastic_gradients.multi_swag,
}


def limit_for(method: Method, problem: Problem) -> Limit | None:
    """The theorem that governs a method, at its settings, on a problem; None where there is none."""
    find = LIMITS.get(method.run)
    return None if find is None else find(method, problem)
