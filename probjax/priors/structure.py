"""What is known of a prior's shape: whether it is Gaussian, where it has kinks, poles and atoms."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from probjax.likelihoods import kinked, real_line
from probjax.priors.composition import broadcast, flat_log_prob, independent_log_prob, joint_log_prob
from probjax.priors.densities import horseshoe_log_density, spike_and_slab_log_density
from probjax.types import Prior

_LAPLACE, _SINGULAR = kinked.LAPLACE.log_prob, (horseshoe_log_density, spike_and_slab_log_density)


def is_gaussian(prior: Prior, *, but_for_kinks: bool = False) -> bool:
    """Whether log p is a quadratic in params or constant: `normal`, `flat`, or a `joint` of them; with `but_for_kinks`,
    `laplace` too, which is constant once its kinks are taken away."""
    quadratic = (real_line.NORMAL.log_prob, flat_log_prob, *([_LAPLACE] if but_for_kinks else []))
    return all(density in quadratic for density in _densities(prior))


def has_kink(prior: Prior) -> bool:
    """Whether log p has a kink, a pole or an atom (`laplace`, `horseshoe`, `spike_and_slab`, or a `joint` with one), so
    that a mode need not be where the gradient vanishes."""
    return any(density in (_LAPLACE, *_SINGULAR) for density in _densities(prior))


def has_pole(prior: Prior) -> bool:
    """Whether log p has a pole or an atom (`horseshoe`, `spike_and_slab`, or a `joint` with one): its mode means
    nothing."""
    return any(density in _SINGULAR for density in _densities(prior))


def _densities(prior):
    """The elementwise log-densities that a prior is made of; `flat_log_prob` for a flat one, None for one that is not
    ours."""
    how = getattr(prior.log_prob, "func", None)
    if how is joint_log_prob:
        return [density for part in prior.log_prob.args[0].values() for density in _densities(part)]
    if how is independent_log_prob:
        return [prior.log_prob.args[0].value[0]]
    return [flat_log_prob if how is flat_log_prob else None]


def kinks(prior: Prior, like: Any) -> tuple[Any, Any]:
    """Where −log p has the kinks Σ rate |w − centre|: (centre, rate) shaped as `like`, rate = 1/b for `laplace` and 0
    for what is smooth."""
    how = getattr(prior.log_prob, "func", None)
    if how is joint_log_prob:
        parts = {name: kinks(part, like[name]) for name, part in prior.log_prob.args[0].items()}
        return tuple({name: both[i] for name, both in parts.items()} for i in (0, 1))
    if how is not independent_log_prob or prior.log_prob.args[0].value[0] is not _LAPLACE:
        zeros = jax.tree.map(jnp.zeros_like, like)
        return zeros, zeros
    leaves, treedef = jax.tree.flatten(like)
    spread = lambda value: [
        jnp.broadcast_to(jnp.asarray(v, w.dtype), w.shape) for v, w in zip(broadcast(value, like), leaves)
    ]
    loc, scale = prior.log_prob.args[1]
    return treedef.unflatten(spread(loc)), treedef.unflatten([1 / b for b in spread(scale)])
