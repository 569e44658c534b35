"""Predictions of a network made linear at its mode: the model of which a Gauss–Newton posterior is the posterior."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from probjax import curvature
from probjax.gaussian import Gaussian
from probjax.types import Model, Posterior
from probjax.validation import check_draws, network_output


def linearised(model: Model, gaussian: Gaussian, x: Any) -> tuple[Array, Array]:
    """f(x) ~ N(f(x, params*), J Σ Jᵀ), J = ∂f/∂params at the mode (MacKay 1992; Immer, Korzepa & Bauer 2021).

    Exact where f is linear in params. A Gauss–Newton posterior belongs to this linear model; sampling its draws through
    the network itself (`predict`) puts mass where the network is far from it, and underfits.

    Args:
        gaussian: of `ggn_gaussian`, `diagonal_gaussian`, `kron_gaussian`, `last_layer_gaussian`, `hessian_gaussian`.

    Returns:
        mean and covariance of each row's f: [N] and [N] (variances) for one output, else [N, K] and [N, K, K]; a tuple
        f counts as its entries side by side.

    >>> from probjax import Data, ggn_gaussian, likelihoods, linear, priors
    >>> model = Model(*linear(1, bias=False), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    >>> data = Data(jnp.ones((3, 1)), jnp.full(3, 4.0))
    >>> gaussian, _ = ggn_gaussian(model, data, {"weight": jnp.full(1, 3.0)})
    >>> mean, variance = linearised(model, gaussian, jnp.array([[2.0]]))
    >>> mean.tolist(), variance.tolist()  # x² / (3 + 1)
    ([6.0], [1.0])
    """
    params = _unravel(model)(gaussian.mean)
    f = network_output(model, params, x)
    mean, _ = curvature.output_rows(f)
    size = mean.shape[1]
    root = jnp.eye(size, dtype=mean.dtype)
    row = lambda one: gaussian.covariance(curvature.jacobian_row(model, params, one, root))
    block = max(1, curvature.BUDGET // (size * gaussian.mean.size))
    covariance = jax.lax.map(row, jax.tree.map(jnp.asarray, x), batch_size=block)
    if isinstance(f, jax.Array) and f.ndim == 1:
        return f, covariance[:, 0, 0]
    return mean, covariance


def predict_linearised(model: Model, posterior: Posterior, x: Any) -> Any:
    """f(x, params*) + J (paramsₛ − params*) for each draw s: `predict` of the network made linear at its mode.

    Args:
        posterior: of a method whose info has the `mode` (`laplace_ggn` and its kin).

    Returns:
        f with a leading axis S: [S, N, …]; a draw is one function, so that joint predictions make sense.

    Raises:
        ValueError: the info has no mode.

    >>> from probjax import Data, laplace_ggn, likelihoods, linear, priors
    >>> model = Model(*linear(1), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    >>> posterior = laplace_ggn(jax.random.key(0), model, Data(jnp.ones((4, 1)), jnp.ones(4)), num_draws=7)
    >>> predict_linearised(model, posterior, jnp.ones((3, 1))).shape
    (7, 3)
    """
    check_draws(model, posterior)
    if "mode" not in posterior.info:
        raise ValueError(
            f"predict_linearised: posterior.info has {sorted(posterior.info)} but no 'mode' to linearise at; "
            "take the posterior of laplace_ggn, laplace_diagonal, laplace_kron or laplace_last_layer"
        )
    mode = _unravel(model)(posterior.info["mode"])
    f, push = jax.linearize(lambda params: network_output(model, params, x), mode)
    move = lambda draw: jax.tree.map(jnp.add, f, push(jax.tree.map(jnp.subtract, draw, mode)))
    return jax.vmap(move)(posterior.draws)


def probit(mean: Array, covariance: Array) -> Array:
    """E σ(f) ≈ σ(m / √(1 + πv/8)) for a Gaussian logit f ~ N(m, v) (MacKay 1992), within 0.018 of the integral
    everywhere (the distance of σ(x√(8/π)) from Φ(x), reached as v → ∞).

    For K logits softmax(m_k / √(1 + π Σ_kk/8)), the common extension to classes (Daxberger et al. 2021): it has no such
    bound and ignores how the logits move together.

    Args:
        mean, covariance: [N] and [N] for two classes, [N, K] and [N, K, K] for K, as `linearised` gives them.

    Returns:
        P(y = 1) [N], or class probabilities [N, K].

    Raises:
        ValueError: shapes that do not belong together.

    >>> round(float(probit(jnp.array([2.0]), jnp.array([4.0]))[0]), 4)  # the integral is 0.7752
    0.7768
    """
    mean, covariance = jnp.asarray(mean), jnp.asarray(covariance)
    expected = mean.shape if mean.ndim == 1 else (*mean.shape, mean.shape[-1])
    if mean.ndim not in (1, 2) or covariance.shape != expected:
        raise ValueError(
            f"probit: mean has shape {mean.shape} and covariance {covariance.shape}; expected [N] and [N], or [N, K] "
            "and [N, K, K]"
        )
    variance = covariance if mean.ndim == 1 else jnp.diagonal(covariance, axis1=1, axis2=2)
    scaled = mean / jnp.sqrt(1 + math.pi / 8 * variance)
    return jax.nn.sigmoid(scaled) if mean.ndim == 1 else jax.nn.softmax(scaled)


def _unravel(model):
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return ravel_pytree(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes))[1]
