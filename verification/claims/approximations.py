"""Which approximation of a posterior is exact where."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy import optimize

from probjax import inference, over_leading_axis, target
from verification.claims.parts import BAD, GOOD, THIRD, TRUTH, gap
from verification.claims.replicated import farthest
from verification.claims.types import CONTROL, INSTEAD, UNDER, WITHOUT, Finding, Measurement
from verification.exact import sgd
from verification.work import build_problem

KEYS, DRAWS = 24, 2000
STEP = 1.0  # of SGLD, over the largest curvature: a third too much variance in the stiffest direction
DESCENT, BATCH = 0.5, 5  # SWAG's step, over the largest curvature, and rows
WALK = {"num_warmup": 300, "thinning": 20, "num_snapshots": 1000, "rank": 1000}
CLOSE = 0.05  # relative, of an sd: the harness's tolerance


def of_the_posterior(rng) -> Finding:
    """Where the posterior is a Gaussian of precision Λ: Laplace, a last layer that is all there is, full-rank and a
    flow have it; mean-field has variances 1/Λᵢᵢ, SGLD Λ⁻¹(I − εΛ/4)⁻¹, SWAG ½ diag(S) + ½ S, S the covariance of SGD's
    iterates. On one tanh unit Laplace misses too, and more so the last layer, whose features do not vary."""
    problem = build_problem("linear", None)
    mean, precision = problem.linear.posterior
    covariance = np.linalg.inv(precision)
    of_queries = lambda c: problem.linear.queries @ c @ problem.linear.queries.T
    sds = lambda c: np.sqrt(np.diag(of_queries(c)))
    slope, curved = _at_the_mean(problem, mean)
    found, exact = _sds(rng, problem, precision), sds(covariance)
    known = {name: sds(c) for name, c in _walks(problem, precision).items()}
    known["mean-field"] = sds(np.diag(1 / np.diag(precision)))
    unit = _one_unit(rng, build_problem("network_one_unit", None))

    line = "Gaussian posterior: largest |sd/exact − 1|"
    tanh = "one tanh unit: largest |sd/exact − 1|"
    law = "largest |sd/closed form − 1|"
    half = sds(sgd.langevin_covariance(precision, 2 * STEP / np.linalg.eigvalsh(precision)[-1]))
    apart = sds(np.diag(np.diag(covariance)))
    off = [gap(c, of_queries(covariance)) for c in curved]
    return Finding(
        [
            Measurement(UNDER, "Gaussian posterior: slope of the log-joint at its mean", slope, 1e-9),
            Measurement(UNDER, "Gaussian posterior: Laplace's covariance less the exact one", off[0], 1e-12),
            Measurement(UNDER, "the same of a last layer that is all there is", off[1], 1e-12),
            farthest(UNDER, f"full-rank, {line}", found["full-rank"] / exact, CLOSE),
            farthest(UNDER, f"flow, {line}", found["flow"] / exact, CLOSE),
            farthest(WITHOUT, f"mean-field, {line}", found["mean-field"] / exact, CLOSE),
            farthest(WITHOUT, f"SGLD, {line}", found["SGLD"] / exact, CLOSE),
            farthest(WITHOUT, f"SWAG, {line}", found["SWAG"] / exact, CLOSE),
            farthest(WITHOUT, f"Laplace, {tanh}", unit["Laplace"], CLOSE),
            farthest(WITHOUT, f"last layer, {tanh}", unit["last layer"], CLOSE),
            farthest(INSTEAD, f"mean-field, 1/Λᵢᵢ: {law}", found["mean-field"] / known["mean-field"], CLOSE),
            farthest(INSTEAD, f"SGLD, Λ⁻¹(I − εΛ/4)⁻¹: {law}", found["SGLD"] / known["SGLD"], CLOSE),
            farthest(INSTEAD, f"SWAG, ½ diag(S) + ½ S: {law}", found["SWAG"] / known["SWAG"], CLOSE),
            farthest(CONTROL, f"mean-field, Σᵢᵢ without correlations: {law}", found["mean-field"] / apart, CLOSE),
            farthest(CONTROL, f"SGLD, Λ⁻¹(I − εΛ/2)⁻¹: {law}", found["SGLD"] / half, CLOSE),
            farthest(CONTROL, f"SWAG, S alone: {law}", found["SWAG"] / known["S"], CLOSE),
        ],
        lambda ax: _draw_sds(ax, found, known, exact, unit),
    )


def _draw_sds(ax, found, known, exact, unit):
    colours = {"full-rank": GOOD, "flow": GOOD, "mean-field": BAD, "SGLD": BAD, "SWAG": BAD}
    for row, (name, colour) in enumerate(colours.items()):
        ax.plot(found[name].mean(0) / exact, np.full(len(exact), row), "o", color=colour, ms=7)
        ax.plot(known.get(name, exact) / exact, np.full(len(exact), row), "|", color=TRUTH, ms=16)
    for row, ratios in enumerate(unit.values(), len(colours)):
        ax.plot(ratios.mean(0), np.full(ratios.shape[1], row), "o", color=THIRD, ms=7)
    ax.set_yticks(range(len(colours) + len(unit)), [*colours, *(f"{name}, one tanh unit" for name in unit)])
    ax.axvline(1, color=TRUTH, lw=0.8, ls=":")
    ax.set(xlabel="sd over the posterior's, nine or ten queries; bars: what a theorem says")


def _params(mean):
    return {"weight": jnp.asarray(mean[:-1]), "bias": jnp.asarray(mean[-1])}


def _at_the_mean(problem, mean):
    """At the posterior's mean: the largest slope of the log-joint, and the covariances of the queries by Laplace and by
    the last layer."""
    rows = jnp.asarray(np.roll(problem.linear.queries, 1, axis=1))  # flat parameters are in order of name: bias, weight

    @jax.jit
    def run(params, model, data):
        slope = jax.grad(lambda params: target(model).log_joint(params, data))(params)
        whole = inference.hessian_gaussian(model, data, params)
        last = inference.last_layer_gaussian(model, data, params)[0]
        return ravel_pytree(slope)[0], whole.covariance(rows), last.covariance(rows)

    slope, *covariances = run(_params(mean), problem.model, problem.data)
    return float(jnp.max(jnp.abs(slope))), covariances


def _sds(rng, problem, precision):
    """sds of the queries, [KEYS, Q]. A walk's are about the exact mean, where it starts: its own would lack what the
    mean of a finite walk moves."""
    start, largest = _params(problem.linear.posterior[0]), np.linalg.eigvalsh(precision)[-1]
    methods = {
        "full-rank": partial(inference.full_rank, num_draws=DRAWS),
        "flow": partial(inference.iaf, num_flows=1, num_hidden=4, num_steps=1000, num_draws=DRAWS),
        "mean-field": partial(inference.mean_field, num_draws=DRAWS),
        "SGLD": partial(inference.sgld, start=start, step_size=STEP / largest, num_draws=DRAWS, num_warmup=300),
        "SWAG": partial(
            inference.swag, start=start, step_size=DESCENT / largest, batch_size=BATCH, num_draws=DRAWS // 2, **WALK
        ),
    }

    def one(method, key, model, data):
        queries = jax.vmap(problem.query)(method(key, model, data).draws)
        centre = problem.reference.mean if method is methods["SGLD"] else jnp.mean(queries, axis=0)
        return jnp.sum((queries - centre) ** 2, axis=0) / (len(queries) - 1)

    def run(method):
        every = lambda keys, model, data: over_leading_axis(lambda key: one(method, key, model, data), keys)
        keys = jax.random.split(jax.random.key(int(rng.integers(2**31))), KEYS)
        return np.sqrt(np.asarray(jax.jit(every)(keys, problem.model, problem.data)))

    return {name: run(method) for name, method in methods.items()}


def _walks(problem, precision) -> dict[str, np.ndarray]:
    """Covariances that theorems say of SGLD and of SWAG, S, and S less what is missing of it after a finite walk."""
    largest = np.linalg.eigvalsh(precision)[-1]
    descent = sgd.descent(precision, DESCENT / largest, sgd.gradient_noise(problem.linear, BATCH))
    stationary = sgd.stationary(descent)
    return {
        "SGLD": sgd.langevin_covariance(precision, STEP / largest),
        "SWAG": (np.diag(np.diag(stationary)) + stationary) / 2,
        "S": stationary,
    }


def _one_unit(rng, problem, num_draws=40_000, parts=16):
    """sds of values of the one-unit network over the exact ones, [parts, Q], by Laplace and by its last layer."""
    flat, unravel = ravel_pytree(problem.model.init(jax.random.key(0)))
    log_joint = lambda w: target(problem.model).log_joint(unravel(w), problem.data)
    mode = optimize.minimize(jax.jit(jax.value_and_grad(lambda w: -log_joint(w))), flat, jac=True, tol=1e-9).x

    @jax.jit
    def run(key, params, model, data):
        settings = {"num_draws": num_draws, "fit": inference.trained(params)}
        draws = (m(key, model, data, **settings).draws for m in (inference.laplace, inference.laplace_last_layer))
        return [jax.vmap(problem.query)(d) for d in draws]

    key = jax.random.key(int(rng.integers(2**31)))
    found = run(key, unravel(jnp.asarray(mode)), problem.model, problem.data)
    values = (np.asarray(v).reshape(parts, -1, v.shape[1]) for v in found)
    return dict(zip(("Laplace", "last layer"), (v.std(1, ddof=1) / problem.reference.sd for v in values)))
