"""Every log-density and its gradient against mpmath over an extreme grid, in float64 and float32.

Two bars: |error| ≤ 50 eps (|value| + Σ |xᵢ ∂value/∂xᵢ|), what exact arithmetic on inputs with 50 roundings would give;
and, for values beyond 1 in float64, 1e-12 relative, which no form survives that subtracts large terms.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from exact_densities import (
    asymmetric_laplace,
    bernoulli,
    beta,
    binomial,
    gamma,
    half_log,
    huber,
    log_cosh,
    logistic_cdf,
    negative_binomial,
    normal_cdf,
    ordinal,
    ordinal_density,
    poisson,
    softmax,
    standardised,
    student_t,
    zero_inflated,
)
from mpmath import mp, mpf

from probjax import likelihoods

STEP = mpf(10) ** -35  # relative, of central differences in 130 digits: 60 digits are left
LOGITS = [-1e4, -800.0, -30.0, -1.7, -1e-3, 1e-9, 0.6, 2.5, 40.0, 1e4]
SCALES = [1e-150, 1e-9, 0.3, 1.0, 17.0, 1e8, 1e150]
REALS = [-1e5, -3.7, -1e-8, 0.25, 2.0, 1e3]
COUNTS = [0.0, 1.0, 2.0, 15.0, 16.0, 137.0, 1e4, 1e9]
SHAPES = [1e-9, 0.02, 0.5, 1.0, 3.3, 7.9, 8.1, 50.0, 1e4, 1e9]


class Case(NamedTuple):
    """log_prob and exact: (y, *parameters) -> scalar; points: rows of (y, *parameters); counts: y is no real number;
    digits: of the reference, enough for what cancels in it."""

    log_prob: Callable
    exact: Callable
    points: list
    counts: bool = False
    digits: int = 130


def density(factory: Callable) -> Callable:
    """(y, *parameters) of the likelihood with all its parameters in f."""
    return lambda y, *f: factory().log_prob(y[None], tuple(p[None] for p in f) if len(f) > 1 else f[0][None])[0]


def grid(*axes, keep=90):
    """All combinations, or a fixed random choice of `keep` of them."""
    points = list(itertools.product(*axes))
    chosen = np.random.default_rng(len(points)).permutation(len(points))[:keep]
    return [points[i] for i in sorted(chosen)]


def rates(counts):
    """log rates far from each count, near it, and very near it."""
    away = [-1e4, -30.0, -2.0, 1e-9, 1.3, 12.0, 700.0]
    near = [1e-1, 1e-3, 1e-5, 1e-9]
    return [(y, np.log(max(y, 1.0)) + d) for y in counts for d in near if y > 1] + [
        (y, f) for y in counts for f in away
    ]


def ranks(*axes):
    return [(y, *parameters) for y in (0.0, 1.0, 2.0) for parameters in grid(*axes, keep=25)]


def real_line(*more, keep=90):
    return grid(REALS, REALS, SCALES, *more, keep=keep)


POSITIVE = [1e-150, 1e-8, 0.3, 1.0, 2.5, 1e4, 1e150]
PROPORTIONS = [1e-300, 1e-9, 0.02, 0.5, 0.77, 1 - 1e-9, 1 - 2.0**-53]
CASES = {
    "normal": Case(
        density(likelihoods.normal), standardised(lambda z: -half_log(2 * mp.pi) - z * z / 2), real_line(), digits=450
    ),
    "student_t": Case(
        density(likelihoods.student_t),
        standardised(student_t),
        real_line([0.1, 1.0, 4.5, 40.0, 1e4, 1e9], keep=60),
        digits=450,
    ),
    "laplace": Case(density(likelihoods.laplace), standardised(lambda z: -mp.log(2) - abs(z)), real_line(), digits=450),
    "huber": Case(
        density(lambda: likelihoods.huber(delta=None)),
        standardised(huber),
        real_line([1e-6, 0.3, 0.999, 1.345, 6.0, 1e5]),
        digits=450,
    ),
    "asymmetric_laplace": Case(
        lambda y, loc, scale, q: likelihoods.asymmetric_laplace(q, scale).log_prob(y[None], loc[None])[0],
        standardised(asymmetric_laplace),
        real_line([1e-9, 0.1, 0.5, 0.9, 1 - 1e-9]),
        digits=450,
    ),
    "log_cosh": Case(density(likelihoods.log_cosh), standardised(log_cosh), real_line(), digits=450),
    "log_normal": Case(
        density(likelihoods.log_normal),
        lambda y, loc, s: (
            -mp.log(y) - mp.log(s) - half_log(2 * mp.pi) - ((mp.log(y) - loc) / s) ** 2 / 2
        ),
        grid(POSITIVE, [-300.0, -1.1, 1e-7, 0.4, 20.0], SCALES),
        digits=450,
    ),
    "gamma": Case(
        density(likelihoods.gamma),
        gamma,
        grid(POSITIVE, [-340.0, -2.0, 1e-4, 0.91, 9.21, 600.0], SHAPES)
        + [(y, np.log(y) + d, k) for y in (1e-8, 0.3, 1e4) for d in (1e-9, -1e-5, 1e-4) for k in (1e4, 1e9)],
    ),
    "beta": Case(
        density(likelihoods.beta),
        beta,
        grid(PROPORTIONS, LOGITS, SHAPES, keep=150)
        + [(y, np.log(y / (1 - y)) + d, p) for y in (0.02, 0.77) for d in (1e-9, -1e-6, 1e-4) for p in (1e4, 1e6, 1e9)],
    ),
    "bernoulli": Case(density(likelihoods.bernoulli), bernoulli, grid([0.0, 1.0], LOGITS), counts=True),
    "binomial": Case(
        lambda y, f, n: likelihoods.binomial(n).log_prob(y[None], f[None])[0],
        binomial,
        [(y, f, n) for n in (1.0, 5.0, 40.0, 1e4, 1e9) for y in (0.0, 1.0, n // 3, n - 1, n) for f in LOGITS]
        + [(n // 3, np.log(n // 3 / (n - n // 3)) + d, n) for n in (40.0, 1e4, 1e9) for d in (1e-1, 1e-3, -1e-5, 1e-8)],
        counts=True,
    ),
    "poisson": Case(density(likelihoods.poisson), poisson, rates(COUNTS), counts=True),
    "negative_binomial": Case(
        density(likelihoods.negative_binomial),
        negative_binomial,
        [(y, f, r) for (y, f), r in grid(rates(COUNTS), SHAPES, keep=200)],
        counts=True,
    ),
    "zero_inflated_poisson": Case(
        density(likelihoods.zero_inflated_poisson),
        zero_inflated,
        [(y, f, g) for (y, f), g in grid(rates(COUNTS), LOGITS, keep=150)],
        counts=True,
        digits=800,
    ),
    "categorical": Case(
        lambda y, *f: likelihoods.categorical().log_prob(y[None], jnp.stack(f)[None])[0],
        softmax,
        grid([0.0, 2.0], LOGITS, LOGITS, LOGITS),
        counts=True,
    ),
    "ordinal logit": Case(
        ordinal_density("logit"),
        ordinal(logistic_cdf),
        ranks([-1e4, -3.0, 0.2, 60.0], [-40.0, -1.0, 0.1], [0.1001, 2.0, 500.0]),
        counts=True,
        digits=450,
    ),
    "ordinal probit": Case(
        ordinal_density("probit"),
        ordinal(normal_cdf),
        ranks([-25.0, -3.0, 0.2, 9.0, 30.0], [-8.0, -1.0, 0.1], [0.1001, 2.0, 20.0]),
        counts=True,
        digits=450,
    ),
}  # fmt: skip


def reference(case: Case, point) -> tuple:
    """value, Σ|xᵢ ∂f/∂xᵢ|, and for each i: ∂f/∂xᵢ and Σⱼ |xⱼ ∂²f/∂xᵢ∂xⱼ|, from central differences."""
    x = [mpf(float(v)) for v in point]
    free = range(1 if case.counts else 0, len(x) - (case.exact is binomial))

    def at(*moves):
        moved = list(x)
        for index, sign in moves:
            moved[index] = moved[index] * (1 + sign * STEP)
        return case.exact(*moved)

    @functools.cache
    def corners(i, j):
        return at((i, 1), (j, 1)) - at((i, 1), (j, -1)) - at((i, -1), (j, 1)) + at((i, -1), (j, -1))

    value = at()
    up, down = {i: at((i, 1)) for i in free}, {i: at((i, -1)) for i in free}
    slopes = {i: (up[i] - down[i]) / (2 * STEP) for i in free}  # xᵢ ∂f/∂xᵢ
    gradient, sensitivity = {}, {}
    for i in free:
        gradient[i] = slopes[i] / x[i]
        total = abs(up[i] - 2 * value + down[i])
        total += sum(abs(corners(min(i, j), max(i, j))) for j in free if j != i) / 4
        sensitivity[i] = total / STEP**2 / abs(x[i])
    return value, sum(abs(s) for s in slopes.values()), gradient, sensitivity


def within(got, exact, allowed, largest, smallest) -> bool:
    """Whether a float is near enough; where the exact number cannot be represented, whether it says so."""
    if abs(exact) > largest:
        return np.isinf(got) and np.sign(got) == mp.sign(exact)
    return bool(np.isfinite(got)) and abs(mpf(float(got)) - exact) <= allowed + smallest


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_keep_their_digits(name, dtype):
    case, info = CASES[name], np.finfo(dtype)
    points = np.array(case.points)
    if dtype == np.float32:
        sizes = np.abs(points)
        usable = np.all((sizes <= 1e30) & ((sizes >= 1e-30) | (points == 0)), axis=1)
        usable &= (not case.counts) | (points[:, [0, -1]] <= 2**24).all(1)
        usable &= {"beta": points[:, 0] < 1 - 1e-7, "asymmetric_laplace": points[:, -1] < 1 - 1e-7}.get(name, True)
        points = points[usable].astype(dtype)
    columns = [jnp.asarray(column) for column in points.T]
    free = tuple(range(1 if case.counts else 0, len(columns) - (case.exact is binomial)))
    values, gradients = jax.jit(jax.vmap(jax.value_and_grad(case.log_prob, argnums=free)))(*columns)
    assert values.dtype == dtype
    eps, largest = mpf(float(info.eps)), mpf(float(info.max))
    wrong = []
    with mpmath.workdps(case.digits):
        for row, point in enumerate(points):
            value, slope, gradient, sensitivity = reference(case, point)
            allowed = 50 * eps * (abs(value) + slope)
            if dtype == np.float64 and abs(value) > 1:
                allowed = min(allowed, mpf(10) ** -12 * abs(value))
            tiny = 100 * mpf(float(info.tiny))
            if not within(float(values[row]), value, allowed, largest, tiny):
                wrong.append(("value", point.tolist(), float(values[row]), mp.nstr(value, 17)))
            for i, column in zip(free, gradients):
                allowed = 50 * eps * (abs(gradient[i]) + sensitivity[i])
                if abs(value) < largest and not within(float(column[row]), gradient[i], allowed, largest, tiny):
                    wrong.append((f"∂{i}", point.tolist(), float(column[row]), mp.nstr(gradient[i], 17)))
    assert not wrong, f"{len(wrong)} of {len(points)} points, among them {wrong[:12]}"
