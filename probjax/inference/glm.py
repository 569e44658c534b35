"""Generalised linear models: the mode by Newton's method, with curvature from a sample of rows where there are many,
and by proximal Newton where the prior has a kink."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from probjax import design, design_curvature, duality, likelihoods, newton, priors, proximal
from probjax.networks import is_linear
from probjax.types import Data, Model, NotApplicable, Posterior
from probjax.validation import check_inputs, require_counts

MOST_KEPT = 1024  # columns up to which a path shares XᵀX
STEPS_OF_SAMPLE, TOLERANCE_OF_SAMPLE = 20, 4e-3  # a row: a quarter of what 4096 rows leave of ∇ by chance
LOST = 1e-7  # of the curvature at 0: where less is left the maximum is at infinity


def glm(key: Array, model: Model, data: Data, *, max_steps: int = 100, tolerance: float | None = None) -> Posterior:
    """params* = argmax log p(y, params | x) for a `linear` network and a log p(y | f) that is concave in f.

    With few rows (4096, or 20 a coefficient) this is iteratively reweighted least squares (McCullagh & Nelder 1989
    §2.5). With more, steps start from the mode of rows drawn at random and take the curvature from them, corrected by
    the last steps (Byrd et al. 2011): what costs is the pass over all rows for the gradient, and a handful of passes is
    enough however x is conditioned. Several outputs take a few conjugate gradients a step. A
    quadratic log joint (Gaussian noise and prior) takes its curvature from all rows, once, and then corrects the
    rounding. The curvature is factorised by Cholesky where its smallest pivot allows, by QR where not.

    Where the prior is `laplace` (the lasso, and its like for any likelihood) the mode has exact zeros: it is found by
    proximal Newton steps on all rows, each solved by its active set.

    Args:
        key: for the rows that are drawn.
        tolerance: converged when max|∇ log joint| / N, or the like for kinks, is at most this. Default: 1e-9 in
            float64, 1e-5 in float32.

    Returns:
        Posterior with S = 1; info: `grad_norm` (max norm, summed over rows; with kinks the distance of 0 from the
        subdifferential, that is the violation of the Karush–Kuhn–Tucker conditions), `objective` (−log joint, nats),
        `gap` (nats: ½ ∇ᵀH⁻¹∇, what another Newton step would gain; with kinks the duality gap, which no params can beat
        this one by: `duality.gap`), `num_steps`, `num_undetermined` (directions that neither data nor prior determine:
        the answer is one of many; not counted with kinks), `unbounded` (see below), `converged`.

    Raises:
        NotApplicable: the network is not `linear`; the prior has a pole or an atom, as the horseshoe has; there are
            kinks and several outputs, or kinks in the prior of the bias alone.
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
    check_applicable("glm", model)
    posterior, direction = _fit(key, model, data, max_steps, tolerance)
    _raise_if_seen(posterior.info["unbounded"], direction, model, data)
    return posterior


def glm_path(
    key: Array,
    model_at: Callable[[Array], Model],
    data: Data,
    *,
    values: Array,
    max_steps: int = 100,
    tolerance: float | None = None,
) -> Posterior:
    """The modes of `glm` for a sequence of hyperparameters, each started from the last one, in one compilation.

    Args:
        model_at: one of `values` -> a Model, traced: `lambda b: Model(*linear(3), prior=priors.joint(
            weight=priors.laplace(0.0, b), bias=priors.flat()), likelihood=…)`.
        values: [L], from the tightest prior to the widest, so that each start is near.

    Returns:
        Posterior with S = L, one mode a value; info as `glm`'s, each entry [L].

    Raises:
        ValueError: values is not an array of one axis; or what `model_at` raises for one of them.
        NotApplicable: as `glm`, and for priors without kinks: their modes are independent calls of `glm`, which
            compiles once for all of them.

    >>> from probjax import likelihoods, linear, priors
    >>> model_at = lambda b: Model(*linear(1), prior=priors.laplace(0.0, b), likelihood=likelihoods.normal(1.0))
    >>> data = Data(jnp.ones((4, 1)), jnp.array([0.0, 1.0, 3.0, 0.0]))
    >>> path = glm_path(jax.random.key(0), model_at, data, values=jnp.array([0.1, 1.0]))
    >>> (path.draws["weight"] != 0).tolist()
    [[False], [True]]
    """
    values = jnp.asarray(values, float)
    if values.ndim != 1 or not values.size:
        raise ValueError(f"glm_path: values has shape {values.shape} but must be [L], one hyperparameter each")
    if not isinstance(values, jax.core.Tracer):
        for value in np.asarray(values):
            model_at(value)  # so that its own checks see every number
    first = model_at(values[0])
    check_inputs(first, data)
    require_counts("glm_path", max_steps=(max_steps, 1))
    check_applicable("glm_path", first)
    if not priors.has_kink(first.prior):
        raise NotApplicable("glm_path needs a prior with a kink (laplace); for smooth ones call glm for each value")
    posterior = _path(key, jax.vmap(model_at)(values), data, max_steps, tolerance)
    _raise_if_seen(jnp.any(posterior.info["unbounded"]), jnp.zeros(np.shape(data.x)[1]), first, data)
    return posterior


def check_applicable(name: str, model: Model) -> None:
    """Raise `NotApplicable` where a mode by Newton's method has no meaning."""
    if not is_linear(model):
        raise NotApplicable(f"{name} needs a model of probjax.linear: f must be linear in the parameters")
    if likelihoods.has_kink(model.likelihood):
        raise NotApplicable(
            f"{name} needs a likelihood that is smooth in f; laplace and asymmetric_laplace (least absolute deviations,"
            " quantiles) have a kink at each row. Near relatives are huber with a small delta and log_cosh; or "
            "map_estimate, whose answer is then good to a few digits and not said to be converged"
        )
    if priors.has_pole(model.prior):
        raise NotApplicable(f"{name} needs a prior whose mode means something: normal, student_t, laplace or flat")
    if not priors.has_kink(model.prior):
        return
    like = jax.eval_shape(model.init, jax.random.key(0))
    if like["weight"].ndim != 1:
        raise NotApplicable(
            f"{name} finds modes of priors with a kink (laplace) for one output only; fit one class against the rest "
            "with likelihoods.bernoulli, or give the weights a priors.normal"
        )
    parts = getattr(model.prior.log_prob, "args", ((),))[0]
    if isinstance(parts, dict) and not priors.has_kink(parts["weight"]):
        raise NotApplicable(f"{name}: the bias has a prior with a kink and the weights have none; give it another")


@partial(jax.jit, static_argnames="max_steps")
def _fit(key, model, data, max_steps, tolerance):
    """The posterior and the direction in which curvature was lost. Compiled here, so that a fit outside jit, which
    alone can raise, costs one compilation for all data of one shape."""
    # from 0, where no f is saturated: the mode of a concave log joint does not depend on the start
    start = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(model.init, key))
    whole, origin = design.Design(model, data, start), design.stack(start)
    if tolerance is None:
        tolerance = 1e-9 if origin.dtype == jnp.float64 else 1e-5
    bound = tolerance * whole.num_rows
    if priors.has_kink(model.prior):
        w, info = _kinked(whole, origin, design_curvature.products(whole, proximal.SETS[0]), max_steps, bound)
        direction = origin
    else:
        w, info, direction = _smooth(key, whole, origin, max_steps, bound)
    return Posterior(jax.tree.map(lambda leaf: leaf[None], design.unstack(w, start)), info), direction


def _smooth(key, whole, origin, max_steps, bound):
    sampled = design.sample(key, whole)
    quadratic = sampled is not whole and design.is_quadratic(whole)
    from_moments = partial(design_curvature.factorise_quadratic, whole)
    factorise = from_moments if quadratic else partial(design_curvature.factorise, sampled)
    solve = partial(design_curvature.solve_better, sampled)
    first = factor = factorise(origin)
    start = origin
    if sampled is not whole and not quadratic:
        # near the mode of the sample, where passes are cheap: more would only find the sample's own errors
        near = newton.minimise(
            partial(design.gradient_and_predictor, sampled),
            factorise,
            design_curvature.solve,
            origin,
            first,
            kind="rough",
            max_steps=STEPS_OF_SAMPLE,
            tolerance=TOLERANCE_OF_SAMPLE * whole.num_rows,
        )
        start, factor = near.w, near.factor
    state = newton.minimise(
        partial(design.gradient_and_predictor, whole),
        factorise,
        solve,
        start,
        factor,
        kind="constant" if quadratic else "exact" if sampled is whole and origin.ndim == 1 else "rough",
        max_steps=max_steps,
        tolerance=bound,
    )
    unbounded, direction = jnp.asarray(False), origin
    if whole.model.prior.sample is None and not design.is_quadratic(whole):
        kept, direction = design_curvature.curvature_kept(first, state.factor, state.w)
        unbounded = ~(kept > LOST)
    grad_norm = jnp.max(jnp.abs(state.grad))
    gap = 0.5 * jnp.vdot(state.grad, solve(state.factor, state.grad))
    undetermined = design_curvature.undetermined(state.factor)
    objective = design.objective_at(whole, state.w, state.beside)
    return state.w, _report(state, grad_norm, objective, gap, undetermined, unbounded, bound), direction


def _kinked(whole, start, products, max_steps, bound):
    smooth = proximal.Smooth(
        lambda w: design.objective(whole, w),
        lambda w: design.gradient(whole, w),
        lambda w, columns: design_curvature.curvature(whole, w, columns),
        design.is_quadratic(whole),
        design_curvature.quadratic(whole, products, start.dtype),
    )
    kinks = design.kinks(whole, start.dtype)
    state = proximal.minimise(smooth, kinks, start, max_steps=max_steps, tolerance=bound)
    objective = design.objective(whole, state.w) + kinks.penalty(state.w)
    gap = duality.gap(whole, state.w, state.grad, kinks)
    unbounded = _bias_runs_away(whole, state.w, kinks)
    return state.w, _report(state, state.violation, objective, gap, jnp.asarray(0), unbounded, bound)


def _bias_runs_away(whole, w, kinks):
    """Whether the bias, the one coordinate that a kink may leave free, has lost the curvature it had at 0 (labels or
    counts that are all alike)."""
    if not whole.has_bias or design.is_quadratic(whole):
        return jnp.asarray(False)
    before, after = (design_curvature.bias_curvature(whole, v) for v in (jnp.zeros_like(w), w))
    return (kinks.rate[-1] == 0) & ~(after > LOST * before)


def _report(state, grad_norm, objective, gap, undetermined, unbounded, bound):
    return {
        "grad_norm": grad_norm,
        "objective": objective,
        "gap": gap,
        "num_steps": state.num_steps,
        "num_undetermined": undetermined,
        "unbounded": unbounded,
        "converged": (grad_norm <= bound) & ~unbounded & jnp.isfinite(objective),
    }


@partial(jax.jit, static_argnames="max_steps")
def _path(key, models, data, max_steps, tolerance):
    at = lambda model: jax.tree.map(lambda leaf: leaf[0], model)
    start = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(at(models).init, key))
    origin = design.stack(start)
    if tolerance is None:
        tolerance = 1e-9 if origin.dtype == jnp.float64 else 1e-5
    products = design_curvature.products(design.Design(at(models), data, start), MOST_KEPT)

    def step(w, model):
        whole = design.Design(model, data, start)
        w, info = _kinked(whole, w, products, max_steps, tolerance * whole.num_rows)
        return w, (w, info)

    ws, info = jax.lax.scan(step, origin, models)[1]
    return Posterior(jax.vmap(lambda w: design.unstack(w, start))(ws), info)


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
        "classes, or labels or counts are all alike), and the prior is flat there; give it a proper one: "
        "priors.normal(0.0, scale)"
    )
