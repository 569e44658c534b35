"""Normal hierarchies, non-centred: all but the scales integrates in closed form (Rubin 1981; Gelman & Hill 2006,
chapter 12)."""

from __future__ import annotations

import numpy as np
import numpyro
import numpyro.distributions as dist

from verification.exact import scale_mixture
from verification.exact.varying_intercept import grouped, varying_intercept
from verification.posteriordb.port import Port, column, indexed


def _eight_schools(data):
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    with numpyro.plate("schools", data["y"].shape[0]):
        standard = numpyro.sample("theta_trans", dist.Normal(0.0, 1.0))
        theta = numpyro.deterministic("theta", mu + tau * standard)
        numpyro.sample("y", dist.Normal(theta, data["sigma"]), obs=data["y"])


def _radon(data):
    """Log radon in houses, an intercept a county; floors and uranium are not used."""
    mu = numpyro.sample("mu_alpha", dist.Normal(0.0, 10.0))
    spread = numpyro.sample("sigma_alpha", dist.HalfNormal(1.0))
    noise = numpyro.sample("sigma_y", dist.HalfNormal(1.0))
    with numpyro.plate("counties", data["size"].shape[0]):
        standard = numpyro.sample("alpha_raw", dist.Normal(0.0, 1.0))
        alpha = numpyro.deterministic("alpha", mu + spread * standard)
    numpyro.sample("y", dist.Normal(alpha[data["county"]], noise), obs=data["y"])


def _schools(raw):
    raw = {**raw, "N": raw["J"]}
    y, sigma = column(raw, "y"), column(raw, "sigma")
    if np.min(sigma) <= 0:
        raise ValueError(f"its field sigma should be positive but has {np.min(sigma):g}")
    return {"y": y, "sigma": sigma}


def _houses(raw):
    county = column(raw, "county_idx").astype(int) - 1
    size = np.bincount(np.maximum(county, 0), minlength=int(raw["J"]))
    if county.min() < 0 or len(size) != raw["J"] or size.min() == 0:
        raise ValueError(
            f"its field county_idx should name each of the {raw['J']} counties, counted from 1, and no other"
        )
    return {"y": column(raw, "log_radon"), "county": county, "size": size}


def _solve_radon(data):
    names = [*indexed("alpha", len(data["size"])), "mu_alpha", "sigma_y", "sigma_alpha"]
    return varying_intercept(names, grouped(data["y"], data["county"], loc_scale=10.0, scale_scale=1.0))


PORTS = {
    "eight_schools-eight_schools_noncentered": Port(
        "eight schools, hierarchical, non-centred",
        _eight_schools,
        _schools,
        lambda data: scale_mixture.eight_schools(data["y"], data["sigma"]),
    ),
    "radon_mn-radon_partially_pooled_noncentered": Port(
        "radon in Minnesota, an intercept a county, non-centred", _radon, _houses, _solve_radon
    ),
}
