"""The evidence of the linear model: the Gaussian density of y itself, and where it is largest."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, stats

from probjax import Data, Model, NotApplicable, empirical_bayes, laplace, likelihoods, linear, log_evidence, mlp, priors

RNG = np.random.default_rng(5)
X = RNG.standard_normal((40, 4))
Y = X @ [1.0, 0.0, -0.5, 2.0] + 0.3 + 0.6 * RNG.standard_normal(40)


evidence = jax.jit(log_evidence)


def model(tau=1.3, sigma=0.6, num_inputs=4, bias_scale=2.0):
    prior = priors.joint(weight=priors.normal(0.2, tau), bias=priors.normal(-0.1, bias_scale))
    return Model(*linear(num_inputs), prior=prior, likelihood=likelihoods.normal(sigma))


def density_of_y(x, y, tau, sigma):
    covariance = sigma**2 * np.eye(len(y)) + tau**2 * x @ x.T + 4.0
    return stats.multivariate_normal(x.sum(1) * 0.2 - 0.1, covariance).logpdf(y)


@pytest.mark.parametrize("rows", [3, 5, 40], ids=["N < P", "N = P", "N > P"])
def test_the_evidence_is_the_density_of_y(rows):
    ours = float(evidence(model(), Data(X[:rows], Y[:rows])))
    assert ours == pytest.approx(density_of_y(X[:rows], Y[:rows], 1.3, 0.6), rel=1e-12)


def test_laplace_finds_the_same():
    info = jax.jit(lambda key: laplace(key, model(), Data(X, Y), num_draws=1).info)(jax.random.key(0))
    assert float(info["log_evidence"]) == pytest.approx(float(evidence(model(), Data(X, Y))), abs=1e-9)


def test_a_good_fit_keeps_its_digits():
    y = X @ [1.0, 0.0, -0.5, 2.0]
    ours = float(evidence(model(1e3, 1e-6, bias_scale=2.0), Data(X, y)))
    import mpmath

    with mpmath.workdps(60):
        a = np.column_stack([X * 1e3, 2.0 * np.ones(40)]) / 1e-6
        matrix = mpmath.matrix(a)
        inner = mpmath.eye(5) + matrix.T * matrix
        r = mpmath.matrix((y - X.sum(1) * 0.2 + 0.1) / 1e-6)
        cross = matrix.T * r
        square = (r.T * r)[0] - (cross.T * mpmath.lu_solve(inner, cross))[0]
        exact = -40 * mpmath.log(mpmath.sqrt(2 * mpmath.pi) * mpmath.mpf(1e-6)) - mpmath.log(mpmath.det(inner)) / 2
        exact -= square / 2
    assert ours == pytest.approx(float(exact), rel=1e-8)


def test_the_maximum_is_that_of_scipy():
    build = lambda hyper: model(hyper["tau"], hyper["sigma"])
    hyper, info = jax.jit(lambda start: empirical_bayes(build, Data(X, Y), start))({"tau": 1.0, "sigma": 1.0})
    assert info["converged"] and not info["vanishing"]
    negative = lambda logs: -density_of_y(X, Y, *np.exp(logs))
    best = optimize.minimize(negative, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13})
    np.testing.assert_allclose([hyper["tau"], hyper["sigma"]], np.exp(best.x), rtol=1e-6)
    assert float(info["log_evidence"]) == pytest.approx(-best.fun, abs=1e-9)


def test_data_without_signal_say_that_the_scale_vanishes():
    y = np.tile([1.0, -1.0], 20)
    x = np.repeat(np.tile([1.0, -1.0], 10), 2)[:, None]  # orthogonal to y
    build = lambda tau: Model(*linear(1, bias=False), prior=priors.normal(0.0, tau), likelihood=likelihoods.normal(1.0))
    tau, info = jax.jit(lambda start: empirical_bayes(build, Data(x, y), start))(1.0)
    assert float(tau) < 1e-3 and not info["converged"] and info["vanishing"]


@pytest.mark.parametrize("tau, sigma", [(1e3, 1e-3), (1e8, 1.0), (1e9, 1.0)])
@pytest.mark.parametrize("shape", [(6, 10), (10, 6)])
def test_columns_that_others_span_keep_their_digits(tau, sigma, shape):
    import mpmath

    rng = np.random.default_rng(7)
    x = rng.integers(-3, 4, (shape[0], 3)) @ rng.integers(-3, 4, (3, shape[1])) / 4.0  # rank 3, without rounding
    y = rng.standard_normal(shape[0])
    with mpmath.workdps(80):
        a = mpmath.matrix(x) * mpmath.mpf(tau)
        covariance = a * a.T + mpmath.mpf(sigma) ** 2 * mpmath.eye(shape[0])
        square = (mpmath.matrix(y).T * mpmath.lu_solve(covariance, mpmath.matrix(y)))[0]
        exact = -(shape[0] * mpmath.log(2 * mpmath.pi) + mpmath.log(mpmath.det(covariance)) + square) / 2
    this = Model(*linear(shape[1], bias=False), prior=priors.normal(0.0, tau), likelihood=likelihoods.normal(sigma))
    assert float(evidence(this, Data(x, y))) == pytest.approx(float(exact), rel=1e-6)


def test_data_that_are_fitted_exactly_are_an_explanation_not_nan():
    build = lambda hyper: Model(
        *linear(4), prior=priors.normal(0.0, hyper["tau"]), likelihood=likelihoods.normal(hyper["sigma"])
    )
    with pytest.raises(ValueError, match=r"no maximum.*y is fitted exactly"):
        empirical_bayes(build, Data(X, np.zeros(40)), {"tau": 1.0, "sigma": 1.0})


def test_what_has_no_evidence_says_so():
    flat = Model(
        *linear(4), prior=priors.joint(weight=priors.normal(), bias=priors.flat()), likelihood=likelihoods.normal(1.0)
    )
    with pytest.raises(ValueError, match="improper prior has no evidence"):
        log_evidence(flat, Data(X, Y))
    with pytest.raises(NotApplicable, match="with normal noise of one known scale"):
        log_evidence(Model(*linear(4), prior=priors.normal(), likelihood=likelihoods.poisson()), Data(X, np.ones(40)))
    with pytest.raises(NotApplicable, match=r"a model of probjax\.linear"):
        log_evidence(Model(*mlp([4, 2, 1]), prior=priors.normal(), likelihood=likelihoods.normal(1.0)), Data(X, Y))
    with pytest.raises(NotApplicable, match=r"priors\.normal"):
        log_evidence(Model(*linear(4), prior=priors.laplace(), likelihood=likelihoods.normal(1.0)), Data(X, Y))
    with pytest.raises(ValueError, match=r"start is 0\.0 but must be positive"):
        empirical_bayes(lambda tau: model(tau), Data(X, Y), 0.0)


def test_nothing_recompiles_for_other_hyperparameters():
    run = jax.jit(lambda tau: log_evidence(model(tau), Data(X, Y)))
    assert run(1.0) != run(2.0) and run._cache_size() == 1
    assert jnp.isfinite(jax.grad(run)(1.0))


def test_the_maximum_is_found_inside_jit():
    build = lambda tau: model(tau)
    inside = jax.jit(lambda y: empirical_bayes(build, Data(X, y), 1.0)[0])(Y)
    assert float(inside) == pytest.approx(float(empirical_bayes(build, Data(X, Y), 1.0)[0]), rel=1e-6)
