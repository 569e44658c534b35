"""From a posterior to predictions: draws of f, moments of y, log predictive densities. The same for every method."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from probjax.density import log_likelihood
from probjax.types import Data, Model, Posterior, as_model
from probjax.validation import check_draws, network_output


def predict(model: Model, posterior: Posterior, x: Array, *, batch_size: int | None = None) -> Array:
    """f(x) under each draw.

    Args:
        batch_size: draws evaluated together; bounds memory. Default: all at once.

    Returns:
        f with a leading axis S: [S, N, …].

    Raises:
        ValueError: the draws do not have the tree and shapes of model.init with one leading axis S.

    >>> from probjax import likelihoods, linear, priors
    >>> model = Model(*linear(1), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    >>> data = Data(jnp.ones((4, 1)), jnp.ones(4))
    >>> draws = {"weight": jnp.array([[0.0], [1.0]]), "bias": jnp.zeros(2)}
    >>> predict(model, Posterior(draws, {}), jnp.array([[3.0], [4.0]])).tolist()
    [[0.0, 0.0], [3.0, 4.0]]
    """
    check_draws(model, posterior)
    apply = lambda params: network_output(as_model(model), params, x)
    if batch_size is None:
        return jax.vmap(apply)(posterior.draws)
    return jax.lax.map(apply, posterior.draws, batch_size=batch_size)


def predictive_mean(model: Model, posterior: Posterior, x: Array) -> Array:
    """E[y | x, data] = mean over draws of E[y | f]; [N] (or [N, K])."""
    return jnp.mean(jax.vmap(model.likelihood.mean)(predict(model, posterior, x)), axis=0)


def predictive_sd(model: Model, posterior: Posterior, x: Array) -> Array:
    """sd[y | x, data] by the law of total variance: √(mean of variances + variance of means), divided by S; [N] (or
    [N, K]).

    >>> from probjax import likelihoods, linear, priors
    >>> model = Model(*linear(1), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    >>> data = Data(jnp.ones((4, 1)), jnp.ones(4))
    >>> draws = {"weight": jnp.array([[0.0], [1.0]]), "bias": jnp.zeros(2)}
    >>> predictive_sd(model, Posterior(draws, {}), jnp.array([[2.0]])).tolist()  # √(1 + 1)
    [1.4142...]
    """
    f = predict(model, posterior, x)
    within = jnp.mean(jax.vmap(model.likelihood.variance)(f), axis=0)
    return jnp.sqrt(within + jnp.var(jax.vmap(model.likelihood.mean)(f), axis=0))


def log_predictive(model: Model, posterior: Posterior, data: Data) -> Array:
    """log p(yₙ | xₙ, data) ≈ log (1/S) Σₛ p(yₙ | xₙ, paramsₛ) for each row; [N], nats per datum."""
    num_draws = check_draws(model, posterior)
    log_probs = jax.vmap(lambda params: log_likelihood(model, params, data))(posterior.draws)
    return jax.nn.logsumexp(log_probs, axis=0) - jnp.log(num_draws)


def joint_log_predictive(model: Model, posterior: Posterior, data: Data) -> Array:
    """log p(y₁ … y_N | x₁ … x_N, data) ≈ log (1/S) Σₛ Πₙ p(yₙ | xₙ, paramsₛ): a scalar, nats, summed over rows.

    Unlike the sum of `log_predictive` it sees how predictions at several inputs move together.
    """
    num_draws = check_draws(model, posterior)
    log_probs = jax.vmap(lambda params: jnp.sum(log_likelihood(model, params, data)))(posterior.draws)
    return jax.nn.logsumexp(log_probs) - jnp.log(num_draws)
