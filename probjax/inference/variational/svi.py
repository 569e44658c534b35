"""Stochastic variational inference with NumPyro's guides over the flattened parameters; the families plug in here.

The optimiser works in coordinates whitened at the mode. The Gaussian families are closed under the maps used (a
rescaling of each coordinate for mean-field and low-rank, any linear map for full-rank), so the optimum is the same
distribution; only the path is shorter. A flow is followed by the map, which is then part of its family.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.flatten_util import ravel_pytree
from numpyro.infer import SVI, Trace_ELBO

from probjax.density import target
from probjax.numpyro_adapter import program_from_density
from probjax.optimize import lbfgs
from probjax.types import Data, Model, Posterior, Target
from probjax.validation import check_inputs, require_counts, require_positive

MAX_WHITENED = 1000  # parameters up to which the Hessian at the mode is worth its cost
NUM_PROBES = 16  # products with the Hessian from which the norms of its rows are estimated, to a sixth


class Family(NamedTuple):
    """name: for errors; guide: (program, start [P]) -> NumPyro guide over the site "u";
    draw: (key, guide, guide's parameters, S) -> (u [S, P], log q(u) [S])."""

    name: str
    guide: Callable
    draw: Callable


def maximise_elbo(
    key: Array,
    model: Model | Target,
    data: Data,
    family: Family,
    whitening: Callable,
    num_draws: int,
    num_steps: int,
    learning_rate: float,
    num_particles: int,
) -> Posterior:
    """argmax over the family of E_q[log p(y, params) − log q(params)], nats; Args and Returns as `mean_field`.

    Args:
        whitening: (log_joint over [P], start [P]) -> (origin [P], scale [P] or [P, P]): params = origin + scale · u.
    """
    check_inputs(model, data)
    name = family.name
    require_counts(name, num_draws=(num_draws, 1), num_steps=(num_steps, 16), num_particles=(num_particles, 1))
    require_positive(name, "learning_rate", learning_rate, "0.02 is the default of the Gaussian families")
    init_key, svi_key, draw_key = jax.random.split(key, 3)
    density = target(model)
    start, unravel = ravel_pytree(density.init(init_key))
    log_joint = lambda w: density.log_joint(unravel(w), data)
    origin, scale = whitening(log_joint, start)
    log_joint_white = lambda u: log_joint(origin + scale @ u if scale.ndim == 2 else origin + scale * u)
    program = program_from_density(log_joint_white, start.size)
    guide = family.guide(program, start)
    optimiser = optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))
    svi = SVI(program, guide, optimiser, Trace_ELBO(num_particles=num_particles))
    params, losses = _optimise(svi, svi_key, optimiser, num_steps)
    u, log_q = family.draw(draw_key, guide, params, num_draws)
    draws = origin + (u @ scale.T if scale.ndim == 2 else u * scale)
    log_det = _log_abs_det(scale)  # of the map from u to params: the ELBO and q are reported for params
    return Posterior(jax.vmap(unravel)(draws), {**_elbo_report(log_det - losses), "log_q": log_q - log_det})


def num_params(model: Model | Target) -> int:
    """P, the size of the flattened parameters."""
    shapes = jax.eval_shape(target(model).init, jax.random.key(0))
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes))


def diagonal_whitening(log_joint: Callable, start: Array) -> tuple[Array, Array]:
    """One scale a parameter, from the Hessian's diagonal at the mode; above MAX_WHITENED parameters `equilibration`."""
    if start.size > MAX_WHITENED:
        return equilibration(log_joint, start)
    mode, hessian = _curvature(log_joint, start)
    return mode, 1 / jnp.sqrt(_positive(jnp.diag(hessian)))


def full_whitening(log_joint: Callable, start: Array) -> tuple[Array, Array]:
    """The Hessian's eigenvectors at the mode, scaled; above MAX_WHITENED parameters `equilibration`."""
    if start.size > MAX_WHITENED:
        return equilibration(log_joint, start)
    mode, hessian = _curvature(log_joint, start)
    eigenvalues, vectors = jnp.linalg.eigh(hessian)
    return mode, vectors / jnp.sqrt(_positive(eigenvalues))


def equilibration(log_joint: Callable, start: Array) -> tuple[Array, Array]:
    """One scale a parameter, 1/√‖Hⱼ‖: the norm of a row of the Hessian at the mode is √E(Hv)ⱼ² over random signs v, a
    product with the Hessian each (Dauphin, de Vries & Bengio 2015). Never below |Hⱼⱼ|, and that where H is diagonal."""
    slope = jax.grad(lambda w: -log_joint(w))
    mode, _ = lbfgs(lambda w: -log_joint(w), start)
    signs = lambda key: jax.random.rademacher(key, start.shape, start.dtype)
    square = lambda key: jax.jvp(slope, (mode,), (signs(key),))[1] ** 2
    squares = jax.lax.map(square, jax.random.split(jax.random.key(0), NUM_PROBES))
    return mode, 1 / jnp.sqrt(_positive(jnp.sqrt(jnp.mean(squares, axis=0))))


def _optimise(svi, key, optimiser, num_steps):
    """SVI's own update under our scan, on all the guide's unconstrained parameters as one array: a family of many
    arrays (flows) would spend its time going from one to the next. Those of the last quarter are averaged."""
    state = svi.init(key)
    start, unravel = ravel_pytree(svi.optim.get_params(state.optim_state))
    negative_elbo = lambda flat, key: svi.loss.loss(key, svi.constrain_fn(unravel(flat)), svi.model, svi.guide)

    def step(carry, index):
        key, flat, moments, total = carry
        key, loss_key = jax.random.split(key)
        loss, slope = jax.value_and_grad(negative_elbo)(flat, loss_key)
        updates, moments = optimiser.update(slope, moments)
        flat = optax.apply_updates(flat, updates)
        return (key, flat, moments, total + jnp.where(index >= num_steps - num_steps // 4, flat, 0.0)), loss

    carry = (state.rng_key, start, optimiser.init(start), jnp.zeros_like(start))
    (_, _, _, total), losses = jax.lax.scan(step, carry, jnp.arange(num_steps))
    return svi.constrain_fn(unravel(total / (num_steps // 4))), losses


def _log_abs_det(scale):
    return jnp.sum(jnp.log(scale)) if scale.ndim == 1 else jnp.linalg.slogdet(scale)[1]


def _curvature(log_joint, start):
    """The mode and −∇² log p there: they only set coordinates, never the answer."""
    mode, _ = lbfgs(lambda w: -log_joint(w), start)
    return mode, -jax.hessian(log_joint)(mode)


def _positive(curvature):
    size = jnp.abs(curvature)
    return jnp.maximum(size, 1e-8 * jnp.max(size))


def _elbo_report(elbo):
    eighth = elbo.shape[0] // 8
    before, last = elbo[-2 * eighth : -eighth], elbo[-eighth:]
    drift = jnp.mean(last) - jnp.mean(before)
    error = jnp.sqrt((jnp.var(last, ddof=1) + jnp.var(before, ddof=1)) / eighth)
    return {
        "elbo": jnp.mean(elbo[-2 * eighth :]),
        "elbo_drift": drift,
        "elbo_drift_se": error,
        "converged": jnp.abs(drift) <= 4 * error + 0.01,
    }
