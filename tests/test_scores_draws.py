"""Scores from draws, probability integral transforms and coverage: exact limits, and exact finite-sample laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from probjax import scores

RNG = np.random.default_rng(0)
S, N = 13, 5
DRAWS, Y = RNG.standard_normal((S, N)) * 2 + 100, RNG.standard_normal(N) + 100
DRAWS[3] = DRAWS[4]  # ties


@pytest.mark.parametrize("fair", [True, False])
def test_crps_from_draws_is_the_sum_over_pairs(fair):
    pairs = np.abs(DRAWS[:, None] - DRAWS[None]).sum((0, 1)) / (S * (S - fair))
    expected = np.abs(DRAWS - Y).mean(0) - 0.5 * pairs
    np.testing.assert_allclose(scores.crps_from_draws(DRAWS, Y, fair=fair), expected, rtol=1e-12)
    traced = jax.jit(lambda draws: scores.crps_from_draws(draws, Y, fair=fair))
    np.testing.assert_allclose(traced(DRAWS), expected, rtol=1e-12)
    energy = scores.energy_score_from_draws(DRAWS[:, :, None], Y[:, None], fair=fair)
    np.testing.assert_allclose(energy, expected, rtol=1e-12)


def test_the_plain_score_is_the_integral_of_the_empirical_law():
    cuts = np.sort(np.append(DRAWS[:, 0], Y[0]))
    middle = (cuts[1:] + cuts[:-1]) / 2
    ecdf = (DRAWS[:, :1] <= middle).mean(0)
    expected = np.sum(np.diff(cuts) * (ecdf - (middle >= Y[0])) ** 2)
    np.testing.assert_allclose(scores.crps_from_draws(DRAWS, Y, fair=False)[0], expected, rtol=1e-12)


def test_the_fair_score_is_unbiased_and_the_plain_one_is_not():
    """Against the normal's closed form: 20,000 pairs of draws, 4.5 standard errors: 1 of 10⁵ runs fails by chance."""
    draws = np.random.default_rng(2).standard_normal((2, 20_000))
    y = np.full(20_000, 0.4)
    truth = float(scores.crps_normal(0.0, 1.0, y[:1])[0])
    fair = scores.mean_and_standard_error(scores.crps_from_draws(draws, y))
    plain = scores.mean_and_standard_error(scores.crps_from_draws(draws, y, fair=False))
    assert abs(fair.mean - truth) < 4.5 * fair.standard_error
    excess = 2 / np.sqrt(np.pi) / (2 * 2)  # E|X − X′|/2S
    assert abs(plain.mean - truth - excess) < 4.5 * plain.standard_error


def test_energy_score_is_the_sum_over_pairs_and_has_a_derivative():
    draws, y = RNG.standard_normal((6, 3, 2)), RNG.standard_normal((3, 2))
    norm = lambda x: np.sqrt((x**2).sum(-1)) ** 1.3
    expected = norm(draws - y).mean(0) - 0.5 * norm(draws[:, None] - draws[None]).sum((0, 1)) / 30
    np.testing.assert_allclose(scores.energy_score_from_draws(draws, y, 1.3), expected, rtol=1e-12)
    total = jax.jit(lambda draws: jnp.sum(scores.energy_score_from_draws(draws, y, 1.3)))
    direction = RNG.standard_normal(draws.shape)
    slope = (total(draws + 1e-6 * direction) - total(draws - 1e-6 * direction)) / 2e-6
    assert float(jnp.vdot(jax.grad(total)(draws), direction)) == pytest.approx(float(slope), rel=1e-7)


def test_a_point_forecast_scores_its_distance():
    draws = np.tile(Y + 3, (4, 1))
    for fair in (True, False):
        np.testing.assert_allclose(scores.crps_from_draws(draws, Y, fair=fair), 3, rtol=1e-12)


def test_the_randomised_pit_is_uniform_for_counts_and_the_plain_one_is_not():
    """Kolmogorov–Smirnov at level 10⁻⁴ on 5000 Poisson counts."""
    y = np.random.default_rng(3).poisson(1.5, 5000)
    below, upto = stats.poisson.cdf(y - 1, 1.5), stats.poisson.cdf(y, 1.5)
    pit = np.asarray(scores.randomised_pit(jax.random.key(0), below, upto))
    assert np.all((pit >= below) & (pit <= upto))
    assert stats.kstest(pit, "uniform").pvalue > 1e-4
    assert stats.kstest(upto, "uniform").pvalue < 1e-12


def test_the_pit_of_few_draws_is_uniform_with_ties_too():
    rng = np.random.default_rng(4)
    draws = np.round(rng.standard_normal((4, 5000)))
    y = np.round(rng.standard_normal(5000))
    pit = np.asarray(scores.pit_from_draws(jax.random.key(1), draws, y))
    assert stats.kstest(pit, "uniform").pvalue > 1e-4
    assert stats.kstest((draws <= y).mean(0), "uniform").pvalue < 1e-12
    assert stats.kstest(scores.pit_from_draws(jax.random.key(1), draws + 1, y), "uniform").pvalue < 1e-12


def test_coverage_is_wilsons_and_ends_belong():
    lower, upper, y = np.zeros(20), np.ones(20), np.append(np.linspace(0, 1, 17), [2.0, -1.0, 1.1])
    ours = scores.coverage(lower, upper, y)
    interval = stats.binomtest(17, 20).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose([ours.lower, ours.upper], [interval.low, interval.high], rtol=1e-12)
    assert float(ours.proportion) == pytest.approx(0.85, rel=1e-12)
    assert float(ours.standard_error) == pytest.approx(np.sqrt(0.85 * 0.15 / 19), rel=1e-12)
    twice = scores.coverage(lower, upper, y, np.full(20, 3.0))
    np.testing.assert_allclose(twice, ours, rtol=1e-12)
    everything = scores.coverage(-9.0, 9.0, y)
    assert float(everything.standard_error) == 0 and float(everything.lower) < 0.9


def test_central_intervals_are_quantiles_and_sharpness_their_width():
    interval = scores.central_interval(DRAWS, 0.8)
    np.testing.assert_allclose(interval, np.quantile(DRAWS, [0.1, 0.9], axis=0), rtol=1e-12)
    np.testing.assert_allclose(scores.sharpness(*interval), interval.upper - interval.lower, rtol=1e-12)


BAD = [
    (lambda: scores.crps_from_draws(DRAWS.T, Y), "draws and y have shapes"),
    (lambda: scores.crps_from_draws(DRAWS[:1], Y), "one draw has no fair score"),
    (lambda: scores.crps_from_draws(DRAWS * np.nan, Y), "draws"),
    (lambda: scores.energy_score_from_draws(DRAWS[:, :, None], Y[:, None], 2.0), "strictly between 0 and 2"),
    (lambda: scores.randomised_pit(jax.random.key(0), np.array([0.5]), np.array([0.2])), "above upper"),
    (lambda: scores.randomised_pit(jax.random.key(0), np.array([0.5]), np.array([1.2])), r"in \[0, 1\]"),
    (lambda: scores.central_interval(DRAWS, 95), "strictly between 0 and 1"),
    (lambda: scores.coverage(np.ones((N, 1)), np.ones(N), Y), "lower has shape"),
]


@pytest.mark.parametrize("call, message", BAD)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
