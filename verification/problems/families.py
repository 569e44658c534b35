"""Conjugate families and their near relations, as models: posteriors of small data sets in closed form, or but for one
integral. All parameters are unconstrained; Jacobians are part of the prior."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betaln, gammaln
from jax.scipy.stats import norm
from jax.tree_util import Partial
from scipy import special

from probjax import Model, Network, Prior, columns, likelihoods, priors
from probjax.types import function
from verification.exact import families as exact
from verification.exact import location_scale
from verification.exact.cache import solved
from verification.exact.marginals import Function, one_parameter
from verification.exact.sampling import rejection_sampler
from verification.problems._parts import constant_network, new_rows, rows_without_inputs
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
    network = Network(constant_network().init, Partial(_around, loc))
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


PROBLEMS = {
    "normal_sample": normal_sample,
    "normal_variance": normal_variance,
    "beta_geometric": beta_geometric,
    "laplace_location": laplace_location,
}
