"""Deep ensembles: the same fit from several random starting points."""

from __future__ import annotations

from collections.abc import Callable

import jax
from jax import Array

from probjax.axis import over_leading_axis
from probjax.density import target
from probjax.optimize import lbfgs
from probjax.types import Data, Model, Posterior, Target
from probjax.validation import check_inputs, require_counts


def ensemble(
    key: Array,
    model: Model | Target,
    data: Data,
    *,
    num_members: int = 16,
    fit: Callable = lbfgs,
    batch_size: int | None = None,
) -> Posterior:
    """paramsₘ = argmin −log p(y, params | x) from init(keyₘ), m = 1..M (Lakshminarayanan et al. 2017, with the prior
    as regulariser).

    The members differ by their starting points alone, so on a log-concave posterior they all coincide and the spread
    is 0.

    Args:
        key: one stream a member.
        num_members: M, the number of draws.
        fit: a minimiser `(objective, params) -> (params, info)`; for large nets `functools.partial(optimize.adam, …)`.
        batch_size: members that run together; see `axis.over_leading_axis`.

    Returns:
        Posterior with draws [M, …]; info: the fit's, each [M].

    >>> import jax.numpy as jnp
    >>> from probjax import likelihoods, linear, priors
    >>> model = Model(*linear(1), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    >>> data = Data(jnp.ones((4, 1)), jnp.ones(4))
    >>> members = ensemble(jax.random.key(0), model, data, num_members=3).draws["bias"]
    >>> members.shape, bool(jnp.ptp(members) < 1e-3)  # one mode: the members agree
    ((3,), True)
    """
    check_inputs(model, data)
    require_counts("ensemble", num_members=(num_members, 1))
    if num_members < 2:
        raise ValueError(f"num_members is {num_members} but an ensemble needs at least 2; for one fit use map_estimate")
    density = target(model)

    def member(key):
        return fit(lambda params: -density.log_joint(params, data), density.init(key))

    return Posterior(*over_leading_axis(member, jax.random.split(key, num_members), batch_size=batch_size))
