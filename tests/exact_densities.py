"""Log densities in as many digits as are asked for, from their formulas."""

from __future__ import annotations

import functools

import jax.numpy as jnp
from mpmath import mp

from probjax import likelihoods


def half_log(x):
    return mp.log(x) / 2


@functools.cache
def once(function, x, digits):
    """function(x): a move of one parameter leaves most arguments as they were."""
    return function(x)


def loggamma(x):
    return once(mp.loggamma, x, mp.dps)


def standardised(log_density):
    """(y, loc, scale, …) -> log density of z = (y − loc)/scale, less log scale."""
    return lambda y, loc, scale, *rest: log_density((y - loc) / scale, *rest) - mp.log(scale)


def student_t(z, df):
    normaliser = loggamma((df + 1) / 2) - loggamma(df / 2) - half_log(df * mp.pi)
    return normaliser - (df + 1) / 2 * mp.log1p(z * z / df)


def huber(z, delta):
    normaliser = mp.sqrt(2 * mp.pi) * mp.erf(delta / mp.sqrt(2)) + 2 / delta * mp.exp(-delta * delta / 2)
    loss = z * z / 2 if abs(z) <= delta else delta * abs(z) - delta * delta / 2
    return -mp.log(normaliser) - loss


def asymmetric_laplace(z, q):
    return mp.log(q * (1 - q)) - z * (q - (z < 0))


def log_cosh(z):
    return -mp.log(mp.pi) - abs(z) - mp.log1p(mp.exp(-2 * abs(z))) + mp.log(2)


def gamma(y, log_mean, k):
    rate = k * mp.exp(-log_mean)
    return k * mp.log(rate) + (k - 1) * mp.log(y) - rate * y - loggamma(k)


def beta(y, f, precision):
    a, b = precision / (1 + mp.exp(-f)), precision / (1 + mp.exp(f))
    normaliser = loggamma(precision) - loggamma(a) - loggamma(b)
    return normaliser + (a - 1) * mp.log(y) + (b - 1) * mp.log1p(-y)


def bernoulli(y, f):
    return -mp.log1p(mp.exp(-f if y else f))


def log_choose(n, k):
    return loggamma(n + 1) - loggamma(k + 1) - loggamma(n - k + 1)


def binomial(y, f, n):
    return log_choose(n, y) - y * mp.log1p(mp.exp(-f)) - (n - y) * mp.log1p(mp.exp(f))


def poisson(y, f):
    return y * f - mp.exp(f) - loggamma(y + 1)


def negative_binomial(y, f, r):
    gammas = loggamma(y + r) - loggamma(r) - loggamma(y + 1)
    return gammas - r * mp.log1p(mp.exp(f) / r) - y * mp.log1p(r * mp.exp(-f))


def zero_inflated(y, f, g):
    pi = 1 / (1 + mp.exp(-g))
    rest = 1 / (1 + mp.exp(g))
    return mp.log(rest) + poisson(y, f) if y else mp.log(pi + rest * mp.exp(-mp.exp(f)))


def softmax(y, *f):
    return -mp.log(sum(mp.exp(g - f[int(y)]) for g in f))


def ordinal(cdf):
    def log_prob(y, location, first, second):
        edges = [-mp.inf, first, second, mp.inf]
        low, high = (edge if abs(edge) == mp.inf else edge - location for edge in edges[int(y) : int(y) + 2])
        if low < 0 < high:
            return mp.log1p(-cdf(low) - cdf(-high))
        low, high = (-high, -low) if low >= 0 else (low, high)  # the left tail: no difference of numbers near 1
        return mp.log(cdf(high) - cdf(low))

    return log_prob


def logistic_cdf(x):
    return 1 / (1 + mp.exp(-x))


def normal_cdf(x):
    return once(mp.erfc, -x / mp.sqrt(2), mp.dps) / 2


def ordinal_density(link):
    def log_prob(y, location, first, second):
        return likelihoods.ordinal(link).log_prob(y[None], (location[None], jnp.stack([first, second])[None]))[0]

    return log_prob
