"""The catalogue of seeded bugs: large enough, each one a change, and the suite's count of them right."""

import numpy as np
import pytest

from verification.mutants import ROOMS
from verification.mutants.command import complaints, page, summarised
from verification.mutants.trial import DRAWS, RUNS, Pool, clean_runs, try_problem
from verification.types import Bug
from verification.work import build_problem


@pytest.fixture(scope="module")
def rows():
    return try_problem("linear", 0)


def test_the_catalogue_has_forty_bugs_in_every_room():
    assert sum(map(len, ROOMS.values())) >= 40
    names = [name for mutants in ROOMS.values() for name in mutants]
    assert len(set(names)) == len(names)


def test_a_gaussian_regression_catches_what_it_can_show(rows):
    slipped = [(row["room"], row["mutant"]) for row in rows if row["outcome"] != "caught"]
    assert slipped == []
    shown = {row["mutant"] for row in rows}
    assert "mirrored about the mean" not in shown  # a Gaussian is its own mirror image
    by = {row["mutant"]: row["caught_by"] for row in rows}
    assert by["one query's mean + 0.06 sd"] == ["mean"] and by["correlations lost"] == ["correlation"]
    assert by["a held-out row not scored"] == ["log_predictive"]


def test_every_damage_changes_the_draws_and_leaves_the_pool_alone():
    problem = build_problem("linear", None)
    pool = Pool(problem, np.random.default_rng(0))
    assert pool.exact.queries.shape == (RUNS, DRAWS, len(problem.reference.names))
    before = pool.exact.queries.copy()
    for name, mutant in ROOMS["draws"].items():
        damaged = mutant(np.random.default_rng(1), pool.exact, problem)
        if damaged is not None:
            same = np.array_equal(damaged.queries, before, equal_nan=True) and damaged.log_new is pool.exact.log_new
            assert not same, name
        np.testing.assert_array_equal(pool.exact.queries, before, err_msg=name)


def test_exact_draws_pass_clean_runs():
    found = clean_runs("linear", 6, 0)
    assert found["runs"] == 6 and found["failed"] == 0 and found["by"] == []


def _row(problem, room, mutant, outcome="caught"):
    return {"problem": problem, "room": room, "mutant": mutant, "outcome": outcome, "caught_by": ["sd"]}


def test_the_score_counts_what_can_be_shown_and_each_problems_own_bug():
    rows = [
        _row("a", "draws", "sd × 1.05"),
        _row("b", "draws", "sd × 0.95", "slipped"),
        _row("a", "problem", "a bug"),
        _row("b", "problem", "its own", "slipped"),
    ]
    clean = [{"problem": "a", "runs": 10, "failed": 1, "unresolved": 0, "by": ["sd"]}]
    found = summarised(rows, clean, ["a", "b"])
    assert found["mutation_score"] == 0.5 and found["false_alarm_rate"] == 0.1
    told = " ".join(complaints(found))
    assert "score is 0.500" in told and "10.00% of clean runs failed" in told
    assert "b does not catch its own bug: its own" in told and "a does not" not in told
    assert "| draws | sd × 0.95 | 0 | 1 |" in page(found)


def test_a_bug_that_many_problems_catch_is_complained_of():
    rows = [_row(name, "problem", "the same") for name in "abcde"]
    found = summarised(rows, [], list("abcde"))
    assert found["mutants"]["problems"][0]["others"] == list("bcde")
    assert any("4 other problems catch a's bug" in told for told in complaints(found))


def test_a_problem_that_does_not_catch_its_bug_is_told(monkeypatch):
    problem = build_problem("linear", None)._replace(bug=Bug("nothing at all", lambda rng, params: params))
    monkeypatch.setattr("verification.work.build_problem", lambda name, posteriordb: problem)
    monkeypatch.setattr("verification.mutants.trial.ROOMS", {})
    (row,) = try_problem("linear", 0)
    assert row["outcome"] == "slipped" and row["room"] == "problem"
