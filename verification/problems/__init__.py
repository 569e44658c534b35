"""The problems, by name. A builder solves its problem exactly when called."""

from __future__ import annotations

from collections.abc import Callable

from verification.problems.conjugate import beta_bernoulli, dirichlet_categorical, gamma_poisson
from verification.problems.logistic import breast_cancer, breast_cancer_pc
from verification.problems.network import network_one_unit
from verification.problems.regression import diabetes, diabetes_noise, linear_small
from verification.types import Problem

CORE: dict[str, Callable[[], Problem]] = {
    "linear": linear_small,
    "beta_bernoulli": beta_bernoulli,
    "network_one_unit": network_one_unit,
    "gamma_poisson": gamma_poisson,
    "dirichlet_categorical": dirichlet_categorical,
    "diabetes": diabetes,
    "diabetes_noise": diabetes_noise,
    "breast_cancer_pc": breast_cancer_pc,
    "breast_cancer": breast_cancer,
}
QUICK = ("linear", "beta_bernoulli", "network_one_unit")
