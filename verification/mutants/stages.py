"""Problems as stages for kernels: a density over one vector with exact draws, and many kernels in one program.

All kernels of a stage are one compiled program, in which each run takes its own branch: a program a kernel would cost a
hundred times what the steps do. The random numbers are drawn before the branches, for the same reason.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_batching import custom_vmap
from jax.tree_util import Partial

from probjax.density import log_joint, log_likelihood, target
from probjax.types import Model
from verification.exact.reference import Reference
from verification.kernels import KernelReport, examine_kernel

NUM_STATES = 50_000  # exact draws, one step each
STAGES = {"linear": 3, "gamma_poisson": 1, "banana": 2}  # D: smooth, with exact draws; normal, skewed, bent


class Stage(NamedTuple):
    """A posterior over one vector x [D], with exact draws.

    log_density: x -> log joint, nats; log_likelihood: the part of it without the prior, None of a density alone.
    scale: [D], posterior sds. normal: (mean [D], precision [D, D]) of a Gaussian posterior, else None.
    states: (numpy Generator, S) -> [S, D]. query, reference: of the problem, query: x -> [Q].
    """

    name: str
    log_density: Callable
    log_likelihood: Callable | None
    centre: np.ndarray
    scale: np.ndarray
    normal: tuple | None
    states: Callable
    query: Callable
    reference: Reference


def stage_of(problem) -> Stage:
    """The stage that a problem is, for those named in `STAGES`."""
    size, is_model = STAGES[problem.name], isinstance(problem.model, Model)
    params = _FROM_VECTOR.get(problem.name, lambda x: x)
    flat = lambda p: np.column_stack([p["weight"], p["bias"]]) if isinstance(p, dict) else np.reshape(p, (-1, size))
    joint = partial(log_joint, problem.model) if is_model else target(problem.model).log_joint
    likelihood = lambda x: jnp.sum(log_likelihood(problem.model, params(x), problem.data))
    at = [problem.reference.names.index("log_rate")] if problem.name == "gamma_poisson" else list(range(size))
    return Stage(
        name=problem.name,
        log_density=lambda x: joint(params(x), problem.data),
        log_likelihood=likelihood if is_model else None,
        centre=problem.reference.mean[at],
        scale=problem.reference.sd[at],
        normal=None if problem.linear is None else problem.linear.posterior,
        states=lambda rng, num: flat(problem.exact_draws(rng, num)),
        query=lambda x: problem.query(params(x)),
        reference=problem.reference,
    )


_FROM_VECTOR = {"linear": lambda x: {"weight": x[:-1], "bias": x[-1]}, "gamma_poisson": lambda x: x[0]}


class Noise(NamedTuple):
    """What a step may use, all independent. normal: [D]; log_uniforms: [5]; extra: a standard normal."""

    normal: jax.Array
    log_uniforms: jax.Array
    extra: jax.Array


def _noise(key, size):
    normal_key, uniform_key, extra_key = jax.random.split(key, 3)
    log_uniforms = jnp.log(jax.random.uniform(uniform_key, (5,)))
    return Noise(jax.random.normal(normal_key, (size,)), log_uniforms, jax.random.normal(extra_key))


class Programs(NamedTuple):
    """The kernels of a stage under one compilation: those it can show, by name, and `step`, which takes the branch that
    the state names."""

    stage: Stage
    names: tuple[str, ...]
    step: Callable
    query: Callable


def programs(stage: Stage, makers: dict[str, Callable]) -> Programs:
    """`makers` on a stage, ready to be examined."""
    made = {name: kernel for name, maker in makers.items() if (kernel := maker(stage)) is not None}
    branch = _one_branch(list(made.values()))
    step = lambda key, state: {**state, "x": branch(state["which"], _noise(key, state["x"].size), state["x"])}
    return Programs(stage, tuple(made), step, Partial(lambda state: stage.query(state["x"])))


def _one_branch(kernels):
    """(which, noise, x) -> kernels[which](noise, x). All rows of a vmap take the first row's branch: `switch`, when
    batched, would run every branch for every row."""

    @custom_vmap
    def branch(which, noise, x):
        return lax.switch(which, kernels, noise, x)

    @branch.def_vmap
    def rows(axis_size, in_batched, which, noise, x):
        return lax.switch(which[0], [jax.vmap(kernel) for kernel in kernels], noise, x), True

    return branch


def examined(these: Programs, name: str, seed: int, num: int = NUM_STATES) -> KernelReport:
    """One step of the kernel called `name` from `num` exact draws."""
    rng = np.random.default_rng([seed, these.names.index(name)])
    states = {"x": these.stage.states(rng, num), "which": np.full(num, these.names.index(name))}
    key = jax.random.key(rng.integers(2**31))
    return examine_kernel(these.step, key, states, these.query, these.stage.reference)
