"""Ensembles have the laws that theory gives them on linear models."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from probjax import (
    Data,
    Model,
    NotApplicable,
    anchored,
    bayesian_weights,
    bootstrap,
    ensemble,
    likelihoods,
    linear,
    location_and_scale,
    losses,
    optimize,
    pairs_weights,
    priors,
    randomised_map,
    target,
    with_learnt_scale,
)
from probjax.inference.ensemble import _beta_log_joint, fit_members
from probjax.inference.randomised_map import perturbed_objective, score_noise
from verification.limits import ensembles
from verification.methods import Method
from verification.work import build_problem

KEY = jax.random.key(0)


def as_params(w):
    return {"weight": w[..., :-1], "bias": w[..., -1]}


def newton(objective, params):
    """One Newton step: the minimum of a quadratic, and quick to compile."""
    w, unravel = ravel_pytree(params)
    loss = lambda w: objective(unravel(w))
    w = w - jnp.linalg.solve(jax.hessian(loss)(w), jax.grad(loss)(w))
    return unravel(w), {"objective": loss(w)}


@pytest.fixture(scope="module")
def optimum(regression, weights):
    """(anchors [M, P], scores [M, N]) -> optima [M, P] of the code's objective."""
    model, data, *_ = regression

    def one(anchor, scores):
        return newton(perturbed_objective(model, data, as_params(anchor), scores), as_params(0.0 * anchor))[0]

    run = jax.jit(jax.vmap(one))
    return lambda anchors, scores: weights(run(anchors, scores))


def test_the_optimum_is_affine_in_anchor_and_noise_and_has_the_posteriors_covariance(regression, exact, optimum):
    """w* = m + A w₀ + B s by unit perturbations; with Cov w₀ = τ²I and Cov s = I/σ² its covariance is Σ."""
    _, data, _, noise, tau = regression
    P, N = 4, len(data.y)
    anchors, scores = np.zeros((1 + P + N, P)), np.zeros((1 + P + N, N))
    anchors[1 : 1 + P], scores[1 + P :] = np.eye(P), np.eye(N)
    w = optimum(anchors, scores)
    mean, A, B = w[0], (w[1 : 1 + P] - w[0]).T, (w[1 + P :] - w[0]).T
    np.testing.assert_allclose(mean, exact[0], rtol=0, atol=1e-8)
    np.testing.assert_allclose(tau**2 * A @ A.T + B @ B.T / noise**2, exact[1], rtol=0, atol=1e-8)
    only_anchors = tau**2 * A @ A.T
    np.testing.assert_allclose(only_anchors, exact[1] @ exact[1] / tau**2, rtol=0, atol=1e-8)
    assert np.all(np.diag(only_anchors) < 0.1 * np.diag(exact[1]))  # far too narrow


def test_members_are_the_closed_form_of_their_own_anchors_and_noise(regression, exact, weights):
    """Anchors are draws of the prior and noise of the likelihood, so that the covariances above are the members'."""
    model, data, design, noise, tau = regression
    M, N = 3, len(data.y)

    def parts(key):
        init_key, anchor_key, noise_key = jax.random.split(key, 3)
        anchor = model.prior.sample(anchor_key, model.init(init_key))
        return anchor, model.likelihood.sample(noise_key, jnp.zeros(N))

    anchors, noises = jax.jit(jax.vmap(parts))(jax.random.split(jax.random.split(KEY)[1], M))
    expected = np.array(
        [exact[1] @ (design.T @ (data.y + e) / noise**2 + w / tau**2) for w, e in zip(weights(anchors), noises)]
    )
    posterior = jax.jit(lambda key, model: randomised_map(key, model, data, num_members=M, fit=newton))(KEY, model)
    np.testing.assert_allclose(weights(posterior.draws), expected, rtol=0, atol=1e-8)
    assert not posterior.info["failed"].any()

    shifted = model._replace(prior=priors.normal(0.7, tau))  # the prior's own centre moves with its anchors
    pairs = jax.vmap(jax.random.split)(jax.random.split(KEY, M))
    anchors = weights(jax.jit(jax.vmap(lambda k: shifted.prior.sample(k[1], shifted.init(k[0]))))(pairs))
    expected = np.array([exact[1] @ (design.T @ data.y / noise**2 + w / tau**2) for w in anchors])
    posterior = jax.jit(lambda key, model: anchored(key, model, data, num_members=M, fit=newton))(KEY, shifted)
    np.testing.assert_allclose(weights(posterior.draws), expected, rtol=0, atol=1e-8)


def test_scores_have_mean_zero_and_the_fisher_information():
    """Bernoulli: s = ỹ − p, by its two values and their frequency (false alarm 1e-6)."""
    model = Model(*linear(1), prior=priors.normal(), likelihood=likelihoods.bernoulli())
    f = jnp.full(20_000, 0.8)
    scores, p = np.asarray(score_noise(KEY, model, f)), 1 / (1 + np.exp(-0.8))
    assert np.all(np.isclose(scores, 1 - p, atol=1e-12) | np.isclose(scores, -p, atol=1e-12))
    assert abs(scores.mean()) < 4.9 * np.sqrt(p * (1 - p) / 20_000)
    normal = model._replace(likelihood=likelihoods.normal(0.5))
    np.testing.assert_allclose(
        score_noise(KEY, normal, f), (normal.likelihood.sample(KEY, f) - f) / 0.25, rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("method", [anchored, randomised_map])
def test_perturbed_fits_need_a_gaussian_prior_and_a_location(method, regression):
    model, data, *_ = regression
    for prior in (priors.flat(), priors.laplace(), priors.joint(weight=priors.normal(), bias=priors.flat())):
        with pytest.raises(NotApplicable, match="proper Gaussian prior"):
            method(KEY, model._replace(prior=prior), data)
    with pytest.raises(NotApplicable, match="needs a Model"):
        method(KEY, target(model), data)
    with pytest.raises(ValueError, match="an ensemble needs at least 2"):
        method(KEY, model, data, num_members=1)
    if method is randomised_map:
        learnt = Model(*with_learnt_scale(linear(3)), prior=priors.normal(), likelihood=likelihoods.normal())
        with pytest.raises(NotApplicable, match="f is one array"):
            method(KEY, learnt, data)


def gradient_descent(objective, params):
    step = lambda w, _: (jax.tree.map(lambda a, g: a - 0.05 * g, w, jax.grad(objective)(w)), None)
    params, _ = jax.lax.scan(step, params, None, length=3000)
    return params, {"objective": objective(params)}


@pytest.mark.parametrize("fit", [optimize.lbfgs, gradient_descent])
def test_an_overparameterised_ensemble_keeps_its_starts_in_the_null_space(fit):
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((3, 6)), rng.standard_normal(3)
    model = Model(*linear(6, bias=False), prior=priors.flat(), likelihood=likelihoods.normal(1.0))
    members = jax.jit(lambda key: ensemble(key, model, Data(X, y), num_members=3, fit=fit))(KEY).draws["weight"]
    starts = np.array([model.init(key)["weight"] for key in jax.random.split(KEY, 3)])
    null = np.eye(6) - np.linalg.pinv(X) @ X
    np.testing.assert_allclose(members, starts @ null + np.linalg.pinv(X) @ y, rtol=0, atol=1e-8)
    assert np.ptp(np.asarray(members), axis=0).max() > 0.1


def test_a_ridge_ensemble_has_no_spread(regression, exact, weights):
    model, data, *_ = regression
    draws = weights(jax.jit(lambda key: ensemble(key, model, data, num_members=3, fit=newton))(KEY).draws)
    np.testing.assert_allclose(draws, np.tile(exact[0], (3, 1)), rtol=0, atol=1e-8)


def test_a_member_that_fails_is_named_and_the_others_survive():
    def member(key, value):
        return {"w": jnp.full(2, value)}, {"objective": value}

    values = jnp.array([1.0, jnp.nan, 3.0, jnp.inf])
    posterior = fit_members(lambda value: member(None, value), values)
    assert posterior.draws["w"][:, 0].tolist() == [1.0, 3.0, 3.0, 3.0]
    assert posterior.info["failed"].tolist() == [False, True, False, True]
    assert np.isnan(posterior.info["objective"][1])
    with pytest.raises(ValueError, match="all 2 members ended"):
        fit_members(lambda value: member(None, value), jnp.full(2, jnp.nan))


def test_beta_nll_is_the_weighted_loss_and_moves_from_likelihood_to_squared_error(regression):
    _, data, *_ = regression
    model = Model(*location_and_scale(linear(3, 2)), prior=priors.flat(), likelihood=likelihoods.normal())
    params = model.init(KEY)
    losses_of = (
        lambda p, beta: -_beta_log_joint(model, p, data, beta),
        lambda p, beta: jnp.sum(losses.beta_nll(data.y, *model.apply(p, data.x), beta)),
    )
    slopes = jax.jit(lambda beta: [jax.grad(loss)(params, beta)["weight"] for loss in losses_of])
    for beta in (0.0, 0.5, 1.0):
        ours, theirs = slopes(beta)
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)
    design, residual = np.asarray(data.x), np.asarray(data.y - model.apply(params, data.x)[0])
    np.testing.assert_allclose(ours[:, 0], -residual @ design, rtol=1e-10)  # β = 1: squared error's, in the mean
    with pytest.raises(ValueError, match="a line search has nothing to search"):
        ensemble(KEY, model, data, beta=0.5)
    with pytest.raises(ValueError, match=r"beta is 2 but must lie in \[0, 1\]"):
        ensemble(KEY, model, data, beta=2, fit=optimize.adam)
    fit = lambda objective, params: optimize.adam(objective, params, num_steps=5)
    posterior = jax.jit(partial(ensemble, num_members=2, beta=0.5, fit=fit))(KEY, model, data)
    assert posterior.draws["weight"].shape == (2, 3, 2) and not posterior.info["failed"].any()


@pytest.mark.parametrize("weights_of", [bayesian_weights, pairs_weights])
def test_bootstrap_members_are_weighted_ridge_solutions(weights_of, regression, weights):
    model, data, design, noise, tau = regression
    N, M = len(data.y), 3
    keys = jax.vmap(jax.random.split)(jax.random.split(KEY, M))
    rows = np.asarray(jax.jit(jax.vmap(lambda k: weights_of(k[1], N)))(keys))
    np.testing.assert_allclose(rows.sum(1), N, rtol=1e-12)
    for use in (True, False):
        settings = {"weights": weights_of, "use_prior": use, "num_members": M, "fit": newton}
        draws = weights(jax.jit(partial(bootstrap, **settings))(KEY, model, data).draws)
        for v, w in zip(rows, draws):
            precision = (design.T * v) @ design / noise**2 + use * np.eye(4) / tau**2
            np.testing.assert_allclose(w, np.linalg.solve(precision, (design.T * v) @ data.y / noise**2), atol=1e-8)


def test_bootstrap_weights_have_their_variances():
    """Multinomial 1 − 1/N, Dirichlet (N − 1)/(N + 1), by z-scores of 4,000 replications (false alarm 1e-6 each)."""
    N, keys = 7, jax.random.split(KEY, 4000)
    for weights_of, variance in ((pairs_weights, 1 - 1 / N), (bayesian_weights, (N - 1) / (N + 1))):
        squares = np.asarray(jax.jit(jax.vmap(partial(weights_of, num_rows=N)))(keys)[:, 0] - 1) ** 2
        assert abs(squares.mean() - variance) < 4.9 * squares.std() / np.sqrt(4000)
    assert np.all(np.asarray(pairs_weights(KEY, N)) == np.round(pairs_weights(KEY, N)))
    with pytest.raises(ValueError, match="one a row"):
        model = Model(*linear(1), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
        bootstrap(KEY, model, Data(np.ones((4, 1)), np.ones(4)), weights=lambda key, n: jnp.ones(n + 1))


def test_the_limit_of_anchors_is_narrower_than_the_posterior():
    problem = build_problem("linear", None)
    limit = ensembles.anchored(Method("", anchored, {}), problem)
    precision = problem.linear.posterior[1]
    half = np.linalg.solve(precision, problem.linear.queries.T) / problem.linear.prior_scale
    np.testing.assert_allclose(limit.reference.sd, np.linalg.norm(half, axis=0), rtol=1e-10)
    np.testing.assert_allclose(limit.reference.mean, problem.reference.mean, rtol=1e-8)
    assert np.all(limit.reference.sd < problem.reference.sd)
    assert ensembles.anchored(Method("", anchored, {}), build_problem("network_one_unit", None)) is None
