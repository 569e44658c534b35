"""The catalogue of seeded bugs: large enough, each one a change, and the suite's count of them right."""

import jax
import numpy as np
import pytest

from verification.mutants import ROOMS, calibrations, kernels, stages
from verification.mutants.command import complaints, page, summarised, tasks_of
from verification.mutants.trial import DRAWS, RUNS, Pool, clean_runs, try_calibrations, try_problem
from verification.sbc import calibration
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
    assert by["one query's mean + 0.06 sd"] == ["mean", "w1"] and by["correlations lost"] == ["correlation"]
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


def test_kernels_and_calibrations_are_tried_once_and_only_with_the_whole_core():
    tasks = tasks_of(["a", "b", "c"], ("a", "b"), 300, 7)
    assert tasks.count(("kernels", 10, 7)) == tasks.count(("calibrations", 10, 7)) == 1 and len(tasks) == 7
    assert {task[0] for task in tasks_of(["a"], ("a", "b"), 300, 7)} == {"mutants", "clean"}
    assert ("kernels", 1, 7) in tasks_of(["a"], ("a",), 6, 7)


def test_what_is_not_of_a_chosen_problem_counts_too():
    clean = [{"problem": "kernel: MALA", "runs": 4, "failed": 1, "unresolved": 0, "by": ["invariance"]}]
    rows = [_row("banana", "kernel", "MALA as if symmetric"), _row("b", "calibration", "a row dropped", "slipped")]
    found = summarised(rows, clean, ["a"])
    assert found["mutation_score"] == 0.5 and found["false_alarm_rate"] == 0.25
    assert "| kernel: MALA | 4 | 1 | 0 |" in page(found) and "| kernel | MALA as if symmetric | 1 | 1 |" in page(found)


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
    monkeypatch.setattr("verification.mutants.trial._TRIALS", {})
    (row,) = try_problem("linear", 0)
    assert row["outcome"] == "slipped" and row["room"] == "problem"


@pytest.fixture(scope="module")
def calibrated():
    return try_calibrations(1, 0)


def test_every_wrong_posterior_and_every_wrong_ranking_is_caught(calibrated):
    assert len(calibrations.METHOD_MUTANTS) >= 8
    by = {row["mutant"]: row["caught_by"] for row in calibrated.rows}
    assert set(by) == set(ROOMS["calibration"]) and all(by.values()), by
    # blind spots of parameters alone: the prior, correlations, and, of a regression, whether there is a prior at all
    assert by["the prior returned as the posterior"] == ["ranks of log_likelihood"]
    assert by["the coefficients' correlations lost"] == ["ranks of log_likelihood"]
    assert by["the prior left out"] == ["ranks of squared norm"]
    assert by["ties ranked without a tie-break"] == ["exact posterior"]
    assert by["the log-likelihood not ranked"] == ["the prior returned as the posterior"]


def test_right_posteriors_are_calibrated(calibrated):
    assert len(calibrated.clean) == len(calibrations.RIGHT_POSTERIORS) >= 4
    assert all(found["runs"] == 1 and found["failed"] == 0 for found in calibrated.clean), calibrated.clean


def test_the_shared_program_says_what_calibration_says():
    setting = calibrations.settings(lambda name: build_problem(name, None))["linear"]
    wrong = _with_a_step_of_the_key(calibrations.METHOD_MUTANTS["posterior sds × 0.7"])
    simulated = calibrations.simulate(setting, "posterior sds × 0.7", 0)
    found, shared = wrong(setting), calibrations.judged(setting.names, simulated)
    assert found.names == shared.names and found.num_ranks == shared.num_ranks
    assert np.mean(found.ranks != shared.ranks) < 1e-3  # rounding may part a tie
    assert found.calibrated == shared.calibrated is False


def _with_a_step_of_the_key(program):
    """`calibration` of a program, at the key that `simulate` gives it for seed 0."""
    names = [*calibrations.RIGHT_POSTERIORS, *calibrations.METHOD_MUTANTS]
    key = jax.random.fold_in(jax.random.key(0), names.index("posterior sds × 0.7"))
    return lambda setting: calibration(
        key,
        lambda key, model, data: program.method(key, data),
        setting.model,
        setting.x,
        query=setting.query,
        names=setting.names,
        num_simulations=calibrations.NUM_SIMULATIONS,
        num_ranks=calibrations.NUM_RANKS,
    )


KERNELS = {**kernels.RIGHT_KERNELS, **kernels.KERNEL_MUTANTS}
ON = {  # a stage for every kernel; most stand on the bent one, whose program is compiled fastest
    "linear": (
        "Gibbs",
        *(name for name in KERNELS if name.startswith("Gibbs, ")),
        "prior left out of the acceptance ratio",
    ),
    "gamma_poisson": ("a walk in λ with its Jacobian", "a walk in λ without its Jacobian"),
}
ON["banana"] = tuple(name for name in KERNELS if name not in ON["linear"] + ON["gamma_poisson"])


@pytest.fixture(scope="module", params=ON)
def examined(request):
    """name -> report, of a stage's kernels."""
    stage = stages.stage_of(build_problem(request.param, None))
    made = stages.programs(stage, {name: KERNELS[name] for name in ON[request.param]})
    assert set(made.names) == set(ON[request.param])
    return {name: stages.examined(made, name, 0) for name in made.names}


def test_the_kernels_are_enough():
    assert len(kernels.KERNEL_MUTANTS) >= 8 and len(kernels.RIGHT_KERNELS) >= 4


def test_every_wrong_kernel_is_caught_and_every_right_one_passes(examined):
    for name, report in examined.items():
        right = name in kernels.RIGHT_KERNELS
        assert (report.reason == "") == right, (name, report.reason)
        stays = name in ("a kernel that does nothing", "first coordinate never moved")
        assert report.finite and report.moves != stays and (report.invariant or not stays), name


def test_a_kernel_that_a_stage_cannot_show_is_left_out():
    stage = stages.stage_of(build_problem("gamma_poisson", None))
    left_out = {name for name in KERNELS if name not in stages.programs(stage, KERNELS).names}
    assert "Gibbs" in left_out and "first coordinate never moved" in left_out and "MALA" not in left_out
