"""Convergence diagnostics that run inside a trace."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array


def split_rhat(chains: Array) -> Array:
    """Split-R̂ = √(((n−1)/n W + B/n) / W) over half-chains (Gelman et al. 2013 §11.4; plain, not rank-normalised).

    Args:
        chains: [C, S, …]; S ≥ 4.

    Returns:
        […]: near 1 when all halves agree; 1 for constant quantities.
    """
    num_chains, num_draws = chains.shape[:2]
    half = num_draws // 2
    halves = chains[:, : 2 * half].reshape(2 * num_chains, half, *chains.shape[2:])
    within = jnp.mean(jnp.var(halves, axis=1, ddof=1), axis=0)
    between_means = jnp.var(jnp.mean(halves, axis=1), axis=0, ddof=1)
    ratio = (half - 1) / half + between_means / jnp.where(within > 0, within, 1.0)
    return jnp.where(within > 0, jnp.sqrt(ratio), jnp.where(between_means > 0, jnp.inf, 1.0))
