"""Problems from a clone of the public posteriordb repository (Magnusson et al. 2024), each solved exactly by
quadrature of our own.

The models are NumPyro programs written from the database's public descriptions.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.tree_util import Partial
from scipy.special import expit

from probjax import target_from_numpyro
from probjax.types import Static
from verification.exact import quadrature, scale_mixture
from verification.exact.reference import Reference
from verification.types import Problem


class Port(NamedTuple):
    """about: for tables. program: data -> None in NumPyro. prepare: the database's data -> what program takes.
    solve: it -> Reference."""

    about: str
    program: Callable
    prepare: Callable[[dict], dict]
    solve: Callable[[dict], Reference]


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


def names(directory: str | Path) -> tuple[list[str], list[str]]:
    """Posteriors of the clone that have a port here, and those that have none."""
    there = sorted(path.stem for path in (find_database(directory) / "posteriors").glob("*.json"))
    return [n for n in there if n in PORTS], [n for n in there if n not in PORTS]


def build(directory: str | Path, name: str) -> Problem:
    """The posterior `name` of the clone as a Problem: target, data, exact answer.

    Raises:
        ValueError: no port of that name, no such posterior in the clone, or unreadable files.
    """
    if name not in PORTS:
        raise ValueError(f"posteriordb: {name} has no port here; ported are {', '.join(PORTS)}")
    port, raw = PORTS[name], _read_data(find_database(directory), name)
    data = port.prepare(raw)
    reference = port.solve(data)
    arrays = {key: jnp.asarray(value) for key, value in data.items()}
    target = target_from_numpyro(port.program, arrays)
    return Problem(
        name=name,
        about=port.about,
        model=target,
        data=arrays,
        query=Partial(_named, Static(reference.names), target.constrain),
        log_new=None,
        reference=reference,
        exact_draws=None,
    )


def _read_data(root: Path, name: str) -> dict:
    entry = root / "posteriors" / f"{name}.json"
    if not entry.exists():
        raise ValueError(f"posteriordb: no {entry}; the clone does not hold {name}")
    try:
        data_name = json.loads(entry.read_text())["data_name"]
        with zipfile.ZipFile(root / "data" / "data" / f"{data_name}.json.zip") as archive:
            return json.loads(archive.read(archive.namelist()[0]))
    except (KeyError, OSError, zipfile.BadZipFile, json.JSONDecodeError) as error:
        raise ValueError(
            f"posteriordb: the data of {name} cannot be read ({type(error).__name__}: {error}); fetch the clone again"
        ) from error


def _named(names, constrain, params):
    """The quantities called "mu" or "beta[2]" (counted from 1), in order."""
    values = constrain(params)
    picked = []
    for name in names.value:
        site, _, index = name.partition("[")
        picked.append(jnp.atleast_1d(values[site])[int(index[:-1]) - 1 if index else 0])
    return jnp.stack(picked)


def _eight_schools(data):
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    with numpyro.plate("schools", data["y"].shape[0]):
        standard = numpyro.sample("theta_trans", dist.Normal(0.0, 1.0))
        theta = numpyro.deterministic("theta", mu + tau * standard)
        numpyro.sample("y", dist.Normal(theta, data["sigma"]), obs=data["y"])


def _flat_regression(data):
    """Flat coefficients, half-Cauchy(2.5) noise."""
    beta = numpyro.sample("beta", dist.ImproperUniform(dist.constraints.real_vector, (), (data["x"].shape[1],)))
    sigma = numpyro.sample("sigma", dist.HalfCauchy(2.5))
    numpyro.sample("y", dist.Normal(data["x"] @ beta, sigma), obs=data["y"])


def _normal_regression(data):
    """N(0, 10²) coefficients, half-normal(10) noise."""
    beta = numpyro.sample("beta", dist.Normal(0.0, 10.0).expand([data["x"].shape[1]]).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(10.0))
    numpyro.sample("y", dist.Normal(data["x"] @ beta, sigma), obs=data["y"])


def _flat_logistic(data):
    """Flat intercept and slope."""
    alpha = numpyro.sample("alpha", dist.ImproperUniform(dist.constraints.real, (), ()))
    beta = numpyro.sample("beta", dist.ImproperUniform(dist.constraints.real_vector, (), (1,)))
    numpyro.sample("y", dist.Bernoulli(logits=alpha + data["x"] * beta[0]), obs=data["y"])


def _half_cauchy(scale):
    return lambda u: np.log(2 / np.pi) - np.log(scale) - np.log1p((np.exp(u) / scale) ** 2) + u


def _half_normal(scale):
    return lambda u: 0.5 * np.log(2 / np.pi) - np.log(scale) - 0.5 * (np.exp(u) / scale) ** 2 + u


def _solve_regression(log_prior, prior_precision):
    def solve(data):
        x, y = data["x"], data["y"]
        residual = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
        centre, width = (
            0.5 * np.log(residual @ residual / (len(y) - x.shape[1])),
            12 / np.sqrt(2 * (len(y) - x.shape[1])),
        )
        labels = [f"beta[{j + 1}]" for j in range(x.shape[1])] + ["sigma"]
        return scale_mixture.linear_regression_unknown_noise(
            labels, x, y, log_prior, centre - width, centre + width, prior_precision=prior_precision
        )

    return solve


def _solve_logistic(data):
    rows, counts = np.unique(np.column_stack([data["x"], data["y"]]), axis=0, return_counts=True)
    signed = (2 * rows[:, 1:] - 1) * np.column_stack([np.ones(len(rows)), rows[:, 0]])
    density = lambda w: np.log(expit(w @ signed.T)) @ counts
    return quadrature.linear_queries(
        ("alpha", "beta[1]"), density, np.zeros(2), np.eye(2), nodes=65, half_width=8.0, proper=False
    )


def _kidscore(raw):
    hs, iq = np.array(raw["mom_hs"], float), np.array(raw["mom_iq"], float)
    return {"x": np.column_stack([np.ones_like(hs), hs, iq, hs * iq]), "y": np.array(raw["kid_score"], float)}


def _xy(raw):
    return {"x": np.array(raw["X"], float), "y": np.array(raw["y"], float)}


PORTS = {
    "eight_schools-eight_schools_noncentered": Port(
        "eight schools, hierarchical, non-centred",
        _eight_schools,
        lambda raw: {"y": np.array(raw["y"], float), "sigma": np.array(raw["sigma"], float)},
        lambda data: scale_mixture.eight_schools(data["y"], data["sigma"]),
    ),
    "kidiq-kidscore_interaction": Port(
        "children's test scores with an interaction, flat priors",
        _flat_regression,
        _kidscore,
        _solve_regression(_half_cauchy(2.5), 0.0),
    ),
    "sblri-blr": Port(
        "Bayesian linear regression, independent inputs",
        _normal_regression,
        _xy,
        _solve_regression(_half_normal(10.0), 0.01),
    ),
    "sblrc-blr": Port(
        "Bayesian linear regression, correlated inputs",
        _normal_regression,
        _xy,
        _solve_regression(_half_normal(10.0), 0.01),
    ),
    "nes_logit_data-nes_logit_model": Port(
        "vote by income, logistic, flat priors",
        _flat_logistic,
        lambda raw: {"x": np.array(raw["income"], float), "y": np.array(raw["vote"], float)},
        _solve_logistic,
    ),
}
