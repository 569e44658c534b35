"""Checks of whole distributions and of the evidence: right draws raise no alarm, wrong ones do, and how small an effect
is found is measured."""

from functools import partial

import numpy as np
import pytest
from check_parts import BY_NAME, NORMAL
from scipy import stats

from verification.checks import Estimate, pool, summarise
from verification.checks.distribution import kolmogorov_smirnov, wasserstein
from verification.checks.power import check_alarm, power_curve, search, smallest_effect, upper_bound
from verification.exact.reference import LEVELS
from verification.judge import ALPHA, Budget, examine, judge
from verification.types import Problem, Replications

QUICK = Budget(num_replications=16, doublings=1)


def look(name, queries=None, reference=NORMAL, level="default", **said):
    queries = np.zeros((16, 1, 2)) if queries is None else queries
    summaries = summarise(Replications(queries, None, **said), reference.quantiles)
    return examine(BY_NAME[name], summaries, reference, reference.sd, level)


def normal_draws(rng, num_replications, num_draws=400):
    return rng.standard_normal((num_replications, num_draws, 2))


def test_shares_below_the_exact_quantiles_are_the_levels():
    found = look("ks", normal_draws(np.random.default_rng(0), 64, 2000))
    assert found.outcome == "pass" and found.estimate.error.shape == (18,)
    assert found.estimate.names[:2] == ("a ≤ 0.01", "b ≤ 0.01")
    z = found.estimate.error / found.estimate.standard_error
    assert np.abs(z).max() < stats.t.ppf(1 - 1e-6, 63)


@pytest.mark.parametrize("num_draws", [1, 3, 16, 400])
def test_ks_alarms_of_one_look_at_exact_draws_stay_below_alpha_for_any_number_of_draws(num_draws):
    """Tolerance 0 makes every excess over the margin an alarm: 18 entries a look, 300 looks."""
    rng, alarms = np.random.default_rng(num_draws), 0
    for _ in range(300):
        found = look("ks", normal_draws(rng, 16, num_draws))
        alarms += int((np.abs(found.estimate.error) > found.margin).sum())
    assert stats.binom.sf(alarms - 1, 300 * 18, 2 * ALPHA) > 1e-5, alarms


def test_ks_sees_what_means_sds_and_tails_do_not():
    """Half the mass at ±1 sd: mean 0, sd 1, and the 5% quantiles moved back to theirs by the mixture's width."""
    scale = 0.6
    centre = np.sqrt(1 - scale**2)
    two_modes = lambda rng, num: centre * rng.choice([-1.0, 1.0], (num, 2000, 2)) + scale * normal_draws(rng, num, 2000)
    problem = Problem("normal", "", None, None, None, None, NORMAL, None)
    rng = np.random.default_rng(1)
    verdicts = judge(problem, "two modes", lambda num: Replications(two_modes(rng, num), None))
    outcomes = {v.check: v.outcome for v in verdicts}
    assert outcomes["ks"] == "fail" and outcomes["mean"] == outcomes["sd"] == "pass"


def test_ks_makes_no_claim_where_the_exact_answer_makes_none():
    without = NORMAL._replace(quantiles=None)
    assert look("ks", reference=without).outcome == "not_applicable"
    partly = NORMAL._replace(quantiles=np.where([True, False], NORMAL.quantiles, np.nan))
    draws = normal_draws(np.random.default_rng(0), 16)
    assert {name[0] for name in look("ks", draws, partly).estimate.names} == {"a"}
    with pytest.raises(ValueError, match=r"quantiles are \(9, 3\) but the draws have 2 queries"):
        summarise(Replications(np.zeros((4, 5, 2)), None), np.zeros((9, 3)))


def test_a_point_mass_is_left_to_the_check_of_sds():
    """Whether a mode that is the median too lies below it would be a matter of rounding."""
    point = np.zeros((16, 50, 2)) + 1e-9 * np.random.default_rng(0).standard_normal((16, 1, 2))
    assert look("ks", point).outcome == "not_applicable" and look("sd", point).outcome == "fail"
    half = np.concatenate([point[..., :1], normal_draws(np.random.default_rng(0), 16, 50)[..., 1:]], -1)
    assert {name[0] for name in look("ks", half).estimate.names} == {"b"}


def test_a_theorems_distribution_takes_the_place_of_the_levels():
    narrow = 0.5 * normal_draws(np.random.default_rng(0), 64, 1000)
    claiming = lambda claimed: BY_NAME["ks"]._replace(estimate=partial(kolmogorov_smirnov, claimed=claimed))
    summaries = summarise(Replications(narrow, None), NORMAL.quantiles)
    at = lambda claimed: examine(claiming(claimed), summaries, NORMAL, NORMAL.sd, "default").outcome
    right = stats.norm.cdf(NORMAL.quantiles / 0.5)
    assert at(None) == "fail" and at(right) == "pass" and at(np.clip(right + 0.05, 0, 1)) == "fail"
    assert at(np.full((9, 2), np.nan)) == "not_applicable"


def test_ks_finds_a_shift_nearly_always_and_nothing_in_exact_draws():
    """R = 16, doubled once, S = 2000: 0 of 40 false alarms, all of 40 shifts by 0.12 sd and sds 20% off found. With the
    whole default budget and S = 1200 power reaches 0.99 at 0.11 sd and 18% (100 runs)."""
    shifted = lambda rng, num, effect: Replications(normal_draws(rng, num, 2000) + np.array([effect, 0]), None)
    widened = lambda rng, num, effect: Replications(normal_draws(rng, num, 2000) * [1 + effect, 1], None)
    for replications, effects, smallest in ((shifted, [0.0, 0.12], 0.12), (widened, [0.0, 0.2], 0.2)):
        alarm = check_alarm("ks", NORMAL, replications, QUICK)
        power = power_curve(alarm, effects, runs=40, rng=np.random.default_rng(2))
        assert power[0] == 0 and smallest_effect(effects, power) == smallest, power


def test_wasserstein_is_the_distance_on_the_grid_and_its_margin_has_its_level():
    rng, beyond, runs = np.random.default_rng(3), 0, 150
    for _ in range(runs):
        found = wasserstein(
            summarise(Replications(normal_draws(rng, 16, 200), None), NORMAL.quantiles), NORMAL, NORMAL.sd
        )
        beyond += int((found.error > stats.t.ppf(1 - ALPHA / 2, 15) * found.standard_error).sum())
    assert stats.binom.sf(beyond - 1, 2 * runs, 2 * ALPHA) > 1e-5, beyond
    shifted = summarise(Replications(normal_draws(rng, 64, 4000) + 0.3, None), NORMAL.quantiles)
    truth = np.trapezoid(
        np.abs(stats.norm.cdf(NORMAL.quantiles - 0.3) - np.array(LEVELS)[:, None]), NORMAL.quantiles, axis=0
    )
    found = wasserstein(shifted, NORMAL, NORMAL.sd)
    assert np.all(np.abs(found.error - truth) < stats.t.ppf(1 - ALPHA / 2, 63) * found.standard_error)


def test_the_evidence_must_be_the_exact_one():
    near = -3.0 + 0.01 * np.random.default_rng(0).standard_normal(16)
    assert look("evidence", log_evidence=near).outcome == "pass"
    assert look("evidence", log_evidence=near - 0.1).outcome == "fail"
    assert look("evidence", log_evidence=near + 0.1).outcome == "fail"
    assert look("evidence").outcome == "not_applicable"
    assert look("evidence", NORMAL.quantiles[None].repeat(16, 0), NORMAL._replace(log_evidence=None)).outcome == (
        "not_applicable"
    )
    assert look("evidence", log_evidence=near * np.nan).outcome == "fail"
    assert look("evidence", log_evidence=np.full(16, -np.inf)).outcome == "fail"


def test_an_elbo_may_be_anything_but_above_the_evidence():
    near = -3.0 + 0.01 * np.random.default_rng(0).standard_normal(16)
    assert look("elbo", elbo=near).outcome == "pass"
    assert look("elbo", elbo=near - 50).outcome == "pass"
    above = look("elbo", elbo=near + 0.2)
    assert above.outcome == "fail" and above.failing(0.05) == {"elbo": 1.0}
    assert look("elbo", elbo=near - 50).failing(0.05) == {}


def test_a_wrong_evidence_is_found_from_a_tenth_of_a_nat_with_the_noise_of_few_particles():
    """Noise 0.05 nats a run: 0 of 60 false alarms, all of 60 errors of 0.10 nats found (0.08 nats: 86% of 300)."""
    said = lambda rng, num, effect: -3.0 + effect + 0.05 * rng.standard_normal(num)
    for name, field in (("evidence", "log_evidence"), ("elbo", "elbo")):
        replications = lambda rng, num, effect, field=field: Replications(
            np.zeros((num, 1, 2)), None, **{field: said(rng, num, effect)}
        )
        power = power_curve(
            check_alarm(name, NORMAL, replications), [-0.1, 0.0, 0.1], runs=60, rng=np.random.default_rng(4)
        )
        assert power[1] == 0 and power[2] == 1 and power[0] == (1 if name == "evidence" else 0), (name, power)


def test_pooling_keeps_what_a_method_said_and_where_its_draws_fell():
    rng = np.random.default_rng(0)
    parts = [Replications(normal_draws(rng, 4, 10), None, rng.standard_normal(4), rng.standard_normal(4)) for _ in "ab"]
    together = summarise(
        Replications(*(None if a is None else np.concatenate([a, b]) for a, b in zip(*parts))), NORMAL.quantiles
    )
    pooled = pool([summarise(part, NORMAL.quantiles) for part in parts])
    for name in ("below", "log_evidence", "elbo", "mean"):
        np.testing.assert_array_equal(getattr(pooled, name), getattr(together, name))


def test_the_search_finds_the_smallest_effect_of_a_known_power_and_leaves_what_is_missed():
    grid = [float(k) for k in range(1, 17)]
    for least in range(1, 17):
        counts = search(lambda rng, e, least=least: e >= least, grid, runs=300, seed=[0])
        smallest = smallest_effect(list(counts), np.array([found / made for made, found in counts.values()]))
        assert smallest == least and counts[least] == (300, 300)
        assert least == 1 or counts[least - 1][0] <= 4  # no fewer misses than 4 of 300 are below 0.99
    assert all(found == 0 for _, found in search(lambda rng, e: False, grid, runs=300, seed=[0]).values())


def test_the_search_judges_by_all_runs_what_few_ran_well():
    """Power 0.97 at 8 of 1 … 16 passes 30 runs with probability 0.4 and 300 hardly ever (4·10⁻²); one below 0.5."""
    power = lambda e: 0.5 if e < 8 else 0.97 if e == 8 else 1.0
    alarm = lambda rng, e: rng.uniform() < power(e)
    smallest = []
    for seed in range(40):
        counts = search(alarm, [float(k) for k in range(1, 17)], runs=300, seed=[seed])
        smallest.append(smallest_effect(list(counts), np.array([found / made for made, found in counts.values()])))
        assert counts == search(alarm, [float(k) for k in range(1, 17)], runs=300, seed=[seed])
    assert set(smallest) <= {8.0, 9.0}
    assert stats.binom.sf(smallest.count(8.0) - 1, 40, stats.binom.cdf(3, 300, 0.03)) > 1e-5


def test_an_effect_that_missed_once_in_a_few_runs_is_judged_by_all_of_them_too():
    first = {8.0: False}
    counts = search(lambda rng, e: first.pop(e, e >= 8), [float(k) for k in range(1, 17)], runs=300, seed=[0])
    assert counts[8.0] == (300, 299) and counts[7.0] == (4, 0) and counts[9.0] == (300, 300)


@pytest.mark.parametrize(("alarms", "runs"), [(0, 300), (1, 300), (7, 20), (19, 20)])
def test_the_bound_of_a_rate_is_where_so_few_alarms_have_probability_5_percent(alarms, runs):
    assert stats.binom.cdf(alarms, runs, upper_bound(alarms, runs)) == pytest.approx(0.05, abs=1e-12)
    assert upper_bound(runs, runs) == 1.0


def test_a_name_that_is_no_check_is_refused():
    with pytest.raises(ValueError, match="name is 'kolmogorov'; the checks are mean, sd, "):
        check_alarm("kolmogorov", NORMAL, None)


def test_estimates_name_each_entry():
    assert isinstance(look("ks", normal_draws(np.random.default_rng(0), 16)).estimate, Estimate)
