"""MC dropout: train under random masks, keep them on at prediction. A mask is a draw of parameters."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from probjax.density import log_prior
from probjax.networks import Noise, bernoulli_mask
from probjax.optimize import stochastic_adam
from probjax.types import Data, Model, NotApplicable, Params, Posterior, as_model, function
from probjax.validation import (
    check_inputs,
    check_log_prob,
    network_output,
    require_counts,
    require_fraction,
    require_positive,
)


def dropout(
    key: Array,
    model: Model,
    data: Data,
    *,
    rate: float | None = None,
    mask: Callable = bernoulli_mask,
    num_draws: int = 1000,
    num_steps: int = 3000,
    learning_rate: float = 0.02,
    num_masks: int = 8,
) -> Posterior:
    """Minimise −E_mask[log p(y | x, mask ∘ params)] − log p(params); the draws are mask ∘ params (Gal & Ghahramani
    2016).

    Masks fall on hidden units, on the inputs of a linear model; a dropped unit is a row of the next weight set to 0,
    the kept ones are divided by 1 − rate. In a Flax module they fall where its Dropout layers stand, and a draw is
    the parameters with the masks beside them (`flax_networks.Masked`). One mask serves all inputs of a draw, so draws
    are functions and joint predictions make sense.

    On a linear model f has the variance rate/(1 − rate) Σ w²x² over masks of either law (exactly Gaussian under
    `gaussian_mask`), w the adaptive-ridge solution of Wager, Wang & Liang 2013. As w tends to a constant, so does
    this variance: it does not contract with N.

    Args:
        key: split into the starting point, the training masks and the prediction masks.
        model: with a network that has a `drop`.
        rate: probability of dropping a unit, in (0, 1). None: each layer's own in a Flax module, else 0.1.
        mask: the law of the masks, `bernoulli_mask` or `gaussian_mask` (of the same mean 1 and variance
            rate/(1 − rate)), or any (key, shape, rate) -> [*shape] of mean 1.
        num_draws: S masks.
        num_steps, learning_rate: of Adam, the rate decaying to 0.
        num_masks: masks averaged in one step.

    Returns:
        Posterior with draws [S, …]; info: `grad_norm`, `objective`, `num_steps`, `converged`
        of the fit.

    Raises:
        NotApplicable: the model is a Target, or its network has no `drop`.
        ValueError: rate outside (0, 1).

    >>> from probjax import likelihoods, linear, priors
    >>> model = Model(*linear(1), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    >>> data = Data(jnp.ones((4, 1)), jnp.ones(4))
    >>> dropout(jax.random.key(0), model, data, rate=0.5, num_draws=6, num_steps=20).draws["weight"].shape
    (6, 1)
    """
    model = as_model(model)
    if model.drop is None:
        raise NotApplicable("needs a network with units to drop (model.drop is None)")
    check_inputs(model, data)
    _check_rate(rate)
    require_counts("dropout", num_draws=(num_draws, 1), num_steps=(num_steps, 1), num_masks=(num_masks, 1))
    require_positive("dropout", "learning_rate", learning_rate, "0.02 is the default")
    init_key, fit_key, draw_key = jax.random.split(key, 3)
    drop = _drop(model, rate, mask)

    def objective(params, key):
        def negative(mask_key):
            return -jnp.sum(_log_likelihood(model, drop(mask_key, params), data))

        return jnp.mean(jax.vmap(negative)(jax.random.split(key, num_masks))) - log_prior(model, params)

    params, info = stochastic_adam(
        fit_key, objective, model.init(init_key), num_steps=num_steps, learning_rate=learning_rate
    )
    draws = jax.vmap(lambda k: drop(k, params))(jax.random.split(draw_key, num_draws))
    return Posterior(draws, info)


def masked(model: Model, params: Params, *, rate: float | None = None, mask: Callable = bernoulli_mask) -> Callable:
    """key -> mask ∘ params: the draws of `dropout` for parameters that are already trained, one at a time.

    `predictive_moments` takes it, and keeps none of them.

    Args:
        model: with a network that has a `drop`.
        params: as model.init makes them.
        rate, mask: as in `dropout`.

    Raises:
        NotApplicable: the network has no `drop`.

    >>> from probjax import likelihoods, linear, priors
    >>> model = Model(*linear(2), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    >>> draw = masked(model, {"weight": jnp.ones(2), "bias": jnp.zeros(())}, rate=0.5)
    >>> set(draw(jax.random.key(0))["weight"].tolist()) <= {0.0, 2.0}
    True
    """
    model = as_model(model)
    if model.drop is None:
        raise NotApplicable("needs a network with units to drop (model.drop is None)")
    _check_rate(rate)
    drop = _drop(model, rate, mask)
    return lambda key: drop(key, params)


def _check_rate(rate):
    """A rate that is given and visible lies in (0, 1)."""
    if rate is None or isinstance(rate, jax.core.Tracer):
        return
    require_fraction("dropout", "rate", rate, "at 0 nothing is dropped and the method is map_estimate, at 1 everything")


def _drop(model, rate, mask):
    """(key, params) -> params under a mask. Bernoulli's law is a plain rate, which every network's `drop` takes."""
    law = rate if mask is bernoulli_mask else Noise(function(mask), rate)
    return lambda key, params: model.drop(key, params, law)


def _log_likelihood(model, draw, data):
    """As `density.log_likelihood`, for a draw that may carry masks beside the parameters."""
    f = network_output(model, draw, data.x)
    log_prob = model.likelihood.log_prob(data.y, f)
    check_log_prob(data, f, log_prob)
    return log_prob
