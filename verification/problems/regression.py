"""Bayesian linear regression: a small correlated one, the diabetes data with known noise, and with learnt noise."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jax.tree_util import Partial
from sklearn.datasets import load_diabetes

from probjax import Data, Model, Prior, likelihoods, linear, priors, with_learnt_scale
from verification.exact import conjugate, scale_mixture
from verification.problems._parts import (
    certified,
    gaussian_draws,
    linear_queries,
    new_rows,
    principal_directions,
    reweighted,
    with_ones,
)
from verification.types import Bug, Problem

# new rows at two inputs far from the data, each seen twice (Osband et al. 2022): their joint density depends on how far
# f is known there, and on how its values hang together
DYAD = np.array([[3.0, -3.0], [-2.0, 3.0], [-2.0, 3.0], [3.0, -3.0]])


def linear_small() -> Problem:
    """20 rows, two inputs correlated at 0.9, known noise; the new rows are a dyad."""
    rng = np.random.default_rng(20)
    x = rng.standard_normal((25, 2)) @ np.linalg.cholesky([[1.0, 0.9], [0.9, 1.0]]).T
    noise = np.append(rng.standard_normal(20), np.random.default_rng(1).standard_normal(len(DYAD)))
    x = np.vstack([x[:20], DYAD])
    y = x @ [1.0, -0.5] + 0.3 + 0.5 * noise
    probes = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [1, -1, 1], [3, 3, 1]])
    names = ("w[0]", "w[1]", "bias", "f(1,1)", "f(1,-1)", "f(3,3)")
    about = "20 rows, two inputs correlated at 0.9, known noise"
    bug = Bug("two correlated inputs in each other's place", _weights_exchanged(0, 1))
    return _known_noise("linear", about, x, y, 20, names, probes, 0.5, 1.0)._replace(bug=bug)


def _weights_exchanged(i, j):
    """Draws of a program that gives column i of x the name of column j."""

    def damage(rng, params):
        weight = np.array(params["weight"])
        weight[:, [i, j]] = weight[:, [j, i]]
        return {**params, "weight": weight}

    return damage


def diabetes() -> Problem:
    """The diabetes data (442 × 10, standardised): 432 rows fitted, 10 held out; noise known, 0.7 of the response's
    sd."""
    x, y = standardised_diabetes()
    names, probes = _diabetes_queries(x)
    about = "diabetes progression, 432 × 10, known noise"
    problem = _known_noise("diabetes", about, x, y, 432, names, probes, 0.7, 1.0)
    return problem._replace(bug=Bug("an l1 norm in the exponent of the prior", reweighted(_l1_ratio)))


def _l1_ratio(params):
    """exp(−Σ|w|) over exp(−½Σw²): a Laplace prior for the normal one."""
    w = jnp.append(params["weight"], params["bias"])
    return jnp.sum(0.5 * w**2 - jnp.abs(w))


def standardised_diabetes() -> tuple[np.ndarray, np.ndarray]:
    """Inputs and response of the diabetes data with mean 0 and sd 1, rows in a fixed random order."""
    raw = load_diabetes()
    order = np.random.default_rng(0).permutation(len(raw.target))
    x, y = raw.data[order], raw.target[order]
    return (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()


def _diabetes_queries(x):
    names = [f"w[{j}]" for j in range(10)] + ["f(row 432)", "f(row 433)"]
    return names, np.vstack([np.eye(10, 11), with_ones(x[432:434])])


def _known_noise(name, about, x, y, num_fit, names, probes, noise_scale, prior_scale) -> Problem:
    prior, likelihood = priors.normal(0.0, prior_scale), likelihoods.normal(noise_scale)
    model = Model(*linear(x.shape[1]), prior=prior, likelihood=likelihood)
    design, new_design = with_ones(x[:num_fit]), with_ones(x[num_fit:])
    _, precision = conjugate.linear_posterior(design, y[:num_fit], noise_scale, prior_scale)
    directions, rows = principal_directions(np.linalg.inv(precision))
    names, probes = [*names, *directions], np.vstack([probes, rows])
    exact = conjugate.LinearGaussian(
        tuple(names), design, y[:num_fit], noise_scale, prior_scale, probes, new_design, y[num_fit:]
    )
    mean, precision = exact.posterior
    return Problem(
        name=name,
        about=about,
        model=model,
        data=Data(jnp.asarray(x[:num_fit]), jnp.asarray(exact.y)),
        query=linear_queries(probes),
        log_new=new_rows(model, Data(jnp.asarray(x[num_fit:]), jnp.asarray(exact.new_y))),
        reference=conjugate.linear_regression(exact),
        exact_draws=gaussian_draws(mean, np.linalg.inv(precision)),
        log_concave=True,
        linear=exact,
    )


def diabetes_noise() -> Problem:
    """As `diabetes`, the noise learnt: w | σ² ~ N(0, σ²τ²), σ² ~ InvGamma(2, 1), so that the posterior is Student-t."""
    x, y = standardised_diabetes()
    shape, rate, prior_scale, num_fit = 2.0, 1.0, 1.0, 25
    names, probes = _diabetes_queries(x)
    prior = Prior(Partial(_nig_log_prob, shape, rate, prior_scale), Partial(_nig_sample, shape, rate, prior_scale))
    model = Model(*with_learnt_scale(linear(10)), prior=prior, likelihood=likelihoods.normal())
    design, fit_y, new_design, new_y = (
        with_ones(x[:num_fit]),
        y[:num_fit],
        with_ones(x[num_fit : num_fit + 10]),
        y[num_fit : num_fit + 10],
    )
    posterior = _nig_posterior(design, fit_y, prior_scale, shape, rate)
    directions, eigenvectors = principal_directions(posterior[1])
    names, probes = [*names, *directions], np.vstack([probes, eigenvectors])
    reference = conjugate.normal_inverse_gamma(
        names, design, fit_y, prior_scale, shape, rate, probes, new_design, new_y
    )
    # w | σ² ~ N(0, σ²τ²) is what D pseudo-rows e_j/τ with response 0 say under a flat prior
    rows, zeros = np.vstack([design, np.eye(11) / prior_scale]), np.append(fit_y, np.zeros(11))
    log_prior = lambda u: -2 * shape * u - rate * np.exp(-2 * u)
    second = scale_mixture.linear_regression_unknown_noise(
        reference.names, rows, zeros, log_prior, -2.0, 2.0, queries=probes, of_scale=lambda u: u
    )
    draw_posterior = _nig_draws(*posterior)
    return Problem(
        name="diabetes_noise",
        about="diabetes progression, 25 × 10, learnt noise (normal–inverse-gamma)",
        model=model,
        data=Data(jnp.asarray(x[:num_fit]), jnp.asarray(fit_y)),
        query=Partial(_nig_query, jnp.asarray(probes)),
        log_new=new_rows(model, Data(jnp.asarray(x[num_fit : num_fit + 10]), jnp.asarray(new_y))),
        reference=certified(
            reference, second, "closed form; rounding bounded by the second method", "801-node quadrature over log σ"
        ),
        exact_draws=draw_posterior,
        bug=Bug("the shape and the rate of the noise's prior exchanged", reweighted(_exchanged_ratio)),
    )


def _exchanged_ratio(params):
    """InvGamma(1, 2) over InvGamma(2, 1) for σ²."""
    log_variance = 2 * params["log_scale"]
    return log_variance - jnp.exp(-log_variance)


def _nig_log_prob(shape, rate, prior_scale, params):
    u, w = params["log_scale"], jnp.append(params["network"]["weight"], params["network"]["bias"])
    log_scale = jnp.log(2.0) + shape * jnp.log(rate) - gammaln(shape) - 2 * shape * u - rate * jnp.exp(-2 * u)
    z = w / (prior_scale * jnp.exp(u))
    return log_scale + jnp.sum(-0.5 * jnp.log(2 * jnp.pi) - jnp.log(prior_scale) - u - 0.5 * z**2)


def _nig_sample(shape, rate, prior_scale, key, like):
    scale_key, weight_key = jax.random.split(key)
    sigma = jnp.sqrt(rate / jax.random.gamma(scale_key, shape))
    w = prior_scale * sigma * jax.random.normal(weight_key, (like["network"]["weight"].size + 1,))
    return {"network": {"weight": w[:-1], "bias": w[-1]}, "log_scale": jnp.log(sigma)}


def _nig_query(probes, params):
    w = jnp.append(params["network"]["weight"], params["network"]["bias"])
    return jnp.append(probes @ w, params["log_scale"])


def _nig_posterior(design, y, prior_scale, shape, rate):
    precision = design.T @ design + np.eye(design.shape[1]) / prior_scale**2
    mean = np.linalg.solve(precision, design.T @ y)
    return mean, np.linalg.inv(precision), shape + len(y) / 2, rate + 0.5 * (y @ y - mean @ precision @ mean)


def _nig_draws(mean, covariance, shape, rate):
    factor = np.linalg.cholesky(covariance)

    def draw(rng, num_draws):
        sigma = np.sqrt(rate / rng.gamma(shape, size=num_draws))
        w = mean + sigma[:, None] * rng.standard_normal((num_draws, len(mean))) @ factor.T
        return {"network": {"weight": w[:, :-1], "bias": w[:, -1]}, "log_scale": np.log(sigma)}

    return draw


PROBLEMS = {
    "linear": linear_small,
    "diabetes": diabetes,
    "diabetes_noise": diabetes_noise,
}
