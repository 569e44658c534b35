"""Randomised MAP: optimise after perturbing both the prior's centre and the data."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from probjax.density import log_joint
from probjax.inference.anchored import anchored_objective, require_gaussian_prior
from probjax.inference.ensemble import fit_members, require_members
from probjax.likelihoods import is_homoscedastic
from probjax.optimize import lbfgs
from probjax.types import Data, Model, NotApplicable, Params, Posterior, as_model
from probjax.validation import check_inputs


def randomised_map(
    key: Array,
    model: Model,
    data: Data,
    *,
    num_members: int = 16,
    fit: Callable = lbfgs,
    batch_size: int | None = None,
) -> Posterior:
    """paramsₘ = argmin ‖y + εₘ − f(params)‖²/2σ² + ‖params − w₀ₘ‖²/2τ², w₀ₘ ~ prior, εₘ ~ N(0, σ²) (Oliver, He &
    Reynolds 1996; Bardsley et al. 2014).

    Exact where f is linear in params and the noise Gaussian of known scale: independent draws of the posterior.
    With another f it is not (its density lacks a Jacobian factor: Wang, Bui-Thanh & Ghattas 2018).

    Other likelihoods: perturbing y by ε under Gaussian noise adds −Σ sₙfₙ with sₙ = εₙ/σ², which is the score
    ∂log p(ỹₙ | f)/∂f of a pseudo-sample ỹ = f + ε. That is what is added for every likelihood, ỹ ~ p(y | f̂) at the
    mode f̂ of the posterior: y stays where it can occur, the scores have mean 0 and the Fisher information as
    variance F. To first order the members' covariance is H⁻¹(F + T⁻¹)H⁻¹, H the Hessian at the mode and T the prior's:
    Laplace's where H is near F + T⁻¹, as in a right model with many rows; in a wrong one they may be far too wide.

    Args:
        key: split into the start of the mode's fit, and one stream a member.
        model: with a Gaussian prior, and f one array.
        num_members: M, the number of draws.
        fit, batch_size: as in `ensemble`.

    Returns:
        Posterior with draws [M, …]; info: the fit's, each [M] (`objective` up to a constant of the member), `failed`.

    Raises:
        NotApplicable: the model is a Target; its prior is not Gaussian or is improper; f is a tuple (a learnt scale:
            the term linear in it outgrows any Gaussian prior, and there is no minimum).
        ValueError: fewer than 2 members, every member failed.

    >>> from probjax import likelihoods, linear, priors
    >>> model = Model(*linear(1), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    >>> data = Data(jnp.ones((4, 1)), jnp.ones(4))
    >>> randomised_map(jax.random.key(0), model, data, num_members=3).draws["weight"].shape
    (3, 1)
    """
    model = as_model(model)
    check_inputs(model, data)
    require_members(num_members)
    require_gaussian_prior(model)
    if isinstance(jax.eval_shape(lambda key: model.apply(model.init(key), data.x), key), tuple):
        raise NotApplicable("needs a network whose f is one array (a location, logits); this one's is a tuple")
    mode_key, member_key = jax.random.split(key)
    mode = model.init(mode_key)
    if not is_homoscedastic(model.likelihood):  # else the scores do not depend on f̂
        mode, _ = fit(lambda params: -log_joint(model, params, data), mode)
    fitted = model.apply(mode, data.x)

    def member(key):
        init_key, anchor_key, noise_key = jax.random.split(key, 3)
        start = model.init(init_key)
        anchor = model.prior.sample(anchor_key, start)
        return fit(perturbed_objective(model, data, anchor, score_noise(noise_key, model, fitted)), start)

    return fit_members(member, jax.random.split(member_key, num_members), batch_size=batch_size)


def score_noise(key: Array, model: Model, f: Array) -> Array:
    """∂log p(ỹ | f)/∂f with ỹ ~ p(y | f), shaped as f: mean 0, variance the Fisher information (Gaussian noise: ε/σ²,
    ε ~ N(0, σ²))."""
    pseudo = model.likelihood.sample(key, f)
    return jax.grad(lambda f: jnp.sum(model.likelihood.log_prob(pseudo, f)))(f)


def perturbed_objective(model: Model, data: Data, anchor: Params, scores: Array) -> Callable:
    """params -> that of `anchored_objective` − Σ scoresₙ fₙ(params); nats, summed over data."""
    objective = anchored_objective(model, data, anchor)
    return lambda params: objective(params) - jnp.sum(scores * model.apply(params, data.x))
