"""MC dropout: train under random masks, keep them on at prediction. A mask is a draw of parameters."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from probjax.density import log_likelihood, log_prior
from probjax.optimize import stochastic_adam
from probjax.types import Data, Model, NotApplicable, Posterior, as_model
from probjax.validation import check_inputs, require_counts, require_positive


def dropout(
    key: Array,
    model: Model,
    data: Data,
    *,
    rate: float = 0.1,
    num_draws: int = 1000,
    num_steps: int = 3000,
    learning_rate: float = 0.02,
    num_masks: int = 8,
) -> Posterior:
    """Minimise −E_mask[log p(y | x, mask ∘ params)] − log p(params); the draws are mask ∘ params (Gal & Ghahramani
    2016).

    Masks fall on hidden units, on the inputs of a linear model; a dropped unit is a row of the next weight set to 0,
    the kept ones are divided by 1 − rate. One mask serves all inputs of a draw, so draws are functions and joint
    predictions make sense.

    Args:
        key: split into the starting point, the training masks and the prediction masks.
        model: with a network that has a `drop`.
        rate: probability of dropping a unit, in (0, 1).
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
    if not isinstance(rate, jax.core.Tracer) and not 0 < rate < 1:
        raise ValueError(
            f"rate is {rate} but must lie in (0, 1); at 0 nothing is dropped and the method is map_estimate"
        )
    require_counts("dropout", num_draws=(num_draws, 1), num_steps=(num_steps, 1), num_masks=(num_masks, 1))
    require_positive("dropout", "learning_rate", learning_rate, "0.02 is the default")
    init_key, fit_key, draw_key = jax.random.split(key, 3)

    def objective(params, key):
        def negative(mask_key):
            return -jnp.sum(log_likelihood(model, model.drop(mask_key, params, rate), data))

        return jnp.mean(jax.vmap(negative)(jax.random.split(key, num_masks))) - log_prior(model, params)

    params, info = stochastic_adam(
        fit_key, objective, model.init(init_key), num_steps=num_steps, learning_rate=learning_rate
    )
    draws = jax.vmap(lambda k: model.drop(k, params, rate))(jax.random.split(draw_key, num_draws))
    return Posterior(draws, info)
