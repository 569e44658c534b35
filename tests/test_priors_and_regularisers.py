"""Priors are their formulas and their samplers; penalties convert to priors and back, as scikit-learn confirms."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from mpmath import mp, mpf
from scipy import integrate, stats
from sklearn import linear_model

from probjax import Data, Model, glm, likelihoods, linear, priors, regularisers, special

NUM, FALSE_ALARM = 40_000, 1e-6


def density(prior):
    log_prob = jax.jit(lambda w: prior.log_prob(w))
    return lambda w: float(np.exp(log_prob(jnp.asarray(w))))


@pytest.mark.parametrize(
    "prior, oracle",
    [
        (priors.normal(0.3, 2.0), stats.norm(0.3, 2.0)),
        (priors.laplace(0.3, 2.0), stats.laplace(0.3, 2.0)),
        (priors.student_t(3.0, 0.3, 2.0), stats.t(3.0, 0.3, 2.0)),
        (priors.cauchy(0.3, 2.0), stats.cauchy(0.3, 2.0)),
    ],
)
def test_a_prior_equals_scipy_sums_over_leaves_and_samples_itself(prior, oracle):
    params = {"a": jnp.array([-1.0, 0.3, 5.0]), "b": jnp.asarray(40.0)}
    assert float(prior.log_prob(params)) == pytest.approx(oracle.logpdf([-1.0, 0.3, 5.0, 40.0]).sum(), rel=1e-13)
    draws = np.asarray(prior.sample(jax.random.key(0), jnp.zeros(NUM)))
    assert stats.kstest(draws, oracle.cdf).pvalue > FALSE_ALARM


@pytest.mark.parametrize(
    "prior, oracle",
    [(priors.half_normal(0.7), stats.halfnorm(scale=0.7)), (priors.half_cauchy(0.7), stats.halfcauchy(scale=0.7))],
)
def test_a_prior_of_a_scale_carries_the_jacobian_of_its_logarithm(prior, oracle):
    of_log = density(prior)
    for t in (-3.0, 0.0, 1.5):
        assert of_log(t) == pytest.approx(oracle.pdf(np.exp(t)) * np.exp(t), rel=1e-12)
    assert integrate.quad(of_log, -40, 60, points=[0], limit=200)[0] == pytest.approx(1, abs=1e-10)
    draws = np.exp(np.asarray(prior.sample(jax.random.key(0), jnp.zeros(NUM))))
    assert stats.kstest(draws, oracle.cdf).pvalue > FALSE_ALARM


def test_the_horseshoe_is_the_scale_mixture_it_integrates():
    prior, tau = priors.horseshoe(0.7), 0.7
    for w in (1e-4, 0.1, 1.0, 8.0):
        mixed = lambda lam, w=w: stats.norm.pdf(w, scale=tau * lam) * stats.halfcauchy.pdf(lam)
        pieces = [0, w / 10, w, 10 * max(w, 1), 1e3 * max(w, 1), np.inf]
        total = sum(integrate.quad(mixed, a, b, epsabs=1e-14, limit=300)[0] for a, b in zip(pieces, pieces[1:]))  # noqa: RUF007
        assert density(prior)(w) == pytest.approx(total, rel=1e-7)
    draws = np.asarray(prior.sample(jax.random.key(0), jnp.zeros(NUM)))
    inside = 2 * integrate.quad(density(prior), 1e-300, 1.0, epsabs=1e-12, limit=500)[0]
    assert stats.binomtest(int((np.abs(draws) < 1).sum()), NUM, inside).pvalue > FALSE_ALARM


def test_the_scaled_exponential_integral_keeps_its_digits():
    x = np.concatenate([10.0 ** np.linspace(-300, 300, 61), np.linspace(0.01, 4, 80), [1.5]])
    got, slopes = jax.jit(special.log_scaled_exp1)(x), jax.vmap(jax.grad(special.log_scaled_exp1))(x)
    with mpmath.workdps(60):
        for point, value, slope in zip(x, got, slopes):
            z = mpf(float(point))
            scaled = mp.exp(z) * mp.e1(z) if z < 1e4 else (1 - 1 / z + 2 / z**2 - 6 / z**3) / z
            want = mp.log(scaled)
            assert abs(mpf(float(value)) - want) < 4e-15 * max(1, abs(want))
            if 1e-150 < point < 1e3:
                assert float(slope) == pytest.approx(float(1 - 1 / (z * scaled)), rel=1e-10)


def test_the_spike_has_an_atom_and_nothing_else_has():
    prior = priors.spike_and_slab(0.3, 2.0)
    draws = np.asarray(prior.sample(jax.random.key(0), jnp.zeros(NUM)))
    assert stats.binomtest(int((draws == 0).sum()), NUM, 0.7).pvalue > FALSE_ALARM
    assert stats.kstest(draws[draws != 0], stats.norm(0, 2).cdf).pvalue > FALSE_ALARM
    assert float(prior.log_prob(jnp.array([0.0]))) == pytest.approx(np.log(0.7))
    assert float(prior.log_prob(jnp.array([1.0]))) == pytest.approx(np.log(0.3) + stats.norm.logpdf(1, 0, 2))
    for other in (priors.laplace(), priors.horseshoe(), priors.cauchy()):
        assert not np.any(np.asarray(other.sample(jax.random.key(0), jnp.zeros(NUM))) == 0)


def test_a_tree_of_hyperparameters_gives_each_leaf_its_own():
    prior = priors.student_t({"a": 1.0, "b": 5.0}, 0.0, {"a": 2.0, "b": 0.5})
    params = {"a": jnp.array([0.4, 3.0]), "b": jnp.asarray(-1.0)}
    expected = stats.t.logpdf([0.4, 3.0], 1.0, 0, 2.0).sum() + stats.t.logpdf(-1.0, 5.0, 0, 0.5)
    assert float(prior.log_prob(params)) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: priors.student_t(0.0), "student_t: df is 0.0 but must be positive"),
        (lambda: priors.half_cauchy(-1.0), "half_cauchy: scale is -1.0 but must be positive"),
        (lambda: priors.horseshoe(0.0), "horseshoe: scale is 0.0 but must be positive"),
        (lambda: priors.spike_and_slab(1.0), "probability is 1.0 but must lie strictly between 0 and 1"),
    ],
)
def test_hyperparameters_outside_their_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


RNG = np.random.default_rng(0)
X = RNG.standard_normal((80, 4)) @ np.triu(np.ones((4, 4)))
ETA = X @ [0.5, -0.3, 0.2, 0.0] + 0.2


def weights(scale, likelihood, y):
    prior = priors.joint(weight=priors.normal(0.0, scale), bias=priors.flat())
    return np.asarray(
        glm(jax.random.key(0), Model(*linear(4), prior=prior, likelihood=likelihood), Data(X, y)).draws["weight"][0]
    )


def test_penalties_are_priors_as_scikit_learn_fits_them():
    y = ETA + RNG.standard_normal(80)
    ridge = linear_model.Ridge(alpha=3.0, tol=1e-12).fit(X, y).coef_
    np.testing.assert_allclose(
        weights(regularisers.ridge_to_normal(3.0, 0.7), likelihoods.normal(0.7), y), ridge, rtol=1e-8
    )
    labels = (RNG.uniform(size=80) < 1 / (1 + np.exp(-ETA))).astype(float)
    logistic = linear_model.LogisticRegression(C=0.3, tol=1e-12, solver="newton-cholesky").fit(X, labels).coef_[0]
    np.testing.assert_allclose(
        weights(regularisers.sklearn_c_to_normal(0.3), likelihoods.bernoulli(), labels), logistic, rtol=1e-7
    )
    counts = RNG.poisson(np.exp(ETA)).astype(float)
    poisson = linear_model.PoissonRegressor(alpha=0.05, tol=1e-10, solver="newton-cholesky").fit(X, counts).coef_
    np.testing.assert_allclose(
        weights(regularisers.weight_decay_to_normal(0.05, 80), likelihoods.poisson(), counts), poisson, rtol=1e-7
    )


def test_the_lasso_of_scikit_learn_is_stationary_under_the_laplace_prior():
    y = ETA + RNG.standard_normal(80)
    fit = linear_model.Lasso(alpha=0.1, tol=1e-14, max_iter=100_000).fit(X, y)
    slopes = X.T @ (y - X @ fit.coef_ - fit.intercept_) / 0.7**2  # of the log likelihood at σ = 0.7
    bound = 1 / regularisers.sklearn_lasso_to_laplace(0.1, 0.7, 80)  # of the log prior's slope, 1/b
    active = fit.coef_ != 0
    assert 0 < active.sum() < 4
    np.testing.assert_allclose(slopes[active], bound * np.sign(fit.coef_[active]), rtol=1e-8)
    assert np.all(np.abs(slopes[~active]) <= bound)


def test_conversions_undo_each_other():
    assert regularisers.normal_to_ridge(regularisers.ridge_to_normal(2.3, 0.7), 0.7) == pytest.approx(2.3)
    assert regularisers.laplace_to_lasso(regularisers.lasso_to_laplace(2.3, 0.7), 0.7) == pytest.approx(2.3)
    there = regularisers.sklearn_lasso_to_laplace(0.2, 0.7, 50)
    assert regularisers.laplace_to_sklearn_lasso(there, 0.7, 50) == pytest.approx(0.2)
    assert regularisers.normal_to_sklearn_c(regularisers.sklearn_c_to_normal(0.2)) == pytest.approx(0.2)
    assert regularisers.normal_to_weight_decay(regularisers.weight_decay_to_normal(0.2, 50), 50) == pytest.approx(0.2)


@pytest.mark.parametrize(
    "convert, arguments, named",
    [
        (regularisers.ridge_to_normal, (0.0, 1.0), "penalty is 0.0"),
        (regularisers.sklearn_lasso_to_laplace, (0.0, 1.0, 100), "alpha is 0.0"),
        (regularisers.weight_decay_to_normal, (-1.0, 100), "weight_decay is -1.0"),
        (regularisers.sklearn_c_to_normal, (-1.0,), "c is -1.0"),
        (regularisers.normal_to_ridge, (1.0, float("nan")), "noise_scale is nan"),
    ],
)
def test_a_conversion_of_what_is_no_penalty_is_an_error(convert, arguments, named):
    with pytest.raises(ValueError, match=f"regularisers.{convert.__name__}: {named} but must be positive"):
        convert(*arguments)
