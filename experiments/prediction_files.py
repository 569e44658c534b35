"""A user's own predictions: what `experiments.calibrate` reads, and what it says of files that it cannot use.

Probabilities or logits are a column of class 1, or a column a class. Labels are one column: class numbers 0 … K − 1, or
names, if the columns of the probabilities carry the same names: nothing is ever matched by the order of the alphabet.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.prediction_tables import FileError, is_number, read_columns
from probjax.forecasts import SUM_TOLERANCE, Forecast, from_logits, from_probs

THREE_DIGITS = 0.5e-3  # files are often rounded: what a probability may be off by


class Predictions(NamedTuple):
    """forecast: [N, K]. labels: [N]. classes: K names. said: how the files were read, in words. doubts: what may be
    wrong with all that is measured of them."""

    forecast: Forecast
    labels: np.ndarray
    classes: tuple[str, ...]
    said: tuple[str, ...]
    doubts: tuple[str, ...] = ()


def read_predictions(
    path: Path,
    labels_path: Path,
    *,
    logits: bool = False,
    columns: tuple[str, ...] = (),
    label_column: str | None = None,
    header: bool | None = None,
) -> Predictions:
    """Predictions and labels from two files, or from two sets of columns of one.

    Args:
        path: of probabilities, or of `logits`.
        labels_path: of labels.
        columns: which of the first file are used, in the order of the classes; none named: all but the labels'. Of npz
            the name of a matrix means its columns.
        label_column: which of the second file holds the labels; None: its only one.
        header: whether the first lines of text files hold names; None: seen from them, where it can be seen.

    Raises:
        FileError: a file that cannot be read, or numbers that are no such predictions; it names file and column.
    """
    found = read_columns(path, header=header)
    left_out = found.said
    if not columns and label_column and found.names and path.resolve() == labels_path.resolve():
        columns = tuple(name for name in found.names if name != label_column)
    found = _chosen(path, found, columns, "--column")
    values = _numbers(path, found)
    forecast, said, doubts = (_from_logits if logits else _from_probs)(path, found, values)
    classes = found.names if values.shape[1] > 1 else None
    # a first line of words may be a header or a class: that is known only from the columns' names
    labels = read_columns(labels_path, classes or (), header)
    left_out += labels.said if labels_path != path else ()
    labels = _chosen(labels_path, labels, (label_column,) if label_column else (), "")
    numbers, matched = _labels(labels_path, labels, path, classes, forecast.log_probs.shape)
    named = tuple(map(str, range(forecast.log_probs.shape[1])))
    return Predictions(forecast, numbers, classes if classes and matched else named, said + left_out + matched, doubts)


def _chosen(path, found, names, option):
    """The columns of those names, in that order; all, if none is named."""
    if names:
        have = found.names or ()
        # of an npz the name of a matrix stands for its columns
        places = [[k for k, one in enumerate(have) if one == name or one.startswith(f"{name}[")] for name in names]
        absent = [name for name, place in zip(names, places) if not place]
        if absent:
            told = ", ".join(have) or "none: the file has no names"
            raise FileError(f"{path}: no column {', '.join(absent)}; its columns: {told}")
        chosen = [k for place in places for k in place]
        return found._replace(values=found.values[:, chosen], names=tuple(have[k] for k in chosen))
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
        row, column = next(place for place in np.ndindex(found.values.shape) if not is_number(found.values[place]))
        raise FileError(
            f"{path}: {str(found.values[row, column])!r} in {found.row(row)}, {found.column(column)}, is no number; "
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
        elif not bad.any(axis=0).all():
            cure = "the other columns are probabilities: choose the classes' columns with --column, once for each"
        raise FileError(
            f"{path}: {int(bad.sum())} of {values.size} probabilities are outside [0, 1] (first: "
            f"{values[row, column]:.6g} in {found.row(row)}, {found.column(column)}); {cure}"
        )
    if values.shape[1] == 1:
        return from_probs(values[:, 0]), (f"{path}: {len(values)} rows, one column, read as the chance of class 1",), ()
    gap, tolerance = np.abs(values.sum(axis=1) - 1), THREE_DIGITS * values.shape[1] + 1e-9
    if gap.max() > tolerance:
        row = int(gap.argmax())
        raise FileError(
            f"{path}: rows must sum to 1, but {int((gap > tolerance).sum())} of {len(values)} do not: {found.row(row)} "
            f"sums to {values[row].sum():.6g}, off by {gap[row]:.3g}; divide each row by its sum if these are "
            "probabilities, or choose the classes' columns with --column"
        )
    said = (f"{path}: {len(values)} rows, {values.shape[1]} classes, probabilities",)
    if gap.max() > SUM_TOLERANCE["float64"]:
        said += (f"rows of probabilities sum to 1 within {gap.max():.1g} only: each was divided by its sum",)
        values = values / values.sum(axis=1, keepdims=True)
    return from_probs(values), said, ()


def _from_logits(path, found, values):
    bad = np.isnan(values) | np.isposinf(values)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise FileError(
            f"{path}: {int(bad.sum())} logits are NaN, empty or +inf (first: {found.row(row)}, "
            f"{found.column(column)}); remove those rows here and from the labels"
        )
    one = values.shape[1] == 1
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        forecast = from_logits(values[:, 0] if one else values)
    kind = "one column, read as the log-odds of class 1" if one else f"{values.shape[1]} classes, logits"
    doubts = ()
    if ((values >= 0) & (values <= 1)).all() and (one or np.allclose(values.sum(1), 1, atol=1e-2)):
        doubts = ("every logit lies in [0, 1], as probabilities do: if that is what they are, pass --probs",)
    return forecast, (f"{path}: {len(values)} rows, {kind}",), doubts


def _labels(path, found, probs_path, classes, shape):
    """[N] class numbers, and what was done to get them, in words."""
    num_rows, num_classes = shape
    values = found.values[:, 0]
    if len(values) != num_rows:
        raise FileError(
            f"{path}: {len(values)} labels for {num_rows} rows of {probs_path}; expected one label a row, in the same "
            f"order{_one_off(found, len(values) - num_rows)}"
        )
    texts = [_as_text(value) for value in values]
    empty = np.array([text in ("", "nan", "None") for text in texts])
    if empty.any():
        raise FileError(
            f"{path}: {int(empty.sum())} of {num_rows} labels are absent (first: {found.row(int(empty.argmax()))}); "
            "remove those rows here and from the predictions"
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
    return str(int(float(text))) if is_number(text) and float(text).is_integer() else text


def _one_off(found, too_many):
    """What may have become of the first line of a text file of labels."""
    if found.first_line is None:
        return ""
    if too_many == 1 and not found.names:
        return f"; if its first line, {str(found.values[0, 0])!r}, is the name of the column, say --header"
    if too_many == -1 and found.names:
        return f"; its first line, {found.names[0]!r}, was taken for the name of the column: if not, say --no-header"
    return ""
