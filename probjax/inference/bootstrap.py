"""Bootstrap ensembles: each member sees the rows under random weights."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from probjax.density import log_likelihood, log_prior
from probjax.inference.ensemble import fit_members, require_members
from probjax.optimize import lbfgs
from probjax.types import Data, Model, Posterior, as_model
from probjax.validation import check_inputs, num_data


def bayesian_weights(key: Array, num_rows: int) -> Array:
    """N · Dirichlet(1, …, 1): [N], positive, sum N (Rubin 1981; Newton & Raftery 1994)."""
    shares = jax.random.exponential(key, (num_rows,))  # Dirichlet(1, …, 1) is exponentials over their sum
    return num_rows * shares / shares.sum()


def pairs_weights(key: Array, num_rows: int) -> Array:
    """How often each row occurs among N drawn with replacement, Multinomial(N; 1/N, …): [N], sum N (Efron 1979)."""
    rows = jax.random.randint(key, (num_rows,), 0, num_rows)
    return jnp.zeros(num_rows).at[rows].add(1.0)


def bootstrap(
    key: Array,
    model: Model,
    data: Data,
    *,
    weights: Callable = bayesian_weights,
    use_prior: bool = True,
    num_members: int = 16,
    fit: Callable = lbfgs,
    batch_size: int | None = None,
) -> Posterior:
    """paramsₘ = argmin −Σₙ vₘₙ log p(yₙ | params, xₙ) − log p(params), random weights vₘ of sum N (Newton & Raftery
    1994, with the prior counted once).

    Its spread estimates the sampling variance of the fit, the sandwich H⁻¹JH⁻¹, which is the posterior's covariance
    only asymptotically and where the model is right. For small N it has no closed form but in the simplest models;
    prior knowledge never widens it: with no data it is a point, the mode of the prior.

    Args:
        key: one stream a member, for its starting point and its weights.
        weights: (key, N) -> [N]: `bayesian_weights` (positive, so no row is ever lost) or `pairs_weights` (about 37%
            of the rows are 0: without a prior a linear model may then have no unique optimum).
        use_prior: False: leave the prior out.
        num_members: M, the number of draws.
        fit, batch_size: as in `ensemble`.

    Returns:
        Posterior with draws [M, …]; info: the fit's, each [M] (`objective` in nats, summed over weighted data),
        `failed`.

    Raises:
        NotApplicable: the model is a Target, whose rows cannot be weighted.
        ValueError: fewer than 2 members, weights of another shape than [N], every member failed.

    >>> from probjax import likelihoods, linear, priors
    >>> model = Model(*linear(1), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    >>> data = Data(jnp.ones((4, 1)), jnp.arange(4.0))
    >>> bootstrap(jax.random.key(0), model, data, weights=pairs_weights, num_members=3).draws["bias"].shape
    (3,)
    """
    model = as_model(model)
    check_inputs(model, data)
    require_members(num_members)

    def member(key):
        init_key, weight_key = jax.random.split(key)
        row_weights = weights(weight_key, num_data(data))
        if jnp.shape(row_weights) != (num_data(data),):
            raise ValueError(
                f"bootstrap: weights(key, {num_data(data)}) has shape {jnp.shape(row_weights)} but should be "
                f"({num_data(data)},), one a row"
            )

        def objective(params):
            weighted = jnp.sum(row_weights * log_likelihood(model, params, data))
            return -weighted - log_prior(model, params) if use_prior else -weighted

        return fit(objective, model.init(init_key))

    return fit_members(member, jax.random.split(key, num_members), batch_size=batch_size)
