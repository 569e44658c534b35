"""A network whose logits are divided by T: the same weights for everything that predicts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import expit, log_softmax, softmax

from probjax import (
    Data,
    Model,
    NotApplicable,
    Posterior,
    Target,
    from_nnx,
    ggn_gaussian,
    likelihoods,
    linear,
    linearised,
    log_predictive,
    masked,
    mlp,
    predict,
    predictive_mean,
    predictive_moments,
    priors,
)
from probjax.forecasts import from_logits
from probjax.recalibration.temperature import temperature as fitted_temperature
from probjax.tempered import with_temperature

X = np.random.default_rng(0).standard_normal((40, 3))
T = 1.7


@pytest.fixture(scope="module")
def several():
    """(model, posterior of seven draws, their logits [7, 40, 4], labels)."""
    model = Model(*mlp([3, 5, 4]), prior=priors.normal(), likelihood=likelihoods.categorical())
    posterior = Posterior(jax.vmap(model.init)(jax.random.split(jax.random.key(0), 7)), {})
    labels = np.random.default_rng(1).integers(0, 4, 40)
    return model, posterior, 3 * np.asarray(predict(model, posterior, X)), labels


def louder(model):
    """Three times the logits: a network too certain."""
    return with_temperature(model, 1 / 3)


def test_every_prediction_is_by_the_logits_over_the_temperature(several):
    model, posterior, logits, labels = several
    warm, data = with_temperature(louder(model), T), Data(X, labels)
    np.testing.assert_allclose(predict(warm, posterior, X), logits / T, rtol=0, atol=1e-12)
    probs = softmax(logits / T, axis=2).mean(0)
    np.testing.assert_allclose(predictive_mean(warm, posterior, X), probs, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        log_predictive(warm, posterior, data), np.log(probs[np.arange(40), labels]), rtol=0, atol=1e-12
    )
    draw = lambda key: jax.tree.map(lambda leaf: leaf[0], posterior.draws)
    moments = predictive_moments(jax.random.key(1), warm, draw, X, num_draws=2)
    np.testing.assert_allclose(moments.mean, softmax(logits[0] / T, axis=1), rtol=0, atol=1e-12)


def test_the_class_of_a_draw_stays_and_its_confidence_falls(several):
    model, posterior, logits, _ = several
    for temperature in (0.01, 0.5, 3.0, 100.0):
        warm = np.asarray(predict(with_temperature(louder(model), temperature), posterior, X))
        np.testing.assert_array_equal(warm.argmax(2), logits.argmax(2))
        gap = softmax(warm, axis=2).max(2) - softmax(logits, axis=2).max(2)
        assert np.all(gap < 0) if temperature > 1 else np.all(gap > 0)
    assert np.array_equal(predict(with_temperature(model, 1.0), posterior, X), predict(model, posterior, X))


def test_two_classes_by_one_logit():
    model = Model(*linear(3), prior=priors.normal(), likelihood=likelihoods.bernoulli())
    draws = jax.vmap(model.init)(jax.random.split(jax.random.key(2), 3))
    probs = expit(np.asarray(predict(model, Posterior(draws, {}), X)) / T).mean(0)
    found = predictive_mean(with_temperature(model, T), Posterior(draws, {}), X)
    np.testing.assert_allclose(found, probs, rtol=0, atol=1e-12)


def test_the_fitted_temperature_is_where_the_held_out_likelihood_is_flat(several):
    model, posterior, logits, _ = several
    one = Posterior(jax.tree.map(lambda leaf: leaf[:1], posterior.draws), {})
    truth = softmax(logits[0] / 2, axis=1)  # twice too certain
    labels = np.array([np.random.default_rng(i).choice(4, p=p) for i, p in enumerate(truth)])
    best = 1 / fitted_temperature(from_logits(logits[0]), labels).params.inverse_temperature
    total = jax.jit(lambda t: jnp.sum(log_predictive(with_temperature(louder(model), t), one, Data(X, labels))))
    expected = log_softmax(logits[0] / float(best), axis=1)[np.arange(40), labels].sum()
    assert float(total(best)) == pytest.approx(expected, abs=1e-11)
    assert abs(float(jax.grad(total)(best))) < 1e-8
    assert all(total(best) > total(best * factor) for factor in (0.9, 1.1, 1 / 3))


def test_a_new_temperature_does_not_recompile(several):
    model, posterior, *_ = several
    traced = []

    @jax.jit
    def mean(model, posterior):
        traced.append(1)
        return predictive_mean(model, posterior, X)

    for temperature in (0.5, 1.0, 4.0):
        mean(with_temperature(model, temperature), posterior)
    assert len(traced) == 1


def test_a_linearised_networks_covariance_is_over_the_temperature_squared():
    model = Model(*linear(3, 2, bias=False), prior=priors.normal(), likelihood=likelihoods.categorical())
    labels = (X[:, 0] > 0).astype(int)

    @jax.jit
    def of(params):
        gaussian, _ = ggn_gaussian(model, Data(X, labels), params)
        return linearised(model, gaussian, X[:2]), linearised(with_temperature(model, T), gaussian, X[:2])

    (mean, covariance), (warm_mean, warm_covariance) = of(model.init(jax.random.key(0)))
    np.testing.assert_allclose(warm_mean, mean / T, rtol=1e-12)
    np.testing.assert_allclose(warm_covariance, covariance / T**2, rtol=1e-12, atol=1e-15)


class Classifier(nnx.Module):
    def __init__(self, rngs):
        self.hidden, self.drop = nnx.Linear(3, 4, rngs=rngs), nnx.Dropout(0.3, rngs=rngs)
        self.out = nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x):
        return self.out(self.drop(nnx.relu(self.hidden(x))))


def test_the_masked_draws_of_a_flax_network_are_taken_as_they_are():
    network = from_nnx(Classifier, jnp.zeros((1, 3)))
    model = Model(*network, prior=priors.normal(), likelihood=likelihoods.categorical())
    draws = jax.vmap(masked(model, network.init(jax.random.key(0))))(jax.random.split(jax.random.key(1), 3))
    posterior = Posterior(draws, {})
    f = np.asarray(predict(model, posterior, X))
    assert np.ptp(f, axis=0).max() > 0
    np.testing.assert_allclose(predict(with_temperature(model, T), posterior, X), f / T, rtol=1e-12)


def test_float32_stays_float32(several):
    model, posterior, *_ = several
    draws = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), posterior.draws)
    warm = with_temperature(model, np.float64(T))
    assert warm.apply(jax.tree.map(lambda leaf: leaf[0], draws), X.astype(np.float32)).dtype == jnp.float32


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.inf, np.nan])
def test_a_temperature_that_is_none_is_refused(several, temperature):
    with pytest.raises(ValueError, match=r"temperature is .* but must be positive and finite"):
        with_temperature(several[0], temperature)


def test_what_has_no_logits_is_refused(several):
    with pytest.raises(ValueError, match=r"shape \(4,\) but must be one number; for .*vector_scaling"):
        with_temperature(several[0], np.ones(4))
    model = Model(*linear(3), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    for other in (likelihoods.normal(1.0), likelihoods.poisson(), likelihoods.ordinal(), likelihoods.binomial(3)):
        with pytest.raises(NotApplicable, match="neither categorical"):
            with_temperature(model._replace(likelihood=other), 2.0)
    with pytest.raises(NotApplicable, match="needs a Model"):
        with_temperature(Target(lambda key: 0.0, lambda params, data: 0.0, lambda params: {}), 2.0)
