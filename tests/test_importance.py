"""Importance weights: Pareto's k, resampling, the evidence, and corrected approximations."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, special, stats

from probjax import NotApplicable, Posterior, ensemble, importance_corrected, map_estimate, pareto_smoothed, stein
from probjax.inference.importance import systematic
from verification.checks.importance import generalised_pareto_shape, pareto_k


@pytest.fixture(scope="module")
def smooth():
    return jax.jit(pareto_smoothed)


def tails(rng, num):
    for k in (0.2, 0.6, 1.4):
        yield -k * np.log(rng.uniform(size=num)) + 50  # Pareto ratios of index k; a constant does not matter
    yield -((3 * rng.standard_normal(num)) ** 2)  # bounded
    yield rng.standard_normal(num) - 800  # beneath exp's reach, but for the constant
    yield np.round(rng.standard_normal(num), 1)  # ties, some with the cutoff
    yield np.where(rng.uniform(size=num) < 0.3, -np.inf, rng.standard_normal(num))  # weights of zero


def scale_of(excess):
    """σ of the fitted tail from its k by another way than θ's grid: mean log(1 + kx/σ) = k."""
    k = generalised_pareto_shape(excess, weakly_informed=False)
    bounds = (1e-12, 1e12) if k > 0 else (-(1 - 1e-13) / excess.max(), -1e-12)
    return k / optimize.brentq(lambda t: np.log1p(excess * t).mean() - k, *bounds, xtol=1e-300, rtol=1e-14)


@pytest.mark.parametrize("num", [25, 2000])
def test_k_is_that_of_the_verifier_and_the_tail_its_expected_order_statistics(num, smooth):
    for log_weights in tails(np.random.default_rng(num), num):
        smoothed, k = map(np.asarray, smooth(log_weights))
        assert k == pytest.approx(pareto_k(log_weights), rel=1e-10, abs=1e-10)
        order = np.argsort(log_weights, kind="stable")
        size = int(min(num / 5, 3 * np.sqrt(num)))
        weights = np.exp(log_weights - log_weights.max())
        cutoff = weights[order[-size - 1]]
        excess = weights[order[-size:]] - cutoff
        tail = order[-size:][excess > 0]
        excess = excess[excess > 0]
        if len(excess) < 5:
            np.testing.assert_array_equal(smoothed, log_weights)
            continue
        scale = scale_of(excess)
        expected = cutoff + stats.genpareto.ppf((np.arange(len(excess)) + 0.5) / len(excess), k, scale=scale)
        np.testing.assert_allclose(smoothed[tail], np.log(np.minimum(expected, 1)) + log_weights.max(), rtol=1e-8)
        np.testing.assert_array_equal(np.delete(smoothed, tail), np.delete(log_weights, tail))


def test_equal_weights_have_no_tail_and_no_number_is_no_weight(smooth):
    for value in (0.0, 3.0):
        smoothed, k = smooth(np.full(200, value))
        assert float(k) == -np.inf and (np.asarray(smoothed) == value).all()
    for bad in (np.nan, np.inf):
        assert float(smooth(np.r_[np.zeros(199), bad])[1]) == np.inf
    with pytest.raises(ValueError, match=r"shape \(24,\) but must be \[S\] with S at least 25"):
        pareto_smoothed(jnp.zeros(24))


# --- importance correction


def test_laplace_where_it_is_exact_stays_as_it_is(regression, exact):
    model, data, *_ = regression
    info = jax.jit(lambda key: importance_corrected(key, model, data).info)(jax.random.key(0))
    assert float(info["ess"]) == pytest.approx(4000, rel=1e-10)
    assert float(info["log_evidence"]) == pytest.approx(exact[2], abs=1e-8)
    assert float(info["pareto_k"]) < 0.7 and int(info["num_nonfinite"]) == 0  # rounding's own tail
    assert "log_q" not in info and bool(info["converged"])


@pytest.fixture(scope="module")
def replications(regression, exact):
    """64 corrections of N(m + ½ sd, 1.4² Σ), a wrong posterior, each of 2000 proposals."""
    model, data, *_ = regression
    mean, covariance, _ = map(jnp.asarray, exact)
    loc, root = mean + 0.5 * jnp.sqrt(jnp.diag(covariance)), 1.4 * jnp.linalg.cholesky(covariance)

    def wide(key, model, data, *, num_draws):
        z = jax.random.normal(key, (num_draws, 4))
        w = loc + z @ root.T
        log_q = -0.5 * jnp.sum(z**2, 1) - jnp.sum(jnp.log(jnp.diag(root))) - 2 * jnp.log(2 * jnp.pi)
        return Posterior({"weight": w[:, :3], "bias": w[:, 3]}, {"log_q": log_q})

    run = lambda key: importance_corrected(key, model, data, method=wide, num_draws=500, num_proposals=2000)
    return jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(2), 64))


def z_score(values, expected):
    return (values.mean(0) - expected) / (values.std(0, ddof=1) / np.sqrt(len(values)))


def test_the_importance_estimate_of_the_evidence_is_the_closed_one(replications, exact):
    ratio = np.exp(np.asarray(replications.info["log_evidence"]) - exact[2])
    assert ratio.std() > 1e-3 and abs(z_score(ratio, 1.0)) < stats.t(63).isf(0.5e-6)
    # the error it states is the error it makes
    stated = np.asarray(replications.info["log_evidence_se"])
    spread = 63 * ratio.var(ddof=1) / np.mean(stated**2)
    assert stats.chi2(63).ppf(0.5e-6) < spread < stats.chi2(63).isf(0.5e-6)
    assert (np.asarray(replications.info["pareto_k"]) < 0.7).all()


def test_resampled_draws_have_the_moments_of_the_posterior(replications, exact, weights):
    draws = weights(replications.draws)
    assert draws.shape == (64, 500, 4)
    limit = stats.t(63).isf(0.5e-6 / 8)
    whitened = np.linalg.solve(np.linalg.cholesky(exact[1]), (draws - exact[0]).reshape(-1, 4).T).T.reshape(64, 500, 4)
    assert (np.abs(z_score(whitened.mean(1), 0.0)) < limit).all()
    assert (np.abs(z_score((whitened**2).mean(1), 1.0)) < limit).all()


def test_systematic_resampling_takes_each_its_share_to_within_one():
    weights = np.random.default_rng(0).dirichlet(np.full(30, 0.3))
    keys = jax.random.split(jax.random.key(0), 400)
    chosen = np.asarray(jax.vmap(lambda key: systematic(key, jnp.asarray(weights), 100))(keys))
    counts = np.stack([np.bincount(row, minlength=30) for row in chosen])
    assert counts.shape == (400, 30) and (np.abs(counts - 100 * weights) < 1).all()
    share, part = counts.mean(0) - 100 * weights, (100 * weights) % 1
    assert (np.abs(share) < stats.norm.isf(0.5e-6 / 30) * np.sqrt(part * (1 - part) / 400) + 1e-9).all()


def test_correction_moves_a_laplace_approximation_of_a_skewed_posterior_to_the_exact_mean(density):
    """log of a Gamma(10, 1): mean ψ(10), mode log 10, evidence Γ(10)."""
    skewed = density(lambda w: 10 * w[0] - jnp.exp(w[0]))
    run = lambda key: importance_corrected(key, skewed, None, num_draws=2000)
    posterior = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(5), 32))
    means, bias = np.asarray(posterior.draws)[..., 0].mean(1), np.log(10) - special.digamma(10)
    error = means.std(ddof=1) / np.sqrt(32)
    assert error < bias / 20
    assert abs(means.mean() - special.digamma(10)) < stats.t(31).isf(0.5e-6) * error
    evidence = np.asarray(posterior.info["log_evidence"])
    plain = 10 * np.log(10) - 10 + 0.5 * np.log(2 * np.pi / 10)  # Laplace's, which is Stirling's
    assert abs(evidence.mean() - special.gammaln(10)) < 0.1 * abs(plain - special.gammaln(10))


def test_what_has_no_density_is_not_applicable(regression):
    model, data, *_ = regression
    without = lambda key, model, data, *, num_draws: Posterior(jnp.zeros((num_draws, 1)), {})
    with pytest.raises(NotApplicable, match="reports no log_q"):
        importance_corrected(jax.random.key(0), model, data, method=without)
    for method in (map_estimate, partial(ensemble, num_members=2), stein):
        with pytest.raises(NotApplicable, match="takes no num_draws"):
            importance_corrected(jax.random.key(0), model, data, method=method)
    with pytest.raises(ValueError, match="num_proposals is 10 but must be an integer, at least 25"):
        importance_corrected(jax.random.key(0), model, data, num_proposals=10)


def test_a_weight_that_is_no_number_is_counted_and_never_trusted(density):
    def run(key, broken):
        def method(key, model, data, *, num_draws):
            z = jax.random.normal(key, (num_draws, 1))
            return Posterior(z, {"log_q": jnp.where(broken, jnp.nan, -0.5 * z[:, 0] ** 2)})

        standard = density(lambda w: -0.5 * jnp.sum(w**2))
        return importance_corrected(key, standard, None, method=method, num_draws=50, num_proposals=100)

    run = jax.jit(run)
    for count in (3, 100):
        draws, info = run(jax.random.key(0), jnp.arange(100) < count)
        assert int(info["num_nonfinite"]) == count and float(info["pareto_k"]) == np.inf
        assert np.isfinite(draws).all() == (count < 100)
        assert float(info["ess"]) == pytest.approx(100 - count)
