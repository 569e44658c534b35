"""Does predicting the noise scale pay? `python -m experiments.heteroscedastic`

A line with noise whose sd grows 55-fold over the data, and as a control one with constant noise of the same mean
variance. Predicting the scale gains 0.98 nats a row over one scale, within 0.006 of what the true scale gains, and cuts
the error of the slope from 0.043 to 0.012, that of weighted least squares; one scale covers 100% on the left and 79% on
the right with its 95% intervals. Under constant noise nothing is gained: it costs 0.004 nats a row. beta-NLL, beside
it, gives up efficiency of the line where the scale is well specified: with β = 1 the slope is that of least squares,
with β = ½ it lies between.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr

from experiments import output
from probjax import Data, Model, likelihoods, linear, losses, map_estimate, optimize, over_leading_axis, priors
from probjax.heads import location_and_scale, with_learnt_scale

SEED = 0
NUM_SETS, NUM_ROWS = 60, 200  # data sets a world, rows of each
NUM_STEPS = 2000  # of Adam, for the objective that is no density
WEIGHT, BIAS, MEAN_VARIANCE = 1.0, 0.5, 0.37  # of the line and its noise, the variance averaged over x
GROWTHS = {"growing noise": 1.0, "constant noise": 0.0}  # log sd(x) = growth · x + constant on [−2, 2]
NEW_X = np.linspace(-2, 2, 300)  # new rows; their y are averaged in closed form
Z95 = 1.959963984540054


class Score(NamedTuple):
    """log_density [R]: E log p(y) of new rows, nats a row. slope [R]: its error. coverage [R, 3]: of 95% intervals of y
    in the left, middle and right third of x."""

    log_density: np.ndarray
    slope: np.ndarray
    coverage: np.ndarray


def noise_sd(x: jax.Array, growth: jax.Array) -> jax.Array:
    """eᵍˣ √(MEAN_VARIANCE / mean of e²ᵍˣ over NEW_X)."""
    return jnp.exp(growth * x) * jnp.sqrt(MEAN_VARIANCE / jnp.mean(jnp.exp(2 * growth * NEW_X)))


def data_sets(key: jax.Array, growth: float) -> Data:
    """x [R, N, 1] uniform on [−2, 2], y [R, N]."""
    x_key, noise_key = jax.random.split(key)
    x = jax.random.uniform(x_key, (NUM_SETS, NUM_ROWS), minval=-2.0, maxval=2.0)
    y = BIAS + WEIGHT * x + noise_sd(x, growth) * jax.random.normal(noise_key, x.shape)
    return Data(x[..., None], y)


def most_likely(data: Data, growth: jax.Array, head) -> tuple[jax.Array, jax.Array]:
    """(loc, scale) at NEW_X at the maximum of the likelihood; `head` says what the scale is."""
    model = Model(*head(), prior=priors.flat(), likelihood=likelihoods.normal())
    mode = map_estimate(jax.random.key(0), model, data)
    return model.apply(jax.tree.map(lambda leaf: leaf[0], mode.draws), NEW_X[:, None])


def true_scale(data: Data, growth: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(XᵀWX)⁻¹XᵀWy with W = 1/sd(x)²: weighted least squares by one who knows the scale."""
    sd, with_ones = noise_sd(data.x[:, 0], growth), lambda x: jnp.stack([x, jnp.ones_like(x)], axis=1)
    scaled = with_ones(data.x[:, 0]) / sd[:, None]
    line = jnp.linalg.solve(scaled.T @ scaled, scaled.T @ (data.y / sd))
    return with_ones(NEW_X) @ line, noise_sd(NEW_X, growth)


def beta_nll(data: Data, growth: jax.Array, beta: float) -> tuple[jax.Array, jax.Array]:
    """Both lines where the gradient that `losses.beta_nll` gives vanishes; as it is no gradient of a function, by
    Adam."""
    network = predicted()
    objective = lambda params: jnp.mean(losses.beta_nll(data.y, *network.apply(params, data.x), beta))
    start = jax.tree.map(jnp.zeros_like, network.init(jax.random.key(0)))
    params, _ = optimize.adam(objective, start, num_steps=NUM_STEPS, learning_rate=0.1)
    return network.apply(params, NEW_X[:, None])


def predicted():
    """(μ(x), σ(x)), μ and log σ linear in x."""
    return location_and_scale(linear(1, 2))


FITS = {
    "one scale": partial(most_likely, head=lambda: with_learnt_scale(linear(1))),
    "predicted scale": partial(most_likely, head=predicted),
    "true scale": true_scale,
    "beta-NLL, β = 0.5": partial(beta_nll, beta=0.5),
    "beta-NLL, β = 1": partial(beta_nll, beta=1.0),
}


def score(loc: np.ndarray, scale: np.ndarray, growth: float) -> Score:
    """E log N(y | loc, scale²) = −½ log 2π − log scale − (sd² + (truth − loc)²)/2 scale², averaged over NEW_X, and the
    probability of loc ± 1.96 scale: exact, no y is drawn."""
    sd, gap = noise_sd(NEW_X, growth), BIAS + WEIGHT * NEW_X - loc
    log_density = -0.5 * np.log(2 * np.pi) - np.log(scale) - 0.5 * (sd**2 + gap**2) / scale**2
    coverage = ndtr((Z95 * scale - gap) / sd) - ndtr((-Z95 * scale - gap) / sd)
    thirds = np.stack([part.mean(1) for part in np.split(np.asarray(coverage), 3, axis=1)], axis=1)
    return Score(np.asarray(log_density.mean(1)), (loc[:, -1] - loc[:, 0]) / 4 - WEIGHT, thirds)


def fit_all(key: jax.Array) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]:
    """(world, fit) -> (loc, scale) at NEW_X, each [R, 300]. The worlds share x and the standardised noise."""
    growth = jnp.repeat(jnp.array(list(GROWTHS.values())), NUM_SETS)
    data = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *(data_sets(key, g) for g in GROWTHS.values()))
    found = {}
    for name, fit in FITS.items():
        loc, scale = (np.asarray(part) for part in jax.jit(partial(over_leading_axis, fit))(data, growth))
        for world, a, b in zip(GROWTHS, np.split(loc, len(GROWTHS)), np.split(scale, len(GROWTHS))):
            found[world, name] = a, b
    return found


def print_table(found: dict[tuple[str, str], Score]) -> None:
    """One row a world and fit."""
    rows, first = [], next(iter(FITS))
    for world, name in found:
        result, gain = found[world, name], found[world, name].log_density - found[world, first].log_density
        told = "" if name == first else f"{gain.mean():+.4f} ± {np.std(gain, ddof=1) / len(gain) ** 0.5:.4f}"
        shown = [f"{result.log_density.mean():.3f}", told, f"{np.sqrt(np.mean(result.slope**2)):.4f}"]
        rows.append([world, name, *shown, *(f"{p:.1%}" for p in result.coverage.mean(0))])
    title = f"{NUM_SETS} data sets of {NUM_ROWS} rows; log density of new y, nats a row; 95% intervals by thirds of x"
    columns = ("noise", "fit", "log density", "gain over one scale", "RMSE of slope", "left", "middle", "right")
    output.table(title, columns, sorted(rows, key=lambda row: list(GROWTHS).index(row[0])))


def save_figure(data: Data, found: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]], path: Path) -> None:
    """The first data set with the bands of two fits and the true one, and every fit's scale."""
    figure, axes = output.panels(3, height=4.0)
    world = "growing noise"
    truth, sd = BIAS + WEIGHT * NEW_X, noise_sd(NEW_X, GROWTHS[world])
    colours = dict(zip(FITS, (*output.COLOURS[1::-1], output.EXACT, *output.COLOURS[2:])))
    for ax, name in zip(axes, ("one scale", "predicted scale")):
        loc, scale = (part[0] for part in found[world, name])
        ax.fill_between(NEW_X, loc - Z95 * scale, loc + Z95 * scale, color=colours[name], alpha=0.25, label="fit, 95%")
        ax.plot(NEW_X, truth - Z95 * sd, NEW_X, truth + Z95 * sd, color=output.EXACT, lw=1.2, ls="--")
        ax.plot(NEW_X, loc, color=colours[name], lw=2)
        ax.plot(data.x[:, 0], data.y, ".", color="0.45", ms=4)
        ax.plot([], color=output.EXACT, lw=1.2, ls="--", label="truth, 95%")
        ax.set(title=name, xlabel="x", ylabel="y", ylim=(-3, 6.5))
    for name, colour in colours.items():
        axes[2].plot(NEW_X, found[world, name][1][0], "--" if name == "true scale" else "-", color=colour, label=name)
    axes[2].set(title="sd of the noise, fitted", xlabel="x", ylabel="sd of y given x", yscale="log")
    for ax in axes:
        ax.legend(loc="lower right" if ax is axes[2] else "upper left", frameon=False)
    output.save(figure, path)


def main(out: Path = Path("figures"), seed: int = SEED) -> Path:
    """Fit every data set in every way; print the table; save the figure and return its path."""
    jax.config.update("jax_enable_x64", True)
    key = jax.random.key(seed)
    found = fit_all(key)
    print_table({cell: score(*fit, GROWTHS[cell[0]]) for cell, fit in found.items()})
    path = out / "heteroscedastic.png"
    save_figure(jax.tree.map(lambda leaf: leaf[0], data_sets(key, GROWTHS["growing noise"])), found, path)
    return path


if __name__ == "__main__":
    output.command(main, __doc__, SEED)
