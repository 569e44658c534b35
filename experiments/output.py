"""What every experiment shares: its command line, its table, its figure."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path

COLOURS = ("#1f78b4", "#d95f02", "#1b9e77", "#7570b3", "#e7298a", "#66a61e")  # told apart by the colour-blind
EXACT = "black"  # truth, and exact answers


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable]) -> None:
    """Print one table; cells that are not text are printed as they are."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=Text(title), title_justify="left")  # Text: [a, b] is an interval, not markup
    for index, column in enumerate(columns):
        shown.add_column(Text(column), justify="left" if index == 0 else "right")
    for row in rows:
        shown.add_row(*(Text(str(cell)) for cell in row))
    Console(width=130).print(shown)


def panels(number: int, *, height: float = 3.8, width: float = 4.4, **settings):
    """A figure with `number` panels in a row, and their axes in a list."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, number, figsize=(width * number, height), layout="constrained", **settings)
    axes = [axes] if number == 1 else list(axes)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save(figure, path: Path) -> Path:
    """Write the figure, say where, and close it."""
    import matplotlib.pyplot as plt

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"figure: {path}")
    return path


def command(main: Callable[[Path, int], Path], doc: str | None, seed: int) -> None:
    """Run `main(out, seed)` as the command line says."""
    arguments = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, default=Path("figures"), help="folder of the figure (default: figures)")
    arguments.add_argument("--seed", type=int, default=seed, help=f"of all random draws (default: {seed})")
    options = arguments.parse_args()
    main(options.out, options.seed)
