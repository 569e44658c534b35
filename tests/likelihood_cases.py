"""One case a likelihood, with the distribution that SciPy or its own formula gives."""

from typing import Any, NamedTuple

import jax
import numpy as np
from scipy import special, stats

from probjax import likelihoods

FALSE_ALARM = 1e-6
NUM = 40_000


class Case(NamedTuple):
    """A likelihood at one f. oracle: SciPy's frozen distribution. ends: of y. breaks: kinks of the density."""

    likelihood: Any
    f: Any  # scalars, one a part of f
    oracle: Any
    ends: tuple = (-np.inf, np.inf)
    breaks: tuple = ()


class Huber:
    """Huber's least favourable distribution, by its own pieces."""

    def __init__(self, delta, loc, scale):
        self.delta, self.loc, self.scale = delta, loc, scale
        self.core = np.sqrt(2 * np.pi) * special.erf(delta / np.sqrt(2))
        self.tail = np.exp(-(delta**2) / 2) / delta  # of one side
        self.total = self.core + 2 * self.tail

    def cdf(self, y):
        z = (np.asarray(y) - self.loc) / self.scale
        left = self.tail * np.exp(self.delta * (np.minimum(z, -self.delta) + self.delta))
        middle = np.sqrt(2 * np.pi) * (special.ndtr(np.clip(z, -self.delta, self.delta)) - special.ndtr(-self.delta))
        right = self.tail * -np.expm1(-self.delta * (np.maximum(z, self.delta) - self.delta))
        return (left + middle + right) / self.total


class ZeroInflated:
    def __init__(self, rate, share):
        self.poisson, self.share = stats.poisson(rate), share

    def pmf(self, y):
        return self.share * (np.asarray(y) == 0) + (1 - self.share) * self.poisson.pmf(y)


CONTINUOUS = {
    "normal": Case(likelihoods.normal(), (0.4, 2.0), stats.norm(0.4, 2.0)),
    "student_t": Case(likelihoods.student_t(), (0.4, 2.0, 4.5), stats.t(4.5, 0.4, 2.0)),
    "laplace": Case(likelihoods.laplace(), (0.4, 2.0), stats.laplace(0.4, 2.0), breaks=(0.4,)),
    "huber": Case(likelihoods.huber(1.345), (0.4, 2.0), Huber(1.345, 0.4, 2.0), breaks=(-2.29, 3.09)),
    "huber, small delta": Case(likelihoods.huber(0.2), (0.4, 2.0), Huber(0.2, 0.4, 2.0), breaks=(0.0, 0.8)),
    "asymmetric_laplace": Case(
        likelihoods.asymmetric_laplace(0.2), (0.4, 2.0), stats.laplace_asymmetric(0.5, 0.4, 5.0), breaks=(0.4,)
    ),
    "log_cosh": Case(likelihoods.log_cosh(), (0.4, 2.0), stats.hypsecant(0.4, 2.0)),
    "log_normal": Case(likelihoods.log_normal(), (0.4, 0.6), stats.lognorm(0.6, scale=np.exp(0.4)), (0, np.inf)),
    "gamma": Case(likelihoods.gamma(), (0.4, 2.5), stats.gamma(2.5, scale=np.exp(0.4) / 2.5), (0, np.inf)),
    "beta": Case(
        likelihoods.beta(),
        (0.4, 7.0),
        stats.beta(7 * special.expit(0.4), 7 * special.expit(-0.4)),
        (0, 1),
    ),
}
COUNTS = {
    "bernoulli": Case(likelihoods.bernoulli(), (-0.8,), stats.bernoulli(special.expit(-0.8)), (0, 2)),
    "binomial": Case(likelihoods.binomial(12), (-0.8,), stats.binom(12, special.expit(-0.8)), (0, 13)),
    "poisson": Case(likelihoods.poisson(), (1.1,), stats.poisson(np.exp(1.1)), (0, 80)),
    "negative_binomial": Case(
        likelihoods.negative_binomial(), (1.1, 1.7), stats.nbinom(1.7, 1.7 / (1.7 + np.exp(1.1))), (0, 400)
    ),
    "zero_inflated_poisson": Case(
        likelihoods.zero_inflated_poisson(), (1.1, -0.4), ZeroInflated(np.exp(1.1), special.expit(-0.4)), (0, 80)
    ),
}


@jax.jit
def call(member, *args):
    """A member of a likelihood as one program, not an operation at a time."""
    return member(*args)


def spread(f, num):
    """Each part of f repeated num times; one part stands alone."""
    parts = tuple(np.full(num, part) for part in f)
    return parts if len(parts) > 1 else parts[0]
