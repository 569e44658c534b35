"""Variational families, importance correction, Pareto smoothing and Stein particles: each against what it equals."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoBNAFNormal, AutoIAFNormal
from scipy import optimize, special, stats

from probjax import (
    NotApplicable,
    Posterior,
    Target,
    bnaf,
    ensemble,
    full_rank,
    iaf,
    importance_corrected,
    low_rank,
    map_estimate,
    mean_field,
    pareto_smoothed,
    stein,
    target,
)
from probjax.inference.importance import systematic
from probjax.inference.stein import stein_force
from probjax.inference.variational import flows, gaussian
from probjax.numpyro_adapter import program_from_density
from verification.checks.importance import generalised_pareto_shape, pareto_k
from verification.exact.conjugate import linear_posterior

Z = stats.norm.isf(0.5e-6)  # two-sided false-alarm rate 1e-6 a test


@pytest.fixture(scope="module")
def exact(regression):
    """(mean, covariance, log evidence) of the shared regression."""
    _, data, design, noise, tau = regression
    mean, precision = linear_posterior(design, data.y, noise, tau)
    marginal = tau**2 * design @ design.T + noise**2 * np.eye(len(design))
    return mean, np.linalg.inv(precision), stats.multivariate_normal.logpdf(data.y, np.zeros(len(design)), marginal)


@pytest.fixture(scope="module")
def density():
    """A Target of a function of an array [P], from a standard normal start."""
    return lambda log_prob, size=1: Target(
        lambda key: jax.random.normal(key, (size,)), lambda w, data: log_prob(w), lambda w: {"w": w}
    )


def log_joints(model, data, posterior):
    return np.asarray(jax.vmap(lambda params: target(model).log_joint(params, data))(posterior.draws))


def gaussian_from(draws, log_q):
    """Mean and covariance of the Gaussian whose log-density the quadratic log_q is."""
    size = draws.shape[1]
    i, j = np.triu_indices(size)
    features = np.column_stack([np.ones(len(draws)), draws, draws[:, i] * draws[:, j]])
    coefficients, *_ = np.linalg.lstsq(features, log_q, rcond=None)
    half = np.zeros((size, size))
    half[i, j] = -coefficients[1 + size :]
    covariance = np.linalg.inv(half + half.T)
    return covariance @ coefficients[1 : 1 + size], covariance


@pytest.fixture(scope="module")
def rank_one(regression):
    model, data, *_ = regression
    return jax.jit(lambda key: low_rank(key, model, data, rank=1, num_draws=400))(jax.random.key(0))


def test_low_rank_log_q_is_a_normalised_gaussian_of_one_factor(rank_one, weights):
    draws, log_q = weights(rank_one.draws), np.asarray(rank_one.info["log_q"])
    mean, covariance = gaussian_from(draws, log_q)
    np.testing.assert_allclose(log_q, stats.multivariate_normal.logpdf(draws, mean, covariance), atol=1e-7)
    z = np.linalg.solve(np.linalg.cholesky(covariance), (draws - mean).T)
    assert stats.kstest((z**2).sum(0), stats.chi2(4).cdf).pvalue > 1e-6
    c = covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    # Σ = wwᵀ + D: off the diagonal wᵢwⱼ wₖwₗ = wᵢwₖ wⱼwₗ (Spearman's tetrads)
    np.testing.assert_allclose([c[0, 1] * c[2, 3], c[0, 2] * c[1, 3]], [c[0, 3] * c[1, 2]] * 2, atol=1e-8)
    assert abs(c[0, 1]) > 0.1  # and w is not zero


def test_low_rank_reports_the_elbo_of_its_draws_which_is_the_evidence_less_the_divergence(
    rank_one, regression, exact, weights
):
    model, data, *_ = regression
    mean, covariance = gaussian_from(weights(rank_one.draws), np.asarray(rank_one.info["log_q"]))
    precision, gap = np.linalg.inv(exact[1]), mean - exact[0]
    ratio = precision @ covariance
    divergence = 0.5 * (np.trace(ratio) - 4 - np.linalg.slogdet(ratio)[1] + gap @ precision @ gap)
    bound = log_joints(model, data, rank_one) - np.asarray(rank_one.info["log_q"])
    assert abs(bound.mean() - (exact[2] - divergence)) < Z * bound.std(ddof=1) / np.sqrt(len(bound))
    # of a quarter's two halves, each with its own error: that of their mean is half that of their difference
    assert abs(float(rank_one.info["elbo"]) - (exact[2] - divergence)) < Z * float(rank_one.info["elbo_drift_se"]) / 2
    # mean-field's optimum is closed: less divergent than that
    assert 0 < divergence < 0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])
    assert bool(rank_one.info["converged"])


@pytest.mark.parametrize(
    "guide_of",
    [
        lambda program: AutoIAFNormal(program, num_flows=2, hidden_dims=[4, 4]),
        lambda program: AutoBNAFNormal(program, num_flows=2, hidden_factors=[2]),
    ],
    ids=["iaf", "bnaf"],
)
def test_a_flow_draws_by_change_of_variables(guide_of):
    program = program_from_density(lambda u: -0.5 * jnp.sum(u**2), 3)
    guide = guide_of(program)

    def run(key):
        svi = SVI(program, guide, optax.adam(0.01), Trace_ELBO())
        params = svi.get_params(svi.init(key))
        u, log_q = flows._draw(key, guide, params, 20)
        z = jax.random.normal(key, (20, 3))
        transform = guide.get_transform(params)
        return u, log_q, jax.vmap(transform)(z), jax.vmap(jax.jacfwd(transform))(z), z

    u, log_q, image, jacobian, z = map(np.asarray, jax.jit(run)(jax.random.key(3)))
    np.testing.assert_allclose(u, image, rtol=1e-12)
    sign, log_det = np.linalg.slogdet(jacobian)
    assert (sign != 0).all() and np.ptp(log_det) > 1e-3  # not an affine map
    np.testing.assert_allclose(log_q, stats.norm.logpdf(z).sum(1) - log_det, rtol=1e-10)


@pytest.mark.parametrize(
    "method", [partial(iaf, num_flows=1, num_hidden=4), partial(bnaf, hidden_factors=(2,))], ids=["iaf", "bnaf"]
)
def test_a_flow_s_log_q_is_the_density_of_its_draws_in_the_parameters(method, regression, weights):
    """E_q[f/q] = 1 for a density f inside q: with both the whitening's and the flow's log-determinants."""
    model, data, *_ = regression
    run = jax.jit(lambda key: method(key, model, data, num_draws=4000, num_steps=64, learning_rate=0.05))
    posterior = run(jax.random.key(1))
    draws = weights(posterior.draws)
    f = stats.multivariate_normal(np.median(draws, axis=0), 0.4 * np.cov(draws.T))
    ratio = np.exp(f.logpdf(draws) - np.asarray(posterior.info["log_q"]))
    error = ratio.std(ddof=1) / np.sqrt(len(ratio))
    assert error < 0.04 and abs(ratio.mean() - 1) < Z * error
    assert posterior.info["elbo"].shape == () and posterior.info["converged"].dtype == bool


def test_families_say_what_they_cannot_do(regression, density):
    model, data, *_ = regression
    key, one = jax.random.key(0), density(lambda w: -jnp.sum(w**2))
    for method in (iaf, bnaf):
        with pytest.raises(NotApplicable, match=f"{method.__name__} needs two parameters or more, this model has 1"):
            method(key, one, None)
        with pytest.raises(ValueError, match="num_flows is 0"):
            method(key, model, data, num_flows=0)
    wide = density(lambda w: -jnp.sum(w**2), 5000)
    with pytest.raises(ValueError, match=r"iaf: 5000 parameters take a flow of 300,000,000 weights; .* use low_rank"):
        iaf(key, wide, None)
    with pytest.raises(ValueError, match="bnaf: 5000 parameters take a flow of 2,000,000,000 weights"):
        bnaf(key, wide, None)
    with pytest.raises(ValueError, match=rf"full_rank: 5000 .* at most {gaussian.MAX_FULL}"):
        full_rank(key, wide, None)
    with pytest.raises(ValueError, match="low_rank: rank is 0 but must be an integer, at least 1"):
        low_rank(key, model, data, rank=0)
    with pytest.raises(ValueError, match="iaf: num_hidden is 3 but must be an integer, at least 4"):
        iaf(key, model, data, num_hidden=3)


def test_mean_field_and_low_rank_hold_no_matrix_of_all_parameters():
    """What 30,000 parameters allocate: a square of them would be 7.2 GB."""
    wide = Target(lambda key: jnp.zeros(30_000), lambda w, data: -0.5 * jnp.sum(w**2), lambda w: {"w": w})
    settings = {"num_draws": 10, "num_steps": 16, "num_particles": 1}
    run = lambda key: (mean_field(key, wide, None, **settings), low_rank(key, wide, None, rank=2, **settings))
    assert jax.jit(run).lower(jax.random.key(0)).compile().memory_analysis().temp_size_in_bytes < 1e8


# --- Pareto smoothing


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


# --- Stein


def force_by_hand(w, score):
    """φ by its definition, one pair after another."""
    distance = np.array([[np.linalg.norm(a - b) for b in w] for a in w])
    h = np.median(distance) ** 2 / np.log(len(w)) + np.finfo(float).eps
    total = np.zeros_like(w)
    for i, a in enumerate(w):
        for b in w:
            k = np.exp(-((a - b) @ (a - b)) / h)
            total[i] += k * score(b) - 2 / h * (b - a) * k
    return total / len(w)


def test_the_stein_force_is_its_definition():
    w = np.random.default_rng(0).standard_normal((7, 3)) + 5
    score = lambda v: np.array([1.0, 2.0, 3.0]) - v**2
    expected = force_by_hand(w, score)
    np.testing.assert_allclose(stein_force(jnp.asarray(w), score(w)), expected, rtol=1e-11, atol=1e-12)


def test_stein_particles_end_where_no_force_is_left_with_too_little_variance(density):
    """On N(2, 3²) with ten particles: 22% of the variance is missing."""
    normal = density(lambda w: -0.5 * jnp.sum((w - 2) ** 2) / 9)
    run = lambda key: stein(key, normal, None, num_particles=10, num_steps=4000, learning_rate=0.1, tolerance=1e-6)
    posterior = jax.jit(run)(jax.random.key(0))
    w = np.sort(np.asarray(posterior.draws), axis=0)
    score = lambda v: -(v - 2) / 9
    assert np.abs(force_by_hand(w, score)).max() < 1e-6
    assert float(posterior.info["force"]) < 1e-6 and bool(posterior.info["converged"])
    # the repulsions cancel: the mean weighted by the kernel's density is exact
    distance = np.abs(w - w.T)
    mass = np.exp(-(distance**2) / float(posterior.info["bandwidth"])).sum(1)
    assert mass @ w[:, 0] / mass.sum() == pytest.approx(2, abs=1e-5)
    assert w.var() / 9 == pytest.approx(0.7777, abs=1e-3)


def test_stein_says_what_it_needs(regression):
    model, data, *_ = regression
    with pytest.raises(ValueError, match="stein: num_particles is 1 but must be an integer, at least 2"):
        stein(jax.random.key(0), model, data, num_particles=1)
    with pytest.raises(ValueError, match="learning_rate is -1"):
        stein(jax.random.key(0), model, data, learning_rate=-1)


def test_stein_without_enough_steps_says_so_and_blocks_of_particles_change_nothing(density):
    quartic = density(lambda w: -jnp.sum((w - 1) ** 4), 2)
    settings = {"num_particles": 6, "num_steps": 5}
    run = lambda key: [stein(key, quartic, None, batch_size=b, **settings) for b in (None, 4)]
    whole, blocks = jax.jit(run)(jax.random.key(0))
    assert not bool(whole.info["converged"]) and "log_q" not in whole.info
    np.testing.assert_allclose(whole.draws, blocks.draws, rtol=1e-10)
