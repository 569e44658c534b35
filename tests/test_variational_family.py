"""Variational families: each against what it equals."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoBNAFNormal, AutoIAFNormal
from scipy import stats

from probjax import NotApplicable, Target, bnaf, full_rank, iaf, low_rank, mean_field, target
from probjax.inference.variational import flows, gaussian, svi
from probjax.numpyro_adapter import program_from_density

Z = stats.norm.isf(0.5e-6)  # two-sided false-alarm rate 1e-6 a test


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


def test_a_wide_posterior_s_coordinates_are_the_norms_of_the_hessian_s_rows(monkeypatch):
    """From the mode, exactly 1/√|Hⱼⱼ| where H is diagonal, whatever the signs; elsewhere within the probes' error."""
    rng = np.random.default_rng(0)
    centre, curvature = rng.standard_normal(30), np.exp(rng.uniform(-3, 3, 30))
    mode, scale = svi.equilibration(lambda w: -0.5 * jnp.sum(curvature * (w - centre) ** 2), jnp.zeros(30))
    np.testing.assert_allclose(mode, centre, atol=1e-6)
    np.testing.assert_allclose(scale, curvature**-0.5, rtol=1e-12)
    factor = rng.standard_normal((30, 40))
    hessian = factor @ factor.T
    monkeypatch.setattr(svi, "NUM_PROBES", 4000)
    _, scale = svi.equilibration(lambda w: -0.5 * w @ hessian @ w, jnp.ones(30))
    # (Hv)ⱼ² has a variance of at most 2‖Hⱼ‖⁴: five standard errors of the root of its mean
    np.testing.assert_allclose(scale**-2, np.linalg.norm(hessian, axis=0), rtol=5 / np.sqrt(2 * 4000))


def test_coordinates_of_the_wide_kind_leave_the_optimum_where_it_is(regression, exact, weights, monkeypatch):
    """Mean-field's variances are 1/Λⱼⱼ and full-rank is the posterior in any coordinates."""
    model, data, *_ = regression
    monkeypatch.setattr(svi, "MAX_WHITENED", 0)
    for method, variances in ((mean_field, 1 / np.diag(np.linalg.inv(exact[1]))), (full_rank, np.diag(exact[1]))):
        posterior = jax.jit(partial(method, num_draws=4000, num_steps=4000))(jax.random.key(0), model, data)
        found = weights(posterior.draws).var(0) / variances
        assert (np.abs(found - 1) < 0.1).all(), (method.__name__, found)
