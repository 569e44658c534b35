"""From a posterior to predictions: draws of f, moments of y, log predictive densities. The same for every method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from probjax.axis import over_leading_axis
from probjax.density import log_likelihood
from probjax.types import Data, Model, Posterior, as_model
from probjax.validation import check_finite_draws, network_output, require_counts

STREAMS = 8  # of `predictive_moments`; whatever the devices, so that the numbers do not depend on them


def predict(model: Model, posterior: Posterior, x: Array, *, batch_size: int | None = None) -> Array:
    """f(x) under each draw.

    Args:
        batch_size: draws evaluated together; bounds memory. Default: all at once.

    Returns:
        f with a leading axis S: [S, N, …].

    Raises:
        ValueError: the draws do not have the tree and shapes of model.init with one leading axis S, or are NaN or
            infinite.

    >>> from probjax import likelihoods, linear, priors
    >>> model = Model(*linear(1), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    >>> data = Data(jnp.ones((4, 1)), jnp.ones(4))
    >>> draws = {"weight": jnp.array([[0.0], [1.0]]), "bias": jnp.zeros(2)}
    >>> predict(model, Posterior(draws, {}), jnp.array([[3.0], [4.0]])).tolist()
    [[0.0, 0.0], [3.0, 4.0]]
    """
    check_finite_draws(model, posterior)
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


class Moments(NamedTuple):
    """Of y at each row, [N] (or [N, K]). mean: E[y]. within: mean over draws of Var[y | f]. between: variance over
    draws of E[y | f]. Their sum is Var[y]."""

    mean: Array
    within: Array
    between: Array


def predictive_moments(
    key: Array, model: Model, draw: Callable, x: Any, *, num_draws: int = 1000, batch_size: int = 1
) -> Moments:
    """The moments of y over draws that are made, used and forgotten: memory is that of `batch_size` draws, whatever
    S is. Blocks are merged by Chan, Golub & LeVeque 1983: M₂ = M₂ᵃ + M₂ᵇ + δ² nₐ n_b / n, never E[f²] − E[f]².

    Args:
        key: draw s is made from fold_in(key, s), whatever the batch_size.
        draw: key -> params: `masked(model, params)` for MC dropout, or any posterior that can be drawn from.
        num_draws: S; variances are divided by it.
        batch_size: draws that run together.

    >>> from probjax import likelihoods, linear, priors
    >>> model = Model(*linear(1), prior=priors.normal(), likelihood=likelihoods.normal(2.0))
    >>> draw = lambda key: {"weight": jnp.ones(1), "bias": jax.random.normal(key)}
    >>> moments = predictive_moments(jax.random.key(0), model, draw, jnp.array([[3.0]]), num_draws=5)
    >>> moments.mean.shape, float(moments.within[0])
    ((1,), 4.0)
    """
    require_counts("predictive_moments", num_draws=(num_draws, 1), batch_size=(batch_size, 1))
    model = as_model(model)

    def one(index):
        f = network_output(model, draw(jax.random.fold_in(key, index)), x)
        return model.likelihood.mean(f), model.likelihood.variance(f)

    num_blocks = -(-num_draws // (STREAMS * batch_size))
    firsts = jnp.arange(STREAMS) * num_blocks * batch_size
    zero = jnp.zeros(jax.eval_shape(one, 0)[0].shape, jax.eval_shape(one, 0)[0].dtype)

    def block(carry, _):  # the index is carried: even a list of them would grow with S
        start, sums = carry
        index = start + jnp.arange(batch_size)
        mean, variance = jax.vmap(one)(index)
        weight = (index < num_draws).astype(zero.dtype).reshape(-1, *[1] * zero.ndim)
        count = jnp.sum(weight)
        centre = jnp.sum(weight * mean, axis=0) / jnp.maximum(count, 1)
        own = (count, centre, jnp.sum(weight * variance, axis=0), jnp.sum(weight * (mean - centre) ** 2, axis=0))
        return (start + batch_size, _merge(sums, own)), None

    nothing = (jnp.zeros((), zero.dtype), zero, zero, zero)
    stream = lambda first: jax.lax.scan(block, (first, nothing), None, length=num_blocks)[0][1]
    # all streams at once: one by one, each would be sent between devices
    counts, means, within, squares = over_leading_axis(stream, firsts)
    sizes = counts.reshape(-1, *[1] * zero.ndim)
    mean = jnp.sum(sizes * means, axis=0) / num_draws
    between = jnp.sum(squares + sizes * (means - mean) ** 2, axis=0)
    return Moments(mean, jnp.sum(within, axis=0) / num_draws, between / num_draws)


def _merge(one, other):
    """(count, mean, sum of variances, sum of squares about the mean) of both together."""
    (n, mean, within, squares), (m, other_mean, other_within, other_squares) = one, other
    gap, total = other_mean - mean, jnp.maximum(n + m, 1)
    return n + m, mean + gap * m / total, within + other_within, squares + other_squares + gap**2 * n * m / total


def log_predictive(model: Model, posterior: Posterior, data: Data) -> Array:
    """log p(yₙ | xₙ, data) ≈ log (1/S) Σₛ p(yₙ | xₙ, paramsₛ) for each row; [N], nats per datum."""
    num_draws = check_finite_draws(model, posterior)
    log_probs = jax.vmap(lambda params: log_likelihood(model, params, data))(posterior.draws)
    return jax.nn.logsumexp(log_probs, axis=0) - jnp.log(num_draws)


def joint_log_predictive(model: Model, posterior: Posterior, data: Data) -> Array:
    """log p(y₁ … y_N | x₁ … x_N, data) ≈ log (1/S) Σₛ Πₙ p(yₙ | xₙ, paramsₛ): a scalar, nats, summed over rows.

    Unlike the sum of `log_predictive` it sees how predictions at several inputs move together.
    """
    num_draws = check_finite_draws(model, posterior)
    log_probs = jax.vmap(lambda params: jnp.sum(log_likelihood(model, params, data)))(posterior.draws)
    return jax.nn.logsumexp(log_probs) - jnp.log(num_draws)
