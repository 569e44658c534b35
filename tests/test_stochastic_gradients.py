"""SGLD, SGHMC and SWAG have the moments that linear algebra gives them, and those are not the posterior's."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy import stats

from probjax import Data, Model, NotApplicable, Target, likelihoods, mlp, priors
from probjax.inference.sghmc import sghmc
from probjax.inference.sgld import sgld
from probjax.inference.snapshots import moments_along
from probjax.inference.stochastic_gradients import largest_curvature, schedule
from probjax.inference.swag import multi_swag, swag, swag_from_checkpoints
from verification.exact import sgd
from verification.limits import stochastic_gradients as limits
from verification.methods import Method
from verification.work import build_problem

Z = 4.5  # two-sided false-alarm rate 7e-6 a comparison; about 40 of them below


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
