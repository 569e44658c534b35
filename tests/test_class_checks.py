"""Checks of predicted classes, of sums of absolute errors, and of importance ratios."""

import numpy as np
import pytest
from scipy import stats

from verification.checks import CHECKS, classes, importance, summarise
from verification.checks.check import ALPHA, sum_of_absolutes
from verification.exact.conjugate import LinearGaussian
from verification.exact.reference import Certificate, Reference
from verification.judge import DEFAULT, judge
from verification.limits.gaussians import mean_field
from verification.methods import METHODS
from verification.problems import PROBLEMS
from verification.types import Problem, Replications

BY_NAME = {check.name: check for check in CHECKS}


def of_means(mean, groups) -> Reference:
    """A reference that claims class probabilities and nothing else."""
    mean = np.asarray(mean, float)
    names = tuple(f"p{k}" for k in range(len(mean)))
    certificate = Certificate(0.0, "by definition", "", 0.0)
    nothing = dict.fromkeys(("q05", "q95", "corr", "log_predictive", "log_evidence"))
    return Reference(
        names, mean=mean, sd=np.full(len(mean), 0.1), num_new=0, certificate=certificate, classes=groups, **nothing
    )


def constant(rows) -> Replications:
    """Replications [R, S = 2, Q] whose draws are all `rows` [R, Q]."""
    return Replications(np.repeat(np.asarray(rows, float)[:, None], 2, 1), None)


def test_total_variation_is_half_the_sum_over_classes_and_the_gap_of_one_of_two():
    reference = of_means([0.5, 0.3, 0.2, 0.9], ((0, 1, 2), (3,)))
    summaries = summarise(constant([[0.4, 0.3, 0.3, 0.8]] * 4))
    found = classes.total_variation(summaries, reference, reference.sd)
    np.testing.assert_allclose(found.error, [0.1, 0.1], atol=1e-15)
    np.testing.assert_allclose(found.standard_error, 0, atol=1e-15)
    assert found.names == ("p0", "p3")


def test_agreement_counts_replications_that_decide_alike_and_leaves_toss_ups_out():
    reference = of_means([0.5, 0.3, 0.2, 0.52, 0.1], ((0, 1, 2), (3,), (4,)))
    rows = [[0.5, 0.3, 0.2, 0.4, 0.0], [0.2, 0.6, 0.2, 0.9, 0.2]]  # the first input is decided wrongly once of twice
    found = classes.agreement(summarise(constant(rows)), reference, reference.sd)
    np.testing.assert_allclose(found.error, [-0.25])
    assert classes.agreement(summarise(constant(rows)), of_means([0.51], ((0,),)), np.ones(1)).startswith("every")


def test_decisions_that_are_near_turning_have_a_margin_though_none_has_turned():
    """Leads of two of their sds turn once in 44 runs: sixteen that did not turn prove no share below the tolerance."""
    reference, rng = of_means([0.8], ((0,),)), np.random.default_rng(3)
    runs = np.clip(0.8 + 0.15 * stats.norm.ppf((np.arange(16) + 0.5) / 16), 0, 1)[:, None]
    near = classes.agreement(summarise(constant(runs)), reference, reference.sd)
    t = stats.t.ppf(1 - ALPHA / 2, 15)
    assert near.error[0] == 0 and near.standard_error[0] * t > BY_NAME["agreement"].tolerance["default"]
    for far in (np.full((16, 1), 0.8), 0.8 + 0.005 * rng.standard_normal((16, 1))):
        found = classes.agreement(summarise(constant(far)), reference, reference.sd)
        assert found.error[0] == 0 and found.standard_error[0] * t < 1e-6


def test_the_bound_on_turned_decisions_covers_their_chance():
    """Normal leads with a mean of 1.5 sds, 16 of them, 2000 times: the bound is below the chance in at most α."""
    rng, chance = np.random.default_rng(0), stats.norm.cdf(-1.5)
    misses = sum(classes.flips_at_most(1.5 + rng.standard_normal((1, 16))) < chance for _ in range(2000))
    assert misses <= stats.binom.ppf(1 - 1e-6, 2000, ALPHA)


@pytest.mark.parametrize("size", [1, 3])
def test_the_margin_of_a_sum_of_absolutes_covers_its_error(size):
    """Normal errors with strong correlation, 16 replications: at most α of sums are off by more than the margin."""
    rng, runs, weights = np.random.default_rng(size), 400, np.full(size, 0.5)
    root, truth = np.linalg.cholesky(0.2 * np.eye(size) + 0.8), np.full(size, 0.3)
    t = stats.t.ppf(1 - ALPHA / 2, 15)
    misses = 0
    for _ in range(runs):
        found, error = sum_of_absolutes(truth + rng.standard_normal((16, size)) @ root.T, weights)
        misses += abs(found - truth @ weights) > t * error
    assert misses <= stats.binom.ppf(1 - 1e-6, runs, ALPHA)


def test_a_posterior_with_other_class_probabilities_fails_and_the_right_one_passes():
    reference = of_means([0.6, 0.4], ((0, 1),))
    problem = Problem("classes", "", None, None, None, None, reference, None)
    rng = np.random.default_rng(0)

    def draws(shift):
        def draw(num):
            p = np.clip(0.6 + shift + 0.05 * rng.standard_normal((num, 500)), 0, 1)
            return Replications(np.stack([p, 1 - p], -1), None)

        return draw

    only = ("total_variation", "agreement")
    assert [v.outcome for v in judge(problem, "right", draws(0.0), DEFAULT, only=only)] == ["pass", "pass"]
    assert [v.outcome for v in judge(problem, "near", draws(0.02), DEFAULT, only=only)] == ["fail", "pass"]
    assert [v.outcome for v in judge(problem, "wrong", draws(-0.2), DEFAULT, only=only)] == ["fail", "fail"]


def test_mean_fields_pareto_k_is_the_oracles_and_its_theorem_knows_it():
    """On a Gaussian with correlation the best factorised Gaussian's k̂ is known by simulation, at the same S."""
    problem = PROBLEMS["linear"]()
    limit = mean_field(METHODS["mean_field"], problem)
    mean, precision = problem.linear.posterior
    sd, rng = 1 / np.sqrt(np.diag(precision)), np.random.default_rng(5)
    found = []
    for _ in range(50):
        w = mean + sd * rng.standard_normal((4000, len(mean)))
        log_p = -0.5 * np.einsum("si,ij,sj->s", w - mean, precision, w - mean)
        found.append(importance.pareto_k(log_p - stats.norm.logpdf(w, mean, sd).sum(1)))
    error = np.std(found) * np.sqrt(1 / 50 + 1 / 100)
    assert abs(np.mean(found) - limit.pareto_k) < 5 * error
    assert abs(limit.pareto_k) > 10 * error  # and is not 0


def test_ratios_that_are_equal_but_for_rounding_have_no_tail():
    ratios = 1e-13 * np.random.default_rng(0).standard_normal(1000)
    assert importance.pareto_k(ratios) == -np.inf
    assert importance.pareto_k(1e6 * ratios) > -np.inf


def test_the_dyad_shows_what_marginals_hide():
    """Seen twice each, two inputs far from the data tell narrower, and uncorrelated, coefficients from the exact ones
    by more than the tolerance a row."""
    exact: LinearGaussian = PROBLEMS["linear"]().linear
    mean, precision = exact.posterior
    covariance, tolerance = np.linalg.inv(precision), BY_NAME["log_predictive"].tolerance["default"]
    assert len(np.unique(exact.new_design, axis=0)) == 2 and len(exact.new_y) == 4

    def a_row(c):
        noise = exact.noise_scale**2 * np.eye(4)
        return (
            stats.multivariate_normal.logpdf(
                exact.new_y, exact.new_design @ mean, exact.new_design @ c @ exact.new_design.T + noise
            )
            / 4
        )

    for wrong in (0.81 * covariance, np.diag(np.diag(covariance)), np.diag(1 / np.diag(precision))):
        assert abs(a_row(wrong) - a_row(covariance)) > tolerance
