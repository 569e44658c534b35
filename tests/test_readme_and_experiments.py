"""What the README shows is true and runs; the experiment makes its table and figure."""

import re
from functools import partial
from pathlib import Path

import jax
import numpy as np

from experiments import dropout_vs_posterior as experiment
from experiments import glm_against_scikit_learn as benchmark
from probjax import laplace
from probjax.validation import check_draws
from verification.work import build_problem

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()
# of several experiments, or of one
PARTS = {"digits", "calibration_report", "calibration_trials", "prediction_files", "prediction_tables"}
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_strangers_method_in_the_readme_is_a_method():
    namespace = {}
    exec(next(block for block in BLOCKS if "def langevin" in block), namespace)
    problem = build_problem("linear", None)
    run = jax.jit(lambda key: namespace["langevin"](key, problem.model, problem.data, num_draws=10, thin=2))
    posterior = run(jax.random.key(0))
    assert check_draws(problem.model, posterior) == 10
    assert np.isfinite(posterior.draws["weight"]).all()


def test_the_pieces_in_the_readme_run(capsys):
    code = next(block for block in BLOCKS if "with_learnt_scale" in block)
    namespace = {}
    exec(code.replace("num_draws=400, num_warmup=200", "num_draws=8, num_warmup=8"), namespace)
    assert namespace["loc"].shape == namespace["scale"].shape == (8, 30)
    assert len(capsys.readouterr().out.splitlines()) >= 2


def test_the_mode_in_the_readme_is_found(capsys):
    exec(next(block for block in BLOCKS if "glm(" in block), {})
    assert " True " in capsys.readouterr().out


def test_the_path_in_the_readme_is_found(capsys):
    exec(next(block for block in BLOCKS if "glm_path(" in block), {})
    assert "tau" in capsys.readouterr().out


def test_the_readme_shows_the_ledger_and_every_experiment():
    from verification.claims.ledger import LEDGER

    for claim in LEDGER:
        assert f"| {claim.id} | {claim.statement} | {claim.verdict} | {claim.answer} |" in README
    scripts = {path.stem for path in (Path(__file__).resolve().parents[1] / "experiments").glob("*.py")}
    assert [
        name for name in sorted(scripts - {"__init__", "output", "side_by_side", "sine", *PARTS}) if name not in README
    ] == []


def test_the_readme_names_every_likelihood_and_loss():
    from probjax import likelihoods, losses

    factories = [name for name in likelihoods.__all__ if name not in ("is_homoscedastic", "has_kink")]
    named = [name for name, value in vars(losses).items() if isinstance(value, type(losses.mse))]
    assert len(named) >= 14
    assert [name for name in [*factories, *named] if name not in README] == []


def test_the_benchmark_compares_at_equal_stationarity(monkeypatch):
    monkeypatch.setattr(benchmark, "NUM_ROWS", 400)
    monkeypatch.setattr(benchmark, "REPEATS", 1)
    monkeypatch.setattr(benchmark, "PAUSE", 0.0)
    pair = benchmark.pairs(np.random.default_rng(0))[0]
    row = benchmark.compare(pair)
    assert float(row[5]) <= max(float(row[4]), 1e-12)


def test_the_readme_holds_the_two_commands():
    assert "\npython -m pip install -e . && python -m verification\n" in README
    assert "\npython -m pip install -e '.[test]' && python -m pytest\n" in README


def test_the_readme_names_every_method_and_problem():
    from verification.methods import METHODS
    from verification.problems import CORE

    assert all(name in README for name in [*METHODS, *CORE])


def test_the_experiment_makes_a_table_and_a_figure(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(experiment, "METHODS", {"Laplace": partial(laplace, num_draws=4000)})
    monkeypatch.setattr(experiment, "NUM_KEYS", 2)
    monkeypatch.setattr(experiment, "NUM_POINTS", 5)
    cases = {}
    keep = experiment.print_table
    monkeypatch.setattr(experiment, "print_table", lambda c, found: cases.update(found) or keep(c, found))
    path = experiment.main(tmp_path)
    assert path.read_bytes()[:4] == b"\x89PNG" and path.stat().st_size > 20_000
    assert "Laplace" in capsys.readouterr().out
    diabetes = experiment.diabetes_case()
    ratio = (
        cases[diabetes.title, "Laplace"].mean(0) / diabetes.exact
    )  # Laplace is exact there: 8000 draws give 0.8% a point
    assert np.all(np.abs(ratio - 1) < 0.05)
