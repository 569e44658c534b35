"""Small regressions solved by quadrature: the density on trial is the one that was integrated, draws have the answers'
summaries, and each problem's own bug is caught."""

import jax
import numpy as np
import pytest
from scipy import stats
from scipy.special import exp1

from probjax import log_joint
from verification.exact import glm_grid, horseshoe, kinked_plane, noise_scale
from verification.exact import row_densities as rows_of
from verification.exact.reference import LEVELS
from verification.problems import dispersion, glms, noise_priors, ordinal, robust, shrinkage

PROBLEMS = glms.PROBLEMS | robust.PROBLEMS | noise_priors.PROBLEMS | shrinkage.PROBLEMS
BUILT = {}


def built(name):
    """The problem, its exact draws and their queries; once a session."""
    if name not in BUILT:
        problem = PROBLEMS[name]()
        params = problem.exact_draws(np.random.default_rng(11), 40_000)
        BUILT[name] = problem, params, queries_of(problem, params)
    return BUILT[name]


def queries_of(problem, params):
    return np.asarray(jax.jit(jax.vmap(problem.query))(params))


def as_vectors(params):
    """θ [S, D]: the leaves in the order of the tree."""
    return np.concatenate([np.reshape(leaf, (len(leaf), -1)) for leaf in jax.tree.leaves(params)], 1)


def exact_density(name):
    """θ [M, D] -> log p(θ, y), by the code that was integrated."""
    g, d, n, r, s = glms, dispersion, noise_priors, robust, shrinkage
    learnt = lambda rows, log_prob, loc: d.learnt_density(rows, log_prob, loc)
    line = r.line_density
    densities = {
        "probit": lambda: g.probit_density(g.probit_rows()),
        "poisson_exposure": lambda: g.poisson_density(g.poisson_rows()),
        "ordinal_logit": lambda: ordinal.ordinal_density(ordinal.ordinal_rows()),
        "negative_binomial": lambda: learnt(d.negative_binomial_rows(), rows_of.negative_binomial, 0.0),
        "gamma_regression": lambda: learnt(d.gamma_rows(), rows_of.gamma, 0.0),
        "beta_regression": lambda: learnt(d.beta_rows(), rows_of.beta, 1.0),
        "zero_inflated": lambda: d.zero_inflated_density(d.zero_inflated_rows()),
        "binomial_trials": lambda: g.binomial_density(g.binomial_rows()),
        "huber": lambda: line(r.huber_rows(), rows_of.huber, r.HUBER_SCALE, r.HUBER_DELTA),
        "student_t_noise": lambda: line(r.student_rows(), rows_of.student_t, r.STUDENT_SCALE, r.STUDENT_DF),
        "quantile_regression": lambda: line(
            r.quantile_rows(), rows_of.asymmetric_laplace, r.QUANTILE_SCALE, r.QUANTILE
        ),
        "lasso": lambda: s.lasso_density(s.lasso_rows()),
        "horseshoe": lambda: (
            lambda w: horseshoe.log_density(
                horseshoe.TwoWeights(s.horseshoe_rows().x, s.horseshoe_rows().y, 1.0, s.HORSESHOE_SCALE), w
            )
        ),
    }
    scales = {
        "half_normal_noise": n.half_normal_exact,
        "half_cauchy_noise": n.half_cauchy_exact,
        "exponential_noise": n.exponential_exact,
    }
    if name in scales:
        return lambda theta: noise_scale.log_joint(scales[name]()[0], theta)
    return densities[name]()


@pytest.mark.parametrize("name", PROBLEMS)
def test_certificates_are_below_a_millionth_of_a_posterior_sd(name):
    reference = built(name)[0].reference
    assert reference.certificate.error < 1e-6
    assert reference.certificate.agreement < 1e-6
    assert np.all(np.diff(reference.quantiles, axis=0) > 0)
    np.testing.assert_array_equal(reference.quantiles[[1, 7]], [reference.q05, reference.q95])


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_density_on_trial_is_the_density_that_was_integrated(name):
    problem, params, _ = built(name)
    few = jax.tree.map(lambda leaf: leaf[:20], params)
    model = jax.jit(jax.vmap(lambda p: log_joint(problem.model, p, problem.data)))(few)
    np.testing.assert_allclose(model, exact_density(name)(as_vectors(few)), atol=1e-8)


@pytest.mark.parametrize("name", PROBLEMS)
def test_exact_draws_have_the_exact_answers_summaries(name):
    problem, params, queries = built(name)
    r, num = problem.reference, len(queries)
    z = [(queries.mean(0) - r.mean) / (r.sd / np.sqrt(num))]
    standard = (queries - r.mean) / r.sd
    products = standard[:, :, None] * standard[:, None, :]
    z.append((products.mean(0) - r.corr) / (products.std(0) / np.sqrt(num)))
    z += [((queries <= q).mean(0) - p) / np.sqrt(p * (1 - p) / num) for p, q in zip(LEVELS, r.quantiles)]
    z = np.concatenate([np.ravel(v) for v in z])
    assert np.max(np.abs(z)) < stats.norm.ppf(1 - 1e-6 / (2 * z.size))  # false alarm 1e-6 a problem
    ratio = np.exp(np.asarray(jax.jit(jax.vmap(problem.log_new))(params)) - r.log_predictive)
    assert abs(ratio.mean() - 1) < 6 * ratio.std() / np.sqrt(num)


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_evidence_is_the_integral_of_the_density(name):
    """log p(y) by importance: draws of the exact answer's own density over a Student-t around them must average to
    it, so that the evidence says nothing that the density does not."""
    problem, params, _ = built(name)
    if name in ("horseshoe", "half_cauchy_noise", "student_t_noise"):  # a pole, heavy tails, two modes: none fits
        pytest.skip("no simple proposal covers this posterior")
    theta = as_vectors(params)
    proposal = stats.multivariate_t(theta.mean(0), 1.3 * np.cov(theta.T), df=5, seed=3)
    points = proposal.rvs(20_000)
    ratio = np.exp(exact_density(name)(points) - proposal.logpdf(points) - problem.reference.log_evidence)
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / np.sqrt(len(points))


@pytest.mark.parametrize("name", PROBLEMS)
def test_each_problems_own_bug_is_beyond_the_tolerances(name):
    problem, params, _ = built(name)
    params, r = jax.tree.map(lambda leaf: leaf[:10_000], params), problem.reference
    queries = queries_of(problem, problem.bug.damage(np.random.default_rng(12), params))
    off = {
        "mean": np.max(np.abs(queries.mean(0) - r.mean) / r.sd) / 0.025,
        "sd": np.max(np.abs(queries.std(0) / r.sd - 1)) / 0.025,
        "quantile": np.max(np.abs(np.quantile(queries, (0.05, 0.95), axis=0) - [r.q05, r.q95]) / r.sd) / 0.05,
    }
    assert max(off.values()) > 3
    assert len(problem.bug.name) > 10


def test_bugs_have_names_of_their_own():
    assert len({built(name)[0].bug.name for name in PROBLEMS}) == len(PROBLEMS)


def test_a_gaussian_is_integrated_to_rounding():
    covariance = np.array([[1.0, 0.6], [0.6, 2.0]])
    density = lambda theta: np.atleast_1d(stats.multivariate_normal.logpdf(theta, [1.0, -1.0], covariance))
    queries = [glm_grid.Query("a", (1, 0)), glm_grid.Query("b", (0, 1)), glm_grid.Query("a - b", (1, -1))]
    for answer in (
        glm_grid.solve(queries, density, np.zeros(2)),
        kinked_plane.solve(
            queries, density, kinked_plane.Lines(np.eye(2), np.zeros(2)), glm_grid.Pilot(np.zeros(2), np.eye(2))
        ),
    ):
        np.testing.assert_allclose(answer.mean, [1, -1, 2], atol=1e-9)
        np.testing.assert_allclose(answer.sd, np.sqrt([1, 2, 1.8]), atol=1e-9)
        np.testing.assert_allclose(answer.log_evidence, 0, atol=1e-9)
        np.testing.assert_allclose(
            answer.quantiles, answer.mean + answer.sd * stats.norm.ppf(LEVELS)[:, None], atol=1e-8
        )


def test_a_posterior_wider_than_the_pilot_is_refused():
    flat = lambda theta: -1e-9 * (theta**2).sum(1)
    with pytest.raises(ArithmeticError, match="give a wider `pilot`"):
        glm_grid.region(flat, glm_grid.Pilot(np.zeros(1), np.eye(1)))


def test_the_scaled_exponential_integral_keeps_its_digits_far_out():
    x = np.array([1e-30, 0.3, 20.0, 49.0])
    np.testing.assert_allclose(horseshoe.log_scaled_exp1(x), x + np.log(exp1(x)), rtol=1e-12)
    np.testing.assert_allclose(horseshoe.log_scaled_exp1(np.array([1e6])), -np.log(1e6 + 1), rtol=1e-10)
    edge = np.array([50 - 1e-9, 50 + 1e-9])
    assert abs(np.diff(horseshoe.log_scaled_exp1(edge))[0]) < 1e-9
