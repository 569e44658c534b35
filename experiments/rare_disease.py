"""What can be recalibrated with 50 cases of a rare disease, and what with 5000? `python -m experiments.rare_disease`

One row in a hundred is a case. The true log-odds are z ~ N(m, 1.5²); the model was trained on as many cases as controls
and is too bold besides: f = 1.4 z + log 99 + 0.4 sin z. Each calibrator is fitted on fresh rows, over and over, and
judged by integrals over z, without a test set: nats lost to the true risk, a thousand rows (0 is perfect), and cases
expected per case that there is. A map with an exact 0 loses infinitely much: how often is counted, and the loss shown
is then that of a 0 read as 1/(2N).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, ndtri, xlogy

from experiments import output
from probjax.forecasts import Forecast, from_logits
from probjax.recalibration import beta, floored, histogram_binning, isotonic, platt, temperature

SEED = 0
PREVALENCE = 0.01
SCALE = 1.5  # sd of z
CASES = {50: 60, 5_000: 10}  # expected cases: draws of the calibration rows
NUM_POINTS = 20_000  # of the integrals, evenly by rank of z
CALIBRATORS = {
    "temperature": temperature,
    "Platt": platt,
    "beta": beta,
    "histogram, 10 bins": partial(histogram_binning, num_bins=10),
    "isotonic": isotonic,
}
DRAWN = ("Platt", "isotonic")  # in the figure
NUM_CURVES = 8


class Outcome(NamedTuple):
    """Of one fit: nats per 1000 rows lost to the truth (a 0 read as 1/(2N)); whether the loss is infinite in truth;
    expected over true cases; the map at the shown log-odds."""

    loss: float
    infinite: bool
    ratio: float
    curve: np.ndarray


def true_log_odds() -> np.ndarray:
    """z at evenly spread ranks, m such that the mean of σ(z) is the prevalence."""
    spread = SCALE * ndtri((np.arange(NUM_POINTS) + 0.5) / NUM_POINTS)
    return spread + brentq(lambda m: expit(m + spread).mean() - PREVALENCE, -20.0, 0.0)


def model_log_odds(z: np.ndarray) -> np.ndarray:
    """What the model says."""
    return 1.4 * z + np.log((1 - PREVALENCE) / PREVALENCE) + 0.4 * np.sin(z)


def outcome(forecast: Forecast, z: np.ndarray, num_rows: int, curve: np.ndarray) -> Outcome:
    """Against the truth at z."""
    truth = expit(z)
    infinite = bool(jnp.isneginf(forecast.log_probs).any())
    read = np.asarray(floored(forecast, 1 / (2 * num_rows)).log_probs if infinite else forecast.log_probs)
    own = np.where(truth > 0, truth * read[:, 1], 0) + (1 - truth) * read[:, 0]
    loss = (xlogy(truth, truth) + xlogy(1 - truth, 1 - truth) - own).mean()
    return Outcome(1e3 * float(loss), infinite, float(np.exp(read[:, 1]).mean() / truth.mean()), curve)


def shown_log_odds(z: np.ndarray) -> np.ndarray:
    """True log-odds at which maps are drawn: from the lowest hundredth to one row in ten thousand."""
    return np.linspace(np.quantile(z, 0.01), np.quantile(z, 0.9999), 80)


def one_draw(rng: np.random.Generator, num_cases: int, z: np.ndarray) -> dict[str, Outcome]:
    """Fresh rows of so many expected cases, every calibrator."""
    num_rows = round(num_cases / PREVALENCE)
    own = z.mean() + SCALE * rng.standard_normal(num_rows)
    labels = (rng.uniform(size=num_rows) < expit(own)).astype(int)
    rows, points, shown = (from_logits(model_log_odds(each)) for each in (own, z, shown_log_odds(z)))
    found = {}
    for name, fit in CALIBRATORS.items():
        calibrator = fit(rows, labels)
        found[name] = outcome(calibrator(points), z, num_rows, np.asarray(calibrator(shown).probs[:, 1]))
    return found


def simulate(seed: int, z: np.ndarray) -> dict[tuple[str, int], list[Outcome]]:
    """All draws, and the model as it comes as "none"."""
    plain = outcome(from_logits(model_log_odds(z)), z, 1, expit(model_log_odds(shown_log_odds(z))))
    found = {("none", 0): [plain]}
    for num_cases, num_draws in CASES.items():
        rng = np.random.default_rng([seed, num_cases])
        draws = [one_draw(rng, num_cases, z) for _ in range(num_draws)]
        found |= {(name, num_cases): [draw[name] for draw in draws] for name in CALIBRATORS}
    return found


def print_table(found: dict[tuple[str, int], list[Outcome]]) -> None:
    """Means and central 90% of draws."""
    rows = []
    for (name, num_cases), outcomes in found.items():
        loss, ratio = (np.array([getattr(each, part) for each in outcomes]) for part in ("loss", "ratio"))
        spread = lambda values: f"{np.quantile(values, 0.05):.3g} – {np.quantile(values, 0.95):.3g}"
        infinite = f"{sum(each.infinite for each in outcomes)} of {len(outcomes)}" if num_cases else ""
        several = len(outcomes) > 1
        rows.append(
            [
                f"{name}, {num_cases:,} cases" if num_cases else "as it comes",
                f"{loss.mean():.3g}",
                spread(loss) if several else "",
                f"{ratio.mean():.3f}",
                spread(ratio) if several else "",
                infinite,
            ]
        )
    columns = ["", "nats lost per 1000 rows", "90% of draws", "cases expected / true", "90% of draws", "loss infinite"]
    output.table(f"Recalibration at a prevalence of {PREVALENCE:.0%}", columns, rows)


def save_figure(path: Path, found: dict[tuple[str, int], list[Outcome]], z: np.ndarray) -> None:
    """Risks after the map against true risks, a panel a size."""
    figure, axes = output.panels(len(CASES), height=4.4, width=5.2, sharey=True)
    risk = expit(shown_log_odds(z))
    for ax, (num_cases, num_draws) in zip(axes, CASES.items()):
        ax.plot(risk, risk, color=output.EXACT, lw=1.5, label="truth")
        ax.plot(risk, found["none", 0][0].curve, color="0.6", lw=1.5, ls="--", label="as it comes")
        for i, name in enumerate(DRAWN):
            for j, each in enumerate(found[name, num_cases][:NUM_CURVES]):
                label = f"{name}, {min(NUM_CURVES, num_draws)} draws" if j == 0 else None
                curve = np.where(each.curve > 0, each.curve, np.nan)  # a 0 has no place on this axis
                ax.plot(risk, curve, color=output.COLOURS[i], lw=0.9, alpha=0.8, label=label)
        ax.set(xscale="log", yscale="log", ylim=(1e-5, 1), xlabel="true risk", title=f"{num_cases:,} cases")
    axes[0].set_ylabel("risk said")
    axes[0].legend(frameon=False, loc="upper left")
    output.save(figure, path)


def main(out: Path = Path("figures"), seed: int = SEED) -> Path:
    """Print the table, save the figure and return its path."""
    jax.config.update("jax_enable_x64", True)
    z = true_log_odds()
    found = simulate(seed, z)
    print_table(found)
    path = out / "rare_disease.png"
    save_figure(path, found, z)
    return path


if __name__ == "__main__":
    output.command(main, __doc__, SEED)
