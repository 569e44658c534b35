"""`python -m verification` as its users meet it: statuses, files, resumption, strangers, Ctrl-C, bad usage."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from verification.command import main
from verification.report import CELL_KEYS

ROOT = Path(__file__).resolve().parents[1]
STRANGERS = """
import jax, jax.numpy as jnp, numpy as np
from probjax import Posterior, as_model, laplace

def right(key, model, data):
    return laplace(key, model, data, num_draws=500)

def narrow(key, model, data):
    posterior = laplace(key, model, data, num_draws=500)
    shrink = lambda d: d.mean(0) + 0.8 * (d - d.mean(0))
    return posterior._replace(draws=jax.tree.map(shrink, posterior.draws))

def misshapen(key, model, data):
    posterior = laplace(key, model, data, num_draws=5)
    return posterior._replace(draws=jax.tree.map(lambda d: d[..., None], posterior.draws))

def no_posterior(key, model, data):
    return laplace(key, model, data, num_draws=5).draws

def raises(key, model, data):
    raise RuntimeError("the matrix is singular")

def not_finite(key, model, data):
    posterior = laplace(key, model, data, num_draws=5)
    return posterior._replace(draws=jax.tree.map(lambda d: d * jnp.nan, posterior.draws), info={"step": jnp.array(2.0)})

def same_for_every_key(key, model, data):
    return laplace(jax.random.key(3), model, data, num_draws=200)

def leaves(key, model, data):
    raise SystemExit(3)

def in_numpy(key, model, data):
    x, y = np.asarray(data.x), np.asarray(data.y)
    design = np.column_stack([x, np.ones(len(x))])
    precision = design.T @ design / 0.25 + np.eye(3)
    mean = np.linalg.solve(precision, design.T @ y / 0.25)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    draws = rng.multivariate_normal(mean, np.linalg.inv(precision), 1000)
    return Posterior({"weight": jnp.asarray(draws[:, :2]), "bias": jnp.asarray(draws[:, 2])}, {})

def words_in_info(key, model, data):
    return laplace(key, model, data, num_draws=5)._replace(info={"solver": "newton"})

def wrong_order(model, data, key):
    return laplace(key, model, data)

def one_more(key, model, data, step):
    return laplace(key, model, data)

not_callable = 3
"""


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nutz"], "no method named 'nutz'; did you mean nuts?"),
        (["--problem", "liner"], "no problem named 'liner'; did you mean linear?"),
        (["laplace", "mutants"], "`mutants` is a command of its own"),
        (["doctor"], "`doctor` is a command of its own, reserved for a later version"),
        (["score"], "score needs one problem and the draws: score --problem NAME --draws FILE"),
        (["score", "--problem", "linear", "--draws", "none.npz"], "there is no file none.npz"),
        (["--problem", "nowhere.py:f"], "there is no file nowhere.py"),
        (["--cell-timeout", "0"], "--cell-timeout is 0.0 but at least 1 is needed"),
        (["claims", "A99"], "no claim named 'A99'; did you mean A9?"),
        (["claims", "--quick"], "claims takes no --quick: its options are --out, --seed and --jobs"),
        (["laplace", "controls"], "`controls` is a command of its own"),
        (["--method", "my_file"], "--method is 'my_file' but should read file:function or package"),
        (
            ["--method", "{file}:wrong_order"],
            "takes (model, data, key) but is called with (key, model, data), in",
        ),
        (
            ["--method", "{file}:one_more"],
            "missing a required argument: 'step'); give every further argument a",
        ),
        (["linear"], "linear is a problem: --problem linear"),
        (["--method", "nowhere.py:f"], "there is no file nowhere.py; the path is taken from"),
        (["--method", "nowhere_at_all:f"], "no module named 'nowhere_at_all'; pass a file"),
        (["--method", "{file}:absent"], "has no function 'absent'; it defines in_numpy, leaves, misshapen"),
        (["--method", "{file}:not_callable"], "is a int, not a function of (key, model, data)"),
        (["--posteriordb", "{folder}"], "holds no posterior_database/posteriors; pass the root of a clone"),
        (["--jobs", "0"], "--jobs is 0 but at least 1 is needed"),
        (["controls", "--runs", "0"], "--runs is 0 but at least 1 is needed"),
        (["--seed", "-1"], "--seed is -1 but must be 0 or more"),
        (["--out", "{file}"], "is a file; pass a folder"),
    ],
)
def test_bad_usage_is_status_2_with_the_cure(arguments, message, tmp_path, capsys):
    (tmp_path / "strange.py").write_text(STRANGERS)
    places = {"file": tmp_path / "strange.py", "folder": tmp_path}
    assert main([a.format(**places) for a in arguments]) == 2
    assert message in capsys.readouterr().err.replace("\n", "")


def test_an_unknown_option_is_status_2():
    with pytest.raises(SystemExit) as stop:
        main(["--nonsense"])
    assert stop.value.code == 2


def test_the_list_names_methods_and_problems(capsys):
    assert main(["--list"]) == 0
    said = capsys.readouterr().out
    assert "nuts" in said and "problem: linear (quick, core)" in said


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of two methods on one problem."""
    out = tmp_path_factory.mktemp("run")
    return out, main(["map_estimate", "laplace", "--problem", "linear", "--out", str(out), "--jobs", "1"])


def test_a_run_leaves_cells_a_summary_and_a_report(finished):
    out, status = finished
    summary = json.loads((out / "summary.json").read_text())
    assert status == summary["status"] == 0
    assert {"methods", "problems", "cells", "outcomes", "controls"} <= set(summary)
    assert summary["methods"] == ["map_estimate", "laplace"] and summary["problems"] == ["linear"]
    assert len(summary["cells"]) == 26
    assert all({*CELL_KEYS, "seconds_compile", "seconds_run"} <= set(cell) for cell in summary["cells"])
    kinds = {"pass", "fail", "fail_expected", "unresolved", "not_applicable", "error"}
    assert set(summary["outcomes"]) == kinds and sum(summary["outcomes"].values()) == 26
    assert summary["outcomes"]["pass"] == 11 and summary["outcomes"]["fail_expected"] == 2
    assert summary["controls"]["caught"] == summary["controls"]["total"] == 5
    sd = next(c for c in summary["cells"] if c["method"] == "map_estimate" and c["check"] == "sd")
    assert sd["outcome"] == "fail" and sd["expected"] == "theorem" and sd["error"] == pytest.approx(-1)
    report = (out / "report.md").read_text()
    assert "100% too small" in report and "## Exact answers" in report and "Who verifies the verifier" in report
    assert len(list((out / "cells").glob("*.json"))) == 3 and not list(out.rglob("*.tmp"))


def test_the_same_command_resumes_and_another_seed_does_not(finished, capsys):
    out, _ = finished
    before = {p: p.stat().st_mtime_ns for p in (out / "cells").iterdir()}
    assert main(["map_estimate", "laplace", "--problem", "linear", "--out", str(out), "--jobs", "1"]) == 0
    assert capsys.readouterr().out.count("(stored)") == 3
    assert before == {p: p.stat().st_mtime_ns for p in (out / "cells").iterdir()}


def test_a_broken_cell_file_is_made_anew(finished, capsys):
    out, _ = finished
    broken = next((out / "cells").glob("linear--map_estimate--*.json"))
    broken.write_text('{"half of')
    assert main(["map_estimate", "--problem", "linear", "--out", str(out), "--jobs", "1"]) == 0
    assert capsys.readouterr().out.count("(stored)") == 1
    assert json.loads(broken.read_text())["verdicts"]


@pytest.fixture(scope="module")
def strangers(tmp_path_factory):
    """Every stranger on one problem: (status, summary)."""
    folder = tmp_path_factory.mktemp("strangers")
    (folder / "strange.py").write_text(textwrap.dedent(STRANGERS))
    names = [
        "right",
        "narrow",
        "misshapen",
        "no_posterior",
        "raises",
        "not_finite",
        "in_numpy",
        "same_for_every_key",
        "leaves",
        "words_in_info",
    ]
    options = [part for name in names for part in ("--method", f"{folder / 'strange.py'}:{name}")]
    status = main([*options, "--problem", "linear", "--out", str(folder / "out"), "--jobs", "1"])
    return status, json.loads((folder / "out" / "summary.json").read_text())


def of(summary, name):
    return {c["check"]: c for c in summary["cells"] if c["method"].endswith(":" + name)}


def test_a_strangers_right_method_passes_compiled_or_not(strangers):
    status, summary = strangers
    assert status == 1
    for name in ("right", "in_numpy"):
        cells = of(summary, name)
        unsaid = ("evidence", "elbo", "pareto_k", "total_variation", "agreement")
        silent = {check for check in unsaid if cells[check]["outcome"] == "not_applicable"}
        assert {c["outcome"] for check, c in cells.items() if check not in silent} == {"pass"}, name


def test_a_strangers_wrong_posterior_fails_and_nothing_is_expected_of_it(strangers):
    _, summary = strangers
    narrow = of(summary, "narrow")
    assert narrow["sd"]["outcome"] == "fail" and narrow["sd"]["expected"] == "no"
    assert narrow["sd"]["error"] == pytest.approx(-0.2, abs=0.02) and narrow["mean"]["outcome"] == "pass"


@pytest.mark.parametrize(
    "name, reason",
    [
        ("misshapen", "posterior.draws['bias'] has shape (5, 1) but model.init makes (), so (5,) was expected"),
        ("no_posterior", "the posterior is a dict; expected probjax.Posterior(draws, info)"),
        ("same_for_every_key", "the draws are the same for every key; draw with jax.random"),
        ("leaves", "SystemExit: 3 (strange.py, line"),
        ("words_in_info", "info['solver'] is a str but info is a dict of arrays and numbers; leave it out"),
        ("raises", "RuntimeError: the matrix is singular (strange.py, line 21: raise RuntimeError"),
    ],
)
def test_a_strangers_mistake_is_an_error_with_its_line(strangers, name, reason):
    cells = of(strangers[1], name)
    assert {c["outcome"] for c in cells.values()} == {"error"}
    assert reason in cells["mean"]["reason"]


def test_draws_that_are_not_finite_fail_every_check_and_the_method_is_quoted(strangers):
    cells = of(strangers[1], "not_finite")
    assert cells["mean"]["outcome"] == "fail" and cells["mean"]["error"] is None
    assert "NaN or infinite" in cells["mean"]["reason"] and "step 2" in cells["mean"]["reason"]


def test_ctrl_c_keeps_what_is_finished(tmp_path):
    command = [sys.executable, "-m", "verification", "--problem", "linear", "--out", str(tmp_path), "--jobs", "1"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment) as process:
        next(line for line in process.stdout if line.startswith("[1/"))
        process.send_signal(signal.SIGINT)
        said = process.stdout.read()
        assert process.wait(60) == 130
    assert "the same command resumes them" in said
    assert len(list((tmp_path / "cells").glob("*.json"))) >= 1
    assert json.loads((tmp_path / "summary.json").read_text())["status"] == 130


def test_a_method_that_kills_its_process_or_hangs_fails_its_cells_and_the_others_go_on(tmp_path, capsys):
    (tmp_path / "deadly.py").write_text(
        "import os, time\n\ndef dies(key, model, data):\n    os._exit(7)\n\n"
        "def hangs(key, model, data):\n    time.sleep(1000)\n"
    )
    methods = ["--method", f"{tmp_path / 'deadly.py'}:dies", "--method", f"{tmp_path / 'deadly.py'}:hangs"]
    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("verification.workers.GRACE", 0.0)
        options = ["--problem", "linear", "--jobs", "1", "--out", str(out), "--cell-timeout", "40"]
        status = main(["map_estimate", *methods, *options])
    said = capsys.readouterr().out
    assert status == 1
    assert "its process died (exit status 7)" in said and "stopped after 40 s; --cell-timeout gives more" in said
    cells = json.loads((out / "summary.json").read_text())["cells"]
    assert {c["outcome"] for c in cells if c["method"].endswith(("dies", "hangs"))} == {"error"}
    assert not any(c["outcome"] == "error" for c in cells if c["method"] == "map_estimate")
    assert len(list((out / "cells").glob("*.json"))) == 2  # failures are tried again


def test_workers_end_when_their_parent_is_gone(tmp_path):
    command = [
        sys.executable,
        "-m",
        "verification",
        "nuts",
        "--problem",
        "linear",
        "--out",
        str(tmp_path),
        "--jobs",
        "1",
    ]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment) as process:
        next(line for line in process.stdout if "compiling" in line)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
    assert children
    deadline = time.monotonic() + 20
    while any(_runs(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not any(_runs(child) for child in children)


def _runs(pid: str) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] != "Z"
