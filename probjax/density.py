"""The one place where log-densities are summed and the minibatch scale is said."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from probjax.types import Data, Model, Params, Target
from probjax.validation import check_log_prob, check_params, check_rows, network_output, num_data


def log_likelihood(model: Model, params: Params, data: Data) -> Array:
    """log p(yₙ | f(xₙ)) for each row.

    Returns:
        [N], nats per datum.

    Raises:
        ValueError: x, y and apply(params, x) disagree on the number of rows, y holds what cannot occur, or params is
            not of model.init's shape.
    """
    check_params(model, params)
    f = network_output(model, params, data.x)
    check_rows(model, data, f)
    log_prob = model.likelihood.log_prob(data.y, f)
    check_log_prob(data, f, log_prob)
    return log_prob


def log_prior(model: Model, params: Params) -> Array:
    """log p(params), a scalar, nats."""
    return model.prior.log_prob(params)


def log_joint(model: Model, params: Params, data: Data, *, num_total: int | None = None) -> Array:
    """log p(y, params | x) = log p(params) + (N_total / N) Σₙ log p(yₙ | f(xₙ)).

    Args:
        num_total: size of the whole data set when `data` is a minibatch of it: the sum is scaled by num_total / N, so
            that its expectation over uniform minibatches is the full log-joint. The prior is counted once. Default: no
            scaling.

    Returns:
        A scalar, nats, summed over data.

    >>> from probjax import likelihoods, linear, priors
    >>> model = Model(*linear(1), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    >>> data = Data(jnp.ones((4, 1)), jnp.ones(4))
    >>> params = {"weight": jnp.zeros(1), "bias": jnp.zeros(())}
    >>> round(float(log_joint(model, params, data)), 4)  # −6/2 log 2π − 4/2
    -7.5136
    """
    if num_total is not None and num_total < num_data(data):
        raise ValueError(
            f"num_total is {num_total} but data has {num_data(data)} rows; it is the size of the whole data set"
        )
    scale = 1.0 if num_total is None else num_total / num_data(data)
    return log_prior(model, params) + scale * jnp.sum(log_likelihood(model, params, data))


def target(model: Model | Target) -> Target:
    """The unnormalised posterior of a Model; a Target passes through unchanged.

    >>> from probjax import likelihoods, linear, priors
    >>> model = Model(*linear(1), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    >>> data = Data(jnp.ones((4, 1)), jnp.ones(4))
    >>> params = {"weight": jnp.zeros(1), "bias": jnp.zeros(())}
    >>> bool(target(model).log_joint(params, data) == log_joint(model, params, data))
    True
    """
    if isinstance(model, Target):
        return model
    if not isinstance(model, Model):
        raise TypeError(
            f"model is a {type(model).__name__}; expected a probjax Model or Target; see probjax.target_from_numpyro"
        )
    return Target(model.init, Partial(_log_joint_of, model), _as_dict)


def _log_joint_of(model, params, data):
    return log_joint(model, params, data)


def _as_dict(params):
    if isinstance(params, dict):
        return params
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
