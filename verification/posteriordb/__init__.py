"""Problems from a clone of the public posteriordb repository (Magnusson et al. 2024), each solved exactly by
quadrature of our own.

The models are NumPyro programs written from the database's public descriptions, one file a family.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from probjax import target_from_numpyro
from probjax.types import Static
from verification.exact import cache
from verification.posteriordb import benchmarks, gaussian_process, gelman_hill, hierarchy, logistic, mixture
from verification.posteriordb.database import (
    CURE,
    data_file,
    find_database,
    has_reference_draws,
    posterior_names,
    read_data,
    reference_draws,
)
from verification.posteriordb.port import Port, named_quantities
from verification.types import Problem

__all__ = [
    "PORTS",
    "Port",
    "build",
    "find_database",
    "has_reference_draws",
    "names",
    "prepared",
    "read_data",
    "reference_draws",
]

FAMILIES = (hierarchy, gelman_hill, benchmarks, logistic, gaussian_process, mixture)
PORTS = {name: port for family in FAMILIES for name, port in family.PORTS.items()}


def names(directory: str | Path) -> tuple[list[str], list[str]]:
    """Posteriors of the clone that have a port here, and those that have none."""
    there = posterior_names(find_database(directory))
    return [n for n in there if n in PORTS], [n for n in there if n not in PORTS]


def prepared(directory: str | Path, name: str) -> dict[str, np.ndarray]:
    """The data of a ported posterior as its program and its solver take them.

    Raises:
        ValueError: no port of that name, no such posterior in the clone, unreadable files, or data of another layout.
    """
    if name not in PORTS:
        raise ValueError(f"posteriordb: {name} has no port here; ported are {', '.join(PORTS)}")
    root = find_database(directory)
    raw = read_data(root, name)
    try:
        return PORTS[name].prepare(raw)
    except KeyError as missing:
        came = ", ".join(raw) or "none"
        raise ValueError(
            f"posteriordb: {data_file(root, name)} lacks the field {missing.args[0]} that {name} needs; its fields are "
            f"{came}; {CURE}"
        ) from missing
    except (TypeError, ValueError) as error:
        raise ValueError(f"posteriordb: {data_file(root, name)} is not the data of {name}: {error}; {CURE}") from error


def build(directory: str | Path, name: str) -> Problem:
    """The posterior `name` of the clone as a Problem: target, data, exact answer.

    Raises:
        ValueError: like `prepared`, or the data are such that the posterior is not proper or not within the solver's
            reach.
    """
    data = prepared(directory, name)
    port = PORTS[name]
    try:
        reference = cache.solved(f"{name}-{_digest(data)}", lambda: port.solve(data))
    except ValueError as error:
        path = data_file(find_database(directory), name)
        raise ValueError(f"posteriordb: {path} has no exact answer as {name}: {error}") from error
    arrays = {key: jnp.asarray(value) for key, value in data.items()}
    target = target_from_numpyro(port.program, arrays)
    return Problem(
        name=name,
        about=port.about,
        model=target,
        data=arrays,
        query=Partial(named_quantities, Static(reference.names), target.constrain),
        log_new=None,
        reference=reference,
        exact_draws=None,
    )


def _digest(data: dict[str, np.ndarray]) -> str:
    """Of the numbers themselves: another clone may hold other data by the same name."""
    digest = hashlib.sha256()
    for key in sorted(data):
        digest.update(f"{key}{data[key].shape}".encode() + np.ascontiguousarray(data[key], float).tobytes())
    return digest.hexdigest()[:12]
