"""How good are a model's own probabilities, and what would mend them?

    python -m experiments.calibrate --probs predictions.csv --labels labels.csv

Scores with standard errors and their decomposition, calibration errors with intervals and what a calibrated model would
show, a test of calibration, risk against coverage, the size of conformal sets; then half of the rows, drawn by --seed,
fit temperature, Platt, beta, isotonic and (for more classes) vector scaling, and the other half judges them. What the
numbers say to do stands below in sentences, and all of it, with the figure, in --out. Predictions must be of rows that
the model was not trained on.

Files: CSV, TSV, npy, npz, parquet. Predictions: one column, of class 1, or a column a class. Labels: one column, class
numbers 0 … K − 1, or names if the columns of the predictions have the same names.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jax
import numpy as np

from experiments import output
from experiments.calibration_report import Report, measure
from experiments.prediction_files import Predictions, read_predictions

SEED = 0
LEVEL = 0.95


def print_table(title: str, report: Report) -> None:
    """The table, then the sentences."""
    output.table(title, ["", "value", "± se, or interval", "beside it"], report.rows)
    for sentence in report.recommendation:
        print(f"→ {sentence}")
    for caveat in report.caveats:
        print(f"caveat: {caveat}")


def save_figure(path: Path, report: Report) -> None:
    """Reliability with its bands and counts; risk against coverage."""
    figure, (left, right) = output.panels(2, height=4.4, width=5.0)
    draw_reliability(left, report)
    curve, area = report.curve, report.aurc
    shown = np.unique(np.linspace(0, len(curve.risk) - 1, 2000).astype(int))
    few = shown[curve.coverage[shown] * len(curve.risk) >= min(20, len(curve.risk))]  # a mean of few rows says little
    right.plot(curve.coverage[few], curve.risk[few], color=output.COLOURS[0], lw=2, label="most confident first")
    best = np.maximum(curve.coverage - (1 - area.mean_loss), 0) / curve.coverage
    right.plot(
        curve.coverage[shown], best[shown], color=output.EXACT, lw=1.2, ls="--", label="errors last: the best order"
    )
    right.axhline(area.mean_loss, color="0.6", lw=1, ls=":", label="random order")
    right.set(xlabel="coverage: share of rows answered", ylabel="risk: share of wrong answers", xlim=(0, 1))
    right.set_ylim(0, 1.25 * max(area.mean_loss, curve.risk[few].max(), 0.004))
    right.set_title(f"area below {area.area:.4f} ± {area.standard_error:.4f}")
    right.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.17))
    output.save(figure, path)


def draw_reliability(ax, report: Report) -> None:
    """Frequencies with their intervals over the band of a calibrated model; counts as bars at the foot."""
    found = report.diagram
    ax.plot([0, 1], [0, 1], color=output.EXACT, lw=1)
    lower, upper = found.joint_low, found.joint_high
    if len(found.count) > 1:
        ax.fill_between(
            found.forecast,
            lower,
            upper,
            color="0.85",
            lw=0,
            label=f"all points of {found.level:.0%} of calibrated models",
        )
    else:
        ax.vlines(
            found.forecast,
            lower,
            upper,
            color="0.85",
            lw=8,
            label=f"the point of {found.level:.0%} of calibrated models",
        )
    spread = np.abs(np.stack([found.interval_low, found.interval_high]) - found.frequency)
    style = {
        "fmt": "o",
        "ms": 4,
        "lw": 1.2,
        "color": output.COLOURS[1],
        "label": f"observed, {found.level:.0%} intervals",
    }
    ax.errorbar(found.forecast, found.frequency, spread, **style)
    counts = ax.inset_axes((0, 0, 1, 0.14), sharex=ax)
    each = counts.hist(report.chance, np.linspace(0, 1, 51), color=output.COLOURS[0], alpha=0.6)[0]
    counts.axis("off")
    counts.text(
        1.0, each.max(), f"how many rows; tallest bar {int(each.max()):,}", ha="right", va="bottom", color="0.4"
    )
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.14, 1.02), aspect="equal", yticks=np.linspace(0, 1, 6))
    ax.set(xlabel=f"forecast: {report.event}", ylabel="observed frequency")
    ax.set_title(f"{len(found.count)} bins, {found.rule.split(', ')[1]}")
    ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.17))


def write_report(path: Path, figure: Path, title: str, read: tuple[str, ...], report: Report) -> None:
    """The same in Markdown."""
    cell = lambda text: text.replace("|", "\\|")
    lines = [f"# {title}", "", "## What to do", "", *(f"{sentence}" for sentence in report.recommendation), ""]
    lines += ["## Numbers", "", "| | value | ± se, or interval | beside it |", "|---|---:|---:|---|"]
    lines += [f"| {' | '.join(map(cell, row))} |" for row in report.rows]
    lines += ["", f"![reliability and risk]({figure.name})", "", "## Caveats", ""]
    lines += [f"- {caveat}" for caveat in report.caveats] or ["- none"]
    lines += ["", "## Files", "", *(f"- {line}" for line in read), ""]
    path.write_text("\n".join(lines), encoding="utf-8")
    print(f"report: {path}")


def main(predictions: Predictions, out: Path = Path("figures"), seed: int = SEED, level: float = LEVEL) -> Path:
    """Print the table and what follows from it, save figure and report, and return the figure's path."""
    report = measure(predictions, seed, level)
    num_rows, num_classes = predictions.forecast.log_probs.shape
    title = f"Calibration of {num_rows} rows, {num_classes} classes"
    print_table(title, report)
    path = out / "calibrate.png"
    save_figure(path, report)
    write_report(out / "report.md", path, title, predictions.said, report)
    return path


def command(arguments: list[str] | None = None) -> None:
    """Run `main` as the command line says; what is wrong with a file ends it with status 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--probs", type=Path, metavar="FILE", help="probabilities of each row")
    kind.add_argument("--logits", type=Path, metavar="FILE", help="logits of each row, in place of probabilities")
    parser.add_argument("--labels", type=Path, metavar="FILE", required=True, help="the class of each row")
    parser.add_argument(
        "--column",
        metavar="NAME",
        action="append",
        default=[],
        help="of the predictions; once for each class, in order",
    )
    parser.add_argument("--label-column", metavar="NAME", help="of the labels")
    parser.add_argument(
        "--header",
        action=argparse.BooleanOptionalAction,
        help="whether the first lines of text files are names of columns (default: where they can be nothing else)",
    )
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder of report.md and the figure")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the halves and the test (default: {SEED})")
    parser.add_argument("--level", type=float, default=LEVEL, help=f"of intervals (default: {LEVEL})")
    options = parser.parse_args(arguments)
    if not 0 < options.level < 1:
        parser.error(f"--level is {options.level} but must lie between 0 and 1, such as 0.95")
    jax.config.update("jax_enable_x64", True)
    try:
        predictions = read_predictions(
            options.probs or options.logits,
            options.labels,
            logits=options.logits is not None,
            columns=tuple(options.column),
            label_column=options.label_column,
            header=options.header,
        )
    except ValueError as error:
        parser.error(str(error))
    main(predictions, options.out, options.seed, options.level)


if __name__ == "__main__":
    command()
