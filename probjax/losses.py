"""The familiar losses by their names, as what they are: −log p(y | f) up to a constant that is stated, unreduced.

Each takes the targets first, as `Likelihood.log_prob` does, and returns [N] (nats per datum where the constant is 0).
They are compiled on import. "less c" below means: the loss is −log p − c, c free of f.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from probjax import information, likelihoods
from probjax.likelihoods.kinked import quantile_loss
from probjax.likelihoods.real_line import huber_loss
from probjax.special import log_cosh as _log_cosh


def _check_shapes(name: str, y: Array, f: Array) -> None:
    """y [N] against f [N, 1] would broadcast to [N, N] and be averaged without a word."""
    if jnp.shape(y) != jnp.shape(f):
        raise ValueError(
            f"losses.{name}: y has shape {jnp.shape(y)} but the prediction has {jnp.shape(f)}; squeeze or encode one"
        )


@jax.jit
def mse(y: Array, prediction: Array) -> Array:
    """(y − μ)²: the Gaussian of variance ½, less ½ log π. For another variance it is −log p times 2σ², less a constant:
    σ does not move the minimiser. Optimal constant: the mean."""
    _check_shapes("mse", y, prediction)
    return jnp.square(y - prediction)


@jax.jit
def gaussian_nll(y: Array, loc: Array, scale: Array) -> Array:
    """−log N(y | μ, σ²), constant included: what is to be minimised when σ is fitted too."""
    return -likelihoods.normal().log_prob(y, (loc, scale))


@jax.jit
def mae(y: Array, prediction: Array) -> Array:
    """|y − μ|: the Laplace of scale 1, less log 2. Optimal constant: a median."""
    _check_shapes("mae", y, prediction)
    return jnp.abs(y - prediction)


@jax.jit
def huber(y: Array, prediction: Array, delta: Array = 1.345) -> Array:
    """½z² within ±δ, δ|z| − ½δ² beyond, z = y − μ: `likelihoods.huber(δ, 1)`, less its log normaliser.

    Optimal constant: Huber's M-estimate of location, which need not lie between mean and median."""
    _check_shapes("huber", y, prediction)
    return huber_loss(y - prediction, delta)


@jax.jit
def quantile(y: Array, prediction: Array, probability: Array) -> Array:
    """z (q − 1[z < 0]), z = y − μ: the asymmetric Laplace of scale 1, less −log q(1 − q).

    Optimal constant: a q-quantile."""
    _check_shapes("quantile", y, prediction)
    return quantile_loss(y - prediction, probability)


@jax.jit
def log_cosh(y: Array, prediction: Array) -> Array:
    """log cosh(y − μ): the hyperbolic secant of scale 1, less log π."""
    _check_shapes("log_cosh", y, prediction)
    return _log_cosh(y - prediction)


@jax.jit
def binary_cross_entropy(y: Array, logits: Array) -> Array:
    """−y log σ(f) − (1 − y) log σ(−f): the Bernoulli, constant 0. y in [0, 1]; strictly between, the expectation over
    labels."""
    _check_shapes("binary_cross_entropy", y, logits)
    return -likelihoods.bernoulli().log_prob(y, logits)


@jax.jit
def softmax_cross_entropy(y: Array, logits: Array) -> Array:
    """−log softmax(f)_y: the categorical, constant 0. y [N] labels, or [N, K] probabilities of labels: then the
    expectation over labels."""
    return -likelihoods.categorical().log_prob(y, logits)


@jax.jit
def label_smoothed_cross_entropy(y: Array, logits: Array, epsilon: Array) -> Array:
    """Cross-entropy against (1 − ε) onehot(y) + ε/K (Szegedy et al. 2016): the expected −log p over labels that are
    redrawn uniformly with probability ε.

    As a function of the one label y it is −log of no density: exp(−loss), summed over y, is not the same number for
    every f."""
    num_classes = logits.shape[-1]
    targets = (1 - epsilon) * jax.nn.one_hot(y, num_classes, dtype=logits.dtype) + epsilon / num_classes
    # a label outside 0..K−1 is a row of zeros to one_hot, and would cost less than a right one
    return jnp.where((y >= 0) & (y < num_classes), softmax_cross_entropy(targets, logits), jnp.nan)


@jax.jit
def kl(target: Array, logits: Array) -> Array:
    """KL(q ‖ softmax(f)), q [N, K]: softmax cross-entropy less the entropy of q, which is free of f."""
    _check_shapes("kl", target, logits)
    return softmax_cross_entropy(target, logits) - information.entropy(target)


@jax.jit
def poisson(y: Array, log_rate: Array) -> Array:
    """eᶠ − y f: the Poisson, less log y!. The argmin is that of −log p; as a score of unlike data sets it is not."""
    _check_shapes("poisson", y, log_rate)
    return jnp.exp(log_rate) - y * log_rate


@jax.jit
def beta(y: Array, logit_mean: Array, precision: Array) -> Array:
    """−log Beta(y | μφ, (1 − μ)φ), constant 0, for y strictly between 0 and 1. Not `beta_nll`."""
    _check_shapes("beta", y, logit_mean)
    return -likelihoods.beta().log_prob(y, (logit_mean, precision))


@jax.jit
def ordinal_cross_entropy(y: Array, location: Array, cutpoints: Array) -> Array:
    """−log(σ(c_y − η) − σ(c_{y−1} − η)): the cumulative logit, constant 0. cutpoints [N, K − 1], increasing."""
    return -likelihoods.ordinal().log_prob(y, (location, cutpoints))


@jax.jit
def beta_nll(y: Array, loc: Array, scale: Array, beta: Array = 0.5) -> Array:
    """σ^{2β} (−log N(y | μ, σ²)), σ^{2β} taken as a constant by the gradient (Seitzer et al. 2022).

    A training objective for networks that predict a variance, not −log of a density: its gradient in (μ, σ) is no
    gradient of a function for 0 < β. β = 0 is the Gaussian, β = 1 gives μ the gradient of squared error.
    """
    return jax.lax.stop_gradient(scale ** (2 * beta)) * gaussian_nll(y, loc, scale)
