"""Maximum a posteriori: one draw, the mode of the log-joint."""

from __future__ import annotations

from collections.abc import Callable

import jax
from jax import Array

from probjax.inference.at_mode import find_mode
from probjax.optimize import lbfgs
from probjax.types import Data, Model, Posterior, Target
from probjax.validation import check_inputs


def map_estimate(key: Array, model: Model | Target, data: Data, *, fit: Callable = lbfgs) -> Posterior:
    """params* = argmax log p(y, params | x), in the parametrisation of the model (Bishop 2006 §1.2.5).

    The mode is not invariant to reparametrisation, and a point has no spread: its sd is 0.

    Args:
        key: for the starting point.
        fit: a minimiser `(objective, params) -> (params, info)`, such as `optimize.lbfgs` or
            `functools.partial(optimize.adam, num_steps=5000)`.

    Returns:
        Posterior with S = 1; info: `grad_norm`, `objective` (−log joint, nats), `num_steps`, `converged`.

    >>> from probjax import Data, Model, likelihoods, linear, priors
    >>> import jax.numpy as jnp
    >>> model = Model(*linear(1), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    >>> posterior = map_estimate(jax.random.key(0), model, Data(jnp.ones((4, 1)), jnp.ones(4)))
    >>> posterior.draws["weight"].shape
    (1, 1)
    """
    check_inputs(model, data)
    params, info = find_mode(key, model, data, fit)
    return Posterior(jax.tree.map(lambda leaf: leaf[None], params), info)
