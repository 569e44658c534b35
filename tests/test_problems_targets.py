"""Densities without data and conjugate families: what is on trial is what was solved, draws agree with answers, and
each problem's own bug shows."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from probjax import Model, target
from verification.exact import families as exact_families
from verification.exact import shapes
from verification.exact import targets as exact
from verification.exact.reference import LEVELS
from verification.problems import density_families, families, targets
from verification.problems import shapes as shape_problems

CONJUGATE = families.PROBLEMS | density_families.PROBLEMS
BUILDERS = targets.PROBLEMS | shape_problems.PROBLEMS | CONJUGATE
NUM = 40_000


@cache
def problem(name):
    return BUILDERS[name]()


@cache
def exact_params(name):
    return problem(name).exact_draws(np.random.default_rng(11), NUM)


def density_of(name):
    model = problem(name).model
    return target(model) if isinstance(model, Model) else model


def queries(name, params):
    return np.asarray(jax.jit(jax.vmap(problem(name).query))(jax.tree.map(jnp.asarray, params)))


def log_joint(name, params):
    density = jax.jit(jax.vmap(lambda p: density_of(name).log_joint(p, problem(name).data)))
    return np.asarray(density(jax.tree.map(jnp.asarray, params)))


@pytest.mark.parametrize("name", BUILDERS)
def test_certificates_are_far_below_a_millionth_of_a_posterior_sd(name):
    reference = problem(name).reference
    assert reference.certificate.error < 1e-8 and reference.certificate.agreement < 1e-8
    assert reference.quantiles.shape == (len(LEVELS), len(reference.names))
    np.testing.assert_allclose(reference.quantiles[[1, 7]], [reference.q05, reference.q95], rtol=1e-12)
    assert np.all(np.diff(reference.quantiles, axis=0) > 0)
    if reference.mean is not None:
        corr = reference.corr
        np.testing.assert_allclose(corr, corr.T, atol=1e-12)
        assert np.linalg.eigvalsh(corr).min() > -1e-9


@pytest.mark.parametrize("name", BUILDERS)
def test_exact_draws_have_the_exact_answers_moments_quantiles_and_predictive(name):
    r, found = problem(name).reference, queries(name, exact_params(name))
    z = [((found <= q).mean(0) - p) / np.sqrt(p * (1 - p) / NUM) for p, q in zip(LEVELS, r.quantiles)]
    if r.mean is not None:
        standard = (found - r.mean) / r.sd
        z.append(standard.mean(0) * np.sqrt(NUM))
        z.append(((standard**2).mean(0) - 1) / ((standard**2).std(0) / np.sqrt(NUM)))
        i, j = np.triu_indices(len(r.mean), 1)
        products = standard[:, i] * standard[:, j]
        spread = np.maximum(products.std(0), 1e-12)
        z.append((products.mean(0) - r.corr[i, j]) / (spread / np.sqrt(NUM)))
    z = np.concatenate([np.ravel(v) for v in z])
    assert np.max(np.abs(z)) < stats.norm.ppf(1 - 1e-6 / (2 * z.size))  # false alarm 1e-6 a problem
    if problem(name).log_new is not None:
        log_new = np.asarray(jax.jit(jax.vmap(problem(name).log_new))(jax.tree.map(jnp.asarray, exact_params(name))))
        ratio = np.exp(log_new - r.log_predictive)
        assert abs(ratio.mean() - 1) < 6 * ratio.std() / np.sqrt(NUM)


@pytest.mark.parametrize("name", BUILDERS)
def test_the_bug_is_beyond_the_tolerances_of_the_full_budget(name):
    """In one query at least: means by 0.05 sd, sds by 5%, quantiles by 0.1 sd, correlations by 0.05: twice the
    tolerances. Without an sd, quantiles by a tenth of the middle half."""
    r, bug = problem(name).reference, problem(name).bug
    wrong = queries(name, bug.damage(np.random.default_rng(12), exact_params(name)))
    assert wrong.shape == (NUM, len(r.names)) and np.isfinite(wrong).all()
    unit = r.quantiles[5] - r.quantiles[3] if r.sd is None else r.sd
    sizes = [np.abs(np.quantile(wrong, LEVELS, axis=0) - r.quantiles).max(0) / unit / 0.05]
    if r.sd is not None:
        sizes += [np.abs(wrong.mean(0) - r.mean) / unit / 0.025, np.abs(wrong.std(0) / r.sd - 1) / 0.025]
        sizes.append(np.abs(np.corrcoef(wrong.T) - r.corr).max(0) / 0.025)
    assert np.max(sizes) > 2


@pytest.mark.parametrize("name", BUILDERS)
def test_named_quantities_are_the_queries(name):
    one = jax.tree.map(lambda leaf: jnp.asarray(leaf)[0], exact_params(name))
    assert len(set(problem(name).reference.names)) == len(problem(name).query(one))
    if not isinstance(problem(name).model, Model):
        named = problem(name).model.constrain(one)
        np.testing.assert_array_equal([named[n] for n in problem(name).reference.names], problem(name).query(one))
        start = problem(name).model.init(jax.random.key(0))
        assert jax.tree.structure(start) == jax.tree.structure(one)


@pytest.mark.parametrize("name", BUILDERS)
def test_the_density_has_a_gradient_where_methods_start(name):
    density = density_of(name)
    start = jax.jit(density.init)(jax.random.key(0))
    value, slopes = jax.jit(jax.value_and_grad(density.log_joint))(start, problem(name).data)
    assert np.isfinite(value) and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))


def normal(mean, covariance):
    return lambda x: stats.multivariate_normal(mean, covariance).logpdf(x)


def corr_power(rho, size):
    return rho ** np.abs(np.subtract.outer(np.arange(size), np.arange(size)))


SCALES = np.array([0.02, 0.5, 4.0, 50.0])
NEGATIVE = np.array([0.3, 1.0, 2.0])
T_SCALES = np.array([1.0, 0.2, 3.0])
DENSITIES = {
    "gaussian_positive": normal([0.1, -1, 3, 20], (0.95 + 0.05 * np.eye(4)) * np.outer(SCALES, SCALES)),
    "gaussian_negative": normal([1, -2, 0.5], corr_power(-0.95, 3) * np.outer(NEGATIVE, NEGATIVE)),
    "skew_normal": exact.SkewNormal(
        np.array([-1.0, 2]), np.array([1.0, 3]), np.array([[1, 0.6], [0.6, 1]]), np.array([6.0, -3])
    ).log_density,
    "student_t": stats.multivariate_t([0, 2, -1], (0.6 + 0.4 * np.eye(3)) * np.outer(T_SCALES, T_SCALES), df=5).logpdf,
    "cauchy": stats.multivariate_t([1, -3], np.diag([0.25, 4.0]), df=1).logpdf,
    "cauchy_compressed": lambda x: exact.log_cauchy(x, np.array([1.0, -3]), np.array([0.5, 2])),
    "mixture_separated": exact.Mixture(
        np.array([0.7, 0.3]),
        np.array([[-3.0, 1], [4, -1]]),
        np.array([[[0.6, 0.3], [0.3, 0.5]], [[0.5, -0.2], [-0.2, 0.8]]]),
    ).log_density,
    "mixture_close": exact.Mixture(
        np.array([0.7, 0.3]),
        np.array([[-1.5, 0], [1.5, 0.5]]),
        np.array([[[1, 0.3], [0.3, 0.6]], [[0.25, -0.1], [-0.1, 0.4]]]),
    ).log_density,
    "boundary_logit": lambda u: sum(
        exact.log_beta_of_logit(u[:, k], a, b) for k, (a, b) in enumerate([(0.5, 0.5), (0.3, 3.0)])
    ),
    "boundary_log": exact.log_density_of_logs,
    "funnel": lambda x: shapes.log_funnel(x[:, 0], x[:, 1:], 3.0),
    "funnel_mild": lambda x: shapes.log_funnel(x[:, 0], x[:, 1:], 1.5),
    "banana": lambda x: shapes.log_banana(x, 3.0, 0.1),
    "banana_sharp": lambda x: shapes.log_banana(x, 3.0, 0.2),
    "ring": lambda x: shapes.log_ring(x, 3.0, 0.5),
}


@pytest.mark.parametrize("name", DENSITIES)
def test_the_density_on_trial_is_the_one_that_was_integrated(name):
    params = exact_params(name)[:50]
    np.testing.assert_allclose(log_joint(name, params), DENSITIES[name](params), atol=1e-8)


def test_the_ill_scaled_gaussian_has_the_density_of_its_four_directions():
    name = "gaussian_ill_scaled"
    params, r = exact_params(name)[:50], problem(name).reference
    along = queries(name, params)[:, 4:]
    expected = stats.norm.logpdf(along, r.mean[4:], [1e-3, 1e-2, 1e-1, 1.0]).sum(1)
    np.testing.assert_allclose(log_joint(name, params), expected, atol=1e-8)


def nig(y, mu, u):
    """log p(y, μ, log σ) of `normal_sample`, by SciPy's distributions."""
    sigma = np.exp(u)
    prior = (
        stats.invgamma.logpdf(sigma**2, 3, scale=2) + np.log(2 * sigma**2) + stats.norm.logpdf(mu, 1.5, sigma / 2**0.5)
    )
    return prior + stats.norm.logpdf(y[:, None], mu, sigma).sum(0)


def niw(y, params):
    """log p(y, mean, Σ) of `normal_covariance` by SciPy, and the Jacobian by differentiating L ↦ LLᵀ."""

    def entries(free):
        L = jnp.array([[jnp.exp(free[0]), 0.0], [free[1], jnp.exp(free[2])]])
        return jnp.stack([(L @ L.T)[0, 0], (L @ L.T)[0, 1], (L @ L.T)[1, 1]])

    entries = jax.jit(entries)
    jacobian, found = jax.jit(jax.jacobian(entries)), []
    for mean, (first, second), lower in zip(params["mean"], params["log_diagonal"], params["lower"]):
        free = jnp.array([first, lower, second])
        a, b, c = np.asarray(entries(free))
        covariance = np.array([[a, b], [b, c]])
        value = stats.invwishart.logpdf(covariance, 5, 2 * np.eye(2)) + np.linalg.slogdet(jacobian(free))[1]
        value += stats.multivariate_normal.logpdf(mean, np.zeros(2), covariance / 0.5)
        found.append(value + stats.multivariate_normal.logpdf(y, mean, covariance).sum())
    return np.array(found)


def rounded(y, mu, u):
    """log p(y, μ, log σ) of `rounded_normal` by differences of SciPy's CDF."""
    sigma = np.exp(u)
    inside = stats.norm.cdf(y[:, None] + 0.5, mu, sigma) - stats.norm.cdf(y[:, None] - 0.5, mu, sigma)
    return np.log(inside).sum(0) + stats.norm.logpdf(mu, 5, 3) + stats.norm.logpdf(u)


def geometric(y, u):
    p = 1 / (1 + np.exp(u))
    return stats.beta.logpdf(p, 2, 2) + np.log(p * (1 - p)) + stats.nbinom.logpmf(y[:, None], 1, p).sum(0)


def censored(data, u):
    rate = np.exp(u)
    prior = stats.gamma.logpdf(rate, 2, scale=0.1) + u
    seen = np.asarray(data["event"])[:, None]
    terms = seen * stats.expon.logpdf(np.asarray(data["time"])[:, None], scale=1 / rate)
    return prior + (terms + (1 - seen) * stats.expon.logsf(np.asarray(data["time"])[:, None], scale=1 / rate)).sum(0)


def pareto(y, u):
    theta = y.max() + np.exp(u)
    return stats.pareto.logpdf(theta, 2.5) + stats.uniform.logpdf(y[:, None], 0, theta).sum(0) + u


JOINTS = {  # (data, params) -> log p(data, params), all by SciPy
    "normal_sample": lambda data, t: nig(np.asarray(data.y), t[:, 0], t[:, 1]),
    "normal_variance": lambda data, v: (
        stats.invgamma.logpdf(np.exp(v), 2, scale=1.5)
        + v
        + stats.norm.logpdf(np.asarray(data.y)[:, None], 1, np.exp(v / 2)).sum(0)
    ),
    "beta_geometric": lambda data, u: geometric(np.asarray(data.y), u),
    "laplace_location": lambda data, m: (
        stats.norm.logpdf(m, 0, 2) + stats.laplace.logpdf(np.asarray(data.y)[:, None], m, 0.8).sum(0)
    ),
    "censored_waiting_times": censored,
    "pareto_uniform": lambda data, u: pareto(np.asarray(data["y"]), u),
    "normal_covariance": lambda data, params: niw(np.asarray(data["y"]), params),
    "rounded_normal": lambda data, t: rounded(np.asarray(data["y"]), t[:, 0], t[:, 1]),
}


@pytest.mark.parametrize("name", CONJUGATE)
def test_the_joint_density_on_trial_is_scipys(name):
    params = jax.tree.map(lambda leaf: leaf[:30], exact_params(name))
    np.testing.assert_allclose(log_joint(name, params), JOINTS[name](problem(name).data, params), atol=1e-8)


CONJUGATE = {  # name -> a query and its posterior by SciPy
    "normal_variance": (2, stats.gamma(5, scale=1 / 5.93)),
    "beta_geometric": (0, stats.beta(7, 17)),
    "censored_waiting_times": (0, stats.gamma(11, scale=1 / 141)),
    "pareto_uniform": (0, stats.pareto(10.5, scale=3.1)),
}


@pytest.mark.parametrize("name", CONJUGATE)
def test_one_parameter_posteriors_are_the_conjugate_ones(name):
    r, (q, dist) = problem(name).reference, CONJUGATE[name]
    np.testing.assert_allclose([r.mean[q], r.sd[q]], [dist.mean(), dist.std()], rtol=1e-9)
    np.testing.assert_allclose(r.quantiles[:, q], dist.ppf(LEVELS), rtol=1e-9)


@pytest.mark.parametrize("name", ["normal_sample", "normal_covariance"])
def test_bayes_theorem_gives_the_evidence(name):
    """log p(y, params) − log p(params | y) = log p(y) at every params, p(params | y) being the prior updated."""
    params = jax.tree.map(lambda leaf: leaf[:30], exact_params(name))
    if name == "normal_sample":
        y, (mu, u) = np.asarray(problem(name).data.y), params.T
        post = exact_families.Normal(1.5, 2.0, 3.0, 2.0).given(y)
        sigma = np.exp(u)
        log_post = stats.invgamma.logpdf(sigma**2, post.shape, scale=post.rate) + np.log(2 * sigma**2)
        log_post += stats.norm.logpdf(mu, post.mean, sigma / post.count**0.5)
    else:
        post = exact_families.Wishart(np.zeros(2), 0.5, 5.0, 2 * np.eye(2)).given(np.asarray(problem(name).data["y"]))
        one, rest, slope, p11 = post.regression()
        (first, second), lower = params["log_diagonal"].T, params["lower"]
        log_post = one.log_density(first) + rest.log_density(second)
        beta_sd = np.exp(second) / p11**0.5
        log_post += stats.norm.logpdf(lower * np.exp(-first), slope, beta_sd) - first
        L = np.zeros((30, 2, 2))
        L[:, 0, 0], L[:, 1, 0], L[:, 1, 1] = np.exp(first), lower, np.exp(second)
        log_post += [
            stats.multivariate_normal.logpdf(m, post.mean, c / post.count)
            for m, c in zip(params["mean"], L @ L.transpose(0, 2, 1))
        ]
    np.testing.assert_allclose(log_joint(name, params) - log_post, problem(name).reference.log_evidence, atol=1e-8)
