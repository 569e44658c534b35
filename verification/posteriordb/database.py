"""The files of a clone of posteriordb, read with every fault named: where, what came, what to do."""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path

import numpy as np

CURE = "fetch the clone again"


def find_database(directory: str | Path) -> Path:
    """The `posterior_database` folder of a clone.

    Raises:
        ValueError: there is none, or a part of it is missing.
    """
    for root in (Path(directory) / "posterior_database", Path(directory)):
        if (root / "posteriors").is_dir():
            for part in ("data/data", "models/info"):
                if not (root / part).is_dir():
                    raise ValueError(
                        f"--posteriordb: {root} has posteriors/ but no {part}/; the clone is incomplete, fetch it again"
                    )
            return root
    raise ValueError(
        f"--posteriordb: {directory} holds no posterior_database/posteriors; pass the root of a clone of posteriordb"
    )


def posterior_names(root: Path) -> list[str]:
    """All posteriors of the clone, sorted."""
    return sorted(path.stem for path in (root / "posteriors").glob("*.json"))


def read_entry(root: Path, name: str) -> dict:
    """What the clone says of a posterior: its data's name, its reference draws' name, dimensions.

    Raises:
        ValueError: no such posterior, or an entry that is not one.
    """
    path = root / "posteriors" / f"{name}.json"
    if not path.exists():
        raise ValueError(f"posteriordb: no {path}; the clone does not hold {name}")
    entry = _read_json(path)
    if not isinstance(entry, dict) or not isinstance(entry.get("data_name"), str):
        came = ", ".join(entry) if isinstance(entry, dict) else type(entry).__name__
        raise ValueError(f"posteriordb: {path} should hold a data_name but has {came or 'nothing'}; {CURE}")
    return entry


def data_file(root: Path, name: str) -> Path:
    """Where the data of a posterior lie."""
    return root / "data" / "data" / f"{read_entry(root, name)['data_name']}.json.zip"


def read_data(root: Path, name: str) -> dict:
    """The data of a posterior, fields by name.

    Raises:
        ValueError: a file is missing, cannot be read, or holds no fields.
    """
    path = data_file(root, name)
    data = _read_json(path)
    if not isinstance(data, dict):
        raise ValueError(f"posteriordb: {path} should hold fields by name but has a {type(data).__name__}; {CURE}")
    return data


def has_reference_draws(directory: str | Path, name: str) -> bool:
    """Whether the clone names reference draws for the posterior; about a third of posteriordb has none."""
    return bool(read_entry(find_database(directory), name).get("reference_posterior_name"))


def reference_draws(directory: str | Path, name: str) -> dict[str, np.ndarray]:
    """The draws that posteriordb publishes for a posterior: quantity, as "mu" or "beta[2]" -> [chains, draws].

    They are Monte Carlo (Stan's NUTS, thinned, usually ten chains of a thousand), so their means are known to about a
    hundredth of a posterior sd, not exactly.

    Raises:
        ValueError: the clone has no reference draws for `name`, or a file that cannot be read.
    """
    root = find_database(directory)
    held = read_entry(root, name).get("reference_posterior_name")
    if not held:
        raise ValueError(
            f"posteriordb: posteriors/{name}.json names no reference draws (reference_posterior_name is empty); "
            "ask has_reference_draws first"
        )
    path = root / "reference_posteriors" / "draws" / "draws" / f"{held}.json.zip"
    return _stacked(path, _read_json(path))


def _stacked(path, chains) -> dict[str, np.ndarray]:
    """A list with a {quantity: [draw, …]} a chain -> {quantity: [chains, draws]}."""
    wanted = "a list of chains, each with the same quantities and as many finite draws of each"
    if not isinstance(chains, list) or not chains or not all(isinstance(chain, dict) and chain for chain in chains):
        raise ValueError(f"posteriordb: {path} should hold {wanted}, but has a {type(chains).__name__}; {CURE}")
    draws = {}
    for quantity in chains[0]:
        try:
            draws[quantity] = np.array([chain[quantity] for chain in chains], float)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"posteriordb: {path} should hold {wanted}; {quantity} is missing or uneven among its "
                f"{len(chains)} chains; {CURE}"
            ) from error
    shape = next(iter(draws.values())).shape
    for quantity, values in draws.items():
        if values.ndim != 2 or values.shape != shape or not np.isfinite(values).all():
            finite = "" if np.isfinite(values).all() else ", not all finite"
            raise ValueError(
                f"posteriordb: {path} should hold {wanted}; {quantity} came as {values.shape}{finite}, the first as "
                f"{shape}; {CURE}"
            )
    return draws


def _read_json(path: Path):
    """The content of a JSON file, or of the one in a zip archive."""
    if not path.exists():
        raise ValueError(f"posteriordb: no {path}; the clone is incomplete, {CURE}")
    try:
        if path.suffix != ".zip":
            return json.loads(path.read_text(encoding="utf-8"))
        with zipfile.ZipFile(path) as archive:
            inside = [member for member in archive.namelist() if member.endswith(".json")]
            if len(inside) != 1:
                raise ValueError(f"one JSON file was expected inside, {len(inside)} came")
            return json.loads(archive.read(inside[0]))
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, ValueError) as error:
        raise ValueError(f"posteriordb: {path} cannot be read ({type(error).__name__}: {error}); {CURE}") from error
