"""Gaussian processes: function values under known hyperparameters, and the hyperparameters themselves."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jax.scipy.stats import norm
from jax.tree_util import Partial

from probjax import Target
from verification.exact import gaussian_process as exact
from verification.exact.cache import solved
from verification.exact.gaussian_mixture import HyperQuery, Queries, gaussian_mixture
from verification.problems._parts import principal_directions
from verification.problems._scales import exact_draws, identity, normal_init, redrawn
from verification.types import Bug, Problem

INPUTS = np.array([-3.0, -2.2, -1.5, -0.9, -0.2, 0.3, 1.0, 1.6, 2.5, 3.1])  # seen
NEW_INPUTS = np.array([-2.6, 0.6, 2.0])  # held out
LENGTH, AMPLITUDE, NOISE = 0.8, 1.0, 0.3
JITTER = 1e-2


def process_data() -> tuple[np.ndarray, np.ndarray]:
    """Noisy values of sin(1.3x) + 0.3x at `INPUTS` and at `NEW_INPUTS`."""
    rng = np.random.default_rng(10)
    truth = lambda x: np.sin(1.3 * x) + 0.3 * x
    return tuple(truth(x) + NOISE * rng.standard_normal(len(x)) for x in (INPUTS, NEW_INPUTS))


def process_kernel(jitter: float = 0.0) -> np.ndarray:
    """Prior covariance of f at all inputs, the held-out ones last."""
    inputs = np.append(INPUTS, NEW_INPUTS)
    return exact.rbf(inputs, LENGTH, AMPLITUDE) + jitter * np.eye(len(inputs))


def gp_values() -> Problem:
    """y ~ N(f(x), 0.3²), f ~ GP(0, RBF), hyperparameters known; the parameters are f at 10 seen inputs, 3 new."""
    y, y_new = process_data()
    kernel, observed = process_kernel(), np.arange(len(INPUTS))
    num, rows = len(kernel), np.arange(len(INPUTS), len(kernel))
    _, covariance = exact.posterior(kernel, observed, y, NOISE)
    directions, vectors = principal_directions(covariance)
    names = (*(f"f({x:g})" for x in (*INPUTS, *NEW_INPUTS)), "f(0.6) - f(0.3)", *directions)
    contrast = np.eye(num)[-2] - np.eye(num)[5]
    matrix = np.vstack([np.eye(num), contrast, vectors])
    draw = _value_draws(kernel, observed, y)
    jittered = _value_draws(process_kernel(JITTER), observed, y)
    return Problem(
        name="gp_values",
        about="a Gaussian process's values from 10 noisy ones, hyperparameters known",
        model=Target(normal_init(1.0, f=(num,)), Partial(_values_log_joint, jnp.asarray(NOISE)), _same),
        data={"y": jnp.asarray(y), "factor": jnp.asarray(np.linalg.cholesky(kernel))},
        query=Partial(_values_query, jnp.asarray(matrix)),
        log_new=Partial(_values_new, jnp.asarray(NOISE), jnp.asarray(y_new)),
        reference=solved(
            "gp_values", lambda: exact.function_values(names, kernel, observed, y, NOISE, matrix, (rows, y_new))
        ),
        exact_draws=draw,
        log_concave=True,
        bug=Bug("a jitter of 0.01 added to the kernel", lambda rng, params: jittered(rng, len(params["f"]))),
    )


def _value_draws(kernel, observed, y):
    mean, covariance = exact.posterior(kernel, observed, y, NOISE)
    factor = np.linalg.cholesky(covariance)
    return lambda rng, num: {"f": mean + rng.standard_normal((num, len(mean))) @ factor.T}


def _values_log_joint(noise, params, data):
    """log N(f | 0, LLᵀ) + log N(y | f, noise²)."""
    f, factor = params["f"], data["factor"]
    white = solve_triangular(factor, f, lower=True)
    prior = jnp.sum(norm.logpdf(white)) - jnp.sum(jnp.log(jnp.diag(factor)))
    return prior + jnp.sum(norm.logpdf(data["y"], f[: data["y"].shape[0]], noise))


def _values_new(noise, y_new, params):
    return jnp.sum(norm.logpdf(y_new, params["f"][-y_new.shape[0] :], noise))


def _values_query(matrix, params):
    return matrix @ params["f"]


def _same(params):
    return params


HYPER_PRIOR_SCALE = 0.5  # prior sd of log ℓ, log a and log s


def hyperparameter_data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """12 noisy values of 1.2 sin(1.5x), and 2 held out: x, y, x_new, y_new."""
    rng = np.random.default_rng(12)
    x, x_new = np.sort(rng.uniform(-3, 3, 12)), np.array([-1.0, 1.2])
    y, y_new = (1.2 * np.sin(1.5 * part) + 0.4 * rng.standard_normal(len(part)) for part in (x, x_new))
    return x, y, x_new, y_new


def gp_hyperparameters() -> Problem:
    """y ~ N(0, a²R(ℓ) + s²I): length scale, amplitude and noise sd of a Gaussian process with its values integrated
    out."""
    x, y, x_new, y_new = hyperparameter_data()
    solver = exact.Hyperparameters(x, y, HYPER_PRIOR_SCALE)
    both = exact.Hyperparameters(np.append(x, x_new), np.append(y, y_new), HYPER_PRIOR_SCALE)
    hyper = (
        HyperQuery("length scale", (1, 0, 0)),
        HyperQuery("amplitude", (0, 1, 0)),
        HyperQuery("noise sd", (0, 0, 1)),
        HyperQuery("log amplitude/noise", (0, 1, -1), identity),
    )
    log_new = lambda v: both.log_weight(v) - solver.log_weight(v)
    solve = lambda: gaussian_mixture(
        solver,
        Queries((), np.zeros((0, 0)), hyper),
        nodes=[95] * 3,
        log_new=log_new,
        num_new=len(y_new),
        second=exact.DenseHyperparameters(solver),
        drop=26.0,
    )
    return Problem(
        name="gp_hyperparameters",
        about="a Gaussian process's length scale, amplitude and noise from 12 values",
        model=Target(
            normal_init(0.5, log_length=(), log_amplitude=(), log_noise=()),
            Partial(_hyper_log_joint, HYPER_PRIOR_SCALE),
            _hyper_constrain,
        ),
        data={"x": jnp.asarray(x), "y": jnp.asarray(y)},
        query=_hyper_query,
        log_new=Partial(_hyper_new, {"x": jnp.asarray(x), "y": jnp.asarray(y)}, jnp.asarray(x_new), jnp.asarray(y_new)),
        reference=solved("gp_hyperparameters", solve),
        exact_draws=exact_draws(solver, [85] * 3, _hyper_params),
        bug=Bug(
            "noise sd added where its variance is due",
            redrawn(solver._replace(noise_power=1.0), [85] * 3, _hyper_params),
        ),
    )


def _innovations(x, y, params):
    """log N(y | 0, a²R(ℓ) + s²I) value by value, each given those before it, from the Cholesky factor: [N]."""
    gap = (x[:, None] - x) / jnp.exp(params["log_length"])
    kernel = jnp.exp(2 * params["log_amplitude"]) * jnp.exp(-0.5 * gap**2)
    factor = jnp.linalg.cholesky(kernel + jnp.exp(2 * params["log_noise"]) * jnp.eye(len(x)))
    standard = solve_triangular(factor, y, lower=True)
    return norm.logpdf(standard) - jnp.log(jnp.diag(factor))


def _hyper_log_joint(prior_scale, params, data):
    v = jnp.stack([params["log_length"], params["log_amplitude"], params["log_noise"]])
    return jnp.sum(norm.logpdf(v, 0.0, prior_scale)) + jnp.sum(_innovations(data["x"], data["y"], params))


def _hyper_new(seen, x_new, y_new, params):
    """log p(y_new | y, params), the new values being the last."""
    every = _innovations(jnp.append(seen["x"], x_new), jnp.append(seen["y"], y_new), params)
    return jnp.sum(every[len(seen["x"]) :])


def _hyper_constrain(params):
    return {
        "length_scale": jnp.exp(params["log_length"]),
        "amplitude": jnp.exp(params["log_amplitude"]),
        "noise": jnp.exp(params["log_noise"]),
    }


def _hyper_query(params):
    named = _hyper_constrain(params)
    ratio = params["log_amplitude"] - params["log_noise"]
    return jnp.stack([named["length_scale"], named["amplitude"], named["noise"], ratio])


def _hyper_params(v, latents):
    return {"log_length": v[:, 0], "log_amplitude": v[:, 1], "log_noise": v[:, 2]}


PROBLEMS = {
    "gp_values": gp_values,
    "gp_hyperparameters": gp_hyperparameters,
}
