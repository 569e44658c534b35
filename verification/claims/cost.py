"""What uncertainty costs: masks, members, a temperature."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

from probjax import (
    Data,
    Model,
    Posterior,
    dropout,
    ensemble,
    likelihoods,
    log_predictive,
    mlp,
    over_leading_axis,
    priors,
)
from probjax.optimize import lbfgs
from verification.claims.parts import BAD, GOOD, THIRD, TRUTH
from verification.claims.replicated import average
from verification.claims.types import CONTROL, INSTEAD, STATED, UNDER, WITHOUT, Finding, Measurement

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
