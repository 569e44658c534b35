"""float64 everywhere; one small regression and its exact answer, shared by the session."""

from __future__ import annotations

import os
from pathlib import Path

# every core has a test process of its own; threads of LAPACK that wait for each other cost more than they gain
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy import stats

jax.config.update("jax_enable_x64", True)

from probjax import Data, Model, Target, likelihoods, linear, priors  # noqa: E402
from verification.compiling import compiler_flags  # noqa: E402
from verification.exact.conjugate import LinearGaussian, linear_posterior  # noqa: E402

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


@pytest.fixture(scope="session")
def exact(regression):
    """(mean, covariance, log evidence) of the shared regression."""
    _, data, design, noise, tau = regression
    mean, precision = linear_posterior(design, data.y, noise, tau)
    marginal = tau**2 * design @ design.T + noise**2 * np.eye(len(design))
    return mean, np.linalg.inv(precision), stats.multivariate_normal.logpdf(data.y, np.zeros(len(design)), marginal)


@pytest.fixture(scope="session")
def six():
    """(model, data, the same as LinearGaussian, unravel), six rows, w = (bias, weights) as ravelled."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((6, 2))
    y = x @ [1.0, -0.5] + 0.3 + 0.5 * rng.standard_normal(6)
    design = np.column_stack([np.ones(6), x])
    model = Model(*linear(2), prior=priors.normal(0.0, 1.5), likelihood=likelihoods.normal(0.8))
    unravel = ravel_pytree(model.init(jax.random.key(0)))[1]
    return model, Data(x, y), LinearGaussian((), design, y, 0.8, 1.5, np.eye(3), design, y), unravel


@pytest.fixture(scope="session")
def density():
    """A Target of a function of an array [P], from a standard normal start."""
    return lambda log_prob, size=1: Target(
        lambda key: jax.random.normal(key, (size,)), lambda w, data: log_prob(w), lambda w: {"w": w}
    )
