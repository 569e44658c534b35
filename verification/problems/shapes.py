"""Densities without data in the shapes that samplers find hard: of two modes, at a boundary, and curved. Every summary
is a closed form or a one-dimensional integral."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betaln, logsumexp
from jax.scipy.stats import norm
from jax.tree_util import Partial

from verification.exact import shapes
from verification.exact import targets as exact
from verification.problems.targets import density_problem, linear_rows
from verification.types import Bug, Problem


def mixture_separated() -> Problem:
    """Two modes, ten sds apart, with 0.7 and 0.3 of the mass."""
    means = np.array([[-3.0, 1.0], [4.0, -1.0]])
    covariances = np.array([[[0.6, 0.3], [0.3, 0.5]], [[0.5, -0.2], [-0.2, 0.8]]])
    target = exact.Mixture(np.array([0.7, 0.3]), means, covariances)
    larger = target._replace(weights=np.array([1.0, 0.0]))
    bug = Bug("one mode of two", lambda rng, x: _mixture_draws(rng, len(x), larger))
    return _mixture("mixture_separated", "two Gaussian modes far apart, 0.7 and 0.3 of the mass", target, 13.0, bug)


def mixture_close() -> Problem:
    """Two modes of unlike width that chains can cross between."""
    means = np.array([[-1.5, 0.0], [1.5, 0.5]])
    covariances = np.array([[[1.0, 0.3], [0.3, 0.6]], [[0.25, -0.1], [-0.1, 0.4]]])
    target = exact.Mixture(np.array([0.7, 0.3]), means, covariances)
    heights = target.weights / np.sqrt(np.linalg.det(covariances))
    by_height = target._replace(weights=heights / heights.sum())
    bug = Bug("modes weighted by their height", lambda rng, x: _mixture_draws(rng, len(x), by_height))
    return _mixture("mixture_close", "two overlapping Gaussian modes, 0.7 and 0.3 of the mass", target, 11.0, bug)


def _mixture(name, about, target, half_width, bug) -> Problem:
    inverses = np.linalg.inv(np.linalg.cholesky(target.covariances))
    log_weights = np.log(target.weights) + np.linalg.slogdet(inverses)[1] - np.log(2 * np.pi)
    parts = map(jnp.asarray, (log_weights, target.means, inverses))
    rows = np.array([[1.0, 0], [0, 1], [1, 1], [1, -1]])
    return density_problem(
        name,
        about,
        Partial(_mixture_log_joint, *parts),
        2,
        linear_rows(rows),
        lambda: exact.mixture(("x[1]", "x[2]", "x[1] + x[2]", "x[1] - x[2]"), target, rows, half_width),
        lambda rng, num: _mixture_draws(rng, num, target),
        bug,
    )


def _mixture_log_joint(log_weights, means, inverses, x):
    z = jnp.einsum("kij,kj->ki", inverses, x - means)
    return logsumexp(log_weights - 0.5 * jnp.sum(z**2, axis=1))


def _mixture_draws(rng, num, target):
    factors, mode = np.linalg.cholesky(target.covariances), rng.choice(len(target.weights), num, p=target.weights)
    return target.means[mode] + np.einsum("sij,sj->si", factors[mode], rng.standard_normal((num, 2)))


def boundary_logit() -> Problem:
    """Two probabilities that press against 0 and 1, Beta(½, ½) and Beta(0.3, 3), as log-odds."""
    shapes_ab, epsilon = np.array([[0.5, 0.5], [0.3, 3.0]]), 1e-3

    def draw(rng, num):
        # the logit of a Beta is a difference of log Gammas; log Gamma(a) = log Gamma(a + 1) + log(uniform)/a keeps its
        # digits where the Gamma itself is below the smallest number
        log_gamma = lambda a: np.log(rng.gamma(a + 1, size=num)) - rng.exponential(size=num) / a
        return np.column_stack([log_gamma(a) - log_gamma(b) for a, b in shapes_ab])

    def damage(rng, u):
        # the exponents a − 1 are negative, so the ratio wrong/right is at most 1: rejection
        log_ratio = (shapes_ab[:, 0] - 1) * np.log1p(epsilon * (1 + np.exp(-u)))
        return u[rng.choice(np.flatnonzero(np.log(rng.uniform(size=len(u))) < log_ratio.sum(1)), len(u))]

    return density_problem(
        "boundary_logit",
        "two probabilities pressed against 0 and 1, as log-odds",
        Partial(_betas_log_joint, jnp.asarray(shapes_ab)),
        2,
        _probabilities_and_logits,
        lambda: exact.independent_betas(("p[1]", "logit p[1]", "p[2]", "logit p[2]"), [(0.5, 0.5), (0.3, 3.0)]),
        draw,
        Bug("log(p + 0.001) for log p", damage),
        log_concave=True,
    )


def _betas_log_joint(shapes_ab, u):
    a, b = shapes_ab.T
    return jnp.sum(a * jax.nn.log_sigmoid(u) + b * jax.nn.log_sigmoid(-u) - betaln(a, b))


def _probabilities_and_logits(u):
    return jnp.stack([jax.nn.sigmoid(u), u], axis=1).ravel()


def boundary_log() -> Problem:
    """0 < a < b with a half-normal(1) and b − a ~ Exponential(1), both densities largest at the boundary; parameters
    log a and log(b − a)."""

    def damage(rng, u):
        return np.column_stack([u[:, 0], np.log(rng.gamma(2.0, size=len(u)))])

    return density_problem(
        "boundary_log",
        "an ordered pair, its densities largest at the boundary, on log scales",
        _ordered_log_joint,
        2,
        _ordered_pair,
        lambda: exact.ordered_pair(("a", "b", "log a", "log(b - a)")),
        lambda rng, num: np.log(np.column_stack([np.abs(rng.standard_normal(num)), rng.exponential(size=num)])),
        Bug("the Jacobian of the ordering counted twice", damage),
        log_concave=True,
    )


def _ordered_log_joint(u):
    a, gap = jnp.exp(u)
    return jnp.log(2.0) + norm.logpdf(a) - gap + jnp.sum(u)


def _ordered_pair(u):
    a, gap = jnp.exp(u)
    return jnp.stack([a, a + gap, *u])


def funnel() -> Problem:
    """Neal's (2003) funnel: v ~ N(0, 3²), nine xᵢ | v ~ N(0, eᵛ). params are [v, x₁ … x₉]."""
    bug = Bug("the neck never entered", lambda rng, x: x[rng.choice(np.flatnonzero(x[:, 0] > -4.5), len(x))])
    return _funnel("funnel", "Neal's funnel, 10 dimensions, v of sd 3", 3.0, 9, bug)


def funnel_mild() -> Problem:
    """The funnel that samplers can walk: v ~ N(0, 1.5²), four xᵢ."""
    stretch = lambda rng, x: np.column_stack([x[:, :1], x[:, 1:] * np.exp(x[:, :1] / 2)])
    bug = Bug("a log variance read as a log sd", stretch)
    return _funnel("funnel_mild", "a mild funnel, 5 dimensions, v of sd 1.5", 1.5, 4, bug)


def _funnel(name, about, scale, num_x, bug) -> Problem:
    def draw(rng, num):
        v = scale * rng.standard_normal((num, 1))
        return np.column_stack([v, np.exp(v / 2) * rng.standard_normal((num, num_x))])

    return density_problem(
        name,
        about,
        Partial(_funnel_log_joint, jnp.asarray(scale)),
        1 + num_x,
        _funnel_query,
        lambda: shapes.funnel(("v", "asinh x[1]", "log_rms x", "x[1] exp(-v/2)"), scale, num_x),
        draw,
        bug,
    )


def _funnel_log_joint(scale, params):
    v, x = params[0], params[1:]
    return norm.logpdf(v, 0.0, scale) + jnp.sum(norm.logpdf(x, 0.0, jnp.exp(v / 2)))


def _funnel_query(params):
    v, x = params[0], params[1:]
    return jnp.stack([v, jnp.arcsinh(x[0]), 0.5 * jnp.log(jnp.mean(x**2)), x[0] * jnp.exp(-v / 2)])


def banana() -> Problem:
    """A Gaussian bent along a parabola (Haario et al. 1999): x₂ − b(x₁² − 3²) is a standard normal, b = 0.1."""
    flatter = lambda rng, x: np.column_stack([x[:, 0], x[:, 1] - 0.05 * (x[:, 0] ** 2 - 9.0)])
    return _banana("banana", "a Gaussian bent along a parabola", 0.1, Bug("the parabola's curvature halved", flatter))


def banana_sharp() -> Problem:
    """The same with b = 0.2, whose arms are as narrow as a fourth of its belly."""
    near = lambda rng, x: x[rng.choice(np.flatnonzero(np.abs(x[:, 0]) < 6.6), len(x))]
    bug = Bug("the far ends of the arms never reached", near)
    return _banana("banana_sharp", "a Gaussian bent along a parabola, twice as much", 0.2, bug)


def _banana(name, about, bend, bug) -> Problem:
    width = 3.0

    def draw(rng, num):
        x = rng.standard_normal((num, 2)) * [width, 1.0]
        return np.column_stack([x[:, 0], x[:, 1] + bend * (x[:, 0] ** 2 - width**2)])

    return density_problem(
        name,
        about,
        Partial(_banana_log_joint, jnp.asarray(width), jnp.asarray(bend)),
        2,
        Partial(_banana_query, jnp.asarray(width), jnp.asarray(bend)),
        lambda: shapes.banana(("x[1]", "x[2]", "x[1]^2", "x[2] untwisted"), width, bend),
        draw,
        bug,
    )


def _banana_log_joint(width, bend, x):
    return norm.logpdf(x[0], 0.0, width) + norm.logpdf(x[1], bend * (x[0] ** 2 - width**2))


def _banana_query(width, bend, x):
    return jnp.stack([x[0], x[1], x[0] ** 2, x[1] - bend * (x[0] ** 2 - width**2)])


def ring() -> Problem:
    """A circle of radius 3 blurred by 0.5: p(x) ∝ exp(−2(‖x‖ − 3)²), normalised."""
    radius, width = 3.0, 0.5

    def draw(rng, num):
        # by rejection from the normal that leaves out the Jacobian r
        kept = np.empty(0)
        while len(kept) < num:
            r = radius + width * rng.standard_normal(2 * num + 100)
            accept = r > (radius + 8 * width) * rng.uniform(size=len(r))
            kept = np.append(kept, r[accept])
        return _on_circle(rng, kept[:num])

    def without_jacobian(rng, x):
        return _on_circle(rng, radius + width * rng.standard_normal(len(x)))

    log_normaliser = shapes.ring_log_normaliser(radius, width)
    return density_problem(
        "ring",
        "a blurred circle",
        Partial(_ring_log_joint, *map(jnp.asarray, (radius, width, log_normaliser))),
        2,
        _ring_query,
        lambda: shapes.ring(("x[1]", "x[2]", "x[1] + x[2]", "radius"), radius, width),
        draw,
        Bug("the polar Jacobian r left out", without_jacobian),
    )


def _on_circle(rng, r):
    angle = 2 * np.pi * rng.uniform(size=len(r))
    return r[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])


def _ring_log_joint(radius, width, log_normaliser, x):
    return -0.5 * ((jnp.sqrt(jnp.sum(x**2)) - radius) / width) ** 2 - log_normaliser


def _ring_query(x):
    return jnp.append(jnp.append(x, jnp.sum(x)), jnp.sqrt(jnp.sum(x**2)))


PROBLEMS = {
    "mixture_separated": mixture_separated,
    "mixture_close": mixture_close,
    "boundary_logit": boundary_logit,
    "boundary_log": boundary_log,
    "funnel": funnel,
    "funnel_mild": funnel_mild,
    "banana": banana,
    "banana_sharp": banana_sharp,
    "ring": ring,
}
