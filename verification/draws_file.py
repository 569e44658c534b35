"""Draws made anywhere, from files: npz, NetCDF (a DataTree's or InferenceData's posterior group), CSV, Stan's CSV."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np

Draws = dict[str, np.ndarray]  # name -> [C, S]: chains of draws
NOT_DRAWS = ("chain", "draw", ".chain", ".iteration", ".draw", "chain__", "iter__", "draw__")
KINDS = ".npz, .nc (NetCDF), .csv (named columns, or as Stan writes it)"


def read(paths: list[Path]) -> Draws:
    """Named draws [C, S] from one file, or from several of one kind that are a chain each.

    Arrays with further axes are told apart by position: `theta[0]`, `theta[1]`, …; Stan's `theta.1` is read as
    `theta[1]`.

    Raises:
        ValueError: no such file, a kind that is not known, no columns, names or lengths that differ between chains.
    """
    parts = [_read_one(path) for path in paths]
    if len(parts) == 1:
        return parts[0]
    for path, part in zip(paths, parts):
        if part.keys() != parts[0].keys():
            odd = sorted(part.keys() ^ parts[0].keys())[:3]
            raise ValueError(
                f"{path} and {paths[0]} have different columns ({', '.join(odd)}); chains must have the same"
            )
    try:
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    except ValueError as error:
        sizes = {str(path): next(iter(part.values())).shape[1] for path, part in zip(paths, parts)}
        raise ValueError(f"chains of different lengths: {sizes}; cut them to the shortest") from error


def _read_one(path: Path) -> Draws:
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    readers = {".npz": _npz, ".nc": _netcdf, ".csv": _csv}
    if path.suffix not in readers:
        raise ValueError(f"{path} ends in {path.suffix or 'nothing'}; known are {KINDS}")
    try:
        draws = readers[path.suffix](path)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"{path} cannot be read as {path.suffix}: {type(error).__name__}: {error}") from error
    if not draws:
        raise ValueError(f"{path} has no columns of numbers; expected a name and draws for each quantity")
    return draws


def _npz(path: Path) -> Draws:
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} cannot be read as .npz: it is no archive of arrays; numpy.savez writes one")
    with np.load(path, allow_pickle=False) as stored:
        return named({name: stored[name] for name in stored.files}, str(path))


def named(arrays: dict[str, np.ndarray], where: str = "draws") -> Draws:
    """[S] or [C, S] or [C, S, …] arrays as [C, S] ones, further axes by position.

    Raises:
        ValueError: a scalar, numbers that are not real, or unlike numbers of draws.
    """
    draws: Draws = {}
    for name, array in arrays.items():
        array = np.asarray(array)
        if array.dtype.kind not in "fiub" or array.ndim == 0:
            kind = "a scalar" if array.ndim == 0 else f"of type {array.dtype}"
            raise ValueError(f"{where}: {name} is {kind} but draws are real arrays [S], [C, S] or [C, S, …]")
        array = np.asarray(array, float)[None] if array.ndim == 1 else np.asarray(array, float)
        for index in np.ndindex(array.shape[2:]):
            label = f"{name}[{','.join(map(str, index))}]" if index else name
            draws[label] = array[(slice(None), slice(None), *index)]
    shapes = {values.shape: name for name, values in draws.items()}
    if len(shapes) > 1:
        told = ", ".join(f"{name} {list(shape)}" for shape, name in shapes.items())
        raise ValueError(f"{where}: the quantities have unlike shapes (chains, draws): {told}")
    return draws


def _netcdf(path: Path) -> Draws:
    try:
        import h5netcdf
    except ImportError as error:
        raise ValueError(f"{path}: reading NetCDF needs h5netcdf; pip install 'probjax[netcdf]'") from error
    with h5netcdf.File(path, "r") as file:
        group = file.groups.get("posterior", file)
        arrays = {}
        for name, variable in group.variables.items():
            if name in variable.dimensions or name in NOT_DRAWS:  # a coordinate
                continue
            if variable.dimensions[:2] != ("chain", "draw"):
                raise ValueError(
                    f"{path}: {name} has dimensions {variable.dimensions} but (chain, draw, …) is expected"
                )
            arrays[name] = variable[...]
    return named(arrays, str(path))


def _csv(path: Path) -> Draws:
    with path.open(newline="") as file:
        rows = [row for row in csv.reader(line for line in file if line.strip() and not line.startswith("#")) if row]
    if len(rows) < 2:
        raise ValueError(f"{path} has {len(rows)} rows; expected a line of names and one line a draw")
    names = [_stan_name(name.strip()) for name in rows[0]]
    if len(set(names)) < len(names):
        raise ValueError(f"{path}: the column {next(n for n in names if names.count(n) > 1)!r} comes twice")
    try:
        table = np.array([[float(cell) for cell in row] for row in rows[1:]])
    except ValueError as error:
        raise ValueError(f"{path}: a line is not numbers, or has not {len(names)} of them: {error}") from error
    if table.shape[1] != len(names):
        raise ValueError(f"{path}: lines have {table.shape[1]} numbers but there are {len(names)} names")
    columns = dict(zip(names, table.T))
    chains = next((columns[name] for name in ("chain", ".chain", "chain__") if name in columns), np.zeros(len(table)))
    kept = {name: values for name, values in columns.items() if name not in NOT_DRAWS and not name.endswith("__")}
    groups = [np.flatnonzero(chains == chain) for chain in np.unique(chains)]
    if len({len(group) for group in groups}) > 1:
        raise ValueError(f"{path}: chains of different lengths {[len(g) for g in groups]}; cut them to the shortest")
    return {name: np.stack([values[group] for group in groups]) for name, values in kept.items()}


def _stan_name(name: str) -> str:
    """theta.1.2 -> theta[1,2]."""
    head, *positions = name.split(".")
    return f"{head}[{','.join(positions)}]" if head and positions and all(p.isdigit() for p in positions) else name
