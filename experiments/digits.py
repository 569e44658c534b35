"""What the experiments on digits share: known and unknown ones, a Flax network, and how probabilities are scored."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from sklearn.datasets import load_digits

from probjax import Data, Model, from_nnx, likelihoods, log_joint, optimize, priors

NUM_CLASSES, NUM_VALID = 8, 200  # digits 0–7; rows of the training half that set the temperature alone
PRIOR_SCALE = 1.0
NUM_CHECKPOINTS = 40
SGD_RATE, SGD_ROWS, SGD_STEPS = 0.1, 50, 20  # of the mean log joint; rows of a batch, steps between checkpoints
NUM_BINS = 10  # of the calibration error
UNKNOWN = ("8 and 9", "shuffled")


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


def split_digits(seed: int, *, num_valid: int = NUM_VALID) -> Split:
    """Half to train on and to set the temperature, half to test; pixels in [0, 1]."""
    rng = np.random.default_rng(seed)
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    known = rng.permutation(np.flatnonzero(y < NUM_CLASSES))
    half = len(known) // 2
    parts = np.split(known, [half - num_valid, half])
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


def temperature(logits: jax.Array, y: jax.Array) -> jax.Array:
    """argmin over T of the log loss of logits [N, K] / T: a scalar."""
    loss = lambda log_t: -jnp.mean(likelihoods.categorical().log_prob(y, logits / jnp.exp(log_t)))
    log_t, _ = optimize.lbfgs(loss, jnp.zeros((), logits.dtype))
    return jnp.exp(log_t)


def entropy(probs: np.ndarray) -> np.ndarray:
    """−Σ p log p of the last axis, nats; a class of probability 0 adds nothing."""
    return -np.sum(probs * np.log(np.maximum(probs, 1e-300)), axis=-1)


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
