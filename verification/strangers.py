"""A stranger's own model and data: with the exact answer they bring, or against a long NUTS run made here."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial

from probjax import Model, Target, check_inputs, nuts
from probjax.diagnostics import split_rhat
from verification.exact.reference import LEVELS, Certificate, Reference
from verification.methods import load_function
from verification.types import Problem

CHAINS, DRAWS, WARMUP = 32, 4000, 1000
MOST_RHAT = 1.01
MOST_QUERIES = 40


def build(spec: str) -> Problem:
    """The problem that FILE:FUNCTION makes.

    The function returns a `Problem`, or (model, data), or (model, data, query). Where no reference comes with it, the
    reference is a long NUTS run: 32 chains of 4000 draws, its error the standard error over chains.

    Raises:
        ValueError: something else is returned; more quantities than can be judged; chains of the long run that
            disagree (split R̂ of a quantity above 1.01).
    """
    made = load_function(spec, "--problem", ())()
    problem = (made if isinstance(made, Problem) else _from_parts(spec, made))._replace(name=spec)
    check_inputs(problem.model, problem.data)
    return problem if problem.reference is not None else against_long_run(problem)


def _from_parts(spec, made) -> Problem:
    if not isinstance(made, tuple) or len(made) not in (2, 3) or not isinstance(made[0], Model | Target):
        raise ValueError(
            f"--problem: {spec} returned a {type(made).__name__} but should return a verification.types.Problem, or "
            "(model, data), or (model, data, query) with query: params -> [Q]"
        )
    model, data = made[:2]
    query = made[2] if len(made) == 3 else default_query(model)
    return Problem(spec, "a stranger's problem", model, data, query, None, None, None)


def default_query(model: Model | Target) -> Partial:
    """Every number of a Model's params; of a Target its constrained quantities."""
    if isinstance(model, Target):
        return Partial(_constrained, model)
    return Partial(_all_numbers)


def _constrained(target, params):
    return ravel_pytree(target.constrain(params))[0]


def _all_numbers(params):
    return ravel_pytree(params)[0]


def against_long_run(problem: Problem, key: jax.Array | None = None) -> Problem:
    """`problem` with a reference from a long NUTS run (Hoffman & Gelman 2014), whose errors are standard errors over
    independent chains.

    Raises:
        ValueError: as `build`.
    """
    key = jax.random.key(20) if key is None else key
    posterior = nuts(key, problem.model, problem.data, num_draws=CHAINS * DRAWS, num_warmup=WARMUP, num_chains=CHAINS)
    queries = np.asarray(jax.vmap(problem.query)(posterior.draws)).reshape(CHAINS, DRAWS, -1)
    if queries.shape[-1] > MOST_QUERIES:
        raise ValueError(
            f"--problem: {queries.shape[-1]} quantities to judge, at most {MOST_QUERIES} can be; return "
            "(model, data, query) with a query of the functions that matter, predictions for a network"
        )
    rhat = float(np.max(split_rhat(jnp.asarray(queries))))
    if not rhat < MOST_RHAT:
        raise ValueError(
            f"--problem: the chains of the long NUTS run disagree (split R-hat {rhat:.3f}, at most {MOST_RHAT}), so "
            "that it is no reference; bring an exact one, or a query of functions that have one mode"
        )
    return problem._replace(reference=_summarised(queries, rhat, _names(problem, queries.shape[-1])))


def _names(problem, number) -> tuple[str, ...]:
    """Names of the numbers of params or constrained quantities where they are the queries, else positions."""
    func = getattr(problem.query, "func", None)
    if func not in (_constrained, _all_numbers):
        return tuple(f"query {k}" for k in range(number))
    params = jax.eval_shape(problem.model.init, jax.random.key(0))
    tree = jax.eval_shape(problem.model.constrain, params) if func is _constrained else params
    names = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator=".") or "params"
        names += [f"{name}[{','.join(map(str, i))}]" if i else name for i in np.ndindex(leaf.shape)]
    return tuple(names)


def _summarised(chains: np.ndarray, rhat: float, names) -> Reference:
    """Pooled summaries of [C, S, Q]; the certificate holds the largest standard error over chains, in posterior sd,
    that of quantiles counting half: so are their tolerances."""
    flat = chains.reshape(-1, chains.shape[-1])
    sd = flat.std(0, ddof=1)
    tails = np.quantile(chains, (0.05, 0.95), axis=1)
    per_chain = [chains.mean(1), chains.std(1, ddof=1), *(0.5 * tails)]
    error = max(np.max(v.std(0, ddof=1) / np.sqrt(len(v)) / sd) for v in per_chain)
    quantiles = np.quantile(flat, LEVELS, axis=0)
    found = f"standard error over {CHAINS} NUTS chains of {DRAWS} draws; split R-hat {rhat:.4f}"
    certificate = Certificate(float(error), found, "none", float("nan"), exact=False)
    corr = np.corrcoef(flat.T).reshape(len(names), len(names))
    return Reference(names, flat.mean(0), sd, quantiles[1], quantiles[7], corr, None, 0, None, certificate, quantiles)
