"""How often does the calibration test reject? `python -m experiments.calibration_test_rates`

Size: forecasts are the truth, sigmoid(z), z ~ N(0, 2²), and only 200 a data set, where a limit theorem would not do. It
is to be 5%, counted over 20,000 data sets. Power at 5,000 rows: the truth is the same and the forecast is too bold or
too timid by a temperature of 1.2, or S-shaped: a cubic of the logits whose best intercept is 0 and best slope 1, so
that a test of intercept and slope (Cox 1958) has nothing to see.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from experiments import output
from probjax.axis import over_leading_axis
from probjax.calibration import monte_carlo_p_value

SEED = 0
LEVEL = 0.05
SCALE = 2.0  # of the logits
NUM_SIMULATIONS, NUM_COMPONENTS = 199, 16
SIZE_SETS, SIZE_ROWS = 20_000, 200
POWER_SETS, POWER_ROWS = 500, 5_000
S_SHAPE = 0.5  # times z³ less its projection on 1 and z
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)


class Rate(NamedTuple):
    """rate: of p ≤ LEVEL among `num` data sets; margin: two standard errors."""

    rate: float
    margin: float
    num: int


def s_shaped(z: Array) -> Array:
    """z + c (b z − z³/10) with b such that the logistic regression of sigmoid(z) on it has slope 1 and intercept 0."""
    return z + S_SHAPE * (balance() * z - z**3 / 10)


def balance() -> float:
    """b of `s_shaped`: E[f(z) (σ(z) − σ(f(z)))] = 0; by symmetry the intercept is 0."""
    from scipy.optimize import brentq
    from scipy.special import expit

    z = SCALE * NODES

    def gap(b):
        f = z + S_SHAPE * (b * z - z**3 / 10)
        return WEIGHTS @ (f * (expit(z) - expit(f)))

    return brentq(gap, 0.0, 10.0)


FORECASTS = {
    "calibrated": lambda z: z,
    "logits times 1.2": lambda z: 1.2 * z,
    "logits over 1.2": lambda z: z / 1.2,
    "S-shaped, intercept 0, slope 1": s_shaped,
}


@partial(jax.jit, static_argnums=(1, 2))
def p_values(keys: Array, name: str, num_rows: int) -> Array:
    """[R], one a data set: the labels have logits z, the forecasts logits FORECASTS[name](z)."""

    def one(key):
        logit_key, label_key, test_key = jax.random.split(key, 3)
        z = SCALE * jax.random.normal(logit_key, (num_rows,))
        labels = jax.random.bernoulli(label_key, jax.nn.sigmoid(z)).astype(jnp.int32)
        probs = jax.nn.sigmoid(FORECASTS[name](z))
        return monte_carlo_p_value(test_key, probs, labels, NUM_SIMULATIONS, NUM_COMPONENTS)[0]

    return over_leading_axis(one, keys)


def rejection_rate(key: Array, name: str, num_rows: int, num_sets: int) -> Rate:
    """How often p ≤ LEVEL."""
    rejected = np.asarray(p_values(jax.random.split(key, num_sets), name, num_rows)) <= LEVEL + 1e-6
    rate = float(rejected.mean())
    return Rate(rate, 2 * float(np.sqrt(max(rate * (1 - rate), 1 / num_sets) / num_sets)), num_sets)


def main(out: Path = Path("figures"), seed: int = SEED) -> Path:
    """The table of rates, and power against the number of rows."""
    jax.config.update("jax_enable_x64", True)
    size_key, power_key, curve_key = jax.random.split(jax.random.key(seed), 3)
    cases = [("calibrated", SIZE_ROWS, SIZE_SETS, size_key)]
    cases += [(name, POWER_ROWS, POWER_SETS, key) for name, key in zip(FORECASTS, jax.random.split(power_key, 4))]
    rows = []
    for name, num_rows, num_sets, key in cases:
        found = rejection_rate(key, name, num_rows, num_sets)
        rows.append([name, num_rows, num_sets, f"{found.rate:.2%} ± {found.margin:.2%}"])
    output.table(f"calibration test at {LEVEL:.0%}", ["forecasts", "rows", "data sets", "rejected"], rows)
    return draw(out, curve_key)


def draw(out: Path, key: Array, sizes: tuple[int, ...] = (250, 500, 1000, 2000), num_sets: int = 200) -> Path:
    """Power against the number of rows."""
    figure, (ax,) = output.panels(1)
    for name, colour in zip(FORECASTS, (output.EXACT, *output.COLOURS)):
        found = [rejection_rate(key, name, num_rows, num_sets) for num_rows in sizes]
        ax.errorbar(sizes, [f.rate for f in found], [f.margin for f in found], color=colour, label=name, marker="o")
    ax.axhline(LEVEL, color="grey", lw=0.8)
    ax.set(xscale="log", xlabel="rows", ylabel=f"rejected at {LEVEL:.0%}", ylim=(0, 1.02))
    ax.legend(frameon=False)
    return output.save(figure, out / "calibration_test_rates.png")


if __name__ == "__main__":
    output.command(main, __doc__, SEED)
