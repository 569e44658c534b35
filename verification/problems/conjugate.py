"""Beta–Bernoulli, Gamma–Poisson and Dirichlet–categorical: one rate, one probability vector, each on an
unconstrained scale."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betaln, gammaln
from jax.tree_util import Partial
from scipy.special import expit, xlogy
from scipy.special import gammaln as np_gammaln

from probjax import Model, Prior, likelihoods
from verification.exact import conjugate, quadrature
from verification.problems._parts import certified, constant_network, new_rows, reweighted, rows_without_inputs
from verification.types import Bug, Problem

FOUND = "closed form; rounding bounded by the second method"
SECOND = "trapezoid on the unconstrained scale"


def beta_bernoulli() -> Problem:
    """1 success in 19 under Beta(1, 1); the parameter is the log-odds, the Jacobian p(1 − p) is in the prior."""
    a, b, y, new_y = 1.0, 1.0, np.r_[1.0, np.zeros(18)], np.array([1.0, 0, 0, 1, 0])
    prior = Prior(Partial(_beta_log_prob, a=a, b=b), Partial(_beta_sample, a=a, b=b))
    model = Model(*constant_network(), prior=prior, likelihood=likelihoods.bernoulli())
    post_a, post_b = a + y.sum(), b + (1 - y).sum()
    density = lambda u: post_a * np.log(expit(u[:, 0])) + post_b * np.log(expit(-u[:, 0]))
    new = lambda u: new_y.sum() * np.log(expit(u[:, 0])) + (1 - new_y).sum() * np.log(expit(-u[:, 0]))
    reference = conjugate.beta_bernoulli(a, b, y, new_y)
    second = quadrature.increasing_queries(reference.names, density, -2.2, (expit, lambda u: u), log_new=new, num_new=5)
    return Problem(
        name="beta_bernoulli",
        about="probability of success from 19 trials (Beta–Bernoulli)",
        model=model,
        data=rows_without_inputs(y),
        query=_probability_query,
        log_new=new_rows(model, rows_without_inputs(new_y)),
        reference=certified(reference, second, FOUND, SECOND)._replace(classes=((0,),)),
        exact_draws=lambda rng, num: _logit(rng.beta(post_a, post_b, num)),
        log_concave=True,
        bug=Bug("Jeffreys' prior for the uniform one", reweighted(_jeffreys_ratio)),
    )


def _jeffreys_ratio(u):
    """Beta(½, ½) over Beta(1, 1)."""
    return -0.5 * (jax.nn.log_sigmoid(u) + jax.nn.log_sigmoid(-u))


def _beta_log_prob(u, a, b):
    return a * jax.nn.log_sigmoid(u) + b * jax.nn.log_sigmoid(-u) - betaln(a, b)


def _beta_sample(key, like, a, b):
    p = jax.random.beta(key, a, b, like.shape, like.dtype)
    return jnp.log(p) - jnp.log1p(-p)


def _probability_query(u):
    return jnp.stack([jax.nn.sigmoid(u), u])


def _logit(p):
    return np.log(p) - np.log1p(-p)


def gamma_poisson() -> Problem:
    """3 counts under Gamma(1, 1); the parameter is the log rate, the Jacobian λ is in the prior."""
    shape, rate = 1.0, 1.0
    y, new_y = np.array([1.0, 0, 1]), np.array([0.0, 2, 1])
    prior = Prior(Partial(_gamma_log_prob, shape=shape, rate=rate), Partial(_gamma_sample, shape=shape, rate=rate))
    model = Model(*constant_network(), prior=prior, likelihood=likelihoods.poisson())
    post_shape, post_rate = shape + y.sum(), rate + len(y)
    density = lambda u: post_shape * u[:, 0] - post_rate * np.exp(u[:, 0])
    new = lambda u: new_y.sum() * u[:, 0] - 3 * np.exp(u[:, 0]) - np_gammaln(new_y + 1).sum()
    reference = conjugate.gamma_poisson(shape, rate, y, new_y)
    second = quadrature.increasing_queries(reference.names, density, 0.0, (np.exp, lambda u: u), log_new=new, num_new=3)
    return Problem(
        name="gamma_poisson",
        about="rate of events from 3 counts (Gamma–Poisson)",
        model=model,
        data=rows_without_inputs(y),
        query=_rate_query,
        log_new=new_rows(model, rows_without_inputs(new_y)),
        reference=certified(reference, second, FOUND, SECOND),
        exact_draws=lambda rng, num: np.log(rng.gamma(post_shape, 1 / post_rate, num)),
        log_concave=True,
        bug=Bug("the Jacobian of the log rate left out", reweighted(lambda u: -u)),
    )


def _gamma_log_prob(u, shape, rate):
    return shape * (jnp.log(rate) + u) - rate * jnp.exp(u) - gammaln(shape)


def _gamma_sample(key, like, shape, rate):
    return jnp.log(jax.random.gamma(key, shape, like.shape, like.dtype) / rate)


def _rate_query(u):
    return jnp.stack([jnp.exp(u), u])


def dirichlet_categorical() -> Problem:
    """180 labels of three classes under Dirichlet(1, 1, 1); the parameters are the logits of the first two against
    the third."""
    alpha = np.array([1.0, 1.0, 1.0])
    y, new_y = np.repeat([0, 1, 2], [80, 60, 40]), np.array([2, 0, 0, 1])
    prior = Prior(Partial(_dirichlet_log_prob, alpha=alpha), Partial(_dirichlet_sample, alpha=alpha))
    network = constant_network(2)._replace(apply=Partial(_pinned_logits))
    model = Model(*network, prior=prior, likelihood=likelihoods.categorical())
    post = alpha + np.bincount(y)
    reference = conjugate.dirichlet_categorical(alpha, y, new_y)
    reference = certified(reference, _dirichlet_by_quadrature(reference, post, new_y), FOUND, SECOND)
    return Problem(
        name="dirichlet_categorical",
        about="class probabilities from 180 labels (Dirichlet–categorical)",
        model=model,
        data=rows_without_inputs(y),
        query=_simplex,
        log_new=new_rows(model, rows_without_inputs(new_y)),
        reference=reference._replace(classes=((0, 1, 2),)),
        exact_draws=lambda rng, num: _log_ratio(rng.dirichlet(post, num)),
        log_concave=True,
        bug=Bug("the pinned class left out of the Jacobian", reweighted(_pinned_ratio)),
    )


def _pinned_ratio(u):
    """Πₖ pₖ without the class whose logit is 0."""
    return -jax.nn.log_softmax(jnp.append(u, 0.0))[-1]


def _dirichlet_by_quadrature(reference, post, new_y):
    full = lambda u: np.column_stack([u, np.zeros(len(u))])
    log_probs = lambda u: full(u) - np.logaddexp.reduce(full(u), axis=1, keepdims=True)
    density = lambda u: log_probs(u) @ post
    mode, factor = quadrature.mode_and_factor(density, np.zeros(2))
    _, points, weights, _ = quadrature.tensor_grid(density, mode, factor, 161, 14.0)
    probs = np.exp(log_probs(points))
    mean = weights @ probs
    covariance = (probs - mean).T @ (weights[:, None] * (probs - mean))
    marginals = [
        quadrature.increasing_queries(
            ("p",),
            lambda u, k=k: xlogy(post[k], expit(u[:, 0])) + (post.sum() - post[k]) * np.log(expit(-u[:, 0])),
            0.0,
            (expit,),
        )
        for k in range(3)
    ]
    return reference._replace(
        mean=mean,
        sd=np.sqrt(np.diag(covariance)),
        q05=np.array([m.q05[0] for m in marginals]),
        q95=np.array([m.q95[0] for m in marginals]),
        quantiles=np.column_stack([m.quantiles[:, 0] for m in marginals]),
        corr=covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance))),
        log_predictive=float(np.log(weights @ probs[:, new_y].prod(1))),
    )


def _dirichlet_log_prob(u, alpha):
    # the Jacobian of the pinned softmax is Πₖ pₖ, which turns αₖ − 1 into αₖ
    alpha = jnp.asarray(alpha)
    return jnp.sum(alpha * jax.nn.log_softmax(jnp.append(u, 0.0))) - jnp.sum(gammaln(alpha)) + gammaln(jnp.sum(alpha))


def _dirichlet_sample(key, like, alpha):
    log_gamma = jax.random.loggamma(key, jnp.asarray(alpha, like.dtype))
    return log_gamma[:-1] - log_gamma[-1]


def _pinned_logits(params, x):
    return jnp.broadcast_to(jnp.append(params, 0.0), (x.shape[0], params.shape[0] + 1))


def _simplex(u):
    return jax.nn.softmax(jnp.append(u, 0.0))


def _log_ratio(p):
    return np.log(p[:, :-1]) - np.log(p[:, -1:])


PROBLEMS = {
    "beta_bernoulli": beta_bernoulli,
    "gamma_poisson": gamma_poisson,
    "dirichlet_categorical": dirichlet_categorical,
}
