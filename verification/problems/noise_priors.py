"""Linear regressions on so few rows that the prior of the noise scale still shapes the posterior."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from probjax import Model, Network, Prior, likelihoods, linear, priors, with_learnt_scale
from verification.exact import noise_scale
from verification.exact.cache import solved
from verification.problems._flat import EXP, Quantity, Rows, design, exact_queries, model_query, params_of, problem
from verification.problems._parts import reweighted
from verification.types import Bug, Problem

LOW, HIGH = -7.0, 9.0  # of log σ, for the exact answer


def half_normal_rows() -> Rows:
    """7 rows, two inputs correlated at 0.95."""
    rng = np.random.default_rng(54)
    x = rng.standard_normal((10, 2)) @ np.linalg.cholesky([[1.0, 0.95], [0.95, 1.0]]).T
    return Rows.split(x, x @ [1.0, -0.5] + 0.8 * rng.standard_normal(10), 7)


HALF_NORMAL_SCALE = 0.5


def half_normal_noise() -> Problem:
    """σ ~ half-normal(0.5), two correlated inputs without an intercept."""
    rows = half_normal_rows()
    network, prior = with_learnt_scale(linear(2, bias=False)), priors.half_normal(HALF_NORMAL_SCALE)
    quantities = [
        *_scale_quantities(2),
        Quantity("w[0]", (0, 1, 0)),
        Quantity("w[1]", (0, 0, 1)),
        Quantity("w[0] + w[1]", (0, 1, 1)),
        Quantity("sigma", (1, 0, 0), EXP),
    ]
    bug = Bug("half-normal prior put on the variance", reweighted(_half_normal_variance))
    about = "linear regression, 7 rows, half-normal prior of the noise sd, inputs correlated at 0.95"
    return _learnt_scale("half_normal_noise", about, network, prior, half_normal_exact(), rows, quantities, bug)


def half_normal_exact():
    """The fitted and the held-out rows as the exact answer takes them."""
    s = HALF_NORMAL_SCALE
    log_prior = lambda u: 0.5 * np.log(2 / np.pi) - np.log(s) - 0.5 * np.exp(2 * u) / s**2 + u
    return _exact_rows(half_normal_rows(), lambda x: x, log_prior)


def _half_normal_variance(params):
    u = params["log_scale"]  # half-normal of σ²: −σ⁴/2s² and the Jacobian of σ², 2σ²
    return 0.5 * (jnp.exp(2 * u) - jnp.exp(4 * u)) / HALF_NORMAL_SCALE**2 + u


def _scale_quantities(num):
    return [Quantity("log sigma", (1,) + (0,) * num)]


def _exact_rows(rows: Rows, matrix: Callable, log_prior: Callable, relative=None):
    relative = (lambda x: np.ones(len(x))) if relative is None else relative
    fit = noise_scale.NoisyRows(matrix(rows.x), rows.y, relative(rows.x), 1.0, log_prior)
    return fit, fit._replace(design=matrix(rows.new_x), y=rows.new_y, relative=relative(rows.new_x))


def _learnt_scale(name, about, network, scale_prior, exact, rows, quantities, bug) -> Problem:
    prior = priors.joint(network=priors.normal(0.0, 1.0), log_scale=scale_prior)
    model = Model(*network, prior=prior, likelihood=likelihoods.normal())
    reference = solved(name, lambda: noise_scale.solve(exact_queries(quantities), *exact, LOW, HIGH))
    sampler, unpack = noise_scale.sampler(exact[0], LOW, HIGH), params_of(model)
    draws = lambda rng, num: unpack(sampler(rng, num))
    return problem(name, about, model, rows, model_query(quantities), reference, draws, bug)


def half_cauchy_rows() -> Rows:
    """4 rows on a line."""
    x, y = np.array([-1.5, -0.5, 0.4, 1.2, 0.0, 2.0]), np.array([-1.4, -0.1, 0.2, 1.3, 0.3, 1.1])
    return Rows.split(x[:, None], y, 4)


HALF_CAUCHY_SCALE = 0.2


def half_cauchy_noise() -> Problem:
    """σ ~ half-Cauchy(0.2) (Gelman 2006) and four rows for three parameters."""
    rows = half_cauchy_rows()
    network, prior = with_learnt_scale(linear(1)), priors.half_cauchy(HALF_CAUCHY_SCALE)
    quantities = [
        *_scale_quantities(2),
        Quantity("bias", (0, 1, 0)),
        Quantity("w", (0, 0, 1)),
        Quantity("f(2)", (0, 1, 2)),
        Quantity("1/sigma", (-1, 0, 0), EXP),  # σ itself has too heavy a tail for its sd to be estimated
    ]
    bug = Bug("half-Cauchy with its scale squared", reweighted(_squared_scale))
    about = "linear regression, 4 rows, half-Cauchy prior of the noise sd"
    return _learnt_scale("half_cauchy_noise", about, network, prior, half_cauchy_exact(), rows, quantities, bug)


def half_cauchy_exact():
    """The fitted and the held-out rows as the exact answer takes them."""
    log_s = np.log(HALF_CAUCHY_SCALE)
    return _exact_rows(half_cauchy_rows(), design, lambda u: np.log(2 / np.pi) - np.logaddexp(u - log_s, log_s - u))


def _squared_scale(params):
    u = params["log_scale"]
    at = lambda scale: u - jnp.log(scale) - jax.nn.softplus(2 * (u - jnp.log(scale)))
    return at(HALF_CAUCHY_SCALE**2) - at(HALF_CAUCHY_SCALE)


def exponential_rows() -> Rows:
    """8 rows, each the mean of 1 to 9 readings; x = [input, number of readings]."""
    rng = np.random.default_rng(56)
    x, readings = rng.standard_normal(11), rng.choice([1.0, 4.0, 9.0], 11)
    y = 0.6 * x + 0.3 + 1.2 * rng.standard_normal(11) / np.sqrt(readings)
    return Rows.split(np.column_stack([x, readings]), y, 8)


EXPONENTIAL_RATE = 1.0


def exponential_noise() -> Problem:
    """σ ~ exponential(1), y ~ N(xw + b, σ²/readings)."""
    rows, network = exponential_rows(), with_learnt_scale(linear(1))
    network = Network(network.init, Partial(_mean_of_readings, network.apply))
    prior = Prior(Partial(_exponential_log_prob, EXPONENTIAL_RATE), Partial(_exponential_sample, EXPONENTIAL_RATE))
    quantities = [
        *_scale_quantities(2),
        Quantity("bias", (0, 1, 0)),
        Quantity("w", (0, 0, 1)),
        Quantity("f(1)", (0, 1, 1)),
        Quantity("sigma", (1, 0, 0), EXP),
    ]
    bug = Bug("Jacobian of σ = exp(u) left out", reweighted(lambda params: -params["log_scale"]))
    about = "linear regression, 8 means of 1 to 9 readings, exponential prior of the noise sd"
    return _learnt_scale("exponential_noise", about, network, prior, exponential_exact(), rows, quantities, bug)


def exponential_exact():
    """The fitted and the held-out rows as the exact answer takes them."""
    log_prior = lambda u: np.log(EXPONENTIAL_RATE) - EXPONENTIAL_RATE * np.exp(u) + u
    matrix, relative = (lambda x: design(x[:, :1])), (lambda x: 1 / np.sqrt(x[:, 1]))
    return _exact_rows(exponential_rows(), matrix, log_prior, relative)


def _mean_of_readings(apply, params, x):
    """f = (μ, σ/√n), n the last column of x."""
    location, scale = apply(params, x[:, :-1])
    return location, scale / jnp.sqrt(x[:, -1])


def _exponential_log_prob(rate, u):
    return jnp.log(rate) - rate * jnp.exp(u) + u


def _exponential_sample(rate, key, like):
    return jnp.log(jax.random.exponential(key, like.shape, like.dtype) / rate)


PROBLEMS = {
    "half_normal_noise": half_normal_noise,
    "half_cauchy_noise": half_cauchy_noise,
    "exponential_noise": exponential_noise,
}
