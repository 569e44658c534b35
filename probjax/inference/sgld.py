"""Stochastic-gradient Langevin dynamics: gradient ascent with noise, without acceptance steps, so with a bias in ε."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array

from probjax.inference.stochastic_gradients import langevin_chains, schedule
from probjax.optimize import lbfgs
from probjax.types import Data, Model, Params, Posterior, Target

RELATIVE_STEP = 0.2  # ε λ_max by default: 5% of the limit of stability, 5% too much variance in the stiffest direction


def sgld(
    key: Array,
    model: Model | Target,
    data: Data,
    *,
    num_draws: int = 1000,
    num_warmup: int = 1000,
    thinning: int = 10,
    num_chains: int = 1,
    step_size: float | Array | None = None,
    batch_size: int | None = None,
    replace: bool = True,
    num_cycles: int | None = None,
    start: Params | None = None,
    fit: Callable = lbfgs,
) -> Posterior:
    """w ← w + (ε/2) ĝ(w) + √ε ξ, ξ ~ N(0, I), ĝ an unbiased estimate of ∇ log p(y, w | x) (Welling & Teh 2011).

    There is no acceptance step, so the draws are not from the posterior: on a Gaussian of precision Λ their covariance
    is Λ⁻¹(I − εΛ/4)⁻¹ with the full gradient, and larger with minibatches, whose noise is added to ξ.

    Args:
        key: split by chain into starting point, batches and noise.
        num_draws: S, over all chains together.
        num_warmup: steps before the first draw, of each chain, or of each cycle.
        thinning: steps from draw to draw.
        step_size: ε, for gradients summed over data. Default: 0.2 over the largest curvature at the start. Above 4 over
            it the chain diverges.
        batch_size: rows of a minibatch, drawn afresh each step, its gradient scaled by N / batch_size. Default: all.
        replace: draw the rows with replacement; without it a step costs a permutation of all rows.
        num_cycles: cyclical steps (Zhang et al. 2020): in each cycle ε falls as a cosine to 0, and the num_warmup first
            steps carry no noise, to find another mode. Default: a constant step.
        start: params to start all chains from. Default: the mode that `fit` finds from model.init.
        fit: a minimiser `(objective, params) -> (params, info)`.

    Returns:
        Posterior with draws [S, …], chain after chain; info: `step_size` and `final_step_size` [C], `num_steps`
        (total), `mean_grad_norm` (max |∇ log joint| at the mean of the draws, nats), `max_rhat` (split R̂ over
        parameters; nan below 4 draws a chain), `diverged` [C]: chains with draws that are not finite; take a smaller
        step.

    Raises:
        NotApplicable: batch_size with a Target.
        ValueError: num_draws is no multiple of num_chains · num_cycles, batch_size > N, step_size ≤ 0.

    >>> import jax
    >>> from probjax import likelihoods, linear, priors
    >>> model = Model(*linear(1), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    >>> data = Data(jnp.ones((4, 1)), jnp.ones(4))
    >>> posterior = sgld(jax.random.key(0), model, data, num_draws=6, num_warmup=10, batch_size=2)
    >>> posterior.draws["weight"].shape, posterior.info["diverged"].tolist()
    ((6, 1), [False])
    """
    plan = schedule(
        "sgld",
        num_draws=num_draws,
        num_warmup=num_warmup,
        thinning=thinning,
        num_chains=num_chains,
        num_cycles=num_cycles,
    )
    walk = {"step_size": step_size, "relative": RELATIVE_STEP, "batch_size": batch_size, "replace": replace}
    return langevin_chains(
        "sgld", key, model, data, begin=_begin, update=update, plan=plan, start=start, fit=fit, **walk
    )


def update(state: tuple[Array], gradient: Array, noise: Array, step_size: Array) -> tuple[Array]:
    """One step of (w,)."""
    (w,) = state
    return (w + step_size / 2 * gradient + jnp.sqrt(step_size) * noise,)


def _begin(w):
    return (w,)
