"""Each method has the exact limit its theory says, and compiles once for all keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import monitoring
from scipy import stats

from probjax import (
    Data,
    Model,
    NotApplicable,
    dropout,
    ensemble,
    full_rank,
    joint_log_predictive,
    laplace,
    likelihoods,
    linear,
    log_predictive,
    map_estimate,
    mean_field,
    mlp,
    nuts,
    optimize,
    predict,
    predictive_mean,
    predictive_sd,
    priors,
    target,
)
from probjax.diagnostics import split_rhat
from verification.methods import METHODS

SMALL = {
    "map_estimate": (map_estimate, {}),
    "laplace": (laplace, {"num_draws": 3}),
    "mean_field": (mean_field, {"num_draws": 3, "num_steps": 16}),
    "full_rank": (full_rank, {"num_draws": 3, "num_steps": 16}),
    "nuts": (nuts, {"num_draws": 8, "num_warmup": 10, "num_chains": 2}),
    "dropout": (dropout, {"num_draws": 3, "num_steps": 8}),
    "ensemble": (ensemble, {"num_members": 2}),
}


@pytest.fixture(scope="module")
def compilations():
    """A list that grows by one whenever XLA compiles something."""
    seen = []

    def listener(name, seconds, **_):
        if name == "/jax/core/compile/backend_compile_duration":
            seen.append(seconds)

    monitoring.register_event_duration_secs_listener(listener)
    return seen


@pytest.mark.parametrize("name", SMALL)
def test_nothing_recompiles_on_a_second_key_or_a_second_prior_scale(name, compilations):
    method, settings = SMALL[name]
    x = np.random.default_rng(1).standard_normal((12, 2))
    data = Data(jnp.asarray(x), jnp.asarray(x @ [1.0, -1.0]))
    run = jax.jit(lambda key, model, data: method(key, model, data, **settings))
    model = lambda scale: Model(*linear(2), prior=priors.normal(0.0, scale), likelihood=likelihoods.normal(0.5))
    keys, models = jax.random.split(jax.random.key(0), 3), [model(1.0), model(2.0)]
    first = jax.block_until_ready(run(keys[0], models[0], data))
    count = len(compilations)
    assert count > 0
    second = jax.block_until_ready(run(keys[1], models[0], data))
    third = jax.block_until_ready(run(keys[2], models[1], data))
    assert len(compilations) == count
    shape = lambda p: jax.tree.map(jnp.shape, p)
    assert shape(first) == shape(second) == shape(third)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(third.draws))


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if not method.usual])
def test_a_further_method_depends_on_key_model_and_data_by_arrays_alone(name):
    """What traces on shapes compiles once for them: no value of a key, a prior's scale or the data can recompile it."""
    x = np.random.default_rng(1).standard_normal((12, 2))
    data = Data(jnp.asarray(x), jnp.asarray(x @ [1.0, -1.0]))
    model = Model(*mlp([2, 3, 1]), prior=priors.normal(0.0, 1.0), likelihood=likelihoods.normal(0.5))
    traced = jax.eval_shape(METHODS[name], jax.random.key(0), model, data)
    like = jax.eval_shape(model.init, jax.random.key(0))
    assert {(a.shape[1:], a.dtype) for a in jax.tree.leaves(traced.draws)} >= {
        (b.shape, b.dtype) for b in jax.tree.leaves(like)
    }


def test_map_is_ridge_regression(regression, exact, weights):
    model, data, *_ = regression
    posterior = map_estimate(jax.random.key(0), model, data)
    np.testing.assert_allclose(weights(posterior.draws)[0], exact[0], rtol=1e-8)
    assert bool(posterior.info["converged"]) and float(posterior.info["grad_norm"]) < 1e-7


def test_laplace_is_exact_on_a_gaussian_posterior(regression, exact, weights):
    model, data, *_ = regression
    mean, covariance, evidence = exact
    posterior = jax.jit(lambda key: laplace(key, model, data, num_draws=5))(jax.random.key(1))
    assert float(posterior.info["log_evidence"]) == pytest.approx(evidence, abs=1e-8)
    draws = weights(posterior.draws)
    np.testing.assert_allclose(
        posterior.info["log_q"], stats.multivariate_normal.logpdf(draws, mean, covariance), atol=1e-7
    )
    log_joint = jax.jit(jax.vmap(lambda p: target(model).log_joint(p, data)))(posterior.draws)
    np.testing.assert_allclose(log_joint - posterior.info["log_q"], evidence, atol=1e-7)  # Bayes' theorem, draw by draw


def test_laplace_draws_have_the_stated_covariance(regression, exact, weights):
    model, data, *_ = regression
    draws = weights(jax.jit(lambda key: laplace(key, model, data, num_draws=4000))(jax.random.key(2)).draws)
    L = np.linalg.cholesky(exact[1])
    z = np.linalg.solve(L, (draws - exact[0]).T)
    assert stats.kstest((z**2).sum(0), stats.chi2(4).cdf).pvalue > 1e-6
    assert stats.kstest(z.ravel(), "norm").pvalue > 1e-6


def test_laplace_where_there_is_no_maximum_is_nan_and_says_why():
    model = Model(
        lambda key: jnp.zeros(()), lambda p, x: p * x[:, 0], prior=priors.flat(), likelihood=likelihoods.normal(1.0)
    )
    data = Data(np.zeros((3, 1)), np.ones(3))
    posterior = jax.jit(lambda key: laplace(key, model, data, num_draws=2))(jax.random.key(0))
    assert int(posterior.info["num_nonpositive"]) == 1
    assert not np.isfinite(posterior.draws).any()


@pytest.mark.parametrize("method", [mean_field, full_rank])
def test_variational_log_q_is_the_density_of_its_draws_and_the_elbo_a_lower_bound(method, regression, exact, weights):
    """log q is a quadratic: 15 coefficients from 100 draws give its precision and mean, and the constant must be its
    normaliser."""
    model, data, *_ = regression
    posterior = jax.jit(lambda key: method(key, model, data, num_draws=100))(jax.random.key(3))
    draws, log_q = weights(posterior.draws), np.asarray(posterior.info["log_q"])
    i, j = np.triu_indices(4)
    features = np.column_stack([np.ones(100), draws, draws[:, i] * draws[:, j]])
    coefficients, *_ = np.linalg.lstsq(features, log_q, rcond=None)
    np.testing.assert_allclose(features @ coefficients, log_q, atol=1e-8)
    half = np.zeros((4, 4))
    half[i, j] = -coefficients[5:]
    precision = half + half.T
    mean = np.linalg.solve(precision, coefficients[1:5])
    np.testing.assert_allclose(
        log_q, stats.multivariate_normal.logpdf(draws, mean, np.linalg.inv(precision)), atol=1e-6
    )
    z = np.linalg.cholesky(precision).T @ (draws - mean).T
    assert stats.kstest(z.ravel(), "norm").pvalue > 1e-6
    if method is mean_field:
        assert np.abs(precision - np.diag(np.diag(precision))).max() < 1e-6 * np.diag(precision).max()
    bound = np.asarray(jax.jit(jax.vmap(lambda p: target(model).log_joint(p, data)))(posterior.draws)) - log_q
    error = bound.std() / np.sqrt(len(bound))
    assert bound.mean() - 6 * error < exact[2]  # KL(q, p) ≥ 0
    # info's ELBO is over the last iterates, this one at their average; half a nat is far below what a lost
    # log-determinant costs (8 nats)
    assert float(posterior.info["elbo"]) == pytest.approx(bound.mean(), abs=6 * error + 0.5)


def test_nuts_counts_its_chains_and_reports_on_itself(regression):
    model, data, *_ = regression
    posterior = jax.jit(lambda key: nuts(key, model, data, num_draws=400, num_warmup=200, num_chains=2))(
        jax.random.key(4)
    )
    assert posterior.draws["weight"].shape == (400, 3)
    assert float(posterior.info["max_rhat"]) < 1.1 and int(posterior.info["num_divergent"]) == 0
    assert posterior.info["step_size"].shape == (2,)
    with pytest.raises(ValueError, match="num_draws is 5 and num_chains 2"):
        nuts(jax.random.key(0), model, data, num_draws=5, num_chains=2)


def test_members_of_an_ensemble_meet_at_the_one_mode_of_a_log_concave_posterior(regression, exact, weights):
    model, data, *_ = regression
    posterior = jax.jit(lambda key: ensemble(key, model, data, num_members=3))(jax.random.key(5))
    np.testing.assert_allclose(weights(posterior.draws), np.tile(exact[0], (3, 1)), rtol=1e-7)
    with pytest.raises(ValueError, match="num_members is 1"):
        ensemble(jax.random.key(0), model, data, num_members=1)


def test_dropout_draws_are_one_fit_under_masks(regression, weights):
    """A weight is 0 or one value, masked at the stated rate; whether the fit is right is a limit's affair."""
    model, data, *_ = regression
    run = jax.jit(lambda key: dropout(key, model, data, rate=0.2, num_draws=2000, num_steps=50))
    draws = weights(run(jax.random.key(6)).draws)
    kept = draws[:, :3] != 0
    for j in range(3):
        assert np.ptp(draws[kept[:, j], j]) == 0
        assert stats.binomtest(int(kept[:, j].sum()), 2000, 0.8).pvalue > 1e-6
    assert np.ptp(draws[:, 3]) == 0  # the bias is spared


def test_dropout_needs_something_to_drop(regression):
    model, data, *_ = regression
    with pytest.raises(NotApplicable, match="needs a Model"):
        dropout(jax.random.key(0), target(model), data)
    with pytest.raises(NotApplicable, match="needs a network with units to drop"):
        dropout(jax.random.key(0), model._replace(drop=None), data)
    with pytest.raises(ValueError, match=r"rate is 0 but must lie strictly between 0 and 1"):
        dropout(jax.random.key(0), model, data, rate=0)


def test_minimisers_report_the_gradient_where_they_end_and_whether_that_is_convergence():
    x = np.linspace(-1, 1, 9)[:, None]
    model = Model(*mlp([1, 2, 1]), prior=priors.normal(), likelihood=likelihoods.normal(0.5))
    data, start = Data(x, np.sin(2 * x[:, 0])), mlp([1, 2, 1]).init(jax.random.key(0))
    objective = lambda p: -target(model).log_joint(p, data)
    runs = {
        "lbfgs": (lambda s: optimize.lbfgs(objective, s), True),
        "lbfgs, cut short": (lambda s: optimize.lbfgs(objective, s, max_steps=2), False),
        "adam": (lambda s: optimize.adam(objective, s, num_steps=4000, learning_rate=0.02), True),
        "adam, cut short": (lambda s: optimize.adam(objective, s, num_steps=3), False),
    }
    for name, (run, converges) in runs.items():
        params, info = jax.jit(run)(start)
        value, grad = jax.value_and_grad(objective)(params)
        largest = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(grad))
        assert float(info["grad_norm"]) == pytest.approx(largest, rel=1e-4, abs=1e-9), name
        assert float(info["objective"]) == pytest.approx(float(value), rel=1e-12), name
        assert bool(info["converged"]) is converges, name


def test_lbfgs_never_ends_above_its_start_though_kinks_lead_its_line_search_astray():
    rng = np.random.default_rng(1)  # of 400 starts one is led astray to 10¹²
    x = rng.uniform(-2, 2, 15)
    y = np.maximum(x, 0) + 0.2 * rng.standard_normal(15)

    def objective(w):
        residual = y - w[0] - w[1] * jnp.maximum(w[2] + w[3] * x, 0)
        return 12.5 * jnp.sum(residual**2) + 0.5 * jnp.sum(w**2)

    starts = jax.random.normal(jax.random.key(1), (400, 4))
    ends, info = jax.jit(jax.vmap(lambda w: optimize.lbfgs(objective, w)))(starts)
    np.testing.assert_allclose(info["objective"], jax.vmap(objective)(ends), rtol=1e-12)
    assert np.all(info["objective"] <= jax.vmap(objective)(starts)) and np.abs(ends).max() < 10


def test_lbfgs_does_not_claim_a_minimum_that_is_at_infinity():
    """Separable labels under a flat prior have no maximum likelihood estimate."""
    model = Model(*linear(1), prior=priors.flat(), likelihood=likelihoods.bernoulli())
    data = Data(np.array([[-1.0], [1.0]]), np.array([0.0, 1.0]))
    _, info = optimize.lbfgs(
        lambda p: -target(model).log_joint(p, data), linear(1).init(jax.random.key(0)), tolerance=0.0, max_steps=30
    )
    assert not bool(info["converged"])


def test_predictions_of_exact_draws_are_averages_over_them(regression):
    model, data, design, noise, _ = regression
    posterior = jax.jit(lambda key: laplace(key, model, data, num_draws=7))(jax.random.key(7))
    f = (
        np.concatenate([np.asarray(posterior.draws["weight"]), np.asarray(posterior.draws["bias"])[:, None]], 1)
        @ design.T
    )
    np.testing.assert_allclose(predict(model, posterior, data.x), f, rtol=1e-12)
    np.testing.assert_allclose(predict(model, posterior, data.x, batch_size=2), f, rtol=1e-12)
    np.testing.assert_allclose(predictive_mean(model, posterior, data.x), f.mean(0), rtol=1e-12)
    np.testing.assert_allclose(predictive_sd(model, posterior, data.x), np.sqrt(f.var(0) + noise**2), rtol=1e-12)
    rows = stats.norm.logpdf(data.y, f, noise)
    np.testing.assert_allclose(log_predictive(model, posterior, data), np.log(np.exp(rows).mean(0)), rtol=1e-10)
    joint = np.log(np.exp(rows.sum(1) - rows.sum(1).max()).mean()) + rows.sum(1).max()
    assert float(joint_log_predictive(model, posterior, data)) == pytest.approx(joint, rel=1e-12)


def test_split_rhat_is_one_for_equal_halves_and_large_for_chains_apart():
    rng = np.random.default_rng(0)
    together, apart = rng.standard_normal((4, 500)), rng.standard_normal((4, 500)) + np.arange(4)[:, None]
    assert float(split_rhat(jnp.asarray(together))) == pytest.approx(1, abs=0.02)
    assert float(split_rhat(jnp.asarray(apart))) > 1.5
    assert float(split_rhat(jnp.ones((2, 10)))) == 1.0
    assert np.isinf(float(split_rhat(jnp.array([[0.0] * 8, [1.0] * 8]))))
