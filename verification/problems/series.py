"""Time series: an autoregression of order two, an ARMA(1,1)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jax.tree_util import Partial

from probjax import Target
from verification.exact.cache import solved
from verification.exact.gaussian_mixture import HyperQuery, Queries, gaussian_mixture
from verification.exact.state_space import Arma, Regression, lagged
from verification.problems._parts import reweighted
from verification.problems._scales import (
    exact_draws,
    identity,
    log_half_cauchy_scale,
    log_half_normal_scale,
    normal_init,
    redrawn,
)
from verification.types import Bug, Problem

AR_SCALES = (1.0, 1.0)  # prior sd of the coefficients, of σ
AR_FIT = 42


def autoregression_data() -> np.ndarray:
    """47 values of a damped oscillation that starts far off its mean; the last 5 are held out."""
    rng, series = np.random.default_rng(2), [2.4, 1.8]
    for _ in range(45):
        series.append(0.2 + 1.0 * series[-1] - 0.4 * series[-2] + 0.5 * rng.standard_normal())
    return np.array(series)


def autoregression() -> Problem:
    """y_t ~ N(c + φ₁y_{t−1} + φ₂y_{t−2}, σ²) given y_1 and y_2: an AR(2) with learnt noise."""
    series = autoregression_data()
    design, response = lagged(series, 2)
    num = AR_FIT - 2
    solver, both = Regression(design[:num], response[:num], *AR_SCALES), Regression(design, response, *AR_SCALES)
    parts = {
        "c": [1, 0, 0],
        "phi[1]": [0, 1, 0],
        "phi[2]": [0, 0, 1],
        "phi[1] + phi[2]": [0, 1, 1],
        "next mean": design[num],
    }
    matrix = np.vstack(list(parts.values())).astype(float)
    queries = Queries(tuple(parts), matrix, (HyperQuery("sigma", (1,)),))
    log_new = lambda v: both.log_weight(v) - solver.log_weight(v)
    solve = lambda: gaussian_mixture(solver, queries, nodes=[161], log_new=log_new, num_new=len(response) - num)
    return Problem(
        name="autoregression",
        about="an AR(2) with learnt noise, 40 rows given the first two",
        model=Target(
            normal_init(0.5, coef=(3,), log_sigma=()),
            Partial(_ar_log_joint, *AR_SCALES),
            _ar_constrain,
        ),
        data={"y": jnp.asarray(series[:AR_FIT])},
        query=Partial(_ar_query, jnp.asarray(matrix)),
        log_new=Partial(_ar_rows, jnp.asarray(series[AR_FIT - 2 :])),
        reference=solved("autoregression", solve),
        exact_draws=exact_draws(solver, [161], _ar_params),
        bug=Bug("first rows taken as stationary", reweighted(Partial(_log_stationary, jnp.asarray(series[:2])))),
    )


def _ar_rows(series, params):
    """log p of all but the first two values, given those."""
    c, first, second = params["coef"]
    mean = c + first * series[1:-1] + second * series[:-2]
    return jnp.sum(norm.logpdf(series[2:], mean, jnp.exp(params["log_sigma"])))


def _ar_log_joint(prior_scale, scale, params, data):
    coef = jnp.sum(norm.logpdf(params["coef"], 0.0, prior_scale))
    return coef + log_half_normal_scale(params["log_sigma"], scale) + _ar_rows(data["y"], params)


def _ar_constrain(params):
    return {"coef": params["coef"], "sigma": jnp.exp(params["log_sigma"])}


def _ar_query(matrix, params):
    return jnp.append(matrix @ params["coef"], jnp.exp(params["log_sigma"]))


def _ar_params(v, latents):
    return {"coef": latents, "log_sigma": v[:, 0]}


def _log_stationary(start, params):
    """log p(y_1, y_2) under the stationary law of the AR(2); −inf where there is none (Box & Jenkins, §3.2)."""
    c, first, second = params["coef"]
    stable = (jnp.abs(second) < 1) & (jnp.abs(first) < 1 - second)
    first, second = jnp.where(stable, first, 0.0), jnp.where(stable, second, 0.0)
    correlation = first / (1 - second)
    variance = jnp.exp(2 * params["log_sigma"]) / (1 - first * correlation - second * (first * correlation + second))
    gap = start - c / (1 - first - second)
    log_prob = norm.logpdf(gap[0], 0.0, jnp.sqrt(variance))
    log_prob += norm.logpdf(gap[1], correlation * gap[0], jnp.sqrt(variance * (1 - correlation**2)))
    return jnp.where(stable, log_prob, -jnp.inf)


ARMA_SCALES = (10.0, 0.5, 2.5)  # prior sd of μ, of φ and ϑ; half-Cauchy scale of σ
ARMA_FIT = 50


def arma_data() -> np.ndarray:
    """53 values of an ARMA(1,1) (φ 0.6, ϑ 0.3, σ 0.5) whose first is far off; the last 3 are held out."""
    rng = np.random.default_rng(11)
    errors, series = 0.5 * rng.standard_normal(53), [3.0]
    errors[0] = series[0] - 0.4 * 1.6
    for t in range(1, 53):
        series.append(0.4 + 0.6 * series[-1] + 0.3 * errors[t - 1] + errors[t])
    return np.array(series)


def arma() -> Problem:
    """y_t ~ N(μ + φy_{t−1} + ϑe_{t−1}, σ²), e_t = y_t − its mean, started at the mean μ + φμ: the conditional
    likelihood of posteriordb's arma11, with N(0, 0.5²) priors on φ and ϑ."""
    series = arma_data()
    solver, both = Arma(series[:ARMA_FIT], *ARMA_SCALES), Arma(series, *ARMA_SCALES)
    hyper = (
        HyperQuery("phi", (1, 0, 0), identity),
        HyperQuery("theta", (0, 1, 0), identity),
        HyperQuery("sigma", (0, 0, 1)),
        HyperQuery("phi + theta", (1, 1, 0), identity),
    )
    queries = Queries(("mu",), np.eye(1), hyper)
    log_new = lambda v: both.log_weight(v) - solver.log_weight(v)
    num_new = len(series) - ARMA_FIT
    return Problem(
        name="arma",
        about="an ARMA(1,1), 50 rows, by its conditional likelihood",
        model=Target(
            normal_init(0.3, mu=(), phi=(), theta=(), log_sigma=()),
            Partial(_arma_log_joint, *ARMA_SCALES),
            _arma_constrain,
        ),
        data={"y": jnp.asarray(series[:ARMA_FIT])},
        query=_arma_query,
        log_new=Partial(_arma_new, jnp.asarray(series), jnp.arange(len(series)) >= ARMA_FIT),
        reference=solved(
            "arma", lambda: gaussian_mixture(solver, queries, nodes=[81, 81, 61], log_new=log_new, num_new=num_new)
        ),
        exact_draws=exact_draws(solver, [61, 61, 41], _arma_params),
        bug=Bug("first error set to zero", redrawn(solver._replace(free_start=True), [61, 61, 41], _arma_params)),
    )


def _arma_log_probs(series, params):
    """[T] log p(y_t | the past)."""
    mu, phi, theta = params["mu"], params["phi"], params["theta"]
    first = series[0] - (mu + phi * mu)

    def step(error, pair):
        error = pair[1] - (mu + phi * pair[0] + theta * error)
        return error, error

    _, rest = jax.lax.scan(step, first, jnp.stack([series[:-1], series[1:]], 1))
    return norm.logpdf(jnp.append(first, rest), 0.0, jnp.exp(params["log_sigma"]))


def _arma_log_joint(mu_scale, coef_scale, sigma_scale, params, data):
    coefs = norm.logpdf(params["phi"], 0.0, coef_scale) + norm.logpdf(params["theta"], 0.0, coef_scale)
    prior = norm.logpdf(params["mu"], 0.0, mu_scale) + coefs + log_half_cauchy_scale(params["log_sigma"], sigma_scale)
    return prior + jnp.sum(_arma_log_probs(data["y"], params))


def _arma_new(series, is_new, params):
    return jnp.sum(jnp.where(is_new, _arma_log_probs(series, params), 0.0))


def _arma_constrain(params):
    return {**{name: params[name] for name in ("mu", "phi", "theta")}, "sigma": jnp.exp(params["log_sigma"])}


def _arma_query(params):
    mu, phi, theta = params["mu"], params["phi"], params["theta"]
    return jnp.stack([mu, phi, theta, jnp.exp(params["log_sigma"]), phi + theta])


def _arma_params(v, latents):
    return {"mu": latents[:, 0], "phi": v[:, 0], "theta": v[:, 1], "log_sigma": v[:, 2]}


PROBLEMS = {
    "autoregression": autoregression,
    "arma": arma,
}
