"""Bugs of models: the posterior of a wrong model, from exact draws resampled by the ratio of the two densities.

A mutant is a function Problem -> (params -> log wrong/right density), or None where the problem has no such part.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from probjax import Model, likelihoods, log_likelihood
from probjax.types import Data


def _rows(problem) -> Callable | None:
    """params -> log p(y_n | params), [N], of a Model."""
    if not isinstance(problem.model, Model):
        return None
    return lambda params: log_likelihood(problem.model, params, problem.data)


def _from_rows(weigh: Callable) -> Callable:
    def mutant(problem):
        rows = _rows(problem)
        return None if rows is None else lambda params: weigh(rows(params))

    return mutant


def _from_prior(power: float) -> Callable:
    """The prior to the power 1 + `power`."""

    def mutant(problem):
        if not isinstance(problem.model, Model) or problem.model.prior.sample is None:
            return None
        return lambda params: power * problem.model.prior.log_prob(params)

    return mutant


def _noise(change: Callable) -> Callable:
    """The known sd of normal noise changed."""

    def mutant(problem):
        if not isinstance(problem.model, Model) or not likelihoods.is_homoscedastic(problem.model.likelihood):
            return None
        scale = _known_scale(problem)
        wrong = problem.model._replace(likelihood=likelihoods.normal(change(scale)))
        return lambda params: jnp.sum(
            log_likelihood(wrong, params, problem.data) - log_likelihood(problem.model, params, problem.data)
        )

    return mutant


def _known_scale(problem) -> float:
    """σ of N(f, σ²), read off its variance."""
    like = jax.eval_shape(problem.model.init, jax.random.key(0))
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
    f = problem.model.apply(params, problem.data.x)
    return jnp.sqrt(jnp.ravel(problem.model.likelihood.variance(f))[0])


def _other_data(change: Callable) -> Callable:
    """The posterior of other data: change(Data) -> Data of the same shapes."""

    def mutant(problem):
        if not isinstance(problem.model, Model):
            return None
        other = change(problem.data)
        return lambda params: jnp.sum(
            log_likelihood(problem.model, params, other) - log_likelihood(problem.model, params, problem.data)
        )

    return mutant


def _two_responses_swapped(data):
    """The first row's response and the first one that differs from it."""
    y = jnp.asarray(data.y)
    differs = jnp.reshape(y != y[:1], (len(y), -1)).any(1)
    other = jnp.argmax(differs)
    order = jnp.arange(len(y)).at[0].set(other).at[other].set(0)
    return Data(data.x, y[order])


def _held_out_seen(problem):
    return problem.log_new


def _scale_prior(problem):
    """A factor 1/σ² where the noise is learnt: a Jacobian too many."""
    like = jax.eval_shape(problem.model.init, jax.random.key(0)) if isinstance(problem.model, Model) else None
    return (lambda params: -2 * params["log_scale"]) if isinstance(like, dict) and "log_scale" in like else None


MODEL_MUTANTS: dict[str, Callable] = {
    "first row dropped": _from_rows(lambda rows: -rows[0]),
    "last row counted twice": _from_rows(lambda rows: rows[-1]),
    "a tenth of the rows dropped": _from_rows(lambda rows: -jnp.sum(rows[: max(1, len(rows) // 10)])),
    "likelihood to the power 0.9 (N/n wrong)": _from_rows(lambda rows: -0.1 * jnp.sum(rows)),
    "likelihood to the power 1.1 (cold)": _from_rows(lambda rows: 0.1 * jnp.sum(rows)),
    "prior twice": _from_prior(1.0),
    "prior left out": _from_prior(-1.0),
    "prior of twice the sd": _from_prior(-0.75),
    "noise sd × 1.05": _noise(lambda scale: 1.05 * scale),
    "noise variance taken for its sd": _noise(lambda scale: scale**2),
    "two responses swapped": _other_data(_two_responses_swapped),
    "held-out rows in the fit": _held_out_seen,
    "a Jacobian 1/σ² too many": _scale_prior,
}
