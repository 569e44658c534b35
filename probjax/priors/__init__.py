"""Priors p(params) over any parameter tree. Hyperparameters are numbers, or trees that match the parameters or a
prefix of them; another prior for each part of a dict is `joint`."""

from probjax.priors.composition import flat, joint
from probjax.priors.densities import (
    cauchy,
    half_cauchy,
    half_normal,
    horseshoe,
    laplace,
    normal,
    spike_and_slab,
    student_t,
)
from probjax.priors.structure import has_kink, has_pole, is_gaussian, kinks

__all__ = [
    "cauchy",
    "flat",
    "half_cauchy",
    "half_normal",
    "has_kink",
    "has_pole",
    "horseshoe",
    "is_gaussian",
    "joint",
    "kinks",
    "laplace",
    "normal",
    "spike_and_slab",
    "student_t",
]
