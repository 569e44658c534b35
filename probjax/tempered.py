"""Temperature on a trained network: the same weights, the same classes, another confidence."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from probjax import likelihoods
from probjax.types import Model, NotApplicable, as_model
from probjax.validation import require_positive


def with_temperature(model: Model, temperature: Array) -> Model:
    """p(y | f/T) in the place of p(y | f), f the logits (Guo, Pleiss, Sun & Weinberger 2017): nothing is trained again.

    The parameters, their prior and their dropout masks stay, so that a posterior of `model` is one of what is returned,
    for `predict` and all that builds on it. The most probable class of a draw stays; that of several draws averaged may
    change, for softmax(f/T) is averaged over them. T > 1 makes a draw less certain, T < 1 more.

    With one draw, the T of `recalibration.temperature` on the forecast of held-out rows is the best one; with several
    that T belongs on the averaged forecast (`Calibrator.__call__`), and here the best one is that of the largest
    `log_predictive(with_temperature(model, T), posterior, held_out).sum()`, which can be differentiated.

    Args:
        model: with the likelihood `categorical()` or `bernoulli()`.
        temperature: T, a positive number; an argument, so that new values do not recompile.

    Raises:
        NotApplicable: another likelihood, whose f has a scale of its own; a density only.
        ValueError: T is not a scalar, positive and finite.

    >>> from probjax import Posterior, linear, predictive_mean, priors
    >>> model = Model(*linear(1, 2), prior=priors.normal(), likelihood=likelihoods.categorical())
    >>> posterior = Posterior({"weight": jnp.array([[[0.0, 4.0]]]), "bias": jnp.zeros((1, 2))}, {})
    >>> probs = predictive_mean(with_temperature(model, 2.0), posterior, jnp.ones((1, 1)))
    >>> round(float(probs[0, 1]), 4)  # σ(4/2)
    0.8808
    """
    model = as_model(model)
    if not _takes_logits(model.likelihood):
        raise NotApplicable(
            "with_temperature divides logits, but this model's likelihood is neither categorical() nor bernoulli(); "
            "where f has a scale of its own, recalibrate that (a learnt scale: with_learnt_scale)"
        )
    if jnp.ndim(temperature) != 0:
        raise ValueError(
            f"with_temperature: temperature has shape {jnp.shape(temperature)} but must be one number; for one a class "
            "see recalibration.vector_scaling"
        )
    require_positive("with_temperature", "temperature", temperature, "T = 1 changes nothing")
    return model._replace(apply=Partial(_divided, model.apply, jnp.asarray(temperature)))


def _divided(apply, temperature, params, x) -> Any:
    f = apply(params, x)
    return jax.tree.map(lambda logits: logits / temperature.astype(logits.dtype), f)


def _takes_logits(likelihood) -> bool:
    def same(other):
        own, log_prob = likelihood.log_prob, other.log_prob
        return isinstance(own, Partial) and own.func is log_prob.func and own.args[:1] == log_prob.args[:1]

    return same(likelihoods.categorical()) or same(likelihoods.bernoulli())
