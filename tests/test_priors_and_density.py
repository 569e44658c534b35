"""Priors equal SciPy's; the log-joint is prior plus likelihood with the minibatch scale said once; records are
pytrees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from probjax import (
    Data,
    Model,
    likelihoods,
    linear,
    log_joint,
    log_likelihood,
    log_prior,
    mlp,
    priors,
    target,
    with_learnt_scale,
)

PARAMS = {"a": jnp.array([0.3, -1.2]), "b": jnp.array(2.0)}


def test_normal_and_laplace_priors_equal_scipy():
    flat = np.array([0.3, -1.2, 2.0])
    assert float(priors.normal(0.5, 2.0).log_prob(PARAMS)) == pytest.approx(
        stats.norm.logpdf(flat, 0.5, 2).sum(), rel=1e-14
    )
    assert float(priors.laplace(0.5, 2.0).log_prob(PARAMS)) == pytest.approx(
        stats.laplace.logpdf(flat, 0.5, 2).sum(), rel=1e-14
    )
    assert float(priors.flat().log_prob(PARAMS)) == 0


def test_scales_may_be_a_tree_or_a_prefix_of_one():
    by_leaf = priors.normal(0.0, {"a": 0.1, "b": 3.0}).log_prob(PARAMS)
    expected = stats.norm.logpdf([0.3, -1.2], 0, 0.1).sum() + stats.norm.logpdf(2.0, 0, 3)
    assert float(by_leaf) == pytest.approx(expected, rel=1e-14)
    with pytest.raises(ValueError, match="hyperparameter has tree"):
        priors.normal(0.0, {"a": 1.0}).log_prob(PARAMS)


@pytest.mark.parametrize("shape", [(2,), (3, 1), (7,)])
def test_a_hyperparameter_larger_than_its_leaf_is_refused_not_counted_twice(shape):
    params = {"bias": jnp.zeros(()), "weight": jnp.zeros(3)}
    with pytest.raises(ValueError, match=r"hyperparameter has shape .* but params\['bias'\] has \(\)"):
        priors.normal(0.0, np.ones(shape)).log_prob(params)
    with pytest.raises(ValueError, match=r"hyperparameter has shape"):
        priors.laplace(0.0, {"bias": 1.0, "weight": np.ones((3, 1))}).log_prob(params)
    by_weight = priors.normal(0.0, {"bias": 1.0, "weight": np.array([1.0, 2.0, 3.0])}).log_prob(params)
    assert float(by_weight) == pytest.approx(stats.norm.logpdf(0, 0, [1, 1, 2, 3]).sum(), rel=1e-14)


def test_joint_prior_adds_its_parts_and_names_a_missing_one():
    prior = priors.joint(a=priors.normal(0.0, 1.0), b=priors.laplace(0.0, 2.0))
    expected = stats.norm.logpdf([0.3, -1.2]).sum() + stats.laplace.logpdf(2.0, 0, 2)
    assert float(prior.log_prob(PARAMS)) == pytest.approx(expected, rel=1e-14)
    with pytest.raises(ValueError, match=r"parts \['a'\] but params has \['a', 'b'\]"):
        priors.joint(a=priors.flat()).log_prob(PARAMS)


@pytest.mark.parametrize("make, dist", [(priors.normal, stats.norm), (priors.laplace, stats.laplace)])
def test_prior_samples_follow_the_prior(make, dist):
    draws = jax.vmap(lambda key: make(1.0, 2.0).sample(key, PARAMS))(jax.random.split(jax.random.key(0), 3000))
    assert stats.kstest(np.asarray(draws["a"]).ravel(), dist(1, 2).cdf).pvalue > 1e-6
    assert draws["b"].shape == (3000,)


def test_a_scale_that_is_not_positive_is_named():
    with pytest.raises(ValueError, match=r"priors.laplace: scale is 0.0 but must be positive"):
        priors.laplace(0.0, 0.0)


def test_log_joint_is_prior_plus_likelihood(regression):
    model, data, design, noise, tau = regression
    params = model.init(jax.random.key(0))
    w = np.append(params["weight"], params["bias"])
    expected = stats.norm.logpdf(data.y, design @ w, noise).sum() + stats.norm.logpdf(w, 0, tau).sum()
    assert float(log_joint(model, params, data)) == pytest.approx(expected, rel=1e-13)
    assert float(target(model).log_joint(params, data)) == float(log_joint(model, params, data))


def test_minibatch_log_joints_average_to_the_whole(regression):
    model, data, *_ = regression
    params = model.init(jax.random.key(0))
    parts = [Data(data.x[i : i + 10], data.y[i : i + 10]) for i in (0, 10, 20)]
    mean = np.mean([float(log_joint(model, params, part, num_total=30)) for part in parts])
    assert mean == pytest.approx(float(log_joint(model, params, data)), rel=1e-13)
    likelihoods_of_parts = [float(log_joint(model, params, part)) - float(log_prior(model, params)) for part in parts]
    assert float(log_joint(model, params, data)) == pytest.approx(
        sum(likelihoods_of_parts) + float(log_prior(model, params)), rel=1e-13
    )
    with pytest.raises(ValueError, match="num_total is 0 but data has 10 rows"):
        log_joint(model, params, parts[0], num_total=0)


def test_a_hundred_prior_scales_are_one_compilation():
    traces = []

    @jax.jit
    def value(model, params, data):
        traces.append(1)
        return log_joint(model, params, data)

    data, network = Data(jnp.ones((4, 2)), jnp.ones(4)), linear(2)
    params = network.init(jax.random.key(0))
    values = {
        float(value(Model(*network, prior=priors.normal(0.0, s), likelihood=likelihoods.normal(0.3)), params, data))
        for s in np.linspace(0.1, 10, 100)
    }
    assert len(traces) == 1
    assert len(values) == 100


def test_a_plain_function_in_a_model_is_wrapped_so_that_jit_takes_it():
    def constant(params, x):
        return jnp.broadcast_to(params, x.shape[:1])

    model = Model(lambda key: jnp.zeros(()), constant, prior=priors.normal(), likelihood=likelihoods.poisson())
    value = jax.jit(lambda model, p, d: log_joint(model, p, d))(
        model, jnp.array(0.2), Data(jnp.ones((3, 1)), jnp.array([0.0, 1, 2]))
    )
    assert np.isfinite(float(value))


def test_learnt_scale_is_one_number_for_all_rows():
    network = with_learnt_scale(mlp([2, 3, 1]))
    params = network.init(jax.random.key(0)) | {"log_scale": jnp.array(-1.0)}
    loc, scale = network.apply(params, jnp.ones((5, 2)))
    np.testing.assert_allclose(scale, np.full(5, np.exp(-1)), rtol=1e-15)
    model = Model(
        *network,
        prior=priors.joint(network=priors.normal(), log_scale=priors.normal()),
        likelihood=likelihoods.normal(),
    )
    np.testing.assert_allclose(
        log_likelihood(model, params, Data(jnp.ones((5, 2)), jnp.zeros(5))),
        stats.norm.logpdf(0, loc, np.exp(-1)),
        rtol=1e-13,
    )


def test_a_model_without_a_prior_says_so():
    with pytest.raises(TypeError, match="Model has no prior"):
        Model(*linear(2), likelihood=likelihoods.bernoulli())
