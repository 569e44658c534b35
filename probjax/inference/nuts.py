"""The No-U-Turn sampler: NumPyro's kernel under one scan of ours, so that it compiles once and runs under jit, vmap
and map."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree
from numpyro.infer import NUTS

from probjax.axis import over_leading_axis
from probjax.density import target
from probjax.diagnostics import split_rhat
from probjax.types import Data, Model, Posterior, Target
from probjax.validation import check_inputs, require_counts

MAX_DENSE = 200  # parameters up to which the mass matrix is dense by default


def nuts(
    key: Array,
    model: Model | Target,
    data: Data,
    *,
    num_draws: int = 1000,
    num_warmup: int = 1000,
    num_chains: int = 4,
    target_accept: float = 0.8,
    dense_mass: bool | None = None,
) -> Posterior:
    """Hamiltonian Monte Carlo with trajectories that stop at a U-turn (Hoffman & Gelman 2014; Betancourt 2017).

    Args:
        key: split by chain into starting point and kernel.
        num_draws: S, over all chains together; a multiple of num_chains.
        num_warmup: steps a chain spends on adapting step size and mass, thrown away.
        dense_mass: adapt a dense mass matrix. Default: up to MAX_DENSE parameters, where correlations cost more than
            algebra.

    Returns:
        Posterior with draws [S, …], chain after chain; info: `num_divergent`, `accept_prob` (mean), `num_leapfrog`
        (total), `max_rhat` (split R̂ over parameters), `step_size` [C]. R̂ is 1 for one chain only if its halves agree.

    Raises:
        ValueError: num_draws is not a positive multiple of num_chains.

    >>> from probjax import likelihoods, linear, priors
    >>> model = Model(*linear(1), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    >>> data = Data(jnp.ones((4, 1)), jnp.ones(4))
    >>> posterior = nuts(jax.random.key(0), model, data, num_draws=8, num_warmup=8)
    >>> posterior.draws["bias"].shape, int(posterior.info["num_divergent"])
    ((8,), 0)
    """
    check_inputs(model, data)
    require_counts("nuts", num_chains=(num_chains, 1), num_draws=(num_draws, 1), num_warmup=(num_warmup, 0))
    if not isinstance(target_accept, jax.core.Tracer) and not 0 < target_accept < 1:
        raise ValueError(f"nuts: target_accept is {target_accept} but must lie in (0, 1)")
    if num_draws < num_chains or num_draws % num_chains:
        raise ValueError(
            f"num_draws is {num_draws} and num_chains {num_chains}; num_draws must be a positive multiple of num_chains"
        )
    density = target(model)
    flat, unravel = ravel_pytree(density.init(key))
    dense = flat.size <= MAX_DENSE if dense_mass is None else dense_mass
    per_chain = num_draws // num_chains

    def chain(key):
        init_key, kernel_key = jax.random.split(key)
        kernel = NUTS(
            potential_fn=lambda w: -density.log_joint(unravel(w), data),
            dense_mass=dense,
            target_accept_prob=target_accept,
        )
        start = ravel_pytree(density.init(init_key))[0]
        state = kernel.init(kernel_key, num_warmup, start, (), {})

        def step(state, _):
            state = kernel.sample(state, (), {})
            return state, (state.z, state.diverging, state.accept_prob, state.num_steps)

        # one scan for warm-up and draws: two would compile the tree-building program twice
        state, trace = jax.lax.scan(step, state, None, length=num_warmup + per_chain)
        return *(leaf[num_warmup:] for leaf in trace), state.adapt_state.step_size

    draws, diverging, accept, leapfrog, step_size = over_leading_axis(chain, jax.random.split(key, num_chains))
    info = {
        "num_divergent": jnp.sum(diverging),
        "accept_prob": jnp.mean(accept),
        "num_leapfrog": jnp.sum(leapfrog),
        "max_rhat": jnp.max(split_rhat(draws)) if per_chain >= 4 else jnp.nan,
        "step_size": step_size,
    }
    return Posterior(jax.vmap(unravel)(draws.reshape(num_draws, -1)), info)
