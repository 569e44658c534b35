"""Gaussian-process regression with unknown length scale, amplitude and noise."""

from __future__ import annotations

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from verification.exact.gp_scales import gp_hyperparameters
from verification.posteriordb.port import Port, column


def _program(data):
    """sigma is added to the diagonal as it is: a variance, for all its name."""
    rho = numpyro.sample("rho", dist.Gamma(25.0, 4.0))
    alpha = numpyro.sample("alpha", dist.HalfNormal(2.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    x, y = data["x"], data["y"]
    kernel = alpha**2 * jnp.exp(-0.5 * ((x[:, None] - x) / rho) ** 2)
    covariance = kernel + sigma * jnp.eye(len(x))
    numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(len(x)), covariance_matrix=covariance), obs=y)


PORTS = {
    "gp_pois_regr-gp_regr": Port(
        "Gaussian-process regression, three hyperparameters",
        _program,
        lambda raw: {"x": column(raw, "x"), "y": column(raw, "y")},
        lambda data: gp_hyperparameters(("rho", "alpha", "sigma"), data["x"], data["y"]),
    ),
}
