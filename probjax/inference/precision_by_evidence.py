"""The precision of a network's prior by its Laplace evidence (type II maximum likelihood)."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from probjax import curvature
from probjax.density import log_joint
from probjax.gaussian import Part, num_free
from probjax.inference.laplace_ggn import ggn_gaussian
from probjax.optimize import lbfgs
from probjax.special import HALF_LOG_TWO_PI
from probjax.types import Data, Model, NotApplicable
from probjax.validation import check_inputs, require_counts, require_positive

LONGEST = 2.0  # step in log τ
FARTHEST = 30.0  # from the start in log τ: beyond, the maximum is said to lie at 0 or infinity


def precision_by_evidence(
    key: Array,
    model_at: Callable[[Array], Model],
    data: Data,
    *,
    start: float = 1.0,
    gaussian: Callable = ggn_gaussian,
    fit: Callable = lbfgs,
    max_rounds: int = 50,
    tolerance: float = 1e-9,
) -> tuple[Array, dict[str, Array]]:
    """τ with γ = τ ‖params*‖², γ = P − τ tr(Σ) the parameters that the data determine (MacKay 1992): where the Laplace
    evidence is stationary in τ, the curvature JᵀΛJ held. Each round finds the mode anew, from where the last one was.

    For a linear model under Gaussian noise it is the maximum of the exact evidence. The root of log γ − log τ‖params*‖²
    in log τ is found by the secant method, its first step being MacKay's own, τ ← γ / ‖params*‖².

    Args:
        key: for the starting point.
        model_at: precision τ -> Model, its prior normal with a precision proportional to τ:
            `lambda tau: Model(*network, prior=priors.normal(0.0, tau**-0.5), likelihood=…)`.
        start: τ > 0 to start from.
        gaussian: the approximation's form, `(model, data, params) -> (Gaussian, …)`: `ggn_gaussian`,
            `diagonal_gaussian`, `kron_gaussian`, `last_layer_gaussian`. Over a last layer, γ and ‖params*‖ are its own.
        fit: as in `laplace_ggn`; with `trained(params)` the mode stays put and τ is chosen after training.
        max_rounds, tolerance: it stops when |log γ − log τ‖params*‖²| ≤ tolerance.

    Returns:
        τ, and info: `log_evidence` (nats) and `effective_parameters` γ at τ, `gap` = log γ − log τ‖params*‖²,
        `num_rounds`, `converged`. Where the data prefer a model without the parameters τ grows without bound: it stops
        e³⁰ from the start, and `converged` is false. The fixed point need not be the only one.

    Raises:
        NotApplicable: the prior is not normal in every part.
        ValueError: start is not positive.

    >>> from probjax import likelihoods, linear, priors
    >>> model_at = lambda tau: Model(
    ...     *linear(1, bias=False), prior=priors.normal(0.0, tau**-0.5), likelihood=likelihoods.normal(1.0))
    >>> data = Data(jnp.ones((1, 1)), jnp.full(1, 3.0))
    >>> tau, info = precision_by_evidence(jax.random.key(0), model_at, data)
    >>> round(float(1 / tau), 3)  # y² = 1 + 1/τ
    8.0
    """
    require_counts("precision_by_evidence", max_rounds=(max_rounds, 1))
    require_positive("precision_by_evidence", "start", start, "1.0 is a start")
    first = model_at(jnp.asarray(start, float))
    check_inputs(first, data)
    if not curvature.is_proper_gaussian(first):
        raise NotApplicable("needs priors.normal in every part, their precisions proportional to τ")
    begin = jnp.log(jnp.asarray(start, float))

    def round_(carry):
        params, (log_tau, gap), before, number, _ = carry
        now = jnp.where(number == 0, begin, log_tau + _step((log_tau, gap), before))
        model = model_at(jnp.exp(jnp.clip(now, begin - FARTHEST, begin + FARTHEST)))
        params, _ = fit(lambda params: -log_joint(model, params, data), params)
        new_gap, told = _look(model, data, params, gaussian)
        return params, (now, new_gap), (log_tau, gap), number + 1, told

    def unfinished(carry):
        _, (log_tau, gap), _, number, _ = carry
        open_ = (jnp.abs(gap) > tolerance) & (jnp.abs(log_tau - begin) < FARTHEST)
        return (number < max_rounds) & open_

    nothing = (begin, jnp.full_like(begin, jnp.inf))
    shapes = jax.eval_shape(lambda params: _look(first, data, params, gaussian)[1], jax.eval_shape(first.init, key))
    blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    carry = (first.init(key), nothing, nothing, jnp.asarray(0), blank)
    _, (log_tau, gap), _, number, told = jax.lax.while_loop(unfinished, round_, carry)
    info = {**told, "gap": gap, "num_rounds": number, "converged": jnp.abs(gap) <= tolerance}
    return jnp.exp(jnp.clip(log_tau, begin - FARTHEST, begin + FARTHEST)), info


def _step(now, before):
    """Of the secant through the last two rounds where it slopes down, else MacKay's."""
    slope = (now[1] - before[1]) / (now[0] - before[0])
    return jnp.clip(jnp.where((slope < 0) & jnp.isfinite(slope), -now[1] / slope, now[1]), -LONGEST, LONGEST)


def _look(model, data, params, gaussian):
    """log γ − log (w − μ)ᵀ diag(prior precision) (w − μ), and what is told of the round."""
    normal = gaussian(model, data, params)[0]
    flat, unravel = ravel_pytree(params)
    slope = jax.grad(lambda w: model.prior.log_prob(unravel(w)))(flat)
    squares = slope**2 / curvature.prior_precision(model, flat, unravel)
    squares = squares[normal.index] if isinstance(normal, Part) else squares
    effective = normal.effective_parameters()
    volume = num_free(normal) * HALF_LOG_TWO_PI + 0.5 * normal.log_det()
    told = {"log_evidence": log_joint(model, params, data) + volume, "effective_parameters": effective}
    return jnp.log(effective) - jnp.log(jnp.sum(squares)), told
