"""Ensembles and dropout have the laws that theory gives them on linear models; Flax modules are functions of a draw."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax.flatten_util import ravel_pytree

from probjax import (
    Data,
    Masked,
    Model,
    NotApplicable,
    anchored,
    bayesian_weights,
    bootstrap,
    dropout,
    ensemble,
    from_linen,
    from_nnx,
    gaussian_mask,
    likelihoods,
    linear,
    location_and_scale,
    losses,
    mlp,
    optimize,
    pairs_weights,
    priors,
    randomised_map,
    target,
    with_learnt_scale,
)
from probjax.inference.ensemble import _beta_log_joint, fit_members
from probjax.inference.randomised_map import perturbed_objective, score_noise
from verification.exact.conjugate import linear_posterior
from verification.limits import ensembles
from verification.limits.dropout import adaptive_ridge
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
def exact(regression):
    """(posterior mean, covariance)."""
    _, data, design, noise, tau = regression
    mean, precision = linear_posterior(design, data.y, noise, tau)
    return mean, np.linalg.inv(precision)


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


def test_gaussian_masks_have_the_variance_of_bernoullis_and_fall_on_the_same_units():
    """Each law's mask has mean 1 and variance rate/(1 − rate) (false alarm 1e-6 each)."""
    from probjax import bernoulli_mask

    for law in (gaussian_mask, bernoulli_mask):
        m = np.asarray(law(KEY, (40_000,), 0.3))
        assert abs(m.mean() - 1) < 4.9 * m.std() / 200
        square = (m - 1) ** 2
        assert abs(square.mean() - 0.3 / 0.7) < 4.9 * square.std() / 200


def test_gaussian_dropout_is_the_scaled_fit_and_its_limit_is_that_gaussian(regression, weights):
    model, data, *_ = regression
    settings = {"num_draws": 4, "num_steps": 200, "rate": 0.3, "mask": gaussian_mask}
    posterior = jax.jit(lambda key: dropout(key, model, data, **settings))(KEY)
    keys = jax.random.split(jax.random.split(KEY, 3)[2], 4)
    ratio = weights(posterior.draws)[:, :3] / np.array([gaussian_mask(k, (3,), 0.3) for k in keys])
    np.testing.assert_allclose(ratio, np.tile(ratio[0], (4, 1)), rtol=1e-10)  # one fit under every mask
    problem = build_problem("linear", None)
    s = problem.linear
    limit = ensembles.dropout(Method("", dropout, settings), problem)
    w, x = adaptive_ridge(s, 0.7), s.queries[3]  # f(1, 1); the last column is the constant one
    assert limit.reference.sd[3] ** 2 == pytest.approx(0.3 / 0.7 * np.sum((w * x)[:-1] ** 2), rel=1e-12)
    assert limit.reference.mean == pytest.approx(s.queries @ w, rel=1e-12)
    assert limit.below.shape == problem.reference.quantiles.shape
    bernoulli = ensembles.dropout(Method("", dropout, {"num_draws": 9, "rate": 0.3}), problem)
    np.testing.assert_allclose(bernoulli.reference.sd, limit.reference.sd, rtol=1e-10, atol=1e-12)
    assert ensembles.dropout(Method("", dropout, settings), build_problem("network_one_unit", None)) is None


def test_the_limit_of_anchors_is_narrower_than_the_posterior():
    problem = build_problem("linear", None)
    limit = ensembles.anchored(Method("", anchored, {}), problem)
    precision = problem.linear.posterior[1]
    half = np.linalg.solve(precision, problem.linear.queries.T) / problem.linear.prior_scale
    np.testing.assert_allclose(limit.reference.sd, np.linalg.norm(half, axis=0), rtol=1e-10)
    np.testing.assert_allclose(limit.reference.mean, problem.reference.mean, rtol=1e-8)
    assert np.all(limit.reference.sd < problem.reference.sd)
    assert ensembles.anchored(Method("", anchored, {}), build_problem("network_one_unit", None)) is None


def test_dropout_does_not_contract_with_n():
    """q = 0.7, slope 2, σ = τ = 1, x = 1, Σx² = n: sd √((1−q)/q) w → 0.92 where w = 2n/(n/q + 1), the posterior's
    1/√(n + 1)."""
    from types import SimpleNamespace

    sd, exact = {}, {}
    for n in (10, 10**3, 10**6):
        x = np.where(np.arange(n) % 2, 1.0, -1.0)[:, None]
        s = SimpleNamespace(design=x, y=2 * x[:, 0], noise_scale=1.0, prior_scale=1.0)
        w = adaptive_ridge(s, 0.7)
        assert w[0] == pytest.approx(2 * n / (n / 0.7 + 1), rel=1e-12)
        assert np.sqrt(ensembles.gaussian_dropout(s, 0.3)[1][0]) == pytest.approx(np.sqrt(0.3 / 0.7) * w[0], rel=1e-12)
        sd[n], exact[n] = np.sqrt(0.3 / 0.7) * w[0], np.sqrt(1 / linear_posterior(x, s.y, 1.0, 1.0)[1][0, 0])
    assert sd[10**6] == pytest.approx(2 * np.sqrt(0.3 * 0.7), rel=1e-5) and round(sd[10**6], 2) == 0.92
    assert round(exact[10**6], 6) == 0.001 and sd[10] < sd[10**3] < sd[10**6]


X = np.random.default_rng(3).standard_normal((12, 2)).astype(np.float32)
Y = np.sin(X[:, 0]).astype(np.float32)


class LinenNet(linen.Module):
    """Two Dropout layers of unlike rates around a BatchNorm."""

    batch_norm: bool = False

    @linen.compact
    def __call__(self, x, train=False):
        x = linen.Dropout(0.25)(x, deterministic=not train)
        x = linen.Dense(4)(x)
        if self.batch_norm:
            x = linen.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        x = linen.Dropout(0.5, deterministic=not train)(jnp.tanh(x))
        return linen.Dense(1)(x)[..., 0]


class NnxNet(nnx.Module):
    def __init__(self, rngs, batch_norm=False):
        self.first, self.last = nnx.Linear(2, 4, rngs=rngs), nnx.Linear(4, 1, rngs=rngs)
        self.drops = nnx.List([nnx.Dropout(0.25, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)])
        self.norm = nnx.BatchNorm(4, momentum=0.9, rngs=rngs) if batch_norm else None

    def __call__(self, x):
        x = self.first(self.drops[0](x))
        x = x if self.norm is None else self.norm(x)
        return self.last(self.drops[1](jnp.tanh(x)))[..., 0]


def norm_net(rngs):
    return NnxNet(rngs, batch_norm=True)


NETWORKS = {
    "linen": lambda norm: from_linen(LinenNet(norm), X, train={"train": True}, predict={"train": False}),
    "nnx": lambda norm: from_nnx(norm_net if norm else NnxNet, X),
}


def by_hand(params, masks, x, stats=None):
    """The network in numpy; stats: "batch", those of X under the draw, or (mean, var)."""
    p = {k: jax.tree.map(np.asarray, v) for k, v in params.items()}
    first, last = (p[k] for k in (("Dense_0", "Dense_1") if "Dense_0" in p else ("first", "last")))
    inner = lambda x: (x * masks[0]) @ first["kernel"] + first["bias"]
    hidden = inner(x)
    if stats is not None:
        norm = p.get("BatchNorm_0", p.get("norm"))
        mean, var = (inner(X).mean(0), inner(X).var(0)) if isinstance(stats, str) else stats
        hidden = (hidden - mean) / np.sqrt(var + 1e-5) * norm["scale"] + norm["bias"]
    return ((np.tanh(hidden) * masks[1]) @ last["kernel"] + last["bias"])[:, 0]


@pytest.mark.parametrize("flavour, norm", [("linen", True), ("nnx", True), ("nnx", False)])
def test_a_flax_draw_is_a_function_with_its_masks_and_its_statistics(flavour, norm):
    network = NETWORKS[flavour](norm)
    params, stats = jax.jit(network.init)(KEY), "batch" if norm else None
    new = np.float32(0.3) * X[:5] + 1
    draw = network.drop(jax.random.key(1), params, None)
    assert [mask.shape for mask in draw.masks] == [(2,), (4,)]
    again = network.drop(jax.random.key(2), params, None)
    values = {i: {round(float(v), 4) for d in (draw, again) for v in d.masks[i]} for i in (0, 1)}
    assert values[0] <= {0.0, 1.3333} and values[1] == {0.0, 2.0}  # each layer's own rate
    calls = lambda params, draw: [network.apply(*call) for call in ((params, new), (draw, new), (draw, new[:2]))]
    plain, f, fewer = jax.jit(calls)(params, draw)
    np.testing.assert_allclose(plain, by_hand(params, (1, 1), new, stats), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(f, by_hand(params, draw.masks, new, stats), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(fewer, f[:2], rtol=1e-5, atol=1e-6)  # whatever rows stand beside


@pytest.mark.parametrize("flavour", NETWORKS)
def test_a_flax_net_with_dropout_and_batch_norm_is_trained_under_its_masks(flavour):
    model = Model(*NETWORKS[flavour](True), prior=priors.normal(), likelihood=likelihoods.normal(0.5))
    settings = {"num_draws": 5, "num_steps": 40, "num_masks": 2, "mask": gaussian_mask}
    posterior = jax.jit(partial(dropout, **settings))(KEY, model, Data(X, Y))
    assert isinstance(posterior.draws, Masked) and posterior.draws.masks[1].shape == (5, 4)
    start = jax.jit(model.init)(jax.random.split(KEY, 3)[0])
    fitted = jax.tree.map(lambda leaf: leaf[0], posterior.draws.params)
    error = lambda params: np.sum((Y - by_hand(params, (1, 1), X, "batch")) ** 2)
    assert error(fitted) < error(start)
    f = jax.jit(jax.vmap(model.apply, (0, None)))(posterior.draws, X)
    draws = [jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i]), posterior.draws) for i in range(5)]
    expected = [by_hand(draw.params, draw.masks, X, "batch") for draw in draws]
    np.testing.assert_allclose(f, expected, rtol=1e-3, atol=1e-4)
    assert np.all(np.asarray(f).std(0) > 0)


def test_trained_statistics_and_parameters_are_used_as_they_are():
    variables = LinenNet(True).init(jax.random.key(5), X)
    stats = {"BatchNorm_0": {"mean": jnp.arange(4.0), "var": jnp.arange(1.0, 5.0)}}
    network = from_linen(LinenNet(True), X, variables={"params": variables["params"], "batch_stats": stats})
    expected = by_hand(variables["params"], (1, 1), X, (np.arange(4.0), np.arange(1.0, 5.0)))
    np.testing.assert_allclose(network.apply(network.init(KEY), X), expected, rtol=1e-4, atol=1e-5)
    module = norm_net(nnx.Rngs(5))
    module.norm.mean[...] = jnp.arange(4, dtype=jnp.float32)
    module.norm.var[...] = jnp.arange(1, 5, dtype=jnp.float32)
    network = from_nnx(norm_net, X, trained=module)
    params = network.init(KEY)
    expected = by_hand(params, (1, 1), X, (np.arange(4.0), np.arange(1.0, 5.0)))
    np.testing.assert_allclose(network.apply(params, X), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(params["first"]["kernel"], module.first.kernel[...])


def test_flax_modules_that_cannot_be_used_say_why():
    layers = lambda *modules: linen.Sequential(modules)
    assert from_linen(linen.Dense(1), X).drop is None
    model = Model(*from_linen(linen.Dense(1), X), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    with pytest.raises(NotApplicable, match="units to drop"):
        dropout(KEY, model, Data(X, Y))
    with pytest.raises(ValueError, match=r"has rate 1\.0 but needs one in"):
        from_linen(layers(linen.Dropout(1.0), linen.Dense(1)), X)
    silent = from_linen(layers(linen.Dropout(0.0), linen.Dense(1)), X)
    with pytest.raises(ValueError, match="every Dropout layer of the module has rate 0"):
        silent.drop(KEY, silent.init(KEY), None)
    with pytest.raises(NotImplementedError, match="does not see the rows of x on its leading axis"):
        from_linen(layers(jnp.transpose, linen.Dropout(0.5), jnp.transpose, linen.Dense(1)), X)
    with pytest.raises(ValueError, match=r"pass it as train=\{…\}"):
        from_linen(layers(linen.Dense(3), linen.BatchNorm(use_running_average=True)), X)
    with pytest.raises(ValueError, match="variables has tree"):
        from_linen(LinenNet(), X, variables={})
    with pytest.raises(NotImplementedError, match="pass example_x"):
        from_nnx(NnxNet)
    drop = from_linen(LinenNet(), X)
    with pytest.raises(ValueError, match="x needs the shape of example_x"):
        drop.apply(drop.drop(KEY, drop.init(KEY), 0.5)._replace(masks=(jnp.ones(3),) * 2), X)


def test_the_same_keys_give_the_same_masks_as_ever():
    """A rate alone is Bernoulli's law at every network of ours; None is 0.1 there."""
    network = mlp([2, 5, 1])
    params, key = network.init(KEY), jax.random.key(4)
    keep = jax.random.bernoulli(jax.random.split(key, 1)[0], 0.9, (5,)) / (1 - 0.1)
    expected = params[1]["weight"] * keep[:, None]
    for rate in (0.1, None):
        np.testing.assert_allclose(network.drop(key, params, rate)[1]["weight"], expected, rtol=1e-15)
