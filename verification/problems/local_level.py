"""A random walk seen through noise."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jax.tree_util import Partial

from probjax import Target
from verification.exact.cache import solved
from verification.exact.gaussian_mixture import HyperQuery, Queries, gaussian_mixture
from verification.exact.state_space import LocalLevel
from verification.problems._scales import exact_draws, identity, log_half_normal_scale, normal_init
from verification.types import Bug, Problem

NUM_LEVELS, NUM_OBSERVED = 33, 30
LEVEL_SCALES = (3.0, 1.0)  # prior sd of the first level, of the two noise scales


def local_level_data() -> np.ndarray:
    """A random walk of 33 steps (sd 0.5) seen through noise (sd 0.6)."""
    rng = np.random.default_rng(33)
    return np.cumsum(0.5 * rng.standard_normal(NUM_LEVELS)) + 0.6 * rng.standard_normal(NUM_LEVELS)


def local_level() -> Problem:
    """y_t ~ N(x_t, r²), x_t ~ N(x_{t−1}, q²): 30 rows, 33 levels of which three are forecasts, and (log q, log r)."""
    y = local_level_data()
    solver, both = (LocalLevel(part, NUM_LEVELS, *LEVEL_SCALES) for part in (y[:NUM_OBSERVED], y))
    unit = np.eye(NUM_LEVELS)
    parts = {
        "x[1]": unit[0],
        "x[15]": unit[14],
        "x[30]": unit[29],
        "x[33]": unit[32],
        "x[16] - x[15]": unit[15] - unit[14],
        "x[30] - x[29]": unit[29] - unit[28],
        "mean of x": np.append(np.full(30, 1 / 30), np.zeros(3)),
    }
    matrix = np.vstack(list(parts.values()))
    hyper = (HyperQuery("q", (1, 0)), HyperQuery("r", (0, 1)), HyperQuery("log q/r", (1, -1), identity))
    queries = Queries(tuple(parts), matrix, hyper)
    log_new = lambda v: both.log_weight(v) - solver.log_weight(v)
    return Problem(
        name="local_level",
        about="a random walk seen through noise, 30 rows (local level)",
        model=Target(
            normal_init(0.5, x=(NUM_LEVELS,), log_q=(), log_r=()),
            Partial(_level_log_joint, *LEVEL_SCALES),
            _level_constrain,
        ),
        data={"y": jnp.asarray(y[:NUM_OBSERVED])},
        query=Partial(_level_query, jnp.asarray(matrix)),
        log_new=Partial(_level_new, jnp.asarray(y[NUM_OBSERVED:])),
        reference=solved(
            "local_level",
            lambda: gaussian_mixture(solver, queries, nodes=[451, 451], log_new=log_new, num_new=len(y) - NUM_OBSERVED),
        ),
        exact_draws=exact_draws(solver, [161, 161], _level_params),
        bug=Bug("the filter's means for the smoother's", _filter_damage(solver)),
    )


def _level_log_joint(start_scale, scale, params, data):
    x, num = params["x"], data["y"].shape[0]
    scales = log_half_normal_scale(params["log_q"], scale) + log_half_normal_scale(params["log_r"], scale)
    walk = norm.logpdf(x[0], 0.0, start_scale) + jnp.sum(norm.logpdf(jnp.diff(x), 0.0, jnp.exp(params["log_q"])))
    return scales + walk + jnp.sum(norm.logpdf(data["y"], x[:num], jnp.exp(params["log_r"])))


def _level_new(y_new, params):
    return jnp.sum(norm.logpdf(y_new, params["x"][-y_new.shape[0] :], jnp.exp(params["log_r"])))


def _level_constrain(params):
    return {"x": params["x"], "q": jnp.exp(params["log_q"]), "r": jnp.exp(params["log_r"])}


def _level_query(matrix, params):
    log_q, log_r = params["log_q"], params["log_r"]
    return jnp.append(matrix @ params["x"], jnp.stack([jnp.exp(log_q), jnp.exp(log_r), log_q - log_r]))


def _level_params(v, latents):
    return {"x": latents, "log_q": v[:, 0], "log_r": v[:, 1]}


def _filter_damage(solver):
    """Each draw keeps its departure from the smoother's mean and is put about the filter's."""

    def damage(rng, params):
        v = np.column_stack([params["log_q"], params["log_r"]])
        _, means, variances = solver.filter(v)
        gains, smooth = variances / (variances + np.exp(2 * v[:, 0])), means.copy()
        for t in range(NUM_LEVELS - 2, -1, -1):
            smooth[t] += gains[t] * (smooth[t + 1] - means[t])
        return {**params, "x": params["x"] + (means - smooth).T}

    return damage


PROBLEMS = {"local_level": local_level}
