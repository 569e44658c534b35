"""Laplace, its last layer and its evidence, held to linear models; what cannot be is named."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from laplace_parts import EXACT, KEY, blank, covariance_of, run, unlayered
from scipy import stats

from probjax import (
    Data,
    Model,
    Network,
    NotApplicable,
    Target,
    ggn_gaussian,
    kron_gaussian,
    laplace,
    laplace_diagonal,
    laplace_ggn,
    laplace_kron,
    laplace_last_layer,
    last_layer_gaussian,
    likelihoods,
    linear,
    log_evidence,
    log_joint,
    mlp,
    neural_linear,
    precision_by_evidence,
    predict,
    predict_linearised,
    priors,
    trained,
)

NUM_DRAWS = 4000
FAMILY = {
    "hessian": laplace,
    "ggn": laplace_ggn,
    "dual": partial(laplace_ggn, dual=True),
    "diagonal": laplace_diagonal,
    "kron": laplace_kron,
    "last_layer": laplace_last_layer,
    "neural_linear": neural_linear,
}


@pytest.fixture(scope="module")
def exact(regression):
    """Mean and covariance in the order of the flat parameters (bias, weight), and the log evidence, by NumPy."""
    _, data, design, noise, scale = regression
    order = np.roll(np.eye(4), 1, axis=0)  # the intercept first
    Z = design @ order.T
    covariance = np.linalg.inv(Z.T @ Z / noise**2 + np.eye(4) / scale**2)
    marginal = noise**2 * np.eye(len(Z)) + scale**2 * Z @ Z.T
    evidence = stats.multivariate_normal.logpdf(data.y, np.zeros(len(Z)), marginal)
    return covariance @ Z.T @ data.y / noise**2, covariance, evidence


@pytest.fixture(scope="module")
def on_regression(regression, exact):
    """Every method at the exact mode of the linear regression, by one program: draws as rows, info."""
    model, data, *_ = regression
    mode = {"weight": jnp.asarray(exact[0][1:]), "bias": jnp.asarray(exact[0][0])}

    def run(key, mode):
        made = {m: FAMILY[m](key, model, data, num_draws=NUM_DRAWS, fit=trained(mode)) for m in FAMILY}
        return {m: (jax.vmap(lambda p: ravel_pytree(p)[0])(p.draws), p.info) for m, p in made.items()}

    return jax.device_get(jax.jit(run)(jax.random.key(2), mode))


@pytest.mark.parametrize("name", [name for name in FAMILY if name != "diagonal"])
def test_every_form_is_exact_on_a_linear_model_with_gaussian_noise(name, on_regression, exact):
    mean, covariance, evidence = exact
    draws, info = on_regression[name]
    np.testing.assert_allclose(info["mode"], mean, **EXACT)
    assert float(info["log_evidence"]) == pytest.approx(evidence, abs=1e-8)
    np.testing.assert_allclose(info["log_q"], stats.multivariate_normal.logpdf(draws, mean, covariance), atol=1e-7)
    if name != "hessian":
        gamma = 4 - np.trace(covariance) / 1.5**2
        assert float(info["effective_parameters"]) == pytest.approx(gamma, abs=1e-8)


@pytest.mark.parametrize("name", FAMILY)
def test_draws_have_the_covariance_that_is_stated(name, on_regression, exact):
    """Whitened by the exact (for `diagonal` its own) covariance; each test's false-alarm rate is 1e-6."""
    mean, covariance, _ = exact
    if name == "diagonal":
        covariance = np.diag(1 / np.diag(np.linalg.inv(covariance)))
    z = np.linalg.solve(np.linalg.cholesky(covariance), (on_regression[name][0] - mean).T)
    assert stats.kstest((z**2).sum(0), stats.chi2(4).cdf).pvalue > 1e-6
    assert stats.kstest(z.ravel(), "norm").pvalue > 1e-6
    assert stats.kstest(z.sum(0) / 2, "norm").pvalue > 1e-6


@pytest.fixture(scope="module")
def regression_network():
    network = mlp([1, 4, 1])
    model = Model(*network, prior=priors.normal(0.2, 1.5), likelihood=likelihoods.normal(0.3))
    x = np.linspace(-2, 2, 9)[:, None]
    return network, model, Data(x, np.sin(2 * x[:, 0])), network.init(jax.random.key(9))


def features_model(params, layer_prior):
    """The linear model on the features of an mlp's hidden layer."""
    hidden = lambda x: jnp.tanh(x @ params[0]["weight"] + params[0]["bias"])
    return hidden, Model(*linear(4), prior=layer_prior, likelihood=likelihoods.normal(0.3))


def test_neural_linear_is_the_conjugate_regression_on_its_features(regression_network):
    _, model, data, params = regression_network
    posterior = run(neural_linear, model, data, params)
    hidden, regression = features_model(params, priors.normal(0.2, 1.5))
    Z = np.column_stack([np.ones(9), hidden(data.x)])
    precision = Z.T @ Z / 0.09 + np.eye(5) / 2.25
    mean = np.linalg.solve(precision, Z.T @ data.y / 0.09 + 0.2 / 2.25)
    np.testing.assert_allclose(posterior.info["mode"][-5:], mean, **EXACT)
    np.testing.assert_array_equal(posterior.info["mode"][:-5], ravel_pytree(params)[0][:-5])
    expected = float(log_evidence(regression, Data(hidden(data.x), data.y)))
    assert float(posterior.info["log_evidence"]) == pytest.approx(expected, abs=1e-8)
    draws = np.asarray(jax.vmap(lambda p: ravel_pytree(p)[0])(posterior.draws))[:, -5:]
    np.testing.assert_allclose(
        posterior.info["log_q_last"], stats.multivariate_normal.logpdf(draws, mean, np.linalg.inv(precision)), **EXACT
    )
    assert float(posterior.info["nonlinearity"]) < 1e-12


def test_neural_linear_has_the_last_layer_of_laplace_at_its_own_mode(regression_network):
    """With the last layer moved to its conditional mode both are the same Gaussian; their evidences differ by the
    density of the layers before."""
    _, model, data, params = regression_network
    first = run(neural_linear, model, data, params)
    there = blank(params)(first.info["mode"])
    second = run(laplace_last_layer, model, data, there)
    rest = float(model.prior.log_prob(there[0]))
    assert float(second.info["log_evidence"]) == pytest.approx(float(first.info["log_evidence"]) + rest, abs=1e-8)
    assert float(second.info["effective_parameters"]) == pytest.approx(float(first.info["effective_parameters"]))


def test_linearised_draws_are_exact_for_a_linear_model_and_linear_for_a_network(regression, exact, regression_network):
    """The mode found by the method's own fit."""
    model, data, *_ = regression
    posterior = jax.jit(lambda key: laplace_ggn(key, model, data, num_draws=3))(KEY)
    np.testing.assert_allclose(posterior.info["mode"], exact[0], **EXACT)
    both = lambda p: (predict_linearised(model, p, data.x), predict(model, p, data.x))
    np.testing.assert_allclose(*jax.jit(both)(posterior), **EXACT)
    _, model, data, params = regression_network
    posterior = run(laplace_diagonal, model, data, params)
    J = jax.jacobian(lambda w: model.apply(blank(params)(w), data.x))(ravel_pytree(params)[0])
    draws = jax.vmap(lambda p: ravel_pytree(p)[0])(posterior.draws)
    expected = model.apply(params, data.x) + (draws - ravel_pytree(params)[0]) @ J.T
    np.testing.assert_allclose(predict_linearised(model, posterior, data.x), expected, **EXACT)
    with pytest.raises(ValueError, match="no 'mode' to linearise at"):
        predict_linearised(model, posterior._replace(info={}), data.x)


def test_evidences_precision_is_a_maximum_of_the_exact_evidence_for_a_linear_model(regression):
    _, data, *_ = regression
    model_at = lambda tau: Model(*linear(3), prior=priors.normal(0.0, tau**-0.5), likelihood=likelihoods.normal(0.5))
    tau, info = jax.jit(lambda key: precision_by_evidence(key, model_at, data, start=30.0))(KEY)
    assert bool(info["converged"])
    exact = lambda log_tau: log_evidence(model_at(jnp.exp(log_tau)), data)
    slope = jax.grad(exact)
    value, first, second = jax.jit(lambda t: (exact(t), slope(t), jax.grad(slope)(t)))(jnp.log(tau))
    assert float(info["log_evidence"]) == pytest.approx(float(value), abs=1e-8)
    assert abs(float(first)) < 1e-8 and float(second) < -0.1


def test_evidences_precision_is_mackays_fixed_point_on_a_network(regression_network):
    network, _, data, params = regression_network
    model_at = lambda tau: Model(*network, prior=priors.normal(0.0, tau**-0.5), likelihood=likelihoods.normal(0.3))

    def found(form, key, params):
        tau, info = precision_by_evidence(key, model_at, data, gaussian=form, fit=trained(params))
        return tau, info, form(model_at(tau), data, params)[0]

    def traces(key, params):
        forms = (ggn_gaussian, kron_gaussian, last_layer_gaussian)
        return [(tau, info, jnp.trace(covariance_of(at))) for tau, info, at in (found(f, key, params) for f in forms)]

    flat = np.asarray(ravel_pytree(params)[0])
    for w, (tau, info, trace) in zip((flat, flat, flat[-5:]), jax.jit(traces)(KEY, params)):
        assert bool(info["converged"])
        assert len(w) - float(tau) * float(trace) == pytest.approx(float(tau) * w @ w, rel=1e-8)


def test_a_precision_without_bound_is_not_called_converged():
    network = linear(2, bias=False)
    model_at = lambda tau: Model(*network, prior=priors.normal(0.0, tau**-0.5), likelihood=likelihoods.normal(1.0))
    data = Data(np.eye(2), np.array([0.1, -0.1]))  # less than noise alone would give
    tau, info = jax.jit(lambda key: precision_by_evidence(key, model_at, data))(KEY)
    assert not bool(info["converged"]) and np.isfinite(float(tau)) and float(tau) > 1e6


def test_trained_parameters_are_taken_as_they_are(regression_network):
    _, model, data, params = regression_network
    posterior = run(laplace_diagonal, model, data, params)
    np.testing.assert_array_equal(posterior.info["mode"], ravel_pytree(params)[0])
    assert not bool(posterior.info["converged"]) and float(posterior.info["grad_norm"]) > 1
    assert float(posterior.info["objective"]) == pytest.approx(-float(log_joint(model, params, data)))


def test_bad_input_is_named(regression_network):
    network, model, data, params = regression_network
    where = lambda method, model, **settings: jax.eval_shape(
        lambda key: method(key, model, data, num_draws=2, **settings), KEY
    )
    with pytest.raises(NotApplicable, match="this is a Target"):
        where(laplace_ggn, Target(lambda key: jnp.zeros(1), lambda p, data: -jnp.sum(p**2), lambda p: {"p": p}))
    with pytest.raises(NotApplicable, match="needs a curvature of the likelihood"):
        where(laplace_ggn, model._replace(likelihood=likelihoods.laplace(1.0)), fit=trained(params))
    flat = model._replace(prior=priors.flat())
    with pytest.raises(ValueError, match=r"the dual form needs priors\.normal in every part"):
        where(laplace_ggn, flat, dual=True, fit=trained(params))
    with pytest.raises(NotApplicable, match="a flat prior leaves no precision"):
        where(laplace_kron, flat, fit=trained(params))
    with pytest.raises(NotApplicable, match="their curvature is one diagonal"):
        where(laplace_diagonal, model._replace(prior=priors.student_t(3.0)), fit=trained(params))
    with pytest.raises(NotApplicable, match=r"layers of probjax\.linear or probjax\.mlp"):
        where(laplace_kron, unlayered(model), fit=trained(params))
    with pytest.raises(NotApplicable, match=r"one known scale and priors\.normal"):
        where(neural_linear, flat)
    named = Network(
        lambda key: {"body": params[0], "head": params[1]}, lambda p, x: network.apply((p["body"], p["head"]), x)
    )
    named = Model(*named, prior=model.prior, likelihood=model.likelihood)
    for layer, error in ((None, NotApplicable), ("tail", ValueError)):
        said = rf"layer is {layer!r} but params has the top-level entries \['body', 'head'\]"
        with pytest.raises(error, match=said):
            where(laplace_last_layer, named, fit=trained(named.init(KEY)), layer=layer)
    one = run(laplace_last_layer, named, data, named.init(KEY), layer="head").info
    other = run(laplace_last_layer, model, data, params).info
    assert float(one["log_evidence"]) == pytest.approx(float(other["log_evidence"]), abs=1e-9)
    with pytest.raises(ValueError, match="trained: params has shapes"):
        where(laplace_ggn, model, fit=trained(params[0]))
    with pytest.raises(ValueError, match="num_draws is 0"):
        laplace_kron(KEY, model, data, num_draws=0)
