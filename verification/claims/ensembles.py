"""Ensembles: what a bootstrap knows of a gap in the data, and which members are draws of the posterior."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from probjax import (
    Data,
    Model,
    bootstrap,
    ensemble,
    likelihoods,
    linear,
    optimize,
    pairs_weights,
    predict,
    priors,
    randomised_map,
)
from verification.claims.infinite_width import tangent_members
from verification.claims.members import ALPHA, NEAR, descend, one_step, sd_error
from verification.claims.parts import BAD, GOOD, THIRD, TRUTH
from verification.claims.types import CONTROL, INSTEAD, UNDER, WITHOUT, Finding, Measurement, standard_error
from verification.exact.conjugate import linear_posterior
from verification.work import build_problem

NOISE, FLAT = 0.3, np.inf
SETS, MEMBERS = 512, 16
SEEN = np.concatenate([np.linspace(0, 3, 60), np.linspace(7, 10, 60)])
GRID = np.linspace(0, 10, 101)
MIDDLE, BESIDE = GRID == 5, (GRID == 1.5) | (GRID == 8.5)


def cubic(x):
    """Legendre polynomials up to degree 3 on [0, 10]."""
    return np.polynomial.legendre.legvander(np.asarray(x) / 5 - 1, 3)


def bumps(x):
    """Gaussians of width 0.5, one each half unit: f in the gap has weights of its own."""
    return np.exp(-2 * (np.asarray(x)[:, None] - np.linspace(0, 10, 21)) ** 2)


def bootstrap_in_a_gap(rng) -> Finding:
    """Rows on [0, 3] and [7, 10], f linear in its features, the noise known: the posterior's sd of f is √(φᵀΛ⁻¹φ) at
    every x, and does not depend on y. A bootstrap of pairs estimates the sampling variance of the fit, and under a flat
    prior the parametric one's φᵀΛ⁻¹XᵀX Λ⁻¹φ/σ² is the posterior's own. Weights that no row bears on stay at the mode of
    their prior, whatever the resample: there it is the prior that the posterior is as wide as.

    A listing of this kind, whose data are not known, prints 0.172 in the gap, 0.113 and 0.083 beside it."""
    key_cubic, key_bumps = jax.random.split(jax.random.key(int(rng.integers(2**31))))
    smooth = cubic(SEEN) @ rng.standard_normal(4) + NOISE * rng.standard_normal((SETS, len(SEEN)))
    few = SETS // 8  # sets: this ratio is far from its bound
    local = rng.standard_normal((few, 21)) @ bumps(SEEN).T + NOISE * rng.standard_normal((few, len(SEEN)))
    found = _bootstrap_variances(key_cubic, cubic, priors.flat(), smooth)
    lost = _bootstrap_variances(key_bumps, bumps, priors.normal(), local)
    exact, wide = _posterior_sd(cubic, FLAT), _posterior_sd(bumps, 1.0)
    parametric = lambda scale: scale * _least_squares_sd(cubic)

    def draw(ax):
        panels = (cubic, exact, found, BAD), (bumps, wide, lost, THIRD)
        for features, sd, variances, colour in panels:
            line = "-" if features is cubic else "--"
            ax.semilogy(GRID, sd, color=TRUTH, ls=line, label=f"posterior, {_NAMES[features]}")
            ax.semilogy(GRID, np.sqrt(variances.mean(0)), color=colour, ls=line, label=f"bootstrap, {_NAMES[features]}")
        ax.axvspan(3, 7, color="0.93", zorder=0)
        ax.set(xlabel="x; no rows in the shaded gap", ylabel="sd of f(x)")
        ax.legend(frameon=False, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, 1.0))
        ax.set_ylim(0.015, 8)

    error = "bootstrap's sd of f against the posterior's, worst x, relative"
    ratio = "bootstrap's sd in the middle of the gap over that beside it"
    return Finding(
        [
            _ratio(UNDER, f"{_NAMES[cubic]}: {ratio}", found),
            Measurement(UNDER, f"{_NAMES[cubic]}: {error}", *_with_bound(sd_error(found, exact), 0.1)),
            _ratio(WITHOUT, f"{_NAMES[bumps]}: {ratio}", lost),
            Measurement(INSTEAD, f"{_NAMES[bumps]}: the posterior's", _widening(wide), 5.0, at_least=True),
            Measurement(INSTEAD, "a cubic: the parametric bootstrap's, relative", _worst(parametric(1), exact), 1e-10),
            Measurement(CONTROL, "the same, its σ twice the true one", _worst(parametric(2), exact), 0.1),
        ],
        draw,
    )


_NAMES = {cubic: "a cubic", bumps: "local bumps"}


def _with_bound(measured, bound):
    value, margin = measured
    return value, bound, margin


def _worst(sd, exact):
    return float(np.max(np.abs(sd / exact - 1)))


def _widening(sd):
    return float(sd[MIDDLE].mean() / np.sqrt(np.mean(sd[BESIDE] ** 2)))


def _ratio(role, what, variances):
    """√ of a ratio of mean variances, with a margin by its derivative in each of them."""
    middle, beside = (variances[:, at].mean(1) for at in (MIDDLE, BESIDE))
    ratio = np.sqrt(middle.mean() / beside.mean())
    moves = ratio / 2 * (middle / middle.mean() - beside / beside.mean())
    margin = stats.t.ppf(1 - ALPHA / 2, len(moves) - 1) * standard_error(moves)
    return Measurement(role, what, float(ratio), 1.0, float(margin), at_least=True)


def _bootstrap_variances(key, features, prior, y):
    """Over members, of f at `GRID`: one row a data set, [R, Q]."""
    x, at = jnp.asarray(features(SEEN)), jnp.asarray(features(GRID))
    model = Model(*linear(x.shape[1], bias=False), prior=prior, likelihood=likelihoods.normal(NOISE))
    members = partial(bootstrap, weights=pairs_weights, num_members=MEMBERS, fit=one_step, batch_size=MEMBERS)

    def one(of):
        draws = members(of[0], model, Data(x, of[1])).draws
        return jnp.var(draws["weight"] @ at.T, axis=0, ddof=1)

    keys = jax.random.split(key, len(y))
    return np.asarray(jax.jit(lambda *of: jax.lax.map(one, of))(keys, jnp.asarray(y)))


def _posterior_sd(features, tau):
    _, precision = linear_posterior(features(SEEN), np.zeros(len(SEEN)), NOISE, tau)
    at = features(GRID)
    return np.sqrt(np.sum(at * np.linalg.solve(precision, at.T).T, axis=1))


def _least_squares_sd(features):
    """Of y -> φᵀX⁺y under noise of the known sd."""
    return NOISE * np.linalg.norm(features(GRID) @ np.linalg.pinv(features(SEEN)), axis=1)


RUNS, DRAWS = 16, 1000
TOTAL_VARIATION = 0.01
STARTS_SD = 1 / np.sqrt(6)  # of `linear(6)`


def members_as_draws(rng) -> Finding:
    """Members are draws of the posterior where each minimises with y + ε for y and round an anchor of its own, both
    drawn from their laws (randomised MAP), and f is linear: w* = Σ(Xᵀ(y + ε)/σ² + w₀/τ²) ~ N(m, Σ). So they are,
    without either, where there is no noise, no penalty, and the starts are the prior's: w* = P_null w₀ + X⁺y ~
    N(X⁺y, τ²P_null), the posterior's limit as σ → 0. Elsewhere they are copies of the one mode, or of the few that
    there are; and a network of infinite width, linear in its weights once more, has starts that are the prior's only
    where the last layer alone is trained."""
    keys = jax.random.split(jax.random.key(int(rng.integers(2**31))), 7)
    problem, classifier, digits = (
        build_problem(name, None) for name in ("linear", "network_classifier", "digits_network")
    )
    s, far = problem.linear, 2 * rng.standard_normal((12, 2))
    of = lambda method, fit, m=DRAWS: partial(method, fit=fit, num_members=m, batch_size=m)
    both, ridge = (
        _variances(key, of(method, one_step), problem.model, problem.data, far)
        for key, method in zip(keys, (randomised_map, ensemble))
    )
    far_sd = _sd(s.design, s.noise_scale, s.prior_scale, np.column_stack([far, np.ones(12)]))
    starts, same, clean, noisy = _of_more_weights_than_rows(rng, keys[2], of)
    adam = partial(optimize.adam, num_steps=2000, learning_rate=0.03)
    classes = _total_variation(keys[3], of(ensemble, adam, 2), classifier, 2)
    shaken = _total_variation(keys[4], of(randomised_map, adam, 32), classifier, RUNS)
    few = _few_modes(keys[5], digits)
    infinite, process_sd, tangent_sd = tangent_members(keys[6])

    def near(role, what, variances, sd, noise=0.0):
        value, margin = sd_error(variances + noise**2, np.sqrt(sd**2 + noise**2))
        of = f"predictive sd against the posterior's, worst of {len(sd)}, relative"
        return Measurement(role, f"{what}: {of}", value, NEAR, margin)

    tv = "one tanh unit, {}: total variation of the predicted class, worst of 4 inputs"
    free = slice(3, None)  # the first three inputs are the rows
    few_of = "four digits, 49 weights, starts alone: sd of logits and probabilities, worst of {}, relative"
    return Finding(
        [
            near(UNDER, "linear, anchors and noise drawn anew", both, far_sd, s.noise_scale),
            near(UNDER, "more weights than rows, no noise", starts[:, free], clean[free]),
            near(WITHOUT, "linear, starts alone", ridge, far_sd, s.noise_scale),
            near(WITHOUT, "more weights than rows, with noise, at the rows", starts[:, :3], noisy[:3], NOISE),
            Measurement(WITHOUT, tv.format("starts alone"), *_with_bound(classes, TOTAL_VARIATION)),
            Measurement(WITHOUT, tv.format("anchors and noise drawn anew"), *_with_bound(shaken, TOTAL_VARIATION)),
            Measurement(WITHOUT, few_of.format(few.shape[1]), *_with_bound(sd_error(few, digits.reference.sd), NEAR)),
            near(CONTROL, "more weights than rows, no noise, one seed", same[:, free], clean[free]),
            *infinite,
        ],
        lambda ax: _draw_members(
            ax,
            ("linear, anchors and noise drawn anew", far_sd, both, GOOD, "o"),
            ("more weights than rows, no noise", clean[free], starts[:, free], THIRD, "s"),
            ("linear, starts alone", far_sd, ridge, BAD, "o"),
            ("digits, starts alone", digits.reference.sd, few, BAD, "x"),
            ("infinite width, every layer trained", process_sd, tangent_sd[None] ** 2, BAD, "^"),
        ),
    )


def _of_more_weights_than_rows(rng, key, of):
    """At twelve inputs, the first three of them the rows: variances of members from starts of their own and from one,
    the posterior's sd without noise and with it."""
    x, w = rng.standard_normal((3, 6)), STARTS_SD * rng.standard_normal(6)
    at = np.vstack([x, rng.standard_normal((9, 6))])
    model = Model(*linear(6, bias=False), prior=priors.flat(), likelihood=likelihoods.normal(1.0))
    one_seed = model._replace(init=lambda _: model.init(key))
    plain = of(ensemble, partial(descend, rate=1 / np.linalg.norm(x, 2) ** 2))
    starts, same = (_variances(key, plain, m, Data(x, x @ w), at) for m in (model, one_seed))
    return starts, same, *(_sd(x, noise, STARTS_SD, at) for noise in (1e-6, NOISE))


def _draw_members(ax, *cases):
    for label, exact, variances, colour, mark in cases:
        ax.plot(exact, np.sqrt(variances.mean(0)), mark, color=colour, label=label, clip_on=False)
    ends = [0, max(exact.max() for _, exact, *_ in cases)]
    ax.plot(ends, ends, color=TRUTH, lw=0.8, zorder=0)
    ax.set(xlabel="posterior's sd of f", ylabel="sd of f over members", xlim=(0, None), ylim=(0, None))
    ax.legend(frameon=False)


def _variances(key, method, model, data, at):
    """Over members, of f at the inputs `at`: one row a run, [R, Q]."""
    one = lambda key: jnp.var(predict(model, method(key, model, data), jnp.asarray(at)), axis=0, ddof=1)
    return np.asarray(jax.jit(lambda keys: jax.lax.map(one, keys))(jax.random.split(key, RUNS)))


def _sd(design, noise, tau, at):
    _, precision = linear_posterior(design, np.zeros(len(design)), noise, tau)
    return np.sqrt(np.sum(at * np.linalg.solve(precision, at.T).T, axis=1))


def _total_variation(key, method, problem, runs):
    """Of the probability of a class, averaged over members, from the posterior's: the worst input, and its margin."""
    one = lambda key: jnp.mean(jax.vmap(problem.query)(method(key, problem.model, problem.data).draws), axis=0)
    means = np.asarray(jax.jit(lambda keys: jax.lax.map(one, keys))(jax.random.split(key, runs)))
    chosen = [group[0] for group in problem.reference.classes]  # of two classes: |difference| is the total variation
    gaps = means[:, chosen] - problem.reference.mean[chosen]
    worst = int(np.argmax(np.abs(gaps.mean(0))))
    margin = stats.t.ppf(1 - ALPHA / 2, runs - 1) * standard_error(gaps[:, worst])
    return float(abs(gaps[:, worst].mean())), float(margin)


def _few_modes(key, problem):
    """Of the queries, over members in groups of four: [R, Q]."""
    draws = jax.jit(lambda key: ensemble(key, problem.model, problem.data, num_members=32).draws)(key)
    return np.asarray(jax.vmap(problem.query)(draws)).reshape(8, 4, -1).var(axis=1, ddof=1)
