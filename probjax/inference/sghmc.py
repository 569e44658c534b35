"""Stochastic-gradient Hamiltonian Monte Carlo: Langevin dynamics with momentum and friction."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from probjax.inference.stochastic_gradients import langevin_chains, schedule
from probjax.optimize import lbfgs
from probjax.types import Data, Model, Params, Posterior, Target

RELATIVE_STEP = 0.4  # ε λ_max by default: at a friction of 0.1, 5% too much variance in the stiffest direction


def sghmc(
    key: Array,
    model: Model | Target,
    data: Data,
    *,
    num_draws: int = 1000,
    num_warmup: int = 1000,
    thinning: int = 10,
    num_chains: int = 1,
    step_size: float | Array | None = None,
    friction: float = 0.1,
    batch_size: int | None = None,
    replace: bool = True,
    num_cycles: int | None = None,
    start: Params | None = None,
    fit: Callable = lbfgs,
) -> Posterior:
    """v ← (1 − α)v + (ε/2) ĝ(w) + √(αε) ξ, then w ← w + v, ξ ~ N(0, I) (Chen, Fox & Guestrin 2014, eq. 15, with
    η = ε/2 and no estimate of the gradient's noise).

    On a Gaussian of precision Λ the draws have covariance Λ⁻¹(I − εΛ/(4(2 − α)))⁻¹ with the full gradient; at α = 1 the
    method is `sgld`. Minibatch noise heats the chain 1/α times as much as it heats SGLD at the same ε.

    Args:
        step_size: ε. Default: 0.4 over the largest curvature at the start. From 4(2 − α) over it on the chain diverges.
        friction: α in (0, 1], the part of the velocity lost in a step. Mixing is fastest near 2√(ελ/2) for the
            smallest curvature λ.
        key, num_draws, num_warmup, thinning, num_chains, batch_size, replace, num_cycles, start, fit: as in `sgld`.

    Returns:
        As `sgld`.

    Raises:
        NotApplicable: batch_size with a Target.
        ValueError: as `sgld`; friction outside (0, 1].

    >>> from probjax import likelihoods, linear, priors
    >>> model = Model(*linear(1), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    >>> data = Data(jnp.ones((4, 1)), jnp.ones(4))
    >>> posterior = sghmc(jax.random.key(0), model, data, num_draws=6, num_warmup=10)
    >>> posterior.draws["weight"].shape, posterior.info["diverged"].tolist()
    ((6, 1), [False])
    """
    if not isinstance(friction, jax.core.Tracer) and not np.all((friction > 0) & (friction <= 1)):
        raise ValueError(f"sghmc: friction is {friction} but must lie in (0, 1]; 1 is sgld, 0 would add no noise")
    plan = schedule(
        "sghmc",
        num_draws=num_draws,
        num_warmup=num_warmup,
        thinning=thinning,
        num_chains=num_chains,
        num_cycles=num_cycles,
    )
    step = Partial(update, friction)
    walk = {"step_size": step_size, "relative": RELATIVE_STEP, "batch_size": batch_size, "replace": replace}
    return langevin_chains(
        "sghmc", key, model, data, begin=_begin, update=step, plan=plan, start=start, fit=fit, **walk
    )


def update(
    friction: float, state: tuple[Array, Array], gradient: Array, noise: Array, step_size: Array
) -> tuple[Array, Array]:
    """One step of (w, v)."""
    w, v = state
    v = (1 - friction) * v + step_size / 2 * gradient + jnp.sqrt(friction * step_size) * noise
    return w + v, v


def _begin(w):
    return w, jnp.zeros_like(w)
