"""SGLD, SGHMC and SWAG have the moments that linear algebra gives them, and those are not the posterior's."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy import linalg, stats

from probjax import Data, Model, NotApplicable, Target, likelihoods, linear, mlp, priors
from probjax.inference.sghmc import sghmc
from probjax.inference.sghmc import update as sghmc_update
from probjax.inference.sgld import sgld
from probjax.inference.sgld import update as sgld_update
from probjax.inference.snapshots import moments_along
from probjax.inference.stochastic_gradients import largest_curvature, row_gradient, sample_rows, schedule
from probjax.inference.swag import multi_swag, swag, swag_from_checkpoints
from probjax.inference.swag import update as swag_update
from verification.exact import sgd
from verification.exact.conjugate import LinearGaussian
from verification.limits import stochastic_gradients as limits
from verification.methods import Method
from verification.work import build_problem

Z = 4.5  # two-sided false-alarm rate 7e-6 a comparison; about 40 of them below
PAIRS = {
    True: list(itertools.product(range(6), repeat=2)),
    False: list(itertools.combinations(range(6), 2)),
}


@pytest.fixture(scope="module")
def six():
    """(model, data, the same as LinearGaussian, unravel), six rows, w = (bias, weights) as ravelled."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((6, 2))
    y = x @ [1.0, -0.5] + 0.3 + 0.5 * rng.standard_normal(6)
    design = np.column_stack([np.ones(6), x])
    model = Model(*linear(2), prior=priors.normal(0.0, 1.5), likelihood=likelihoods.normal(0.8))
    unravel = ravel_pytree(model.init(jax.random.key(0)))[1]
    return model, Data(x, y), LinearGaussian((), design, y, 0.8, 1.5, np.eye(3), design, y), unravel


@pytest.fixture(scope="module")
def batches(six):
    """replace -> (−Hessians [b, P, P], gradients at the posterior mean [b, P]), over all batches of two rows."""
    model, data, s, unravel = six
    gradient = lambda rows, w: row_gradient(model, data, unravel, rows, w)
    both = jax.jit(jax.vmap(lambda rows, w: (-jax.jacobian(gradient, 1)(rows, w), gradient(rows, w)), (0, None)))
    mean = jnp.asarray(s.posterior[0])
    return {replace: jax.tree.map(np.asarray, both(np.array(rows), mean)) for replace, rows in PAIRS.items()}


def one_step(update, num_parts, gradient):
    """(state as one array, noise) -> next state: the update that chains run, with the gradient put in."""

    def step(state, noise, step_size):
        parts = tuple(jnp.split(state, num_parts))
        return jnp.concatenate(update(parts, gradient(parts[0]), noise, step_size))

    return step


@pytest.mark.parametrize("friction", [None, 1.0, 0.5, 0.1])
def test_the_closed_form_is_the_fixed_point_of_the_update(six, friction):
    _, _, s, _ = six
    mean, precision = s.posterior
    step_size = 1.2 / np.linalg.eigvalsh(precision)[-1]
    update, parts = (sgld_update, 1) if friction is None else (partial(sghmc_update, friction), 2)
    step = one_step(update, parts, lambda w: -jnp.asarray(precision) @ (w - mean))
    state = jnp.concatenate([jnp.asarray(mean)] + [jnp.zeros(3)] * (parts - 1))
    np.testing.assert_allclose(step(state, jnp.zeros(3), step_size), state, atol=1e-14)  # the mean stays
    push, spread = (np.asarray(jax.jacobian(step, k)(state, jnp.zeros(3), step_size)) for k in (0, 1))
    whole = linalg.solve_discrete_lyapunov(push, spread @ spread.T, method="direct")
    closed = sgd.langevin_covariance(precision, step_size, 1.0 if friction is None else friction)
    np.testing.assert_allclose(whole[:3, :3], closed, rtol=1e-11, atol=1e-13)
    recursion = (
        sgd.langevin(precision, step_size) if friction is None else sgd.hamiltonian(precision, step_size, friction)
    )
    np.testing.assert_allclose(sgd.stationary(recursion), closed, rtol=1e-11, atol=1e-13)
    if friction is None:
        np.testing.assert_allclose(push @ closed @ push.T + spread @ spread.T, closed, rtol=1e-12, atol=1e-14)
        exact = np.linalg.inv(precision)
        assert np.linalg.eigvalsh(closed - exact)[-1] > 1e-3 * np.linalg.eigvalsh(exact)[-1]  # not the posterior's


def test_in_one_dimension_sgld_has_variance_one_over_a_times_one_minus_a_quarter_of_epsilon_a():
    a, epsilon = 3.0, 0.4
    assert sgd.stationary(sgd.langevin(np.array([[a]]), epsilon)).item() == pytest.approx(
        1 / a / (1 - epsilon * a / 4), rel=1e-13
    )


@pytest.mark.parametrize("replace", [True, False])
def test_the_minibatch_covariances_are_fixed_points_over_all_batches_of_six_rows(six, batches, replace):
    _, _, s, _ = six
    precision = s.posterior[1]
    slopes, at_mean = batches[replace]
    np.testing.assert_allclose(slopes.mean(0), precision, rtol=1e-12)  # unbiased: the minibatch scale is N / B
    np.testing.assert_allclose(at_mean.mean(0), 0, atol=1e-12)
    noise, step, eye = sgd.gradient_noise(s, 2, replace), 0.01, np.eye(3)
    np.testing.assert_allclose(noise(np.zeros((3, 3))), np.cov(at_mean.T, bias=True), rtol=1e-11)
    lengths = {"descent": (sgd.descent(precision, step, noise), step, 0.0)}
    lengths["langevin"] = (sgd.langevin(precision, step, noise), step / 2, step)
    for name, (recursion, h, heat) in lengths.items():
        second = sgd.stationary(recursion)
        pushes = eye - h * slopes
        after = np.mean(pushes @ second @ pushes.transpose(0, 2, 1), 0) + heat * eye
        after += h**2 * at_mean.T @ at_mean / len(at_mean)
        np.testing.assert_allclose(after, second, rtol=1e-11, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("replace", [True, False])
def test_sghmc_with_minibatches_has_the_fixed_point_over_all_batches(six, batches, replace):
    _, _, s, _ = six
    slopes, at_mean = batches[replace]
    step, friction = 0.01, 0.3
    recursion = sgd.hamiltonian(s.posterior[1], step, friction, sgd.gradient_noise(s, 2, replace))
    matrix, constant = recursion.affine
    whole = np.linalg.solve(np.eye(36) - matrix, constant).reshape(6, 6)

    def batch_step(state, noise, slope, at_mean):  # of deviations from the mean
        return one_step(partial(sghmc_update, friction), 2, lambda w: at_mean - slope @ w)(state, noise, step)

    zeros = (jnp.zeros(6), jnp.zeros(3))
    parts = jax.vmap(lambda *batch: (*jax.jacobian(batch_step, (0, 1))(*zeros, *batch), batch_step(*zeros, *batch)))
    push, spread, nudge = (np.asarray(a) for a in parts(slopes, at_mean))
    turned = lambda a: a.transpose(0, 2, 1)
    second = np.mean(push @ whole @ turned(push) + spread @ turned(spread) + nudge[:, :, None] * nudge[:, None], 0)
    np.testing.assert_allclose(second, whole, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(sgd.stationary(recursion), whole[:3, :3], rtol=1e-12)


def test_there_is_no_stationary_law_beyond_the_stable_step(six):
    _, _, s, _ = six
    precision = s.posterior[1]
    top = np.linalg.eigvalsh(precision)[-1]
    for just in (sgd.langevin(precision, 3.99 / top), sgd.hamiltonian(precision, 3.99 * 1.9 / top, 0.1)):
        sgd.stationary(just)
    for beyond in (
        sgd.langevin(precision, 4.01 / top),
        sgd.hamiltonian(precision, 4.01 * 1.9 / top, 0.1),
        sgd.descent(precision, 1.9 / top, sgd.gradient_noise(s, 1)),  # stable without the noise of the slope
    ):
        with pytest.raises(ValueError, match="no stationary law"):
            sgd.stationary(beyond)


@pytest.fixture(scope="module")
def walks(six):
    """Moments and snapshots [216, 3, P] of SGD over all sequences of three batches of one row, by the library."""
    model, data, s, unravel = six
    sequences = np.array(list(itertools.product(range(6), repeat=3)))[:, :, None]

    def run(rows):
        step = lambda index, w: swag_update(w, row_gradient(model, data, unravel, rows[index], w), 0.05)
        start = jnp.asarray(s.posterior[0])
        moments = moments_along(step, start, num_snapshots=3, rank=2, num_warmup=0, thinning=1)
        _, path = jax.lax.scan(lambda w, index: (step(index, w),) * 2, start, jnp.arange(3))
        return moments, path

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(run))(sequences))


def test_swags_expected_covariance_is_the_average_over_all_walks(six, walks):
    _, _, s, _ = six
    moments, snapshots = walks
    np.testing.assert_allclose(moments.mean, snapshots.mean(1), rtol=1e-12)
    np.testing.assert_allclose(moments.variance, snapshots.var(1), rtol=1e-9)
    last = (snapshots - snapshots.mean(1, keepdims=True))[:, 1:]
    np.testing.assert_allclose(np.sort(moments.deviations, 1), np.sort(last, 1), atol=1e-12)
    path = sgd.path(sgd.descent(s.posterior[1], 0.05, sgd.gradient_noise(s, 1)), 0, 1, 3)
    each = [np.diag(v) / 2 + d.T @ d / 2 for v, d in zip(moments.variance, moments.deviations)]  # K − 1 = 1
    np.testing.assert_allclose(sgd.swag_covariance(path, 2), np.mean(each, 0), rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(path.of_mean, np.cov(moments.mean.T, bias=True), rtol=1e-11, atol=1e-14)
    extra = sgd.swag_covariance(path, 2, num_members=4) - sgd.swag_covariance(path, 2)
    np.testing.assert_allclose(extra, 0.75 * path.of_mean, atol=1e-14)


def test_the_pooled_covariance_is_the_average_over_all_pairs_of_walks(six, walks):
    _, _, s, _ = six
    snapshots = walks[1]
    path = sgd.path(sgd.descent(s.posterior[1], 0.05, sgd.gradient_noise(s, 1)), 0, 1, 3)
    pairs = np.concatenate([np.repeat(snapshots, 216, 0), np.tile(snapshots, (216, 1, 1))], 1)  # [216², 6, P]
    centred = pairs - pairs.mean(1, keepdims=True)
    average = np.einsum("bti,btj->ij", centred, centred) / 5 / len(pairs)
    np.testing.assert_allclose(sgd.pooled_covariance(path, 2), average, rtol=1e-10, atol=1e-14)


def test_a_path_with_warm_up_and_thinning_is_every_third_of_a_whole_one(six):
    _, _, s, _ = six
    recursion = sgd.hamiltonian(s.posterior[1], 0.01, 0.3, sgd.gradient_noise(s, 2))
    whole, thinned = sgd.path(recursion, 0, 1, 14), sgd.path(recursion, 2, 3, 4)
    np.testing.assert_allclose(thinned.each, whole.each[4::3], rtol=1e-12)
    long = sgd.path(recursion, 3000, 1, 2)
    np.testing.assert_allclose(long.each[-1], sgd.stationary(recursion), rtol=1e-10)


def test_swags_covariance_tends_to_half_the_diagonal_and_half_of_s_and_not_to_the_posterior(six):
    _, _, s, _ = six
    recursion = sgd.descent(s.posterior[1], 0.01, sgd.gradient_noise(s, 2))
    S = sgd.stationary(recursion)
    limit = np.diag(np.diag(S)) / 2 + S / 2
    gaps = [
        sgd.swag_covariance(sgd.path(recursion, 2000, 30, n), n) - limit for n in (1000, 2000)
    ]  # K = T: Cov(w̄) and what the divisors take are O(1/T)
    np.testing.assert_allclose(2 * gaps[1], gaps[0], atol=2e-3 * np.abs(gaps[0]).max())
    np.testing.assert_allclose(limit + 2 * gaps[1] - gaps[0], limit, rtol=1e-5)  # extrapolated to T = ∞
    assert np.max(np.abs(np.diag(limit) * np.diag(s.posterior[1]) - 1)) > 0.2


@pytest.mark.parametrize("replace", [True, False])
def test_batches_are_uniform(replace):
    """χ² of 6,000 batches of two over all pairs, at level 1e-5."""
    keys = jax.random.split(jax.random.key(1), 6000)
    rows = np.asarray(jax.jit(jax.vmap(lambda key: sample_rows(key, 6, 2, replace)))(keys))
    if not replace:
        rows = np.sort(rows, 1)
        assert np.all(rows[:, 0] != rows[:, 1])
    counts = [np.sum(np.all(rows == pair, 1)) for pair in PAIRS[replace]]
    assert sum(counts) == 6000 and stats.chisquare(counts).pvalue > 1e-5


def z_scores(values, expected):
    """Of the mean over replications [R, …]."""
    return (values.mean(0) - expected) / (values.std(0, ddof=1) / np.sqrt(len(values)))


def gaussian_target(a):
    return Target(lambda key: jnp.zeros(1), lambda w, data: -0.5 * jnp.sum(a * w**2), lambda w: {"w": w})


def test_chains_have_the_predicted_variance_and_not_the_posteriors():
    a, step, num_chains = 2.0, 0.6, 20_000
    size = {"num_draws": num_chains, "num_chains": num_chains, "num_warmup": 40, "thinning": 1}
    run = jax.jit(lambda key: sgld(key, gaussian_target(a), None, start=jnp.zeros(1), step_size=step, **size))
    posterior = run(jax.random.key(0))
    squares = np.asarray(posterior.draws) ** 2
    expected = 1 / a / (1 - step * a / 4)
    assert abs(z_scores(squares, expected)) < Z
    assert z_scores(squares, 1 / a) > 2 * Z
    assert not posterior.info["diverged"].any() and posterior.info["num_steps"] == 41 * num_chains


def test_minibatch_chains_have_the_predicted_covariance(six):
    model, data, s, unravel = six
    mean, precision = s.posterior
    step = 0.03
    size = {"num_draws": 10_000, "num_chains": 10_000, "num_warmup": 60, "thinning": 1, "batch_size": 2}
    start = unravel(jnp.asarray(mean))
    run = jax.jit(lambda key: sgld(key, model, data, start=start, step_size=step, **size).draws)
    draws = jax.vmap(lambda p: ravel_pytree(p)[0])(run(jax.random.key(0)))
    ahead = np.asarray(draws) - mean
    S = sgd.path(sgd.langevin(precision, step, sgd.gradient_noise(s, 2)), 60, 1, 1).each[0]
    products = np.stack([ahead[:, i] * ahead[:, j] for i in range(3) for j in range(i + 1)], 1)
    expected = [S[i, j] for i in range(3) for j in range(i + 1)]
    assert np.all(np.abs(z_scores(products, expected)) < Z) and np.all(np.abs(z_scores(ahead, 0)) < Z)
    full = sgd.langevin_covariance(precision, step)
    assert np.max(np.abs(z_scores(products, [full[i, j] for i in range(3) for j in range(i + 1)]))) > 2 * Z


TRIALS = {
    "sgld": (sgld, {"num_draws": 400, "num_warmup": 300}),
    "sghmc": (sghmc, {"num_draws": 200, "num_warmup": 100, "num_chains": 2, "batch_size": 5, "replace": False}),
    "swag": (swag, {"num_draws": 50, "num_snapshots": 60, "thinning": 5}),
    "multi_swag": (multi_swag, {"num_draws": 60, "num_members": 3, "num_snapshots": 40, "thinning": 5}),
}


@pytest.mark.parametrize("name", TRIALS)
def test_runs_on_a_regression_have_the_variances_that_the_limit_says(name):
    """128 runs as the harness makes them, the variances of all queries as it pools them; default step sizes."""
    run, settings = TRIALS[name]
    problem = build_problem("linear", None)
    limit = getattr(limits, name)(Method(name, run, settings), problem)
    mean = jnp.asarray(problem.linear.posterior[0])  # (weights, bias)
    mode = {"weight": mean[:-1], "bias": mean[-1]}
    settings = {**settings, "fit": lambda objective, params: (mode, {})}
    query = lambda key: jax.vmap(problem.query)(run(key, problem.model, problem.data, **settings).draws)
    values = np.asarray(jax.jit(lambda keys: jax.lax.map(query, keys))(jax.random.split(jax.random.key(5), 128)))
    means, variances = values.mean(1), values.var(1, ddof=1)
    assert np.all(np.abs(z_scores(means, limit.reference.mean)) < Z)
    ahead = z_scores(variances, limit.reference.sd**2)
    assert np.all(np.abs(ahead) < Z), ahead
    assert np.max(np.abs(z_scores(variances, problem.reference.sd**2))) > Z


def test_limits_exist_only_for_gaussian_posteriors_and_constant_steps():
    network, problem = build_problem("network_one_unit", None), build_problem("linear", None)
    for name, (run, _) in TRIALS.items():
        assert getattr(limits, name)(Method(name, run, {}), network) is None
    assert limits.sgld(Method("sgld", sgld, {"num_cycles": 2}), problem) is None


def test_sghmc_without_memory_is_sgld_under_cycles_too(six):
    model, data, _, _ = six
    start = {"weight": jnp.ones(2), "bias": jnp.zeros(())}
    settings = {"num_draws": 12, "num_warmup": 4, "thinning": 2, "num_cycles": 2, "step_size": 0.1, "batch_size": 3}
    run = lambda method, **more: jax.jit(lambda k: method(k, model, data, start=start, **settings, **more))
    overdamped, plain = run(sghmc, friction=1.0)(jax.random.key(0)), run(sgld)(jax.random.key(0))
    for a, b in zip(jax.tree.leaves(overdamped.draws), jax.tree.leaves(plain.draws)):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    assert plain.info["final_step_size"][0] < 0.01 * plain.info["step_size"][0]


def test_a_cycle_is_a_cosine_that_explores_without_noise_and_then_draws():
    plan = schedule("sgld", num_draws=12, num_warmup=4, thinning=2, num_chains=2, num_cycles=3)
    assert plan.num_draws == 2 and plan.cycle_length == 8 and plan.num_steps == 24
    assert plan.stops.tolist() == [6, 8, 14, 16, 22, 24]
    sizes, heat = jax.vmap(lambda t: plan.at(t, jnp.asarray(2.0)))(jnp.arange(24))
    np.testing.assert_allclose(sizes, np.tile(1 + np.cos(np.pi * np.arange(8) / 8), 3), rtol=1e-12)
    assert heat.tolist() == [0.0] * 4 + [1.0] * 4 + [0.0] * 4 + [1.0] * 4 + [0.0] * 4 + [1.0] * 4
    constant = schedule("sgld", num_draws=12, num_warmup=4, thinning=2, num_chains=2, num_cycles=None)
    assert constant.stops.tolist() == [6, 8, 10, 12, 14, 16] and constant.at(0, jnp.asarray(2.0)) == (2.0, 1.0)


@pytest.fixture(scope="module")
def checkpoints():
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.standard_normal((9, 4)), 0)
    return {"a": jnp.asarray(walk[:, :1]), "b": jnp.asarray(walk[:, 1:])}, walk


def test_swag_from_checkpoints_draws_from_the_density_it_states(checkpoints):
    """log_q is that of N(w̄, ½ diag(s) + ½ DDᵀ/(K−1)); draws' squared distances are χ², at level 1e-5."""
    saved, walk = checkpoints
    run = jax.jit(lambda key, saved: swag_from_checkpoints(key, saved, num_draws=4000, rank=3))
    posterior = run(jax.random.key(0), saved)
    last = walk[-3:] - walk.mean(0)
    law = stats.multivariate_normal(walk.mean(0), np.diag(walk.var(0)) / 2 + last.T @ last / 4)
    draws = np.concatenate([posterior.draws["a"], posterior.draws["b"]], 1)
    np.testing.assert_allclose(posterior.info["log_q"], law.logpdf(draws), rtol=1e-10)
    z = (draws - law.mean) @ np.linalg.cholesky(np.linalg.inv(law.cov))
    assert stats.kstest((z**2).sum(1), stats.chi2(4).cdf).pvalue > 1e-5
    products = np.stack([z[:, i] * z[:, j] for i in range(4) for j in range(i + 1)], 1)
    assert np.all(np.abs(z_scores(products, np.eye(4)[np.tril_indices(4)])) < Z)
    # a parameter that never moves is counted, and leaves no density
    frozen = run(jax.random.key(0), {**saved, "a": jnp.zeros((9, 1))})
    assert int(posterior.info["num_frozen"]) == 0 and int(frozen.info["num_frozen"]) == 1
    assert np.isnan(frozen.info["log_q"]).all() and np.all(np.asarray(frozen.draws["a"]) == 0)


def test_checkpoints_and_a_walk_through_them_are_one(checkpoints):
    _, walk = checkpoints
    along = moments_along(
        lambda t, w: jnp.asarray(walk)[t], jnp.zeros(4), num_snapshots=9, rank=4, num_warmup=0, thinning=1
    )
    np.testing.assert_allclose(along.mean, walk.mean(0), rtol=1e-12)
    np.testing.assert_allclose(along.variance, walk.var(0), rtol=1e-12)
    last = walk[-4:] - walk.mean(0)
    np.testing.assert_allclose(along.deviations.T @ along.deviations, last.T @ last, rtol=1e-11, atol=1e-12)


def test_a_diverging_member_is_named_and_the_others_share_its_draws(six):
    model, data, _, _ = six

    def fit(objective, params):  # fails from some starting points
        return jax.tree.map(lambda leaf: jnp.where(params["weight"][0] > 0, leaf, jnp.nan), params), {}

    run = jax.jit(lambda key: multi_swag(key, model, data, num_members=6, num_draws=20, num_snapshots=30, fit=fit))
    posterior = run(jax.random.key(0))
    diverged = np.asarray(posterior.info["diverged"])
    assert 0 < diverged.sum() < 6
    assert not diverged[posterior.info["member"]].any()
    assert set(np.asarray(posterior.info["member"])) == set(np.flatnonzero(~diverged))
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(posterior.draws))
    assert jnp.isfinite(posterior.info["log_q"]).all()


def test_a_step_beyond_stability_is_reported():
    run = jax.jit(lambda key: sgld(key, gaussian_target(2.0), None, start=jnp.ones(1), step_size=40.0, num_draws=2))
    assert run(jax.random.key(0)).info["diverged"].all()


def test_the_largest_curvature_is_the_top_eigenvalue(six):
    precision = jnp.asarray(six[2].posterior[1])
    found = largest_curvature(jax.random.key(0), lambda w: -0.5 * w @ precision @ w, jnp.zeros(3))
    assert float(found) == pytest.approx(np.linalg.eigvalsh(precision)[-1], rel=1e-6)
    assert float(largest_curvature(jax.random.key(0), lambda w: jnp.sum(w), jnp.zeros(3))) == 1.0


def test_swag_of_a_hundred_thousand_parameters_keeps_rank_and_few_more_copies():
    network = mlp([10, 310, 310, 1])
    model = Model(*network, prior=priors.normal(), likelihood=likelihoods.normal(0.1))
    data = Data(jnp.ones((20, 10)), jnp.ones(20))
    start = network.init(jax.random.key(0))
    size = ravel_pytree(start)[0].size
    settings = {"num_draws": 4, "num_snapshots": 6, "rank": 5, "num_warmup": 0, "thinning": 1, "step_size": 1e-6}
    run = jax.jit(lambda key, start: swag(key, model, data, start=start, **settings)).lower(jax.random.key(0), start)
    compiled = run.compile()
    assert size > 100_000 and compiled.memory_analysis().temp_size_in_bytes < 40 * 8 * size
    posterior = compiled(jax.random.key(0), start)
    assert not posterior.info["diverged"] and jnp.isfinite(posterior.info["log_q"]).all()


@pytest.mark.parametrize(
    "run, error, words",
    [
        (partial(sgld, batch_size=7), ValueError, "batch_size is 7 but data has 6 rows"),
        (partial(sgld, batch_size=0), ValueError, "batch_size is 0"),
        (partial(sgld, num_draws=7, num_chains=2), ValueError, "multiple of num_chains"),
        (partial(sgld, num_draws=6, num_cycles=4), ValueError, "multiple of num_chains"),
        (partial(sgld, step_size=-0.1), ValueError, "step_size is -0.1"),
        (partial(sghmc, friction=0.0), ValueError, "friction is 0.0"),
        (partial(sghmc, friction=1.5), ValueError, "friction is 1.5"),
        (partial(sgld, start={"weight": jnp.ones(3), "bias": jnp.zeros(())}), ValueError, "params"),
        (partial(swag, rank=1), ValueError, "rank is 1"),
        (partial(swag, rank=11, num_snapshots=10), ValueError, "rank is 11"),
        (partial(swag, batch_size=7), ValueError, "batch_size is 7"),
        (partial(multi_swag, num_members=1), ValueError, "num_members is 1"),
    ],
)
def test_bad_settings_are_named(six, run, error, words):
    with pytest.raises(error, match=words):
        run(jax.random.key(0), six[0], six[1])


def test_bad_checkpoints_are_named():
    with pytest.raises(ValueError, match="at least 2"):
        swag_from_checkpoints(jax.random.key(0), {"a": jnp.ones((1, 3))})
    with pytest.raises(ValueError, match="leading axis"):
        swag_from_checkpoints(jax.random.key(0), {"a": jnp.ones((4, 3)), "b": jnp.ones((3, 3))})
    with pytest.raises(ValueError, match="checkpoint 2 is not finite"):
        swag_from_checkpoints(jax.random.key(0), {"a": jnp.ones((4, 3)).at[2, 1].set(jnp.nan)})
    with pytest.raises(ValueError, match="rank is 5"):
        swag_from_checkpoints(jax.random.key(0), {"a": jnp.ones((4, 3))}, rank=5)


def test_a_density_alone_has_no_minibatches():
    for method in (partial(sgld, batch_size=2), partial(sghmc, batch_size=2), swag, multi_swag):
        with pytest.raises(NotApplicable):
            method(jax.random.key(0), gaussian_target(1.0), None)
