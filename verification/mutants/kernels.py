"""Bugs of Markov kernels, which one step from exact draws must show, and right kernels, which it must let pass.

A kernel is made from a `Stage`: Stage -> ((noise, x [D]) -> x [D]), or None where the stage has not what it needs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax


def _accepted(log_uniform, x, proposal, log_ratio):
    return jnp.where(log_uniform < log_ratio, proposal, x)


def _always(log_ratio):
    return jnp.full_like(log_ratio, jnp.inf)


def _walk(stage, *, judged=lambda log_ratio: log_ratio, density=None, one_key=False, restored=slice(None)):
    """Random-walk Metropolis; `judged` is what becomes of the log acceptance ratio."""
    density = density or stage.log_density

    def kernel(noise, x):
        log_uniform = jax.scipy.stats.norm.logcdf(noise.normal[0]) if one_key else noise.log_uniforms[0]
        proposal = x + 1.5 * stage.scale * noise.normal
        after = _accepted(log_uniform, x, proposal, judged(density(proposal) - density(x)))
        return proposal.at[restored].set(after[restored])

    return kernel


def _stretch(stage, *, corrected=True):
    """x ← centre + factor (x − centre), log factor ~ N(0, ½²): volumes change by |factor|ᴰ."""

    def kernel(noise, x):
        log_factor = 0.5 * noise.extra
        proposal = stage.centre + jnp.exp(log_factor) * (x - stage.centre)
        log_ratio = stage.log_density(proposal) - stage.log_density(x) + corrected * x.size * log_factor
        return _walk(stage)(noise, _accepted(noise.log_uniforms[1], x, proposal, log_ratio))

    return kernel


def _log_scale(stage, *, corrected=True):
    """A random walk in λ = exp x; the density of λ is that of x over λ."""
    if stage.name != "gamma_poisson":
        return None

    def kernel(noise, x):
        rate = jnp.exp(x) + noise.normal
        proposal = jnp.log(jnp.maximum(rate, 1e-300))
        log_ratio = stage.log_density(proposal) - stage.log_density(x) - corrected * jnp.sum(proposal - x)
        return _accepted(noise.log_uniforms[0], x, proposal, jnp.where(rate[0] > 0, log_ratio, -jnp.inf))

    return kernel


def _independent(stage, *, corrected=1.0):
    """Proposals from a normal of 1.5 times the posterior's sds."""
    log_q = lambda x: -0.5 * jnp.sum(((x - stage.centre) / (1.5 * stage.scale)) ** 2)

    def kernel(noise, x):
        proposal = stage.centre + 1.5 * stage.scale * noise.normal
        log_ratio = stage.log_density(proposal) - stage.log_density(x) + corrected * (log_q(x) - log_q(proposal))
        return _accepted(noise.log_uniforms[0], x, proposal, log_ratio)

    return kernel


def _langevin(stage, *, corrected=1.0, judged=lambda log_ratio: log_ratio, size=0.7):
    """MALA (Roberts & Tweedie 1996); `corrected` multiplies the log ratio of the proposals' densities."""
    step = size * stage.scale
    drift = lambda x: x + 0.5 * step**2 * jax.grad(stage.log_density)(x)
    log_q = lambda to, at: -0.5 * jnp.sum(((to - drift(at)) / step) ** 2)

    def kernel(noise, x):
        proposal = drift(x) + step * noise.normal
        log_ratio = stage.log_density(proposal) - stage.log_density(x)
        log_ratio += corrected * (log_q(x, proposal) - log_q(proposal, x))
        return _accepted(noise.log_uniforms[0], x, proposal, judged(log_ratio))

    return kernel


def _hamiltonian(
    stage, *, judged=lambda r: r, kinetic=1.0, last_half=True, first_gradient=False, momentum=None, negated=True, num=1
):
    """HMC: `num` trajectories of 3 leapfrog steps, between which the momentum is kept, and turned on a rejection:
    refreshed at the start alone, the pair of x and momentum stays exact (Horowitz 1991)."""
    step, gradient = 0.8 * stage.scale, jax.grad(stage.log_density)
    energy = lambda x, p: -stage.log_density(x) + 0.5 * kinetic * p @ p

    def trajectory(x, p):
        at_start = gradient(x)
        force = (lambda _: at_start) if first_gradient else gradient
        p = p + (0.5 if last_half else 1.0) * step * force(x)

        def leap(_, state):
            x, p = state
            x = x + step * p
            return x, p + step * force(x)

        x, p = lax.fori_loop(0, 2, leap, (x, p))
        x = x + step * p
        return x, p + (0.5 * step * force(x) if last_half else 0.0)

    def transition(log_uniform, x, p):
        to, there = trajectory(x, p)
        log_ratio = judged(energy(x, p) - energy(to, there))
        accept = log_uniform < log_ratio
        return jnp.where(accept, to, x), jnp.where(accept, there, -p if negated else p)

    def kernel(noise, x):
        p = noise.normal if momentum is None else jnp.full(x.shape, momentum)
        each = lambda i, state: transition(noise.log_uniforms[i], *state)
        return lax.fori_loop(0, num, each, (x, p))[0]

    return kernel


def _gibbs(stage, *, spread=jnp.sqrt, at_once=False):
    """xᵢ | the others of a normal with precision Λ: N(mᵢ − Σⱼ Λᵢⱼ(xⱼ − mⱼ) / Λᵢᵢ over j ≠ i, 1 / Λᵢᵢ)."""
    if stage.normal is None:
        return None
    mean, precision = map(jnp.asarray, stage.normal)

    def kernel(noise, x):
        old = x
        for i in range(x.size):
            others = (old if at_once else x) - mean
            pull = (precision[i] @ others - precision[i, i] * others[i]) / precision[i, i]
            x = x.at[i].set(mean[i] - pull + spread(1 / precision[i, i]) * noise.normal[i])
        return x

    return kernel


def _without_prior(stage):
    return None if stage.log_likelihood is None else _walk(stage, density=stage.log_likelihood)


def _first_not_restored(stage):
    return None if len(stage.scale) == 1 else _walk(stage, restored=slice(1, None))


def _first_stays(stage):
    if len(stage.scale) == 1:
        return None

    def kernel(noise, x):
        pinned = lambda y: stage.log_density(y.at[0].set(x[0]))
        return _walk(stage, density=pinned)(noise, x).at[0].set(x[0])

    return kernel


def _step_by_state(stage):
    """A step in proportion to the state's distance from the centre, as if the way back were as likely."""

    def kernel(noise, x):
        size = 0.2 * stage.scale + jnp.abs(x - stage.centre)
        proposal = x + size * noise.normal
        return _accepted(noise.log_uniforms[0], x, proposal, stage.log_density(proposal) - stage.log_density(x))

    return kernel


RIGHT_KERNELS: dict[str, Callable] = {
    "random-walk Metropolis": _walk,
    "a stretch with its Jacobian": _stretch,
    "a walk in λ with its Jacobian": _log_scale,
    "independence Metropolis": _independent,
    "MALA": _langevin,
    "HMC": _hamiltonian,
    "HMC, momentum kept over five trajectories": partial(_hamiltonian, num=5),
    "Gibbs": _gibbs,
}

KERNEL_MUTANTS: dict[str, Callable] = {
    "a kernel that does nothing": lambda stage: lambda noise, x: x,
    "first coordinate never moved": _first_stays,
    "every proposal accepted": partial(_walk, judged=_always),
    "log acceptance ratio with the wrong sign": partial(_walk, judged=lambda r: -r),
    "acceptance ratio squared": partial(_walk, judged=lambda r: 2 * r),
    "acceptance at temperature 2": partial(_walk, judged=lambda r: r / 2),
    "one key for proposal and acceptance": partial(_walk, one_key=True),
    "first coordinate not restored on rejection": _first_not_restored,
    "prior left out of the acceptance ratio": _without_prior,
    "step by the state, taken for symmetric": _step_by_state,
    "a stretch without its Jacobian": partial(_stretch, corrected=False),
    "a walk in λ without its Jacobian": partial(_log_scale, corrected=False),
    "independence Metropolis as if symmetric": partial(_independent, corrected=0.0),
    "Langevin without an accept step": partial(_langevin, judged=_always),
    "MALA as if symmetric": partial(_langevin, corrected=0.0),
    "MALA, proposal ratio upside down": partial(_langevin, corrected=-1.0),
    "HMC without an accept step": partial(_hamiltonian, judged=_always),
    "HMC, kinetic energy left out": partial(_hamiltonian, kinetic=0.0),
    "HMC, kinetic energy of half the mass": partial(_hamiltonian, kinetic=2.0),
    "HMC without half steps": partial(_hamiltonian, last_half=False),
    "HMC, the first gradient at every step": partial(_hamiltonian, first_gradient=True),
    "HMC, one momentum for ever": partial(_hamiltonian, momentum=0.7),
    "HMC, kept momentum not turned on rejection": partial(_hamiltonian, num=5, negated=False),
    "Gibbs, conditional variance for the sd": partial(_gibbs, spread=lambda variance: variance),
    "Gibbs, all coordinates from the old state": partial(_gibbs, at_once=True),
}
