"""Hierarchies, time series and Gaussian processes: each density on trial is the one that was integrated, its exact
draws follow its exact answer, and its bug shows."""

from functools import cache

import jax
import numpy as np
import pytest
from scipy import stats

from verification.exact import gaussian_process, hierarchy, state_space
from verification.exact.gaussian_mixture import HyperQuery, Queries, fitted_box, gaussian_mixture, hyper_sampler
from verification.exact.reference import LEVELS
from verification.problems import growth, hierarchies, local_level, processes, series

PROBLEMS = {**hierarchies.PROBLEMS, **local_level.PROBLEMS, **series.PROBLEMS, **processes.PROBLEMS}
NUM = 40_000
FULL_TOLERANCES = {"mean": 0.025, "sd": 0.025, "quantiles": 0.05, "correlations": 0.025}


@cache
def built(name):
    return PROBLEMS[name]()


@cache
def draws_of(name):
    return built(name).exact_draws(np.random.default_rng(11), NUM)


@cache
def queries_of(name):
    return jax.jit(jax.vmap(built(name).query))


def log_joints(problem, params):
    return jax.jit(jax.vmap(lambda p: problem.model.log_joint(p, problem.data)))(params)


def solver_of(name):
    if name.startswith("eight_schools"):
        return hierarchies.SCHOOLS
    if name == "unequal_groups":
        y, group, *_ = hierarchies.unequal_groups_data()
        return hierarchy.OneWay.of_rows(y, group, hierarchies.NUM_GROUPS, *hierarchies.UNEQUAL_SCALES)
    if name == "growth_curves":
        return hierarchy.GrowthCurves.of_rows(growth.growth_data()[0], growth.TIMES, *growth.GROWTH_SCALES)
    if name == "local_level":
        y = local_level.local_level_data()[: local_level.NUM_OBSERVED]
        return state_space.LocalLevel(y, local_level.NUM_LEVELS, *local_level.LEVEL_SCALES)
    if name == "autoregression":
        design, y = state_space.lagged(series.autoregression_data()[: series.AR_FIT], 2)
        return state_space.Regression(design, y, *series.AR_SCALES)
    if name == "arma":
        return state_space.Arma(series.arma_data()[: series.ARMA_FIT], *series.ARMA_SCALES)
    return gaussian_process.Hyperparameters(*processes.hyperparameter_data()[:2], processes.HYPER_PRIOR_SCALE)


TO_PARAMS = {
    "eight_schools_centred": hierarchies._centred_params,
    "eight_schools_noncentred": hierarchies._noncentred_params,
    "unequal_groups": hierarchies._one_way_params,
    "growth_curves": growth._growth_params,
    "local_level": local_level._level_params,
    "autoregression": series._ar_params,
    "arma": series._arma_params,
    "gp_hyperparameters": processes._hyper_params,
}


@pytest.mark.parametrize("name", TO_PARAMS)
def test_the_density_on_trial_is_the_one_that_was_integrated(name):
    """log p(y, v, θ) = log w(v) + log N(θ | m(v), V(v)) at every v and θ, drawn wide."""
    problem, solver, rng = built(name), solver_of(name), np.random.default_rng(3)
    low, high = fitted_box(solver.log_weight, *map(np.asarray, solver.box), drop=6.0)
    v = rng.uniform(low, high, (6, len(low)))
    theta = solver.draw(rng, v)
    expected = solver.log_weight(v)
    if theta.shape[1]:
        mean, covariance = solver.conditional(v, np.eye(theta.shape[1]))
        theta = mean + 1.5 * (theta - mean)
        expected = expected + [stats.multivariate_normal.logpdf(*parts) for parts in zip(theta, mean, covariance)]
    if name == "eight_schools_noncentred":
        expected = expected + 8 * v[:, 0]  # dθ = τ⁸ dη
    params = TO_PARAMS[name](v, theta)
    log_joint = log_joints(problem, params)
    np.testing.assert_allclose(log_joint, expected, rtol=1e-11, atol=1e-8)


def test_the_density_of_function_values_is_their_closed_form():
    problem, (y, _) = built("gp_values"), processes.process_data()
    params = built("gp_values").exact_draws(np.random.default_rng(5), 6)
    mean, covariance = gaussian_process.posterior(processes.process_kernel(), np.arange(len(y)), y, processes.NOISE)
    closed = stats.multivariate_normal.logpdf(params["f"], mean, covariance, allow_singular=True)
    log_joint = log_joints(problem, params)
    np.testing.assert_allclose(log_joint - closed, problem.reference.log_evidence, atol=1e-7)


@pytest.mark.parametrize("name", PROBLEMS)
def test_certificates_are_small(name):
    reference = built(name).reference
    assert reference.certificate.error < 1e-5
    assert reference.quantiles.shape == (len(LEVELS), len(reference.names))
    np.testing.assert_allclose(reference.quantiles[[1, 7]], [reference.q05, reference.q95], atol=1e-14)


@pytest.mark.parametrize("name", PROBLEMS)
def test_exact_draws_have_the_exact_answers_moments_quantiles_and_predictive(name):
    problem = built(name)
    params, r = draws_of(name), problem.reference
    queries = np.asarray(queries_of(name)(params))
    standard = (queries - r.mean) / r.sd
    products = standard[:, :, None] * standard[:, None, :]
    z = [standard.mean(0) * np.sqrt(NUM), (products.mean(0) - r.corr) / (products.std(0) / np.sqrt(NUM))]
    z += [((queries <= q).mean(0) - p) / np.sqrt(p * (1 - p) / NUM) for p, q in zip(LEVELS, r.quantiles)]
    z = np.concatenate([np.ravel(v) for v in z])
    assert np.max(np.abs(z)) < stats.norm.ppf(1 - 1e-6 / (2 * z.size))  # false alarm 1e-6 a problem
    if problem.log_new is not None:
        # one draw at a time: two batched Cholesky factors in one program can wait for each other's threads for ever
        log_new = jax.jit(lambda params: jax.lax.map(problem.log_new, params))(params)
        ratio = np.exp(np.asarray(log_new) - r.log_predictive)
        assert abs(ratio.mean() - 1) < 6 * ratio.std() / np.sqrt(NUM)


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_bug_shows_beyond_twice_a_tolerance(name):
    problem, r = built(name), built(name).reference
    queries = np.asarray(queries_of(name)(problem.bug.damage(np.random.default_rng(12), draws_of(name))))
    gaps = {
        "mean": (queries.mean(0) - r.mean) / r.sd,
        "sd": queries.std(0) / r.sd - 1,
        "quantiles": (np.quantile(queries, [0.05, 0.95], axis=0) - [r.q05, r.q95]) / r.sd,
        "correlations": np.corrcoef(queries.T) - r.corr,
    }
    assert any(np.max(np.abs(gap)) > 2 * FULL_TOLERANCES[check] + 5 / np.sqrt(NUM) for check, gap in gaps.items())


def test_nothing_recompiles_for_new_data():
    problem, traces = built("unequal_groups"), []

    @jax.jit
    def log_joint(model, params, data):
        traces.append(1)
        return model.log_joint(params, data)

    params = problem.model.init(jax.random.key(0))
    assert np.isfinite(log_joint(problem.model, params, problem.data))
    assert np.isfinite(log_joint(hierarchies.unequal_groups().model, params, problem.data))
    assert len(traces) == 1


@pytest.mark.parametrize("name", PROBLEMS)
def test_targets_start_finite_and_differentiable(name):
    problem = built(name)
    params = jax.jit(problem.model.init)(jax.random.key(1))
    value, gradient = jax.jit(jax.value_and_grad(problem.model.log_joint))(params, problem.data)
    assert np.isfinite(value) and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert set(jax.tree.structure(params).node_data()[1]) == set(draws_of(name))
    assert jax.eval_shape(problem.model.constrain, params)


def dense_one_way(v):
    y, group, *_ = hierarchies.unequal_groups_data()
    num, (mu_scale, scale) = hierarchies.NUM_GROUPS, hierarchies.UNEQUAL_SCALES
    prior = lambda v: mu_scale**2 + np.exp(2 * v[:, :1, None]) * np.diag(np.append(np.ones(num), 0.0))
    noise = lambda v: np.repeat(np.exp(2 * v[:, 1:]), len(y), 1)
    log_prior = lambda v: hierarchy.log_half_normal(v, scale).sum(1)
    return hierarchy.Dense(np.eye(num, num + 1)[group], y, prior, noise, log_prior)


def dense_growth(v):
    y, _ = growth.growth_data()
    num, (mu_scale, scale) = len(y), growth.GROWTH_SCALES
    own, half = np.append(np.ones(num), 0.0), num + 1

    def prior(v):
        covariance = np.zeros((len(v), 2 * half, 2 * half))
        covariance[:, :half, :half] = mu_scale**2 + np.exp(2 * v[:, :1, None]) * np.diag(own)
        covariance[:, half:, half:] = mu_scale**2 + np.exp(2 * v[:, 1:2, None]) * np.diag(own)
        return covariance

    subject, time = np.repeat(np.arange(num), len(growth.TIMES)), np.tile(growth.TIMES, num)
    design = np.hstack([np.eye(num, half)[subject], time[:, None] * np.eye(num, half)[subject]])
    noise = lambda v: np.repeat(np.exp(2 * v[:, 2:]), y.size, 1)
    return hierarchy.Dense(design, y.ravel(), prior, noise, lambda v: hierarchy.log_half_normal(v, scale).sum(1))


def dense_level(v):
    y = local_level.local_level_data()[: local_level.NUM_OBSERVED]
    start_scale, scale = local_level.LEVEL_SCALES
    steps = np.arange(local_level.NUM_LEVELS)
    prior = lambda v: start_scale**2 + np.exp(2 * v[:, :1, None]) * np.minimum(steps[:, None], steps)
    noise = lambda v: np.repeat(np.exp(2 * v[:, 1:]), len(y), 1)
    log_prior = lambda v: hierarchy.log_half_normal(v, scale).sum(1)
    return hierarchy.Dense(np.eye(len(y), local_level.NUM_LEVELS), y, prior, noise, log_prior)


@pytest.mark.parametrize(
    "name, dense", [("unequal_groups", dense_one_way), ("growth_curves", dense_growth), ("local_level", dense_level)]
)
def test_structured_algebra_equals_dense_algebra(name, dense):
    """Group means, two independent poolings and the Kalman recursions against one big Gaussian."""
    solver, rng = solver_of(name), np.random.default_rng(4)
    low, high = fitted_box(solver.log_weight, *map(np.asarray, solver.box), drop=10.0)
    v = rng.uniform(low, high, (5, len(low)))
    other = dense(v)
    np.testing.assert_allclose(solver.log_weight(v), other.log_weight(v), atol=1e-8)
    matrix = rng.standard_normal((4, other.design.shape[1]))
    for got, expected in zip(solver.conditional(v, matrix), other.conditional(v, matrix)):
        np.testing.assert_allclose(got, expected, atol=1e-9)


@pytest.mark.parametrize("name", ["unequal_groups", "growth_curves", "local_level", "autoregression", "arma"])
def test_conditional_draws_have_the_conditional_moments(name):
    solver, num = solver_of(name), 20_000
    low, high = fitted_box(solver.log_weight, *map(np.asarray, solver.box), drop=2.0)
    v = np.repeat([(low + high) / 2], num, 0)
    theta = solver.draw(np.random.default_rng(8), v)
    mean, covariance = solver.conditional(v[:1], np.eye(theta.shape[1]))
    white = np.linalg.solve(np.linalg.cholesky(covariance[0]), (theta - mean[0]).T).T
    gaps = np.append(white.mean(0), (white.T @ white / num - np.eye(len(white.T))).ravel() / np.sqrt(2))
    assert np.abs(gaps).max() * np.sqrt(num) < 6.5


def test_an_arma_beyond_invertibility_has_no_mass():
    """For ϑ > 1 the forward errors explode and their sum of squares rounds away; run backwards from e_T they do not.
    The recursions agree where both hold, and what lies beyond weighs nothing."""
    solver, v = solver_of("arma"), np.array([[0.5, 1.2, -0.4], [0.3, 1.4, -0.2], [0.6, 1.3, 0.1]])
    np.testing.assert_allclose(solver.log_weight(v), backward_log_weight(solver, v), atol=1e-7)
    axes = np.linspace(-1.51, 2.03, 71), np.linspace(1.3, 4.0, 109), np.linspace(-3.0, 1.5, 19)
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    cell = np.prod([axis[1] - axis[0] for axis in axes])
    mass = np.exp(backward_log_weight(solver, grid) - built("arma").reference.log_evidence).sum() * cell
    assert mass < 1e-13


def backward_log_weight(solver, v):
    """log p(v, data): errors e_t = A_t + B_t μ + C_t e_T from the last to the first, μ then set by the start."""
    phi, theta, log_sigma = v.T
    y, variance = solver.y, np.exp(2 * log_sigma)
    a, b, c = np.zeros(len(v)), np.zeros(len(v)), np.ones(len(v))
    rows = [(a, b, c)]
    for last, now in zip(y[-2::-1], y[:0:-1]):
        a, b, c = (now - phi * last - a) / theta, (-1 - b) / theta, -c / theta
        rows.append((a, b, c))
    mu, slope = (y[0] - a) / (1 + phi + b), -c / (1 + phi + b)  # μ = mu + slope · e_T
    fixed = np.array([a + b * mu for a, b, c in rows] + [mu * np.sqrt(variance) / solver.mu_scale])
    moving = np.array([b * slope + c for a, b, c in rows] + [slope * np.sqrt(variance) / solver.mu_scale])
    squares = (moving**2).sum(0)
    quadratic = ((fixed - moving * (fixed * moving).sum(0) / squares) ** 2).sum(0) / variance
    log_rows = -len(y) * (log_sigma + 0.5 * np.log(2 * np.pi)) - 0.5 * quadratic
    log_mu = 0.5 * np.log(variance / squares) + np.log(np.abs(slope)) - np.log(solver.mu_scale)
    coefs = stats.norm.logpdf(phi, 0, solver.coef_scale) + stats.norm.logpdf(theta, 0, solver.coef_scale)
    return log_rows + log_mu + coefs + stats.halfcauchy.logpdf(np.exp(log_sigma), 0, solver.sigma_scale) + log_sigma


def test_gp_likelihood_by_eigenvalues_equals_that_by_cholesky():
    solver = solver_of("gp_hyperparameters")
    v = np.random.default_rng(2).standard_normal((50, 3)) * 0.6
    np.testing.assert_allclose(solver.by_eigenvalues(v), solver.by_cholesky(v), rtol=1e-9)


def test_a_normal_and_a_log_normal_and_a_sum_are_solved_exactly():
    names = ("v", "exp v", "v + w")
    hyper = (
        HyperQuery("v", (1.0, 0.0), lambda u: u),
        HyperQuery("exp v", (1.0, 0.0)),
        HyperQuery("v + w", (1.0, 1.0), lambda u: u),
    )
    r = gaussian_mixture(TwoNormals(), Queries((), np.zeros((0, 0)), hyper), nodes=[61, 61])
    assert r.names == names
    np.testing.assert_allclose(r.mean, [0.3, np.exp(0.3 + 0.02), -0.7], atol=1e-10)
    np.testing.assert_allclose(r.sd[[0, 2]], [0.2, np.sqrt(0.04 + 0.25 + 2 * 0.05)], atol=1e-10)
    np.testing.assert_allclose(r.quantiles[:, 0], stats.norm.ppf(LEVELS, 0.3, 0.2), atol=1e-9)
    np.testing.assert_allclose(r.quantiles[:, 1], np.exp(stats.norm.ppf(LEVELS, 0.3, 0.2)), atol=1e-9)
    np.testing.assert_allclose(r.quantiles[:, 2], stats.norm.ppf(LEVELS, -0.7, np.sqrt(0.39)), atol=1e-9)
    assert r.log_evidence == pytest.approx(0.0, abs=1e-10)


class TwoNormals:
    """(v, w) Gaussian, no latents."""

    box = ((-10.0, -10.0), (10.0, 10.0))

    def log_weight(self, v):
        return stats.multivariate_normal.logpdf(v, [0.3, -1.0], [[0.04, 0.05], [0.05, 0.25]])

    def conditional(self, v, matrix):
        return np.zeros((len(v), 0)), np.zeros((len(v), 0, 0))


def test_a_grid_too_coarse_to_draw_from_is_refused():
    draw = hyper_sampler(TwoNormals(), nodes=[4, 4], slack=0.01)
    with pytest.raises(ArithmeticError, match=r"a cell's bound is exceeded by .* raise `nodes`"):
        draw(np.random.default_rng(0), 10_000)
