"""Stan's benchmarks of linear regression with proper priors: independent and correlated inputs, an autoregression."""

from __future__ import annotations

import numpy as np
import numpyro
import numpyro.distributions as dist

from verification.posteriordb.port import Port, column, indexed, matrix
from verification.posteriordb.regression import half_cauchy, solve_regression


def _normal_program(data):
    """N(0, 10²) coefficients, half-normal(10) noise."""
    beta = numpyro.sample("beta", dist.Normal(0.0, 10.0).expand([data["x"].shape[1]]).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(10.0))
    numpyro.sample("y", dist.Normal(data["x"] @ beta, sigma), obs=data["y"])


def _autoregression_program(data):
    """Each y after the first K, given the K before it; x holds a one and those K, the latest first."""
    alpha = numpyro.sample("alpha", dist.Normal(0.0, 10.0))
    beta = numpyro.sample("beta", dist.Normal(0.0, 10.0).expand([data["x"].shape[1] - 1]).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfCauchy(2.5))
    numpyro.sample("y", dist.Normal(alpha + data["x"][:, 1:] @ beta, sigma), obs=data["y"])


def _half_normal(u):
    return 0.5 * np.log(2 / np.pi) - np.log(10.0) - 0.5 * (np.exp(u) / 10.0) ** 2 + u


def _design(raw):
    return {"x": matrix(raw, "X"), "y": column(raw, "y")}


def _lagged(raw):
    y, lags = column(raw, "y"), int(raw["K"])
    if not 0 < lags < len(y) - lags - 3:
        raise ValueError(f"its field K is {lags} for {len(y)} values of y; needed is 0 < K < {(len(y) - 3) // 2}")
    past = [y[lags - k : len(y) - k] for k in range(1, lags + 1)]
    return {"x": np.column_stack([np.ones(len(y) - lags), *past]), "y": y[lags:]}


PORTS = {
    "sblri-blr": Port(
        "Bayesian linear regression, independent inputs", _normal_program, _design, solve_regression(_half_normal, 0.01)
    ),
    "sblrc-blr": Port(
        "Bayesian linear regression, correlated inputs", _normal_program, _design, solve_regression(_half_normal, 0.01)
    ),
    "arK-arK": Port(
        "autoregression of order 5",
        _autoregression_program,
        _lagged,
        solve_regression(half_cauchy, 0.01, lambda size: ["alpha", *indexed("beta", size - 1)]),
    ),
}
