"""Columns of numbers or texts from a file: CSV, TSV, npy, npz, parquet. What could be read in two ways is refused."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SUFFIXES = ".csv, .tsv, .npy, .npz or .parquet"
UNNAMED = ("", "Unnamed: 0")  # what pandas calls the column of its index


class FileError(ValueError):
    """What is wrong with a file, and the cure."""


class Columns(NamedTuple):
    """values: [N, C], numbers or texts. names: C texts, or None where the file has none. first_line: of a text file,
    the number of the line that holds row 0; None elsewhere. said: what was left out, in words."""

    values: np.ndarray
    names: tuple[str, ...] | None
    first_line: int | None = None
    said: tuple[str, ...] = ()

    def row(self, index: int) -> str:
        """Where a row stands, in words: the line of a text file."""
        return f"row {index}" if self.first_line is None else f"line {index + self.first_line}"

    def column(self, index: int) -> str:
        """Which column, in words."""
        return f"column {self.names[index]!r}" if self.names else f"column {index}"


def read_columns(path: Path, not_header: tuple[str, ...] = (), header: bool | None = None) -> Columns:
    """The columns of a file, by its suffix; a column that numbers the rows and has no name is left out.

    Args:
        not_header: words that, in the first line of a text file, are data and no names of columns.
        header: whether the first line of a text file holds names; None: seen from it, where it can be seen.

    Raises:
        FileError: no such file, another kind of file, a needed package that is absent, ragged, blank lines, no rows.
    """
    readers = {".csv": _text, ".tsv": _text, ".npy": _npy, ".npz": _npz, ".parquet": _parquet}
    if not path.is_file():
        raise FileError(f"{path}: no such file")
    if path.suffix.lower() not in readers:
        raise FileError(f"{path}: files {path.suffix or 'without suffix'} are not read; expected {SUFFIXES}")
    reader = readers[path.suffix.lower()]
    found = reader(path, not_header, header) if reader is _text else reader(path)
    if found.values.size == 0:
        raise FileError(f"{path}: no rows; expected a row for each prediction")
    return _without_index(path, found)


def is_number(value: Any) -> bool:
    """Whether it can be read as one."""
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def as_matrix(path: Path, values: np.ndarray) -> np.ndarray:
    """[N, C] of [N] or [N, C]."""
    if values.ndim not in (1, 2):
        raise FileError(f"{path}: an array of shape {values.shape}; expected [N] or [N, K]")
    return values.reshape(len(values), -1)


def _text(path, not_header, header):
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, delimiter=delimiter)
        numbered = [(reader.line_num, [cell.strip() for cell in line]) for line in reader]
    while numbered and not any(numbered[-1][1]):
        numbered.pop()
    if not numbered:
        raise FileError(f"{path}: the file is empty")
    for number, line in numbered:
        if not any(line):
            raise FileError(
                f"{path}: line {number} is blank; whether a value is missing there is not guessed, for rows would be "
                "shifted against those of the other file: take the line out, of both files if it stands for a row"
            )
        if len(line) != len(numbered[0][1]):
            raise FileError(f"{path}: line {number} has {len(line)} cells but line 1 has {len(numbered[0][1])}")
    first, lines = numbered[0][1], [line for _, line in numbered]
    named = _is_header(path, lines, not_header) if header is None else header
    values = np.array(lines[named:]).reshape(-1, len(first))
    return Columns(values, tuple(first) if named else None, numbered[0][0] + named)


def _is_header(path, lines, not_header):
    """Whether the first line holds names. Words that are no classes do; whole numbers might, where no other line is of
    whole numbers alone: 0, 1, … K − 1 in any order do, others are refused."""
    first = lines[0]
    if not all(map(is_number, first)):
        return not set(first) <= set(not_header)
    whole = lambda line: all(cell.isdecimal() for cell in line)
    if not whole(first) or len(lines) == 1 or any(map(whole, lines[1:])):
        return False
    if len(first) > 1 and sorted(map(int, first)) == list(range(len(first))):
        return True
    raise FileError(
        f"{path}: line 1 is {','.join(first)!r}, the only line of whole numbers: names of columns, or a row? "
        "say --header or --no-header, or give the columns words for names"
    )


def _npy(path):
    try:
        return Columns(as_matrix(path, np.load(path, allow_pickle=False)), None)
    except (ValueError, OSError) as error:
        raise FileError(f"{path}: not an array of numbers or texts ({error}); save with np.save, no objects") from error


def _npz(path):
    """One array, or several of as many rows; the columns of a matrix `probs` are named probs[0], probs[1], …"""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            parts = {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError) as error:
        raise FileError(f"{path}: not arrays of numbers or texts ({error}); save with np.savez") from error
    if len(parts) == 1:
        return Columns(as_matrix(path, next(iter(parts.values()))), None)
    if len({len(part) if part.ndim else 0 for part in parts.values()}) > 1:
        shapes = ", ".join(f"{name} {part.shape}" for name, part in parts.items())
        raise FileError(f"{path}: arrays {shapes}; expected arrays of one length, or one array: use two files")
    names = [
        name if part.ndim == 1 else f"{name}[{column}]"
        for name, part in parts.items()
        for column in range(1 if part.ndim == 1 else as_matrix(path, part).shape[1])
    ]
    return Columns(np.column_stack([as_matrix(path, part) for part in parts.values()]), tuple(names))


def _parquet(path):
    try:
        import pandas
        import pyarrow  # noqa: F401  (what pandas reads parquet with)
    except ImportError as error:
        raise FileError(
            f"{path}: reading parquet needs pandas and pyarrow, and {error.name} is not installed; "
            "`python -m pip install pandas pyarrow`, or save as CSV or npy"
        ) from error
    frame = pandas.read_parquet(path)
    return Columns(frame.to_numpy(), tuple(map(str, frame.columns)))


def _without_index(path, found):
    """Without a first column that has no name and numbers the rows: pandas writes its index so."""
    if not found.names or len(found.names) < 2 or found.names[0] not in UNNAMED:
        return found
    index = [str(value).removesuffix(".0") for value in found.values[:, 0]]
    if not all(text.isdecimal() for text in index) or len(set(index)) < len(index):
        return found
    said = f"{path}: its first column has no name and numbers the rows, as an index does: left out"
    return Columns(found.values[:, 1:], found.names[1:], found.first_line, (said,))
