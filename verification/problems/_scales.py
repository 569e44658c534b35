"""Pieces of problems with scales as hyperparameters: starting points, priors of log scales, exact draws."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from probjax.types import Static
from verification.exact.gaussian_mixture import sampler


def normal_init(scale: float, **shapes) -> Partial:
    """key -> {name: N(0, scale²) of its shape}."""
    return Partial(_normal_init, Static((scale, tuple(shapes.items()))))


def _normal_init(static, key):
    scale, shapes = static.value
    keys = jax.random.split(key, len(shapes))
    return {name: scale * jax.random.normal(k, shape) for k, (name, shape) in zip(keys, shapes)}


def log_half_normal_scale(u, scale):
    """log-density of u = log τ, τ ~ half-N(0, scale²), with the Jacobian."""
    return 0.5 * jnp.log(2 / jnp.pi) - jnp.log(scale) - 0.5 * (jnp.exp(u) / scale) ** 2 + u


def log_half_cauchy_scale(u, scale):
    """log-density of u = log τ, τ ~ half-Cauchy(scale), with the Jacobian."""
    return jnp.log(2 / jnp.pi) - jnp.log(scale) - jnp.log1p((jnp.exp(u) / scale) ** 2) + u


def identity(u):
    """The link of a scale that is sampled as it is."""
    return u


def exact_draws(model, nodes, to_params: Callable) -> Callable:
    """(rng, S) -> params from the draws (v, θ) of `model`."""
    draw = sampler(model, nodes)
    return lambda rng, num: to_params(*draw(rng, num))


def redrawn(model, nodes, to_params: Callable) -> Callable:
    """The damage of a bug that is another model: exact draws from that one."""
    draw = exact_draws(model, nodes, to_params)
    return lambda rng, params: draw(rng, len(jax.tree.leaves(params)[0]))
