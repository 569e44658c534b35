"""Anchored ensembles: each member is drawn to its own sample of the prior."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from probjax.density import log_joint
from probjax.inference.ensemble import fit_members, require_members
from probjax.optimize import lbfgs
from probjax.priors import is_gaussian
from probjax.types import Data, Model, NotApplicable, Params, Posterior, as_model
from probjax.validation import check_inputs


def anchored(
    key: Array,
    model: Model,
    data: Data,
    *,
    num_members: int = 16,
    fit: Callable = lbfgs,
    batch_size: int | None = None,
) -> Posterior:
    """paramsₘ = argmin −log p(y | params, x) + ‖params − w₀ₘ‖²/2τ², w₀ₘ ~ prior = N(μ, τ²) (Pearce, Leibfried &
    Brintrup 2020, with σ²/τ² as their regulariser).

    On a linear model with Gaussian noise the members are N(posterior mean, Σ·Σ/τ²) over anchors, Σ the posterior
    covariance: narrower than the posterior in every direction, and right only where the data say nothing (Σ = τ²) or
    in the limit of wide networks that Pearce et al. discuss. `randomised_map` perturbs y too and has Σ.

    Args:
        key: one stream a member, for its starting point and its anchor.
        model: with a Gaussian prior (`priors.normal`, or a `priors.joint` of such).
        num_members: M, the number of draws.
        fit, batch_size: as in `ensemble`.

    Returns:
        Posterior with draws [M, …]; info: the fit's, each [M] (`objective` up to a constant of the member), `failed`.

    Raises:
        NotApplicable: the model is a Target, or its prior is not Gaussian or is improper.
        ValueError: fewer than 2 members, every member failed.

    >>> from probjax import likelihoods, linear, priors
    >>> model = Model(*linear(1), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    >>> data = Data(jnp.ones((4, 1)), jnp.ones(4))
    >>> anchored(jax.random.key(0), model, data, num_members=3).draws["weight"].shape
    (3, 1)
    """
    model = as_model(model)
    check_inputs(model, data)
    require_members(num_members)
    require_gaussian_prior(model)

    def member(key):
        init_key, anchor_key = jax.random.split(key)
        start = model.init(init_key)
        return fit(anchored_objective(model, data, model.prior.sample(anchor_key, start)), start)

    return fit_members(member, jax.random.split(key, num_members), batch_size=batch_size)


def anchored_objective(model: Model, data: Data, anchor: Params) -> Callable:
    """params -> −log p(y, params | x) + ⟨∇log p(anchor), params⟩, nats, summed over data.

    For a quadratic log-prior this is −log p(y | params, x) + ‖params − anchor‖²/2τ² up to a constant, whatever its
    mean and scales: moving the centre of a parabola is adding a linear term.
    """
    slope = jax.grad(model.prior.log_prob)(anchor)

    def objective(params):
        along = jax.tree.map(lambda a, b: jnp.sum(a * b), slope, params)
        return sum(jax.tree.leaves(along)) - log_joint(model, params, data)

    return objective


def require_gaussian_prior(model: Model) -> None:
    """Anchors are draws of a prior whose log is a quadratic.

    Raises:
        NotApplicable: it is another one, or has no draws.
    """
    if not is_gaussian(model.prior) or model.prior.sample is None:
        raise NotApplicable("needs a proper Gaussian prior to draw anchors from: priors.normal, or a joint of such")
