"""Exact draws pass, damaged ones fail; autocorrelated ones are what they claim; the measured rates are good."""

import json

import numpy as np
import pytest
from scipy import stats

from verification import effects, page, power, rates
from verification.checks import CHECKS, summarise
from verification.controls import CONTROLS, EFFICIENCY, NUM_DRAWS, _replications, run_control
from verification.effects import EFFECTS, posterior, replications
from verification.exact.reference import LEVELS
from verification.report import RATES
from verification.types import Replications
from verification.work import build_problem
from verification.workers import Ended


@pytest.mark.parametrize("control", CONTROLS, ids=lambda c: c.name)
@pytest.mark.parametrize("name", ["linear", "beta_bernoulli"])
def test_every_control_comes_out_right(name, control):
    result = run_control(build_problem(name, None), control, np.random.default_rng(7))
    assert result.right, result


def test_a_control_with_nothing_to_destroy_is_left_out():
    (control,) = [c for c in CONTROLS if c.name == "correlation destroyed"]
    problem = build_problem("linear", None)
    independent = problem._replace(reference=problem.reference._replace(corr=np.eye(6)))
    assert run_control(independent, control, np.random.default_rng(0)) is None
    assert run_control(problem._replace(exact_draws=None), control, np.random.default_rng(0)) is None


def test_autocorrelated_draws_have_the_stated_efficiency_and_the_exact_marginal():
    problem, rng, num = build_problem("linear", None), np.random.default_rng(3), 400
    chained = _replications(problem, problem.exact_draws, rng, num, True).queries[..., 0]
    z = (chained - problem.reference.mean[0]) / problem.reference.sd[0]
    of_means = z.mean(1) * np.sqrt(NUM_DRAWS * EFFICIENCY)  # standard normal when EFFICIENCY is the truth
    assert abs(of_means.var() - 1) < 5 * np.sqrt(2 / num)
    of_squares = ((z**2).mean(1) - 1) * np.sqrt(NUM_DRAWS * EFFICIENCY / 2)
    assert abs(of_squares.var() - 1) < 5 * np.sqrt(2 / num) + 0.05


def test_the_committed_rates_meet_the_bar():
    """Of 300 runs no false alarm, and each damage caught in at least 294, on every problem."""
    stored = json.loads(RATES.read_text())
    assert stored["runs"] >= 300
    for row in stored["rates"]:
        if row["must_fail"]:
            assert row["fail"] >= 0.98 * stored["runs"], row
        else:
            assert row["fail"] == row["unresolved"] == 0, row
    assert {row["control"] for row in stored["rates"]} == {c.name for c in CONTROLS}


@pytest.mark.parametrize("chained", [False, True])
def test_the_simulated_draws_are_exact(chained):
    """Means, variances, a correlation, a quantile and the joint predictive, by t from replications at 10⁻⁶ each."""
    reference, num = posterior(), 400
    s = summarise(replications(np.random.default_rng(5), num, chained=chained, num_draws=1000), reference.quantiles)
    z = lambda values, truth: (values.mean(0) - truth) / (values.std(0, ddof=1) / np.sqrt(num))
    covariance = reference.corr * np.outer(reference.sd, reference.sd)
    density, truth = np.exp(s.log_predictive), np.exp(reference.log_predictive)  # of means, so unbiased
    levels = np.broadcast_to(np.array(LEVELS)[:, None], (9, len(reference.names)))
    raw = s.covariance * 999 / 1000 + (s.mean - reference.mean)[:, :, None] * (s.mean - reference.mean)[:, None]
    found = [z(s.mean, reference.mean), z(raw, covariance), z(s.below, levels), z(density, truth)]
    found += [z(s.log_evidence, reference.log_evidence), z(s.elbo, reference.log_evidence), z(s.pareto_k, 0.0)]
    assert max(np.abs(f).max() for f in found) < stats.t.isf(5e-7, num - 1)
    of_means = s.mean.var(0) * 1000 * (EFFICIENCY if chained else 1.0) / covariance.diagonal()
    assert np.abs(of_means - 1).max() < 5 * np.sqrt(2 / num)


def standardised(queries):
    """float64 draws whose sample means, sds and correlations are the posterior's."""
    reference, size = posterior(queries), len(queries)
    z = np.random.default_rng(0).standard_normal((200, size))
    z = np.linalg.qr(z - z.mean(0))[0] * np.sqrt(199)
    root = np.linalg.cholesky(reference.corr)
    return Replications(
        (reference.mean + reference.sd * (z @ root.T))[None], np.zeros((1, 200)), np.zeros(1), np.ones(1), np.zeros(1)
    )


@pytest.mark.parametrize("e", [0.07, 0.9, 1.5])
def test_a_correlation_falls_by_e_from_wherever_it_was(e):
    reference = posterior((0, 1))
    after = summarise(effects._uncorrelate(standardised((0, 1)), e, reference))
    sd = np.sqrt(after.variance[0])
    np.testing.assert_allclose(after.mean[0], reference.mean, atol=1e-12)
    np.testing.assert_allclose(sd, reference.sd, rtol=1e-12)
    assert after.covariance[0, 0, 1] / np.prod(sd) == pytest.approx(0.9 - e, abs=1e-12)


@pytest.mark.parametrize("effect", EFFECTS, ids=lambda e: f"{e.check}: {e.damage}")
def test_a_damage_has_the_size_it_says_and_no_other(effect):
    exact, reference, e = standardised(effect.queries), posterior(effect.queries), 0.07
    before, after = (summarise(r) for r in (exact, effect.apply(exact, e, reference)))
    mean, sd = np.zeros(len(effect.queries)), np.zeros(len(effect.queries))
    if effect.damage in ("mean + e sd", "all draws + e sd"):
        mean[0] = e
    if effect.check == "total_variation":
        mean[0] = e / reference.sd[0]
    if effect.check == "agreement":
        return  # of whole runs: below
    if effect.damage.startswith("sd"):
        sd[0] = -e if "−" in effect.damage else e
    np.testing.assert_allclose((after.mean - reference.mean)[0] / reference.sd, mean, atol=1e-12)
    np.testing.assert_allclose(np.sqrt(after.variance[0]) / reference.sd - 1, sd, atol=1e-12)
    if effect.check == "correlation":
        i, j = np.sqrt(after.variance[0])
        assert after.covariance[0, 0, 1] / (i * j) == pytest.approx(reference.corr[0, 1] - e, abs=1e-12)
    moved = {name: getattr(after, name)[0] - getattr(before, name)[0] for name in ("log_evidence", "elbo", "pareto_k")}
    moved["log_predictive"] = (after.log_predictive[0] - before.log_predictive[0]) / reference.num_new
    meant = {"evidence": "log_evidence"}.get(effect.check, effect.check)
    sign = -1 if meant == "log_predictive" else 1
    assert moved == pytest.approx({name: sign * e * (name == meant) for name in moved}, abs=1e-7)  # log p in float32


def test_a_share_e_of_runs_decides_otherwise():
    (effect,) = [effect for effect in EFFECTS if effect.check == "agreement"]
    reference, num, e = posterior(effect.queries), 4000, 0.2
    exact = replications(np.random.default_rng(8), num, queries=effect.queries, rows=False, num_draws=2)
    other = (effect.apply(exact, e, reference).queries != exact.queries).all((1, 2)).sum()
    assert stats.binom.cdf(other, num, e) > 1e-6 and stats.binom.sf(other, num, e) > 1e-6


@pytest.mark.parametrize("index", range(len(EFFECTS)), ids=lambda k: EFFECTS[k].damage)
def test_every_damage_is_found_at_some_size_above_the_tolerance(index):
    effect, name = EFFECTS[index], EFFECTS[index].check
    found = power.measured((index, "default", "independent", 1, 0))
    (check,) = [c for c in CHECKS if c.name == name]
    (row,) = [r for r in power.rows({(index, "default", "independent", 1, 0): found}) if r["damage"] and r["curve"]]
    assert row["check"] == name and check.tolerance["default"] * effect.per_tolerance < row["smallest"]
    # shares of few runs are known least
    assert row["smallest"] < (5.0 if name == "agreement" else 2.2) * check.tolerance["default"] * effect.per_tolerance
    assert row["bar"] is None or row["bar"] == [effect.bar["default"], 1, 1]


def test_exact_draws_raise_no_alarm_of_any_check():
    outcomes = power.measured((None, "default", "autocorrelated", 2, 0))
    assert set(outcomes) == {c.name for c in CHECKS}
    assert all(outcomes[effect.check] == {"pass": 2} for effect in EFFECTS)


def crafted(monkeypatch, clean, curve, bar=None):
    """Rows of two checks, one of them without an effect."""
    monkeypatch.setattr(power, "CHECKS", [c for c in CHECKS if c.name in ("sd", "ks")])
    monkeypatch.setattr(power, "EFFECTS", [e for e in EFFECTS if e.damage == "sd × (1 − e)"])
    results = {
        (None, "full", "independent", 100, 0): clean,
        (0, "full", "independent", 100, 0): {"curve": curve, "bar": bar},
    }
    rows = power.rows(results)
    assert len(rows) == 8
    return [row for row in rows if row["budget"] == "full" and row["draws"] == "independent"]


def test_rows_say_what_was_measured_and_what_was_not(monkeypatch):
    curve = [[0.03, 5, 1], [0.04, 100, 99], [0.05, 30, 30]]
    sd, ks = crafted(
        monkeypatch, {"sd": {"pass": 98, "unresolved": 2}, "ks": {"not_applicable": 100}}, curve, [0.05, 100, 100]
    )
    assert sd["smallest"] == 0.04 and sd["runs"] == 100 and sd["false_alarms"] == 0 and sd["unresolved"] == 2
    assert sd["false_alarm_bound"] == pytest.approx(1 - 0.05 ** (1 / 100)) and not power.complaints(sd)
    assert ks["damage"] is None and ks["runs"] == 0 and not power.complaints(ks)


@pytest.mark.parametrize(
    ("clean", "curve", "bar", "said"),
    [
        ({"pass": 99, "fail": 1}, [[0.03, 100, 100]], None, "1 false alarms, 0 unresolved in 100 runs"),
        ({"pass": 97, "unresolved": 3}, [[0.03, 100, 100]], None, "0 false alarms, 3 unresolved in 100 runs"),
        ({"pass": 100}, [[0.03, 100, 98]], None, "found with power 0.99 at none of the effects tried"),
        ({"pass": 100}, [[0.03, 100, 99]], [0.05, 100, 98], "e = 0.05 is found in 98 of 100 runs"),
    ],
)
def test_a_bar_that_is_missed_is_told_and_ends_in_status_1(monkeypatch, tmp_path, clean, curve, bar, said):
    rows = crafted(monkeypatch, {"sd": clean}, curve, bar)
    assert [said in sentence for row in rows for sentence in power.complaints(row)] == [True]
    monkeypatch.setattr(power, "run", lambda *_: rows)
    assert rates.measure_power(Silent(), 100, 0, 1, tmp_path / "rates.json") == 1


class Silent:
    def print(self, *_, **__):
        pass


def test_the_power_is_written_beside_the_rates_and_both_are_shown(monkeypatch, tmp_path):
    clean = {"sd": {"pass": 100}}
    rows, path = (
        crafted(monkeypatch, clean, [[0.03, 9, 5], [0.04, 100, 100]], [0.05, 100, 100]),
        tmp_path / "rates.json",
    )
    monkeypatch.setattr(power, "run", lambda *_: rows)
    control = {
        "problem": "p",
        "control": "exact",
        "must_fail": False,
        "caught_by": {},
        "fail": 0,
        "pass": 9,
        "unresolved": 0,
    }
    before = {"runs": 9, "seed": 1, "budget": "default", "rates": [control]}
    for earlier in (before, {**before, "power": [{"check": "old"}]}, {}):
        rates.write(path, earlier)
        assert json.loads(path.read_text()) == earlier
        assert rates.measure_power(Silent(), 100, 0, 1, path) == 0
        assert json.loads(path.read_text()) == {**earlier, "power": rows}
    path.unlink()
    assert rates.measure_power(Silent(), 100, 0, 1, path) == 0 and json.loads(path.read_text()) == {"power": rows}
    for stored in ({}, before, {"power": rows}, {**before, "power": rows}):
        text = "\n".join(page._controls(stored) + page._power(stored.get("power", [])))
        assert ("Measured over 9 runs" in text) == ("rates" in stored)
        shown = "| 100 | 0 | ≤ 0.03 | 0 | sd × (1 − e) | 0.04 | of the posterior sd | e = 0.05: 100 of 100 |"
        assert (shown in text) == ("power" in stored)
        assert ("| ks | full | independent | not measured |" in text) == ("power" in stored)


def test_the_committed_power_meets_the_bars():
    """Of 300 runs no alarm on exact draws; an sd 5% off is found at the full budget, 10% at the default one."""
    table = json.loads(RATES.read_text())["power"]
    assert not [sentence for row in table for sentence in power.complaints(row)]
    measured = {(row["check"], row["damage"], row["budget"], row["draws"]): row for row in table if row["damage"]}
    keys = {(e.check, e.damage, level, draws) for e in EFFECTS for level in power.BUDGETS for draws in power.DRAWS}
    assert set(measured) == keys and all(row["runs"] >= 300 for row in measured.values())
    assert {row["bar"][0] for row in table if row["bar"] and row["budget"] == "full"} == {0.05}
    assert {row["bar"][0] for row in table if row["bar"] and row["budget"] == "default"} == {0.1}


def test_controls_measured_anew_take_the_place_of_the_same_problems_rows_alone(monkeypatch, tmp_path):
    made = lambda task, tell=None: {
        "problem": task[0],
        "control": str(task[1]),
        "must_fail": False,
        "caught_by": {},
        "fail": 0,
        "pass": task[3],
        "unresolved": 0,
    }
    monkeypatch.setattr(rates, "measure_control", made)
    monkeypatch.setattr(rates, "in_processes", lambda work, tasks, jobs: [Ended(t, work(t)) for t in tasks])
    path = tmp_path / "rates.json"
    of = lambda: {(row["problem"], row["pass"]) for row in json.loads(path.read_text())["rates"]}
    assert rates.measure_controls(Silent(), ["a", "b"], 60, 0, 1, path) == 0 and of() == {("a", 60), ("b", 60)}
    stored = json.loads(path.read_text())
    rates.write(path, {**stored, "rates": [{**row, "pass": 7} for row in stored["rates"]], "power": [{"check": "sd"}]})
    rates.measure_controls(Silent(), ["b"], 60, 0, 1, path)
    assert of() == {("a", 7), ("b", 60)} and json.loads(path.read_text())["power"] == [{"check": "sd"}]
    rates.measure_controls(Silent(), ["b"], 60, 1, 1, path)  # another seed: the two could not stand in one table
    assert of() == {("b", 60)}
