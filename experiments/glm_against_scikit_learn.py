"""How long does the mode of a generalised linear model take, against scikit-learn, at equal stationarity?

    python -m experiments.glm_against_scikit_learn

n = 100,000 rows, 50 columns. Each pair runs interleaved in one process; ours stops at the largest gradient that
scikit-learn reached, compilation apart (it is paid once for all data of one shape).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

NUM_ROWS, NUM_COLUMNS, NUM_CLASSES, REPEATS, PAUSE = 100_000, 50, 10, 7, 0.3


class Pair(NamedTuple):
    """peer: a scikit-learn estimator. likelihood: its counterpart. slow: the peer is run once."""

    name: str
    x: np.ndarray
    y: np.ndarray
    peer: Any
    likelihood: Any
    prior_scale: float | None
    num_outputs: int | None = None
    slow: bool = False


def pairs(rng: np.random.Generator) -> list[Pair]:
    """The problems: independent columns, and columns correlated at 0.9 with scales from 0.1 to 10."""
    from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor

    from probjax import likelihoods

    x = rng.standard_normal((NUM_ROWS, NUM_COLUMNS))
    weight = 2 * rng.standard_normal(NUM_COLUMNS) / np.sqrt(NUM_COLUMNS)
    scales = np.geomspace(0.1, 10, NUM_COLUMNS)
    mix = np.linalg.cholesky(0.9 * np.ones((NUM_COLUMNS,) * 2) + 0.1 * np.eye(NUM_COLUMNS))
    hard = (rng.standard_normal((NUM_ROWS, NUM_COLUMNS)) @ mix.T) * scales
    coin = lambda eta: (rng.uniform(size=NUM_ROWS) < 1 / (1 + np.exp(-eta))).astype(float)
    easy_y, hard_y = coin(x @ weight), coin(hard @ (0.3 * rng.standard_normal(NUM_COLUMNS) / scales))
    logits = x @ (2 * rng.standard_normal((NUM_COLUMNS, NUM_CLASSES)) / np.sqrt(NUM_COLUMNS))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    counts = rng.poisson(np.exp(0.3 * x @ weight)).astype(float)
    reals = x @ weight + rng.standard_normal(NUM_ROWS)
    newton, default = LogisticRegression(solver="newton-cholesky"), LogisticRegression(max_iter=20_000)
    bernoulli, softmax = likelihoods.bernoulli(), likelihoods.categorical()
    poisson = PoissonRegressor(alpha=0, max_iter=1000)
    return [
        Pair("logistic, independent columns", x, easy_y, LogisticRegression(), bernoulli, 1.0),
        Pair("logistic, hard columns, newton-cholesky", hard, hard_y, newton, bernoulli, 1.0),
        Pair("logistic, hard columns, default", hard, hard_y, default, bernoulli, 1.0, slow=True),
        Pair("poisson", x, counts, poisson, likelihoods.poisson(), None),
        Pair("softmax, 10 classes", x, labels, LogisticRegression(), softmax, 1.0, NUM_CLASSES),
        Pair("least squares", x, reals, LinearRegression(), likelihoods.normal(1.0), None),
    ]


def main() -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    jax.config.update("jax_enable_x64", True)
    warnings.filterwarnings("ignore")
    table = Table(title="seconds to the mode, median of interleaved runs", title_justify="left")
    for column in ("problem", "scikit-learn", "probjax", "ratio", "its range", "max|∇|/n, theirs", "ours", "compile"):
        table.add_column(column)
    for pair in pairs(np.random.default_rng(0)):
        table.add_row(pair.name, *compare(pair))
    Console().print(table)


def compare(pair: Pair) -> list[str]:
    """One row of the table."""
    from probjax import Data, Model, glm, linear, priors

    weight = priors.flat() if pair.prior_scale is None else priors.normal(0.0, pair.prior_scale)
    prior = priors.flat() if pair.prior_scale is None else priors.joint(weight=weight, bias=priors.flat())
    model = Model(*linear(NUM_COLUMNS, pair.num_outputs), prior=prior, likelihood=pair.likelihood)
    data = Data(jnp.asarray(pair.x), jnp.asarray(pair.y))
    fit_peer = lambda: pair.peer.fit(pair.x, pair.y)
    first_peer = seconds(fit_peer)
    reached = stationarity(model, data, pair.peer)
    key = jax.random.key(0)
    run = jax.jit(lambda key, data, tolerance: glm(key, model, data, tolerance=tolerance))
    fit = lambda: jax.block_until_ready(run(key, data, max(reached, 1e-12)))
    compiling = seconds(fit)
    theirs, ours = [first_peer] if pair.slow else [], []
    for _ in range(REPEATS):
        if not pair.slow:
            theirs.append(seconds(fit_peer))
        ours.append(seconds(fit))
    ratios = np.divide(theirs if len(theirs) > 1 else theirs * REPEATS, ours)
    own = float(run(key, data, max(reached, 1e-12)).info["grad_norm"]) / NUM_ROWS
    times = [f"{np.median(theirs):.3f}", f"{np.median(ours):.3f}", f"{np.median(theirs) / np.median(ours):.1f}"]
    return [*times, f"{ratios.min():.1f}–{ratios.max():.1f}", f"{reached:.1e}", f"{own:.1e}", f"{compiling:.1f}"]


def stationarity(model, data, peer) -> float:
    """max|∇ log joint| / n at the peer's coefficients."""
    from probjax import log_joint

    shape = jax.eval_shape(model.init, jax.random.key(0))
    params = {
        "weight": jnp.asarray(peer.coef_).T.reshape(shape["weight"].shape),
        "bias": jnp.asarray(peer.intercept_).reshape(shape["bias"].shape),
    }
    slopes = jax.grad(lambda params: log_joint(model, params, data))(params)
    return max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(slopes)) / NUM_ROWS


def seconds(work: Callable[[], Any]) -> float:
    """Of one call, after a pause: the threads of the other's BLAS go on spinning for a while after its work."""
    time.sleep(PAUSE)
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
