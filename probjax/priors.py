"""Priors p(params) over any parameter tree. Hyperparameters are numbers, or trees that match the parameters or a
prefix of them; another prior for each part of a dict is `joint`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from probjax import special
from probjax.likelihoods import real_line
from probjax.types import Prior, Static
from probjax.validation import require_finite, require_fraction, require_positive

NO_PRIOR = "for no prior at all use priors.flat()"


def flat() -> Prior:
    """p(params) ∝ 1: improper, so it has no samples and its models have no evidence."""
    return Prior(_flat_log_prob, None)


def _flat_log_prob(params):
    return jnp.zeros((), jnp.result_type(*jax.tree.leaves(params)))


def _independent(log_density: Callable, draw: Callable, *hyper: Any) -> Prior:
    """Every element of every leaf has the density log_density(w, *hyper) and is drawn by draw(key, *hyper)."""
    how = Static((log_density, draw))
    return Prior(Partial(_log_prob, how, hyper), Partial(_sample, how, hyper))


def _log_prob(how, hyper, params):
    log_density, _ = how.value
    leaves = [jnp.asarray(w) for w in jax.tree.leaves(params)]
    columns = [_broadcast(h, params) for h in hyper]
    cast = lambda w, values: [jnp.asarray(value, w.dtype) for value in values]
    return sum(jnp.sum(log_density(w, *cast(w, values))) for w, *values in zip(leaves, *columns))


def _sample(how, hyper, key, like):
    _, draw = how.value
    leaves, treedef = jax.tree.flatten(like)
    columns = [_broadcast(h, like) for h in hyper]
    keys = jax.random.split(key, len(leaves))
    spread = lambda w, values: [jnp.broadcast_to(jnp.asarray(value, w.dtype), w.shape) for value in values]
    return treedef.unflatten([draw(k, *spread(w, values)) for k, w, *values in zip(keys, leaves, *columns)])


def normal(loc: Any = 0.0, scale: Any = 1.0) -> Prior:
    """Independent Gaussians: log p = Σ −½ log 2π − log τ − (w − μ)² / 2τ² (ridge: λ = σ²/τ² under noise σ).

    Args:
        loc, scale: μ and τ > 0: numbers, or trees matching the parameters (or a prefix of their tree).

    >>> float(normal(0.0, 1.0).log_prob({"w": jnp.zeros(2)}))  # −log 2π
    -1.8378770...
    """
    require_finite("priors.normal", "loc", loc)
    require_positive("priors.normal", "scale", scale, NO_PRIOR)
    return _independent(real_line.NORMAL.log_prob, real_line.NORMAL.sample, loc, scale)


def is_gaussian(prior: Prior, *, but_for_kinks: bool = False) -> bool:
    """Whether log p is a quadratic in params or constant: `normal`, `flat`, or a `joint` of them; with `but_for_kinks`,
    `laplace` too, which is constant once its kinks are taken away."""
    quadratic = (real_line.NORMAL.log_prob, _flat_log_prob, *([_LAPLACE] if but_for_kinks else []))
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
    """The elementwise log-densities that a prior is made of; `_flat_log_prob` for a flat one, None for one that is not
    ours."""
    how = getattr(prior.log_prob, "func", None)
    if how is _joint_log_prob:
        return [density for part in prior.log_prob.args[0].values() for density in _densities(part)]
    if how is _log_prob:
        return [prior.log_prob.args[0].value[0]]
    return [_flat_log_prob if how is _flat_log_prob else None]


def kinks(prior: Prior, like: Any) -> tuple[Any, Any]:
    """Where −log p has the kinks Σ rate |w − centre|: (centre, rate) shaped as `like`, rate = 1/b for `laplace` and 0
    for what is smooth."""
    how = getattr(prior.log_prob, "func", None)
    if how is _joint_log_prob:
        parts = {name: kinks(part, like[name]) for name, part in prior.log_prob.args[0].items()}
        return tuple({name: both[i] for name, both in parts.items()} for i in (0, 1))
    if how is not _log_prob or prior.log_prob.args[0].value[0] is not _LAPLACE:
        zeros = jax.tree.map(jnp.zeros_like, like)
        return zeros, zeros
    leaves, treedef = jax.tree.flatten(like)
    spread = lambda value: [
        jnp.broadcast_to(jnp.asarray(v, w.dtype), w.shape) for v, w in zip(_broadcast(value, like), leaves)
    ]
    loc, scale = prior.log_prob.args[1]
    return treedef.unflatten(spread(loc)), treedef.unflatten([1 / b for b in spread(scale)])


def laplace(loc: Any = 0.0, scale: Any = 1.0) -> Prior:
    """Independent double exponentials: log p = Σ −log 2b − |w − μ| / b (lasso: λ = σ²/b for the objective ½SSE +
    λ‖w‖₁). Its mode has exact zeros; the density has none, and neither has the posterior: there is no atom at 0.

    Args:
        loc, scale: μ and b > 0: numbers, or trees matching the parameters (or a prefix of their tree).

    >>> float(laplace(0.0, 0.5).log_prob({"w": jnp.zeros(3)}))
    0.0
    """
    require_finite("priors.laplace", "loc", loc)
    require_positive("priors.laplace", "scale", scale, NO_PRIOR)
    return _independent(real_line.LAPLACE.log_prob, real_line.LAPLACE.sample, loc, scale)


def student_t(df: Any, loc: Any = 0.0, scale: Any = 1.0) -> Prior:
    """Independent Student's t with ν degrees of freedom: heavier tails than the Gaussian's and, the density being
    smooth at its centre, no zeros in the mode.

    Args:
        df, loc, scale: ν > 0, μ, s > 0: numbers, or trees matching the parameters (or a prefix of their tree).

    >>> float(student_t(1.0).log_prob({"w": jnp.zeros(1)}))  # −log π
    -1.144729...
    """
    require_positive("priors.student_t", "df", df, NO_PRIOR)
    require_finite("priors.student_t", "loc", loc)
    require_positive("priors.student_t", "scale", scale, NO_PRIOR)
    return _independent(real_line.STUDENT_T.log_prob, real_line.STUDENT_T.sample, loc, scale, df)


def cauchy(loc: Any = 0.0, scale: Any = 1.0) -> Prior:
    """Student's t with one degree of freedom: log p = Σ −log πs − log(1 + (w − μ)²/s²).

    >>> float(cauchy(0.0, 2.0).log_prob(jnp.zeros(1)))  # −log 2π
    -1.8378770...
    """
    return student_t(1.0, loc, scale)


def half_normal(scale: Any = 1.0) -> Prior:
    """For a scale σ that is half-normal, the parameter being t = log σ: log p(t) = ½ log 2/π − log s − e²ᵗ/2s² + t, the
    last term being the log Jacobian of σ = eᵗ (Gelman 2006 discusses priors of scales).

    >>> round(float(half_normal(1.0).log_prob(jnp.zeros(()))), 4)  # ½ log 2/π − ½
    -0.7258
    """
    require_positive("priors.half_normal", "scale", scale, NO_PRIOR)
    return _independent(_half_normal_log_density, _half_normal_sample, scale)


def _half_normal_log_density(log_value, scale):
    return math.log(2) - special.HALF_LOG_TWO_PI - jnp.log(scale) - 0.5 * (jnp.exp(log_value) / scale) ** 2 + log_value


def _half_normal_sample(key, scale):
    return jnp.log(scale * jnp.abs(jax.random.normal(key, scale.shape, scale.dtype)))


def half_cauchy(scale: Any = 1.0) -> Prior:
    """For a scale σ that is half-Cauchy, the parameter being t = log σ: log p(t) = log 2/π + u − log(1 + e²ᵘ) with
    u = t − log s, Jacobian included (Gelman 2006 §3.2).

    >>> round(float(half_cauchy(1.0).log_prob(jnp.zeros(()))), 4)  # −log π
    -1.1447
    """
    require_positive("priors.half_cauchy", "scale", scale, NO_PRIOR)
    return _independent(_half_cauchy_log_density, _half_cauchy_sample, scale)


def _half_cauchy_log_density(log_value, scale):
    u = special.log_ratio(log_value, scale)
    return math.log(2 / math.pi) + u - jax.nn.softplus(2 * u)


def _half_cauchy_sample(key, scale):
    return jnp.log(scale) + jnp.log(jnp.abs(jax.random.cauchy(key, scale.shape, scale.dtype)))


def horseshoe(scale: Any = 1.0) -> Prior:
    """w = τ λ z with z standard normal and λ half-Cauchy, λ integrated out: log p = −½ log 2π³ − log τ + x + log E₁(x),
    x = w²/2τ² (Carvalho, Polson & Scott 2010). Infinite at w = 0 (slowly, as log(1/w²)), so that a mode means nothing;
    sample it, or use its mean.

    Args:
        scale: τ > 0, the global scale.
    """
    require_positive("priors.horseshoe", "scale", scale, NO_PRIOR)
    return _independent(_horseshoe_log_density, _horseshoe_sample, scale)


def _horseshoe_log_density(w, scale):
    return -0.5 * math.log(2 * math.pi**3) - jnp.log(scale) + special.log_scaled_exp1(0.5 * (w / scale) ** 2)


def _horseshoe_sample(key, scale):
    local_key, noise_key = jax.random.split(key)
    local = jax.random.cauchy(local_key, scale.shape, scale.dtype)
    return scale * local * jax.random.normal(noise_key, scale.shape, scale.dtype)


def spike_and_slab(probability: Any = 0.5, scale: Any = 1.0) -> Prior:
    """w = 0 with probability 1 − π, else N(0, s²) (Mitchell & Beauchamp 1988).

    log p is a density with respect to Lebesgue measure plus a point mass at 0: log(1 − π) at w = 0 exactly, log π +
    log N(w | 0, s²) elsewhere. It has the atom that no continuous prior has. Gradient-based methods never see it, so
    they are wrong here; draw from it, or enumerate.

    Args:
        probability: π in (0, 1), of the slab. scale: s > 0.
    """
    require_fraction("priors.spike_and_slab", "probability", probability)
    require_positive("priors.spike_and_slab", "scale", scale, NO_PRIOR)
    return _independent(_spike_and_slab_log_density, _spike_and_slab_sample, probability, scale)


def _spike_and_slab_log_density(w, probability, scale):
    slab = jnp.log(probability) + real_line.NORMAL.log_prob(w, 0.0, scale)
    return jnp.where(w == 0, jnp.log1p(-probability), slab)


_LAPLACE, _SINGULAR = real_line.LAPLACE.log_prob, (_horseshoe_log_density, _spike_and_slab_log_density)


def _spike_and_slab_sample(key, probability, scale):
    slab_key, value_key = jax.random.split(key)
    values = scale * jax.random.normal(value_key, scale.shape, scale.dtype)
    return jnp.where(jax.random.bernoulli(slab_key, probability), values, 0.0)


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
            f"priors.joint has parts {sorted(parts)} but params has {sorted(params)}; the names must be the same"
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
