"""Trials from Python, and problems that a stranger brings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from probjax import Data, Model, laplace, likelihoods, linear, log_evidence, priors
from verification import strangers, told, verify
from verification.exact.reference import Z95

MODULE = """
import jax.numpy as jnp
import numpy as np
from probjax import Data, Model, likelihoods, linear, priors

def good():
    x = np.linspace(-1, 1, 20)[:, None]
    return Model(*linear(1), prior=priors.normal(), likelihood=likelihoods.normal(0.5)), Data(x, 2 * x[:, 0])

def bad():
    return 3

def many():
    model, data = good()
    return model, data, lambda params: jnp.ones(41) * params["bias"]

def two_modes():
    from probjax import Target
    density = lambda params, data: jnp.logaddexp(-0.5 * (params - 9) ** 2, -0.5 * (params + 9) ** 2)
    start = lambda key: 9.0 * jnp.sign(jax.random.normal(key, ()))
    return Target(start, density, lambda params: {"x": params}), jnp.zeros(0)

import jax
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "problems.py").write_text(MODULE)
    monkeypatch.setattr(strangers, "CHAINS", 8)
    monkeypatch.setattr(strangers, "DRAWS", 400)
    monkeypatch.setattr(strangers, "WARMUP", 200)
    return lambda name: f"{tmp_path / 'problems.py'}:{name}"


def test_a_method_is_judged_on_named_problems_and_told():
    verdicts = verify(jax.random.key(0), laplace, problems=["linear"])
    assert {v.outcome for v in verdicts} == {"pass", "not_applicable"}
    assert any(v.check == "evidence" and v.outcome == "pass" for v in verdicts)
    assert any(line.startswith("mean: pass") for line in told(verdicts))


def test_a_method_that_raises_has_error_verdicts():
    def broken(key, model, data):
        raise KeyError("nothing")

    verdicts = verify(jax.random.key(0), broken, problems=["linear"])
    assert {v.outcome for v in verdicts} == {"error"} and "KeyError" in verdicts[0].reason


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="level is 'fast' but should be one of default, full"):
        verify(jax.random.key(0), laplace, level="fast")
    with pytest.raises(ValueError, match="no problem named 'linaer'"):
        verify(jax.random.key(0), laplace, problems=["linaer"])


def test_a_strangers_problem_is_held_to_a_long_run(module):
    problem = strangers.build(module("good"))
    assert problem.reference.names == ("bias", "weight[0]") and not problem.reference.certificate.exact
    x = np.linspace(-1, 1, 20)
    design = np.column_stack([np.ones(20), x])
    covariance = np.linalg.inv(design.T @ design / 0.25 + np.eye(2))
    mean = covariance @ design.T @ (2 * x) / 0.25
    sd = np.sqrt(np.diag(covariance))
    error = 6 * problem.reference.certificate.error
    assert np.max(np.abs(problem.reference.mean - mean) / sd) < error
    assert np.max(np.abs(problem.reference.sd / sd - 1)) < error
    assert np.max(np.abs(problem.reference.q95 - mean - Z95 * sd) / sd) < 2 * error


@pytest.mark.parametrize(
    "name, words",
    [
        ("bad", "returned a int but should return a verification.types.Problem"),
        ("many", "41 quantities to judge, at most 40"),
        ("two_modes", "the chains of the long NUTS run disagree"),
    ],
)
def test_problems_that_cannot_be_judged_say_why(module, name, words):
    with pytest.raises(ValueError, match=words):
        strangers.build(module(name))


def test_the_evidence_of_the_linear_problem_is_the_librarys():
    from verification.work import build_problem

    problem = build_problem("linear", None)
    assert float(log_evidence(problem.model, problem.data)) == pytest.approx(problem.reference.log_evidence, abs=1e-9)
    model = Model(*linear(2), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    assert jnp.isfinite(log_evidence(model, Data(problem.data.x, problem.data.y)))
