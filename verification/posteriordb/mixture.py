"""A mixture of two normals on the line, means in increasing order."""

from __future__ import annotations

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from verification.exact.two_normals import two_normals
from verification.posteriordb.port import Port, column


def _program(data):
    """theta is the weight of the component with the smaller mean."""
    mu = numpyro.sample("mu", dist.ImproperUniform(dist.constraints.ordered_vector, (), (2,)))
    numpyro.factor("mu_prior", jnp.log(2.0) + dist.Normal(0.0, 2.0).log_prob(mu).sum())  # on half of the plane
    sigma = numpyro.sample("sigma", dist.HalfNormal(2.0).expand([2]).to_event(1))
    theta = numpyro.sample("theta", dist.Beta(5.0, 5.0))
    weights = dist.Categorical(probs=jnp.stack([theta, 1 - theta]))
    numpyro.sample("y", dist.MixtureSameFamily(weights, dist.Normal(mu, sigma)), obs=data["y"])


PORTS = {
    "low_dim_gauss_mix-low_dim_gauss_mix": Port(
        "mixture of two normals, ordered means",
        _program,
        lambda raw: {"y": column(raw, "y")},
        lambda data: two_normals(data["y"]),
    ),
}
