"""Exact moments of stochastic gradients, against fixed points and averages over all batches and walks of six rows."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg, stats

from probjax.inference.sghmc import update as sghmc_update
from probjax.inference.sgld import update as sgld_update
from probjax.inference.snapshots import moments_along
from probjax.inference.stochastic_gradients import row_gradient, sample_rows
from probjax.inference.swag import update as swag_update
from verification.exact import sgd

PAIRS = {
    True: list(itertools.product(range(6), repeat=2)),
    False: list(itertools.combinations(range(6), 2)),
}


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
