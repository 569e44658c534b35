"""Is a method's epistemic part the posterior's? `python -m experiments.aleatoric_vs_epistemic`

Any set of draws splits into an aleatoric part, within a draw, and an epistemic one, between draws: variances for
numbers, entropies for classes. Five models whose posterior is known, by a formula or by exact draws of it, say whether
these are the posterior's own, at the rows and at points three times as far from their mean.

NUTS has all of them to 1%. MAP and the ensemble of 16 have no epistemic part in any model, the networks too: all
members end in one mode or its mirror image. That of MC dropout is 0.11 to 17 times the exact one, whatever the place.
Laplace is right where the posterior is nearly Gaussian; it has 0.67 of the exact part where the noise is learnt and
1.24 on the classifying network. Mean field has 0.65 to 1.33, randomised MAP 0.95 to 1.16. The aleatoric part is right
for nothing where the noise is known; learnt, it is 0.68 for MAP, the ensemble and Laplace, 0.75 for dropout; and on
logistic regression dropout's own noise counts as that of the labels (1.6 to 1.8).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import output
from probjax import Data, Model, NotApplicable, Posterior, over_leading_axis
from probjax.uncertainty import entropy_decomposition, variance_decomposition
from verification.compiling import compiler_flags
from verification.methods import METHODS
from verification.types import Problem
from verification.work import build_problem

SEED = 0
NUM_KEYS = 4  # runs of each method
NUM_EXACT = 40_000  # exact draws, where there is no closed form
MOST_ROWS = 50  # of the data that are looked at
FACTOR = 3.0  # far: the rows three times as far from their mean
CASES = {  # problem -> (title, whether y is a class: entropies in nats, not variances)
    "linear": ("linear, noise known", False),
    "diabetes_noise": ("linear, noise learnt", False),
    "network_one_unit": ("network, noise known", False),
    "breast_cancer_pc": ("logistic regression", True),
    "network_classifier": ("network, two classes", True),
}
NAMES = {
    "MAP": "map_estimate",
    "Laplace": "laplace",
    "mean field": "mean_field",
    "MC dropout": "dropout",
    "deep ensemble": "ensemble",
    "randomised MAP": "randomised_map",
    "NUTS": "nuts",
}
PLACES = ("near", "far")
PARTS = ("aleatoric", "epistemic")
TICKS = (0, 0.5, 1, 2, 5, 10, 20)


class Case(NamedTuple):
    """x: near rows, then far ones. exact: [part, place], means over the rows of a place."""

    title: str
    problem: Problem
    is_class: bool
    x: jax.Array
    exact: np.ndarray


def near_and_far(x: np.ndarray) -> np.ndarray:
    """Up to MOST_ROWS of the rows, and the same three times as far from their mean."""
    near = x[:: -(-len(x) // MOST_ROWS)]
    return np.concatenate([near, x.mean(0) + FACTOR * (near - x.mean(0))])


def in_places(parts: Any) -> jax.Array:
    """Parts of rows [2N], near ones first, as means [2, 2]: part, place."""
    return jnp.stack([jnp.mean(jnp.reshape(part, (2, -1)), axis=1) for part in parts])


def parts_of(model: Model, draws: Any, x: jax.Array, is_class: bool) -> jax.Array:
    """(aleatoric, epistemic) near and far, of the mixture that the draws are: [2, 2]."""
    if is_class:
        entropies = entropy_decomposition(model, Posterior(draws, {}), x)
        return in_places((entropies.aleatoric, entropies.epistemic))
    moments = variance_decomposition(model, Posterior(draws, {}), x)
    return in_places((moments.within, moments.between))


def exact_parts(rng: np.random.Generator, problem: Problem, x: jax.Array, is_class: bool) -> np.ndarray:
    """The posterior's own: σ² and xᵀΣx where it is Gaussian, else from draws of it that are exact."""
    if problem.linear is not None:
        design = np.column_stack([x, np.ones(len(x))])
        covariance = np.linalg.inv(problem.linear.posterior[1])
        known = np.einsum("nd,de,ne->n", design, covariance, design)
        return np.asarray(in_places((np.full(len(x), problem.linear.noise_scale**2), known)))
    draws = jax.tree.map(jnp.asarray, problem.exact_draws(rng, NUM_EXACT))
    return np.asarray(jax.jit(parts_of, static_argnums=3)(problem.model, draws, x, is_class))


def solved(rng: np.random.Generator, name: str) -> Case:
    """The problem of that name, where it is looked at, and its exact parts."""
    problem, (title, is_class) = build_problem(name, None), CASES[name]
    x = jnp.asarray(near_and_far(np.asarray(problem.data.x)))
    return Case(title, problem, is_class, x, exact_parts(rng, problem, x, is_class))


def lowered(keys: jax.Array, name: str, case: Case) -> Callable[[], np.ndarray] | None:
    """What compiles and runs the method: its parts, [keys, part, place]; None where it does not apply."""

    def run(keys, model: Model, data: Data, x):
        one = lambda key: parts_of(model, METHODS[NAMES[name]](key, model, data).draws, x, case.is_class)
        return over_leading_axis(one, keys)

    args = keys, case.problem.model, case.problem.data, case.x
    try:
        program = jax.jit(run).lower(*args)
    except NotApplicable:
        return None
    return lambda: np.asarray(program.compile()(*args))


def measured(key: jax.Array, cases: list[Case]) -> dict[tuple[str, str], np.ndarray | None]:
    """(case, method) -> its parts; a thread a core compiles and runs what is traced in this one."""
    keys = jax.random.split(key, (len(cases), len(NAMES), NUM_KEYS))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = {}
        for case, own in zip(cases, keys):
            for name, some in zip(NAMES, own):
                work = lowered(some, name, case)
                waiting[case.title, name] = None if work is None else pool.submit(work)
        return {both: None if future is None else future.result() for both, future in waiting.items()}


def shown(ratios: np.ndarray) -> str:
    """Mean over keys, and the range of keys where it is not all rounding."""
    low, middle, high = ratios.min(), ratios.mean(), ratios.max()
    text = f"{middle:.2f}"
    return text if high - low < 0.02 else f"{text} ({low:.2f}–{high:.2f})"


def print_table(cases: list[Case], found: dict[tuple[str, str], np.ndarray | None]) -> None:
    """One row a case and method; the exact rows hold the values, the others their share of them."""
    rows = []
    for case in cases:
        unit = "nats" if case.is_class else "variance"
        rows.append([f"{case.title} ({unit})", "exact", *(f"{value:.3g}" for value in case.exact.ravel())])
        for name in NAMES:
            parts = found[case.title, name]
            told = ["n/a"] * 4 if parts is None else [shown(r) for r in (parts / case.exact).reshape(-1, 4).T]
            rows.append(["", name, *told])
    columns = ["model", "method", *(f"{part}, {place}" for part in PARTS for place in PLACES)]
    title = f"parts over the exact posterior's; mean of {NUM_KEYS} runs and, where they differ, their range"
    output.table(title, columns, rows)


def save_figure(cases: list[Case], found: dict[tuple[str, str], np.ndarray | None], path: Path) -> Path:
    """A panel a part and place; a colour a case, a point a run."""
    figure, axes = output.panels(4, height=4.6, width=3.7, sharey=True)
    at, shifts = np.arange(len(NAMES))[::-1], np.linspace(0.28, -0.28, len(cases))
    for ax, (part, place) in zip(axes, [(i, j) for i in range(2) for j in range(2)]):
        ax.axvline(1, color=output.EXACT, lw=1, ls="--")
        for case, shift, colour in zip(cases, shifts, output.COLOURS):
            for name, row in zip(NAMES, at):
                if found[case.title, name] is not None:
                    shares = found[case.title, name][:, part, place] / case.exact[part, place]
                    ax.plot(shares, np.full(len(shares), row + shift), "o", color=colour, ms=4.5, alpha=0.6)
            ax.plot([], [], "o", color=colour, label=case.title)
        ax.set(title=f"{PARTS[part]}, {PLACES[place]}", xlabel="share of the exact part")
        if PARTS[part] == "epistemic":
            ax.set_xscale("symlog", linthresh=1, linscale=1.5)
            ax.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
            ax.set_xticks([], minor=True)
        ax.set_yticks(at, list(NAMES))
        ax.grid(axis="x", lw=0.4, alpha=0.6)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(cases), frameon=False)
    return output.save(figure, path)


def main(out: Path = Path("figures"), seed: int = SEED) -> Path:
    """Run every method on every case; print the table; save the figure and return its path."""
    os.environ.setdefault("XLA_FLAGS", compiler_flags())  # half of the time goes into compiling
    jax.config.update("jax_enable_x64", True)
    rng = np.random.default_rng(seed)
    cases = [solved(rng, name) for name in CASES]
    found = measured(jax.random.key(seed), cases)
    print_table(cases, found)
    return save_figure(cases, found, out / "aleatoric_vs_epistemic.png")


if __name__ == "__main__":
    output.command(main, __doc__, SEED)
