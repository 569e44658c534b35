"""Does uncertainty widen where data are missing? `python -m experiments.epistemic_gap`

60 rows of a sine, half in [0, 3], half in [7, 10]; the sd of f in the gap against that beside it, under two models that
are linear in features, where the posterior is exact, and under a network, against its kin of infinite width.

Most spreads widen there, which proves little. Bootstraps of the rows reach 0.3 to 0.7 of the posterior's sd in the gap:
members that see no row there agree on what the prior's mode makes of it. Plain ensembles have one answer, and on the
network what little they spread is what the optimiser left undone. Anchored ensembles have 0.8 to 0.9 of the posterior's
sd in the gap but 0.15 to 0.35 of it beside. MC dropout follows the terms of f, not the rows: with local features it
is *surer* in the gap than among the data. Laplace and randomised MAP are exact on the linear models; on the network
Laplace, at one mode, has 0.4 of the sd in the gap.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.scipy.special import erf

from experiments import output
from probjax import (
    Data,
    Model,
    anchored,
    bootstrap,
    dropout,
    ensemble,
    laplace_ggn,
    likelihoods,
    linear,
    mlp,
    optimize,
    pairs_weights,
    predict,
    priors,
    randomised_map,
)
from probjax.linearised import predict_linearised
from verification.exact.conjugate import linear_posterior
from verification.exact.infinite_width import InfiniteNetwork, process_posterior

SEED = 0
SIDES = ((0.0, 3.0), (7.0, 10.0))
NUM_SIDE, NOISE = 30, 0.2
NUM_FEATURES = 11  # of either basis
UNITS = 32  # of the network
WEIGHT_SD, BIAS_SD = 3.0, 2.0  # of the network's prior, weights over √width
NUM_MEMBERS, NUM_WIDE = 1000, 16  # members on the linear models, on the network
NUM_DRAWS = 2000
NUM_STEPS = 2000  # of dropout's Adam
MAX_STEPS = 1000  # of L-BFGS on the network
GRID = np.linspace(-1.0, 11.0, 121)
METHODS: dict[str, Callable] = {
    "bootstrap of rows": partial(bootstrap, weights=pairs_weights),
    "plain ensemble": ensemble,
    "anchored ensemble": anchored,
    "randomised MAP": randomised_map,
    "MC dropout": partial(dropout, num_draws=NUM_DRAWS, num_steps=NUM_STEPS),
    "Laplace": partial(laplace_ggn, num_draws=NUM_DRAWS),
}
ENSEMBLES = tuple(METHODS)[:4]
COLOURS = dict(zip(METHODS, (output.COLOURS[i] for i in (3, 5, 4, 2, 1, 0))))
REGIONS = {"[0, 3]": (0.0, 3.0), "gap": (3.5, 6.5), "[7, 10]": (7.0, 10.0)}


class Case(NamedTuple):
    """A model with its rows, its inputs along GRID and the exact sd of f there; how it is fitted, and how often."""

    title: str
    model: Model
    data: Data
    grid: jax.Array
    exact: np.ndarray
    fit: Callable
    num_members: int


def quadratic_minimum(objective: Callable, params: Any) -> tuple[Any, dict[str, jax.Array]]:
    """One Newton step, which is all that a linear model under Gaussian noise and prior needs."""
    flat, unravel = ravel_pytree(params)
    loss = lambda w: objective(unravel(w))
    w = flat - jnp.linalg.solve(jax.hessian(loss)(flat), jax.grad(loss)(flat))
    return unravel(w), {"grad_norm": jnp.max(jnp.abs(jax.grad(loss)(w))), "objective": loss(w)}


def rows(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """x and y of both sides."""
    rng = np.random.default_rng(seed)
    x = np.concatenate([np.sort(rng.uniform(*side, NUM_SIDE)) for side in SIDES])
    return x, np.sin(x) + NOISE * rng.standard_normal(len(x))


def bumps(x: np.ndarray) -> np.ndarray:
    """exp(−½(x − c)²/0.8²), c = 0, 1, …, 10: each seen by the rows near it."""
    return np.exp(-0.5 * ((x[:, None] - np.arange(NUM_FEATURES)) / 0.8) ** 2)


def polynomials(x: np.ndarray) -> np.ndarray:
    """Legendre's on [−1, 11], each seen by all rows."""
    return np.polynomial.legendre.legvander((x - 5.0) / 6.0, NUM_FEATURES - 1)


def linear_case(title: str, features: Callable, x: np.ndarray, y: np.ndarray) -> Case:
    """f = Σ wⱼφⱼ(x), w ~ N(0, 1)."""
    model = Model(
        *linear(NUM_FEATURES, bias=False), prior=priors.normal(0.0, 1.0), likelihood=likelihoods.normal(NOISE)
    )
    design, grid = features(x), features(GRID)
    _, precision = linear_posterior(design, y, NOISE, 1.0)
    exact = np.sqrt(np.einsum("gd,de,ge->g", grid, np.linalg.inv(precision), grid))
    return Case(
        title,
        model,
        Data(jnp.asarray(design), jnp.asarray(y)),
        jnp.asarray(grid),
        exact,
        quadratic_minimum,
        NUM_MEMBERS,
    )


def network_case(x: np.ndarray, y: np.ndarray) -> Case:
    """One hidden layer of erf units."""
    scales = tuple(
        {"weight": WEIGHT_SD / np.sqrt(inputs) * np.ones(()), "bias": BIAS_SD * np.ones(())} for inputs in (1, UNITS)
    )
    scaled = lambda x: ((x - 5.0) / 2.5)[:, None]
    model = Model(
        *mlp([1, UNITS, 1], activation=erf), prior=priors.normal(0.0, scales), likelihood=likelihoods.normal(NOISE)
    )
    wide = InfiniteNetwork(scaled(x), y, NOISE**2, WEIGHT_SD, BIAS_SD, 1, "erf")
    exact = np.sqrt(np.diag(process_posterior(wide, scaled(GRID))[1]))
    data = Data(jnp.asarray(scaled(x)), jnp.asarray(y))
    fit = partial(optimize.lbfgs, max_steps=MAX_STEPS)
    return Case(
        f"network, {UNITS} units (exact: infinite)", model, data, jnp.asarray(scaled(GRID)), exact, fit, NUM_WIDE
    )


def cases(seed: int) -> list[Case]:
    x, y = rows(seed)
    return [linear_case("local bumps", bumps, x, y), linear_case("polynomials", polynomials, x, y), network_case(x, y)]


def measured(key: jax.Array, cases: list[Case]) -> dict[tuple[str, str], np.ndarray]:
    """(case, method) -> sd of f over draws along GRID."""
    found = {}
    for method_key, name in zip(jax.random.split(key, len(METHODS)), METHODS):
        programs = {case.fit: jax.jit(partial(spread, name, case.fit, case.num_members)) for case in cases}
        for case, case_key in zip(cases, jax.random.split(method_key, len(cases))):
            run = programs[case.fit]  # the linear models share one
            found[case.title, name] = np.asarray(run(case_key, case.model, case.data, case.grid))
    return found


def spread(name: str, fit: Callable, num_members: int, key: jax.Array, model: Model, data: Data, x: jax.Array):
    """sd of f(x) over the draws of one method, [G]."""
    settings = {"num_members": num_members} if name in ENSEMBLES else {}
    posterior = METHODS[name](key, model, data, **settings, **({} if name == "MC dropout" else {"fit": fit}))
    see = predict_linearised if name == "Laplace" else predict
    return jnp.std(see(model, posterior, x), axis=0, ddof=1)


def in_regions(sd: np.ndarray) -> np.ndarray:
    """Root mean square of sd [G] over each region."""
    inside = [(low <= GRID) & (high >= GRID) for low, high in REGIONS.values()]
    return np.sqrt([np.mean(sd[part] ** 2) for part in inside])


def print_table(cases: list[Case], found: dict[tuple[str, str], np.ndarray]) -> None:
    """One row a case and method."""
    lines = []
    for case in cases:
        exact = in_regions(case.exact)
        for name in ("exact", *METHODS):
            sd = exact if name == "exact" else in_regions(found[case.title, name])
            wider = f"{sd[1] / max(sd[0], sd[2]):.1f}" if sd.max() > 1e-6 else "0/0"
            shown = [f"{v:.3f}" for v in sd]
            lines.append([case.title if name == "exact" else "", name, *shown, wider, f"{sd[1] / exact[1]:.2f}"])
    title = (
        f"sd of f, {2 * NUM_SIDE} rows in [0, 3] and [7, 10] (root mean square over a region; the gap's is [3.5, 6.5])"
    )
    output.table(title, ["model", "method", *REGIONS, "gap / beside", "gap / exact"], lines)


def save_figure(cases: list[Case], found: dict[tuple[str, str], np.ndarray], path: Path) -> None:
    """One panel a case: exact in black, methods in colour."""
    figure, axes = output.panels(len(cases), height=4.4, width=4.8)
    for ax, case in zip(axes, cases):
        for side in SIDES:
            ax.axvspan(*side, color="0.92", lw=0)
        ax.plot(GRID, case.exact, color=output.EXACT, lw=4, label="exact posterior")
        for name, colour in COLOURS.items():
            sd = found[case.title, name]
            dashed = name in ("Laplace", "randomised MAP")
            ax.plot(GRID, np.maximum(sd, 1e-9), "--" if dashed else "-", color=colour, lw=1.8, label=name)
        ax.set(title=case.title, xlabel="x (data in the grey)", yscale="log", ylim=(5e-3, 5), xlim=(GRID[0], GRID[-1]))
        if found[case.title, "plain ensemble"].max() < 1e-6:
            ax.annotate("plain ensemble: 0", (0.5, 0.02), xycoords="axes fraction", ha="center", color="0.35")
    axes[0].set_ylabel("sd of f(x)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=7, frameon=False)
    output.save(figure, path)


def main(out: Path = Path("figures"), seed: int = SEED) -> Path:
    """Run every method on every model; print the table; save the figure and return its path."""
    jax.config.update("jax_enable_x64", True)
    seen = cases(seed)
    found = measured(jax.random.key(seed), seen)
    print_table(seen, found)
    path = out / "epistemic_gap.png"
    save_figure(seen, found, path)
    return path


if __name__ == "__main__":
    output.command(main, __doc__, SEED)
