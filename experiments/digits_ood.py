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
import jax.numpy as jnp
import numpy as np
from flax import nnx
from sklearn.datasets import load_digits

from experiments import output
from probjax import (
    Data,
    Model,
    dropout,
    ensemble,
    from_nnx,
    laplace_last_layer,
    likelihoods,
    log_joint,
    map_estimate,
    optimize,
    predict,
    priors,
    swag_from_checkpoints,
    trained,
)

SEED, NUM_SPLITS = 0, 5
NUM_CLASSES, NUM_VALID = 8, 200  # digits 0–7; rows of the training half that set the temperature alone
NUM_STEPS, LEARNING_RATE, PRIOR_SCALE = 500, 0.01, 1.0
NUM_DRAWS, NUM_MEMBERS, NUM_CHECKPOINTS = 100, 5, 40
SGD_RATE, SGD_ROWS, SGD_STEPS = 0.1, 50, 20  # of the mean log joint; rows of a batch, steps between checkpoints
LEAST_ROWS = 15  # of a bin in the figure
NUM_BINS, ALARM = 10, 0.05  # of the calibration error; share of the known digits that may be turned away
UNKNOWN = ("8 and 9", "shuffled")
METHODS = ("MAP", "MAP, temperature", "dropout", "ensemble", "last-layer Laplace", "SWAG")  # in the order of the table
POINTS = METHODS[:2]  # one draw: nothing to disagree


class Classifier(nnx.Module):
    """64 pixels, one hidden layer, as many logits as classes."""

    def __init__(self, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(64, 100, rngs=rngs)
        self.drop = nnx.Dropout(0.3, rngs=rngs)
        self.out = nnx.Linear(100, NUM_CLASSES, rngs=rngs)

    def __call__(self, x):
        return self.out(self.drop(nnx.relu(self.hidden(x))))


class Split(NamedTuple):
    """train, valid, test: digits 0–7. unknown: [U, 64] for each name."""

    train: Data
    valid: Data
    test: Data
    unknown: dict[str, np.ndarray]


def split_digits(seed: int) -> Split:
    """Half to train on and to set the temperature, half to test; pixels in [0, 1]."""
    rng = np.random.default_rng(seed)
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    known = rng.permutation(np.flatnonzero(y < NUM_CLASSES))
    half = len(known) // 2
    parts = np.split(known, [half - NUM_VALID, half])
    shuffled = rng.permuted(x[parts[2]], axis=1)
    return Split(*(Data(x[part], y[part]) for part in parts), dict(zip(UNKNOWN, (x[y >= NUM_CLASSES], shuffled))))


def network_model() -> Model:
    """The module with a prior over all its parameters."""
    network = from_nnx(Classifier, jnp.zeros((1, 64)))
    return Model(*network, prior=priors.normal(0.0, PRIOR_SCALE), likelihood=likelihoods.categorical())


def checkpoints(key: jax.Array, model: Model, data: Data, params):
    """params [T, …] along SGD with a constant rate, as a training loop would have saved them."""
    total = len(data.y)

    def step(params, key):
        rows = jax.random.choice(key, total, (SGD_ROWS,))
        mean = lambda params: log_joint(model, params, Data(data.x[rows], data.y[rows]), num_total=total) / total
        return jax.tree.map(lambda leaf, slope: leaf + SGD_RATE * slope, params, jax.grad(mean)(params)), None

    def visit(params, keys):
        params, _ = jax.lax.scan(step, params, keys)
        return params, params

    return jax.lax.scan(visit, params, jax.random.split(key, (NUM_CHECKPOINTS, SGD_STEPS)))[1]


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


def temperature(logits: np.ndarray, y: np.ndarray) -> float:
    """argmin over T of the log loss of logits [N, K] / T."""
    from scipy.optimize import minimize_scalar

    loss = lambda log_t: -np.mean(log_softmax(logits / np.exp(log_t))[np.arange(len(y)), y])
    return float(np.exp(minimize_scalar(loss, bounds=(-4, 4), method="bounded").x))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """In float64, along the last axis."""
    return np.asarray(jax.nn.log_softmax(jnp.asarray(logits)), float)


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
    entropy = -np.sum(probs * np.log(np.maximum(probs, 1e-300)), axis=1)
    expected = -np.sum(np.exp(log_probs) * log_probs, axis=2).mean(0)
    measures = {"entropy": entropy, "mutual information": entropy - expected}
    known, auroc, caught, start = slice(len(y)), {}, {}, len(y)
    for name, size in sizes.items():
        for measure, value in measures.items():
            mine, others = value[known], value[start : start + size]
            auroc[name, measure] = area(mine, others)
            caught[name, measure] = float(np.mean(others > np.quantile(mine, 1 - ALARM)))
        start += size
    test = probs[known]
    loss = -np.mean(np.log(test[np.arange(len(y)), y]))
    return Score(float(np.mean(test.argmax(1) == y)), float(loss), *calibration_error(test, y), auroc, caught)


def area(known: np.ndarray, unknown: np.ndarray) -> float:
    """P(unknown > known) + ½ P(equal): the area under the ROC curve."""
    from scipy.stats import rankdata

    # differences of rounding alone are no order: a single draw has mutual information 0
    ranks = rankdata(np.round(np.concatenate([known, unknown]), 6))
    above = ranks[len(known) :].sum() - len(unknown) * (len(unknown) + 1) / 2
    return float(above / (len(known) * len(unknown)))


def calibration_error(probs: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Σ_b n_b/N |accuracy_b − confidence_b| over bins of the top confidence, and what it is on average when calibrated,
    Σ_b n_b/N √(2/π · p(1 − p)/n_b): it is never 0, so that it is shown beside."""
    weight, confidence, accuracy = bins(probs, y)
    spread = np.sqrt(2 / np.pi * confidence * (1 - confidence) / (weight * len(y)))
    return float(np.sum(weight * np.abs(accuracy - confidence))), float(np.sum(weight * spread))


def bins(probs: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(share of rows, mean confidence, accuracy) of each bin that is not empty; the last one is closed."""
    top, right = probs.max(1), probs.argmax(1) == y
    index = np.minimum((top * NUM_BINS).astype(int), NUM_BINS - 1)
    count = np.bincount(index, minlength=NUM_BINS)
    full = count > 0
    mean = lambda value: (np.bincount(index, value, NUM_BINS) / np.maximum(count, 1))[full]
    return np.stack([count[full] / len(y), mean(top), mean(right)])


def one_split(run, seed: int) -> tuple[dict[str, Score], dict[str, np.ndarray], np.ndarray]:
    """(scores, reliability bins by method, y) of one split."""
    split = split_digits(seed)
    x = np.concatenate([split.valid.x, split.test.x, *split.unknown.values()])
    found = {name: log_softmax(f) for name, f in run(jax.random.key(seed), split.train, x).items()}
    num_valid = len(split.valid.y)
    warm = temperature(found["MAP"][0, :num_valid], split.valid.y)
    found["MAP, temperature"] = log_softmax(found["MAP"] / warm)
    found = {name: found[name] for name in METHODS}
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
        share, confidence, accuracy = bins(probs[name], y)
        enough = share * len(y) >= LEAST_ROWS
        axes[0].plot(confidence[enough], accuracy[enough], "o-", color=colours[name], ms=4, lw=1.3, label=name)
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
