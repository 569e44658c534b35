"""What the tests of Laplace's forms share."""

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from probjax import trained

EXACT = {"rtol": 1e-8, "atol": 1e-8}
KEY = jax.random.key(0)


def covariance_of(gaussian):
    """Σ [P, P]."""
    return gaussian.covariance(jnp.eye(gaussian.mean.size))


def run(method, model, data, params, **settings):
    """The method at these params, jitted."""
    return jax.jit(lambda key, params: method(key, model, data, num_draws=3, fit=trained(params), **settings))(
        KEY, params
    )


def blank(tree):
    return ravel_pytree(tree)[1]


def unlayered(model):
    """The same model, its network a function whose layers nobody knows."""
    return model._replace(apply=lambda params, x: model.apply(params, x))
