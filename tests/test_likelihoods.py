"""Every likelihood is normalised, has the moments and the sampler it says, and transforms under grad and jit.

That the densities are those of their formulas, to the last digits, is in test_accuracy.py.
"""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from likelihood_cases import CONTINUOUS, COUNTS, FALSE_ALARM, NUM, Case, call, spread
from scipy import integrate, special, stats

from probjax import likelihoods


def moments_by_quadrature(case: Case):
    """∫ p, ∫ y p, ∫ y² p, adaptive between the kinks; the tails in pieces of their own."""
    log_prob = jax.jit(lambda y: case.likelihood.log_prob(y, spread(case.f, 1)))
    density = lambda y: np.exp(float(log_prob(np.array([y]))[0]))
    middle = [-40.0, -8.0, *case.breaks, 8.0, 40.0] if case.ends[0] == -np.inf else [0.02, 2.0, 8.0, 40.0]
    points = [case.ends[0], *(m for m in middle if case.ends[0] < m < case.ends[1]), case.ends[1]]
    pieces = list(pairwise(points))
    integral = lambda power: sum(
        integrate.quad(lambda y: y**power * density(y), *piece, epsabs=1e-13, epsrel=1e-12, limit=200)[0]
        for piece in pieces
    )
    return integral(0), integral(1), integral(2)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_a_density_integrates_to_one_and_has_the_stated_moments(name):
    case = CONTINUOUS[name]
    total, first, second = moments_by_quadrature(case)
    assert total == pytest.approx(1, abs=1e-10)
    f = spread(case.f, 1)
    assert float(call(case.likelihood.mean, f)[0]) == pytest.approx(first, rel=1e-8)
    assert float(call(case.likelihood.variance, f)[0]) == pytest.approx(second - first**2, rel=1e-6)


@pytest.mark.parametrize("name", COUNTS)
def test_a_mass_adds_up_to_one_and_has_the_stated_moments(name):
    case = COUNTS[name]
    y = np.arange(*case.ends, dtype=float)
    p = np.exp(call(case.likelihood.log_prob, y, spread(case.f, len(y))))
    np.testing.assert_allclose(p, case.oracle.pmf(y), rtol=1e-10, atol=1e-300)
    assert p.sum() == pytest.approx(1, abs=1e-10)
    f = spread(case.f, 1)
    assert float(call(case.likelihood.mean, f)[0]) == pytest.approx((p * y).sum(), rel=1e-10)
    assert float(call(case.likelihood.variance, f)[0]) == pytest.approx((p * y**2).sum() - (p * y).sum() ** 2, rel=1e-9)


def by_kolmogorov(draws, oracle):
    return stats.kstest(draws, oracle.cdf).pvalue


def by_chi_square(draws, pmf, least=10):
    """Pearson's test, rare values pooled so that at least `least` are expected in each cell."""
    values = np.arange(int(draws.max()) + 2)
    expected = pmf(values) * len(draws)
    expected[-1] += len(draws) - expected.sum()
    observed = np.bincount(draws.astype(int), minlength=len(values)).astype(float)
    cells, total_expected, total_observed = [], 0.0, 0.0
    for e, o in zip(expected, observed):
        total_expected, total_observed = total_expected + e, total_observed + o
        if total_expected >= least:
            cells.append([total_expected, total_observed])
            total_expected = total_observed = 0.0
    cells[-1] = [cells[-1][0] + total_expected, cells[-1][1] + total_observed]
    wanted, seen = np.array(cells).T
    return stats.chisquare(seen, wanted * seen.sum() / wanted.sum()).pvalue


@pytest.mark.parametrize("name", [*CONTINUOUS, *COUNTS])
def test_samples_follow_the_density(name):
    case = {**CONTINUOUS, **COUNTS}[name]
    draws = np.asarray(call(case.likelihood.sample, jax.random.key(0), spread(case.f, NUM)), float)
    assert draws.shape == (NUM,)
    pvalue = by_kolmogorov(draws, case.oracle) if name in CONTINUOUS else by_chi_square(draws, case.oracle.pmf)
    assert pvalue > FALSE_ALARM
    # the same tests reject draws that are 15% too wide, or come from another mean
    if name in CONTINUOUS:
        wider = np.median(draws) + 1.15 * (draws - np.median(draws))
        assert by_kolmogorov(wider, case.oracle) < FALSE_ALARM
    else:
        other = np.asarray(call(case.likelihood.sample, jax.random.key(1), spread((case.f[0] + 0.1, *case.f[1:]), NUM)))
        assert by_chi_square(other, case.oracle.pmf) < FALSE_ALARM


LOGITS = np.array([0.3, -1.0, 0.8])
CUTPOINTS = np.array([-0.7, 0.1, 1.6])


def ordinal_probs(cdf, location):
    return np.diff([0.0, *cdf(CUTPOINTS - location), 1.0])


@pytest.mark.parametrize(
    "likelihood, f, probs",
    [
        (likelihoods.categorical(), (LOGITS,), special.softmax(LOGITS)),
        (likelihoods.ordinal("logit"), (np.array(0.4), CUTPOINTS), ordinal_probs(special.expit, 0.4)),
        (likelihoods.ordinal("probit"), (np.array(0.4), CUTPOINTS), ordinal_probs(special.ndtr, 0.4)),
    ],
    ids=["categorical", "ordinal logit", "ordinal probit"],
)
def test_labels_have_the_stated_probabilities_and_samples(likelihood, f, probs):
    repeated = lambda num: (lambda parts: parts if len(parts) > 1 else parts[0])(
        tuple(np.broadcast_to(part, (num, *part.shape)) for part in f)
    )
    labels = np.arange(len(probs))
    np.testing.assert_allclose(np.exp(call(likelihood.log_prob, labels, repeated(len(probs)))), probs, rtol=1e-12)
    np.testing.assert_allclose(call(likelihood.mean, repeated(1))[0], probs, rtol=1e-12)
    np.testing.assert_allclose(call(likelihood.variance, repeated(1))[0], probs * (1 - probs), rtol=1e-12)
    draws = np.asarray(call(likelihood.sample, jax.random.key(0), repeated(NUM)))
    assert stats.chisquare(np.bincount(draws, minlength=len(probs)), NUM * probs).pvalue > FALSE_ALARM


def test_two_classes_three_ways_are_one_model():
    eta = jnp.array([-30.0, -3.0, -0.5, 0.0, 1.2, 400.0])
    for y in (0, 1):
        binary = call(likelihoods.bernoulli().log_prob, np.full(6, y), eta)
        softmax = call(likelihoods.categorical().log_prob, np.full(6, y), jnp.stack([jnp.zeros(6), eta], 1))
        ranked = call(likelihoods.ordinal().log_prob, np.full(6, y), (eta, jnp.zeros((6, 1))))
        np.testing.assert_allclose(softmax, binary, rtol=1e-14)
        np.testing.assert_allclose(ranked, binary, rtol=1e-14)


def test_soft_labels_are_the_expected_log_density():
    f = jnp.asarray(np.random.default_rng(0).standard_normal((5, 4)))
    q = np.random.default_rng(1).dirichlet(np.ones(4), 5)
    each = [call(likelihoods.categorical().log_prob, np.full(5, k), f) for k in range(4)]
    got = call(likelihoods.categorical().log_prob, q, f)
    np.testing.assert_allclose(got, sum(q[:, k] * each[k] for k in range(4)), rtol=1e-13)


def test_limits_of_the_families():
    y, f = np.array([0.0, 1.0, 7.0, 300.0]), jnp.array([0.3, -2.0, 1.1, 5.0])
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8)
    close(call(likelihoods.negative_binomial(1e12).log_prob, y, f), call(likelihoods.poisson().log_prob, y, f))
    close(call(likelihoods.zero_inflated_poisson(-60.0).log_prob, y, f), call(likelihoods.poisson().log_prob, y, f))
    close(call(likelihoods.student_t(1e14, 2.0).log_prob, y, f), call(likelihoods.normal(2.0).log_prob, y, f))
    close(call(likelihoods.huber(1e3, 2.0).log_prob, y, f), call(likelihoods.normal(2.0).log_prob, y, f))
    close(call(likelihoods.huber(1e-9, 2e-9).log_prob, y, f), call(likelihoods.laplace(2.0).log_prob, y, f))
    close(call(likelihoods.asymmetric_laplace(0.5, 1.0).log_prob, y, f), call(likelihoods.laplace(2.0).log_prob, y, f))
    one = call(likelihoods.binomial(1.0).log_prob, np.array([0.0, 1.0, 1.0, 0.0]), f)
    close(one, call(likelihoods.bernoulli().log_prob, np.array([0.0, 1.0, 1.0, 0.0]), f))


@pytest.mark.parametrize("name", [*CONTINUOUS, *COUNTS])
def test_second_derivatives_are_finite(name):
    case = {**CONTINUOUS, **COUNTS}[name]
    log_prob = lambda y, *f: case.likelihood.log_prob(y[None], tuple(p[None] for p in f) if len(f) > 1 else f[0][None])[
        0
    ]
    hessian = jax.jit(jax.vmap(jax.hessian(log_prob, argnums=tuple(range(1, len(case.f) + 1)))))
    firsts = np.array([-30.0, -2.0, case.f[0], 3.0, 30.0])
    ys = {"bernoulli": [0.0, 1.0], "beta": [1e-9, 0.3, 1 - 1e-9], "gamma": [1e-9, 12.0], "log_normal": [1e-9, 12.0]}
    ys = ys.get(name, [0.0, 1.0, 12.0])
    y, first = (grid.ravel() for grid in np.meshgrid(ys, firsts))
    parts = [jnp.asarray(first), *(jnp.full(len(first), part) for part in case.f[1:])]
    assert all(np.isfinite(block).all() for block in jax.tree.leaves(hessian(jnp.asarray(y), *parts)))


def test_second_derivatives_of_the_poisson_are_exact_across_its_branches():
    for y in (0.0, 3.0, 20.0):
        curvature = jax.grad(jax.grad(lambda f, y=y: call(likelihoods.poisson().log_prob, np.array([y]), f[None])[0]))(
            jnp.asarray(0.7)
        )
        assert float(curvature) == pytest.approx(-np.exp(0.7), rel=1e-13)
