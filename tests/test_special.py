"""The special functions against mpmath: relative digits kept where the usual forms cancel."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from mpmath import mp, mpf

from probjax import special

EPS = np.finfo(float).eps
RNG = np.random.default_rng(0)
SPREAD = np.concatenate([10.0 ** RNG.uniform(-150, 150, 60), RNG.uniform(0.05, 40, 60), [1.0, 2.0, 8.0]])
SIGNED = np.concatenate([10.0 ** RNG.uniform(-150, 2.4, 80), [1.0, 0.5]]) * RNG.choice([-1, 1], 82)


def remainder(x):
    return mp.loggamma(x) - (x - mpf(1) / 2) * mp.log(x) + x - mp.log(2 * mp.pi) / 2


def mills(x):
    return mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi) / (mp.erfc(-x / mp.sqrt(2)) / 2)


CASES = {
    "stirling_remainder": (remainder, lambda x: mp.digamma(x) - mp.log(x) + 1 / (2 * x), SPREAD, 100),
    "log_gamma": (mp.loggamma, mp.digamma, SPREAD[np.abs(SPREAD - 1.5) > 0.6], 20),
    "expm1_remainder": (lambda u: mp.expm1(u) - u, mp.expm1, SIGNED, 4),
    "log1p_gap": (lambda w: mp.log1p(w) - w / (1 + w), lambda w: w / (1 + w) ** 2, SPREAD, 20),
    "log1p_square": (lambda t: mp.log1p(t * t), lambda t: 2 * t / (1 + t * t), SIGNED, 4),
    "log_cosh": (lambda z: abs(z) + mp.log1p(mp.exp(-2 * abs(z))) - mp.log(2), mp.tanh, SIGNED, 10),
    "log_normal_cdf": (
        lambda x: mp.log(mp.erfc(-x / mp.sqrt(2)) / 2) if x < 0 else mp.log1p(-mp.erfc(x / mp.sqrt(2)) / 2),
        mills,
        np.concatenate([-np.linspace(0.01, 60, 70), [-1e4, -1e8], np.linspace(0.01, 8, 20)]),
        200,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_derivatives_agree_with_mpmath(name):
    exact, slope, points, roundings = CASES[name]
    function = getattr(special, name)
    values = jax.jit(function)(points)
    slopes = jax.jit(jax.vmap(jax.grad(function)))(points)
    with mpmath.workdps(400):
        for x, value, derivative in zip(points, values, slopes):
            for got, want in ((value, exact(mpf(x))), (derivative, slope(mpf(x)))):
                if abs(want) < 1e-300:
                    continue  # below what a float holds
                assert abs(mpf(float(got)) / want - 1) < roundings * EPS, (x, float(got), mp.nstr(want, 17))


def test_a_log_ratio_keeps_the_digits_of_a_near_cancellation():
    y = np.concatenate([10.0 ** RNG.uniform(-300, 300, 100), RNG.integers(1, 10**9, 100).astype(float)])
    f = np.log(y) + 10.0 ** RNG.uniform(-12, 1, 200) * RNG.choice([-1, 1], 200)
    got = jax.jit(special.log_ratio)(f, y)
    with mpmath.workdps(50):
        for a, b, value in zip(f, y, got):
            want = mpf(a) - mp.log(mpf(b))
            assert abs(mpf(float(value)) - want) < 1.2 * EPS * abs(want) + 2e-18
    df, dy = jax.grad(special.log_ratio, argnums=(0, 1))(2.0, 4.0)
    assert (float(df), float(dy)) == (1.0, -0.25)


def test_the_stirling_coefficients_are_those_of_the_interpolation():
    num = len(special._STIRLING)
    with mpmath.workdps(60):
        nodes = [mp.cos(mp.pi * (2 * i + 1) / (2 * num)) for i in range(num)]
        values = [x * remainder(x) for x in (1 / mp.sqrt((t + 1) / 8) for t in nodes)]
        for j, stored in enumerate(special._STIRLING):
            terms = (v * mp.cos(mp.pi * j * (2 * i + 1) / (2 * num)) for i, v in enumerate(values))
            assert float((2 if j else 1) * sum(terms) / num) == stored


def test_remainders_of_factorials_are_exact_across_the_table():
    counts = np.array([0.0, 1.0, 2.0, 15.0, 16.0, 17.0, 1e9])
    got = special.log_factorial_remainder(jnp.asarray(counts))
    with mpmath.workdps(50):
        for y, value in zip(counts, got):
            want = mp.loggamma(mpf(y) + 1) - (mpf(y) * mp.log(mpf(y)) if y else 0) + mpf(y)
            assert abs(mpf(float(value)) - want) <= 3 * EPS * abs(want)


def test_deviances_are_never_negative_and_vanish_at_the_observed_share():
    count, rest = np.array([1.0, 3.0, 1e9]), np.array([5.0, 1e9, 1e9])
    assert np.all(special.binomial_deviance(count, rest, jnp.zeros(3)) == 0)
    for u in (-700.0, -1e-8, 1e-8, 2.0, 1e4):
        assert np.all(special.binomial_deviance(count, rest, jnp.full(3, u)) > 0)
