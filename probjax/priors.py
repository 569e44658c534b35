"""Priors p(params) over any parameter tree. Hyperparameters are numbers, or trees that match the parameters or a
prefix of them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from probjax.types import Prior
from probjax.validation import require_finite, require_positive

_HALF_LOG_TWO_PI = 0.9189385332046727  # ½ log 2π
NO_PRIOR = "for no prior at all use priors.flat()"


def flat() -> Prior:
    """p(params) ∝ 1: improper, so it has no samples and its models have no evidence."""
    return Prior(_flat_log_prob, None)


def _flat_log_prob(params):
    return jnp.zeros((), jnp.result_type(*jax.tree.leaves(params)))


def normal(loc: Any = 0.0, scale: Any = 1.0) -> Prior:
    """Independent Gaussians: log p = Σ −½ log 2π − log τ − (w − μ)² / 2τ² (ridge: λ = σ²/τ² under noise σ).

    Args:
        loc, scale: μ and τ > 0: numbers, or trees matching the parameters (or a prefix of their tree).

    >>> float(normal(0.0, 1.0).log_prob({"w": jnp.zeros(2)}))  # −log 2π
    -1.8378770...
    """
    require_finite("priors.normal", "loc", loc)
    require_positive("priors.normal", "scale", scale, NO_PRIOR)
    return Prior(Partial(_normal_log_prob, loc=loc, scale=scale), Partial(_normal_sample, loc=loc, scale=scale))


def _normal_log_prob(params, loc, scale):
    def leaf(w, loc, scale):
        scale = jnp.asarray(scale, w.dtype)
        return jnp.sum(-_HALF_LOG_TWO_PI - jnp.log(scale) - 0.5 * ((w - loc) / scale) ** 2)

    return _sum_over_leaves(leaf, params, loc, scale)


def _normal_sample(key, like, loc, scale):
    return _sample_leaves(
        key, like, lambda key, w, loc, scale: loc + scale * jax.random.normal(key, w.shape, w.dtype), loc, scale
    )


def is_gaussian(prior: Prior) -> bool:
    """Whether log p is a quadratic in params or constant: `normal`, `flat`, or a `joint` of them."""
    how = getattr(prior.log_prob, "func", None)
    if how is _joint_log_prob:
        return all(is_gaussian(part) for part in prior.log_prob.args[0].values())
    return how in (_flat_log_prob, _normal_log_prob)


def laplace(loc: Any = 0.0, scale: Any = 1.0) -> Prior:
    """Independent double exponentials: log p = Σ −log 2b − |w − μ| / b (lasso: λ = σ²/b for the objective ½SSE +
    λ‖w‖₁).

    Args:
        loc, scale: μ and b > 0: numbers, or trees matching the parameters (or a prefix of their tree).

    >>> float(laplace(0.0, 0.5).log_prob({"w": jnp.zeros(3)}))
    0.0
    """
    require_finite("priors.laplace", "loc", loc)
    require_positive("priors.laplace", "scale", scale, NO_PRIOR)
    return Prior(Partial(_laplace_log_prob, loc=loc, scale=scale), Partial(_laplace_sample, loc=loc, scale=scale))


def _laplace_log_prob(params, loc, scale):
    def leaf(w, loc, scale):
        scale = jnp.asarray(scale, w.dtype)
        return jnp.sum(-jnp.log(2 * scale) - jnp.abs(w - loc) / scale)

    return _sum_over_leaves(leaf, params, loc, scale)


def _laplace_sample(key, like, loc, scale):
    return _sample_leaves(
        key, like, lambda key, w, loc, scale: loc + scale * jax.random.laplace(key, w.shape, w.dtype), loc, scale
    )


def joint(**parts: Prior) -> Prior:
    """A prior for each top-level entry of a parameter dict: log p = Σ log p_name(params[name]).

    >>> prior = joint(network=normal(0.0, 1.0), log_scale=normal(0.0, 2.0))
    """
    sample = None if any(part.sample is None for part in parts.values()) else Partial(_joint_sample, parts)
    return Prior(Partial(_joint_log_prob, parts), sample)


def _joint_log_prob(parts, params):
    if not isinstance(params, dict):
        raise ValueError(
            f"priors.joint has parts {sorted(parts)} but params is a {type(params).__name__}; joint needs a dict: "
            "for other trees give priors.normal or priors.laplace a tree of scales"
        )
    if set(parts) != set(params):
        raise ValueError(
            f"priors.joint has parts {sorted(parts)} but params has {sorted(params)}; give one prior a name"
        )
    return sum(parts[name].log_prob(params[name]) for name in sorted(parts))


def _joint_sample(parts, key, like):
    keys = jax.random.split(key, len(parts))
    return {name: parts[name].sample(k, like[name]) for name, k in zip(sorted(parts), keys)}


def _broadcast(value, params):
    """`value` (a number or a prefix tree) as a list of one entry per leaf of `params`, none of them larger than its
    leaf: a larger one would count the leaf several times."""
    try:
        columns = jax.tree_util.tree_leaves(jax.tree.broadcast(value, params))
    except ValueError as error:
        raise ValueError(
            f"a prior's hyperparameter has tree {jax.tree.structure(value)} but params has "
            f"{jax.tree.structure(params)}; pass a number, or a tree that matches params or a prefix of it"
        ) from error
    for (path, leaf), column in zip(jax.tree_util.tree_leaves_with_path(params), columns):
        shape, given = jnp.shape(leaf), jnp.shape(column)
        if len(given) > len(shape) or any(g not in (1, s) for g, s in zip(given[::-1], shape[::-1])):
            raise ValueError(
                f"a prior's hyperparameter has shape {given} but params{jax.tree_util.keystr(path)} has {shape}; "
                "pass a number, an array of that shape, or a tree with one entry a leaf"
            )
    return columns


def _sum_over_leaves(leaf, params, *hyper):
    leaves = [jnp.asarray(w) for w in jax.tree.leaves(params)]
    columns = [_broadcast(h, params) for h in hyper]
    return sum(leaf(w, *h) for w, *h in zip(leaves, *columns))


def _sample_leaves(key, like, draw, *hyper):
    leaves, treedef = jax.tree.flatten(like)
    keys = jax.random.split(key, len(leaves))
    columns = [_broadcast(h, like) for h in hyper]
    return treedef.unflatten([draw(k, w, *h) for k, w, *h in zip(keys, leaves, *columns)])
