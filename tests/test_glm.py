"""The modes of generalised linear models: exact where there is a closed form, stationary everywhere, honest at the
edges."""

import jax
import numpy as np
import pytest
from scipy import optimize

from probjax import Data, Model, NotApplicable, glm, likelihoods, linear, log_joint, map_estimate, mlp, priors

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 3)) * [1.0, 5.0, 0.2] + [0.0, 3.0, 0.0]
ETA = X @ [1.0, -0.2, 2.0] + 0.3
TARGETS = {
    "normal": (likelihoods.normal(0.7), ETA + 0.7 * RNG.standard_normal(60)),
    "bernoulli": (likelihoods.bernoulli(), (RNG.uniform(size=60) < 1 / (1 + np.exp(-ETA))).astype(float)),
    "binomial": (likelihoods.binomial(5), RNG.binomial(5, 1 / (1 + np.exp(-ETA))).astype(float)),
    "poisson": (likelihoods.poisson(), RNG.poisson(np.exp(ETA)).astype(float)),
    "negative_binomial": (likelihoods.negative_binomial(2.0), RNG.poisson(np.exp(ETA)).astype(float)),
    "gamma": (likelihoods.gamma(2.0), RNG.gamma(2.0, np.exp(ETA) / 2)),
    "huber": (likelihoods.huber(1.345, 0.7), ETA + 0.7 * RNG.standard_t(2, 60)),
    "log_cosh": (likelihoods.log_cosh(0.7), ETA + RNG.standard_t(2, 60)),
}


def model(likelihood, prior=None, num_inputs=3, num_outputs=None):
    return Model(*linear(num_inputs, num_outputs), prior=prior or priors.flat(), likelihood=likelihood)


value_and_gradient = jax.jit(jax.value_and_grad(log_joint, argnums=1))


def mode(posterior):
    return jax.tree.map(lambda leaf: leaf[0], jax.device_get(posterior.draws))


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("prior", [priors.flat(), priors.normal(0.1, 2.0)], ids=["flat", "normal"])
def test_the_mode_is_stationary_and_says_so(name, prior):
    likelihood, y = TARGETS[name]
    data, this = Data(X, y), model(likelihood, prior)
    posterior = glm(KEY, this, data)
    assert posterior.info["converged"] and not posterior.info["unbounded"]
    value, gradient = value_and_gradient(this, mode(posterior), data)
    assert all(np.abs(leaf).max() < 60 * 1e-9 for leaf in jax.tree.leaves(gradient))
    assert float(posterior.info["objective"]) == pytest.approx(-float(value), rel=1e-13)
    assert float(posterior.info["gap"]) < 1e-12


def test_several_outputs_reach_the_mode_of_lbfgs():
    y = RNG.integers(0, 4, 60)
    this, data = model(likelihoods.categorical(), priors.normal(0.0, 1.5), num_outputs=4), Data(X, y)
    ours, theirs = glm(KEY, this, data), map_estimate(KEY, this, data)
    assert ours.info["converged"]
    for a, b in zip(jax.tree.leaves(ours.draws), jax.tree.leaves(theirs.draws)):
        np.testing.assert_allclose(a, b, atol=1e-7)


@pytest.fixture(scope="module")
def many():
    """More rows than are sampled, columns of unlike scale and correlation 0.9."""
    rng = np.random.default_rng(1)
    mix = np.linalg.cholesky(0.9 * np.ones((6, 6)) + 0.1 * np.eye(6))
    x = rng.standard_normal((9001, 6)) @ mix.T * np.geomspace(0.1, 10, 6)
    eta = x @ (rng.standard_normal(6) * 0.5 / np.geomspace(0.1, 10, 6))
    return x, eta, rng


@pytest.mark.parametrize("name", ["bernoulli", "poisson", "categorical"])
def test_sampled_curvature_reaches_the_exact_mode(many, name):
    x, eta, rng = many
    y, outputs = {
        "bernoulli": ((rng.uniform(size=len(eta)) < 1 / (1 + np.exp(-eta))).astype(float), None),
        "poisson": (rng.poisson(np.exp(0.3 * eta)).astype(float), None),
        "categorical": (rng.integers(0, 3, len(eta)), 3),
    }[name]
    prior = priors.normal(0.0, 3.0)
    this, data = model(getattr(likelihoods, name)(), prior, 6, outputs), Data(x, y)
    posterior = glm(KEY, this, data)
    assert posterior.info["converged"] and int(posterior.info["num_steps"]) < 50
    gradient = value_and_gradient(this, mode(posterior), data)[1]
    worst = max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradient))
    assert worst < 1.1e-9 * len(eta)


@pytest.mark.parametrize("condition", [1e2, 1e5, 1e7])
def test_least_squares_is_as_exact_as_lapack_up_to_a_condition_of_ten_million(condition):
    rng = np.random.default_rng(2)
    left = np.linalg.qr(rng.standard_normal((9000, 8)))[0]
    right = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    x = left * np.geomspace(1, 1 / condition, 8) @ right.T
    truth = rng.standard_normal(8)
    noise = rng.standard_normal(9000)
    y = x @ truth + 1e-3 * (noise - left @ (left.T @ noise))  # orthogonal to x, so that truth is the answer
    this = Model(*linear(8, bias=False), prior=priors.flat(), likelihood=likelihoods.normal(1.0))
    ours = np.asarray(glm(KEY, this, Data(x, y)).draws["weight"][0])
    lapack = np.linalg.lstsq(x, y, rcond=None)[0]
    assert np.abs(ours - truth).max() <= 10 * np.abs(lapack - truth).max()


@pytest.mark.parametrize(
    "x, y, likelihood",
    [
        (np.array([[-1.0], [-0.5], [0.4], [2.0]]), np.array([0.0, 0.0, 1.0, 1.0]), likelihoods.bernoulli()),
        (np.array([[0.0], [0.0], [0.0], [1.0]]), np.array([0.0, 1.0, 1.0, 1.0]), likelihoods.bernoulli()),  # quasi
        (np.array([[0.0], [0.0], [1.0], [1.0]]), np.array([2.0, 1.0, 0.0, 0.0]), likelihoods.poisson()),
        (np.array([[-1.0], [-0.5], [0.4], [2.0]]), np.array([0, 0, 1, 1]), likelihoods.categorical()),
    ],
    ids=["separated", "quasi-separated", "counts of 0", "categorical"],
)
def test_a_maximum_at_infinity_is_an_explanation_not_a_number(x, y, likelihood):
    outputs = 2 if likelihood.log_prob.func is likelihoods.categorical().log_prob.func else None
    this = model(likelihood, None, 1, outputs)
    with pytest.raises(ValueError, match=r"no maximum: it keeps rising .* give it a proper one: priors.normal"):
        glm(KEY, this, Data(x, y))
    inside = jax.jit(lambda key: glm(key, this, Data(x, y)).info)(KEY)
    assert inside["unbounded"] and not inside["converged"]
    proper = model(likelihood, priors.normal(0.0, 100.0), 1, outputs)
    assert jax.jit(lambda key: glm(key, proper, Data(x, y)).info)(KEY)["converged"]


def test_the_column_that_separates_is_named():
    x = np.column_stack([RNG.standard_normal(40), np.repeat([0.0, 1.0], 20)])
    with pytest.raises(ValueError, match="most of all in column 1 of x"):
        glm(KEY, model(likelihoods.bernoulli(), None, 2), Data(x, np.repeat([0.0, 1.0], 20)))


@pytest.mark.parametrize(
    "x, undetermined",
    [
        (np.column_stack([X[:, 0], np.full(60, 3.0)]), 1),  # a constant column beside the bias
        (np.column_stack([X[:, 0], 2 * X[:, 0]]), 1),
        (np.column_stack([X[:, 0], np.zeros(60)]), 1),
        (X[:, :2], 0),
    ],
)
def test_columns_that_others_span_are_counted_and_the_fit_is_right(x, undetermined):
    y = ETA + RNG.standard_normal(60)
    posterior = glm(KEY, model(likelihoods.normal(1.0), None, 2), Data(x, y))
    assert posterior.info["converged"] and int(posterior.info["num_undetermined"]) == undetermined
    design = np.column_stack([x, np.ones(60)])
    fitted = x @ posterior.draws["weight"][0] + posterior.draws["bias"][0]
    np.testing.assert_allclose(fitted, design @ np.linalg.lstsq(design, y, rcond=None)[0], atol=1e-8)


def test_more_columns_than_rows_and_a_single_row_have_an_answer():
    wide = RNG.standard_normal((5, 9))
    posterior = glm(KEY, model(likelihoods.normal(1.0), None, 9), Data(wide, ETA[:5]))
    assert posterior.info["converged"] and int(posterior.info["num_undetermined"]) == 5
    fitted = wide @ posterior.draws["weight"][0] + posterior.draws["bias"][0]
    np.testing.assert_allclose(fitted, ETA[:5], atol=1e-8)
    single = glm(KEY, model(likelihoods.poisson(), priors.normal()), Data(X[:1], np.array([2.0])))
    assert single.info["converged"] and int(single.info["num_undetermined"]) == 0


def test_the_mode_does_not_depend_on_the_key_and_nothing_recompiles(many):
    x, eta, rng = many
    data = Data(x, (rng.uniform(size=len(eta)) < 0.4).astype(float))
    run = jax.jit(lambda key, prior: glm(key, model(likelihoods.bernoulli(), prior, 6), data).draws["weight"])
    first, second = (run(jax.random.key(k), priors.normal(0.0, 2.0)) for k in (0, 1))
    np.testing.assert_allclose(first, second, atol=1e-6)
    run(KEY, priors.normal(0.0, 0.1))
    assert run._cache_size() == 1


def test_numbers_that_the_likelihood_holds_for_each_row_stay_with_their_rows(many):
    x, eta, rng = many
    scale = rng.uniform(0.5, 2.0, len(eta))
    y = eta + scale * rng.standard_normal(len(eta))
    posterior = glm(KEY, model(likelihoods.normal(scale), None, 6), Data(x, y))
    design = np.column_stack([x, np.ones(len(eta))]) / scale[:, None]
    ours = np.append(posterior.draws["weight"][0], posterior.draws["bias"][0])
    np.testing.assert_allclose(ours, np.linalg.lstsq(design, y / scale, rcond=None)[0], rtol=1e-6, atol=1e-8)


def test_a_network_that_is_not_linear_is_not_applicable():
    with pytest.raises(NotApplicable, match=r"glm needs a model of probjax\.linear"):
        glm(KEY, Model(*mlp([3, 2, 1]), prior=priors.normal(), likelihood=likelihoods.normal(1.0)), Data(X, ETA))


@pytest.mark.parametrize(
    "prior", [priors.horseshoe(), priors.joint(weight=priors.spike_and_slab(), bias=priors.flat())]
)
def test_a_prior_whose_mode_means_nothing_is_not_applicable(prior):
    with pytest.raises(NotApplicable, match="a prior whose mode means something"):
        glm(KEY, model(likelihoods.normal(1.0), prior), Data(X, ETA))


@pytest.mark.parametrize("likelihood", [likelihoods.laplace(1.0), likelihoods.asymmetric_laplace(0.9, 1.0)])
def test_a_likelihood_with_a_kink_is_not_applicable(likelihood):
    with pytest.raises(NotApplicable, match="a likelihood that is smooth in f"):
        glm(KEY, model(likelihood), Data(X, ETA))


def test_overshooting_steps_are_cut_back():
    # from 0 the first Newton step of this Poisson model is far too long: its mean would be e¹⁰⁰⁰
    x, y = np.ones((3, 1)), np.array([1000.0, 1001.0, 1002.0])
    this = Model(*linear(1, bias=False), prior=priors.flat(), likelihood=likelihoods.poisson())
    posterior = glm(KEY, this, Data(x, y))
    assert posterior.info["converged"]
    assert float(posterior.draws["weight"][0, 0]) == pytest.approx(np.log(1001.0), rel=1e-12)


def test_scipy_agrees_on_a_huber_regression():
    likelihood, y = TARGETS["huber"]
    compiled = jax.jit(lambda w: -log_joint(model(likelihood), {"weight": w[:3], "bias": w[3]}, Data(X, y)))
    loss = lambda w: float(compiled(w))
    found = glm(KEY, model(likelihood), Data(X, y)).draws
    ours = np.append(found["weight"][0], found["bias"][0])
    theirs = optimize.minimize(loss, ours + 0.01, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13})
    assert loss(ours) <= theirs.fun + 1e-10
