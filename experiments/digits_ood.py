"""What does a Flax network know that it does not know? `python -m experiments.digits_ood`

A small NNX network with a Dropout layer learns the handwritten digits 0–7 from half of scikit-learn's. It then sees the
rest of them, the digits 8 and 9, which are none of its classes, and digits whose pixels are shuffled. The same network
under six methods: accuracy, log loss and calibration on 0–7, and how well predictive entropy and mutual information
(what the draws disagree on) tell the others from them.

This prior leaves the network too modest, and one temperature mends that better than any method (log loss 0.058 instead
of 0.072; last-layer Laplace, which adds to the modesty, 0.150). Entropy tells the unknown apart under all of them, with
draws no better than without (AUROC 0.955–0.967). Mutual information does it worse, but for the ensemble on shuffled
pixels (0.972).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from experiments import output
from experiments.digits import (
    UNKNOWN,
    checkpoints,
    inverse_temperature,
    network_model,
    split_digits,
    top_label_error,
)
from probjax import (
    Data,
    dropout,
    ensemble,
    laplace_last_layer,
    map_estimate,
    optimize,
    predict,
    swag_from_checkpoints,
    trained,
)
from probjax.out_of_distribution import auroc as area_under_curve
from probjax.uncertainty import split_entropy

SEED, NUM_SPLITS = 0, 5
NUM_STEPS, LEARNING_RATE = 500, 0.01
NUM_DRAWS, NUM_MEMBERS = 100, 5
LEAST_ROWS = 15  # of a bin in the figure
ALARM = 0.05  # share of the known digits that may be turned away
METHODS = ("MAP", "MAP, temperature", "dropout", "ensemble", "last-layer Laplace", "SWAG")  # in the order of the table
POINTS = METHODS[:2]  # one draw: nothing to disagree


def logits_of_all(key: jax.Array, data: Data, x: jax.Array) -> dict[str, jax.Array]:
    """Logits at x under the draws of each method, [S, N, K]."""
    model = network_model()
    map_key, drop_key, member_key, last_key, walk_key, swag_key = jax.random.split(key, 6)
    fit = partial(optimize.adam, num_steps=NUM_STEPS, learning_rate=LEARNING_RATE)
    mode = map_estimate(map_key, model, data, fit=fit)
    params = jax.tree.map(lambda leaf: leaf[0], mode.draws)
    steps = {"num_steps": NUM_STEPS, "learning_rate": LEARNING_RATE, "num_masks": 1}
    last = {"layer": "out", "fit": trained(params), "num_draws": NUM_DRAWS}
    walk = checkpoints(walk_key, model, data, params)
    found = {
        "MAP": mode,
        "dropout": dropout(drop_key, model, data, num_draws=NUM_DRAWS, **steps),
        "ensemble": ensemble(member_key, model, data, num_members=NUM_MEMBERS, fit=fit),
        "last-layer Laplace": laplace_last_layer(last_key, model, data, **last),
        "SWAG": swag_from_checkpoints(swag_key, walk, num_draws=NUM_DRAWS),
    }
    return {name: predict(model, posterior, x) for name, posterior in found.items()}


class Score(NamedTuple):
    """ece_null: the calibration error that a calibrated forecaster of the same confidences would show by chance. auroc,
    caught: by (unknown, measure), chance 0.5; the share turned away where ALARM of the known are."""

    accuracy: float
    log_loss: float
    ece: float
    ece_null: float
    auroc: dict
    caught: dict


def score(log_probs: np.ndarray, y: np.ndarray, sizes: dict[str, int]) -> Score:
    """log_probs [S, N, K] at the test rows and then the unknown ones."""
    probs = np.exp(log_probs).mean(0)
    parts = split_entropy(np.exp(log_probs))
    measures = {"entropy": np.asarray(parts.total), "mutual information": np.asarray(parts.epistemic)}
    known, auroc, caught, start = slice(len(y)), {}, {}, len(y)
    for name, size in sizes.items():
        for measure, value in measures.items():
            mine, others = value[known], value[start : start + size]
            auroc[name, measure] = area_under_curve(mine, others).area
            caught[name, measure] = float(np.mean(others > np.quantile(mine, 1 - ALARM)))
        start += size
    test = probs[known]
    loss = -np.mean(np.log(test[np.arange(len(y)), y]))
    error = top_label_error(test, y)
    accuracy = float(np.mean(test.argmax(1) == y))
    return Score(accuracy, float(loss), error.value, error.null_value, auroc, caught)


def one_split(run, seed: int) -> tuple[dict[str, Score], dict[str, np.ndarray], np.ndarray]:
    """(scores, reliability bins by method, y) of one split."""
    split = split_digits(seed)
    x = np.concatenate([split.valid.x, split.test.x, *split.unknown.values()])
    logits = run(jax.random.key(seed), split.train, x)
    num_valid = len(split.valid.y)
    logits["MAP, temperature"] = logits["MAP"] * inverse_temperature(logits["MAP"][0, :num_valid], split.valid.y)
    found = {name: np.asarray(jax.nn.log_softmax(logits[name]), float) for name in METHODS}
    sizes = {name: len(rows) for name, rows in split.unknown.items()}
    scores = {name: score(log_probs[:, num_valid:], split.test.y, sizes) for name, log_probs in found.items()}
    test = slice(num_valid, num_valid + len(split.test.y))
    return scores, {name: np.exp(log_probs[:, test]).mean(0) for name, log_probs in found.items()}, split.test.y


def print_table(found: list[dict[str, Score]]) -> None:
    """Means over splits, one row a method."""
    rows = []
    for name in found[0]:
        scores = [one[name] for one in found]
        mean = lambda value, scores=scores: np.mean([value(s) for s in scores])
        told = [f"{mean(lambda s: s.accuracy):.3f}", f"{mean(lambda s: s.log_loss):.3f}"]
        told += [f"{mean(lambda s: s.ece):.3f} ({mean(lambda s: s.ece_null):.3f})"]
        for unknown in UNKNOWN:
            for measure in ("entropy", "mutual information"):
                value = mean(lambda s, k=(unknown, measure): s.auroc[k])
                told.append("–" if name in POINTS and measure != "entropy" else f"{value:.3f}")
            told.append(f"{mean(lambda s, k=(unknown, 'entropy'): s.caught[k]):.0%}")
        rows.append([name, *told])
    columns = ["method", "accuracy", "log loss", "ECE (chance)"]
    for unknown in UNKNOWN:
        columns += [f"{unknown}: H", "MI", "caught"]
    told = (
        f"log loss in nats a row; AUROC of entropy (H), mutual information (MI); caught: {ALARM:.0%} false alarms, by H"
    )
    output.table(f"digits 0–7, mean of {len(found)} splits; {told}", columns, rows)


def save_figure(found: list[dict[str, Score]], probs: dict[str, np.ndarray], y: np.ndarray, path: Path) -> None:
    """Reliability, log loss, and how well the unknown are told apart."""
    figure, axes = output.panels(3, height=4.2, width=4.6)
    names, colours = list(probs), dict(zip(probs, output.COLOURS))
    axes[0].plot([0.2, 1], [0.2, 1], color=output.EXACT, lw=1, ls="--", label="calibrated")
    for name in names:
        shown = top_label_error(probs[name], y).bins
        enough = shown.count >= LEAST_ROWS
        axes[0].plot(
            shown.forecast[enough], shown.frequency[enough], "o-", color=colours[name], ms=4, lw=1.3, label=name
        )
    axes[0].set(title="confidence and accuracy, digits 0–7", ylabel="accuracy", ylim=(0.2, 1.03))
    axes[0].set(xlabel=f"confidence; bins of {LEAST_ROWS} rows or more", xlim=(0.2, 1.03))
    axes[0].legend(frameon=False, fontsize=8, loc="lower right")
    at = np.arange(len(names))[::-1]
    for name, place in zip(names, at):
        losses = [one[name].log_loss for one in found]
        axes[1].plot(losses, [place] * len(losses), "o", color=colours[name], alpha=0.45, ms=5)
        axes[1].plot(np.mean(losses), place, "|", color=colours[name], ms=18, mew=2.5)
    axes[1].set(title="log loss, digits 0–7", xlabel="nats a row; a point a split", yticks=at, yticklabels=names)
    for measure, marker, filled in (("entropy", "o", True), ("mutual information", "D", False)):
        for unknown, shift in zip(UNKNOWN, (0.15, -0.15)):
            values = np.array([np.mean([one[name].auroc[unknown, measure] for one in found]) for name in names])
            shown = np.full(len(names), filled) | ~np.isin(names, POINTS)
            colour = output.COLOURS[UNKNOWN.index(unknown)]
            face = colour if filled else "none"
            label = f"{unknown}, {measure}"
            axes[2].plot(
                values[shown], (at + shift)[shown], marker, color=colour, markerfacecolor=face, ms=7, label=label
            )
    axes[2].set(title="telling the unknown from 0–7", xlabel="AUROC (chance: 0.5)", yticks=at, yticklabels=[])
    axes[2].legend(frameon=False, fontsize=8, loc="upper left")
    output.save(figure, path)


def main(out: Path = Path("figures"), seed: int = SEED) -> Path:
    """Fit every split in every way; print the table; save the figure and return its path."""
    run = jax.jit(logits_of_all)
    found = [one_split(run, seed + i) for i in range(NUM_SPLITS)]
    scores = [scores for scores, *_ in found]
    print_table(scores)
    probs = {name: np.concatenate([one[1][name] for one in found]) for name in scores[0]}
    path = out / "digits_ood.png"
    save_figure(scores, probs, np.concatenate([y for *_, y in found]), path)
    return path


if __name__ == "__main__":
    output.command(main, __doc__, SEED)
