"""What a port is, and the pieces that ports share."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from verification.exact.reference import Reference


class Port(NamedTuple):
    """about: for tables. program: data -> None in NumPyro. prepare: the database's data -> what program takes, arrays
    by name. solve: it -> Reference, whose names are the database's."""

    about: str
    program: Callable
    prepare: Callable[[dict], dict]
    solve: Callable[[dict], Reference]


def column(raw: dict, field: str) -> np.ndarray:
    """A field of N numbers, one a row.

    Raises:
        KeyError: it is not there.
        ValueError: it is not N finite numbers.
    """
    try:
        values = np.array(raw[field], float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"its field {field} does not hold plain numbers") from error
    rows = raw.get("N", len(values) if values.ndim else None)
    if values.ndim != 1 or len(values) != rows or not np.isfinite(values).all():
        finite = "" if np.isfinite(values).all() else ", not all finite"
        raise ValueError(
            f"its field {field} should hold {rows} finite numbers but came with shape {values.shape}{finite}"
        )
    return values


def matrix(raw: dict, field: str) -> np.ndarray:
    """A field of N rows of numbers; raises like `column`."""
    try:
        values = np.array(raw[field], float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"its field {field} is no rectangle of numbers") from error
    if values.ndim != 2 or len(values) != raw.get("N", len(values)) or not np.isfinite(values).all():
        raise ValueError(f"its field {field} should hold {raw.get('N')} rows of finite numbers; it has {values.shape}")
    return values


def indexed(name: str, size: int) -> list[str]:
    """ "beta[1]", …, "beta[size]", as the database counts."""
    return [f"{name}[{j + 1}]" for j in range(size)]


def named_quantities(names, constrain, params):
    """The quantities called "mu" or "beta[2]" (counted from 1), in order."""
    values = constrain(params)
    picked = []
    for name in names.value:
        site, _, index = name.partition("[")
        picked.append(jnp.atleast_1d(values[site])[int(index[:-1]) - 1 if index else 0])
    return jnp.stack(picked)
