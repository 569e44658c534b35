"""Draws made anywhere: what is read from files, what is said of them, and how often it is wrong."""

import csv

import numpy as np
import pytest
from scipy.special import ndtr

from verification import draws_file
from verification.exact.reference import Certificate, gaussian_reference
from verification.score import compare, told

TRUTH = gaussian_reference(
    ("a", "b"), [1.0, -2.0], [[1.0, 1.2], [1.2, 4.0]], certificate=Certificate(0.0, "closed form", "", 0.0)
)
ROOT = np.linalg.cholesky([[1.0, 1.2], [1.2, 4.0]])


def exact(rng, chains=4, num=10_000, stay=0.0):
    """Chains that keep their state with probability `stay`, and else draw afresh."""
    z = rng.standard_normal((chains, num, 2)) @ ROOT.T + [1.0, -2.0]
    fresh = rng.uniform(size=(chains, num)) >= stay
    fresh[:, 0] = True
    index = np.maximum.accumulate(np.where(fresh, np.arange(num), 0), axis=1)
    z = np.take_along_axis(z, index[..., None], 1)
    return {"a": z[..., 0], "b": z[..., 1]}


def outcomes(draws):
    return {v.check: v.outcome for v in compare(draws, TRUTH)}


def test_exact_draws_pass_every_check():
    assert set(outcomes(exact(np.random.default_rng(0))).values()) == {"pass"}


@pytest.mark.parametrize("stay", [0.0, 0.6])
def test_exact_draws_fail_no_more_often_than_the_level_says(stay):
    """200 sets, each with 5 checks at α = 10⁻³ and a tolerance beyond: not one."""
    rng = np.random.default_rng(1)
    assert sum("fail" in outcomes(exact(rng, num=2000, stay=stay)).values() for _ in range(200)) == 0


@pytest.mark.parametrize(
    "damage, check",
    [
        (lambda d: {**d, "b": d["b"] + 0.2}, "mean"),
        (lambda d: {**d, "a": 1 + 1.1 * (d["a"] - 1)}, "sd"),
        (lambda d: {**d, "a": np.maximum(d["a"], -0.4)}, "q05"),
        (lambda d: {**d, "a": np.minimum(d["a"], 2.4)}, "q95"),
        (lambda d: {**d, "b": d["b"][:, ::-1]}, "correlation"),
        (lambda d: {**d, "a": 1 + np.sqrt(3) * (2 * ndtr(d["a"] - 1) - 1)}, "ks"),  # uniform, of the same mean and sd
    ],
)
def test_each_damage_is_seen_by_its_check(damage, check):
    draws = exact(np.random.default_rng(2), num=20_000)
    assert outcomes(draws)[check] == "pass"
    assert outcomes(damage(draws))[check] == "fail"


def test_too_few_draws_are_told_how_many_it_takes():
    verdicts = compare(exact(np.random.default_rng(3), num=100), TRUTH)
    assert any("too few draws to tell: about" in line for line in told(verdicts))
    needed = max(
        float(v.reason.split()[6]) for v in verdicts if v.outcome == "unresolved" and v.check in ("mean", "sd")
    )
    enough = compare(exact(np.random.default_rng(4), num=int(needed / 4)), TRUTH)
    assert all(v.outcome == "pass" for v in enough if v.check in ("mean", "sd"))


def _bad(**change):
    draws = exact(np.random.default_rng(5), num=500)
    return {**draws, **{name: value(draws[name]) for name, value in change.items()}}


def _with_nan(values):
    values = values.copy()
    values[0, 3] = np.nan
    return values


def _stuck(values):
    values = values.copy()
    values[1] = 0.3
    return values


def _apart(values):
    return values + 2 * np.arange(4)[:, None]


@pytest.mark.parametrize(
    "draws, words",
    [
        ({"c": np.zeros(1000)}, "none is a quantity of the problem: a, b"),
        ({"a": np.zeros((2, 1000)), "b": np.zeros(1000)}, r"unlike shapes .*a \[2, 1000\], b \[1, 1000\]"),
        ({"a": np.zeros(30)}, "30 in all but at least 320"),
        (_bad(a=_with_nan), "a has 1 NaN or infinite draws"),
        (_bad(b=_stuck), "b never moves in chain 1"),
        (_bad(b=_apart), "disagree in b .split R-hat"),
        ({"a": np.array(["x", "y"])}, "a is of type"),
        ({"a": np.array(1.0)}, "a is a scalar"),
    ],
)
def test_draws_that_cannot_be_judged_say_why(draws, words):
    with pytest.raises(ValueError, match=words):
        compare(draws, TRUTH)


def test_the_same_draws_are_read_from_every_kind_of_file(tmp_path):
    h5netcdf = pytest.importorskip("h5netcdf")
    rng = np.random.default_rng(6)
    theta, mu = rng.standard_normal((2, 50, 2)), rng.standard_normal((2, 50))
    np.savez(tmp_path / "draws.npz", mu=mu, theta=theta)
    with h5netcdf.File(tmp_path / "draws.nc", "w") as file:
        group = file.create_group("posterior")
        group.dimensions = {"chain": 2, "draw": 50, "theta_dim": 2}
        group.create_variable("mu", ("chain", "draw"), data=mu)
        group.create_variable("theta", ("chain", "draw", "theta_dim"), data=theta)
        group.create_variable("chain", ("chain",), data=np.arange(2))
    for chain in range(2):
        with (tmp_path / f"stan_{chain}.csv").open("w", newline="") as file:
            file.write("# model = eight\n")
            writer = csv.writer(file)
            writer.writerow(["lp__", "accept_stat__", "mu", "theta.0", "theta.1"])
            for s in range(50):
                writer.writerow([0.0, 1.0, float(mu[chain, s]), *theta[chain, s].tolist()])
            file.write("# Elapsed Time: 1 second\n")
    with (tmp_path / "plain.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["chain", "mu", "theta[0]", "theta[1]"])
        writer.writerows([c, float(mu[c, s]), *theta[c, s].tolist()] for c in range(2) for s in range(50))
    kinds = (["draws.npz"], ["draws.nc"], ["stan_0.csv", "stan_1.csv"], ["plain.csv"])
    for names in kinds:
        found = draws_file.read([tmp_path / name for name in names])
        assert set(found) == {"mu", "theta[0]", "theta[1]"}
        np.testing.assert_array_equal(found["mu"], mu)
        np.testing.assert_array_equal(found["theta[1]"], theta[..., 1])


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("a.csv", "mu,mu\n1,2\n", "'mu' comes twice"),
        ("a.csv", "mu\n", "has 1 rows"),
        ("a.csv", "mu,b\n1,x\n", "not numbers"),
        ("a.csv", "mu,b\n1\n2\n", "lines have 1 numbers but there are 2 names"),
        ("a.csv", "chain,mu\n1,1\n1,2\n2,3\n", "different lengths"),
        ("a.txt", "", "ends in .txt; known are"),
        ("a.npz", "no archive", "cannot be read as .npz"),
    ],
)
def test_files_that_cannot_be_read_say_why(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=words):
        draws_file.read([tmp_path / name])
    with pytest.raises(ValueError, match="there is no file"):
        draws_file.read([tmp_path / "none.npz"])
