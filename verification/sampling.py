"""Runs a method on many keys: compiled once, then called for as many batches of replications as a verdict needs."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probjax import Target, check_inputs, over_leading_axis
from probjax.density import target
from probjax.validation import check_draws
from verification.checks import importance
from verification.compiling import compiler_options
from verification.methods import Method
from verification.types import Problem, Replications

BATCH = 16  # keys in one call of the compiled program
NOT_TRACEABLE = (
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerBoolConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.ConcretizationTypeError,
)


class MethodError(Exception):
    """A method that raised or returned something that is no posterior; the text says what and where."""


class Sampler:
    """draw(R) -> Replications from the next R keys. Times and what the method says of itself are kept.

    A method that does not trace (it uses NumPy on its arguments, say) runs uncompiled, key by key.
    """

    def __init__(
        self, method: Callable, problem: Problem, key: jax.Array, tell: Callable[[str], None] = lambda state: None
    ):
        self.method, self.problem, self.key, self.tell = method, problem, key, tell
        self.seconds_compile = self.seconds_run = 0.0
        self.compiled_here, self.num_keys, self.info, self.num_draws = True, 0, {}, 0
        self.numbers = method.numbers if isinstance(method, Method) else {}
        tell("compiling")
        start = time.perf_counter()
        check_inputs(problem.model, problem.data)
        try:
            lowered = jax.jit(self._batch).lower(self._keys(0), problem.model, problem.data, self.numbers)
            self._run = lowered.compile(compiler_options=compiler_options(method))
        except NOT_TRACEABLE:
            self.compiled_here, self._run = False, self._eagerly
        except (Exception, SystemExit) as error:
            raise _explained(error, method, problem.model) from error
        self.seconds_compile = time.perf_counter() - start
        self.memory = _bytes(self._run) if self.compiled_here else None

    def draw(self, num_replications: int) -> Replications:
        """Replications on fresh keys; `num_replications` is rounded up to whole batches."""
        parts = []
        for _ in range(-(-num_replications // BATCH)):
            self.tell(f"running keys {self.num_keys + 1}–{self.num_keys + BATCH}")
            start = time.perf_counter()
            try:
                queries, log_new, log_ratios, info = jax.device_get(
                    self._run(self._keys(self.num_keys), self.problem.model, self.problem.data, self.numbers)
                )
            except (Exception, SystemExit) as error:
                raise _explained(error, self.method, self.problem.model) from error
            self.seconds_run += time.perf_counter() - start
            self.num_keys += BATCH
            self.num_draws = queries.shape[1]
            _check_keys(queries)
            self._remember(info)
            said = [info.get(name) for name in ("log_evidence", "elbo")]
            said.append(None if log_ratios is None else [_pareto_k(row) for row in log_ratios])
            parts.append(Replications(queries, log_new, *(None if v is None else np.asarray(v, float) for v in said)))
        return Replications(*(None if leaves[0] is None else np.concatenate(leaves) for leaves in zip(*parts)))

    def _keys(self, start: int):
        return jax.vmap(lambda i: jax.random.fold_in(self.key, i))(jnp.arange(start, start + BATCH))

    def _one(self, key, model, data, numbers):
        posterior = self.method(key, model, data, **numbers)
        check_draws(model, posterior)
        queries, log_new = self._queries(posterior.draws)
        return queries, log_new, _log_ratios(posterior, model, data), _scalars(posterior.info)

    def _queries(self, draws):
        log_new = None if self.problem.log_new is None else jax.vmap(self.problem.log_new)(draws)
        return jax.vmap(self.problem.query)(draws), log_new

    def _batch(self, keys, model, data, numbers):
        return over_leading_axis(lambda key: self._one(key, model, data, numbers), keys)

    def _eagerly(self, keys, model, data, numbers) -> Any:
        rows = [self._one(key, model, data, numbers) for key in keys]
        sizes = sorted({row[0].shape[0] for row in rows})
        if len(sizes) > 1:
            raise ValueError(
                f"the method returned {sizes} draws for different keys; the number must not depend on the key"
            )
        return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *rows)

    def _remember(self, info):
        for name, values in info.items():
            self.info.setdefault(name, []).extend(np.asarray(values, float).ravel().tolist())

    def report(self) -> dict[str, float]:
        """What the method said of its runs, averaged: {"converged": 1.0, "num_divergent": 0.3, …}."""
        return {name: float(np.mean(values)) for name, values in self.info.items()}


def _bytes(compiled) -> int | None:
    """What the program holds while it runs; None where the backend does not say."""
    said = compiled.memory_analysis()
    parts = ("temp_size_in_bytes", "argument_size_in_bytes", "output_size_in_bytes")
    return None if said is None else sum(getattr(said, part) for part in parts)


def _log_ratios(posterior, model, data):
    """log p(params, data) − log q(params) of each draw, nats, up to a constant; None where the method says no `log_q`
    or its draws are too few for k̂."""
    log_q, num_draws = posterior.info.get("log_q"), jax.tree.leaves(posterior.draws)[0].shape[0]
    if log_q is None or num_draws < importance.FEWEST:
        return None
    if jnp.shape(log_q) != (num_draws,):
        raise ValueError(f"info['log_q'] has shape {jnp.shape(log_q)} but there are {num_draws} draws; one each")
    return jax.vmap(lambda params: target(model).log_joint(params, data))(posterior.draws) - log_q


def _pareto_k(log_ratios):
    """k̂, a number for the mean over replications; NaN where a ratio is NaN or infinite, as it is where a draw is."""
    usable = np.all(log_ratios < np.inf) and np.any(log_ratios > -np.inf)
    return max(importance.pareto_k(log_ratios), importance.NO_TAIL) if usable else np.nan


def _scalars(info):
    """What is averaged over keys."""
    for name, value in info.items():
        if not isinstance(value, jax.Array | np.ndarray | np.generic | bool | int | float):
            raise ValueError(
                f"info[{name!r}] is a {type(value).__name__} but info is a dict of arrays and numbers; leave it out"
            )
    return {name: jnp.asarray(value) for name, value in info.items() if jnp.ndim(value) == 0}


def _check_keys(queries):
    """Sixteen keys that give the same draws are one replication: no margin could be had from them."""
    if queries.shape[1] > 1 and np.all(queries == queries[:1]) and np.any(queries[0] != queries[0, :1]):
        raise MethodError(
            "the draws are the same for every key; draw with jax.random from the key given "
            "(numpy.random inside a compiled function is a constant)"
        )


def _explained(error: BaseException, method: Callable, model) -> Exception:
    """The error in one sentence with the line of the method's own file that raised it; `NotApplicable` stays what it
    is."""
    from probjax import NotApplicable

    if isinstance(error, NotApplicable):
        return error
    code = getattr(getattr(method, "func", method), "__code__", None)
    where = ""
    for frame in traceback.extract_tb(error.__traceback__):
        if code is not None and frame.filename == code.co_filename:
            where = f" ({Path(frame.filename).name}, line {frame.lineno}: {frame.line})"
    return MethodError(f"{type(error).__name__}: {_first_sentence(error)}{where}{_cure(error, model)}")


def _first_sentence(error: Exception) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return lines[0][:400] if lines else "(no message)"


def _cure(error: BaseException, model) -> str:
    if isinstance(error, AttributeError) and isinstance(model, Target) and "Target" in str(error):
        return "; this problem is a Target (a density only): call probjax.as_model(model) first, and it becomes n/a"
    return ""
