"""How far from the optimum a convex fit can be at most: the duality gap of a linear predictor under kinks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from probjax import design as rows
from probjax import priors
from probjax.design import Design
from probjax.proximal import Kinks

NEWTON_STEPS = 8  # for a row's conjugate, from the primal point
FOUND = 1e-7  # of the slope there: a row's minimum then is right to about 1e-14


def gap(design: Design, w: Array, gradient: Array, kinks: Kinks) -> Array:
    """Primal less dual objective, nats: no w is better than this one by more (Boyd & Vandenberghe 2004 §5.5).

    Of min Σ φₙ(xₙᵀw) + ψ(b) + Σ rateⱼ |wⱼ − cⱼ| the dual at θ is Σ min_f (φₙ(f) − θₙ f) + min over w of the rest plus
    wᵀXᵀθ. θ is the score φ′ at w, its mean taken off where the bias is free, and scaled down until |xⱼᵀθ| ≤ rateⱼ.
    The rows' minima are found by Newton's method; where one is not found (far from the optimum θ may lie outside the
    conjugate's domain) the bound is infinite. A coordinate without a kink must be the bias. NaN where its prior is
    neither flat nor Gaussian.

    Args:
        gradient: of the smooth part at w.
    """
    if not priors.is_gaussian(design.model.prior, but_for_kinks=True):
        return jnp.asarray(jnp.nan, w.dtype)
    f = rows.predictor(design, design.data.x, w)
    theta = rows.score(design, design.data.y, f)
    slope, precision = rows.prior_slope(design, w)
    along = gradient - slope
    has_bias = design.has_bias
    free = has_bias & (precision[-1] == 0) & (kinks.rate[-1] == 0)
    shift = jnp.where(free, jnp.mean(theta), 0.0)
    theta, along = theta - shift, along - shift * rows.column_sums(design)
    kinked = kinks.rate > 0
    excess = jnp.where(kinked, jnp.abs(along) / jnp.where(kinked, kinks.rate, 1.0), 0.0)
    shrink = 1 / jnp.maximum(jnp.max(excess), 1.0)
    theta, along = shrink * theta, shrink * along
    conjugate = _least(design, f, theta)
    loss = -design.model.likelihood.log_prob(design.data.y, f)
    primal_less_dual = (
        jnp.sum(loss - conjugate) + kinks.penalty(w) - jnp.sum(jnp.where(kinked, along * kinks.centre, 0.0))
    )
    if not has_bias:
        return primal_less_dual
    # ψ(b) − min over b of ψ(b) + b 1ᵀθ, ψ quadratic with that slope and precision at b
    push = slope[-1] + along[-1]
    spread = 0.5 * push**2 / jnp.where(precision[-1] > 0, precision[-1], 1.0)
    bias = jnp.where(free, 0.0, spread - w[-1] * along[-1])
    return primal_less_dual + jnp.where(kinks.rate[-1] > 0, 0.0, bias)


def _least(design, f, theta):
    """min over f of φ(f) − θ f for each row, from near it."""
    y, loss = design.data.y, lambda f: -design.model.likelihood.log_prob(design.data.y, f)

    def step(f, _):
        score, curved = jax.jvp(lambda f: rows.score(design, y, f), (f,), (jnp.ones_like(f),))
        move = jnp.where(curved > 0, (theta - score) / jnp.where(curved > 0, curved, 1.0), 0.0)
        return f + jnp.clip(move, -1.0, 1.0), None

    near = jax.lax.scan(step, f, None, length=NEWTON_STEPS)[0]
    # there the error is at most ½ (φ′ − θ)²/φ″ of a row
    found = jnp.abs(rows.score(design, y, near) - theta) <= FOUND * (1 + jnp.abs(theta))
    return jnp.where(found, loss(near) - theta * near, -jnp.inf)
