"""The problems, by name. A builder solves its problem exactly when called."""

from __future__ import annotations

from collections.abc import Callable

from verification.problems import (
    conjugate,
    density_families,
    families,
    glms,
    hierarchies,
    infinite_width,
    local_level,
    logistic,
    long_runs,
    network,
    networks,
    noise_priors,
    processes,
    regression,
    robust,
    series,
    shapes,
    shrinkage,
    targets,
)
from verification.types import Problem

FAMILIES = (
    conjugate,
    families,
    density_families,
    regression,
    robust,
    noise_priors,
    shrinkage,
    logistic,
    glms,
    hierarchies,
    local_level,
    series,
    processes,
    targets,
    shapes,
    network,
    networks,
    infinite_width,
    long_runs,
)  # each with PROBLEMS: name -> builder
PROBLEMS: dict[str, Callable[[], Problem]] = {}
for _family in FAMILIES:
    if _twice := PROBLEMS.keys() & _family.PROBLEMS.keys():
        raise ImportError(f"two problems are named {', '.join(_twice)}")
    PROBLEMS |= _family.PROBLEMS
CORE = (
    "linear",
    "beta_bernoulli",
    "network_one_unit",
    "gamma_poisson",
    "dirichlet_categorical",
    "diabetes_noise",
    "breast_cancer_pc",
    "poisson_exposure",
    "lasso",
    "eight_schools_noncentred",
    "mixture_close",
    "network_relu",
)
QUICK = ("linear", "beta_bernoulli", "network_one_unit")
