"""Regressions that learn a second number beside the mean: overdispersed counts, positive numbers, proportions, counts
with too many zeros."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln

from probjax import (
    Model,
    likelihoods,
    linear,
    priors,
    with_learnt,
)
from verification.exact import row_densities as rows_of
from verification.problems._flat import (
    EXP,
    SIGMOID,
    Quantity,
    Rows,
    design,
    model_query,
    problem,
    rejected,
    solved_on_grid,
)
from verification.problems._parts import constant_network, reweighted
from verification.types import Bug, Problem


def _learnt_density(log_prob, x, y) -> Callable:
    """log p(y | θ), θ = [log of the learnt number, b, w]."""
    matrix = design(x).T
    return lambda theta: log_prob(y, theta[:, 1:] @ matrix, np.exp(theta[:, 0]))


def _learnt(name, about, model, rows, log_prob, loc, quantities, bug, step=0.36) -> Problem:
    """Priors: N(loc, 1) for the log of the learnt number, N(0, 1) for the line."""
    density = learnt_density(rows, log_prob, loc)
    new = _learnt_density(log_prob, rows.new_x, rows.new_y)
    reference = solved_on_grid(name, quantities, density, 3, log_new=new, num_new=len(rows.new_y), step=step)
    draws = rejected(model, density, reference, 3)
    return problem(name, about, model, rows, model_query(quantities), reference, draws, bug)


def learnt_density(rows: Rows, log_prob, loc: float) -> Callable:
    """log p(θ, y), θ = [log of the learnt number, b, w]."""
    likelihood, centre = _learnt_density(log_prob, rows.x, rows.y), np.array([loc, 0.0, 0.0])
    return lambda theta: likelihood(theta) + rows_of.normal_prior(theta, centre, 1.0)


def negative_binomial_rows() -> Rows:
    """25 counts, one input, variance μ + μ²/1.2."""
    rng = np.random.default_rng(34)
    x = rng.standard_normal((30, 1))
    rate = np.exp(0.9 + 0.7 * x[:, 0]) * rng.gamma(1.2, 1 / 1.2, 30)
    return Rows.split(x, rng.poisson(rate).astype(float), 25)


def negative_binomial() -> Problem:
    """Mean μ = exp(xw + b), variance μ + μ²/r with r learnt."""
    rows = negative_binomial_rows()
    prior = priors.joint(network=priors.normal(0.0, 1.0), log_concentration=priors.normal(0.0, 1.0))
    network = with_learnt(linear(1), concentration="positive")
    model = Model(*network, prior=prior, likelihood=likelihoods.negative_binomial())
    quantities = [
        Quantity("log concentration", (1, 0, 0)),
        Quantity("bias", (0, 1, 0)),
        Quantity("w", (0, 0, 1)),
        Quantity("1/concentration", (-1, 0, 0), EXP),
        Quantity("mean(0)", (0, 1, 0), EXP),
        Quantity("log mean(1.5)", (0, 1, 1.5)),
    ]
    about = "negative binomial regression, 25 rows, concentration learnt"
    bug = Bug("variance μ + μ/r for μ + μ²/r", reweighted(_nb1_for_nb2(model, rows.data)))
    return _learnt("negative_binomial", about, model, rows, rows_of.negative_binomial, 0.0, quantities, bug, 0.31)


def _nb1_for_nb2(model, data):
    """The NB1 whose variance μ(1 + 1/r): the NB2 with a concentration rμ of its own in each row (Hilbe 2011)."""

    def log_ratio(params):
        log_mean, r = model.apply(params, data.x)
        wrong = model.likelihood.log_prob(data.y, (log_mean, r * jnp.exp(log_mean)))
        return jnp.sum(wrong - model.likelihood.log_prob(data.y, (log_mean, r)))

    return log_ratio


def gamma_rows() -> Rows:
    """20 positive numbers, one input, shape 0.8."""
    rng = np.random.default_rng(35)
    x = rng.standard_normal((25, 1))
    return Rows.split(x, np.exp(0.5 - 0.8 * x[:, 0]) * rng.gamma(0.8, 1 / 0.8, 25), 20)


def gamma_regression() -> Problem:
    """Mean exp(xw + b), shape k learnt."""
    rows = gamma_rows()
    prior = priors.joint(network=priors.normal(0.0, 1.0), log_concentration=priors.normal(0.0, 1.0))
    network = with_learnt(linear(1), concentration="positive")
    model = Model(*network, prior=prior, likelihood=likelihoods.gamma())
    quantities = [
        Quantity("log shape", (1, 0, 0)),
        Quantity("bias", (0, 1, 0)),
        Quantity("w", (0, 0, 1)),
        Quantity("coefficient of variation", (-0.5, 0, 0), EXP),
        Quantity("mean(0)", (0, 1, 0), EXP),
        Quantity("log mean(-1)", (0, 1, -1)),
    ]
    about = "gamma regression, 20 rows, shape learnt"
    bug = Bug("log Γ(k) by the first terms of Stirling's series", reweighted(_stirling_for_log_gamma(len(rows.y))))
    return _learnt("gamma_regression", about, model, rows, rows_of.gamma, 0.0, quantities, bug)


def _stirling_for_log_gamma(num):
    def log_ratio(params):
        k = jnp.exp(params["log_concentration"])
        return num * (gammaln(k) - ((k - 0.5) * jnp.log(k) - k + 0.5 * jnp.log(2 * jnp.pi)))

    return log_ratio


def beta_rows() -> Rows:
    """20 proportions, one input, precision 4."""
    rng = np.random.default_rng(36)
    x = rng.standard_normal((25, 1))
    mean = 1 / (1 + np.exp(-(0.4 + 0.9 * x[:, 0])))
    return Rows.split(x, rng.beta(4 * mean, 4 * (1 - mean)), 20)


def beta_regression() -> Problem:
    """Mean σ(xw + b), precision φ learnt."""
    rows = beta_rows()
    prior = priors.joint(network=priors.normal(0.0, 1.0), log_precision=priors.normal(1.0, 1.0))
    network = with_learnt(linear(1), precision="positive")
    model = Model(*network, prior=prior, likelihood=likelihoods.beta())
    quantities = [
        Quantity("log precision", (1, 0, 0)),
        Quantity("bias", (0, 1, 0)),
        Quantity("w", (0, 0, 1)),
        Quantity("precision", (1, 0, 0), EXP),
        Quantity("mean(0)", (0, 1, 0), SIGMOID),
        Quantity("mean(2)", (0, 1, 2), SIGMOID),
    ]
    bug = Bug("φ taken for the sum of the shapes and 1", reweighted(_one_less(model, rows.data)))
    about = "beta regression, 20 rows, precision learnt"
    return _learnt("beta_regression", about, model, rows, rows_of.beta, 1.0, quantities, bug)


def _one_less(model, data):
    """Variance μ(1 − μ)/φ for μ(1 − μ)/(1 + φ): shapes that sum to φ − 1, none where φ ≤ 1."""

    def log_ratio(params):
        logit, precision = model.apply(params, data.x)
        less = jnp.maximum(precision - 1, 1e-3)
        wrong = jnp.sum(model.likelihood.log_prob(data.y, (logit, less)))
        right = jnp.sum(model.likelihood.log_prob(data.y, (logit, precision)))
        return jnp.where(precision[0] > 1, wrong - right, -jnp.inf)

    return log_ratio


def zero_inflated_rows() -> Rows:
    """22 counts of a rate near 1, so that a zero may be of either kind."""
    rng = np.random.default_rng(37)
    y = np.where(rng.uniform(size=28) < 0.35, 0, rng.poisson(1.3, 28)).astype(float)
    return Rows.split(np.zeros((28, 1)), y, 22)


def zero_inflated() -> Problem:
    """One rate and one probability π of a sure zero; N(0, 1) priors of log rate and logit π."""
    rows = zero_inflated_rows()
    network = with_learnt(constant_network(), zero_logit="real")
    model = Model(*network, prior=priors.normal(), likelihood=likelihoods.zero_inflated_poisson())
    density = zero_inflated_density(rows)
    new = lambda theta: rows_of.zero_inflated_poisson(rows.new_y, theta[:, 0], theta[:, 1])
    quantities = [
        Quantity("log rate", (1, 0)),
        Quantity("zero logit", (0, 1)),
        Quantity("rate", (1, 0), EXP),
        Quantity("P(sure zero)", (0, 1), SIGMOID),
        Quantity("log rate - zero logit/3", (1, -1 / 3)),
    ]
    reference = solved_on_grid("zero_inflated", quantities, density, 2, log_new=new, num_new=6, step=0.2)
    return problem(
        "zero_inflated",
        "zero-inflated Poisson, 22 counts, one rate and one probability of a sure zero",
        model,
        rows,
        model_query(quantities),
        reference,
        rejected(model, density, reference, 2),
        Bug("every zero taken for a sure one", reweighted(_all_zeros_sure((rows.y == 0).sum()))),
    )


def zero_inflated_density(rows: Rows) -> Callable:
    """log p(θ, y), θ = [log rate, logit π]."""
    counts = lambda theta: rows_of.zero_inflated_poisson(rows.y, theta[:, 0], theta[:, 1])
    return lambda theta: counts(theta) + rows_of.normal_prior(theta, 0.0, 1.0)


def _all_zeros_sure(num_zeros):
    """p(0) = π for π + (1 − π) e^−λ."""

    def log_ratio(params):
        sure = jax.nn.log_sigmoid(params["zero_logit"])
        chance = jax.nn.log_sigmoid(-params["zero_logit"]) - jnp.exp(params["network"])
        return num_zeros * (sure - jnp.logaddexp(sure, chance))

    return log_ratio


PROBLEMS = {
    "negative_binomial": negative_binomial,
    "gamma_regression": gamma_regression,
    "beta_regression": beta_regression,
    "zero_inflated": zero_inflated,
}
