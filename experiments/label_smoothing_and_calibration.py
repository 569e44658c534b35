"""Does label smoothing calibrate a network? `python -m experiments.label_smoothing_and_calibration`

A network with one hidden layer learns the digits 0–7 from 221 rows, for five ε and ten seeds (splits and starts) in one
program; the confidence error has its sign, and all of it comes before and after a temperature of held-out rows.

Not here. Without smoothing the network is 0.8 points overconfident (± 0.5); with ε = 0.05 it is 8.6 points
*under*confident, with ε = 0.4 38.8, more than the ceiling of free logits, 1 − ε + ε/K, explains. The log loss rises
from 0.114 to 0.170 and 0.591. A temperature takes all of that back (T = 0.55 and 0.28, the error within 0.6 points of
0), and with it smoothing by 0.05 to 0.2 is worth 0.012 nats a row (± 0.01): what smoothing gives is a slightly better
forecast, what it costs is calibration.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from experiments import output
from experiments.digits import NUM_CLASSES, Split, split_digits
from probjax import losses, mlp
from probjax.calibration import top_label
from probjax.forecasts import Forecast, from_logits
from probjax.optimize import adam
from probjax.recalibration import temperature
from probjax.scores import log_score
from probjax.selective import aurc

SEED, NUM_SEEDS = 0, 10  # a seed is a split of the rows and a start
EPSILONS = (0.0, 0.05, 0.1, 0.2, 0.4)
NUM_VALID = 500  # rows that set the temperature; about 220 are learnt from, 720 are tested on
HIDDEN = 30
NUM_STEPS, LEARNING_RATE = 500, 0.01  # of Adam on the mean loss, without a prior
LEVEL = 0.95  # of the intervals, over seeds

network = mlp([64, HIDDEN, NUM_CLASSES], activation=jax.nn.relu)


class Worth(NamedTuple):
    """Of one forecast of the test rows. signed: mean of the largest probability less the accuracy. log_loss: nats a
    row. area: that below the risk–coverage curve."""

    error: np.ndarray
    signed: np.ndarray
    log_loss: np.ndarray
    area: np.ndarray


class Found(NamedTuple):
    """[seeds, ε] each, before and after the temperature, which is `warmth`."""

    before: Worth
    after: Worth
    warmth: np.ndarray


def trained(key: jax.Array, x: jax.Array, y: jax.Array, epsilon: jax.Array):
    """The network's parameters after Adam."""
    loss = lambda params: jnp.mean(losses.label_smoothed_cross_entropy(y, network.apply(params, x), epsilon))
    return adam(loss, network.init(key), num_steps=NUM_STEPS, learning_rate=LEARNING_RATE)[0]


@jax.jit
def all_logits(keys: jax.Array, train_x, train_y, new_x, epsilons: jax.Array) -> jax.Array:
    """Logits at new_x [R, N, 64] of every seed and ε, [R, E, N, K]: one program. Every ε starts where the others do."""
    one = lambda key, x, y, new, epsilon: network.apply(trained(key, x, y, epsilon), new)
    return jax.vmap(jax.vmap(one, (None, None, None, None, 0)), (0, 0, 0, 0, None))(
        keys, train_x, train_y, new_x, epsilons
    )


def worth(forecast: Forecast, y: np.ndarray) -> Worth:
    """What a forecast of these rows is worth."""
    confidence, right = (np.asarray(part, float) for part in top_label(forecast.probs, y))
    area = aurc(confidence, 1 - right)
    return Worth(1 - right.mean(), confidence.mean() - right.mean(), np.mean(log_score(forecast, y)), area.area)


def one_forecast(logits: jax.Array, split: Split) -> tuple[Worth, Worth, float]:
    """Before, after, and T, from logits at the rows of valid and then test."""
    num_valid = len(split.valid.y)
    valid, test = from_logits(logits[:num_valid]), from_logits(logits[num_valid:])
    calibrator = temperature(valid, split.valid.y)
    found = worth(test, split.test.y), worth(calibrator(test), split.test.y)
    return *found, float(1 / calibrator.params.inverse_temperature)


def measured(seed: int) -> Found:
    """Every seed and ε."""
    splits = [split_digits(seed + i, num_valid=NUM_VALID) for i in range(NUM_SEEDS)]
    stack = lambda rows: jnp.asarray(np.stack([rows(split) for split in splits]))
    train_x, train_y = stack(lambda s: s.train.x), stack(lambda s: s.train.y)
    new_x = stack(lambda s: np.concatenate([s.valid.x, s.test.x]))
    keys = jax.random.split(jax.random.key(seed), NUM_SEEDS)
    logits = all_logits(keys, train_x, train_y, new_x, jnp.asarray(EPSILONS))
    found = [[one_forecast(f, split) for f in own] for own, split in zip(logits, splits)]
    part = lambda index: Worth(*np.moveaxis(np.array([[one[index] for one in own] for own in found]), -1, 0))
    return Found(part(0), part(1), np.array([[one[2] for one in own] for own in found]))


def interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over seeds, and half the width of its Student interval."""
    num = len(values)
    return values.mean(0), stats.t.ppf((1 + LEVEL) / 2, num - 1) * values.std(0, ddof=1) / np.sqrt(num)


def print_table(found: Found) -> None:
    """One row an ε."""

    def cells(values, digits=3, scale=1, sign=""):
        return [f"{m:{sign}.{digits}f} ± {h:.{digits}f}" for m, h in zip(*interval(scale * values))]

    gain = found.after.log_loss - found.after.log_loss[:, :1]
    rows = zip(
        [f"{epsilon:g}" for epsilon in EPSILONS],
        cells(found.before.error, 1, 100),
        cells(found.before.signed, sign="+"),
        cells(found.after.signed, sign="+"),
        cells(found.before.log_loss),
        cells(found.after.log_loss),
        ["", *cells(gain, sign="+")[1:]],
        cells(found.warmth, 2),
        cells(found.after.area, 1, 1e3),
    )
    columns = ["ε", "error, %", "confidence − accuracy", "after T", "log loss", "after T", "less ε = 0's", "T"]
    title = f"digits 0–7, mean of {NUM_SEEDS} seeds ± half a {LEVEL:.0%} interval; log loss in nats a row"
    output.table(title, [*columns, "AURC·10³"], rows)


def save_figure(found: Found, path: Path) -> Path:
    """Signed error, log loss and the temperature against ε."""
    figure, axes = output.panels(3, height=4.0, width=4.5)
    at = np.arange(len(EPSILONS))
    for shift, worth, label, colour in (
        (-0.06, found.before, "as trained", output.COLOURS[0]),
        (0.06, found.after, "after a temperature", output.COLOURS[1]),
    ):
        for ax, values in zip(axes, (worth.signed, worth.log_loss)):
            mean, half = interval(values)
            ax.errorbar(at + shift, mean, half, fmt="o-", color=colour, lw=1.6, ms=5, capsize=3, label=label)
    axes[0].axhline(0, color=output.EXACT, lw=1, ls="--")
    most = 1 - np.array(EPSILONS) * (1 - 1 / NUM_CLASSES) - (1 - found.before.error.mean(0))
    axes[0].plot(at, most, color="0.5", ls=":", lw=1.6, label="largest p of free logits less accuracy")
    axes[0].set(ylabel="mean confidence − accuracy", title="above 0: overconfident")
    axes[1].set(ylabel="nats a row", title="log loss", ylim=(0, None))
    mean, half = interval(found.warmth)
    axes[2].errorbar(at, mean, half, fmt="o-", color=output.COLOURS[2], lw=1.6, ms=5, capsize=3)
    axes[2].axhline(1, color=output.EXACT, lw=1, ls="--")
    axes[2].set(title="the best temperature of held-out rows", ylabel="T")
    for ax in axes:
        ax.set(xlabel="ε of the smoothing")
        ax.set_xticks(at, [f"{epsilon:g}" for epsilon in EPSILONS])
    for ax in axes[:2]:
        ax.legend(frameon=False, fontsize=9)
    return output.save(figure, path)


def main(out: Path = Path("figures"), seed: int = SEED) -> Path:
    """Train every network; print the table; save the figure and return its path."""
    found = measured(seed)
    print_table(found)
    return save_figure(found, out / "label_smoothing_and_calibration.png")


if __name__ == "__main__":
    output.command(main, __doc__, SEED)
