"""Is the uncertainty of MC dropout that of the posterior? `python -m experiments.dropout_vs_posterior`

The sd of f(x) over x under MC dropout, an ensemble, Laplace, mean-field and NUTS, against the exact posterior: on a
one-unit tanh network, whose posterior is integrated exactly, and on the diabetes data along one input (body mass
index), where it is Gaussian. The predictive sd of y is √(sd[f]² + noise²), the noise being known here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import output
from probjax import Data, Model, dropout, ensemble, laplace, mean_field, nuts, over_leading_axis, predict
from verification.exact.network import one_unit_network
from verification.problems._parts import with_ones
from verification.problems.network import NOISE, network_one_unit, one_unit_data
from verification.problems.regression import diabetes

SEED = 0
NUM_KEYS = 8  # independent runs of each method
NUM_DRAWS = 2000
NUM_POINTS = 41  # along x
METHODS: dict[str, Callable] = {
    "MC dropout": partial(dropout, num_draws=NUM_DRAWS),
    "ensemble": ensemble,
    "Laplace": partial(laplace, num_draws=NUM_DRAWS),
    "mean-field": partial(mean_field, num_draws=NUM_DRAWS),
    "NUTS": partial(nuts, num_draws=NUM_DRAWS, num_chains=1),
}
COLOURS = {
    "MC dropout": "#d95f02",
    "ensemble": "#7570b3",
    "Laplace": "#1b9e77",
    "mean-field": "#e7298a",
    "NUTS": "#1f78b4",
}
BMI = 2  # column of the diabetes data


class Case(NamedTuple):
    """One problem seen along a line of inputs: `grid` [G] is the coordinate, `x` [G, D] the inputs, `exact` [G] the
    posterior sd of f."""

    title: str
    label: str
    model: Model
    data: Data
    grid: np.ndarray
    x: np.ndarray
    exact: np.ndarray
    noise: float
    seen: np.ndarray  # the coordinate of the data, for the rug


def network_case() -> Case:
    """The one-unit network on [−5, 5]; its data lie in [−2, 2]."""
    net, new_x, new_y = one_unit_data()
    problem, grid = network_one_unit(), np.linspace(-5, 5, NUM_POINTS)
    exact = one_unit_network(net, grid, new_x, new_y).sd
    return Case("one tanh unit, 15 rows", "x", problem.model, problem.data, grid, grid[:, None], exact, NOISE, net.x)


def diabetes_case() -> Case:
    """Diabetes, all inputs at their mean but the body mass index."""
    problem, grid = diabetes(), np.linspace(-4, 4, NUM_POINTS)
    x = np.zeros((len(grid), 10))
    x[:, BMI] = grid
    _, precision = problem.linear.posterior
    design = with_ones(x)
    exact = np.sqrt(np.einsum("nd,de,ne->n", design, np.linalg.inv(precision), design))
    label = "body mass index (sd), other inputs at their mean"
    return Case(
        "diabetes, linear, 432 rows",
        label,
        problem.model,
        problem.data,
        grid,
        x,
        exact,
        problem.linear.noise_scale,
        problem.linear.design[:, BMI],
    )


def sd_of_function(case: Case, method: Callable, key: jax.Array) -> np.ndarray:
    """sd over draws of f(x), one row a key: [R, G]."""

    def one(key, model, data):
        f = predict(model, method(key, model, data), jnp.asarray(case.x))
        return jnp.std(f, axis=0, ddof=1)

    run = jax.jit(lambda keys, model, data: over_leading_axis(lambda k: one(k, model, data), keys))
    return np.asarray(run(jax.random.split(key, NUM_KEYS), case.model, case.data))


def print_table(cases: list[Case], found: dict[tuple[str, str], np.ndarray]) -> None:
    """sd[f] at five inputs as a ratio to the exact one, and the ratio of predictive sds of y over the whole line."""
    columns = [
        "problem",
        "method",
        *(f"{p:.0%} of range" for p in (0, 0.25, 0.5, 0.75, 1)),
        "sd of y, min to max ratio",
    ]
    rows = []
    for case in cases:
        at = np.linspace(0, len(case.grid) - 1, 5).astype(int)
        rows.append([case.title, "exact", *(f"{case.exact[i]:.3f} at {case.grid[i]:g}" for i in at), ""])
        for name in METHODS:
            sd = found[case.title, name]
            ratio = np.sqrt((sd**2).mean(0)) / case.exact
            half = np.ptp(sd, axis=0) / 2 / case.exact
            of_y = np.sqrt((sd**2).mean(0) + case.noise**2) / np.sqrt(case.exact**2 + case.noise**2)
            shown = (f"{ratio[i]:.2f} ± {half[i]:.2f}" for i in at)
            rows.append(["", name, *shown, f"{of_y.min():.2f} to {of_y.max():.2f}"])
    output.table("sd of f(x): exact value, then method / exact (± half-range over keys)", columns, rows)


def save_figure(cases: list[Case], found: dict[tuple[str, str], np.ndarray], path: Path) -> None:
    """One panel a problem: exact sd in black, methods in colour."""
    figure, axes = output.panels(len(cases), height=4.2, width=5.5)
    for ax, case in zip(axes, cases):
        ax.plot(case.grid, case.exact, color="black", lw=4, alpha=0.85, label="exact posterior")
        for name in METHODS:
            sd = np.sqrt((found[case.title, name] ** 2).mean(0))
            ax.plot(case.grid, sd, color=COLOURS[name], lw=1.8, ls="--" if name == "NUTS" else "-", label=name)
        ax.plot(
            case.seen,
            np.full(len(case.seen), -0.03),
            "|",
            color="0.4",
            ms=7,
            transform=ax.get_xaxis_transform(),
            clip_on=False,
        )
        ax.set(
            title=case.title, xlabel=case.label, xlim=(case.grid[0], case.grid[-1]), ylim=(-0.02, None)
        )  # an ensemble lies at 0
        ax.tick_params(axis="x", pad=9)
    axes[0].set_ylabel("sd of f(x)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False)
    output.save(figure, path)


def main(out: Path = Path("figures"), seed: int = SEED) -> Path:
    """Run every method on both problems; print the table; save the figure and return its path."""
    jax.config.update("jax_enable_x64", True)
    cases = [network_case(), diabetes_case()]
    keys = jax.random.split(jax.random.key(seed), (len(cases), len(METHODS)))
    found = {
        (case.title, name): sd_of_function(case, method, keys[i, j])
        for i, case in enumerate(cases)
        for j, (name, method) in enumerate(METHODS.items())
    }
    print_table(cases, found)
    path = out / "dropout_vs_posterior.png"
    save_figure(cases, found, path)
    return path


if __name__ == "__main__":
    output.command(main, __doc__, SEED)
