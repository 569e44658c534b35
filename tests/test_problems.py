"""What a problem gives to methods is what its exact answer solves: density, draws, queries and certificates belong
together."""

import jax
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from probjax import target
from verification import posteriordb as ports
from verification.exact import network as exact_network
from verification.problems import CORE, QUICK
from verification.problems.network import one_unit_data
from verification.work import build_problem

SOLVED = (*CORE, "diabetes")


@pytest.mark.parametrize("name", [*SOLVED, "breast_cancer"])
def test_certificates_are_below_a_millionth_of_a_posterior_sd(name):
    certificate = build_problem(name, None).reference.certificate
    if not certificate.exact:
        assert (
            name == "breast_cancer" and certificate.error < 0.01
        )  # a long run: its error is a standard error and says so
        return
    assert certificate.error < 1e-6
    assert certificate.agreement < 1e-6


@pytest.mark.parametrize("name", SOLVED)
def test_exact_draws_have_the_exact_answers_moments_quantiles_and_predictive(name):
    problem, num = build_problem(name, None), 40_000
    params = problem.exact_draws(np.random.default_rng(11), num)
    queries = np.asarray(jax.jit(jax.vmap(problem.query))(params))
    r = problem.reference
    z = [(queries.mean(0) - r.mean) / (r.sd / np.sqrt(num))]
    square = ((queries - r.mean) / r.sd) ** 2
    z.append((square.mean(0) - 1) / (square.std(0) / np.sqrt(num)))
    z += [((queries <= q).mean(0) - p) / np.sqrt(p * (1 - p) / num) for p, q in ((0.05, r.q05), (0.95, r.q95))]
    standard = (queries - r.mean) / r.sd
    products = standard[:, :, None] * standard[:, None, :]
    z.append((products.mean(0) - r.corr) / (products.std(0) / np.sqrt(num)))
    z = np.concatenate([np.ravel(v) for v in z])
    assert np.max(np.abs(z)) < stats.norm.ppf(1 - 1e-6 / (2 * z.size))  # false alarm 1e-6 a problem
    if problem.log_new is None:
        return
    log_new = np.asarray(jax.jit(jax.vmap(problem.log_new))(params))
    ratio = np.exp(log_new - r.log_predictive)
    assert abs(ratio.mean() - 1) < 6 * ratio.std() / np.sqrt(num)


def log_exact_density(problem, params):
    """log p(params | data), normalised, from closed forms alone."""
    if problem.linear is not None:
        mean, precision = problem.linear.posterior
        w = np.column_stack([params["weight"], params["bias"]])
        return stats.multivariate_normal.logpdf(w, mean, np.linalg.inv(precision))
    u = np.asarray(params)
    if problem.name == "beta_bernoulli":
        p = 1 / (1 + np.exp(-u))
        return stats.beta.logpdf(p, 2, 19) + np.log(p * (1 - p))
    if problem.name == "gamma_poisson":
        return stats.gamma.logpdf(np.exp(u), 3, scale=1 / 4) + u
    p = np.exp(
        np.column_stack([u, np.zeros(len(u))])
        - logsumexp(np.column_stack([u, np.zeros(len(u))]), axis=1, keepdims=True)
    )
    return np.array([stats.dirichlet.logpdf(row, [81, 61, 41]) for row in p / p.sum(1, keepdims=True)]) + np.log(p).sum(
        1
    )


@pytest.mark.parametrize("name", ["linear", "diabetes", "beta_bernoulli", "gamma_poisson", "dirichlet_categorical"])
def test_bayes_theorem_holds_draw_by_draw(name):
    """log p(y, params) − log p(params | y) = log p(y) at every params: the model on trial and the exact answer are
    one."""
    problem = build_problem(name, None)
    params = problem.exact_draws(np.random.default_rng(5), 6)
    log_joint = jax.jit(jax.vmap(lambda p: target(problem.model).log_joint(p, problem.data)))(params)
    np.testing.assert_allclose(
        log_joint - log_exact_density(problem, params), problem.reference.log_evidence, atol=1e-8
    )


def test_the_network_on_trial_is_the_network_that_was_integrated():
    problem = build_problem("network_one_unit", None)
    net, *_ = one_unit_data()
    params = problem.exact_draws(np.random.default_rng(5), 6)
    hidden = np.column_stack([params[0]["weight"].ravel(), params[0]["bias"].ravel()])
    outer = np.column_stack([params[1]["weight"].ravel(), params[1]["bias"].ravel()])
    log_weight, mean, covariance = exact_network.conditional(net, hidden)
    given = [stats.multivariate_normal.logpdf(o, m, c) for o, m, c in zip(outer, mean, covariance)]
    log_joint = jax.jit(jax.vmap(lambda p: target(problem.model).log_joint(p, problem.data)))(params)
    np.testing.assert_allclose(log_joint, log_weight + given, atol=1e-8)


@pytest.mark.parametrize("name", ["sblri-blr", "sblrc-blr", "kidiq-kidscore_interaction"])
def test_ported_programs_are_the_densities_that_were_integrated(name, posteriordb):
    """With θ | σ Gaussian: log p(y, β, σ) − log N(β | σ, y) depends on σ alone, as the written-down marginal does."""
    problem = ports.build(str(posteriordb), name)
    x, y = np.asarray(problem.data["x"]), np.asarray(problem.data["y"])
    flat, rng = name.startswith("kidiq"), np.random.default_rng(0)
    log_joint, gaps = jax.jit(problem.model.log_joint), []
    for _ in range(4):
        u, beta = (
            np.log(problem.reference.mean[-1]) + 0.1 * rng.standard_normal(),
            problem.reference.mean[:-1] + 0.5 * problem.reference.sd[:-1],
        )
        got = float(log_joint({"beta": beta, "sigma": u}, problem.data))
        log_prior = (
            stats.halfcauchy.logpdf(np.exp(u), 0, 2.5)
            if flat
            else stats.halfnorm.logpdf(np.exp(u), 0, 10) + stats.norm.logpdf(beta, 0, 10).sum()
        )
        gaps.append(got - stats.norm.logpdf(y, x @ beta, np.exp(u)).sum() - log_prior - u)
    np.testing.assert_allclose(gaps, 0, atol=1e-8)


def test_eight_schools_and_the_logistic_port_are_their_written_densities(posteriordb):
    schools = ports.build(str(posteriordb), "eight_schools-eight_schools_noncentered")
    trans, mu, u = np.linspace(-1, 1, 8), 2.0, 0.5
    got = float(jax.jit(schools.model.log_joint)({"mu": mu, "tau": u, "theta_trans": trans}, schools.data))
    y, sigma = np.asarray(schools.data["y"]), np.asarray(schools.data["sigma"])
    expected = (
        stats.norm.logpdf(y, mu + np.exp(u) * trans, sigma).sum()
        + stats.norm.logpdf(trans).sum()
        + stats.norm.logpdf(mu, 0, 5)
    )
    assert got == pytest.approx(expected + stats.halfcauchy.logpdf(np.exp(u), 0, 5) + u, abs=1e-9)
    votes = ports.build(str(posteriordb), "nes_logit_data-nes_logit_model")
    alpha, beta = -1.2, 0.3
    got = float(jax.jit(votes.model.log_joint)({"alpha": alpha, "beta": np.array([beta])}, votes.data))
    p = 1 / (1 + np.exp(-(alpha + beta * np.asarray(votes.data["x"]))))
    assert got == pytest.approx(stats.bernoulli.logpmf(np.asarray(votes.data["y"]), p).sum(), abs=1e-8)


def test_the_quick_problems_are_among_the_core():
    assert set(QUICK) < set(CORE)


def test_a_folder_that_is_no_clone_is_refused_with_the_cure(tmp_path):
    with pytest.raises(ValueError, match=r"holds no posterior_database/posteriors; pass the root of a clone"):
        ports.find_database(tmp_path)
    (tmp_path / "posterior_database" / "posteriors").mkdir(parents=True)
    with pytest.raises(ValueError, match="no data/data/; the clone is incomplete"):
        ports.find_database(tmp_path)
    with pytest.raises(ValueError, match="no port here; ported are"):
        ports.build(tmp_path, "garch-garch11")
