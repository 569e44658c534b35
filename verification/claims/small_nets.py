"""Many small networks trained in one program, on the data sets that come with scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from probjax.axis import over_leading_axis

INPUTS, CLASSES = 64, 10  # smaller sets are padded to these, so that all share one program
WIDTH, BATCH, STEPS, RATE = 32, 32, 500, 5e-3
ABSENT = -1e9  # added to the logit of a class that a set lacks: its probability is exactly 0


class Split(NamedTuple):
    """x [N, 64], labels [N]; the columns of the training rows have mean 0 and sd 1. num_classes: of the set."""

    x: np.ndarray
    labels: np.ndarray
    test_x: np.ndarray
    test_labels: np.ndarray
    num_classes: int


class Recipe(NamedTuple):
    """What differs between networks, each a number or [R]. decay: λ of λ/2 · Σ weight². batch_norm: 1 normalises the
    hidden layers by their batch, 0 does not. dropout: the rate of hidden units. temperature: T of the softmax that is
    trained."""

    decay: np.ndarray = 0.0
    batch_norm: np.ndarray = 0.0
    dropout: np.ndarray = 0.0
    temperature: np.ndarray = 1.0


def _loaded(name):
    from sklearn import datasets

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    return x, y


def _breast_cancer():
    return _loaded("breast_cancer")


def _wine():
    return _loaded("wine")


def _iris():
    return _loaded("iris")


def _digits():
    return _loaded("digits")


def _odd_digits():
    x, y = _loaded("digits")
    return x, y % 2


def _diabetes():
    """Whether the disease progresses faster than the median."""
    x, y = _loaded("diabetes")
    return x, (y > np.median(y)).astype(int)


SETS: dict[str, Callable] = {
    "breast cancer": _breast_cancer,
    "wine": _wine,
    "iris": _iris,
    "digits": _digits,
    "odd digits": _odd_digits,
    "diabetes": _diabetes,
}


def split(rng: np.random.Generator, name: str, num_train: int | None = None) -> Split:
    """A random half, or `num_train` rows, to train on; the rest to test."""
    x, labels = SETS[name]()
    order = rng.permutation(len(labels))
    train, test = np.split(order, [min(num_train or len(labels) // 2, len(labels) // 2)])
    mean, sd = x[train].mean(0), x[train].std(0)
    x = (x - mean) / np.where(sd > 0, sd, 1.0)
    x = np.pad(x, ((0, 0), (0, INPUTS - x.shape[1]))).astype(np.float32)
    return Split(x[train], labels[train], x[test], labels[test], int(labels.max()) + 1)


def one_hot(labels: np.ndarray) -> np.ndarray:
    """[..., 10]."""
    return np.eye(CLASSES, dtype=np.float32)[labels]


def smoothed(targets: np.ndarray, epsilon: float) -> np.ndarray:
    """(1 − ε) · target + ε/K."""
    return (1 - epsilon) * targets + np.float32(epsilon / CLASSES)


def stacked(parts: list[np.ndarray], least: int = 0) -> np.ndarray:
    """[R, N, …]: arrays of unlike numbers of rows, filled up with zeros to the longest, or to `least`."""
    most = max(least, *(len(part) for part in parts))
    return np.stack([np.pad(part, ((0, most - len(part)), *[(0, 0)] * (part.ndim - 1))) for part in parts])


def train(rng, x: list, targets: list, recipe: Recipe, num_classes=CLASSES, least: int = 0):
    """Networks 64-32-32-10 (relu), one for each x [N, 64] and targets [N, 10], by Adam on batches of 32 rows.
    Calls of equal R and N (made equal by `least`) share one program.

    Returns:
        What `logits` takes: weights and the statistics of the hidden layers over all training rows, each [R, …].
    """
    number, rows = len(x), np.array([len(part) for part in x])
    keys = jax.random.split(jax.random.key(int(rng.integers(2**31))), number)
    spread = lambda value: np.broadcast_to(np.asarray(value, np.float32), (number,))
    absent = np.where(np.arange(CLASSES) < np.broadcast_to(num_classes, (number,))[:, None], 0, ABSENT)
    recipe = Recipe(*map(spread, recipe))
    return _train(keys, stacked(x, least), stacked(targets, least), rows, recipe, absent.astype(np.float32))


def logits(nets, x) -> np.ndarray:
    """[R, Q, 10] at x [R, Q, 64]."""
    return np.asarray(_logits(nets, jnp.asarray(x)), float)


def dropped(rng, nets, x, rate: float, num_passes: int) -> np.ndarray:
    """[S, R, Q, 10]: passes that drop hidden units at random, the same for all rows of a pass."""
    keys = jax.random.split(jax.random.key(int(rng.integers(2**31))), len(x))
    return np.moveaxis(np.asarray(_dropped(keys, nets, jnp.asarray(x), rate, jnp.arange(num_passes)), float), 1, 0)


@jax.jit
def _train(keys, x, targets, rows, recipe, absent):
    return over_leading_axis(_train_one, keys, x, targets, rows, recipe, absent)


@jax.jit
def _logits(nets, x):
    return over_leading_axis(_outputs, nets, x)


@jax.jit
def _dropped(keys, nets, x, rate, passes):
    def one(key, net, x):
        keys = jax.vmap(lambda s: jax.random.fold_in(key, s))(passes)
        return jax.lax.map(lambda key: _outputs(net, x, _mask(key, rate)), keys)

    return over_leading_axis(one, keys, nets, x)


class _Net(NamedTuple):
    params: list
    statistics: list
    batch_norm: jax.Array
    absent: jax.Array


def _outputs(net, x, mask=None):
    return _forward(net.params, x, net.batch_norm, net.statistics, mask)[0] + net.absent


def _train_one(key, x, targets, rows, recipe, absent):
    init_key, step_key = jax.random.split(key)
    optimiser = optax.adam(optax.cosine_decay_schedule(RATE, STEPS))

    def loss(params, key):
        row_key, mask_key = jax.random.split(key)
        batch = jax.random.randint(row_key, (BATCH,), 0, rows)
        f, _ = _forward(params, x[batch], recipe.batch_norm, mask=_mask(mask_key, recipe.dropout))
        nll = optax.softmax_cross_entropy((f + absent) / recipe.temperature, targets[batch])
        return jnp.mean(nll) + recipe.decay / 2 * sum(jnp.sum(layer["weight"] ** 2) for layer in params)

    def step(carry, key):
        params, state = carry
        updates, state = optimiser.update(jax.grad(loss)(params, key), state)
        return (optax.apply_updates(params, updates), state), None

    start = _init(init_key)
    (params, _), _ = jax.lax.scan(step, (start, optimiser.init(start)), jax.random.split(step_key, STEPS))
    real = (jnp.arange(len(x)) < rows).astype(jnp.float32)
    _, statistics = _forward(params, x, recipe.batch_norm, weight=real / jnp.sum(real))
    return _Net(params, statistics, recipe.batch_norm, absent)


def _init(key):
    sizes = (INPUTS, WIDTH, WIDTH, CLASSES)
    layer = lambda key, a, b: {
        "weight": jax.random.normal(key, (a, b), jnp.float32) * jnp.float32((2 / a) ** 0.5),
        "scale": jnp.ones(b, jnp.float32),
        "bias": jnp.zeros(b, jnp.float32),
    }
    return [layer(k, a, b) for k, a, b in zip(jax.random.split(key, 3), sizes, sizes[1:])]


def _forward(params, x, batch_norm, statistics=None, mask=None, weight=None):
    """(logits, statistics): hidden layers normalised by those given, or else by those of the rows (of these weights).
    mask: of hidden units, [2, 32]."""
    seen = []
    for index, layer in enumerate(params[:-1]):
        x = x @ layer["weight"]
        mean, sd = _moments(x, weight) if statistics is None else statistics[index]
        seen.append((mean, sd))
        x = jnp.where(batch_norm > 0, layer["scale"] * (x - mean) / sd, x) + layer["bias"]
        x = jax.nn.relu(x) if mask is None else jax.nn.relu(x) * mask[index]
    return x @ params[-1]["weight"] + params[-1]["bias"], seen


def _mask(key, rate):
    """One for all rows of a pass."""
    return (jax.random.uniform(key, (2, WIDTH), jnp.float32) >= rate) / (1 - rate)


def _moments(x, weight):
    mean = jnp.average(x, axis=0, weights=weight)
    return mean, jnp.sqrt(jnp.average((x - mean) ** 2, axis=0, weights=weight) + 1e-5)
