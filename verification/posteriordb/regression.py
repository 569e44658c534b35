"""Linear regressions with unknown noise: given its scale the coefficients are Gaussian, the scale is one integral."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpyro
import numpyro.distributions as dist

from verification.exact import scale_mixture
from verification.posteriordb.port import Port, column, indexed


def _flat_coefficients(data):
    return numpyro.sample("beta", dist.ImproperUniform(dist.constraints.real_vector, (), (data["x"].shape[1],)))


def _half_cauchy_program(data):
    """Flat coefficients, half-Cauchy(2.5) noise."""
    beta = _flat_coefficients(data)
    sigma = numpyro.sample("sigma", dist.HalfCauchy(2.5))
    numpyro.sample("y", dist.Normal(data["x"] @ beta, sigma), obs=data["y"])


def _flat_program(data):
    """Flat coefficients, noise flat on (0, ∞)."""
    beta = _flat_coefficients(data)
    sigma = numpyro.sample("sigma", dist.ImproperUniform(dist.constraints.positive, (), ()))
    numpyro.sample("y", dist.Normal(data["x"] @ beta, sigma), obs=data["y"])


def half_cauchy(u):
    """Log density of u = log σ, Jacobian included, where σ is half-Cauchy(2.5)."""
    return np.log(2 / np.pi) - np.log(2.5) - np.log1p((np.exp(u) / 2.5) ** 2) + u


def flat(u):
    """Log density of u = log σ where σ is flat: the Jacobian alone."""
    return u


def solve_regression(
    log_prior: Callable, prior_precision: float, labels: Callable = lambda size: indexed("beta", size)
) -> Callable:
    """data -> Reference, of y ~ N(xβ, σ²).

    Args:
        log_prior: of u = log σ.
        prior_precision: of each coefficient around 0; 0 is flat.
        labels: number of coefficients -> their names.
    """

    def solve(data):
        x, y = data["x"], data["y"]
        residual, freedom = y - x @ np.linalg.lstsq(x, y, rcond=None)[0], len(y) - x.shape[1]
        if freedom < 3:
            raise ValueError(
                f"{len(y)} rows for {x.shape[1]} coefficients and a noise scale; needed are at least 3 more"
            )
        if not prior_precision and np.linalg.matrix_rank(x) < x.shape[1]:
            raise ValueError(f"its {x.shape[1]} columns of inputs are linearly dependent; flat priors need full rank")
        centre, width = 0.5 * np.log(residual @ residual / freedom), 12 / np.sqrt(2 * freedom)
        return scale_mixture.linear_regression_unknown_noise(
            [*labels(x.shape[1]), "sigma"],
            x,
            y,
            log_prior,
            centre - width,
            centre + width,
            prior_precision=prior_precision,
        )

    return solve


PRIORS = {  # of the noise scale, coefficients flat: program, solver
    "half-Cauchy": (_half_cauchy_program, solve_regression(half_cauchy, 0.0)),
    "flat": (_flat_program, solve_regression(flat, 0.0)),
}


def regression(about: str, noise_prior: str, response: Callable, inputs: Callable) -> Port:
    """response: raw data -> [N]. inputs: raw data -> columns after the constant one."""

    def prepare(raw):
        y = response(raw)
        return {"x": np.column_stack([np.ones(len(y)), *inputs(raw)]), "y": y}

    program, solve = PRIORS[noise_prior]
    return Port(f"{about}, flat coefficients", program, prepare, solve)


def columns(*fields: str) -> Callable:
    """raw data -> these fields."""
    return lambda raw: [column(raw, field) for field in fields]


def response_of(field: str, transform: Callable = lambda v: v) -> Callable:
    """raw data -> a field, transformed; what goes into a logarithm must be positive."""

    def response(raw):
        values = column(raw, field)
        if transform in (np.log, np.log10) and np.min(values) <= 0:
            raise ValueError(f"its field {field} should be positive but has {np.min(values):g}")
        return transform(values)

    return response


def with_product(*fields: str, of: Callable = lambda v: v) -> Callable:
    """raw data -> two fields, transformed, and their product."""

    def inputs(raw):
        a, b = (of(column(raw, field)) for field in fields)
        return [a, b, a * b]

    return inputs


def categories(field: str, *values: int) -> Callable:
    """raw data -> an indicator of each value; the one left out is the baseline."""
    return lambda raw: [(column(raw, field) == value).astype(float) for value in values]


def standard(v):
    """Zero mean, unit sd (of n − 1)."""
    return (v - v.mean()) / v.std(ddof=1)
