"""The evidence log p(y | x, hyperparameters) of the linear model, exactly, and the hyperparameters that maximise it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from probjax import likelihoods, priors
from probjax.networks import is_linear
from probjax.optimize import lbfgs
from probjax.special import HALF_LOG_TWO_PI
from probjax.types import Data, Model, NotApplicable
from probjax.validation import check_inputs, require_counts, require_positive

LEVEL = 1e-6  # curvature in log hyperparameters, nats, below which the maximum is said to lie at 0 or infinity


def log_evidence(model: Model, data: Data) -> Array:
    """log N(y | Xμ, σ²I + X diag(τ²) Xᵀ) of y ~ N(xᵀw, σ²), w ~ N(μ, τ²): nats, summed over data (Bishop 2006 §3.5.1).

    By P × P or N × N matrices, whichever is smaller. For other models `laplace(…).info["log_evidence"]` approximates
    it, and is exact here.

    Raises:
        NotApplicable: the network is not `linear` with one output, or noise or prior are not Gaussian.
        ValueError: the prior is flat somewhere: an improper prior has no evidence.

    >>> from probjax import linear
    >>> model = Model(*linear(1, bias=False), prior=priors.normal(0.0, 2.0), likelihood=likelihoods.normal(1.0))
    >>> float(log_evidence(model, Data(jnp.ones((1, 1)), jnp.zeros(1))))  # N(0 | 0, 1 + 4)
    -1.72365...
    """
    check_inputs(model, data)
    if not is_linear(model) or not likelihoods.is_homoscedastic(model.likelihood):
        raise NotApplicable("log_evidence needs a model of probjax.linear with normal noise of one known scale")
    like = jax.eval_shape(model.init, jax.random.key(0))
    if not priors.is_gaussian(model.prior) or like["weight"].ndim != 1:
        raise NotApplicable("log_evidence needs one output and priors.normal (or a joint of them)")
    if model.prior.sample is None:
        raise ValueError(
            "log_evidence: the prior is flat somewhere, and an improper prior has no evidence (its constant is "
            "arbitrary); give every part a proper one, such as a wide priors.normal(0.0, scale)"
        )
    origin, unravel = ravel_pytree(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like))
    # of a Gaussian prior that factorises: precision −∇² (diagonal), mean ∇ / precision at 0
    slope = jax.grad(lambda w: model.prior.log_prob(unravel(w)))
    at_zero, minus_precision = jax.jvp(slope, (origin,), (jnp.ones_like(origin),))
    precision = -minus_precision
    design = jax.vmap(lambda params: model.apply(params, data.x), out_axes=1)(jax.vmap(unravel)(jnp.eye(origin.size)))
    noise = jnp.sqrt(model.likelihood.variance(jnp.zeros(1))[0])
    residual = (data.y - design @ (at_zero / precision)) / noise
    return _gaussian(design / (noise * jnp.sqrt(precision)), residual, noise)


def _gaussian(scaled, residual, noise):
    """log N(σr | 0, σ²(I + AAᵀ)) by QR of A or Aᵀ over I, whichever is narrower: nothing is squared, so that columns
    which others span and priors a billion times as wide as the noise keep their digits."""
    num_rows, size = scaled.shape
    tall = num_rows > size
    root = scaled if tall else scaled.T
    basis, upper = jnp.linalg.qr(jnp.concatenate([root, jnp.eye(root.shape[1], dtype=root.dtype)]))
    log_det = 2 * jnp.sum(jnp.log(jnp.abs(jnp.diag(upper))))
    if tall:  # rᵀ(I + AAᵀ)⁻¹r = ‖what of (r, 0) is outside the span of (A, I)‖²
        whole = jnp.concatenate([residual, jnp.zeros(size, residual.dtype)])
        square = jnp.sum((whole - basis @ (basis.T @ whole)) ** 2)
    else:
        square = jnp.sum(jax.scipy.linalg.solve_triangular(upper, residual, trans=1) ** 2)
    return -num_rows * (HALF_LOG_TWO_PI + jnp.log(noise)) - 0.5 * log_det - 0.5 * square


def empirical_bayes(
    model_at: Callable[[Any], Model], data: Data, start: Any, *, max_steps: int = 200
) -> tuple[Any, dict[str, Array]]:
    """argmax over hyperparameters of `log_evidence(model_at(hyper), data)` (type II maximum likelihood; MacKay 1992).

    Args:
        model_at: hyperparameters -> Model. They are positive numbers, in any tree: scales of priors and of noise.
        start: where to start, positive.

    Returns:
        The hyperparameters, and info: `log_evidence` (nats), `grad_norm` (in their logarithms), `num_steps`,
        `converged`, `vanishing` (the evidence is flat in some direction where the search ended: a hyperparameter on its
        way to 0 or infinity, since the data prefer a model without it; one that says what another says; or a start so
        far off that there is no slope. The numbers then are not a maximum, and `converged` is false).

    Raises:
        ValueError: start is not positive; the evidence has no maximum (data that the model fits exactly have an
            infinite one at noise 0); and as `log_evidence`. Inside jit, where nothing can be raised, NaN and
            `converged` false.

    >>> from probjax import linear
    >>> build = lambda tau: Model(*linear(1, bias=False), prior=priors.normal(0.0, tau),
    ...     likelihood=likelihoods.normal(1.0))
    >>> tau, info = empirical_bayes(build, Data(jnp.ones((1, 1)), jnp.full(1, 3.0)), 1.0)
    >>> round(float(tau) ** 2, 3)  # y² = 1 + τ²
    8.0
    """
    require_counts("empirical_bayes", max_steps=(max_steps, 1))
    require_positive("empirical_bayes", "start", start, "every hyperparameter is a scale")
    log_start = jax.tree.map(lambda leaf: jnp.log(jnp.asarray(leaf, float)), start)
    positive = lambda logs: jax.tree.map(jnp.exp, logs)
    objective = lambda logs: -log_evidence(model_at(positive(logs)), data)
    logs, info = lbfgs(objective, log_start, max_steps=max_steps)
    flat, unravel = ravel_pytree(logs)
    vanishing = ~(jnp.linalg.eigvalsh(jax.hessian(lambda w: objective(unravel(w)))(flat))[0] > LEVEL)
    hyper = positive(logs)
    _raise_if_not_finite(hyper)
    return hyper, {
        "log_evidence": -info["objective"],
        "grad_norm": info["grad_norm"],
        "num_steps": info["num_steps"],
        "vanishing": vanishing,
        "converged": info["converged"] & ~vanishing,
    }


def _raise_if_not_finite(hyper):
    leaves = jax.tree.leaves(hyper)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves) or all(bool(jnp.all(jnp.isfinite(v))) for v in leaves):
        return
    raise ValueError(
        f"empirical_bayes: the evidence has no maximum, the search ended at {jax.tree.map(float, hyper)}: y is fitted "
        "exactly, and noise of scale 0 makes it infinite; hold the noise's scale fixed, or look at y"
    )
