"""A method at its best: settings from a published grid, chosen by what a user could see, never by the exact answer."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from probjax import Model, log_likelihood
from probjax.types import Data
from verification.methods import ELBO, HELD_OUT, Method
from verification.types import Problem

KEYS = 3  # runs that a choice averages over
SHARE = 5  # one row in five is held out


def tuned(method: Method, problem: Problem, key: jax.Array) -> tuple[Method, str]:
    """The method at the settings of its grid that score best on the problem's data, and how they were chosen.

    By "elbo": the evidence lower bound that the method reports. By "held-out": log p of a fifth of the rows, drawn at
    random, given the others. Where neither can be had (a Target has no rows) the first of the grid stands.
    """
    if not method.grid:
        return method, ""
    score = {ELBO: _elbo, HELD_OUT: _held_out}[method.chosen_by](method, problem)
    keys = jax.random.split(key, KEYS)
    candidates = [method._replace(settings={**method.settings, **extra}) for extra in method.grid]
    scores = [float(np.mean([score(k, *_parts(c)) for k in keys])) for c in candidates]
    best = int(np.argmax([-np.inf if np.isnan(s) else s for s in scores]))
    told = ", ".join(f"{name} {value:g}" for name, value in method.grid[best].items())
    return candidates[best], f"{told}, by {method.chosen_by}"


def _parts(method):
    """Counts shape the program; numbers are its arguments, so that a grid of them is one compilation."""
    counts = tuple((name, value) for name, value in method.settings.items() if name not in method.numbers)
    return counts, method.numbers


def _elbo(method, problem):
    @partial(jax.jit, static_argnums=1)
    def run(key, counts, numbers):
        return method.run(key, problem.model, problem.data, **dict(counts), **numbers).info["elbo"]

    return run


def _held_out(method, problem):
    if not isinstance(problem.model, Model):
        return lambda key, counts, numbers: 0.0
    num = len(jax.tree.leaves(problem.data.y)[0])
    order = np.random.default_rng(0).permutation(num)
    held = max(1, num // SHARE)
    part = lambda rows: Data(*jax.tree.map(lambda leaf: jnp.asarray(leaf)[rows], tuple(problem.data)))
    fit, new = part(order[held:]), part(order[:held])

    @partial(jax.jit, static_argnums=1)
    def run(key, counts, numbers):
        draws = method.run(key, problem.model, fit, **dict(counts), **numbers).draws
        log_new = jax.vmap(lambda params: jnp.sum(log_likelihood(problem.model, params, new)))(draws)
        return jax.nn.logsumexp(log_new) - jnp.log(len(log_new))

    return run
