"""What does each way to uncertainty cost, and what does it buy? `python -m experiments.cost_of_uncertainty`

One network of scikit-learn's digits 0–7 (64-100-8, in Flax) is trained, and every way starts from it. Its cost:
seconds to fit beyond that network, compilation apart; milliseconds from one row, and from a thousand, to class
probabilities (median and quartiles of calls of the compiled program); bytes of the program for a thousand rows:
arguments, results and temporaries. What it buys: log loss of held-out rows and its gain on the network alone, paired
by rows, with standard errors over the rows of this one split; calibration; how well the entropy tells the digits 8
and 9, and shuffled pixels, from the known.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import log_softmax

import probjax as pj
from experiments import digits, output
from experiments.digits import UNKNOWN, Split
from probjax.information import entropy
from probjax.out_of_distribution import auroc as area_under_curve

SEED = 0
NUM_VALID = 240  # leaves 481 rows of 8 classes to learn from: full Gauss–Newton takes at most 4000 outputs
FIT = {"num_steps": 500, "learning_rate": 0.01}
PASSES, MEMBERS, NUM_DRAWS = (10, 100, 1000), (5, 20), 100
ROWS = (1, 1000)
REPEATS, BUDGET = 21, 8.0  # calls of one program, and the seconds after which it gets no more
TICKS = (0.02, 0.01, 0, -0.01, -0.1, -1)
MAP, GGN = "MAP", "GGN"  # full generalised Gauss–Newton Laplace
FAMILIES = ("temperature", "dropout", "ensemble", "last layer", GGN, "SWAG")  # how the names begin


class Way(NamedTuple):
    """fit: (key, trained params, split) -> state. predictives: (key, state, x [N, 64]) -> log p [N, K], by their names:
    what one fit is used for. traced: whether the fit can be compiled as a whole."""

    fit: Callable
    predictives: dict[str, Callable]
    traced: bool = True


class Cost(NamedTuple):
    """Seconds of the fit, and of each call by its rows, compiled before. nbytes: of the program for most rows."""

    fit: float
    calls: dict[int, np.ndarray]
    nbytes: int


class Worth(NamedTuple):
    """losses: −log p of each held-out row, nats. ece: of the top class. auroc: of the entropy, by unknown set."""

    losses: np.ndarray
    ece: float
    auroc: dict[str, float]


def ways(model: pj.Model) -> list[Way]:
    """Each as the library's functions give it."""
    adam = partial(pj.optimize.adam, **FIT)
    sampled = partial(mixture, pj.predict, model)

    def warm(key, params, split):
        return params, digits.inverse_temperature(model.apply(params, split.valid.x), split.valid.y)

    def masks(key, params, split):  # trained anew: a network that never saw masks is no good under them
        draws = pj.dropout(key, model, split.train, num_draws=1, num_masks=1, **FIT).draws
        return jax.tree.map(lambda leaf: leaf[0], draws.params)

    def members(count, key, params, split):
        return pj.ensemble(key, model, split.train, num_members=count, fit=adam)

    def laplace(method, key, params, split):
        return method(key, model, split.train, fit=pj.trained(params), num_draws=NUM_DRAWS)

    def walk(key, params, split):
        walk_key, draw_key = jax.random.split(key)
        saved = digits.checkpoints(walk_key, model, split.train, params)
        return pj.swag_from_checkpoints(draw_key, saved, num_draws=NUM_DRAWS)

    def last_layer(key, params, split):
        return pj.last_layer_gaussian(model, split.train, params, layer="out")[0]

    last, straight = partial(pj.laplace_last_layer, layer="out"), partial(mixture, pj.predict_linearised, model)
    return [
        Way(lambda key, params, split: params, {MAP: lambda key, params, x: log_softmax(model.apply(params, x))}),
        Way(
            warm, {"temperature": lambda key, state, x: log_softmax(model.apply(state[0], x) * state[1])}, traced=False
        ),
        Way(masks, {f"dropout, T={count}": partial(over_masks, model, count) for count in PASSES}),
        *(Way(partial(members, count), {f"ensemble, M={count}": sampled}) for count in MEMBERS),
        Way(partial(laplace, last), {"last layer, sampled": sampled}),
        Way(last_layer, {"last layer, probit": partial(in_closed_form, model)}),
        Way(partial(laplace, pj.laplace_ggn), {f"{GGN}, sampled": sampled, f"{GGN}, linearised": straight}),
        Way(walk, {"SWAG": sampled}),
    ]


def mixture(predict, model, key, posterior, x):
    """log (1/S) Σₛ softmax(fₛ), f by `predict` or `predict_linearised`; no key is needed."""
    log_probs = log_softmax(predict(model, posterior, x))
    return jax.nn.logsumexp(log_probs, axis=0) - jnp.log(len(log_probs))


def over_masks(model, num_draws, key, params, x):
    """The same over masks, one after the other."""
    return jnp.log(pj.predictive_moments(key, model, pj.masked(model, params), x, num_draws=num_draws).mean)


def in_closed_form(model, key, gaussian, x):
    """MacKay's formula in place of draws."""
    return jnp.log(pj.probit(*pj.linearised(model, gaussian, x)))


def compiled(function: Callable, *args: Any) -> Any:
    """The program for arguments of these shapes."""
    return jax.jit(function).lower(*args).compile()


def timed(program: Callable, *args: Any, most: int) -> tuple[Any, np.ndarray]:
    """The result and the seconds of each of up to `most` calls; the first counts only where it is the only one."""
    result, seconds = None, []
    while len(seconds) <= most and sum(seconds) < BUDGET:
        start = time.perf_counter()
        result = jax.block_until_ready(program(*args))
        seconds.append(time.perf_counter() - start)
    return result, np.array(seconds[1:] or seconds)


def held(program: Any) -> int:
    """Bytes of arguments, results and temporaries."""
    plan = program.memory_analysis()
    return plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes


def in_blocks(program: Callable, x: np.ndarray, size: int) -> np.ndarray:
    """program(x) for a program of `size` rows; the last block is filled up with rows that are dropped."""
    filled = x[np.arange(len(x) + -len(x) % size) % len(x)]
    blocks = [np.asarray(program(block), float) for block in np.split(filled, len(filled) // size)]
    return np.concatenate(blocks)[: len(x)]


def examine(key: jax.Array, way: Way, params: Any, split: Split) -> dict[str, tuple[Cost, Worth]]:
    """Fit once; predict, time and score by each name."""
    fit_key, draw_key = jax.random.split(key)
    fit = compiled(way.fit, fit_key, params, split) if way.traced else way.fit
    state, fitting = timed(fit, fit_key, params, split, most=int(not way.traced))  # untraced, the first call compiles
    x, found = np.concatenate([split.test.x, *split.unknown.values()]), {}
    for name, log_probs in way.predictives.items():
        calls = {}
        for count in ROWS:
            rows = jnp.asarray(x[:count])
            program = compiled(log_probs, draw_key, state, rows)
            calls[count] = timed(program, draw_key, state, rows, most=REPEATS)[1]
        cost = Cost(fitting[0], calls, held(program))
        found[name] = cost, worth(np.exp(in_blocks(partial(program, draw_key, state), x, ROWS[-1])), split)
    return found


def worth(probs: np.ndarray, split: Split) -> Worth:
    """probs [N, K] at the test rows and then the unknown ones."""
    y, unsure = split.test.y, np.asarray(entropy(probs))
    ends = np.cumsum([len(y), *map(len, split.unknown.values())])
    known, *others = np.split(unsure, ends[:-1])
    auroc = {name: area_under_curve(known, other).area for name, other in zip(split.unknown, others)}
    losses = -np.log(probs[np.arange(len(y)), y])
    return Worth(losses, digits.top_label_error(probs[: len(y)], y).value, auroc)


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """The mean and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def gains(found: dict[str, tuple[Cost, Worth]]) -> Iterator[tuple[str, float, float]]:
    """(way, mean, standard error) of the log loss of MAP less that of the way, paired by rows; MAP left out."""
    base = found[MAP][1].losses
    for name, (_, w) in found.items():
        if name != MAP:
            yield name, *mean_and_error(base - w.losses)


def print_table(found: dict[str, tuple[Cost, Worth]]) -> None:
    """One row a way."""
    rows, gained = [], {name: f"{mean:+.3f} ± {error:.3f}" for name, mean, error in gains(found)}
    for name, (cost, w) in found.items():
        told = [f"{cost.fit:.1f}", *(spread(cost.calls[count]) for count in ROWS), f"{cost.nbytes / 2**20:.1f}"]
        told += ["{:.3f} ± {:.3f}".format(*mean_and_error(w.losses)), gained.get(name, ""), f"{w.ece:.3f}"]
        rows.append([name, *told, *(f"{w.auroc[unknown]:.3f}" for unknown in UNKNOWN)])
    columns = ["way", "fit, s", *(f"{count} rows: ms" for count in ROWS), "MiB", "nats a row", "gain on MAP", "ECE"]
    title = "digits 0–7; ms: median, half the distance of its quartiles; AUROC of the entropy"
    output.table(title, [*columns, *UNKNOWN], rows)


def spread(seconds: np.ndarray) -> str:
    """The median, milliseconds, and half the distance of the quartiles in per cent of it (3 calls or more)."""
    low, middle, high = np.quantile(1e3 * seconds, [0.25, 0.5, 0.75])
    shown = f"{float(f'{middle:.3g}'):g}"
    return shown if len(seconds) < 3 else f"{shown} ± {50 * (high - low) / middle:.0f}%"


def save_figure(found: dict[str, tuple[Cost, Worth]], path: Path) -> Path:
    """What is gained against latency, for one row and for many; a colour a family."""
    figure, axes = output.panels(len(ROWS), height=4.6, width=6.0, sharey=True)
    for ax, count in zip(axes, ROWS):
        ax.axhline(0, color=output.EXACT, lw=1, ls="--")
        latency = lambda name, count=count: 1e3 * np.median(found[name][0].calls[count])
        ax.plot(latency(MAP), 0, "*", color=output.EXACT, ms=11, label=MAP)
        seen = [0] * len(FAMILIES)
        for name, mean, error in gains(found):
            family = next(index for index, start in enumerate(FAMILIES) if name.startswith(start))
            style = {"fmt": "osD"[seen[family]], "color": output.COLOURS[family], "ms": 7, "label": name}
            ax.errorbar(latency(name), mean, error, lw=1.3, **style)
            seen[family] += 1
        ax.set(xscale="log", xlabel=f"milliseconds for {count} {'row' if count == 1 else 'rows'}")
        ax.set_yscale("symlog", linthresh=0.02)
        ax.set_yticks(TICKS, map(str, TICKS))
        ax.grid(lw=0.4, alpha=0.6)
    axes[0].set(ylabel="log loss of MAP less that of the way, nats a row")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=9)
    return output.save(figure, path)


def main(out: Path = Path("figures"), seed: int = SEED) -> Path:
    """Table and figure; returns the figure's path."""
    split, model = digits.split_digits(seed, num_valid=NUM_VALID), digits.network_model()
    map_key, *keys = jax.random.split(jax.random.key(seed), 20)
    fit = jax.jit(lambda key: pj.map_estimate(key, model, split.train, fit=partial(pj.optimize.adam, **FIT)))
    params = jax.tree.map(lambda leaf: leaf[0], fit(map_key).draws)
    found = {}
    for key, way in zip(keys, ways(model)):
        found |= examine(key, way, params, split)
    print_table(found)
    return save_figure(found, out / "cost_of_uncertainty.png")


if __name__ == "__main__":
    output.command(main, __doc__, SEED)
