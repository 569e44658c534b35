"""Conjugate families and their near relations whose likelihood is no model of rows with outputs: censored, uniform and
rounded data, a covariance matrix. All parameters are unconstrained; Jacobians are part of the prior."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, log_ndtr, multigammaln
from jax.scipy.stats import norm
from jax.tree_util import Partial
from scipy import special

from probjax import Target
from probjax.types import Static, function
from verification.exact import families as exact
from verification.exact import location_scale
from verification.exact.cache import solved
from verification.exact.marginals import Function, one_parameter
from verification.exact.sampling import rejection_sampler
from verification.problems._parts import reweighted
from verification.types import Bug, Problem


def _target_problem(
    name, about, init, log_joint, data, query, log_new, reference, draw, bug, *, log_concave
) -> Problem:
    target = Target(init, log_joint, Partial(_named, Static(reference.names), function(query)))
    data = jax.tree.map(jnp.asarray, data)
    return Problem(
        name, about, target, data, function(query), log_new, reference, draw, log_concave=log_concave, bug=bug
    )


def _named(names, query, params):
    return dict(zip(names.value, query(params)))


def _standard_normal(size, key):
    return jax.random.normal(key, size.value)


SCALAR = Partial(_standard_normal, Static(()))


def censored_waiting_times() -> Problem:
    """Twelve exponential waiting times of which those beyond 20 are known only to be so; rate ~ Gamma(2, 10), the
    parameter is its logarithm."""
    times = np.array([3.2, 20.0, 7.5, 0.9, 17.6, 20.0, 5.1, 11.2, 20.0, 2.4, 14.3, 8.8])
    event, new_times, shape, rate = (times < 20).astype(float), np.array([4.0, 15.0]), 2.0, 10.0
    post_shape, post_rate, ahead = shape + event.sum(), rate + times.sum(), 25.0
    constant = shape * np.log(rate) - special.gammaln(shape)
    functions = [
        Function("rate", np.exp),
        Function("log rate", lambda u: u),
        Function("mean time", lambda u: np.exp(-u), increasing=False),
        Function("P(time > 25)", lambda u: np.exp(-ahead * np.exp(u)), increasing=False),
    ]
    density = lambda u: constant + post_shape * u - post_rate * np.exp(u)
    log_new = lambda u: 2 * u - new_times.sum() * np.exp(u)
    solve = lambda: one_parameter(density, -14.0, 0.5, functions, log_new=log_new, num_new=2)
    draw = lambda rng, num: np.log(rng.gamma(post_shape, 1 / post_rate, num))
    as_events = lambda rng, u: np.log(rng.gamma(shape + len(times), 1 / post_rate, len(u)))
    return _target_problem(
        "censored_waiting_times",
        "rate of exponential waiting times, 3 of 12 censored (gamma–exponential)",
        SCALAR,
        Partial(_censored_log_joint, shape, rate),
        {"time": times, "event": event},
        Partial(_waiting_query, jnp.asarray(ahead)),
        Partial(_exponential_new, jnp.asarray(new_times)),
        solved("censored_waiting_times", solve),
        draw,
        Bug("censored times taken for events", as_events),
        log_concave=True,
    )


def _censored_log_joint(shape, rate, u, data):
    prior = shape * (jnp.log(rate) + u) - rate * jnp.exp(u) - gammaln(shape)
    return prior + jnp.sum(data["event"] * u - data["time"] * jnp.exp(u))


def _waiting_query(ahead, u):
    return jnp.stack([jnp.exp(u), u, jnp.exp(-u), jnp.exp(-ahead * jnp.exp(u))])


def _exponential_new(times, u):
    return jnp.sum(u - times * jnp.exp(u))


def pareto_uniform() -> Problem:
    """Eight rows of Uniform(0, θ), θ ~ Pareto(2.5) above 1: θ cannot be below the largest row m, where its density is
    largest. The parameter is log(θ − m), which is unconstrained."""
    y, new_y, index, least = np.array([2.2, 0.7, 3.1, 1.9, 2.6, 0.3, 1.4, 2.9]), np.array([1.0, 2.8]), 2.5, 1.0
    largest, post_index = y.max(), index + len(y)
    constant = np.log(index) + index * np.log(least)
    log_theta = lambda u: np.log(largest) + np.log1p(np.exp(u) / largest)
    density = lambda u: constant - (post_index + 1) * log_theta(u) + u
    functions = [
        Function("theta", lambda u: largest + np.exp(u)),
        Function("log(theta - max)", lambda u: u),
        Function("P(y > max)", lambda u: np.exp(u) / (largest + np.exp(u))),
    ]
    log_new = lambda u: -len(new_y) * log_theta(u)
    solve = lambda: one_parameter(density, -38.0, 11.0, functions, log_new=log_new, num_new=2)
    # log(θ/m) is exponential
    draw = lambda rng, num, a=post_index: np.log(largest * np.expm1(rng.exponential(1 / a, num)))
    return _target_problem(
        "pareto_uniform",
        "upper end of a uniform distribution from 8 rows (Pareto–uniform)",
        SCALAR,
        Partial(_pareto_log_joint, index, least),
        {"y": y},
        Partial(_endpoint_query, jnp.asarray(largest)),
        Partial(_uniform_new, jnp.asarray(new_y), jnp.asarray(largest)),
        solved("pareto_uniform", solve),
        draw,
        Bug("a flat prior for the Pareto one", lambda rng, u: draw(rng, len(u), len(y) - 1)),
        log_concave=True,
    )


def _pareto_log_joint(index, least, u, data):
    theta = jnp.max(data["y"]) + jnp.exp(u)
    prior = jnp.log(index) + index * jnp.log(least) - (index + 1) * jnp.log(theta)
    return prior - data["y"].size * jnp.log(theta) + u


def _endpoint_query(largest, u):
    theta = largest + jnp.exp(u)
    return jnp.stack([theta, u, jnp.exp(u) / theta])


def _uniform_new(y, largest, u):
    theta = largest + jnp.exp(u)
    return jnp.sum(jnp.where(y <= theta, -jnp.log(theta), -jnp.inf))


def normal_covariance() -> Problem:
    """Ten rows of a bivariate normal, mean and covariance unknown (normal–inverse-Wishart). The parameters are the mean
    and the Cholesky factor L of Σ, its diagonal on a log scale; |∂Σ/∂(log L₁₁, L₂₁, log L₂₂)| = 4 L₁₁³ L₂₂²."""
    rng = np.random.default_rng(31)
    rows = rng.standard_normal((13, 2)) @ np.array([[1.0, 0.8], [0.0, 0.6]]) + [1.0, -0.5]
    y, new_y = np.round(rows[:10], 2), np.round(rows[10:], 2)
    prior = exact.Wishart(np.zeros(2), 0.5, 5.0, np.array([[2.0, 0.0], [0.0, 2.0]]))
    post = prior.given(y)
    names = ("mu[1]", "mu[2]", "sd[1]", "sd[2]", "correlation", "slope")
    return _target_problem(
        "normal_covariance",
        "mean and covariance of a bivariate normal from 10 rows (normal–inverse-Wishart)",
        _cholesky_init,
        Partial(_niw_log_joint, jnp.asarray(prior.mean), prior.count, prior.dof, jnp.asarray(prior.scatter)),
        {"y": y},
        _covariance_query,
        Partial(_bivariate_log_likelihood, jnp.asarray(new_y)),
        solved("normal_covariance", lambda: exact.wishart_sample(names, prior, y, new_y)),
        lambda rng, num: _niw_draws(rng, num, post),
        Bug("the Cholesky Jacobian's exponents in the wrong order", reweighted(_swapped_exponents)),
        log_concave=False,
    )


def _cholesky_init(key):
    z = jax.random.normal(key, (5,))
    return {"mean": z[:2], "log_diagonal": z[2:4], "lower": z[4]}


def _factor(params):
    first, second = jnp.exp(params["log_diagonal"])
    return jnp.array([[first, 0.0], [params["lower"], second]])


def _niw_log_joint(loc, count, dof, scatter, params, data):
    L, (log_first, log_second) = _factor(params), params["log_diagonal"]
    log_det = 2 * (log_first + log_second)
    inverse = jax.scipy.linalg.solve_triangular(L, jnp.eye(2), lower=True)
    normaliser = 0.5 * dof * jnp.linalg.slogdet(scatter)[1] - dof * jnp.log(2.0) - multigammaln(0.5 * dof, 2)
    of_covariance = normaliser - 0.5 * (dof + 3) * log_det - 0.5 * jnp.sum((inverse @ scatter) * inverse)
    jacobian = jnp.log(4.0) + 3 * log_first + 2 * log_second
    z = jnp.sqrt(count) * inverse @ (params["mean"] - loc)
    of_mean = jnp.log(count) - jnp.log(2 * jnp.pi) - 0.5 * log_det - 0.5 * jnp.sum(z**2)
    return of_covariance + jacobian + of_mean + _bivariate_log_likelihood(data["y"], params)


def _bivariate_log_likelihood(y, params):
    z = jax.scipy.linalg.solve_triangular(_factor(params), (y - params["mean"]).T, lower=True)
    return -0.5 * jnp.sum(z**2) - len(y) * (jnp.log(2 * jnp.pi) + jnp.sum(params["log_diagonal"]))


def _covariance_query(params):
    (first, _), (lower, second) = _factor(params)
    sd = jnp.sqrt(lower**2 + second**2)
    return jnp.stack([*params["mean"], first, sd, lower / sd, lower / first])


def _swapped_exponents(params):
    return params["log_diagonal"][1] - params["log_diagonal"][0]


def _niw_draws(rng, num, post):
    one, rest, slope, p11 = post.regression()
    first, second = (np.sqrt(s.b / rng.gamma(s.a, size=num)) for s in (one, rest))
    lower = first * (slope + second / np.sqrt(p11) * rng.standard_normal(num))
    z = rng.standard_normal((2, num)) / np.sqrt(post.count)
    mean = post.mean + np.column_stack([first * z[0], lower * z[0] + second * z[1]])
    return {"mean": mean, "log_diagonal": np.log(np.column_stack([first, second])), "lower": lower}


def rounded_normal() -> Problem:
    """Twelve rows of N(μ, σ²) rounded to whole numbers, σ near one unit: the likelihood is Φ over half a unit on either
    side. μ ~ N(5, 3²), log σ ~ N(0, 1); the parameters are (μ, log σ)."""
    y, new_y = np.array([4.0, 5, 5, 6, 5, 7, 6, 5, 6, 4, 5, 5]), np.array([6.0, 5, 4])
    loc, scale, slope = 5.0, 3.0, 1.645
    data, new = (location_scale.Rounded(rows, loc, scale) for rows in (y, new_y))
    names = ("mu", "sigma", "log_sigma", "mu + 1.645 sigma")
    ranges = (-1.0, 11.5), (-3.0, 2.3)
    solve = lambda: location_scale.rounded_normal(names, data, new, len(new_y), slope, *ranges)
    reference = solved("rounded_normal", solve)
    mu_and_log, both = [0, 2], np.ix_([0, 2], [0, 2])
    covariance = reference.corr[both] * np.outer(reference.sd[mu_and_log], reference.sd[mu_and_log])
    density = lambda t: data.log_density(t[:, 0], t[:, 1])
    return _target_problem(
        "rounded_normal",
        "mean and sd of a normal from 12 rounded rows",
        Partial(_standard_normal, Static((2,))),
        Partial(_rounded_log_joint, loc, scale),
        {"y": y},
        Partial(_rounded_query, jnp.asarray(slope)),
        Partial(_rounded_log_likelihood, jnp.asarray(new_y)),
        reference,
        rejection_sampler(density, reference.mean[mu_and_log], covariance),
        Bug("rounded values taken as exact", reweighted(Partial(_exact_over_rounded, jnp.asarray(y)))),
        log_concave=False,
    )


def _rounded_log_joint(loc, scale, params, data):
    prior = norm.logpdf(params[0], loc, scale) + norm.logpdf(params[1])
    return prior + _rounded_log_likelihood(data["y"], params)


def _rounded_log_likelihood(y, params):
    mu, sigma = params[0], jnp.exp(params[1])
    low, high = (y - 0.5 - mu) / sigma, (y + 0.5 - mu) / sigma
    flip = low + high > 0  # in the lower tail, where Φ keeps its digits
    low, high = jnp.where(flip, -high, low), jnp.where(flip, -low, high)
    top = log_ndtr(high)
    return jnp.sum(top + jnp.log(-jnp.expm1(log_ndtr(low) - top)))


def _rounded_query(slope, params):
    mu, u = params
    return jnp.stack([mu, jnp.exp(u), u, mu + slope * jnp.exp(u)])


def _exact_over_rounded(y, params):
    return jnp.sum(norm.logpdf(y, params[0], jnp.exp(params[1]))) - _rounded_log_likelihood(y, params)


PROBLEMS = {
    "censored_waiting_times": censored_waiting_times,
    "pareto_uniform": pareto_uniform,
    "normal_covariance": normal_covariance,
    "rounded_normal": rounded_normal,
}
