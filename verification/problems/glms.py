"""Generalised linear models on 12 to 40 rows: yes or no, ranks, counts, positive numbers, proportions. Their posteriors
are skewed enough that a Gaussian at the mode is seen to be off."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from probjax import Data, Model, Network, likelihoods, linear, log_likelihood, priors
from verification.exact import row_densities as rows_of
from verification.problems import dispersion
from verification.problems._flat import (
    EXP,
    NDTR,
    SIGMOID,
    Quantity,
    Rows,
    design,
    model_query,
    problem,
    rejected,
    solved_on_grid,
)
from verification.problems._parts import reweighted
from verification.problems.ordinal import ordinal_logit
from verification.types import Bug, Problem

# --- probit ----------------------------------------------------------------------------------------------------------


def probit_rows() -> Rows:
    """22 rows, two inputs; the first label lies far on the wrong side, where the tails of the links differ."""
    rng = np.random.default_rng(31)
    x = 0.8 * rng.standard_normal((27, 2))
    y = (x @ [1.2, -0.8] + 0.3 + rng.standard_normal(27) > 0).astype(float)
    x[0], y[0] = (1.8, -1.8), 0.0
    return Rows.split(x, y, 22)


def probit() -> Problem:
    """P(y = 1) = Φ(xᵀw + b), N(0, 1) priors."""
    rows, scale = probit_rows(), 1.0
    linear_network = linear(2)
    network = Network(linear_network.init, Partial(_cut_at_zero, linear_network.apply))
    model = Model(*network, prior=priors.normal(0.0, scale), likelihood=likelihoods.ordinal("probit"))
    density = probit_density(rows, scale)
    new = lambda theta: rows_of.probit(rows.new_y, theta @ design(rows.new_x).T)
    quantities = [
        Quantity("bias", (1, 0, 0)),
        Quantity("w[0]", (0, 1, 0)),
        Quantity("w[1]", (0, 0, 1)),
        Quantity("w[0] + w[1]", (0, 1, 1)),
        Quantity("P(y = 1 | 0, 0)", (1, 0, 0), NDTR),
        Quantity("P(y = 1 | 1, 1)", (1, 1, 1), NDTR),
    ]
    reference = solved_on_grid("probit", quantities, density, 3, log_new=new, num_new=5)._replace(classes=((4,), (5,)))
    return problem(
        "probit",
        "probit regression, 18 rows, two inputs",
        model,
        rows,
        model_query(quantities),
        reference,
        rejected(model, density, reference, 3),
        Bug("logit link scaled by 1.702 in the probit's place", reweighted(_logit_for_probit(model, rows.data))),
        log_concave=True,
    )


def probit_density(rows: Rows, scale: float = 1.0) -> Callable:
    """log p(θ, y), θ = [b, w]."""
    matrix = design(rows.x).T
    return lambda theta: rows_of.probit(rows.y, theta @ matrix) + rows_of.normal_prior(theta, 0.0, scale)


def _cut_at_zero(apply, params, x):
    """f of a `likelihoods.ordinal` with two classes: P(y = 1) = F(location)."""
    location = apply(params, x)
    return location, jnp.zeros((*location.shape, 1))


def _logit_for_probit(model, data):
    logit = model._replace(likelihood=likelihoods.bernoulli())

    def log_ratio(params):
        scaled = 1.702 * model.apply(params, data.x)[0]
        wrong = logit.likelihood.log_prob(data.y, scaled)
        return jnp.sum(wrong - log_likelihood(model, params, data))

    return log_ratio


# --- counts with an exposure -----------------------------------------------------------------------------------------


def poisson_rows() -> Rows:
    """20 counts watched for unlike times, longer where the first input is large; x = [two inputs, log time]."""
    rng = np.random.default_rng(32)
    x = rng.standard_normal((25, 2)) * [1.0, 0.7]
    log_time = 0.2 * x[:, 0] + 0.2 * rng.standard_normal(25)
    y = rng.poisson(np.exp(0.2 + 0.4 * x[:, 0] - 0.6 * x[:, 1] + log_time)).astype(float)
    return Rows.split(np.column_stack([x, log_time]), y, 20)


def poisson_exposure() -> Problem:
    """y ~ Poisson(time · exp(xᵀw + b)), N(0, 1) priors."""
    rows = poisson_rows()
    network = linear(2)
    model = Model(
        network.init, Partial(_plus_offset, network.apply), prior=priors.normal(), likelihood=likelihoods.poisson()
    )
    density = poisson_density(rows)
    new = lambda theta: rows_of.poisson(rows.new_y, _log_rates(theta, rows.new_x))
    quantities = [
        Quantity("bias", (1, 0, 0)),
        Quantity("w[0]", (0, 1, 0)),
        Quantity("w[1]", (0, 0, 1)),
        Quantity("w[0] - w[1]", (0, 1, -1)),
        Quantity("rate(0, 0)", (1, 0, 0), EXP),
        Quantity("rate(1, -1)", (1, 1, -1), EXP),
    ]
    reference = solved_on_grid("poisson_exposure", quantities, density, 3, log_new=new, num_new=5)
    return problem(
        "poisson_exposure",
        "Poisson regression with exposure times, 20 rows, two inputs",
        model,
        rows,
        model_query(quantities),
        reference,
        rejected(model, density, reference, 3),
        Bug("exposure times left out", reweighted(_without_offset(model, rows.data))),
        log_concave=True,
    )


def poisson_density(rows: Rows) -> Callable:
    """log p(θ, y), θ = [b, w]."""
    return lambda theta: rows_of.poisson(rows.y, _log_rates(theta, rows.x)) + rows_of.normal_prior(theta, 0.0, 1.0)


def _log_rates(theta, x):
    return theta @ design(x[:, :-1]).T + x[:, -1]


def _plus_offset(apply, params, x):
    """The last column of x is added as it is."""
    return apply(params, x[:, :-1]) + x[:, -1]


def _without_offset(model, data):
    idle = Data(data.x.at[:, -1].set(0.0), data.y)
    return lambda params: jnp.sum(log_likelihood(model, params, idle) - log_likelihood(model, params, data))


# --- trials ----------------------------------------------------------------------------------------------------------


def binomial_rows() -> Rows:
    """14 rows of 1 to 30 trials; x = [input, number of trials]."""
    rng = np.random.default_rng(38)
    x = rng.standard_normal(18)
    trials = rng.choice([1, 2, 3, 5, 8, 30], 18, p=[0.25, 0.25, 0.2, 0.1, 0.1, 0.1]).astype(float)
    y = rng.binomial(trials.astype(int), 1 / (1 + np.exp(-(1.1 * x - 0.6)))).astype(float)
    return Rows.split(np.column_stack([x, trials]), y, 14)


def binomial_trials() -> Problem:
    """y of n trials with P = σ(xw + b), n unlike from row to row; N(0, 1.5²) priors."""
    rows, network = binomial_rows(), linear(1)
    apply = Partial(_with_trials, network.apply)
    model = Model(network.init, apply, prior=priors.normal(0.0, 1.5), likelihood=likelihoods.binomial())
    density = binomial_density(rows)
    new_logits = lambda theta: theta @ design(rows.new_x[:, :1]).T
    new = lambda theta: rows_of.binomial(rows.new_y, new_logits(theta), rows.new_x[:, 1])
    quantities = [
        Quantity("bias", (1, 0)),
        Quantity("w", (0, 1)),
        Quantity("f(-2)", (1, -2)),
        Quantity("P(0)", (1, 0), SIGMOID),
        Quantity("P(1)", (1, 1), SIGMOID),
    ]
    reference = solved_on_grid("binomial_trials", quantities, density, 2, log_new=new, num_new=4, step=0.2)
    reference = reference._replace(classes=((3,), (4,)))
    return problem(
        "binomial_trials",
        "binomial regression, 14 rows of 1 to 30 trials",
        model,
        rows,
        model_query(quantities),
        reference,
        rejected(model, density, reference, 2),
        Bug("every proportion counted alike, whatever its trials", reweighted(_alike(model, rows.data))),
        log_concave=True,
    )


def binomial_density(rows: Rows) -> Callable:
    """log p(θ, y), θ = [b, w]."""
    matrix, trials = design(rows.x[:, :1]).T, rows.x[:, 1]
    return lambda theta: rows_of.binomial(rows.y, theta @ matrix, trials) + rows_of.normal_prior(theta, 0.0, 1.5)


def _with_trials(apply, params, x):
    """f = (logits, n), n the last column of x."""
    return apply(params, x[:, :-1]), x[:, -1]


def _alike(model, data):
    """Each row's log-likelihood is divided by its trials and multiplied by their mean."""
    trials = data.x[:, -1]
    return lambda params: jnp.sum((trials.mean() / trials - 1) * log_likelihood(model, params, data))


PROBLEMS = {
    "probit": probit,
    "poisson_exposure": poisson_exposure,
    "ordinal_logit": ordinal_logit,
    "binomial_trials": binomial_trials,
    **dispersion.PROBLEMS,
}
