"""Bugs of posteriors and of the ranking itself, which simulation-based calibration must show, and right programs, which
it must let pass.

Two conjugate models, whose exact posterior costs nothing: a regression of 6 rows and a rate from 3 counts. All programs
of a model are one compiled program, in which each run takes its own branch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.tree_util import Partial
from scipy import stats

from probjax import Posterior
from verification.sbc import FALSE_ALARM, LOG_LIKELIHOOD, Calibration, one_simulation, ranks_of, uniform_p_value

NUM_SIMULATIONS, NUM_RANKS = 1000, 19
THIN = 40  # of a chain with autocorrelation 0.8ᵏ: 1e-4 is left


class Setting(NamedTuple):
    """A model that can be simulated. names: of the query's quantities. The sign, discrete, is full of ties. The squared
    norm sees the prior of a regression: w* minus the least-squares estimate does not depend on w*, so that without a
    prior the coefficients and the log-likelihood are calibrated all the same."""

    name: str
    model: Any
    x: Any
    query: Callable
    names: tuple[str, ...]


def settings(build: Callable) -> dict[str, Setting]:
    """The models to simulate; `build`: name -> Problem."""
    regression, rate = build("linear"), build("gamma_poisson")
    x = regression.data.x[:ROWS]
    names = ("w[0]", "w[1]", "bias", "squared norm", "sign of w[0]")
    return {
        "linear": Setting("linear", regression.model, x, _of_coefficients, names),
        "gamma_poisson": Setting(
            "gamma_poisson", rate.model, rate.data.x, _of_log_rate, ("log_rate", "sign of log_rate")
        ),
    }


def _of_coefficients(params):
    w = jnp.append(params["weight"], params["bias"])
    return jnp.concatenate([w, jnp.stack([w @ w, jnp.sign(w[0])])])


def _of_log_rate(u):
    return jnp.stack([u, jnp.sign(u)])


ROWS, NOISE, PRIOR = 6, 0.5, 1.0  # of the regression `linear`
SHAPE, RATE = 1.0, 1.0  # of the prior in `gamma_poisson`, which has 3 rows


def _normal(data, *, noise=NOISE, prior=PRIOR, power=1.0, rows=slice(None), order=slice(None)):
    """Mean and Cholesky factor of p(w | y)."""
    design = jnp.column_stack([data.x, jnp.ones(len(data.x))])[rows]
    precision = power * design.T @ design / noise**2 + jnp.eye(3) / prior**2
    mean = jnp.linalg.solve(precision, power * design.T @ data.y[order][rows] / noise**2)
    return mean, jnp.linalg.cholesky(jnp.linalg.inv(precision))


def _regression(key, data, *, num=NUM_RANKS, shift=0.0, widen=1.0, noise_like=None, diagonal=False, **posterior):
    """Draws of [w, bias], their mean off by `shift` sds and their sds times `widen`."""
    mean, root = _normal(data, **posterior)
    sd = jnp.sqrt(jnp.sum(root**2, 1))
    z = jax.random.normal(key, (num, 3)) if noise_like is None else noise_like(key)
    w = mean + shift * sd + widen * (z * sd if diagonal else z @ root.T)
    return Posterior({"weight": w[:, :2], "bias": w[:, 2]}, {})


def _chain(thin):
    """z of an autoregression that starts exact and keeps 0.8 of its last value; every `thin`-th is handed over."""

    def noise(key):
        start_key, step_key = jax.random.split(key)
        steps = 0.6 * jax.random.normal(step_key, (NUM_RANKS * thin, 3))
        advance = lambda z, step: (0.8 * z + step,) * 2
        return lax.scan(advance, jax.random.normal(start_key, (3,)), steps)[1][::thin]

    return noise


def _row_by_row(key, data):
    """The posterior of each row the prior of the next."""

    def update(state, row):
        precision, natural = state
        x = jnp.append(row[0], 1.0)
        return (precision + jnp.outer(x, x) / NOISE**2, natural + x * row[1] / NOISE**2), None

    prior = (jnp.eye(3) / PRIOR**2, jnp.zeros(3))
    (precision, natural), _ = lax.scan(update, prior, (data.x, data.y))
    root = jnp.linalg.cholesky(jnp.linalg.inv(precision))
    w = jnp.linalg.solve(precision, natural) + jax.random.normal(key, (NUM_RANKS, 3)) @ root.T
    return Posterior({"weight": w[:, :2], "bias": w[:, 2]}, {})


def _prior_for(which):
    """Coefficients `which` from the prior, the others from the posterior."""

    def method(key, data):
        exact_key, prior_key = jax.random.split(key)
        draws = _regression(exact_key, data).draws
        w = jnp.column_stack([draws["weight"], draws["bias"]])
        w = w.at[:, which].set(PRIOR * jax.random.normal(prior_key, w[:, which].shape))
        return Posterior({"weight": w[:, :2], "bias": w[:, 2]}, {})

    return method


def _rate(key, data, *, extra=0.0, exposure=3.0, seen=lambda y: y, shared=False):
    """Draws of log λ; λ | y ~ Gamma(a + Σy, b + N)."""
    shape, rate = SHAPE + extra + jnp.sum(seen(data.y)), RATE + exposure
    log_gamma = jax.random.loggamma(key, shape, () if shared else (NUM_RANKS,))
    return Posterior(jnp.broadcast_to(log_gamma - jnp.log(rate), (NUM_RANKS,)), {})


def _sum_of_exponentials(key, data):
    """A Gamma of whole shape k is the sum of k exponentials; more than 200 do not occur."""
    shape = jnp.minimum(SHAPE + jnp.sum(data.y), 200)
    each = jax.random.exponential(key, (NUM_RANKS, 200))
    return Posterior(jnp.log(jnp.sum(jnp.where(jnp.arange(200) < shape, each, 0.0), 1) / (RATE + 3.0)), {})


class Program(NamedTuple):
    """A method (key, data) -> Posterior of a setting's model."""

    setting: str
    method: Callable


def _of_regression(**changes):
    return Program("linear", partial(_regression, **changes))


def _of_rate(**changes):
    return Program("gamma_poisson", partial(_rate, **changes))


RIGHT_POSTERIORS: dict[str, Program] = {
    "exact posterior of a regression": _of_regression(),
    "a chain, thinned": _of_regression(noise_like=_chain(THIN)),
    "a posterior updated row by row": Program("linear", _row_by_row),
    "exact posterior of a rate": _of_rate(),
    "a rate as a sum of exponentials": Program("gamma_poisson", _sum_of_exponentials),
}

_fixed = lambda key: jax.random.normal(jax.random.key(0), (NUM_RANKS, 3))
_one_number = lambda key: jnp.repeat(jax.random.normal(key, (NUM_RANKS, 1)), 3, axis=1)

METHOD_MUTANTS: dict[str, Program] = {
    "the prior returned as the posterior": Program("linear", _prior_for(slice(None))),
    "data ignored for one coefficient": Program("linear", _prior_for(slice(0, 1))),
    "posterior sds × 0.7": _of_regression(widen=0.7),
    "posterior sds × 1.4": _of_regression(widen=1.4),
    "posterior means + 0.35 sd": _of_regression(shift=0.35),
    "a point repeated": _of_regression(widen=0.0),
    "likelihood counted twice": _of_regression(power=2.0),
    "the prior left out": _of_regression(prior=1e3),
    "the prior of half its sd": _of_regression(prior=0.5 * PRIOR),
    "a row dropped": _of_regression(rows=slice(1, None)),
    "variance of the noise taken for its sd": _of_regression(noise=NOISE**2),
    "responses in another order": _of_regression(order=slice(None, None, -1)),
    "the coefficients' correlations lost": _of_regression(diagonal=True),
    "one random number for all coefficients": _of_regression(noise_like=_one_number),
    "a key of its own, the same each time": _of_regression(noise_like=_fixed),
    "a chain, not thinned": _of_regression(noise_like=_chain(1)),
    "a Jacobian of the log rate too many": _of_rate(extra=1.0),
    "exposure of one row": _of_rate(exposure=1.0),
    "counts taken for presence": _of_rate(seen=lambda y: jnp.minimum(y, 1.0)),
    "one draw repeated": _of_rate(shared=True),
}


class Simulated(NamedTuple):
    """What the ranks are made of: truth [N, Q + 1], draws [N, L, Q + 1], uniforms for ties [N, Q + 1]."""

    truth: np.ndarray
    draws: np.ndarray
    tie_breaks: np.ndarray


def judged(names: tuple[str, ...], simulated: Simulated) -> Calibration:
    """What `calibration` says of these simulations."""
    ranks = ranks_of(*simulated)
    p_value = np.array([uniform_p_value(column, NUM_RANKS) for column in ranks.T])
    return Calibration((*names, LOG_LIKELIHOOD), ranks, NUM_RANKS, p_value, FALSE_ALARM)


class JudgeMutant(NamedTuple):
    """wrong: (names, Simulated) -> whether it is found calibrated. It must cry at the exact posterior of the
    regression, or be silent at the program called `damage`."""

    wrong: Callable
    damage: str


def _ties_below(names, simulated):
    return judged(names, simulated._replace(tie_breaks=np.zeros_like(simulated.tie_breaks))).calibrated


def _parameters_only(names, simulated):
    found = judged(names, simulated)
    return found._replace(p_value=found.p_value[:-1]).calibrated


def _mean_rank_only(names, simulated):
    """Whether each mean rank is near L / 2: blind to spread."""
    ranks = ranks_of(*simulated)
    sd = np.sqrt(((NUM_RANKS + 1) ** 2 - 1) / 12 / len(ranks))
    p = 2 * stats.norm.sf(np.abs(ranks.mean(0) - NUM_RANKS / 2) / sd)
    return bool(p.min() * p.size >= FALSE_ALARM)


def _ranks_from_one(names, simulated):
    """The truth counted among its own draws."""
    ranks = np.minimum(ranks_of(*simulated) + 1, NUM_RANKS)
    p = np.array([uniform_p_value(column, NUM_RANKS) for column in ranks.T])
    return bool(p.min() * p.size >= FALSE_ALARM)


JUDGE_MUTANTS: dict[str, JudgeMutant] = {
    "ties ranked without a tie-break": JudgeMutant(_ties_below, "posterior sds × 0.7"),
    "the log-likelihood not ranked": JudgeMutant(_parameters_only, "the prior returned as the posterior"),
    "mean ranks only": JudgeMutant(_mean_rank_only, "a chain, not thinned"),
    "ranks from 1 instead of 0": JudgeMutant(_ranks_from_one, "posterior sds × 0.7"),
}

CALIBRATION_MUTANTS: dict[str, Program | JudgeMutant] = {**METHOD_MUTANTS, **JUDGE_MUTANTS}


def simulate(setting: Setting, name: str, seed: int, num: int = NUM_SIMULATIONS) -> Simulated:
    """Truths and draws of the program called `name`, over `num` data sets simulated from the setting's model."""
    names = [key for key, program in _PROGRAMS.items() if program.setting == setting.name]
    parts = (setting.model, setting.x, Partial(setting.query))
    key = jax.random.fold_in(jax.random.key(seed), list(_PROGRAMS).index(name))
    return Simulated(
        *map(np.asarray, _simulations(tuple(names), names.index(name), jax.random.split(key, num), *parts))
    )


_PROGRAMS = {**RIGHT_POSTERIORS, **METHOD_MUTANTS}
EXACT = "exact posterior of a regression"


@partial(jax.jit, static_argnums=0)
def _simulations(names, which, keys, model, x, query):
    branches = [_PROGRAMS[name].method for name in names]
    method = lambda key, model, data: lax.switch(which, branches, key, data)
    return jax.vmap(partial(one_simulation, method, model, x, query, NUM_RANKS))(keys)
