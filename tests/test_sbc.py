"""Simulation-based calibration passes the exact posterior and fails wrong ones, the prior among them; its p-values are
exact."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from probjax import Model, NotApplicable, Posterior, likelihoods, linear, priors
from verification.checks.power import power_curve, smallest_effect
from verification.sbc import LOG_LIKELIHOOD, calibration, uniform_p_value

NUM_DRAWS, NOISE = 19, 0.8
MODEL = Model(*linear(2), prior=priors.normal(0.0, 1.5), likelihood=likelihoods.normal(NOISE))
X = jnp.asarray(np.random.default_rng(0).standard_normal((6, 2)))
NAMES = ("w[0]", "w[1]", "bias")


def query(params):
    return jnp.append(params["weight"], params["bias"])


def conjugate(widen=1.0, shift=0.0):
    """A method: the exact posterior, its sd scaled and its mean shifted by posterior sds."""

    def method(key, model, data):
        design = jnp.column_stack([data.x, jnp.ones(len(data.x))])
        precision = design.T @ design / NOISE**2 + jnp.eye(3) / 1.5**2
        mean = jnp.linalg.solve(precision, design.T @ data.y / NOISE**2)
        root = jnp.linalg.cholesky(jnp.linalg.inv(precision))
        w = mean + (shift + widen * jax.random.normal(key, (NUM_DRAWS, 3))) @ root.T
        return Posterior({"weight": w[:, :2], "bias": w[:, 2]}, {})

    return method


def prior_as_posterior(key, model, data):
    like = model.init(key)
    return Posterior(jax.vmap(lambda k: model.prior.sample(k, like))(jax.random.split(key, NUM_DRAWS)), {})


def run(method, seed=0, num_simulations=300, **settings):
    return calibration(
        jax.random.key(seed), method, MODEL, X, query=query, names=NAMES, num_simulations=num_simulations, **settings
    )


def test_the_exact_posterior_is_calibrated():
    found = run(conjugate())
    assert found.calibrated and found.reason == ""
    assert found.names == (*NAMES, LOG_LIKELIHOOD) and found.ranks.shape == (300, 4)
    assert found.ranks.min() == 0 and found.ranks.max() == NUM_DRAWS


@pytest.mark.parametrize(
    "method, words",
    [
        (conjugate(widen=0.5), "not uniform"),
        (conjugate(widen=2.0), "not uniform"),
        (conjugate(shift=0.6), "not uniform"),
    ],
    ids=["overconfident", "underconfident", "biased"],
)
def test_wrong_posteriors_are_not_calibrated(method, words):
    found = run(method)
    assert not found.calibrated and words in found.reason


def test_the_prior_for_the_posterior_is_caught_by_the_log_likelihood_alone():
    found = run(prior_as_posterior)
    assert np.all(found.p_value[:-1] * 3 > 1e-3)  # of parameters alone the prior is calibrated
    assert not found.calibrated and found.reason.startswith(f"ranks of {LOG_LIKELIHOOD} are not uniform")


def test_discrete_quantities_are_calibrated_with_ties_broken_at_random():
    found = calibration(
        jax.random.key(1), conjugate(), MODEL, X, query=lambda p: (query(p) > 0) * 1.0, names=NAMES, num_simulations=200
    )
    assert found.calibrated and found.p_value.min() > 1e-3


@pytest.mark.parametrize("num, num_ranks", [(50, 9), (200, 19)])
def test_p_values_are_exact_for_discrete_ranks(num, num_ranks):
    """P(p ≤ α) ≤ α, and near it: 1000 simulated sets of uniform ranks."""
    rng, runs = np.random.default_rng(num), 1000
    p = np.array([uniform_p_value(rng.integers(0, num_ranks + 1, num), num_ranks) for _ in range(runs)])
    for alpha in (0.5, 0.1, 0.01):
        beyond = (p <= alpha).sum()
        assert stats.binom.sf(beyond - 1, runs, alpha) > 1e-4, (alpha, beyond)
        assert stats.binom.cdf(beyond, runs, 0.6 * alpha) > 1e-4, (alpha, beyond)


def test_p_values_agree_with_the_binomial_where_there_is_one_draw():
    """L = 1: the ranks are coin tosses."""
    for ones in (0, 3, 11, 20):
        ranks = np.r_[np.ones(ones, int), np.zeros(40 - ones, int)]
        assert uniform_p_value(ranks, 1) == pytest.approx(stats.binomtest(ones, 40).pvalue, rel=1e-9)
    assert uniform_p_value(np.zeros(300, int), 1) == pytest.approx(2.0**-299, rel=1e-6)  # its digits are kept


def test_how_small_a_miscalibration_is_found():
    """N = 200 ranks of L = 19 draws, α = 10⁻⁶: 0 of 100 false alarms; power 0.99 at half the sd and at a bias of 0.6 sd
    (0.45 of the sd and 0.7 here, for room). With N = 1000 it is 1 at 0.7 of the sd, 0.99 at 0.3 sd (100 runs)."""

    def alarm_of(num, scaled):
        def alarm(rng, effect):
            loc, scale = (0.0, 1 - effect) if scaled else (effect, 1.0)
            # truth and draws share a posterior N(0, 1); the draws are wrong
            draws = loc + scale * rng.standard_normal((num, 19))
            return uniform_p_value((draws < rng.standard_normal((num, 1))).sum(1), 19) < 1e-6

        return alarm

    for num, runs, scaled, effect in ((200, 100, True, 0.55), (200, 100, False, 0.7)):
        power = power_curve(alarm_of(num, scaled), [0.0, effect], runs=runs, rng=np.random.default_rng(3))
        assert power[0] == 0 and smallest_effect([0.0, effect], power) == effect, (num, scaled, power)


def test_what_cannot_be_simulated_is_refused():
    flat = MODEL._replace(prior=priors.flat())
    with pytest.raises(NotApplicable, match="draws params from the prior"):
        calibration(jax.random.key(0), conjugate(), flat, X, query=query, names=NAMES)
    with pytest.raises(ValueError, match="the method gave 19 draws but num_ranks is 20"):
        run(conjugate(), num_ranks=20)
    with pytest.raises(ValueError, match="query gives 3 numbers but there are 2 names"):
        calibration(jax.random.key(0), conjugate(), MODEL, X, query=query, names=NAMES[:2], num_simulations=2)
    with pytest.raises(ValueError, match=r"ranks go from 0 to 21; with 19 draws they are 0 … 19"):
        uniform_p_value(np.array([0, 21]), 19)
