"""Checks of joint predictions and of importance ratios."""

import numpy as np
import pytest
from check_parts import BY_NAME, NORMAL
from scipy import stats

from verification.checks import summarise
from verification.checks.importance import generalised_pareto_shape, oracle_pareto_k, pareto_k
from verification.checks.predictive import agreement, dyadic_rows, total_variation
from verification.judge import examine
from verification.types import Replications
from verification.work import build_problem

ANCHORS = np.array([[2.0, -2.0, 1.0], [-1.0, 2.0, 1.0]])  # against the inputs' correlation: little is known there


def linear_predictive(design):
    """Mean and covariance of f at the rows of a design under the exact posterior of `linear`, and its noise scale."""
    exact = build_problem("linear", None).linear
    mean, precision = exact.posterior
    return design @ mean, design @ np.linalg.solve(precision, design.T), exact.noise_scale


def test_marginal_scores_cannot_tell_independent_rows_from_the_posterior_and_the_joint_score_can():
    """Right marginals and independent rows: Σ log p(yₙ | y) is the same number, log p(y_new | y) is not."""
    index = dyadic_rows(np.random.default_rng(0), 2)
    loc, spread, noise_scale = linear_predictive(ANCHORS[index])
    covariance, rng = spread + noise_scale**2 * np.eye(len(index)), np.random.default_rng(1)
    y = rng.multivariate_normal(loc, covariance)
    marginal = stats.norm.logpdf(y, loc, np.sqrt(np.diag(covariance))).sum()
    joint = stats.multivariate_normal.logpdf(y, loc, covariance)
    draw = rng.multivariate_normal(loc, spread, (16, 2000))
    broken = np.stack([rng.permuted(draw[..., n], axis=1) for n in range(len(index))], -1)
    reference = NORMAL._replace(log_predictive=joint, num_new=len(index))
    for f, outcome, expected in ((draw, "pass", joint), (broken, "fail", marginal)):
        log_rows = stats.norm.logpdf(y, f, noise_scale)
        p = np.exp(log_rows).reshape(-1, len(index))
        off = np.log(p.mean(0)).sum() - marginal
        assert abs(off) < 5 * (p.std(0) / p.mean(0)).sum() / np.sqrt(len(p))  # the marginal score is the posterior's
        summaries = summarise(Replications(np.zeros((16, 2000, 2)), log_rows.sum(-1)))
        found = examine(BY_NAME["log_predictive"], summaries, reference, reference.sd, "default")
        assert found.outcome == outcome
        density = np.exp(log_rows.sum(-1))  # log of a mean of S: biased by −Var/2S, to first order
        bias = (density.var(1) / density.mean(1) ** 2).mean() / (2 * draw.shape[1]) / len(index)
        assert abs(found.estimate.error[0] - (expected - joint) / len(index)) < found.margin[0] + 2 * bias


def test_two_rows_repeated_show_more_than_as_many_rows_apart():
    """Nats a row by which the joint score exceeds the independent one on average over y, ½ log(Π diag / det) / n: two
    anchors at ten places, against the two once and against five rows like those fitted; and the new rows of `linear`,
    which are a dyad too."""

    def gap(design):
        _, spread, noise_scale = linear_predictive(design)
        covariance = spread + noise_scale**2 * np.eye(len(design))
        return 0.5 * (np.log(np.diag(covariance)).sum() - np.linalg.slogdet(covariance)[1]) / len(design)

    rng = np.random.default_rng(0)
    dyads = np.mean([gap(ANCHORS[dyadic_rows(rng, 2)]) for _ in range(20)])
    linear = build_problem("linear", None).linear
    assert dyads > 2 * gap(ANCHORS) and min(dyads, gap(linear.new_design)) > 50 * gap(linear.design[:5])
    rows = dyadic_rows(rng, 5, repeats=40)
    assert len(rows) == 40 and len(set(rows)) == 2
    with pytest.raises(ValueError, match="num_rows is 1; a dyad"):
        dyadic_rows(rng, 1)


def test_agreement_and_total_variation_of_known_pairs():
    p, q = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]), np.array([[0.2, 0.5, 0.3], [0.1, 0.2, 0.7]])
    np.testing.assert_allclose(total_variation(p, q), [0.3, 0.0])
    np.testing.assert_array_equal(agreement(p, q), [0.0, 1.0])
    with pytest.raises(ValueError, match=r"p is \(2, 3\) but q is \(1, 3\)"):
        agreement(p, q[:1])
    with pytest.raises(ValueError, match="q has a row that is no distribution"):
        total_variation(p, 2 * q)


@pytest.mark.parametrize("k", [-0.3, 0.2, 0.5, 0.9])
def test_the_shape_of_generalised_pareto_draws_is_found(k):
    """The asymptotic sd of an efficient estimate is (1 + k)/√n."""
    found = [
        generalised_pareto_shape(stats.genpareto.rvs(k, size=2000, random_state=seed), weakly_informed=False)
        for seed in range(20)
    ]
    assert abs(np.mean(found) - k) < 5 * (1 + k) / np.sqrt(2000 * 20) + 0.003
    assert np.std(found) < 1.6 * (1 + k) / np.sqrt(2000)


def test_k_of_gaussian_ratios_is_compared_with_the_oracles():
    """p = N(0, 1), q = N(0, s²): ratios have the tail index k = 1 − s² for s < 1, reached only as S → ∞."""
    rng, p = np.random.default_rng(0), (np.zeros(1), np.eye(1))
    narrow, wide = (np.zeros(1), 0.5 * np.eye(1)), (np.zeros(1), 2 * np.eye(1))
    oracle = oracle_pareto_k(rng, p, narrow, num_draws=1000, runs=50)
    assert 0.2 < oracle.mean() < 0.5 and oracle_pareto_k(rng, p, wide, num_draws=1000, runs=20).max() < 0.2
    ratio = lambda w: stats.norm.logpdf(w[:, 0]) - stats.norm.logpdf(w[:, 0], 0, np.sqrt(0.5))
    own = pareto_k(ratio(np.sqrt(0.5) * rng.standard_normal((1000, 1))))
    assert abs(own - oracle.mean()) < 5 * oracle.std()


def test_k_is_the_peers():
    peer = pytest.importorskip("arviz_stats.base.diagnostics", reason="no arviz-stats here")
    ratios = np.random.default_rng(0).standard_t(3, 2000)
    _, k = peer._DiagnosticsBase().psislw(ratios.copy())
    assert pareto_k(ratios) == pytest.approx(float(k), abs=0.02)


def test_ratios_that_make_no_tail_are_refused():
    with pytest.raises(ValueError, match="log_ratios has 10 draws"):
        pareto_k(np.zeros(10))
    with pytest.raises(ValueError, match="log_ratios holds NaN"):
        pareto_k(np.full(100, np.nan))
    assert pareto_k(np.zeros(100)) == -np.inf
