"""What uncertainty costs, and which approximation of a posterior is exact where."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy import optimize

from probjax import (
    Data,
    Model,
    Posterior,
    dropout,
    ensemble,
    inference,
    likelihoods,
    log_predictive,
    mlp,
    over_leading_axis,
    priors,
    target,
)
from probjax.optimize import lbfgs
from verification.claims.parts import BAD, GOOD, THIRD, TRUTH, gap
from verification.claims.replicated import average, farthest
from verification.claims.types import CONTROL, INSTEAD, STATED, UNDER, WITHOUT, Finding, Measurement
from verification.exact import sgd
from verification.work import build_problem

PASSES, MEMBERS, ROWS, RATE = 100, 4, 2000, 0.3
LAYERS = (64, 64, 10)  # a row of digits, one hidden layer, ten classes


def what_it_costs(rng) -> Finding:
    """T masks of hidden units are T draws of one set of weights; what lies before the first mask is the same under all
    of them, and is computed once: (F₁ + T F₂)/(F₁ + F₂) operations for one pass, Fₗ those of layer l. M members share
    nothing. A temperature takes logits alone. Masks on a network that never met them are another matter."""
    flops = _flops()
    first, second = (2 * a * b + b for a, b in pairwise(LAYERS))
    layers = (first + PASSES * second) / (first + second)
    fits, masked, plain, spread = _networks(rng)
    together, alone = _latency()
    logits = rng.normal(size=(500, 10))
    moved = int(np.sum(np.argmax(logits / 2.7, 1) != np.argmax(logits, 1)))

    def draw(ax):
        counts = np.unique(np.geomspace(1, 1000, 30).astype(int))
        ax.loglog(counts, counts, color=BAD, label="M members, or masks on the inputs")
        ax.loglog(counts, (first + counts * second) / (first + second), color=GOOD, label="T masks of hidden units")
        ax.axhline(1 + flops["temperature"], color=TRUTH, lw=1, label="a temperature")
        ax.plot(PASSES, flops["masks"], "o", color=GOOD, ms=8, label="counted by the compiler")
        ax.plot(PASSES, flops["inputs"], "o", color=BAD, ms=8)
        ax.plot(PASSES, PASSES * together, "s", color=THIRD, ms=8, label="time measured, one row")
        ax.set(xlabel="passes T, or members M", ylabel="cost of predicting, in passes (64–64–10)")
        ax.legend(frameon=False)

    nats = "nats a new row that masks cost"
    times = "time of 100 masked passes over 100 times one pass"
    return Finding(
        [
            average(UNDER, f"network trained under masks: {nats}", masked, 0.1),
            average(WITHOUT, f"network trained without: {nats}", plain, 0.1),
            Measurement(STATED, "MC dropout: draws less masks of one set of weights", spread[0], 1e-12),
            Measurement(STATED, "fits that an ensemble of 4 runs, − 4", abs(fits - MEMBERS), 0),
            Measurement(STATED, "|flops of 4 members' gradients/4 of one − 1|", abs(flops["gradients"] / 4 - 1), 0.01),
            Measurement(STATED, "100 masked passes: flops over 100 of one pass", flops["masks"] / PASSES, 1.0),
            Measurement(STATED, "temperature: flops of its gradient over one pass", flops["temperature"], 0.05),
            Measurement(STATED, "temperature: rows of 500 whose class changes", moved, 0),
            Measurement(INSTEAD, "100 masked passes: flops over 100 of one pass", flops["masks"] / PASSES, 0.5),
            Measurement(INSTEAD, "|the same/((F₁ + T F₂)/(F₁ + F₂)) − 1|", abs(flops["masks"] / layers - 1), 0.02),
            Measurement(INSTEAD, f"{times}, one row, batched", together, 0.5),
            Measurement(CONTROL, "masks on the inputs: flops over 100 of one pass", flops["inputs"] / PASSES, 0.5),
            Measurement(CONTROL, f"{times}, one row, one by one", alone, 0.5),
            Measurement(CONTROL, "ensemble: members less masks of one set of weights", spread[1], 1e-12),
        ],
        draw,
    )


def _flops() -> dict[str, float]:
    """Floating-point operations, as XLA counts them before it optimises, over those of one pass (of one gradient for
    the gradients)."""
    network = mlp(LAYERS)
    params, x, key = network.init(jax.random.key(0)), jnp.zeros((ROWS, LAYERS[0])), jax.random.key(0)
    labels = jnp.zeros(ROWS, int)
    count = lambda function, *args: jax.jit(function).lower(*args).cost_analysis()["flops"]
    each = lambda function: lambda key: jax.vmap(function)(jax.random.split(key, PASSES))
    loss = lambda params: -jnp.sum(likelihoods.categorical().log_prob(labels, network.apply(params, x)))
    tempered = lambda t, logits: -jnp.sum(likelihoods.categorical().log_prob(labels, logits / t))
    one, slope = count(network.apply, params, x), count(jax.grad(loss), params)
    dropped = lambda key: x * jax.random.bernoulli(key, 1 - RATE, x.shape[1:])
    members = jax.tree.map(lambda leaf: jnp.stack([leaf] * MEMBERS), params)
    return {
        "masks": count(each(lambda key: network.apply(network.drop(key, params, RATE), x)), key) / one,
        "inputs": count(each(lambda key: network.apply(params, dropped(key))), key) / one,
        "gradients": count(jax.vmap(jax.grad(loss)), members) / slope,
        "temperature": count(jax.grad(tempered), 1.0, network.apply(params, x)) / one,
    }


def _latency(repeats: int = 20) -> tuple[float, float]:
    """Shortest time of PASSES masks on one row over PASSES times that of one pass: in one batch, and one by one."""
    network = mlp(LAYERS)
    params, x, key = network.init(jax.random.key(0)), jnp.zeros((1, LAYERS[0])), jax.random.key(0)
    single = jax.jit(network.apply)
    masks = jax.jit(lambda keys: jax.vmap(lambda key: network.apply(network.drop(key, params, RATE), x))(keys))
    keys = jax.random.split(key, PASSES)
    once = [_seconds(lambda: single(params, x)) for _ in range(1 + repeats * PASSES)][1:]
    batch = [_seconds(lambda: masks(keys)) for _ in range(1 + repeats)][1:]
    rounds = np.reshape(once, (repeats, PASSES)).sum(1)
    return min(batch) / (PASSES * min(once)), float(min(rounds) / (PASSES * min(once)))


def _seconds(call: Callable) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def _networks(rng, runs=8):
    """Fits run by one ensemble; nats a new row that masks cost a network trained under masks and one trained without,
    each [runs]; and how far draws of dropout, and an ensemble's members, are from masks of one set of weights."""
    x, new_x = rng.uniform(-3, 3, (runs, 60, 1)), rng.uniform(-3, 3, (runs, 200, 1))
    y, new_y = (np.sin(v[..., 0]) + 0.2 * rng.standard_normal(v.shape[:2]) for v in (x, new_x))
    model = Model(*mlp([1, 12, 1]), prior=priors.normal(0.0, 1.0), likelihood=likelihoods.normal(0.2))
    fits = []

    def counted(objective, params):
        jax.debug.callback(lambda: fits.append(1))
        return lbfgs(objective, params, max_steps=200)

    def cost(params, masked, new):
        one = Posterior(jax.tree.map(lambda leaf: leaf[None], params), {})
        return jnp.mean(log_predictive(model, one, new) - log_predictive(model, masked, new))

    def under(key, data, new):
        masked = dropout(key, model, data, rate=RATE, num_draws=500, num_steps=1500, num_masks=2)
        params, off = _one_set(masked.draws)
        return cost(params, masked, new), off

    def without(key, data, new):
        fit_key, mask_key = jax.random.split(key)
        members = ensemble(fit_key, model, data, num_members=MEMBERS, fit=counted).draws
        params = jax.tree.map(lambda leaf: leaf[0], members)
        masked = jax.vmap(lambda key: model.drop(key, params, RATE))(jax.random.split(mask_key, 500))
        return cost(params, Posterior(masked, {}), new), _one_set(members)[1]

    keys = jax.random.split(jax.random.key(int(rng.integers(2**31))), runs)
    args = keys, Data(jnp.asarray(x), jnp.asarray(y)), Data(jnp.asarray(new_x), jnp.asarray(new_y))
    (masked, one), (plain, many) = (
        jax.jit(lambda *args, case=case: over_leading_axis(case, *args))(*args) for case in (under, without)
    )
    jax.effects_barrier()
    return len(fits) / runs, np.asarray(masked), np.asarray(plain), (float(one.max()), float(many.min()))


def _one_set(draws):
    """The weights of which draws [S, …] are masks at RATE, each unit kept in one draw at least, and the largest
    distance of a draw from such a mask."""
    first, last = draws
    weight = last["weight"]  # [S, H, 1]
    kept = jnp.any(weight != 0, axis=2, keepdims=True)
    row = jnp.take_along_axis(weight, jnp.argmax(kept, axis=0)[None], axis=0)[0]
    same = [jnp.max(jnp.ptp(leaf, axis=0)) for leaf in (first["weight"], first["bias"], last["bias"])]
    off = jnp.max(jnp.stack([*same, jnp.max(jnp.abs(weight - kept * row))]))
    params = jax.tree.map(lambda leaf: leaf[0], (first, last))
    return (params[0], {**params[1], "weight": (1 - RATE) * row}), off


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

    def draw(ax):
        colours = {"full-rank": GOOD, "flow": GOOD, "mean-field": BAD, "SGLD": BAD, "SWAG": BAD}
        for row, (name, colour) in enumerate(colours.items()):
            ax.plot(found[name].mean(0) / exact, np.full(len(exact), row), "o", color=colour, ms=7)
            ax.plot(known.get(name, exact) / exact, np.full(len(exact), row), "|", color=TRUTH, ms=16)
        for row, ratios in enumerate(unit.values(), len(colours)):
            ax.plot(ratios.mean(0), np.full(ratios.shape[1], row), "o", color=THIRD, ms=7)
        ax.set_yticks(range(len(colours) + len(unit)), [*colours, *(f"{name}, one tanh unit" for name in unit)])
        ax.axvline(1, color=TRUTH, lw=0.8, ls=":")
        ax.set(xlabel="sd over the posterior's, nine or ten queries; bars: what a theorem says")

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
        draw,
    )


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
