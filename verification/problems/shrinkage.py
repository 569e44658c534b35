"""Priors with a kink or a pole at zero: the lasso's Laplace and the horseshoe, each on two correlated inputs."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from probjax import Model, likelihoods, linear, priors
from verification.exact import horseshoe as exact_horseshoe
from verification.exact import kinked_plane
from verification.exact import row_densities as rows_of
from verification.exact.cache import solved
from verification.exact.glm_grid import Pilot
from verification.problems._flat import Quantity, Rows, exact_queries, model_query, params_of, problem, rejected
from verification.problems._parts import reweighted
from verification.types import Bug, Problem

QUANTITIES = [
    Quantity("w[0]", (1, 0)),
    Quantity("w[1]", (0, 1)),
    Quantity("w[0] + w[1]", (1, 1)),
    Quantity("w[0] - w[1]", (1, -1)),
]


def lasso_rows() -> Rows:
    """12 rows, two inputs correlated at 0.8, the second without effect."""
    rng = np.random.default_rng(41)
    x = rng.standard_normal((16, 2)) @ np.linalg.cholesky([[1.0, 0.8], [0.8, 1.0]]).T
    return Rows.split(x, 0.5 * x[:, 0] + rng.standard_normal(16), 12)


LASSO_SCALE = 0.25


def lasso() -> Problem:
    """y ~ N(xᵀw, 1), w_j ~ Laplace(0, 0.25) (Park & Casella 2008): the posterior has a kink along each axis."""
    rows = lasso_rows()
    model = Model(*linear(2, bias=False), prior=priors.laplace(0.0, LASSO_SCALE), likelihood=likelihoods.normal(1.0))
    density, lines = lasso_density(rows), kinked_plane.Lines(np.eye(2), np.zeros(2))
    new = lambda theta: rows_of.normal(rows.new_y, theta @ rows.new_x.T, 1.0)
    pilot = Pilot(np.zeros(2), 0.1 * np.eye(2), 20)
    solve = lambda: kinked_plane.solve(exact_queries(QUANTITIES), density, lines, pilot, log_new=new, num_new=4)
    reference = solved("lasso", solve)
    return problem(
        "lasso",
        "Bayesian lasso, 12 rows, two inputs correlated at 0.8",
        model,
        rows,
        model_query(QUANTITIES),
        reference,
        rejected(model, density, reference, 2),
        Bug("ridge of the same variance for the lasso", reweighted(_ridge_for_lasso)),
        log_concave=True,
    )


def lasso_density(rows: Rows) -> Callable:
    """log p(w, y)."""
    log_prior = lambda w: -np.abs(w).sum(1) / LASSO_SCALE - 2 * np.log(2 * LASSO_SCALE)
    return lambda w: rows_of.normal(rows.y, w @ rows.x.T, 1.0) + log_prior(w)


def _ridge_for_lasso(params):
    w = params["weight"] / LASSO_SCALE
    return jnp.sum(jnp.abs(w) - 0.25 * w**2)  # N(0, 2b²) over Laplace(b)


def horseshoe_rows() -> Rows:
    """10 rows, two inputs correlated at 0.5, the second without effect."""
    rng = np.random.default_rng(42)
    x = rng.standard_normal((14, 2)) @ np.linalg.cholesky([[1.0, 0.5], [0.5, 1.0]]).T
    return Rows.split(x, 1.2 * x[:, 0] + rng.standard_normal(14), 10)


HORSESHOE_SCALE = 0.3


def horseshoe() -> Problem:
    """y ~ N(xᵀw, 1), w_j = 0.3 λ_j z_j with λ_j half-Cauchy (Carvalho, Polson & Scott 2010): an infinite peak at
    zero."""
    rows = horseshoe_rows()
    prior = priors.horseshoe(HORSESHOE_SCALE)
    model = Model(*linear(2, bias=False), prior=prior, likelihood=likelihoods.normal(1.0))
    net = exact_horseshoe.TwoWeights(rows.x, rows.y, 1.0, HORSESHOE_SCALE)
    names, directions = zip(*((q.name, q.direction) for q in QUANTITIES))
    solve = lambda: exact_horseshoe.solve(names, directions, net, rows.new_x, rows.new_y)
    sampler, unpack = exact_horseshoe.sampler(net), params_of(model)
    return problem(
        "horseshoe",
        "horseshoe prior, 10 rows, two inputs correlated at 0.5",
        model,
        rows,
        model_query(QUANTITIES),
        solved("horseshoe", solve),
        lambda rng, num: unpack(sampler(rng, num)),
        Bug("local scales half-normal for half-Cauchy", _half_normal_locals(unpack)),
    )


def _half_normal_locals(unpack):
    """w_j = τ λ_j z_j with λ_j half-normal has the density K₀(|w|/τ)/(πτ)."""

    def damage(rng, params):
        w = params["weight"]
        log_weights = exact_horseshoe.log_half_normal_over_half_cauchy(w, HORSESHOE_SCALE).sum(1)
        weights = np.exp(log_weights - log_weights.max())
        return unpack(w[rng.choice(len(w), len(w), p=weights / weights.sum())])

    return damage


PROBLEMS = {
    "lasso": lasso,
    "horseshoe": horseshoe,
}
