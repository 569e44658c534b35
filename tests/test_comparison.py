"""Methods side by side: medians and largest errors over problems, from verdicts whose sums are done by hand."""

import math

import pytest

from verification.comparison import HEADER, compare_methods, told
from verification.report import Cost, Outcome
from verification.types import Verdict


def verdict(problem, method, check, error, outcome="fail"):
    return Verdict(problem, method, check, "a", error, 0.0, 0.05, outcome, "no", "", 16, {})


def outcome(verdicts, costs=None):
    methods = list(dict.fromkeys(v.method for v in verdicts))
    costs = costs or {(v.problem, v.method): Cost(1.0, 3.2, 16, 1 << 20) for v in verdicts}
    return Outcome(methods, ["p", "q", "r"], verdicts, costs, {}, [], {}, 0, 0.0, 1.0, 0, "default")


def test_errors_are_medians_and_maxima_over_problems_of_the_larger_of_two_checks():
    found = compare_methods(
        outcome(
            [
                *(verdict(p, "m", "q05", e) for p, e in (("p", -0.1), ("q", 0.2), ("r", 0.0))),
                *(verdict(p, "m", "q95", e) for p, e in (("p", 0.4), ("q", 0.1), ("r", -0.3))),
                verdict("p", "m", "sd", 0.01, "pass"),
            ]
        )
    )
    (row,) = found
    assert row.errors["5% and 95% points, sd"] == (pytest.approx(0.3), pytest.approx(0.4))
    assert row.errors["mean, sd"] is None
    assert (row.applicable, row.resolved, row.passed) == (7, 7, 1)
    assert row.seconds_key == pytest.approx(0.2) and row.memory == 1 << 20


def test_what_is_not_finite_is_infinitely_far_off_and_errors_of_methods_count_as_applicable_and_open():
    nan = float("nan")
    cells = [
        verdict("p", "m", "sd", nan),
        verdict("q", "m", "sd", nan, "error"),
        verdict("r", "m", "sd", nan, "not_applicable"),
    ]
    (row,) = compare_methods(outcome(cells))
    assert row.errors["sd, relative"] == (math.inf, math.inf)
    assert (row.applicable, row.resolved) == (2, 1)


def test_the_nearest_method_comes_first_and_one_without_sds_last():
    cells = [verdict("p", "none", "mean", 0.0), verdict("p", "far", "sd", -0.9), verdict("p", "near", "sd", 0.1)]
    rows = compare_methods(outcome(cells))
    assert [row.method for row in rows] == ["near", "far", "none"]
    assert all(len(told(row)) == len(HEADER) for row in rows)
