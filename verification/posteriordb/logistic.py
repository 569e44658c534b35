"""Logistic regressions, flat or nearly so: quadrature over their two to four coefficients (Gelman & Hill 2006, chapter
5; Kéry & Schaub 2011, chapter 3)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.scipy.special import expit

from verification.exact.binomial_regression import Counts, binomial_regression, single_trials
from verification.posteriordb.port import Port, column, indexed


def _intercept_program(data):
    """Flat intercept alpha and slopes beta."""
    x = data["x"].reshape(len(data["y"]), -1)
    alpha = numpyro.sample("alpha", dist.ImproperUniform(dist.constraints.real, (), ()))
    beta = numpyro.sample("beta", dist.ImproperUniform(dist.constraints.real_vector, (), (x.shape[1],)))
    numpyro.sample("y", dist.Bernoulli(logits=alpha + x @ beta), obs=data["y"])


def _vector_program(data):
    """The same with beta[1] the intercept."""
    x = data["x"]
    beta = numpyro.sample("beta", dist.ImproperUniform(dist.constraints.real_vector, (), (x.shape[1] + 1,)))
    numpyro.sample("y", dist.Bernoulli(logits=beta[0] + x @ beta[1:]), obs=data["y"])


def _broods_program(data):
    """Successful among observed broods, a parabola in the year; N(0, 100²) coefficients."""
    alpha, beta1, beta2 = (numpyro.sample(name, dist.Normal(0.0, 100.0)) for name in ("alpha", "beta1", "beta2"))
    year = data["year"]
    logit = numpyro.deterministic("logit_p", alpha + beta1 * year + beta2 * year**2)
    numpyro.deterministic("p", expit(logit))
    numpyro.sample("y", dist.Binomial(data["trials"], logits=logit), obs=data["successes"])


def _solve(labels: Callable):
    def solve(data):
        x = np.column_stack([np.ones(len(data["y"])), data["x"]])
        return binomial_regression(labels(x.shape[1]), single_trials(x, data["y"]))

    return solve


def _solve_broods(data):
    year = data["year"]
    x = np.column_stack([np.ones(len(year)), year, year**2])
    return binomial_regression(("alpha", "beta1", "beta2"), Counts(x, data["successes"], data["trials"], 100.0))


def _prepare_broods(raw):
    rows = {**raw, "N": raw["nyears"], "trials": raw["N"]}  # its N are the trials, not the number of rows
    year, successes, trials = (column(rows, field) for field in ("year", "C", "trials"))
    if np.any(successes > trials) or np.any(successes < 0):
        raise ValueError("its field C should lie between 0 and N in every year, and does not")
    return {"year": year, "successes": successes, "trials": trials}


def _binary(raw, field):
    y = column(raw, field)
    if not np.isin(y, (0, 1)).all():
        raise ValueError(f"its field {field} should hold zeros and ones but has {np.unique(y)[:5]}")
    return y


def _votes(raw):
    return {"x": column(raw, "income"), "y": _binary(raw, "vote")}


def _wells(inputs: Callable) -> Callable:
    """inputs: (distance, raw data) -> columns."""
    return lambda raw: {
        "x": np.column_stack(inputs(column(raw, "dist"), raw)),
        "y": _binary(raw, "switched"),
    }


def _product(a, b):
    return [a, b, a * b]


def _centred(v):
    return v - v.mean()


_with_intercept = lambda size: ["alpha", *indexed("beta", size - 1)]
_solve_intercept = _solve(_with_intercept)

PORTS = {
    "nes_logit_data-nes_logit_model": Port(
        "vote by income, logistic, flat priors", _intercept_program, _votes, _solve_intercept
    ),
    "wells_data-wells_dist": Port(
        "switching wells by distance, logistic, flat priors",
        _vector_program,
        _wells(lambda dist, raw: [dist]),
        _solve(lambda size: indexed("beta", size)),
    ),
    "wells_data-wells_dist100_model": Port(
        "switching wells by distance in 100 m, logistic, flat priors",
        _intercept_program,
        _wells(lambda dist, raw: [dist / 100]),
        _solve_intercept,
    ),
    "wells_data-wells_dist100ars_model": Port(
        "switching wells by distance and arsenic, logistic, flat priors",
        _intercept_program,
        _wells(lambda dist, raw: [dist / 100, column(raw, "arsenic")]),
        _solve_intercept,
    ),
    "wells_data-wells_interaction_model": Port(
        "switching wells by distance × arsenic, logistic, flat priors",
        _intercept_program,
        _wells(lambda dist, raw: _product(dist / 100, column(raw, "arsenic"))),
        _solve_intercept,
    ),
    "wells_data-wells_interaction_c_model": Port(
        "switching wells by centred distance × arsenic, logistic, flat priors",
        _intercept_program,
        _wells(lambda dist, raw: _product(_centred(dist) / 100, _centred(column(raw, "arsenic")))),
        _solve_intercept,
    ),
    "GLM_Binomial_data-GLM_Binomial_model": Port(
        "success of peregrine broods, binomial, vague priors", _broods_program, _prepare_broods, _solve_broods
    ),
}
