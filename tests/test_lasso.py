"""Modes under Laplace priors: exact zeros, optimality, a gap that bounds, paths that are their single fits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Lasso, LogisticRegression

from probjax import Data, Model, NotApplicable, glm, glm_path, likelihoods, linear, log_joint, priors, regularisers

KEY = jax.random.key(0)
RNG = np.random.default_rng(3)
X = RNG.standard_normal((80, 12)) @ (np.eye(12) + 0.4) + 1.0
WEIGHT = np.array([2.0, -1.5, 1.0] + [0.0] * 9)
Y = X @ WEIGHT + 0.5 + RNG.standard_normal(80)
LABELS = (RNG.uniform(size=80) < 1 / (1 + np.exp(-(X - X.mean(0)) @ WEIGHT))).astype(float)
COUNTS = RNG.poisson(np.exp(0.2 * X[:, 0])).astype(float)
CASES = {
    "normal": (likelihoods.normal(0.7), Y),
    "bernoulli": (likelihoods.bernoulli(), LABELS),
    "poisson": (likelihoods.poisson(), COUNTS),
}
BIAS = {"flat": priors.flat(), "normal": priors.normal(0.3, 2.0)}


def model(likelihood, scale, loc=0.0, bias=None, num_inputs=12):
    prior = priors.joint(weight=priors.laplace(loc, scale), bias=bias or priors.flat())
    return Model(*linear(num_inputs), prior=prior, likelihood=likelihood)


def objective(this, w, data):
    return -float(log_joint(this, {"weight": jnp.asarray(w[:-1]), "bias": jnp.asarray(w[-1])}, data))


def stacked(posterior, row=0):
    return np.append(posterior.draws["weight"][row], posterior.draws["bias"][row])


@pytest.mark.parametrize("bias", BIAS)
@pytest.mark.parametrize("name", CASES)
def test_the_mode_meets_the_optimality_conditions_and_has_exact_zeros(name, bias):
    likelihood, y = CASES[name]
    this, data = model(likelihood, 0.1, bias=BIAS[bias]), Data(X, y)
    posterior = glm(KEY, this, data)
    w = stacked(posterior)
    assert posterior.info["converged"] and 0 < (w[:-1] == 0).sum() < 12
    smooth = lambda p: (
        jnp.sum(likelihood.log_prob(y, X @ p[:-1] + p[-1])) + this.prior.log_prob.args[0]["bias"].log_prob(p[-1])
    )
    slope = -np.asarray(jax.grad(smooth)(jnp.asarray(w)))
    assert abs(slope[-1]) < 1e-7
    off = w[:-1] != 0
    np.testing.assert_allclose(slope[:-1][off], -np.sign(w[:-1][off]) / 0.1, atol=1e-7)
    assert np.all(np.abs(slope[:-1][~off]) < 10 + 1e-7)
    assert -1e-10 < float(posterior.info["gap"]) < 1e-7
    assert float(posterior.info["objective"]) == pytest.approx(objective(this, w, data), rel=1e-13)


@pytest.mark.parametrize("bias", BIAS)
@pytest.mark.parametrize("name", CASES)
def test_the_gap_bounds_what_is_lost_where_the_fit_is_stopped_early(name, bias):
    from probjax import design, duality

    likelihood, y = CASES[name]
    this, data = model(likelihood, 0.1, bias=BIAS[bias]), Data(X, y)
    best = stacked(glm(KEY, this, data))
    like = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), jax.eval_shape(this.init, KEY))
    whole = design.Design(this, jax.tree.map(jnp.asarray, data), like)
    bound = jax.jit(lambda w: duality.gap(whole, w, design.gradient(whole, w), design.kinks(whole, w.dtype)))
    for size in (1.0, 0.3, 1e-2, 1e-4, 1e-6):
        w = jnp.asarray(best + size * RNG.standard_normal(13))
        lost = objective(this, w, data) - objective(this, best, data)
        assert lost <= float(bound(w)) + 1e-9
        assert size > 1e-5 or float(bound(w)) < 1.0


def test_scikit_learn_finds_the_same_lasso():
    alpha = 0.08
    scale = regularisers.sklearn_lasso_to_laplace(alpha, 0.7, 80)
    ours = stacked(glm(KEY, model(likelihoods.normal(0.7), scale), Data(X, Y)))
    peer = Lasso(alpha=alpha, tol=1e-14, max_iter=100_000).fit(X, Y)
    np.testing.assert_allclose(ours, np.append(peer.coef_, peer.intercept_), atol=1e-7)
    assert np.array_equal(ours[:-1] == 0, peer.coef_ == 0)


def test_scikit_learn_finds_the_same_sparse_logistic_regression():
    this = model(likelihoods.bernoulli(), regularisers.sklearn_c_to_laplace(0.2))
    ours = stacked(glm(KEY, this, Data(X, LABELS)))
    peer = LogisticRegression(C=0.2, l1_ratio=1.0, solver="saga", tol=1e-10, max_iter=100_000).fit(X, LABELS)
    np.testing.assert_allclose(ours, np.append(peer.coef_[0], peer.intercept_), atol=1e-5)


def test_coefficients_rest_at_the_centre_of_the_prior():
    loc = np.linspace(-1, 1, 12)
    w = stacked(glm(KEY, model(likelihoods.normal(0.7), 0.05, loc), Data(X, Y + X @ loc)))
    plain = stacked(glm(KEY, model(likelihoods.normal(0.7), 0.05), Data(X, Y)))
    assert np.array_equal(w[:-1] == loc, plain[:-1] == 0) and (w[:-1] == loc).any()
    np.testing.assert_allclose(w, plain + np.append(loc, 0), atol=1e-9)


def test_a_path_is_its_single_fits_in_one_compilation():
    scales = np.geomspace(0.01, 1.0, 7)
    build = lambda b: model(likelihoods.normal(0.7), b)
    path = glm_path(KEY, build, Data(X, Y), values=scales)
    for i, scale in enumerate(scales):
        np.testing.assert_allclose(stacked(path, i), stacked(glm(KEY, build(scale), Data(X, Y))), atol=1e-9)
    assert bool(path.info["converged"].all()) and (np.diff((path.draws["weight"] != 0).sum(1)) >= 0).all()
    run = jax.jit(lambda values: glm_path(KEY, build, Data(X, Y), values=values).draws["weight"])
    run(scales), run(2 * scales)
    assert run._cache_size() == 1


def test_many_more_columns_than_rows_go_through_working_sets():
    x = RNG.standard_normal((40, 300))
    y = x[:, :4] @ [3.0, -2.0, 2.0, 1.0] + 0.1 * RNG.standard_normal(40)
    scale = regularisers.sklearn_lasso_to_laplace(0.05, 1.0, 40)
    posterior = glm(KEY, model(likelihoods.normal(1.0), scale, num_inputs=300), Data(x, y))
    assert posterior.info["converged"] and float(posterior.info["gap"]) < 1e-8
    peer = Lasso(alpha=0.05, tol=1e-14, max_iter=100_000).fit(x, y)
    np.testing.assert_allclose(stacked(posterior), np.append(peer.coef_, peer.intercept_), atol=1e-6)


@pytest.mark.parametrize("name", ["normal", "bernoulli", "poisson", "huber"])
@pytest.mark.parametrize("scale", [0.3, 10.0])
def test_a_weak_prior_with_more_columns_than_rows_reaches_the_mode(name, scale):
    rng = np.random.default_rng(11)
    x = rng.standard_normal((50, 60))
    eta = x[:, :3] @ [0.5, -0.5, 0.3] + 1
    likelihood, y = {
        "normal": (likelihoods.normal(1.0), eta + rng.standard_normal(50)),
        "bernoulli": (likelihoods.bernoulli(), (rng.uniform(size=50) < 1 / (1 + np.exp(-eta))).astype(float)),
        "poisson": (likelihoods.poisson(), rng.poisson(np.exp(eta)).astype(float)),
        "huber": (likelihoods.huber(1.345, 1.0), eta + rng.standard_t(2, 50)),
    }[name]
    info = glm(KEY, model(likelihood, scale, num_inputs=60), Data(x, y)).info
    assert info["converged"] and abs(float(info["gap"])) < 1e-6


def test_a_constant_column_alone_is_the_bias():
    y = np.linspace(0.0, 3.0, 50)
    posterior = glm(KEY, model(likelihoods.normal(1.0), 1.0, num_inputs=1), Data(np.full((50, 1), 5.0), y))
    assert posterior.info["converged"]
    np.testing.assert_allclose(stacked(posterior), [0.0, 1.5], atol=1e-10)


def test_a_path_through_a_value_that_cannot_be_is_an_error():
    for bad in (-1.0, 0.0, np.inf, np.nan):
        with pytest.raises(ValueError, match=r"priors\.laplace: scale is"):
            glm_path(KEY, lambda b: model(likelihoods.normal(1.0), b), Data(X, Y), values=np.array([0.1, bad]))


def test_a_bias_whose_prior_is_not_gaussian_has_no_gap():
    this = model(likelihoods.normal(0.7), 0.1, bias=priors.student_t(2.0))
    info = glm(KEY, this, Data(X, Y)).info
    assert info["converged"] and np.isnan(info["gap"])


def test_columns_that_are_equal_share_and_a_constant_one_is_left_to_the_bias():
    x = np.column_stack([X[:, 0], X[:, 0], np.full(80, 2.0)])
    this = model(likelihoods.normal(0.7), 0.5, num_inputs=3)
    posterior = glm(KEY, this, Data(x, Y))
    w = stacked(posterior)
    assert posterior.info["converged"] and w[2] == 0 and float(posterior.info["gap"]) < 1e-8
    single = stacked(glm(KEY, model(likelihoods.normal(0.7), 0.5, num_inputs=1), Data(X[:, :1], Y)))
    assert w[0] + w[1] == pytest.approx(single[0], abs=1e-8)


def test_a_penalty_above_the_largest_leaves_nothing_and_one_row_is_enough():
    w = stacked(glm(KEY, model(likelihoods.normal(0.7), 1e-6), Data(X, Y)))
    assert np.all(w[:-1] == 0) and w[-1] == pytest.approx(Y.mean(), abs=1e-10)
    single = glm(KEY, model(likelihoods.normal(0.7), 1.0, bias=BIAS["normal"]), Data(X[:1], Y[:1]))
    assert single.info["converged"]


def test_what_has_no_path_or_no_mode_says_so():
    several = Model(*linear(12, 3), prior=priors.laplace(), likelihood=likelihoods.categorical())
    with pytest.raises(NotApplicable, match="for one output only"):
        glm(KEY, several, Data(X, LABELS.astype(int)))
    odd = Model(
        *linear(12), prior=priors.joint(weight=priors.flat(), bias=priors.laplace()), likelihood=likelihoods.normal(1.0)
    )
    with pytest.raises(NotApplicable, match="the weights have none"):
        glm(KEY, odd, Data(X, Y))
    smooth = lambda tau: Model(*linear(12), prior=priors.normal(0.0, tau), likelihood=likelihoods.normal(1.0))
    with pytest.raises(NotApplicable, match="for smooth ones call glm"):
        glm_path(KEY, smooth, Data(X, Y), values=np.ones(2))
    with pytest.raises(ValueError, match=r"values has shape \(\) but must be \[L\]"):
        glm_path(KEY, lambda b: model(likelihoods.normal(1.0), b), Data(X, Y), values=1.0)


@pytest.mark.parametrize(
    "y, likelihood", [(np.ones(80), likelihoods.bernoulli()), (np.zeros(80), likelihoods.poisson())]
)
def test_a_free_bias_that_runs_away_is_an_explanation_not_a_number(y, likelihood):
    with pytest.raises(ValueError, match=r"no maximum.*in the bias.*all alike"):
        glm(KEY, model(likelihood, 0.1), Data(X, y))
    with pytest.raises(ValueError, match=r"no maximum.*in the bias"):
        glm_path(KEY, lambda b: model(likelihood, b), Data(X, y), values=np.array([0.1, 1.0]))
    inside = jax.jit(lambda key: glm(key, model(likelihood, 0.1), Data(X, y)).info)(KEY)
    assert inside["unbounded"] and not inside["converged"]
    assert glm(KEY, model(likelihood, 0.1, bias=BIAS["normal"]), Data(X, y)).info["converged"]


def test_float32_reaches_its_own_digits():
    with jax.enable_x64(False):
        this = model(likelihoods.normal(0.7), 0.1)
        posterior = glm(KEY, this, Data(X.astype(np.float32), Y.astype(np.float32)))
        w = stacked(posterior)
        assert w.dtype == np.float32 and posterior.info["converged"]
    exact = stacked(glm(KEY, model(likelihoods.normal(0.7), 0.1), Data(X, Y)))
    np.testing.assert_allclose(w, exact, atol=1e-4)
    assert np.array_equal(w[:-1] == 0, exact[:-1] == 0)
