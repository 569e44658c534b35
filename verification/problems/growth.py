"""Growth curves: random intercepts and slopes of thirty animals."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jax.tree_util import Partial

from probjax import Target
from verification.exact.cache import solved
from verification.exact.gaussian_mixture import HyperQuery, Queries, gaussian_mixture
from verification.exact.hierarchy import GrowthCurves
from verification.problems._scales import exact_draws, identity, log_half_normal_scale, normal_init, redrawn
from verification.types import Bug, Problem

NUM_SUBJECTS, NUM_AHEAD = 30, 5
TIMES, AHEAD = np.arange(5) - 2.0, 3.0  # weeks, centred; the held-out week
GROWTH_SCALES = (2.0, 1.0)  # prior sd of the two means, of the three scales


def growth_data():
    """Weights of 30 animals in 5 weeks, in units of 40 g about 240 g, spread like the rats' of Gelfand et al. (1990);
    the first five animals' sixth week is held out: y [30, 5], y_new [5]."""
    rng = np.random.default_rng(30)
    intercept = 0.05 + 0.35 * rng.standard_normal(NUM_SUBJECTS)
    slope = 1.08 + 0.15 * rng.standard_normal(NUM_SUBJECTS)
    y = intercept[:, None] + np.outer(slope, TIMES) + 0.1 * rng.standard_normal((NUM_SUBJECTS, len(TIMES)))
    y_new = (intercept + AHEAD * slope)[:NUM_AHEAD] + 0.1 * rng.standard_normal(NUM_AHEAD)
    return y, y_new


def growth_curves() -> Problem:
    """y_it ~ N(a_i + b_i t, σ²), a_i ~ N(μ_a, τ_a²), b_i ~ N(μ_b, τ_b²): 65 parameters, a 3-D grid over the scales."""
    y, y_new = growth_data()
    solver = GrowthCurves.of_rows(y, TIMES, *GROWTH_SCALES)
    unit, half = np.eye(2 * NUM_SUBJECTS + 2), NUM_SUBJECTS + 1
    a, b = unit[:half], unit[half:]
    ahead = a[:NUM_AHEAD] + AHEAD * b[:NUM_AHEAD]
    parts = {
        "a[0]": a[0],
        "a[1] - a[0]": a[1] - a[0],
        "mu_a": a[-1],
        "b[0]": b[0],
        "b[1] - b[0]": b[1] - b[0],
        "mu_b": b[-1],
        "mean b - mu_b": b[:-1].mean(0) - b[-1],
        "f(0, week 6)": ahead[0],
        "f(0, week 6) - mean": ahead[0] - a[-1] - AHEAD * b[-1],
    }
    matrix = np.vstack(list(parts.values()))
    axes = [tuple(row) for row in np.eye(3)]
    hyper = (*map(HyperQuery, ("tau_a", "tau_b", "sigma"), axes), HyperQuery("log tau_b/sigma", (0, 1, -1), identity))
    queries = Queries(tuple(parts), matrix, hyper)
    log_new = lambda v: solver.log_new(v, ahead, y_new)
    uncentred = solver._replace(time_squares=float(((TIMES - TIMES[0]) ** 2).sum()))
    solve = lambda: gaussian_mixture(solver, queries, nodes=[57] * 3, log_new=log_new, num_new=NUM_AHEAD, drop=32.0)
    return Problem(
        name="growth_curves",
        about="growth of 30 animals over 5 weeks, random intercepts and slopes (like the rats)",
        model=Target(
            normal_init(0.5, a=(NUM_SUBJECTS,), b=(NUM_SUBJECTS,), mu=(2,), log_tau=(2,), log_sigma=()),
            Partial(_growth_log_joint, *GROWTH_SCALES),
            _growth_constrain,
        ),
        data={"y": jnp.asarray(y), "time": jnp.asarray(TIMES)},
        query=Partial(_growth_query, jnp.asarray(matrix)),
        log_new=Partial(_growth_new, jnp.asarray(AHEAD), jnp.asarray(y_new)),
        reference=solved("growth_curves", solve),
        exact_draws=exact_draws(solver, [49] * 3, _growth_params),
        bug=Bug("slopes weighted by the times' squares, not centred", redrawn(uncentred, [49] * 3, _growth_params)),
    )


def _growth_log_joint(mu_scale, scale, params, data):
    tau = jnp.exp(params["log_tau"])
    scales = jnp.sum(log_half_normal_scale(params["log_tau"], scale))
    scales = scales + log_half_normal_scale(params["log_sigma"], scale)
    means = jnp.sum(norm.logpdf(params["mu"], 0.0, mu_scale))
    effects = norm.logpdf(params["a"], params["mu"][0], tau[0]) + norm.logpdf(params["b"], params["mu"][1], tau[1])
    lines = params["a"][:, None] + params["b"][:, None] * data["time"]
    rows = jnp.sum(norm.logpdf(data["y"], lines, jnp.exp(params["log_sigma"])))
    return scales + means + jnp.sum(effects) + rows


def _growth_new(time, y_new, params):
    num = y_new.shape[0]
    lines = params["a"][:num] + params["b"][:num] * time
    return jnp.sum(norm.logpdf(y_new, lines, jnp.exp(params["log_sigma"])))


def _growth_constrain(params):
    tau, sigma = jnp.exp(params["log_tau"]), jnp.exp(params["log_sigma"])
    return {"a": params["a"], "b": params["b"], "mu": params["mu"], "tau": tau, "sigma": sigma}


def _growth_query(matrix, params):
    mu, log_tau, log_sigma = params["mu"], params["log_tau"], params["log_sigma"]
    latents = jnp.concatenate([params["a"], mu[:1], params["b"], mu[1:]])
    hyper = jnp.concatenate([jnp.exp(log_tau), jnp.stack([jnp.exp(log_sigma), log_tau[1] - log_sigma])])
    return jnp.append(matrix @ latents, hyper)


def _growth_params(v, latents):
    half = NUM_SUBJECTS + 1
    a, b = latents[:, :half], latents[:, half:]
    mu = np.column_stack([a[:, -1], b[:, -1]])
    return {"a": a[:, :-1], "b": b[:, :-1], "mu": mu, "log_tau": v[:, :2], "log_sigma": v[:, 2]}
