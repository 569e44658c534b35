"""Is Brier = calibration − resolution + uncertainty? `python -m experiments.brier_decomposition`

Not in bins: two terms of what happens within a bin are missing, and bins [a, b) without an end drop forecasts of
exactly 1. The text's random forest shows both: its three terms add up to 0.0783 where the score is 0.0756. With five
terms the identity holds to rounding for any bins. But reliability and resolution still grow with the number of bins,
for a calibrated forecaster too; CORP's isotonic bins leave no number to choose.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from scipy.special import expit
from sklearn.model_selection import train_test_split

from experiments import output
from experiments.calibration_methods import LISTED_SEED, NUM_TEST, classifiers, data
from probjax import scores
from probjax.calibration import equal_width_edges

SEED = 0
BINS = (2, 5, 10, 20, 50, 100, 200, 400)
SCALE = 2.0  # sd of the calibrated forecaster's log-odds
NUM_CALIBRATED = 900
PRINTED = {"calibration": 0.014631243933918077, "resolution": 0.1860806041481298, "sum": 0.07834199781047962}


class Case(NamedTuple):
    """Forecasts of an event and labels, [N]."""

    probs: np.ndarray
    labels: np.ndarray


def forest() -> Case:
    """The text's random forest on its test rows: shares of trees, 1 among them."""
    x, y = data()
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=NUM_TEST, random_state=LISTED_SEED)
    model = classifiers(LISTED_SEED)["random forest"].fit(x_train, y_train)
    return Case(model.predict_proba(x_test)[:, 1], y_test)


def calibrated(rng: np.random.Generator) -> Case:
    """Labels drawn from the forecasts."""
    probs = expit(SCALE * rng.standard_normal(NUM_CALIBRATED))
    return Case(probs, (rng.uniform(size=NUM_CALIBRATED) < probs).astype(int))


def listed(case: Case, num_bins: int = 10) -> dict[str, float]:
    """The text's three terms: bins [a, b) that nobody closed, divided by all rows."""
    probs, labels = case
    edges = np.linspace(0, 1, num_bins + 1)
    base_rate, reliability, resolution = labels.mean(), 0.0, 0.0
    for low, high in pairwise(edges):
        held = (probs >= low) & (probs < high)
        if held.any():
            share, rate = held.mean(), labels[held].mean()
            reliability += share * (probs[held].mean() - rate) ** 2
            resolution += share * (rate - base_rate) ** 2
    total = reliability - resolution + base_rate * (1 - base_rate)
    return {"calibration": reliability, "resolution": resolution, "sum": total}


def decompose(case: Case) -> list[scores.BinnedBrier]:
    """Five terms at each number of bins."""
    terms = (scores.brier_in_bins(*map(np.asarray, case), edges=equal_width_edges(b)) for b in BINS)
    return [scores.BinnedBrier(*map(float, each)) for each in terms]


def three(terms: scores.BinnedBrier) -> float:
    """reliability − resolution + uncertainty."""
    return terms.reliability - terms.resolution + terms.uncertainty


def five(terms: scores.BinnedBrier) -> float:
    """All terms."""
    return three(terms) + terms.within_bin_variance - 2 * terms.within_bin_covariance


def print_table(cases: dict[str, Case], found: dict[str, list], corp: dict[str, scores.Corp]) -> None:
    """The text's figures, then every number of bins, then CORP."""
    own = listed(cases["forest"])
    gap = max(abs(own[name] - PRINTED[name]) for name in PRINTED)
    score = float(np.mean((cases["forest"].probs - cases["forest"].labels) ** 2))
    numbers = [f"{own['calibration']:.5f}", f"{own['resolution']:.5f}", f"{own['sum'] - score:+.5f}"]
    rows = [["forest, the text's 10 bins [a, b)", *numbers, "", f"differs from print by {gap:.0e}"]]
    for name, each in found.items():
        for num_bins, terms in zip(BINS, each):
            gaps = f"{three(terms) - terms.score:+.5f}", f"{five(terms) - terms.score:+.0e}"
            rows.append([f"{name}, {num_bins} bins", f"{terms.reliability:.5f}", f"{terms.resolution:.5f}", *gaps, ""])
        parts = corp[name]
        gap = parts.miscalibration - parts.discrimination + parts.uncertainty - parts.score
        numbers = [f"{parts.miscalibration:.5f}", f"{parts.discrimination:.5f}", f"{gap:+.0e}", ""]
        rows.append([f"{name}, CORP", *numbers, f"score {parts.score:.5f}, uncertainty {parts.uncertainty:.5f}"])
    columns = ["", "miscalibration", "resolution", "three terms − score", "five terms − score", ""]
    output.table("Brier's score in parts", columns, rows)


def save_figure(path: Path, cases: dict[str, Case], found: dict[str, list], corp: dict[str, scores.Corp]) -> None:
    """What sums miss; miscalibration by bins, beside CORP's."""
    figure, (left, right) = output.panels(2, height=4.0, width=5.2)
    for i, (name, each) in enumerate(found.items()):
        colour = output.COLOURS[i]
        left.plot(BINS, [three(t) - t.score for t in each], "o-", color=colour, label=f"three terms, {name}")
        right.plot(BINS, [t.reliability for t in each], "o-", color=colour, label=f"bins, {name}")
        right.axhline(corp[name].miscalibration, color=colour, ls="--", lw=1.2, label=f"CORP, {name}")
    gaps = [listed(cases["forest"], b)["sum"] - found["forest"][0].score for b in BINS]
    left.plot(BINS, gaps, "s:", color=output.COLOURS[0], mfc="white", label="three terms, forest, p = 1 dropped")
    left.plot(BINS, [five(t) - t.score for t in found["forest"]], color=output.EXACT, lw=1.2, label="five terms")
    left.set(ylabel="sum of terms − Brier score", title="what the sum misses")
    right.set(ylabel="miscalibration term", title="the term grows with the bins", yscale="log")
    for ax in (left, right):
        ax.set(xscale="log", xlabel="bins of equal width")
        ax.set_xticks(BINS, BINS, minor=False)
        ax.minorticks_off()
        ax.legend(frameon=False, fontsize=9)
    output.save(figure, path)


def main(out: Path = Path("figures"), seed: int = SEED) -> Path:
    """Print the table, save the figure and return its path."""
    jax.config.update("jax_enable_x64", True)
    cases = {"forest": forest(), "calibrated": calibrated(np.random.default_rng(seed))}
    found = {name: decompose(case) for name, case in cases.items()}
    corp = {name: scores.corp_brier(*case) for name, case in cases.items()}
    print_table(cases, found, corp)
    path = out / "brier_decomposition.png"
    save_figure(path, cases, found, corp)
    return path


if __name__ == "__main__":
    output.command(main, __doc__, SEED)
