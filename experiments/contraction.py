"""Does uncertainty shrink as data come in? `python -m experiments.contraction`

y = 2x + N(0, 1), a weight of prior N(0, 1), n from 10 to 10⁶ rows; the sd of f at x = 1. The exact posterior's falls as
n^−½, to 0.001. That of MC dropout, √((1 − q)/q) |w| with w the adaptive-ridge solution (Wager, Wang & Liang 2013),
tends to 0.92 at the keep probability q = 0.7: it is set by the rate and the weight, not by what the data leave open.
Plain ensembles are at 0 for every n. Anchored ones fall as 1/n, which is too fast, randomised MAP and Laplace
are right. SWAG falls with n where its batches grow with n, and stands still where their size is fixed: it measures
the noise of its own gradients.

Gaussian likelihoods see the rows through XᵀX and Xᵀy alone (of the rest, the score noise of randomised MAP is N(0, XᵀX)
too), so that all methods but SWAG are given the two rows of the QR factor of [X y] in the place of n.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments import output
from probjax import (
    Data,
    Model,
    anchored,
    dropout,
    ensemble,
    laplace,
    likelihoods,
    linear,
    over_leading_axis,
    priors,
    randomised_map,
    swag,
)
from verification.exact import sgd
from verification.exact.conjugate import LinearGaussian
from verification.limits.dropout import adaptive_ridge

SEED = 0
SIZES = tuple(10**k for k in range(1, 7))
SLOPE, NOISE, PRIOR = 2.0, 1.0, 1.0
RATE = 0.3  # of dropping: q = 0.7
NUM_DRAWS = 4000
NUM_MEMBERS = 1000
NUM_SNAPSHOTS, RANK = 2000, 200  # of SWAG
BATCH = 10  # rows of SWAG's minibatch where it is fixed
SWAG_SIZES = (10, 1000, 1_000_000)  # where the method itself is run
METHODS: dict[str, Callable] = {
    "Laplace": partial(laplace, num_draws=NUM_DRAWS),
    "MC dropout": partial(dropout, rate=RATE, num_draws=NUM_DRAWS),
    "plain ensemble": partial(ensemble, num_members=16),
    "anchored ensemble": partial(anchored, num_members=NUM_MEMBERS),
    "randomised MAP": partial(randomised_map, num_members=NUM_MEMBERS),
}
SWAGS: dict[str, Callable] = {
    "SWAG, batch n/10": lambda n: -(-n // 10),
    f"SWAG, batch {BATCH}": lambda n: min(n, BATCH),
}
STEP = 0.1  # SWAG's default step times the largest curvature
POINT = 1e-8  # below this an sd is that of rounding


def rows(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """x, y [10⁶]; a smaller data set is their beginning."""
    x = rng.standard_normal(SIZES[-1])
    return x, SLOPE * x + NOISE * rng.standard_normal(len(x))


def compressed(x: np.ndarray, y: np.ndarray) -> Data:
    """Two rows of the same XᵀX, Xᵀy and yᵀy: R of [X y] = QR."""
    upper = np.linalg.qr(np.column_stack([x, y]), mode="r")
    return Data(jnp.asarray(upper[:, :1]), jnp.asarray(upper[:, 1]))


def line() -> Model:
    """f = wx."""
    return Model(*linear(1, bias=False), prior=priors.normal(0.0, PRIOR), likelihood=likelihoods.normal(NOISE))


def closed_forms(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """sd of f(1) by formula. Exact: Σ^½, Σ = (XᵀX/σ² + 1/τ²)⁻¹; anchored: Σ/τ; dropout: √((1 − q)/q) |w|; SWAG: the
    stationary sd of its SGD, of step 0.1 Σ."""
    line = LinearGaussian(("f(1)",), x[:, None], y, NOISE, PRIOR, np.eye(1), x[:1, None], y[:1])
    precision = line.posterior[1]
    sd = float(precision[0, 0] ** -0.5)
    w = abs(adaptive_ridge(line, 1 - RATE)[0])
    found = {
        "exact posterior": sd,
        "Laplace": sd,
        "MC dropout": float(np.sqrt(RATE / (1 - RATE)) * w),
        "plain ensemble": 0.0,
        "anchored ensemble": sd**2 / PRIOR,
        "randomised MAP": sd,
    }
    for name, batch in SWAGS.items():
        noise = sgd.gradient_noise(line, batch(len(x)))
        found[name] = float(np.sqrt(sgd.stationary(sgd.descent(precision, STEP * sd**2, noise))[0, 0]))
    return found


def measured(key: jax.Array, x: np.ndarray, y: np.ndarray) -> dict[tuple[str, int], float]:
    """(method, n) -> sd of f(1) over its draws."""
    spread = lambda method: lambda key, data: jnp.std(method(key, line(), data).draws["weight"][:, 0], ddof=1)
    small = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(compressed(x[:n], y[:n]) for n in SIZES))
    keys, found = jax.random.split(key, len(METHODS) + 1), {}
    for method_key, (name, method) in zip(keys, METHODS.items()):
        run = jax.jit(partial(over_leading_axis, spread(method)))
        found.update(zip(((name, n) for n in SIZES), map(float, run(jax.random.split(method_key, len(SIZES)), small))))
    for n in SWAG_SIZES:
        for name, batch in SWAGS.items():
            mode = closed_mode(x[:n], y[:n])
            method = partial(
                swag,
                num_draws=NUM_DRAWS,
                num_snapshots=NUM_SNAPSHOTS,
                rank=RANK,
                batch_size=batch(n),
                start=mode,
            )
            if batch(n) <= 1000:  # a step of SWAG gathers its batch
                data = Data(jnp.asarray(x[:n, None]), jnp.asarray(y[:n]))
                found[name, n] = float(jax.jit(spread(method))(keys[-1], data))
    return found


def closed_mode(x: np.ndarray, y: np.ndarray) -> dict[str, jax.Array]:
    """Params at the posterior mode."""
    return {"weight": jnp.asarray([x @ y / (x @ x + NOISE**2 / PRIOR**2)])}


def slope(sd: list[float]) -> float:
    """Of log sd against log n, by least squares, n ≥ 100."""
    return float(np.polyfit(np.log(SIZES[1:]), np.log(sd[1:]), 1)[0])


def print_table(exact: list[dict[str, float]], found: dict[tuple[str, int], float]) -> None:
    """Two rows a method: by formula and by its draws."""
    lines, shown = [], lambda sd: "0" if sd == 0 else f"{sd:.2g}" if sd < 0.01 else f"{sd:.3f}"
    for name in exact[0]:
        law = [each[name] for each in exact]
        lines.append([name, "formula", *map(shown, law), "none" if max(law) < POINT else f"{slope(law):+.2f}"])
        ran = [found.get((name, n)) for n in SIZES]
        if any(sd is not None for sd in ran):
            whole = None not in ran and min(ran) > POINT
            told = ["" if sd is None else f"< {POINT:.0e}" if sd < POINT else shown(sd) for sd in ran]
            lines.append(["", "run", *told, f"{slope(ran):+.2f}" if whole else ""])
    title = (
        f"sd of f at x = 1, y = {SLOPE:g}x + N(0, {NOISE:g}²), keep probability {1 - RATE:g}; slope of log sd, n ≥ 100"
    )
    output.table(title, ["", "", *(f"n = 10^{round(np.log10(n))}" for n in SIZES), "slope"], lines)


def save_figure(exact: list[dict[str, float]], found: dict[tuple[str, int], float], path: Path) -> None:
    """Lines by formula, dots by the methods' draws."""
    figure, (ax,) = output.panels(1, height=4.8, width=8.0)
    names = ["MC dropout", "SWAG, batch 10", "SWAG, batch n/10", "anchored ensemble", "randomised MAP", "Laplace"]
    ax.loglog(SIZES, [each["exact posterior"] for each in exact], color=output.EXACT, lw=4, label="exact posterior")
    markers = ("o", "s", "D", "^", "x", "+")
    for name, colour, marker in zip(names, output.COLOURS[1:] + output.COLOURS[:1], markers):
        law = [each[name] for each in exact]
        if name not in ("randomised MAP", "Laplace"):  # theirs is the exact one
            ax.loglog(SIZES, law, color=colour, lw=1.8)
        ran = [(n, found[name, n]) for n in SIZES if (name, n) in found]
        ax.plot(*zip(*ran), marker, color=colour, ms=7, mew=1.8, label=name, zorder=3)
    ax.set(xlabel="n, rows", ylabel="sd of f at x = 1", title="Lines: formulas. Marks: the methods' draws.")
    ax.annotate("plain ensemble: 0 at every n", (0.02, 0.03), xycoords="axes fraction", color="0.35")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside right center", frameon=False)
    output.save(figure, path)


def main(out: Path = Path("figures"), seed: int = SEED) -> Path:
    """By formula and by each method at every n; print the table; save the figure and return its path."""
    jax.config.update("jax_enable_x64", True)
    x, y = rows(np.random.default_rng(seed))
    exact = [closed_forms(x[:n], y[:n]) for n in SIZES]
    found = measured(jax.random.key(seed), x, y)
    print_table(exact, found)
    path = out / "contraction.png"
    save_figure(exact, found, path)
    return path


if __name__ == "__main__":
    output.command(main, __doc__, SEED)
