"""How long does an exact lasso take, against scikit-learn's coordinate descent, at equal duality gap?

    python -m experiments.lasso_against_scikit_learn

Single fits and paths of 100 penalties. Each pair runs interleaved in one process, compilation apart. scikit-learn is
run at its default tolerance and at one that is lowered until its duality gap is at most `GAP` of the objective; ours
ends far below either. XLA calls LAPACK, whose threads wait for each other on two cores: they are held to one.
"""

from __future__ import annotations

import time
import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from probjax import Data, Model, glm, glm_path, likelihoods, linear, priors, regularisers

REPEATS, PAUSE, GAP, LENGTH = 7, 0.2, 1e-9, 100


class Case(NamedTuple):
    """num_data, num_inputs: n and p; fraction: of the least penalty that leaves no coefficient."""

    num_data: int
    num_inputs: int
    fraction: float
    path_end: float


CASES = (
    Case(100_000, 50, 0.1, 1e-3),
    Case(2000, 200, 0.1, 1e-3),
    Case(1000, 500, 0.05, 1e-2),
    Case(500, 2000, 0.2, 0.1),
)


def data_of(case: Case, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    """Columns correlated at ½ with their neighbours, one weight in twenty not 0; and the least alpha that leaves
    none."""
    x = rng.standard_normal((case.num_data, case.num_inputs))
    for j in range(1, case.num_inputs):
        x[:, j] = 0.5 * x[:, j - 1] + np.sqrt(0.75) * x[:, j]
    weight = np.zeros(case.num_inputs)
    weight[rng.permutation(case.num_inputs)[: max(5, case.num_inputs // 20)]] = 2.0
    y = x @ weight + rng.standard_normal(case.num_data)
    return x, y, float(np.abs((x - x.mean(0)).T @ (y - y.mean())).max() / case.num_data)


def model_at(num_inputs: int):
    """b -> the lasso with that Laplace scale, under noise of scale 1."""
    network, noise = linear(num_inputs), likelihoods.normal(1.0)
    return lambda b: Model(
        *network, prior=priors.joint(weight=priors.laplace(0.0, b), bias=priors.flat()), likelihood=noise
    )


def tolerance_of(x, y, alpha) -> float:
    """scikit-learn's `tol` at which its gap is small enough."""
    from sklearn.linear_model import Lasso

    for tolerance in 10.0 ** -np.arange(4, 16):
        peer = Lasso(alpha=alpha, tol=tolerance, max_iter=1_000_000).fit(x, y)
        loss = 0.5 * np.mean((y - peer.predict(x)) ** 2) + alpha * np.abs(peer.coef_).sum()
        if peer.dual_gap_ <= GAP * loss:
            return tolerance
    return tolerance


def seconds(work) -> float:
    """Of one call, after a pause for other threads to come to rest."""
    time.sleep(PAUSE)
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(case: Case) -> list[list[str]]:
    """Two rows of the table: a single fit and a path."""
    from sklearn.linear_model import Lasso
    from threadpoolctl import threadpool_limits

    x, y, top = data_of(case, np.random.default_rng(0))
    data, key, alpha = Data(jnp.asarray(x), jnp.asarray(y)), jax.random.key(0), case.fraction * top
    tight = tolerance_of(x, y, alpha)
    build = model_at(case.num_inputs)
    to_scale = lambda a: regularisers.sklearn_lasso_to_laplace(a, 1.0, case.num_data)
    model = build(to_scale(alpha))
    alphas = np.geomspace(0.999 * top, case.path_end * top, LENGTH)
    scales = jnp.asarray([to_scale(a) for a in alphas])
    fit = lambda a, tol: Lasso(alpha=a, tol=tol, max_iter=1_000_000).fit(x, y)
    loop = lambda tol: [fit(a, tol) for a in alphas]
    run = jax.jit(lambda key, data: glm(key, model, data))
    run_path = jax.jit(lambda key, data: glm_path(key, build, data, values=scales))
    single, path = (lambda f=f: jax.block_until_ready(f(key, data)) for f in (run, run_path))
    with threadpool_limits(1, "blas"):
        single_compile, path_compile = seconds(single), seconds(path)
        times = np.array([[seconds(lambda: fit(alpha, tight)), seconds(lambda: fit(alpha, 1e-4)), seconds(single)]
                          for _ in range(REPEATS)])  # fmt: skip
        path_times = np.array([[seconds(lambda: loop(tight)), seconds(lambda: loop(1e-4)), seconds(path)]
                               for _ in range(max(2, REPEATS // 2))])  # fmt: skip
    ours, peer = single(), fit(alpha, tight)
    found, theirs = path(), fit(alphas[-1], 1e-4)
    name = f"{case.num_data:,} × {case.num_inputs}"
    gaps = lambda fit_, info: [f"{fit_.dual_gap_ * case.num_data:.0e}", f"{float(jnp.max(info['gap'])):.0e}"]
    kept = f"{int((ours.draws['weight'] != 0).sum())} of {case.num_inputs} not 0"
    return [
        [name, kept, *told(times), *gaps(peer, ours.info), f"{single_compile:.1f}"],
        [name, f"path of {LENGTH}", *told(path_times), *gaps(theirs, found.info), f"{path_compile:.1f}"],
    ]


def told(times: np.ndarray) -> list[str]:
    """Medians, and the ratios to ours with their range."""
    tight, loose, ours = np.median(times, axis=0)
    ratios = times[:, :2] / times[:, 2:]
    spread = lambda i: f"{ratios[:, i].min():.1f}–{ratios[:, i].max():.1f}"
    ranges = [f"{tight / ours:.1f} ({spread(0)})", f"{loose / ours:.1f} ({spread(1)})"]
    return [f"{tight:.4f}", f"{loose:.4f}", f"{ours:.4f}", *ranges]


def main() -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    jax.config.update("jax_enable_x64", True)
    warnings.filterwarnings("ignore")
    table = Table(title="lasso: seconds, medians of interleaved runs", title_justify="left")
    for column in ("n × p", "what", "equal gap", "default tol", "probjax", "ratio at equal gap", "ratio at default",
                   "gap, theirs", "ours", "compile"):  # fmt: skip
        table.add_column(column)
    for case in CASES:
        for row in compare(case):
            table.add_row(*row)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
