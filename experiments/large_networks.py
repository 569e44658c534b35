"""What works on networks of size? `python -m experiments.large_networks`

Every approximation on scikit-learn's bundled digits (1200 rows to learn from, 597 held out), for a fully connected
network of 100,250 parameters and a small convolutional one in Flax, at small settings: whether it runs, what it takes,
what its predictive says of the held-out rows. Methods that need a mode take the same trained one. What a method cannot
hold it says itself, below the table.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import probjax as pj
from experiments import output
from probjax import Data, Model

SEED = 0
ROWS = 1200  # to learn from
NUM_CLASSES = 10
FEW = 64  # rows that the dual form of Gauss–Newton, an N·K × P matrix, is given
CASES = ("dense", "convolutional")
TOLD = {"num_nonpositive", "converged"}  # what a method says of itself where its draws are not finite
LONG_FIT = partial(pj.optimize.adam, num_steps=600, learning_rate=3e-3)
NUMBER_NOISE = 0.5  # sd of a digit that is taken for a number


class Case(NamedTuple):
    """`test`: x [N, …] and labels [N]; `mode`: trained parameters; `last`: the last layer's name, None where it is
    known to be that; `regression`: the network with one output and normal noise, the digit taken for a number."""

    model: Model
    regression: Model
    data: Data
    test: tuple[np.ndarray, np.ndarray]
    mode: object
    last: str | None


class Result(NamedTuple):
    """Of the held-out rows: accuracy and the mean negative log predictive probability, nats a row; seconds with
    compilation; MiB that the compiled program holds. said: why there is none."""

    accuracy: float
    nll: float
    seconds: float
    mebibytes: float
    said: str = ""


def digits(image: bool) -> tuple[Data, tuple[np.ndarray, np.ndarray]]:
    """Rows in a random order: to learn from, and held out; [N, 64] or [N, 8, 8, 1], in [0, 1]."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(SEED).permutation(len(y))
    x, y = (x / 16.0).astype(np.float32)[order], y[order]
    x = x.reshape(-1, 8, 8, 1) if image else x
    return Data(jnp.asarray(x[:ROWS]), jnp.asarray(y[:ROWS])), (x[ROWS:], y[ROWS:])


def network(name: str, x, num_outputs: int = NUM_CLASSES):
    """64-320-240-10, or two convolutions of 8 and 16 channels and a dense layer, with dropout before it."""
    if name == "dense":
        return pj.mlp([64, 320, 240, num_outputs], activation=jax.nn.relu)
    from flax import linen

    class Small(linen.Module):
        @linen.compact
        def __call__(self, x):
            for channels in (8, 16):
                x = linen.relu(linen.Conv(channels, (3, 3), strides=2)(x))
            x = linen.Dropout(0.1, deterministic=True)(x.reshape(x.shape[0], -1))
            f = linen.Dense(num_outputs)(x)
            return f[..., 0] if num_outputs == 1 else f

    return pj.from_linen(Small(), x[:1])


def trained_case(name: str, key) -> Case:
    """The network with N(0, 0.3²) on its parameters, at a mode found by Adam."""
    data, test = digits(name == "convolutional")
    prior = pj.priors.normal(0.0, 0.3)
    model = Model(*network(name, data.x), prior=prior, likelihood=pj.likelihoods.categorical())
    noise = pj.likelihoods.normal(NUMBER_NOISE)
    regression = Model(*network(name, data.x, 1), prior=prior, likelihood=noise)
    posterior = jax.jit(lambda key: pj.map_estimate(key, model, data, fit=LONG_FIT))(key)
    mode = jax.tree.map(lambda leaf: leaf[0], posterior.draws)
    return Case(model, regression, data, test, mode, None if name == "dense" else "Dense_0")


def methods(case: Case) -> dict[str, tuple[Callable, Callable]]:
    """(method, how its draws predict) by name, at settings of seconds, not of minutes."""
    at = {"fit": pj.trained(case.mode)}
    short = {"fit": partial(pj.optimize.adam, num_steps=200, learning_rate=3e-3)}
    few = Data(case.data.x[:FEW], case.data.y[:FEW])
    draws, members = {"num_draws": 20}, {"num_members": 4}
    weighed = {**draws, "num_proposals": 100, "batch_size": 10}
    guide = {**draws, "num_steps": 300, "num_particles": 1}
    layered = case.last is None  # what Kronecker's factors need
    weighable = pj.laplace_kron if layered else pj.laplace_diagonal
    walk = {**draws, "num_warmup": 50, "thinning": 5, "batch_size": 200}
    swag = {**draws, "num_snapshots": 20, "num_warmup": 20, "batch_size": 200, "rank": 10}
    found = {
        "map_estimate": partial(pj.map_estimate, **at),
        "laplace": partial(pj.laplace, **draws, **at),
        "laplace_ggn (64 rows)": lambda key, model, data: pj.laplace_ggn(key, model, few, **draws, **at),
        "laplace_diagonal": partial(pj.laplace_diagonal, **draws, **at),
        "laplace_kron": partial(pj.laplace_kron, **draws, **at),
        "laplace_last_layer": partial(pj.laplace_last_layer, **draws, **at, layer=case.last),
        "importance_corrected": partial(pj.importance_corrected, method=partial(weighable, **at), **weighed),
        "mean_field": partial(pj.mean_field, **guide),
        "low_rank": partial(pj.low_rank, **guide),
        "full_rank": partial(pj.full_rank, **guide, learning_rate=1e-3),  # each step moves P²/2 numbers at once
        "iaf": partial(pj.iaf, **guide),
        "bnaf": partial(pj.bnaf, **guide),
        "stein": partial(pj.stein, num_particles=6, num_steps=100),
        "dropout": partial(pj.dropout, **draws, num_steps=300, num_masks=1, learning_rate=3e-3),
        "dropout, Gaussian": partial(
            pj.dropout, **draws, num_steps=300, num_masks=1, learning_rate=3e-3, mask=pj.gaussian_mask
        ),
        "ensemble": partial(pj.ensemble, **members, **short),
        "anchored": partial(pj.anchored, **members, **short),
        "randomised_map": partial(pj.randomised_map, **members, **short),
        "bootstrap": partial(pj.bootstrap, **members, **short),
        "sgld": partial(pj.sgld, **walk, **at),
        "sghmc": partial(pj.sghmc, **walk, **at),
        "swag": partial(pj.swag, **swag, **at),
        "multi_swag": partial(pj.multi_swag, num_members=2, **swag, **short),
    }
    sampled = {name: (method, partial(pj.predict, batch_size=4)) for name, method in found.items()}
    # a Gauss–Newton posterior is that of the network made linear at its mode
    kin = ("laplace_ggn (64 rows)", "laplace_diagonal", "laplace_kron")
    sampled |= {f"{name}, linearised": (found[name], pj.predict_linearised) for name in kin}
    last = partial(pj.neural_linear, **draws, fit=LONG_FIT, layer=case.last)
    number = lambda key, model, data: last(key, case.regression, Data(data.x, data.y.astype(data.x.dtype)))
    return sampled | {"neural_linear (digit as number)": (number, partial(predict_rounded, case.regression))}


def predict_rounded(regression: Model, model: Model, posterior: pj.Posterior, x) -> jax.Array:
    """log P(y rounds to k), y ~ N(f, NUMBER_NOISE²), what is off the scale counted at its ends: [S, N, 10]."""
    f = pj.predict(regression, posterior, x, batch_size=4) / NUMBER_NOISE
    cutpoints = (jnp.arange(NUM_CLASSES - 1, dtype=f.dtype) + 0.5) / NUMBER_NOISE
    of_rank = lambda f, k: pj.likelihoods.ordinal("probit").log_prob(
        jnp.full(len(f), k), (f, jnp.broadcast_to(cutpoints, (len(f), NUM_CLASSES - 1)))
    )
    return jax.vmap(lambda f: jnp.stack([of_rank(f, k) for k in range(NUM_CLASSES)], axis=1))(f)


def run(case: Case, method: Callable, predict: Callable, key) -> Result:
    """The method and its predictive as one program."""
    x, labels = case.test

    def one(key):
        posterior = method(key, case.model, case.data)
        logits = predict(case.model, posterior, jnp.asarray(x))
        log_probs = jax.nn.logsumexp(jax.nn.log_softmax(logits), axis=0) - jnp.log(len(logits))
        return log_probs, {name: posterior.info[name] for name in TOLD & set(posterior.info)}

    start = time.perf_counter()
    try:
        compiled = jax.jit(one).lower(key).compile()
    except (pj.NotApplicable, ValueError) as error:
        return Result(np.nan, np.nan, np.nan, np.nan, str(error))
    log_probs, says = jax.device_get(compiled(key))
    seconds, plan = time.perf_counter() - start, compiled.memory_analysis()
    mebibytes = np.nan if plan is None else (plan.temp_size_in_bytes + plan.output_size_in_bytes) / 2**20
    if not np.isfinite(log_probs).all():
        told = ", ".join(f"{name} {value}" for name, value in says.items())
        said = f"its draws are not finite; it says: {told or 'nothing'}"
        return Result(np.nan, np.nan, seconds, mebibytes, said)
    loss = -log_probs[np.arange(len(labels)), labels].mean()
    return Result(float((log_probs.argmax(1) == labels).mean()), float(loss), seconds, mebibytes)


def print_table(found: dict[tuple[str, str], Result]) -> None:
    """One row a method and network."""
    cell = lambda value, form: "" if np.isnan(value) else format(value, form)
    rows = [
        [method, case, cell(r.accuracy, ".1%"), cell(r.nll, ".3f"), cell(r.seconds, ".1f"), cell(r.mebibytes, ".0f")]
        for (method, case), r in found.items()
    ]
    output.table("Digits, 597 rows held out", ["method", "network", "accuracy", "nats a row", "seconds", "MiB"], rows)
    for (method, case), r in found.items():
        if r.said:
            print(f"{method}, {case} network: {r.said}")


def save_figure(found: dict[tuple[str, str], Result], path: Path) -> Path:
    """Negative log predictive, a row a method, the best on top."""
    figure, axes = output.panels(len(CASES), height=6.0, width=6.2)
    for ax, case in zip(axes, CASES):
        shown = {method: r for (method, c), r in found.items() if c == case and np.isfinite(r.nll)}
        best_first = sorted(shown, key=lambda method: shown[method].nll)
        for index, r in enumerate(shown[method] for method in best_first):
            ax.plot(r.nll, index, "o", color=output.COLOURS[0], ms=6)
            ax.text(
                1.01,
                index,
                f"{r.nll:.3f}   {r.accuracy:6.1%}",
                va="center",
                fontsize=8,
                transform=ax.get_yaxis_transform(),
            )
        ax.axvline(np.log(10), color=output.EXACT, lw=1, ls="--", label="log 10: ten classes, nothing known")
        ax.set_yticks(range(len(best_first)), best_first, fontsize=8)
        ax.invert_yaxis()
        ax.grid(axis="y", lw=0.4, alpha=0.6)
        ax.set_xscale("log")
        ticks = [t for t in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10) if ax.get_xlim()[0] < t < ax.get_xlim()[1]]
        ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
        ax.set_xticks([], minor=True)
        ax.set(title=f"{case} network", xlabel="−log predictive, nats a row; at the right with accuracy")
    axes[0].legend(frameon=False, fontsize=8, loc="upper right")
    return output.save(figure, path)


def main(out: Path, seed: int = SEED) -> Path:
    """Table and figure; returns the figure's path."""
    found = {}
    for index, name in enumerate(CASES):
        fit_key, *keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), index), 40)
        case = trained_case(name, fit_key)
        for key, (method, (function, predict)) in zip(keys, methods(case).items()):
            found[method, name] = run(case, function, predict, key)
            jax.clear_caches()
    print_table(found)
    return save_figure(found, out / "large_networks.png")


if __name__ == "__main__":
    output.command(main, __doc__, SEED)
