"""Every likelihood equals SciPy's to rounding, is normalised, has the moments it says, and stays finite at extremes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from probjax import likelihoods

F = np.array([-3.0, -0.5, 0.0, 1.2, 4.0])


def test_normal_with_known_scale_equals_scipy():
    y = np.linspace(-2, 3, 5)
    got = likelihoods.normal(0.7).log_prob(y, jnp.asarray(F))
    np.testing.assert_allclose(got, stats.norm.logpdf(y, F, 0.7), rtol=1e-13)


def test_normal_with_scale_in_f_equals_scipy():
    y, scale = np.linspace(-2, 3, 5), np.array([0.1, 1.0, 2.0, 5.0, 1e-3])
    got = likelihoods.normal().log_prob(y, (jnp.asarray(F), jnp.asarray(scale)))
    np.testing.assert_allclose(got, stats.norm.logpdf(y, F, scale), rtol=1e-13)


def test_bernoulli_equals_scipy_and_is_finite_at_extreme_logits():
    for y in (0.0, 1.0):
        got = likelihoods.bernoulli().log_prob(np.full(5, y), jnp.asarray(F))
        np.testing.assert_allclose(got, special.log_expit(F if y else -F), rtol=1e-14)
    extreme = likelihoods.bernoulli().log_prob(np.array([0.0, 1.0]), jnp.array([1e4, -1e4]))
    np.testing.assert_array_equal(extreme, [-1e4, -1e4])
    assert np.isfinite(jax.grad(lambda f: likelihoods.bernoulli().log_prob(np.ones(1), f)[0])(jnp.array([-1e4]))).all()


def test_categorical_equals_scipy_and_with_two_classes_the_bernoulli():
    logits = np.random.default_rng(0).standard_normal((6, 4)) * 3
    y = np.array([0, 1, 2, 3, 0, 1])
    np.testing.assert_allclose(
        likelihoods.categorical().log_prob(y, jnp.asarray(logits)),
        special.log_softmax(logits, 1)[np.arange(6), y],
        rtol=1e-13,
    )
    two = np.column_stack([np.zeros(5), F])
    np.testing.assert_allclose(
        likelihoods.categorical().log_prob(np.ones(5), jnp.asarray(two)),
        likelihoods.bernoulli().log_prob(np.ones(5), jnp.asarray(F)),
        rtol=1e-13,
    )


@pytest.mark.parametrize("y", [0.0, 1.0, 7.0, 15.0, 16.0, 100.0])
def test_poisson_equals_scipy(y):
    rate = np.array([0.01, 1.0, 7.3, 90.0, 110.0])
    got = likelihoods.poisson().log_prob(np.full(5, y), jnp.log(rate))
    np.testing.assert_allclose(got, stats.poisson.logpmf(y, rate), rtol=1e-12, atol=1e-13)


def test_poisson_keeps_its_digits_at_a_billion_counts():
    # at y = λ the value is −½ log 2πλ − 1/(12λ) + O(λ⁻³): y log λ − λ − log y! loses eight digits here
    y = 1e9
    got = float(likelihoods.poisson().log_prob(np.array([y]), jnp.log(jnp.array([y])))[0])
    assert got == pytest.approx(-0.5 * np.log(2 * np.pi * y) - 1 / (12 * y), rel=1e-12)


def test_densities_and_masses_add_up_to_one():
    density = lambda y: np.exp(likelihoods.normal(0.7).log_prob(np.array([y]), jnp.array([0.3]))[0])
    assert integrate.quad(density, -10, 10, epsabs=1e-13)[0] == pytest.approx(1, abs=1e-10)
    assert np.exp(likelihoods.bernoulli().log_prob(np.array([0.0, 1.0]), jnp.array([0.3, 0.3]))).sum() == pytest.approx(
        1, abs=1e-14
    )
    assert np.exp(likelihoods.categorical().log_prob(np.arange(3), jnp.ones((3, 3)) * F[:3])).sum() == pytest.approx(
        1, abs=1e-14
    )
    counts = np.arange(60.0)
    assert np.exp(likelihoods.poisson().log_prob(counts, jnp.full(60, 1.5))).sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    "likelihood, f",
    [
        (likelihoods.normal(0.7), jnp.full(40_000, 0.4)),
        (likelihoods.normal(), (jnp.full(40_000, 0.4), jnp.full(40_000, 2.0))),
        (likelihoods.bernoulli(), jnp.full(40_000, -0.8)),
        (likelihoods.poisson(), jnp.full(40_000, 1.1)),
    ],
    ids=["normal", "normal (loc, scale)", "bernoulli", "poisson"],
)
def test_samples_have_the_stated_mean_and_variance(likelihood, f):
    y = np.asarray(likelihood.sample(jax.random.key(0), f))
    mean, variance = float(likelihood.mean(f)[0]), float(likelihood.variance(f)[0])
    z = (y.mean() - mean) / np.sqrt(variance / len(y))
    square = (y - mean) ** 2
    z_variance = (square.mean() - variance) / (square.std() / np.sqrt(len(y)))
    assert max(abs(z), abs(z_variance)) < stats.norm.ppf(1 - 5e-7)  # false alarm 1e-6


def test_categorical_samples_have_the_stated_frequencies():
    f = jnp.ones((40_000, 3)) * jnp.array([0.0, 1.0, -1.0])
    counts = np.bincount(np.asarray(likelihoods.categorical().sample(jax.random.key(1), f)), minlength=3)
    assert stats.chisquare(counts, 40_000 * np.asarray(likelihoods.categorical().mean(f)[0])).pvalue > 1e-6


def test_a_scale_that_is_not_positive_cannot_be_made():
    with pytest.raises(ValueError, match=r"scale is -1.0 but must be positive"):
        likelihoods.normal(-1.0)


def test_second_derivatives_of_the_poisson_are_exact_across_its_branches():
    for y in (0.0, 3.0, 20.0):
        curvature = jax.grad(jax.grad(lambda f, y=y: likelihoods.poisson().log_prob(np.array([y]), f[None])[0]))(
            jnp.asarray(0.7)
        )
        assert float(curvature) == pytest.approx(-np.exp(0.7), rel=1e-13)
