"""The checks measure what they say, and the judge's verdicts have the error rates of its margins."""

import numpy as np
import pytest
from scipy import stats

from verification.checks import CHECKS, pool, summarise
from verification.exact.reference import Certificate, gaussian_reference
from verification.judge import ALPHA, DEFAULT, Budget, examine, judge, repeated
from verification.types import Limit, Problem, Replications

MEAN, COVARIANCE = np.array([1.0, -2.0, 0.5]), np.array([[1.0, 0.6, 0], [0.6, 2.0, -0.4], [0, -0.4, 0.5]])
EXACT = gaussian_reference(("a", "b", "c"), MEAN, COVARIANCE, certificate=Certificate(0.0, "", "", 0.0))
BY_NAME = {c.name: c for c in CHECKS}


def problem(reference=EXACT):
    return Problem("gaussian", "", None, None, None, None, reference, None)


def sampler(seed=0, num_draws=1000, change=lambda q: q):
    """draw(R) of exact replications, changed."""
    rng, L = np.random.default_rng(seed), np.linalg.cholesky(COVARIANCE)

    def draw(num):
        return Replications(change(MEAN + rng.standard_normal((num, num_draws, 3)) @ L.T), None)

    return draw


SILENT = ("log_predictive", "total_variation", "agreement", "evidence", "elbo", "pareto_k")  # nothing here makes them


def outcomes(verdicts):
    return {v.check: v.outcome for v in verdicts}


def test_exact_draws_pass_every_check_that_applies():
    found = outcomes(judge(problem(), "exact", sampler()))
    assert found == {
        **dict.fromkeys(("mean", "sd", "q05", "q95", "correlation", "ks", "w1"), "pass"),
        **dict.fromkeys(SILENT, "not_applicable"),
    }


@pytest.mark.parametrize(
    "change, caught",
    [
        (lambda q: q + np.array([0.1, 0, 0]), {"mean"}),
        (lambda q: MEAN + (q - MEAN) * [1, 0.9, 1], {"sd"}),
        (lambda q: MEAN + (q - MEAN) * [1, 1.1, 1], {"sd"}),
        (lambda q: np.clip(q, MEAN - 1.2 * EXACT.sd, None), {"q05", "sd"}),
        (lambda q: np.clip(q, None, MEAN + 1.2 * EXACT.sd), {"q95", "sd"}),
        (lambda q: q[:, :, [0, 1, 2]] * 1.0 + 0 * q, set()),
        (lambda q: np.concatenate([q[..., :2], np.roll(q[..., 2:], 1, axis=1)], -1), {"correlation"}),
        (
            lambda q: np.where(np.arange(q.shape[1])[:, None] == 3, np.nan, q),
            {"mean", "sd", "q05", "q95", "correlation"},
        ),
        (lambda q: np.repeat(q.mean(1, keepdims=True), q.shape[1], 1), {"sd", "q05", "q95"}),
    ],
    ids=["mean", "narrow", "wide", "lower tail", "upper tail", "nothing", "correlation", "nan", "collapsed"],
)
def test_each_damage_is_caught_by_its_check_and_by_no_other_reason(change, caught):
    verdicts = judge(problem(), "damaged", sampler(change=change))
    failed = {v.check for v in verdicts if v.outcome == "fail"}
    assert failed >= caught and (caught or not failed)
    if caught == {"mean"} or caught == {"correlation"}:
        assert failed <= caught | {"q05", "q95", "ks", "w1"}


def test_a_problem_with_long_tails_gets_more_keys_at_each_look():
    seen = []

    def draw(num):
        seen.append(num)
        return sampler()(num)

    verdicts = judge(problem()._replace(more_keys=2), "m", draw)
    assert seen[0] == 32 and all(v.num_replications >= 32 for v in verdicts if v.outcome == "pass")


def test_draws_that_are_not_finite_fail_what_applies_and_nothing_else():
    verdicts = judge(problem(), "m", sampler(change=lambda q: np.full_like(q, np.nan)))
    outcomes = {v.check: v.outcome for v in verdicts}
    assert {check for check, outcome in outcomes.items() if outcome == "not_applicable"} == set(SILENT)
    assert all(outcome == "fail" for check, outcome in outcomes.items() if check not in SILENT)


def test_signs_and_sizes_of_errors_are_in_posterior_sd():
    shifted = judge(problem(), "m", sampler(change=lambda q: q - np.array([0, 0.3 * np.sqrt(2.0), 0])))
    (mean,) = [v for v in shifted if v.check == "mean"]
    assert mean.query == "b" and mean.error == pytest.approx(-0.3, abs=2 * mean.margin) and mean.margin < 0.05
    narrow = judge(problem(), "m", sampler(change=lambda q: MEAN + 0.8 * (q - MEAN)))
    (sd,) = [v for v in narrow if v.check == "sd"]
    assert sd.error == pytest.approx(-0.2, abs=2 * sd.margin)


def test_a_single_draw_has_sd_zero_and_no_quantiles_or_correlation():
    found = judge(problem(), "point", lambda num: Replications(np.tile(MEAN, (num, 1, 1)), None))
    assert outcomes(found) == {
        **{"mean": "pass", "sd": "fail", "q05": "not_applicable", "q95": "not_applicable"},
        **dict.fromkeys(("correlation", "ks", "w1", *SILENT), "not_applicable"),
    }
    assert next(v for v in found if v.check == "sd").error == -1


@pytest.mark.parametrize("rho", [0.0, 0.95])
def test_standard_errors_are_those_of_the_replications(rho):
    """Over many judges the error of each query divided by its standard error is Student-t."""
    covariance = np.array([[1.0, rho], [rho, 1.0]])
    reference, L = gaussian_reference(("a", "b"), np.zeros(2), covariance), np.linalg.cholesky(covariance)
    rng, scores = np.random.default_rng(5), {c.name: [] for c in CHECKS[:5]}
    for _ in range(400):
        summaries = summarise(Replications(rng.standard_normal((16, 300, 2)) @ L.T, None))
        for c in CHECKS[:5]:
            look = examine(c, summaries, reference, reference.sd, "default")
            scores[c.name].append(look.estimate.error / look.estimate.standard_error)
    for name, z in scores.items():
        beyond = (np.abs(z) > stats.t.ppf(0.975, 15)).sum(0)
        # 5% nominal, and 2% to either side for skewness at R = 16
        assert np.all(stats.binom.sf(beyond - 1, 400, 0.07) > 1e-5), name
        assert np.all(stats.binom.cdf(beyond, 400, 0.03) > 1e-5), name


def test_quantiles_are_median_unbiased_and_variances_unbiased():
    q = np.random.default_rng(0).standard_normal((4000, 200, 1))
    s = summarise(Replications(q, None))
    below = (s.q05[:, 0] < stats.norm.ppf(0.05)).mean()
    assert abs(below - 0.5) < 5 * np.sqrt(0.25 / 4000)
    few = summarise(Replications(q[:, :20], None))  # dividing by S instead of S − 1 would be 5% off
    assert abs(few.variance.mean() - 1) < 5 * np.sqrt(2 / 19 / 4000)


def test_the_budget_doubles_only_while_a_verdict_is_open():
    asked = []

    def counting(draw):
        return lambda num: asked.append(num) or draw(num)

    judge(problem(), "m", counting(sampler(num_draws=4000)))
    assert asked == [16]
    asked.clear()
    near = sampler(num_draws=400, change=lambda q: q + np.array([0.03, 0, 0]))
    judge(problem(), "m", counting(near), only=("mean",))
    assert asked == [16, 16, 32]
    asked.clear()
    on_it = sampler(num_draws=200, change=lambda q: q + np.array([0.05, 0, 0]))  # on the tolerance itself
    judge(problem(), "m", counting(on_it), only=("mean",))
    assert asked == [16]  # 48 more keys would most likely leave it open
    asked.clear()
    judge(problem(), "m", counting(on_it), limit=Limit(EXACT, "near", ""), only=("mean",))
    assert asked == [16, 16, 32]  # a theorem's number may be met all the same
    asked.clear()
    judge(problem(), "m", counting(sampler(change=lambda q: q + np.array([0.5, 0, 0]))))
    assert asked == [16, 16]  # the second batch repeats the fail on fresh keys


@pytest.mark.parametrize("num", [16, 32])
def test_what_is_given_up_as_open_would_have_been_settled_in_one_of_twenty_cases_at_most(num):
    rng, check = np.random.default_rng(0), BY_NAME["mean"]
    settled = []
    for shift in rng.uniform(0, 0.1, 3000):
        q = MEAN + np.array([shift, 0, 0]) + 0.1 * rng.standard_normal((64, 2, 3)) * [1, 0.1, 0.1]
        first, both = (summarise(Replications(part, None)) for part in (q[:num], q))
        look, later = (examine(check, s, EXACT, EXACT.scale, "default") for s in (first, both))
        if look.outcome == "unresolved" and look.stays_open(check.tolerance["default"], num, 64):
            settled.append(later.outcome != "unresolved")
    assert len(settled) > 200 and np.mean(settled) < 0.05


def test_an_error_on_the_tolerance_is_unresolved_not_decided():
    kinds = [
        outcomes(judge(problem(), "m", sampler(seed, change=lambda q: q + np.array([0.05, 0, 0]))))["mean"]
        for seed in range(5)
    ]
    assert set(kinds) <= {"unresolved", "pass"} and kinds.count("unresolved") >= 4


def test_a_fail_that_does_not_repeat_on_fresh_keys_is_no_fail():
    clean, calls = sampler(), []

    def first_batch_bad(num):
        calls.append(num)
        q = clean(num).queries
        return Replications(q + np.array([0.3, 0, 0]) * (len(calls) == 1), None)

    assert outcomes(judge(problem(), "m", first_batch_bad))["mean"] != "fail"


def test_a_fail_must_repeat_in_the_same_query_and_direction():
    look = lambda shift: examine(
        BY_NAME["mean"], summarise(sampler(change=lambda q: q + shift)(16)), EXACT, EXACT.sd, "default"
    )
    up, down, elsewhere = look([0.5, 0, 0]), look([-0.5, 0, 0]), look([0, 0.5, 0])
    assert repeated(up, look([0.6, 0, 0]), 0.05)
    assert not repeated(up, down, 0.05) and not repeated(up, elsewhere, 0.05)


def test_the_exact_answers_own_error_widens_the_margin():
    vague = EXACT._replace(certificate=Certificate(0.2, "", "", 0.0))
    assert (
        outcomes(judge(problem(vague), "m", sampler(change=lambda q: q + np.array([0.1, 0, 0]))))["mean"]
        == "unresolved"
    )


def test_pooling_batches_is_summarising_them_together():
    draw = sampler(num_draws=150)
    parts = [draw(4).queries, draw(4).queries]
    together = summarise(Replications(np.concatenate(parts), None))
    pooled = pool([summarise(Replications(p, None)) for p in parts])
    for name in ("mean", "variance", "q05", "q95", "covariance"):
        np.testing.assert_allclose(getattr(pooled, name), getattr(together, name), rtol=1e-13)


def test_joint_log_predictive_is_the_log_of_the_mean_density():
    reference = EXACT._replace(log_predictive=np.log(0.5), num_new=2)
    log_new = np.log(np.random.default_rng(1).uniform(0, 1, (16, 1000)))
    draw = lambda num: Replications(sampler()(16).queries, log_new)
    verdict = judge(problem(reference), "m", draw, only=("log_predictive",))[0]
    expected = (np.log(np.exp(log_new).mean(1)) - np.log(0.5)).mean() / 2
    assert verdict.check == "log_predictive" and verdict.outcome == "pass"
    assert verdict.error == pytest.approx(expected, abs=1e-12)


def test_false_alarms_of_one_look_stay_near_alpha():
    """A check whose truth sits on the tolerance fails a look with probability about α/2; 4000 looks at one mean."""
    rng, R = np.random.default_rng(0), 16
    errors = 0.05 + rng.standard_normal((4000, R)) * 0.01
    size = errors.mean(1) - stats.t.ppf(1 - ALPHA / 2, R - 1) * errors.std(1, ddof=1) / np.sqrt(R)
    assert stats.binom.sf((size > 0.05).sum() - 1, 4000, ALPHA / 2) > 1e-4


NARROW = gaussian_reference(("a", "b", "c"), MEAN, np.diag(1 / np.diag(np.linalg.inv(COVARIANCE))))
LIMIT = Limit(NARROW, "1/Λᵢᵢ", "Bishop", stats.norm.cdf(EXACT.quantiles, MEAN, NARROW.sd))


def test_a_limit_must_be_matched_to_its_number():
    narrow = np.sqrt(np.diag(LIMIT.reference.corr) / np.diag(np.linalg.inv(COVARIANCE)))
    rng = np.random.default_rng(0)

    def mean_field(factor):
        return lambda num: Replications(MEAN + factor * narrow * rng.standard_normal((num, 1000, 3)), None)

    right = judge(problem(), "mean_field", mean_field(1.0), limit=LIMIT)
    assert {v.check: v.expected for v in right if v.outcome == "fail"} == dict.fromkeys(
        ("sd", "q05", "q95", "correlation", "ks", "w1"), "theorem"
    )
    wrong = judge(problem(), "mean_field", mean_field(0.7), limit=LIMIT)
    sd = next(v for v in wrong if v.check == "sd")
    assert sd.outcome == "fail" and sd.expected == "no" and "not what theory predicts" in sd.reason and sd.contradicts


def test_a_limit_that_does_not_show_is_an_error():
    stale = judge(problem(), "mean_field", sampler(), limit=LIMIT)
    found = {v.check: v.outcome for v in stale}
    assert found["sd"] == found["correlation"] == found["ks"] == "error" and found["mean"] == "pass"
    assert "stale limit" in next(v.reason for v in stale if v.check == "sd")


def test_the_full_budget_is_stricter():
    shift = sampler(change=lambda q: q + np.array([0.035, 0, 0]))
    assert outcomes(judge(problem(), "m", shift, DEFAULT))["mean"] in ("pass", "unresolved")
    assert (
        outcomes(judge(problem(), "m", sampler(change=lambda q: q + np.array([0.045, 0, 0])), Budget(128, 2, "full")))[
            "mean"
        ]
        == "fail"
    )
