"""Priors made of one density for every element, or of other priors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from probjax.types import Prior, Static


def flat() -> Prior:
    """p(params) ∝ 1: improper, so it has no samples and its models have no evidence."""
    return Prior(flat_log_prob, None)


def flat_log_prob(params):
    """0, in the precision of params."""
    return jnp.zeros((), jnp.result_type(*jax.tree.leaves(params)))


def independent(log_density: Callable, draw: Callable, *hyper: Any) -> Prior:
    """Every element of every leaf has the density log_density(w, *hyper) and is drawn by draw(key, *hyper)."""
    how = Static((log_density, draw))
    return Prior(Partial(independent_log_prob, how, hyper), Partial(_independent_sample, how, hyper))


def independent_log_prob(how, hyper, params):
    """Σ log_density(w, *hyper) over the elements; `how` holds (log_density, draw)."""
    log_density, _ = how.value
    leaves = [jnp.asarray(w) for w in jax.tree.leaves(params)]
    columns = [broadcast(h, params) for h in hyper]
    cast = lambda w, values: [jnp.asarray(value, w.dtype) for value in values]
    return sum(jnp.sum(log_density(w, *cast(w, values))) for w, *values in zip(leaves, *columns))


def _independent_sample(how, hyper, key, like):
    _, draw = how.value
    leaves, treedef = jax.tree.flatten(like)
    columns = [broadcast(h, like) for h in hyper]
    keys = jax.random.split(key, len(leaves))
    spread = lambda w, values: [jnp.broadcast_to(jnp.asarray(value, w.dtype), w.shape) for value in values]
    return treedef.unflatten([draw(k, *spread(w, values)) for k, w, *values in zip(keys, leaves, *columns)])


def joint(**parts: Prior) -> Prior:
    """A prior for each top-level entry of a parameter dict: log p = Σ log p_name(params[name]).

    >>> from probjax import priors
    >>> prior = priors.joint(network=priors.normal(0.0, 1.0), log_scale=priors.normal(0.0, 2.0))
    """
    sample = None if any(part.sample is None for part in parts.values()) else Partial(_joint_sample, parts)
    return Prior(Partial(joint_log_prob, parts), sample)


def joint_log_prob(parts, params):
    """Σ log p_name(params[name])."""
    if not isinstance(params, dict):
        raise ValueError(
            f"priors.joint has parts {sorted(parts)} but params is a {type(params).__name__}; joint needs a dict: "
            "for other trees give priors.normal or priors.laplace a tree of scales"
        )
    if set(parts) != set(params):
        raise ValueError(
            f"priors.joint has parts {sorted(parts)} but params has {sorted(params)}; the names must be the same"
        )
    return sum(parts[name].log_prob(params[name]) for name in sorted(parts))


def _joint_sample(parts, key, like):
    keys = jax.random.split(key, len(parts))
    return {name: parts[name].sample(k, like[name]) for name, k in zip(sorted(parts), keys)}


def broadcast(value, params):
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
