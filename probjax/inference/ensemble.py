"""Deep ensembles: the same fit from several random starting points."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from probjax.axis import over_leading_axis
from probjax.density import log_likelihood, log_prior, target
from probjax.networks import given_params
from probjax.optimize import lbfgs
from probjax.types import Data, Model, Params, Posterior, Target, as_model
from probjax.validation import check_inputs, require_counts


def ensemble(
    key: Array,
    model: Model | Target,
    data: Data,
    *,
    num_members: int = 16,
    beta: float | None = None,
    fit: Callable = lbfgs,
    batch_size: int | None = None,
) -> Posterior:
    """paramsₘ = argmin −log p(y, params | x) from init(keyₘ), m = 1..M (Lakshminarayanan et al. 2017, with the prior
    as regulariser).

    The members differ by their starting points alone, so on a log-concave posterior they all coincide and the spread
    is 0. Under a flat prior and with fewer rows than parameters a linear model's members keep what the data do not
    see of their starts: P_null w₀ + X⁺y (L-BFGS and gradient descent; not Adam, whose steps leave the rows' span).

    Args:
        key: one stream a member.
        num_members: M, the number of draws.
        beta: β of β-NLL (Seitzer et al. 2022) in [0, 1]: each row's log-likelihood is weighted by Var(y | f)^β, held
            fixed, so that a head which explains errors by noise keeps its gradient in the mean. It is no density, and
            its gradient is that of no function: `fit` must not search along lines. None or 0: the likelihood.
        fit: a minimiser `(objective, params) -> (params, info)`; for large nets `functools.partial(optimize.adam, …)`.
        batch_size: members that run together; see `axis.over_leading_axis`.

    Returns:
        Posterior with draws [M, …]; info: the fit's, each [M] (`objective` in nats, summed over data), and `failed`
        [M]: true where a member's parameters or objective are NaN or infinite. Its draw is a copy of one that survived,
        so that it does not poison the predictions; its entries of info stay as they were.

    Raises:
        NotApplicable: beta is given and the model is a Target.
        ValueError: fewer than 2 members, an init that gives every member the same start, beta outside [0, 1] or with
            `optimize.lbfgs`, every member failed (outside a trace).

    >>> from probjax import likelihoods, linear, priors
    >>> model = Model(*linear(1), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    >>> data = Data(jnp.ones((4, 1)), jnp.ones(4))
    >>> members = ensemble(jax.random.key(0), model, data, num_members=3).draws["bias"]
    >>> members.shape, bool(jnp.ptp(members) < 1e-3)  # one mode: the members agree
    ((3,), True)
    """
    check_inputs(model, data)
    require_members(num_members)
    require_starts("ensemble", model)
    density = target(model)
    if beta is None or (not isinstance(beta, jax.core.Tracer) and beta == 0):
        objective = lambda params: -density.log_joint(params, data)
    else:
        _check_beta(beta, fit)
        objective = lambda params: -_beta_log_joint(as_model(model), params, data, beta)
    member = lambda key: fit(objective, density.init(key))
    return fit_members(member, jax.random.split(key, num_members), batch_size=batch_size)


def fit_members(member: Callable, keys: Array, *, batch_size: int | None = None) -> Posterior:
    """[member(key) for key in keys] as draws [M, …]; a member that is not finite is replaced.

    Args:
        member: key -> (params, info).
        keys: [M].

    Returns:
        Posterior; info: the members', each [M], and `failed` [M]: true where a parameter or the objective is NaN or
        infinite. Such a member's draw is a copy of one that survived, in turn, so that it does not poison the
        predictions; its entries of info stay as they were. None survived, inside a trace: the draws stay as they are.

    Raises:
        ValueError: no member survived (outside a trace).
    """
    draws, info = over_leading_axis(member, keys, batch_size=batch_size)
    finite = [jnp.all(jnp.isfinite(leaf.reshape(len(keys), -1)), axis=1) for leaf in jax.tree.leaves(draws)]
    finite = jnp.all(jnp.stack([*finite, jnp.isfinite(info.get("objective", jnp.zeros(len(keys))))]), axis=0)
    if not isinstance(finite, jax.core.Tracer) and not finite.any():
        raise ValueError(
            f"all {len(keys)} members ended with parameters or an objective that are not finite; lower the learning "
            "rate, scale x, or give a tighter prior (with beta: the likelihood's variance must be finite)"
        )
    survivors = jnp.argsort(~finite, stable=True)  # those that are finite come first
    index = jnp.arange(len(keys))
    source = jnp.where(finite, index, survivors[index % jnp.maximum(finite.sum(), 1)])
    return Posterior(jax.tree.map(lambda leaf: leaf[source], draws), {**info, "failed": ~finite})


def require_members(num_members: int) -> None:
    """An ensemble has at least two members."""
    require_counts("ensemble", num_members=(num_members, 1))
    if num_members < 2:
        raise ValueError(f"num_members is {num_members} but an ensemble needs at least 2; for one fit use map_estimate")


def require_starts(where: str, model: Model | Target) -> None:
    """Members that differ by their starts alone need an `init` that depends on the key."""
    if getattr(target(model).init, "func", None) is given_params:
        raise ValueError(
            f"{where}: model.init returns the trained parameters whatever the key, so that all members would be one; "
            "make the network without trained=… (or variables=…), or stack networks that you trained from different "
            "starts: Posterior(stacked params, {})"
        )


def _beta_log_joint(model: Model, params: Params, data: Data, beta: float) -> Array:
    """log p(params) + Σ ⌊Var(yₙ | fₙ)^β⌋ log p(yₙ | fₙ), the weights held fixed."""
    log_likelihoods = log_likelihood(model, params, data)
    variance = model.likelihood.variance(model.apply(params, data.x))
    if variance.shape != log_likelihoods.shape:
        raise ValueError(
            f"ensemble: beta needs one variance a row, {log_likelihoods.shape}, but this likelihood's has shape "
            f"{variance.shape}; leave beta out"
        )
    return log_prior(model, params) + jnp.sum(jax.lax.stop_gradient(variance**beta) * log_likelihoods)


def _check_beta(beta, fit):
    if not isinstance(beta, jax.core.Tracer) and not 0 <= beta <= 1:
        raise ValueError(f"ensemble: beta is {beta} but must lie in [0, 1]; Seitzer et al. recommend 0.5")
    if getattr(fit, "func", fit) is lbfgs:
        raise ValueError(
            "ensemble: with beta the gradient is that of no function, and a line search has nothing to search; pass "
            "fit=functools.partial(optimize.adam, num_steps=…)"
        )
