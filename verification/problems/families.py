"""Conjugate families and their near relations: posteriors of small data sets in closed form, or but for one integral.
All parameters are unconstrained; Jacobians are part of the prior."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betaln, gammaln, log_ndtr, multigammaln
from jax.scipy.stats import norm
from jax.tree_util import Partial
from scipy import special

from probjax import Model, Network, Prior, Target, columns, likelihoods, priors
from probjax.types import Static, function
from verification.exact import families as exact
from verification.exact import location_scale
from verification.exact.cache import solved
from verification.exact.marginals import Function, one_parameter
from verification.exact.sampling import rejection_sampler
from verification.problems._parts import constant_network, new_rows, reweighted, rows_without_inputs
from verification.types import Bug, Problem


def _model_problem(name, about, model, y, new_y, query, reference, draw, bug, *, log_concave) -> Problem:
    fit, new = rows_without_inputs(y), rows_without_inputs(new_y)
    return Problem(
        name,
        about,
        model,
        fit,
        function(query),
        new_rows(model, new),
        reference,
        draw,
        log_concave=log_concave,
        bug=bug,
    )


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


def normal_sample() -> Problem:
    """Eight rows of N(μ, σ²), both unknown: μ | σ² ~ N(1.5, σ²/2), σ² ~ InvGamma(3, 2). The parameters are
    (μ, log σ)."""
    y = np.array([2.9, 1.4, 3.3, 2.2, 1.9, 2.7, 3.6, 1.6])
    new_y = np.array([2.0, 3.1, 0.7])
    prior = exact.Normal(1.5, 2.0, 3.0, 2.0)
    post = prior.given(y)
    network = columns(constant_network(2), "real", "positive")
    given = Prior(Partial(_nig_log_prob, *prior), Partial(_nig_sample, *prior))

    def draw_from(rate):
        def draw(rng, num):
            variance = rate / rng.gamma(post.shape, size=num)
            mu = post.mean + np.sqrt(variance / post.count) * rng.standard_normal(num)
            return np.column_stack([mu, 0.5 * np.log(variance)])

        return draw

    within_alone = draw_from(prior.rate + 0.5 * np.sum((y - y.mean()) ** 2))
    return _model_problem(
        "normal_sample",
        "mean and sd of a normal from 8 rows (normal–inverse-gamma)",
        Model(*network, prior=given, likelihood=likelihoods.normal()),
        y,
        new_y,
        _normal_query,
        solved("normal_sample", lambda: exact.normal_sample(("mu", "sigma", "log_sigma", "mu/sigma"), prior, y, new_y)),
        draw_from(post.rate),
        Bug("the prior mean's distance left out of the sum of squares", lambda rng, p: within_alone(rng, len(p))),
        log_concave=False,
    )


def _nig_log_prob(loc, count, shape, rate, params):
    mu, u = params
    log_scale = jnp.log(2.0) + shape * jnp.log(rate) - gammaln(shape) - 2 * shape * u - rate * jnp.exp(-2 * u)
    return log_scale + norm.logpdf(mu, loc, jnp.exp(u) / jnp.sqrt(count))


def _nig_sample(loc, count, shape, rate, key, like):
    scale_key, loc_key = jax.random.split(key)
    sigma = jnp.sqrt(rate / jax.random.gamma(scale_key, shape))
    return jnp.stack([loc + sigma / jnp.sqrt(count) * jax.random.normal(loc_key), jnp.log(sigma)])


def _normal_query(params):
    mu, u = params
    return jnp.stack([mu, jnp.exp(u), u, mu * jnp.exp(-u)])


def normal_variance() -> Problem:
    """Six rows of N(1, σ²) with σ² ~ InvGamma(2, 1.5); the parameter is log σ²."""
    y, new_y, loc, shape, rate = np.array([1.8, 0.4, -0.6, 2.1, 1.3, 3.0]), np.array([0.2, 1.5]), 1.0, 2.0, 1.5
    post_shape, post_rate = shape + 3.0, rate + 0.5 * np.sum((y - loc) ** 2)
    constant = shape * np.log(rate) - special.gammaln(shape) - 3 * np.log(2 * np.pi)
    density = lambda v: constant - post_shape * v - post_rate * np.exp(-v)
    log_new = lambda v: -np.log(2 * np.pi) - v - 0.5 * np.sum((new_y - loc) ** 2) * np.exp(-v)
    functions = [
        Function("sd", lambda v: np.exp(v / 2)),
        Function("log variance", lambda v: v),
        Function("precision", lambda v: np.exp(-v), increasing=False),
    ]
    solve = lambda: one_parameter(density, -6.0, 20.0, functions, log_new=log_new, num_new=2)
    prior = Prior(Partial(_inverse_gamma_log_prob, shape, rate), Partial(_inverse_gamma_sample, shape, rate))
    network = Network(SCALAR, Partial(_around, loc))
    draw = lambda rng, num: np.log(post_rate / rng.gamma(post_shape, size=num))
    halved = lambda rng, v: np.log(post_rate / rng.gamma(post_shape + 0.5, size=len(v)))
    return _model_problem(
        "normal_variance",
        "variance of a normal of known mean from 6 rows (inverse gamma)",
        Model(*network, prior=prior, likelihood=likelihoods.normal()),
        y,
        new_y,
        _variance_query,
        solved("normal_variance", solve),
        draw,
        Bug("the Jacobian of log sd for that of log variance", halved),
        log_concave=True,
    )


def _inverse_gamma_log_prob(shape, rate, v):
    return shape * jnp.log(rate) - gammaln(shape) - shape * v - rate * jnp.exp(-v)


def _inverse_gamma_sample(shape, rate, key, like):
    return jnp.log(rate) - jax.random.loggamma(key, shape, like.shape, like.dtype)


def _around(loc, v, x):
    rows = x.shape[:1]
    return jnp.full(rows, loc), jnp.broadcast_to(jnp.exp(v / 2), rows)


def _variance_query(v):
    return jnp.stack([jnp.exp(v / 2), v, jnp.exp(-v)])


def beta_geometric() -> Problem:
    """Failures before the first success in five trials of it, p ~ Beta(2, 2); the parameter is the log of the mean
    number of failures, log (1 − p)/p."""
    y, new_y, a, b = np.array([3.0, 0, 6, 2, 4]), np.array([1.0, 5]), 2.0, 2.0
    post_a, post_b = a + len(y), b + y.sum()
    log_p, log_q = (lambda u: -np.logaddexp(0, u)), (lambda u: -np.logaddexp(0, -u))
    density = lambda u: post_a * log_p(u) + post_b * log_q(u) - special.betaln(a, b)
    functions = [
        Function("p", lambda u: special.expit(-u), increasing=False),
        Function("mean failures", np.exp),
        Function("P(y > 2)", lambda u: special.expit(u) ** 3),
    ]
    log_new = lambda u: len(new_y) * log_p(u) + new_y.sum() * log_q(u)
    solve = lambda: one_parameter(density, -5.0, 11.0, functions, log_new=log_new, num_new=2)
    prior = Prior(Partial(_beta_log_prob, a, b), Partial(_beta_sample, a, b))
    logit_of = lambda rng, num, b: -special.logit(rng.beta(post_a, b, num))
    return _model_problem(
        "beta_geometric",
        "geometric waiting times from 5 rows (beta–geometric)",
        Model(*constant_network(), prior=prior, likelihood=likelihoods.negative_binomial(1.0)),
        y,
        new_y,
        _geometric_query,
        solved("beta_geometric", solve),
        lambda rng, num: logit_of(rng, num, post_b),
        Bug("failures counted as trials", lambda rng, u: logit_of(rng, len(u), post_b - len(y))),
        log_concave=True,
    )


def _beta_log_prob(a, b, u):
    return a * jax.nn.log_sigmoid(-u) + b * jax.nn.log_sigmoid(u) - betaln(a, b)


def _beta_sample(a, b, key, like):
    a_key, b_key = jax.random.split(key)
    return jax.random.loggamma(b_key, b, like.shape, like.dtype) - jax.random.loggamma(a_key, a, like.shape, like.dtype)


def _geometric_query(u):
    return jnp.stack([jax.nn.sigmoid(-u), jnp.exp(u), jax.nn.sigmoid(u) ** 3])


def laplace_location() -> Problem:
    """Seven rows of Laplace noise, b = 0.8, around μ ~ N(0, 2²): a posterior made of pieces of normals."""
    y, new_y, noise, scale = np.array([0.3, 1.1, 1.6, 2.4, 2.9, 4.2, -1.5]), np.array([1.9, 0.2]), 0.8, 2.0
    threshold = 10.0
    data = location_scale.Pieces(y, noise, 0.0, scale)
    solve = lambda: location_scale.laplace_location(("mu", f"P(y > {threshold:g})"), data, threshold, new_y)
    reference = solved("laplace_location", solve)
    sampler = rejection_sampler(lambda m: data.log_density(m[:, 0]), reference.mean[:1], reference.sd[:1, None] ** 2)
    as_sd = location_scale.Pieces(y, noise / np.sqrt(2), 0.0, scale)
    narrower = rejection_sampler(lambda m: as_sd.log_density(m[:, 0]), reference.mean[:1], reference.sd[:1, None] ** 2)
    return _model_problem(
        "laplace_location",
        "location under Laplace noise from 7 rows",
        Model(*constant_network(), prior=priors.normal(0.0, scale), likelihood=likelihoods.laplace(noise)),
        y,
        new_y,
        Partial(_laplace_query, jnp.asarray(threshold), jnp.asarray(noise)),
        reference,
        lambda rng, num: sampler(rng, num)[:, 0],
        Bug("a Laplace scale taken for the sd", lambda rng, m: narrower(rng, len(m))[:, 0]),
        log_concave=True,
    )


def _laplace_query(threshold, noise, mu):
    z = (threshold - mu) / noise
    return jnp.stack([mu, jnp.where(z > 0, 0.5 * jnp.exp(-z), 1 - 0.5 * jnp.exp(z))])


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
    "normal_sample": normal_sample,
    "normal_variance": normal_variance,
    "beta_geometric": beta_geometric,
    "laplace_location": laplace_location,
    "censored_waiting_times": censored_waiting_times,
    "pareto_uniform": pareto_uniform,
    "normal_covariance": normal_covariance,
    "rounded_normal": rounded_normal,
}
