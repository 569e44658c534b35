"""Generalised linear models: the mode by Newton's method, with curvature from a sample of rows where there are many."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from probjax import design, newton, priors
from probjax.networks import is_linear
from probjax.types import Data, Model, NotApplicable, Posterior
from probjax.validation import check_inputs, require_counts

LOST = 1e-7  # of the curvature at 0: where less is left the maximum is at infinity


def glm(key: Array, model: Model, data: Data, *, max_steps: int = 100, tolerance: float | None = None) -> Posterior:
    """params* = argmax log p(y, params | x) for a `linear` network and a log p(y | f) that is concave in f.

    With few rows (4096, or 20 a coefficient) this is iteratively reweighted least squares (McCullagh & Nelder 1989
    §2.5). With more, the curvature is that of rows drawn at random, corrected by the last steps (Byrd et al. 2011):
    what costs is the pass over all rows for the gradient, and a handful of passes is enough however x is conditioned. A
    quadratic log joint (Gaussian noise and prior) takes its curvature from all rows, once, and then corrects the
    rounding. The curvature is factorised by Cholesky where its smallest pivot allows, by QR where not.

    Args:
        key: for the rows that are drawn.
        tolerance: converged when max|∇ log joint| / N is at most this. Default: 1e-9 in float64, 1e-5 in float32.

    Returns:
        Posterior with S = 1; info: `grad_norm` (max norm, summed over rows), `objective` (−log joint, nats), `gap`
        (½ ∇ᵀH⁻¹∇: the nats that another Newton step would gain), `num_steps`, `num_undetermined` (directions that
        neither data nor prior determine: the answer is one of many), `unbounded` (see below), `converged`.

    Raises:
        NotApplicable: the network is not `linear`, or the prior has a kink, as the Laplace has.
        ValueError: the log joint has no maximum (separated classes under a flat prior, say). Inside jit, where nothing
            can be raised, `unbounded` is true and `converged` false.

    >>> from probjax import likelihoods, linear, priors
    >>> model = Model(*linear(1), prior=priors.normal(), likelihood=likelihoods.poisson())
    >>> posterior = glm(jax.random.key(0), model, Data(jnp.ones((4, 1)), jnp.array([0.0, 1.0, 3.0, 0.0])))
    >>> bool(posterior.info["converged"])
    True
    """
    check_inputs(model, data)
    require_counts("glm", max_steps=(max_steps, 1))
    if not is_linear(model):
        raise NotApplicable("glm needs a model of probjax.linear: f must be linear in the parameters")
    if priors.has_kink(model.prior):
        raise NotApplicable("glm needs a prior whose mode is where the gradient vanishes: normal, student_t or flat")
    posterior, direction = _fit(key, model, data, max_steps, tolerance)
    _raise_if_seen(posterior.info["unbounded"], direction, model, data)
    return posterior


@partial(jax.jit, static_argnames="max_steps")
def _fit(key, model, data, max_steps, tolerance):
    """The posterior and the direction in which curvature was lost. Compiled here, so that a fit outside jit, which
    alone can raise, costs one compilation for all data of one shape."""
    # from 0, where no f is saturated: the mode of a concave log joint does not depend on the start
    start = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(model.init, key))
    whole = design.Design(model, data, start)
    sampled = design.sample(key, whole)
    quadratic = sampled is not whole and design.is_quadratic(whole)
    factorise = lambda w: design.factorise_quadratic(whole, w) if quadratic else design.factorise(whole, sampled, w)
    origin = design.stack(start)
    first = factorise(origin)
    if tolerance is None:
        tolerance = 1e-9 if origin.dtype == jnp.float64 else 1e-5
    state = newton.minimise(
        lambda w: design.gradient(whole, w),
        factorise,
        design.solve,
        origin,
        first,
        kind="constant" if quadratic else "exact" if sampled is whole and origin.ndim == 1 else "rough",
        max_steps=max_steps,
        tolerance=tolerance * whole.num_rows,
    )
    unbounded, direction = jnp.asarray(False), origin
    if model.prior.sample is None and not design.is_quadratic(whole):
        kept, direction = design.curvature_kept(first, state.factor, state.w)
        unbounded = ~(kept > LOST)
    grad_norm = jnp.max(jnp.abs(state.grad))
    info = {
        "grad_norm": grad_norm,
        "objective": design.objective(whole, state.w),
        "gap": 0.5 * jnp.vdot(state.grad, design.solve(state.factor, state.grad)),
        "num_steps": state.num_steps,
        "num_undetermined": design.undetermined(state.factor),
        "unbounded": unbounded,
        "converged": (grad_norm <= tolerance * whole.num_rows) & ~unbounded,
    }
    return Posterior(jax.tree.map(lambda leaf: leaf[None], design.unstack(state.w, start)), info), direction


def _raise_if_seen(unbounded, direction, model, data):
    """Outside jit the flag is a value, and a large number must not be taken for an answer."""
    if isinstance(unbounded, jax.core.Tracer) or not unbounded:
        return
    where = ""
    x = np.asarray(data.x)
    if jax.eval_shape(model.init, jax.random.key(0))["weight"].ndim == 1:
        change = np.abs(np.asarray(direction)[: x.shape[1]]) * np.std(x, axis=0)
        where = f", most of all in column {int(change.argmax())} of x" if change.any() else ", in the bias"
    raise ValueError(
        f"glm: the log joint has no maximum: it keeps rising as the coefficients grow{where} (a plane separates the "
        "classes, or counts are all 0 somewhere), and the prior is flat; give it a proper one: "
        "priors.normal(0.0, scale)"
    )
