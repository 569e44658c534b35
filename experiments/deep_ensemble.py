"""Which part of a deep ensemble's uncertainty is which? `python -m experiments.deep_ensemble`

Five members that predict a mean and a noise scale, on a sine seen in [−3, 3] with noise 0.1, asked as far as ±5; the
spread of their means is taken for the epistemic sd, their root mean variance for the aleatoric one. After 300 steps
the aleatoric sd is 0.09 where the data are. The epistemic sd is 0.005 inside and 0.16 outside where the exact posterior
of an infinitely wide network has 0.035 and 0.56; the error of the mean is 0.035 and 0.22. So mean ± 2 sd holds the
sine at 22% of the points among the data: the members learn the same noise, and agree on it. Longer training brings the
aleatoric sd to 0.08, further below the truth. Outside, the "aleatoric" part is an extrapolation like the other.

A known listing of this experiment has over six seeds an epistemic sd of 0.007 inside and 0.088 outside, an aleatoric
one of 0.086 and 0.058. Not all its settings are known; ours agree with it inside, and are larger outside, within their
spread over seeds.
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
from experiments.sine import EDGE, GRID, INSIDE, NOISE, NUM_ROWS, ROWS, data_sets, infinite
from probjax import (
    Data,
    Model,
    ensemble,
    likelihoods,
    location_and_scale,
    mlp,
    optimize,
    over_leading_axis,
    predict,
    priors,
)

SEED = 0
NUM_SEEDS = 6
NUM_MEMBERS, WIDTH = 5, 64
STEPS = (300, 1500)  # of Adam
LEARNING_RATE = 0.01
EXACT = "infinite width"
# mean and sd over six seeds of a listing in torch
LISTED = {
    "epistemic inside": (0.00739, 0.00169),
    "epistemic outside": (0.08846, 0.03790),
    "aleatoric inside": (0.08615, 0.00411),
    "aleatoric outside": (0.05831, 0.02021),
}


class Prediction(NamedTuple):
    """mean of f, epistemic and aleatoric sd at GRID, [R, G], a row a seed."""

    mean: np.ndarray
    epistemic: np.ndarray
    aleatoric: np.ndarray


def uniform_start(init: Callable, key: jax.Array) -> tuple:
    """Weights and biases U(±1/√inputs), which is how torch's layers start."""
    found = []
    for layer, layer_key in zip(init(key), jax.random.split(key, 3)):
        bound, keys = layer["weight"].shape[0] ** -0.5, jax.random.split(layer_key)
        draw = lambda key, leaf, bound=bound: jax.random.uniform(key, leaf.shape, leaf.dtype, -bound, bound)
        found.append({name: draw(key, layer[name]) for name, key in zip(("weight", "bias"), keys)})
    return tuple(found)


def members(key: jax.Array, data: Data, num_steps: int) -> Prediction:
    """Var[y] = E[σₘ²] + Var[μₘ] over members (Lakshminarayanan et al. 2017), divided by M."""
    network = location_and_scale(mlp([1, WIDTH, WIDTH, 2], activation=jax.nn.relu))
    network = network._replace(init=partial(uniform_start, network.init))
    model = Model(*network, prior=priors.flat(), likelihood=likelihoods.normal())
    fit = partial(optimize.adam, num_steps=num_steps, learning_rate=LEARNING_RATE)
    posterior = ensemble(key, model, data, num_members=NUM_MEMBERS, fit=fit)
    loc, scale = predict(model, posterior, jnp.asarray(GRID, data.x.dtype)[:, None])
    return Prediction(jnp.mean(loc, 0), jnp.std(loc, 0), jnp.sqrt(jnp.mean(scale**2, 0)))


def measured(seed: int) -> dict[str, Prediction]:
    """Every number of steps on every data set, from the same starts; and the exact answer."""
    data_key, fit_key = jax.random.split(jax.random.key(seed))
    data, keys = data_sets(data_key, NUM_SEEDS), jax.random.split(fit_key, NUM_SEEDS)
    found = {}
    for num_steps in STEPS:
        run = jax.jit(partial(over_leading_axis, partial(members, num_steps=num_steps)))
        found[f"{num_steps} steps"] = Prediction(*map(np.asarray, run(keys, data)))
    mean, sd = infinite(data)
    return {**found, EXACT: Prediction(mean, sd, np.full_like(sd, NOISE))}


def figures(prediction: Prediction) -> dict[str, np.ndarray]:
    """Means over x inside and outside, [R] each; errors and coverage of f against the sine."""
    error = np.abs(prediction.mean - np.sin(GRID))
    within = error <= 2 * prediction.epistemic
    both = {"inside": INSIDE, "outside": ~INSIDE}
    found = {f"epistemic {name}": prediction.epistemic[:, where].mean(1) for name, where in both.items()}
    found |= {f"aleatoric {name}": prediction.aleatoric[:, where].mean(1) for name, where in both.items()}
    found |= {f"error {name}": np.sqrt((error[:, where] ** 2).mean(1)) for name, where in both.items()}
    return found | {f"f covered {name}": within[:, where].mean(1) for name, where in both.items()}


def print_table(found: dict[str, Prediction]) -> None:
    """Mean ± sd over seeds, and the listing's."""
    each = {name: figures(prediction) for name, prediction in found.items()}
    columns = list(each[EXACT])
    told = lambda mean, sd: f"{mean:.3f}\n± {sd:.3f}"
    rows = [[name, *(told(v.mean(), v.std(ddof=1)) for v in one.values())] for name, one in each.items()]
    rows.append(["listing", *(told(*LISTED[c]) if c in LISTED else "" for c in columns)])
    where = f"{NUM_ROWS} rows in [−3, 3], noise {NOISE:g}; outside: 3 < |x| ≤ 5; covered by mean ± 2 epistemic sd"
    output.table(f"{NUM_MEMBERS} members, {where}; mean ± sd over {NUM_SEEDS} seeds", ["", *columns], rows)


def save_figure(found: dict[str, Prediction], data: Data, path: Path) -> None:
    """The first seed's ensemble, and both sds along x over all seeds."""
    figure, axes = output.panels(3, height=4.0)
    colours = dict(zip(found, (*output.COLOURS[: len(STEPS)], output.EXACT)))
    first = next(iter(found))
    mean, epistemic, aleatoric = (part[0] for part in found[first])
    total = np.sqrt(epistemic**2 + aleatoric**2)
    axes[0].fill_between(GRID, mean - 2 * total, mean + 2 * total, color="#a6cee3", lw=0, label="± 2 sd, both parts")
    wide = (mean - 2 * epistemic, mean + 2 * epistemic)
    axes[0].fill_between(GRID, *wide, color=colours[first], alpha=0.6, lw=0, label="± 2 sd, epistemic")
    axes[0].plot(GRID, np.sin(GRID), color="0.3", lw=1.2, ls="--", label="sine")
    axes[0].plot(ROWS, data.y[0], ".", color="0.45", ms=3)
    axes[0].set(title=f"{NUM_MEMBERS} members, {first}", ylabel="y", ylim=(-3.2, 3.2))
    for name, colour in colours.items():
        axes[1].plot(
            GRID,
            found[name].epistemic.mean(0),
            color=colour,
            lw=1.8,
            label=f"posterior, {name}" if name == EXACT else name,
        )
        if name != EXACT:
            axes[2].plot(GRID, found[name].aleatoric.mean(0), color=colour, lw=1.8, label=name)
    axes[2].axhline(NOISE, color=output.EXACT, lw=1.8, label="truth")
    error = np.sqrt(np.mean((found[first].mean - np.sin(GRID)) ** 2, 0))
    axes[1].plot(GRID, error, color="0.3", lw=1.8, ls=":", label=f"error, {first}")
    axes[1].set(title="epistemic sd, and error", yscale="log", ylim=(2e-3, 30))
    axes[2].set(title="aleatoric sd", ylim=(0, 0.2))
    for ax in axes:
        ax.set(xlabel="x")
        ax.legend(frameon=False, fontsize=9, loc="lower left" if ax is axes[0] else "upper center")
        ax.axvspan(-EDGE, EDGE, color="0.93", lw=0, zorder=-1)
    output.save(figure, path)


def main(out: Path = Path("figures"), seed: int = SEED) -> Path:
    """Train every ensemble; print the table; save the figure and return its path."""
    found = measured(seed)
    print_table(found)
    path = out / "deep_ensemble.png"
    save_figure(found, data_sets(jax.random.split(jax.random.key(seed))[0], NUM_SEEDS), path)
    return path


if __name__ == "__main__":
    output.command(main, __doc__, SEED)
