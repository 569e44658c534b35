"""float64 everywhere; one small regression and its exact answer, shared by the session."""

from __future__ import annotations

import os
from pathlib import Path

# every core has a test process of its own; threads of LAPACK that wait for each other cost more than they gain
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import numpy as np
import pytest

jax.config.update("jax_enable_x64", True)

from probjax import Data, Model, likelihoods, linear, priors  # noqa: E402
from verification.compiling import compiler_flags  # noqa: E402

os.environ.setdefault("XLA_FLAGS", compiler_flags())  # as the harness compiles; read when the first program is

POSTERIORDB = Path(os.environ.get("POSTERIORDB", Path(__file__).resolve().parents[2] / "shared" / "posteriordb"))


@pytest.fixture(scope="session")
def posteriordb() -> Path:
    """A clone of posteriordb with `own_exact/` beside it; tests that need it are skipped where there is none."""
    if not (POSTERIORDB / "own_exact").is_dir():
        pytest.skip("no posteriordb clone with exact values here")
    return POSTERIORDB


@pytest.fixture(scope="session")
def regression():
    """(model, data, design, noise scale, prior scale) of a linear regression, N = 30, D = 3 and an intercept."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 3)) @ np.array([[1, 0.7, 0], [0, 0.7, 0], [0, 0, 2.0]])
    y = x @ [1.0, -2.0, 0.5] + 0.3 + 0.5 * rng.standard_normal(30)
    model = Model(*linear(3), prior=priors.normal(0.0, 1.5), likelihood=likelihoods.normal(0.5))
    return model, Data(x, y), np.column_stack([x, np.ones(30)]), 0.5, 1.5


@pytest.fixture(scope="session")
def weights():
    """params of `linear` -> [weight, bias] as one array, leading axes kept."""
    return lambda params: np.concatenate([np.asarray(params["weight"]), np.asarray(params["bias"])[..., None]], -1)
