"""SWAG: a Gaussian fitted to the iterates of constant-step stochastic gradient ascent."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree
from jax.scipy.special import logsumexp

from probjax.axis import over_leading_axis
from probjax.density import target
from probjax.inference.snapshots import Moments, draw, log_density, moments_along, num_frozen
from probjax.inference.stochastic_gradients import check_walk, gradient_of, start_and_step
from probjax.optimize import lbfgs
from probjax.types import Data, Model, Params, Posterior, as_model
from probjax.validation import num_data, require_counts

RELATIVE_STEP = 0.1  # h λ_max by default; with batches of N/10 rows, stable whatever the rows of a linear model
RANK = 20


def swag(
    key: Array,
    model: Model,
    data: Data,
    *,
    num_draws: int = 1000,
    num_snapshots: int = 200,
    rank: int = RANK,
    num_warmup: int = 200,
    thinning: int = 10,
    step_size: float | Array | None = None,
    batch_size: int | None = None,
    replace: bool = True,
    start: Params | None = None,
    fit: Callable = lbfgs,
) -> Posterior:
    """N(w̄, ½ diag(s) + DDᵀ / (2(K − 1))), w̄ and s the mean and variances of the iterates of w ← w + h ĝ(w), D the last
    K of them less w̄ (Maddox et al. 2019; deviations from the final mean, not the running one, so that at K = T
    DDᵀ/(K − 1) is the sample covariance).

    What is fitted is the stationary law of SGD, whose covariance S grows with h / batch_size and is not the
    posterior's; as K and T grow the draws have covariance ½ diag(S) + ½ S. The K + 4 copies of the parameters beside
    the S draws are all the memory it takes.

    Args:
        key: split into starting point, batches and draws.
        num_draws: S.
        num_snapshots: T, iterates that enter mean and variances.
        rank: K, from 2 to T.
        num_warmup: steps before the first snapshot.
        thinning: steps from snapshot to snapshot.
        step_size: h, for gradients summed over data. Default: 0.1 over the largest curvature at the start.
        batch_size: rows of a minibatch, drawn afresh each step. Default: a tenth of the rows.
        replace: draw the rows with replacement; without it a step costs a permutation of all rows.
        start: trained params to start from. Default: the mode that `fit` finds from model.init.
        fit: a minimiser `(objective, params) -> (params, info)`.

    Returns:
        Posterior with draws [S, …]; info: `log_q` [S] (nats), `step_size`, `num_steps`, `mean_grad_norm`
        (max |∇ log joint| at w̄, nats), `num_frozen` (parameters that never moved: where there are any, the Gaussian
        has no density and `log_q` is nan), `diverged` (an iterate was not finite: take a smaller step).

    Raises:
        NotApplicable: the model is a Target.
        ValueError: rank not in 2..num_snapshots, batch_size > N, step_size ≤ 0.

    >>> from probjax import likelihoods, linear, priors
    >>> model = Model(*linear(1), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    >>> data = Data(jnp.arange(4.0)[:, None], jnp.array([0.0, 2.0, 1.0, 3.0]))
    >>> posterior = swag(jax.random.key(0), model, data, num_draws=6, num_snapshots=30)
    >>> posterior.draws["weight"].shape, bool(posterior.info["diverged"])
    ((6, 1), False)
    """
    fit_key, draw_key = jax.random.split(key)
    walk = {"num_snapshots": num_snapshots, "rank": rank, "num_warmup": num_warmup, "thinning": thinning}
    rows = {"step_size": step_size, "batch_size": batch_size, "replace": replace}
    require_counts("swag", num_draws=(num_draws, 1))
    run, unravel = _runner("swag", model, data, walk=walk, start=start, fit=fit, **rows)
    moments, info = run(fit_key)
    draws = jax.lax.map(lambda key: draw(key, moments), jax.random.split(draw_key, num_draws))
    return Posterior(jax.vmap(unravel)(draws), {"log_q": log_density(moments, draws), **info})


def multi_swag(
    key: Array,
    model: Model,
    data: Data,
    *,
    num_members: int = 8,
    num_draws: int = 1000,
    num_snapshots: int = 200,
    rank: int = RANK,
    num_warmup: int = 200,
    thinning: int = 10,
    step_size: float | Array | None = None,
    batch_size: int | None = None,
    replace: bool = True,
    fit: Callable = lbfgs,
) -> Posterior:
    """An equal mixture of SWAG Gaussians, each from a starting point of its own (Wilson & Izmailov 2020).

    Args:
        num_members: M, at least 2. A member that diverges is left out and the others share the draws.
        num_draws: S, spread evenly over the members, draw by draw.
        key, num_snapshots, rank, num_warmup, thinning, step_size, batch_size, replace, fit: as in `swag`.

    Returns:
        Posterior as `swag`; info: `log_q` [S] of the mixture, `member` [S], which member a draw is from, and `swag`'s,
        each [M].

    Raises:
        NotApplicable, ValueError: as `swag`; num_members < 2.

    >>> from probjax import likelihoods, linear, priors
    >>> model = Model(*linear(1), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    >>> data = Data(jnp.arange(4.0)[:, None], jnp.array([0.0, 2.0, 1.0, 3.0]))
    >>> posterior = multi_swag(jax.random.key(0), model, data, num_members=2, num_draws=4, num_snapshots=30)
    >>> posterior.info["member"].tolist()
    [0, 1, 0, 1]
    """
    require_counts("multi_swag", num_members=(num_members, 1), num_draws=(num_draws, 1))
    if num_members < 2:
        raise ValueError(f"num_members is {num_members} but a mixture needs at least 2; for one use swag")
    fit_key, draw_key = jax.random.split(key)
    walk = {"num_snapshots": num_snapshots, "rank": rank, "num_warmup": num_warmup, "thinning": thinning}
    rows = {"step_size": step_size, "batch_size": batch_size, "replace": replace}
    run, unravel = _runner("multi_swag", model, data, walk=walk, start=None, fit=fit, **rows)
    moments, info = over_leading_axis(run, jax.random.split(fit_key, num_members))
    num_whole = jnp.maximum(jnp.sum(~info["diverged"]), 1)
    member = jnp.argsort(info["diverged"], stable=True)[jnp.arange(num_draws) % num_whole]
    choose = lambda m: jax.tree.map(lambda leaf: leaf[m], moments)
    draws = jax.lax.map(lambda row: draw(row[0], choose(row[1])), (jax.random.split(draw_key, num_draws), member))
    log_parts = jax.lax.map(lambda moments: log_density(moments, draws), moments)  # [M, S]
    log_parts = jnp.where(info["diverged"][:, None] & ~jnp.all(info["diverged"]), -jnp.inf, log_parts)
    log_q = logsumexp(log_parts, axis=0) - jnp.log(num_whole)
    return Posterior(jax.vmap(unravel)(draws), {"log_q": log_q, "member": member, **info})


def swag_from_checkpoints(
    key: Array, checkpoints: Params, *, num_draws: int = 1000, rank: int | None = None
) -> Posterior:
    """`swag`'s Gaussian from parameters that were saved along a run of SGD, whatever trained them.

    Args:
        checkpoints: params with a leading axis T on every leaf, oldest first.
        num_draws: S.
        rank: K, from 2 to T. Default: 20, or T where that is less.

    Returns:
        Posterior with draws [S, …]; info: `log_q` [S] and `num_frozen`, as `swag`.

    Raises:
        ValueError: leaves that disagree on T, T < 2, checkpoints that are not finite, rank not in 2..T.

    >>> walk = {"weight": jnp.array([[1.0], [1.2], [0.9], [1.1]]), "bias": jnp.array([0.0, 0.1, -0.1, 0.0])}
    >>> swag_from_checkpoints(jax.random.key(0), walk, num_draws=6).draws["weight"].shape
    (6, 1)
    """
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(checkpoints)]
    lengths = {leaf.shape[0] if leaf.ndim else 0 for leaf in leaves}
    if len(lengths) != 1 or min(lengths) < 2:
        raise ValueError(
            f"swag_from_checkpoints: checkpoints has leaves of shapes {[leaf.shape for leaf in leaves]}; expected one "
            "leading axis T, at least 2, on all: stack the saved params with jax.tree.map(lambda *a: jnp.stack(a), …)"
        )
    (num_snapshots,) = lengths
    rank = min(RANK, num_snapshots) if rank is None else rank
    _check_rank("swag_from_checkpoints", rank, num_snapshots)
    require_counts("swag_from_checkpoints", num_draws=(num_draws, 1))
    _check_finite(checkpoints, num_snapshots)
    unravel = ravel_pytree(jax.tree.map(lambda leaf: jnp.asarray(leaf)[0], checkpoints))[1]
    flat = jnp.concatenate([leaf.reshape(num_snapshots, -1) for leaf in leaves], axis=1)
    mean = jnp.mean(flat, 0)
    moments = Moments(mean, jnp.mean((flat - mean) ** 2, 0), flat[num_snapshots - rank :] - mean)
    draws = jax.lax.map(lambda key: draw(key, moments), jax.random.split(key, num_draws))
    info = {"log_q": log_density(moments, draws), "num_frozen": num_frozen(moments)}
    return Posterior(jax.vmap(unravel)(draws), info)


def update(w: Array, gradient: Array, step_size: Array) -> Array:
    """One step of gradient ascent."""
    return w + step_size * gradient


def _runner(where, model, data, *, walk, step_size, batch_size, replace, start, fit):
    """key -> (Moments, info), and the inverse of ravelling."""
    model = as_model(model)
    start = check_walk(where, model, data, start, step_size)
    least = {"num_snapshots": 2, "num_warmup": 0, "thinning": 1}
    require_counts(where, **{name: (walk[name], least[name]) for name in least})
    _check_rank(where, walk["rank"], walk["num_snapshots"])
    _, unravel = ravel_pytree(model.init(jax.random.key(0)) if start is None else start)
    batch_size = -(-num_data(data) // 10) if batch_size is None else batch_size
    gradient = gradient_of(where, model, data, unravel, batch_size, replace)
    density = target(model)

    def run(key):
        start_key, walk_key = jax.random.split(key)
        settings = {"start": start, "fit": fit, "step_size": step_size, "relative": RELATIVE_STEP}
        w, h = start_and_step(start_key, density, data, **settings)
        step = lambda index, w: update(w, gradient(jax.random.fold_in(walk_key, index), w), h)
        moments = moments_along(step, w, **walk)
        slope = jax.grad(lambda w: density.log_joint(unravel(w), data))(moments.mean)
        info = {
            "step_size": h,
            "num_steps": jnp.asarray(walk["num_warmup"] + walk["num_snapshots"] * walk["thinning"]),
            "mean_grad_norm": jnp.max(jnp.abs(slope)),
            "num_frozen": num_frozen(moments),
            "diverged": ~(jnp.all(jnp.isfinite(moments.mean)) & jnp.all(jnp.isfinite(moments.variance))),
        }
        return moments, info

    return run, unravel


def _check_rank(where, rank, num_snapshots):
    require_counts(where, rank=(rank, 2))
    if rank > num_snapshots:
        raise ValueError(f"{where}: rank is {rank} but must lie in 2..{num_snapshots}, the number of snapshots")


def _check_finite(checkpoints, num_snapshots):
    for leaf in jax.tree.leaves(checkpoints):
        if isinstance(leaf, jax.core.Tracer):
            continue
        whole = np.isfinite(np.asarray(leaf).reshape(num_snapshots, -1)).all(axis=1)
        if not whole.all():
            raise ValueError(
                f"swag_from_checkpoints: checkpoint {int(whole.argmin())} is not finite; leave out what has diverged"
            )
