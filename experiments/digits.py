"""What the experiments on digits share: known and unknown ones, a Flax network, and how its forecasts are mended and
scored."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from sklearn.datasets import load_digits

from probjax import Data, Model, calibration, from_logits, from_nnx, likelihoods, log_joint, priors, recalibration

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


def inverse_temperature(logits: jax.Array, y: np.ndarray) -> jax.Array:
    """1/T of the temperature that suits logits [N, K] best; not traceable."""
    return recalibration.temperature(from_logits(logits), y).params.inverse_temperature


def top_label_error(probs: np.ndarray, y: np.ndarray) -> calibration.CalibrationError:
    """Of the most likely class, in bins of equal width."""
    return calibration.top_label_error(probs, y, num_bins=NUM_BINS, bins="equal_width")
