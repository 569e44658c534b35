"""What do zeros do to cross-entropy, and which way round is KL? `python -m experiments.kl_and_entropy`

H(P, Q) = H(P) + KL(P ‖ Q), with 0 log 0 = 0 and KL = ∞ where Q has no mass and P has some. With its zeros
taken as they are the identity holds to 1e-14 and the listing's one-hot example gives 0.3566749; clipping at 1e-10 moves
that by 4e-10, and makes 23.03 of an infinite KL. A Gaussian N fitted to a mixture of two by least KL(P ‖ N) covers both
modes, with the mixture's mean and sd. KL(N ‖ P) has three local minima: one in each mode (0.510 and 0.915 nats, close
to −log of the mode's share) and a wide one (1.389); the least of them sits in the larger mode and ignores the other.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from experiments import output
from probjax import information, likelihoods
from probjax.optimize import lbfgs
from verification.claims import listings

SEED = 0  # of the random distributions
CLIP = 1e-10
NUM_PAIRS, NUM_CLASSES = 1000, 6
SHARES, LOCS, SCALES = (0.6, 0.4), (-3.0, 3.0), (0.7, 1.0)  # the mixture P
WIDE = (0.5, 2.5)  # a start between the modes: location, scale
GRID = np.linspace(-14, 14, 1401)  # all the mass of P
NODES = np.linspace(-9, 9, 361)  # and of N, in its scales


class Fit(NamedTuple):
    """One Gaussian: its location and scale, and the KL that it minimises."""

    loc: float
    scale: float
    kl: float
    converged: bool


def random_pairs(rng: np.random.Generator) -> tuple[Array, Array]:
    """Distributions P, of whose probabilities about a third are 0, and Q without zeros."""
    p, q = rng.dirichlet(np.ones(NUM_CLASSES), (2, NUM_PAIRS))
    p[:, 1:] *= rng.random((NUM_PAIRS, NUM_CLASSES - 1)) < 0.6
    return jnp.asarray(p / p.sum(axis=1, keepdims=True)), jnp.asarray(q)


def identity_gap(rng: np.random.Generator) -> float:
    """max |H(P, Q) − H(P) − KL(P ‖ Q)| over random pairs."""
    p, q = random_pairs(rng)
    return float(np.max(np.abs(information.cross_entropy(p, q) - information.entropy(p) - information.kl(p, q))))


def clipped_cross_entropy(p: Array, q: Array) -> Array:
    """−Σ p log q, both kept within [CLIP, 1]."""
    return -jnp.sum(jnp.clip(p, CLIP, 1) * jnp.log(jnp.clip(q, CLIP, 1)), axis=-1)


def log_mixture(y: Array) -> Array:
    """log P, two Gaussians."""
    parts = [likelihoods.normal(scale).log_prob(y, jnp.full_like(y, loc)) for loc, scale in zip(LOCS, SCALES)]
    return jax.nn.logsumexp(jnp.stack(parts) + jnp.log(jnp.array(SHARES))[:, None], axis=0)


def divergence(loc: Array, log_scale: Array, *, forward: bool) -> Array:
    """KL(P ‖ N) or, not forward, KL(N ‖ P), by the trapezoidal rule: on GRID, or on ±NODES scales around loc, so that
    no N, however wide, has its mass beyond the grid."""
    y = jnp.asarray(GRID) if forward else loc + jnp.exp(log_scale) * jnp.asarray(NODES)
    log_p = log_mixture(y)
    log_q = likelihoods.normal().log_prob(y, (jnp.full_like(y, loc), jnp.full_like(y, jnp.exp(log_scale))))
    integrand = jnp.exp(log_p) * (log_p - log_q) if forward else jnp.exp(log_q) * (log_q - log_p)
    return jnp.trapezoid(integrand, y)


@partial(jax.jit, static_argnames="forward")
def least(params: Array, *, forward: bool) -> tuple[Array, dict[str, Array]]:
    """(loc, log scale) that L-BFGS finds from a start, and its info."""
    return lbfgs(lambda params: divergence(*params, forward=forward), params)


def fit(loc: float, scale: float, *, forward: bool) -> Fit:
    """The Gaussian of least KL from a start."""
    params, info = least(jnp.array([loc, jnp.log(scale)]), forward=forward)
    return Fit(float(params[0]), float(jnp.exp(params[1])), float(info["objective"]), bool(info["converged"]))


def moments() -> tuple[float, float]:
    """Mean and sd of P: KL(P ‖ N) is least there."""
    share, loc, scale = (np.array(part) for part in (SHARES, LOCS, SCALES))
    mean = share @ loc
    return float(mean), float(np.sqrt(share @ (scale**2 + (loc - mean) ** 2)))


def all_fits() -> dict[str, Fit]:
    """Forward KL, and reverse KL from a start in either mode and from a wide Gaussian between."""
    return {
        "KL(P ‖ N)": fit(0.0, 1.0, forward=True),
        "KL(N ‖ P), from the left": fit(LOCS[0], SCALES[0], forward=False),
        "KL(N ‖ P), from the right": fit(LOCS[1], SCALES[1], forward=False),
        "KL(N ‖ P), from between": fit(*WIDE, forward=False),
    }


def print_table(rng: np.random.Generator, fits: dict[str, Fit]) -> None:
    """Identities, zeros and clipping, then the fits."""
    p, q = (jnp.asarray(part) for part in listings.ONE_HOT)
    exact, clipped = float(information.cross_entropy(p, q)), float(clipped_cross_entropy(p, q))
    gap = f"{abs(clipped - exact):.1e}"
    empty = jnp.array([0.0, 0.5, 0.5])
    at_zero = float(information.kl(p, empty)), float(clipped_cross_entropy(p, empty))
    mean, sd = moments()
    rows = [
        ["H(P), P one-hot", f"{float(information.entropy(p)):g}", ""],
        ["H(P, Q), Q = (0.7, 0.2, 0.1)", f"{exact:.12f}", ""],
        ["KL(P ‖ Q)", f"{float(information.kl(p, q)):.12f}", ""],
        [f"H(P, Q) clipped at {CLIP:g}", f"{clipped:.12f}", f"off by {gap}"],
        ["KL(P ‖ Q), Q = (0, ½, ½)", f"{at_zero[0]:g}", f"clipped: {at_zero[1]:.4f}"],
        [f"|H(P, Q) − H(P) − KL(P ‖ Q)|, {NUM_PAIRS} pairs with zeros in P", f"{identity_gap(rng):.0e}", "at most"],
        ["mean, sd of the mixture", f"{mean:.6f}", f"{sd:.6f}"],
    ]
    for name, found in fits.items():
        rows.append([f"least {name}: loc, scale", f"{found.loc:.6f}", f"{found.scale:.6f}"])
        rows.append(["    its KL, nats", f"{found.kl:.6f}", "converged" if found.converged else "not converged"])
    output.table("cross-entropy, zeros, and the two directions of KL", ["", "value", ""], rows)


def draw_landscape(ax, found: list[Fit], *, forward: bool) -> None:
    """KL over (loc, scale) in half powers of two, and its minima."""
    loc, scale = np.linspace(-4.5, 4.5, 61), np.geomspace(0.35, 5, 51)
    at = jax.jit(jax.vmap(jax.vmap(lambda m, s: divergence(m, s, forward=forward), (0, None)), (None, 0)))
    value = np.asarray(at(jnp.asarray(loc), jnp.log(jnp.asarray(scale))))
    filled = ax.contourf(loc, scale, np.log2(value), levels=np.arange(-1.5, 5.5, 0.5), cmap="Blues_r", extend="both")
    bar = ax.figure.colorbar(filled, ax=ax, label="nats", ticks=range(-1, 6))
    bar.ax.set_yticklabels(["½", "1", "2", "4", "8", "16", "32"])
    for one, colour in zip(found, output.COLOURS[1:2] if forward else output.COLOURS[2:5]):
        ax.plot(one.loc, one.scale, "*", color=colour, ms=15, mec="white")
    ax.set_yscale("log")
    ax.set_yticks([0.5, 1, 2, 4], ["0.5", "1", "2", "4"])
    ax.minorticks_off()
    name = "KL(P ‖ N): one minimum" if forward else "KL(N ‖ P): three minima"
    ax.set(xlabel="location of N", ylabel="scale of N", title=name)


def save_figure(fits: dict[str, Fit], path: Path) -> None:
    """The mixture with its fits; both divergences over location and scale."""
    figure, (left, middle, right) = output.panels(3, height=4.2, width=5.0)
    y = np.linspace(-7.5, 7.5, 400)
    left.fill_between(y, np.exp(np.asarray(log_mixture(jnp.asarray(y)))), color="0.85", lw=0, label="mixture P")
    for (name, found), colour in zip(fits.items(), output.COLOURS[1:]):
        log_q = likelihoods.normal(found.scale).log_prob(jnp.asarray(y), jnp.full(len(y), found.loc))
        left.plot(y, np.exp(np.asarray(log_q)), color=colour, lw=2, label=name)
    left.set(xlabel="y", ylabel="density", ylim=(0, 1.0), yticks=[0, 0.2, 0.4, 0.6])
    left.set_title("one Gaussian N for two modes")
    left.legend(frameon=False, loc="upper right")
    forward, *reverse = fits.values()
    draw_landscape(middle, [forward], forward=True)
    draw_landscape(right, reverse, forward=False)
    output.save(figure, path)


def main(out: Path = Path("figures"), seed: int = SEED) -> Path:
    """Fit, print the table, save the figure and return its path."""
    jax.config.update("jax_enable_x64", True)
    fits = all_fits()
    print_table(np.random.default_rng(seed), fits)
    path = out / "kl_and_entropy.png"
    save_figure(fits, path)
    return path


if __name__ == "__main__":
    output.command(main, __doc__, SEED)
