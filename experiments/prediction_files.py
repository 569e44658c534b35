"""A user's own predictions: what `experiments.calibrate` reads, and what it says of files that it cannot use.

Probabilities or logits are a column of class 1, or a column a class. Labels are one column: class numbers 0 … K − 1, or
names, if the columns of the probabilities carry the same names: nothing is ever matched by the order of the alphabet.
"""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from probjax.forecasts import SUM_TOLERANCE, Forecast, from_logits, from_probs

SUFFIXES = ".csv, .tsv, .npy, .npz or .parquet"
FILE_TOLERANCE = 1e-3  # of a row's sum: files are often rounded to four digits


class FileError(ValueError):
    """What is wrong with a file, and the cure."""


class Columns(NamedTuple):
    """values: [N, C], numbers or texts. names: C texts, or None where the file has none."""

    values: np.ndarray
    names: tuple[str, ...] | None


class Predictions(NamedTuple):
    """forecast: [N, K]. labels: [N]. classes: K names. said: how the files were read, in words."""

    forecast: Forecast
    labels: np.ndarray
    classes: tuple[str, ...]
    said: tuple[str, ...]


def read_predictions(
    path: Path,
    labels_path: Path,
    *,
    logits: bool = False,
    columns: tuple[str, ...] = (),
    label_column: str | None = None,
) -> Predictions:
    """Predictions and labels from two files, or from two sets of columns of one.

    Args:
        path: of probabilities, or of `logits`.
        labels_path: of labels.
        columns: which of the first file are used, in the order of the classes; none named: all but the labels'.
        label_column: which of the second file holds the labels; None: its only one.

    Raises:
        FileError: a file that cannot be read, or numbers that are no such predictions; it names file and column.
    """
    found = read_columns(path)
    if not columns and label_column and found.names and path.resolve() == labels_path.resolve():
        columns = tuple(name for name in found.names if name != label_column)
    found = _chosen(path, found, columns, "--column")
    values = _numbers(path, found)
    forecast, said = (_from_logits if logits else _from_probs)(path, found, values)
    classes = found.names if values.shape[1] > 1 else None
    # a first line of words may be a header or a class: that is known only from the columns' names
    labels = _chosen(labels_path, read_columns(labels_path, classes), (label_column,) if label_column else (), "")
    numbers, matched = _labels(labels_path, labels, path, classes, forecast.log_probs.shape)
    named = tuple(map(str, range(forecast.log_probs.shape[1])))
    return Predictions(forecast, numbers, classes if classes and matched else named, said + matched)


def read_columns(path: Path, not_header: tuple[str, ...] | None = None) -> Columns:
    """The columns of a file, by its suffix.

    Args:
        not_header: words that, in the first line of a text file, are data and no names of columns.

    Raises:
        FileError: no such file, another kind of file, a needed package that is absent, ragged or no rows.
    """
    readers = {".csv": _text, ".tsv": _text, ".npy": _npy, ".npz": _npz, ".parquet": _parquet}
    if not path.is_file():
        raise FileError(f"{path}: no such file")
    if path.suffix.lower() not in readers:
        raise FileError(f"{path}: files {path.suffix or 'without suffix'} are not read; expected {SUFFIXES}")
    found = readers[path.suffix.lower()](path, not_header or ())
    if found.values.size == 0:
        raise FileError(f"{path}: no rows; expected a row for each prediction")
    return found


def _text(path, not_header):
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = [[cell.strip() for cell in line] for line in csv.reader(file, delimiter=delimiter) if line]
    if not lines:
        raise FileError(f"{path}: the file is empty")
    for number, line in enumerate(lines, start=1):
        if len(line) != len(lines[0]):
            raise FileError(f"{path}: line {number} has {len(line)} cells but line 1 has {len(lines[0])}")
    first = lines[0]
    counted = len(first) > 1 and first == [str(k) for k in range(len(first))]
    header = counted or (not all(map(_is_number, first)) and not set(first) <= set(not_header))
    return Columns(np.array(lines[header:]).reshape(-1, len(first)), tuple(first) if header else None)


def _npy(path, _):
    try:
        return Columns(_as_matrix(path, np.load(path, allow_pickle=False)), None)
    except (ValueError, OSError) as error:
        raise FileError(f"{path}: not an array of numbers or texts ({error}); save with np.save, no objects") from error


def _npz(path, _):
    try:
        with np.load(path, allow_pickle=False) as arrays:
            parts = {name: _as_matrix(path, arrays[name]) for name in arrays.files}
    except (ValueError, OSError) as error:
        raise FileError(f"{path}: not arrays of numbers or texts ({error}); save with np.savez") from error
    if len(parts) == 1:
        return Columns(next(iter(parts.values())), None)
    if any(part.shape[1] > 1 or len(part) != len(next(iter(parts.values()))) for part in parts.values()):
        shapes = ", ".join(f"{name} {part.shape}" for name, part in parts.items())
        raise FileError(f"{path}: arrays {shapes}; expected one array, or arrays [N] of one length: use two files")
    return Columns(np.column_stack(list(parts.values())), tuple(parts))


def _parquet(path, _):
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


def _as_matrix(path, values):
    if values.ndim not in (1, 2):
        raise FileError(f"{path}: an array of shape {values.shape}; expected [N] or [N, K]")
    return values.reshape(len(values), -1)


def _chosen(path, found, names, option):
    """The columns of those names, in that order; all, if none is named."""
    if names:
        absent = [name for name in names if name not in (found.names or ())]
        if absent:
            have = ", ".join(found.names) if found.names else "none: the file has no names"
            raise FileError(f"{path}: no column {', '.join(absent)}; its columns: {have}")
        return Columns(found.values[:, [found.names.index(name) for name in names]], tuple(names))
    if not option and found.values.shape[1] != 1:
        have = f" ({', '.join(found.names)})" if found.names else ""
        raise FileError(
            f"{path}: {found.values.shape[1]} columns{have}, but labels are one, the class of each row; "
            "name it with --label-column, or save the argmax of one-hot rows"
        )
    return found


def _numbers(path, found):
    """[N, C] floats."""
    values = found.values
    try:
        return (
            np.where(values == "", "nan", values).astype(np.float64)
            if values.dtype.kind == "U"
            else values.astype(float)
        )
    except (ValueError, TypeError):
        row, column = next(place for place in np.ndindex(found.values.shape) if not _is_number(found.values[place]))
        raise FileError(
            f"{path}: {str(found.values[row, column])!r} in row {row}, {_column(found, column)}, is no number; "
            "choose the columns of the predictions with --column NAME, once for each class"
        ) from None


def _from_probs(path, found, values):
    bad = ~((values >= 0) & (values <= 1))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        missing = np.isnan(values)
        cure = "these look like logits: pass the file as --logits; or choose columns with --column"
        if missing.any():
            row, column = np.argwhere(missing)[0]
            cure = f"{int(missing.sum())} are NaN or empty: remove those rows here and from the labels"
        raise FileError(
            f"{path}: {int(bad.sum())} of {values.size} probabilities are outside [0, 1] (first: "
            f"{values[row, column]:.6g} in row {row}, {_column(found, column)}); {cure}"
        )
    if values.shape[1] == 1:
        return from_probs(values[:, 0]), (f"{path}: {len(values)} rows, one column, read as the chance of class 1",)
    gap = np.abs(values.sum(axis=1) - 1)
    if gap.max() > FILE_TOLERANCE:
        row = int(gap.argmax())
        raise FileError(
            f"{path}: rows must sum to 1, but {int((gap > FILE_TOLERANCE).sum())} of {len(values)} do not: row {row} "
            f"sums to {values[row].sum():.6g}, off by {gap[row]:.3g}; divide each row by its sum if these are "
            "probabilities, or choose the classes' columns with --column"
        )
    said = (f"{path}: {len(values)} rows, {values.shape[1]} classes, probabilities",)
    if gap.max() > SUM_TOLERANCE["float64"]:
        said += (f"rows of probabilities sum to 1 within {gap.max():.1g} only: each was divided by its sum",)
    return from_probs(values / values.sum(axis=1, keepdims=True)), said


def _from_logits(path, found, values):
    bad = np.isnan(values) | np.isposinf(values)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise FileError(
            f"{path}: {int(bad.sum())} logits are NaN, empty or +inf (first: row {row}, {_column(found, column)}); "
            "remove those rows here and from the labels"
        )
    one = values.shape[1] == 1
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        forecast = from_logits(values[:, 0] if one else values)
    kind = "one column, read as the log-odds of class 1" if one else f"{values.shape[1]} classes, logits"
    said = (f"{path}: {len(values)} rows, {kind}",)
    if ((values >= 0) & (values <= 1)).all() and (one or np.allclose(values.sum(1), 1, atol=FILE_TOLERANCE)):
        said += ("every logit lies in [0, 1], as probabilities do: if that is what they are, pass --probs",)
    return forecast, said


def _labels(path, found, probs_path, classes, shape):
    """[N] class numbers, and what was done to get them, in words."""
    num_rows, num_classes = shape
    values = found.values[:, 0]
    if len(values) != num_rows:
        raise FileError(
            f"{path}: {len(values)} labels for {num_rows} rows of {probs_path}; expected one label a row, in the same "
            "order; where a file begins with column names that are numbers, give them words"
        )
    texts = [_as_text(value) for value in values]
    empty = np.array([text in ("", "nan", "None") for text in texts])
    if empty.any():
        raise FileError(
            f"{path}: {int(empty.sum())} of {num_rows} labels are absent (first: row {int(empty.argmax())}); remove "
            "those rows here and from the predictions"
        )
    if classes and set(texts) <= set(classes):
        if len(set(classes)) < len(classes):
            raise FileError(f"{probs_path}: columns {', '.join(classes)} are not all different")
        matched = f"{path}: labels matched with the names of the columns, {', '.join(classes)}"
        return np.array([classes.index(text) for text in texts]), (matched,)
    if num_classes == 2 and not classes and set(texts) <= {"True", "False"}:
        return np.array([int(text == "True") for text in texts]), (f"{path}: True is class 1",)
    allowed = {str(k): k for k in range(num_classes)}
    wrong = [text for text in texts if text not in allowed]
    if wrong:
        names = f"columns {', '.join(classes)}" if classes else "no names of classes"
        raise FileError(
            f"{path}: label {wrong[0]!r} (and {len(wrong) - 1} more) is no class number 0 … {num_classes - 1}, and "
            f"{probs_path} has {names}; which class a name means is not guessed: give the columns of the probabilities "
            "the labels' names, or encode labels as numbers in the order of the columns"
        )
    return np.array([allowed[text] for text in texts]), ()


def _as_text(value: Any) -> str:
    """A label as text: 1, 1.0 and "1" are one."""
    text = str(value).strip()
    return str(int(float(text))) if _is_number(text) and float(text).is_integer() else text


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _column(found, index):
    return f"column {found.names[index]!r}" if found.names else f"column {index}"
