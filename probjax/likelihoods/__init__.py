"""Likelihoods p(y | f): normalised log-densities, unreduced.

Each factory returns a `Likelihood`. What is given to the factory is known (array leaves: new values do not recompile);
what is `None` the network gives, as further entries of the tuple f.
"""

from probjax.likelihoods.classes import categorical, ordinal
from probjax.likelihoods.counts import bernoulli, binomial, negative_binomial, poisson, zero_inflated_poisson
from probjax.likelihoods.half_line import beta, gamma, log_normal
from probjax.likelihoods.kinked import asymmetric_laplace, has_kink, laplace
from probjax.likelihoods.real_line import (
    huber,
    is_homoscedastic,
    log_cosh,
    normal,
    student_t,
)

__all__ = [
    "asymmetric_laplace",
    "bernoulli",
    "beta",
    "binomial",
    "categorical",
    "gamma",
    "has_kink",
    "huber",
    "is_homoscedastic",
    "laplace",
    "log_cosh",
    "log_normal",
    "negative_binomial",
    "normal",
    "ordinal",
    "poisson",
    "student_t",
    "zero_inflated_poisson",
]
