"""Importance correction of any approximation with a density: weights, Pareto-smoothed, then resampling."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import logsumexp

from probjax.density import target
from probjax.inference.laplace import laplace
from probjax.pareto import MIN_DRAWS, pareto_smoothed
from probjax.types import Data, Model, NotApplicable, Posterior, Target
from probjax.validation import check_inputs, require_counts


def importance_corrected(
    key: Array,
    model: Model | Target,
    data: Data,
    *,
    method: Callable = laplace,
    num_draws: int = 1000,
    num_proposals: int = 4000,
    batch_size: int = 500,
) -> Posterior:
    """Draws of q, weighted by wₛ = p(y, paramsₛ)/q(paramsₛ), the weights Pareto-smoothed (Vehtari et al. 2024), then
    resampled in proportion to them (Rubin 1988).

    Resampling is systematic: one uniform u, and draw i is the proposal whose share of the weights covers
    (u + i)/num_draws. Each proposal comes ⌊·⌋ or ⌈·⌉ of its expected times, which adds less variance than independent
    choices. Draws are repeated where weights are large: `ess` says how many proposals they are worth.

    Args:
        key: split into the method's, and resampling.
        method: one that reports the density of its draws, `log_q`: laplace, mean_field, full_rank, low_rank, iaf, bnaf,
            or one of them with settings, functools.partial(low_rank, rank=2).
        num_draws: S, after resampling.
        num_proposals: draws of q, several times num_draws.
        batch_size: proposals whose log-joint is computed together; bounds memory.

    Returns:
        Posterior with draws [S, …]; info: the method's own except `log_q` (the draws are no longer q's) and
        `log_evidence`, and
        `pareto_k`: k̂ of the weights; trust nothing here when it is above min(1 − 1/log₁₀ num_proposals, 0.7);
        `ess`: 1/Σ w², of normalised smoothed weights, out of num_proposals;
        `log_evidence`: log mean w of the smoothed weights (nats), an estimate of log p(y), and its standard error
        `log_evidence_se` = √(1/ess − 1/num_proposals);
        `num_nonfinite`: proposals whose weight is NaN or +∞. They get no weight, and k̂ is +∞ if there is one. If no
        proposal has weight, the draws are NaN.

    Raises:
        NotApplicable: the method reports no `log_q` (a last layer's is not that of all parameters), or takes no
            num_draws.
        ValueError: fewer than 25 proposals.

    >>> from functools import partial
    >>> from probjax import likelihoods, linear, priors
    >>> model = Model(*linear(1), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    >>> data = Data(jnp.ones((4, 1)), jnp.ones(4))
    >>> posterior = jax.jit(partial(importance_corrected, num_draws=5))(jax.random.key(0), model, data)
    >>> posterior.draws["weight"].shape, round(float(posterior.info["ess"]))  # Laplace is exact here
    ((5, 1), 4000)
    """
    check_inputs(model, data)
    counts = {"num_draws": (num_draws, 1), "num_proposals": (num_proposals, MIN_DRAWS), "batch_size": (batch_size, 1)}
    require_counts("importance_corrected", **counts)
    method_key, resample_key = jax.random.split(key)
    proposals, info = _propose(method_key, method, model, data, num_proposals)
    log_q = info.pop("log_q")
    density = target(model)
    log_joint = jax.lax.map(lambda params: density.log_joint(params, data), proposals, batch_size=batch_size)
    log_weights = log_joint - log_q
    bad = jnp.isnan(log_weights) | (log_weights == jnp.inf)
    smoothed, pareto_k = pareto_smoothed(jnp.where(bad, -jnp.inf, log_weights))
    total = logsumexp(smoothed)
    weights = jnp.exp(smoothed - total)  # NaN all if none has weight
    chosen = systematic(resample_key, weights, num_draws)
    absent = jnp.isnan(total) | (total == -jnp.inf)
    draws = jax.tree.map(lambda leaf: jnp.where(absent, jnp.nan, leaf[chosen]), proposals)
    ess = 1 / jnp.sum(weights**2)
    info |= {
        "pareto_k": jnp.where(jnp.any(bad), jnp.inf, pareto_k),
        "ess": jnp.where(absent, 0.0, ess),
        "log_evidence": total - jnp.log(num_proposals),
        "log_evidence_se": jnp.sqrt(jnp.maximum(1 / ess - 1 / num_proposals, 0.0)),
        "num_nonfinite": jnp.sum(bad),
    }
    return Posterior(draws, info)


def systematic(key: Array, weights: Array, num_draws: int) -> Array:
    """Indices [num_draws], ascending, i coming ⌊num_draws · wᵢ⌋ or ⌈num_draws · wᵢ⌉ times (Kitagawa 1996).

    Args:
        weights: [S], ≥ 0, of sum 1.

    >>> systematic(jax.random.key(0), jnp.array([0.5, 0.0, 0.25, 0.25]), 8).tolist()
    [0, 0, 0, 0, 2, 2, 3, 3]
    """
    points = (jnp.arange(num_draws) + jax.random.uniform(key, dtype=weights.dtype)) / num_draws
    edges = jnp.cumsum(weights)
    # divided by their own end, which rounding leaves near 1: the last point must not fall beyond it
    return jnp.clip(jnp.searchsorted(edges / edges[-1], points, side="right"), 0, weights.shape[0] - 1)


def _propose(key, method, model, data, num_proposals):
    name = getattr(method, "__name__", None) or getattr(getattr(method, "func", method), "__name__", repr(method))
    takes = inspect.signature(method).parameters
    if "num_draws" not in takes and not any(p.kind is p.VAR_KEYWORD for p in takes.values()):
        raise NotApplicable(f"importance_corrected: {name} takes no num_draws, so that it has no density to correct")
    proposals, info = method(key, model, data, num_draws=num_proposals)
    if "log_q" not in info:
        raise NotApplicable(
            f"importance_corrected: {name} reports no log_q, the density of its draws; use one that does, such as "
            "laplace, full_rank or iaf"
        )
    return proposals, dict(info)
