"""What do calibration measures say of forecasters whose faults are known? `python -m experiments.reliability`

Truth: P(Y = 1 | z) = σ(z), z ~ N(0, 2²). Forecast: σ of z itself; of 1.5 z, too bold; of z/1.5, too timid; and of
3 tanh(z/2), S-shaped: too bold about ½, too timid at the ends. The true errors are integrals over z. The binned error
of the calibrated forecaster is not 0 but its null value, which falls as 1/√n; the debiased and the kernel error are 0
on average; the test rejects it one time in twenty, however few the rows.
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import expit, ndtri

from experiments import output
from probjax import calibration

SEED = 0
SCALE = 2.0  # sd of z
SIZES = {200: 20, 2_000: 20, 20_000: 5}  # rows: data sets
NUM_BINS = 15
LEVEL = 0.05
NUM_SIMULATIONS = 199
KERNEL_ROWS = 2_000  # more take the linear estimator
FORECASTERS = {
    "calibrated": lambda z: z,
    "too bold, 1.5 z": lambda z: 1.5 * z,
    "too timid, z/1.5": lambda z: z / 1.5,
    "S-shaped, 3 tanh(z/2)": lambda z: 3 * np.tanh(z / 2),
}


def true_errors(logit) -> tuple[float, float]:
    """E|p − c(p)| and E(p − c(p))²: each is at a rank of z, so a mean over evenly spread ranks."""
    z = SCALE * ndtri((np.arange(100_000) + 0.5) / 100_000)
    gap = expit(logit(z)) - expit(z)
    return float(np.abs(gap).mean()), float(np.square(gap).mean())


def sample(key: jax.Array, logit, num_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Forecasts and labels."""
    z_key, label_key = jax.random.split(key)
    z = SCALE * np.asarray(jax.random.normal(z_key, (num_rows,)))
    return expit(logit(z)), (np.asarray(jax.random.uniform(label_key, (num_rows,))) < expit(z)).astype(int)


def measure(key: jax.Array, logit, num_rows: int) -> np.ndarray:
    """Binned error, its null value, whether its interval holds the truth, debiased squared error, kernel error, p."""
    data_key, test_key = jax.random.split(key)
    probs, labels = sample(data_key, logit, num_rows)
    binned = calibration.calibration_error(probs, labels, num_bins=NUM_BINS)
    squared = calibration.debiased_squared_error(probs, labels, num_bins=NUM_BINS)
    kernel = calibration.kernel_calibration_error(probs, labels, bandwidth=0.5, linear=num_rows > KERNEL_ROWS)
    test = calibration.calibration_test(test_key, jnp.asarray(probs), labels, num_simulations=NUM_SIMULATIONS)
    held = binned.low <= true_errors(logit)[0] <= binned.high
    return np.array([binned.value, binned.null_value, held, squared.value, kernel.value, test.p_value])


def replicate(key: jax.Array) -> dict[tuple[str, int], np.ndarray]:
    """[data sets, 6] of each forecaster and size."""
    found = {}
    for i, (name, logit) in enumerate(FORECASTERS.items()):
        for j, (num_rows, num_sets) in enumerate(SIZES.items()):
            keys = jax.random.split(jax.random.fold_in(key, 10 * i + j), num_sets)
            found[name, num_rows] = np.stack([measure(one, logit, num_rows) for one in keys])
    return found


def print_table(found: dict[tuple[str, int], np.ndarray]) -> None:
    """Means over data sets, ± standard errors."""
    rows = []
    for (name, num_rows), values in found.items():
        l1, l2 = true_errors(FORECASTERS[name])
        mean, error = values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))
        rows.append(
            [
                name,
                f"{num_rows:,}",
                f"{l1:.4f}",
                f"{mean[0]:.4f} ± {error[0]:.4f}",
                f"{mean[1]:.4f}",
                f"{1e4 * l2:.1f}",
                f"{1e4 * mean[3]:.1f} ± {1e4 * error[3]:.1f}",
                f"{1e4 * mean[4]:.1f} ± {1e4 * error[4]:.1f}",
                f"{int((values[:, 5] <= LEVEL).sum())} of {len(values)}",
            ]
        )
    columns = [
        "forecaster",
        "rows",
        "true L1",
        "binned L1",
        "if calibrated",
        "true L2²",
        "debiased",
        "kernel",
        "rejected",
    ]
    title = (
        f"{NUM_BINS} bins of equal mass, {calibration.bins.EDGE_RULE}; squares and kernel in 1e-4; test at {LEVEL:.0%}"
    )
    output.table(title, columns, rows)


def draw(ax, key: jax.Array, name: str, num_rows: int) -> None:
    """A diagram with its bands, and the true curve."""
    probs, labels = sample(key, FORECASTERS[name], num_rows)
    found = calibration.reliability_diagram(probs, labels, num_bins=NUM_BINS)
    z = np.linspace(-8, 8, 400)
    ax.fill_between(found.forecast, found.joint_low, found.joint_high, color="0.85", lw=0, label="calibrated, all bins")
    ax.plot([0, 1], [0, 1], color=output.EXACT, lw=0.8)
    ax.plot(expit(FORECASTERS[name](z)), expit(z), color=output.COLOURS[0], lw=1.5, label="truth")
    spread = np.abs(np.stack([found.interval_low, found.interval_high]) - found.frequency)
    ax.errorbar(found.forecast, found.frequency, spread, fmt="o", ms=3.5, lw=1, color=output.COLOURS[1], label="seen")
    inside = "inside" if found.inside else "outside"
    ax.set(title=f"{name}: {inside}", xlabel="forecast", aspect="equal", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))


def save_figure(path: Path, key: jax.Array, num_rows: int) -> None:
    """A panel a forecaster."""
    figure, axes = output.panels(len(FORECASTERS), height=4.0, width=3.7)
    for ax, name in zip(axes, FORECASTERS):
        draw(ax, key, name, num_rows)
    axes[0].set_ylabel(f"observed frequency, {num_rows:,} rows")
    axes[0].legend(frameon=False, loc="upper left")
    output.save(figure, path)


def main(out: Path = Path("figures"), seed: int = SEED) -> Path:
    """Print the table, save the figure and return its path."""
    jax.config.update("jax_enable_x64", True)
    draw_key, table_key = jax.random.split(jax.random.key(seed))
    print_table(replicate(table_key))
    path = out / "reliability.png"
    save_figure(path, draw_key, sorted(SIZES)[len(SIZES) // 2])
    return path


if __name__ == "__main__":
    output.command(main, __doc__, SEED)
