"""The problems, by name. A builder solves its problem exactly when called."""

from __future__ import annotations

from collections.abc import Callable

from verification.problems import conjugate, logistic, network, regression
from verification.types import Problem

FAMILIES = (conjugate, regression, logistic, network)  # each with PROBLEMS: name -> builder
PROBLEMS: dict[str, Callable[[], Problem]] = {k: v for family in FAMILIES for k, v in family.PROBLEMS.items()}
CORE = (
    "linear",
    "beta_bernoulli",
    "network_one_unit",
    "gamma_poisson",
    "dirichlet_categorical",
    "diabetes",
    "diabetes_noise",
    "breast_cancer_pc",
    "breast_cancer",
)
QUICK = ("linear", "beta_bernoulli", "network_one_unit")
