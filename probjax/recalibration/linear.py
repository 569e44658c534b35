"""Vector and matrix scaling: an affine map of log-probabilities."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from probjax.forecasts import Forecast
from probjax.optimize import lbfgs
from probjax.recalibration.calibrator import Calibrator, check_fit, check_possible, finished, finite
from probjax.validation import require_finite


class Affine(NamedTuple):
    """softmax(weight z + bias): weight [K] (of each class's own z) or [K, K] (row k: of class k's new logit), bias
    [K], of sum 0."""

    weight: Array
    bias: Array


def vector_scaling(forecast: Forecast, labels: Any, *, bias_penalty: Array = 0.0) -> Calibrator:
    """softmax(w ∘ z + b), z = log p, by (penalised) maximum likelihood (Guo, Pleiss, Sun & Weinberger 2017).

    Minimises mean cross-entropy + bias_penalty · (1/K) Σ b_k². Unlike a temperature it can change the most probable
    class.

    Args:
        forecast, labels: N held-out rows.
        bias_penalty: μ of Kull et al. 2019, ≥ 0.

    Returns:
        params `Affine`; info: `objective` (nats a row, with the penalty), `grad_norm`, `num_steps`, `converged`.

    Raises:
        ValueError: a class that never occurs in labels: its bias, or its own weight, which no penalty holds, would
            run to ∓∞ and forecast it never again; a probability of exactly 0.

    Warns where it has not converged, or where the map puts every row right, so that the likelihood has no maximum.
    Reads values, so it cannot be traced; the map that it returns can.

    >>> import numpy as np
    >>> from probjax.forecasts import from_probs
    >>> forecast = from_probs(np.array([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.7, 0.2, 0.1]]))
    >>> calibrator = vector_scaling(forecast, np.array([0, 1, 2, 1]))
    >>> calibrator(forecast).probs[0, :2].round(3).tolist()  # one of two such rows was of class 0
    [0.5, 0.5]
    """
    num_classes = forecast.log_probs.shape[1] if isinstance(forecast, Forecast) else 0
    return _fit("vector_scaling", forecast, labels, jnp.ones(num_classes), 0.0, bias_penalty)


def matrix_scaling(
    forecast: Forecast, labels: Any, *, off_diagonal_penalty: Array = 0.0, bias_penalty: Array = 0.0
) -> Calibrator:
    """softmax(Wz + b), z = log p, by (penalised) maximum likelihood (Guo et al. 2017).

    Minimises mean cross-entropy + λ · Σ_{i≠j} W_ij² / (K(K − 1)) + μ · Σ b_k² / K, the off-diagonal and intercept
    regularisation (ODIR) of Kull et al. 2019. Without penalties K(K + 1) parameters overfit soon, and on log p this is
    their Dirichlet calibration.

    Args:
        forecast, labels: N held-out rows.
        off_diagonal_penalty: λ ≥ 0.
        bias_penalty: μ ≥ 0.

    Returns, Raises, Warns: as `vector_scaling`.

    >>> import numpy as np
    >>> from probjax.forecasts import from_probs
    >>> forecast = from_probs(np.array([0.9, 0.9, 0.9, 0.2, 0.2]))
    >>> calibrator = matrix_scaling(forecast, np.array([1, 1, 0, 0, 1]))
    >>> probs = calibrator(from_probs(np.array([0.9, 0.2]))).probs[:, 1]
    >>> [round(p, 2) for p in probs.tolist()]  # the shares, 2 of 3 and 1 of 2
    [0.67, 0.5]
    """
    num_classes = forecast.log_probs.shape[1] if isinstance(forecast, Forecast) else 0
    return _fit("matrix_scaling", forecast, labels, jnp.eye(num_classes), off_diagonal_penalty, bias_penalty)


def apply(params: Affine, forecast: Forecast) -> Forecast:
    """The map; log 0 counts as the logarithm of the least normal number."""
    return Forecast(jax.nn.log_softmax(_logits(params, finite(forecast.log_probs)), axis=1))


def _logits(params, z):
    return z @ params.weight.T + params.bias if params.weight.ndim == 2 else z * params.weight + params.bias


def _fit(where, forecast, labels, weight, off_diagonal, bias):
    forecast, labels = check_fit(where, forecast, labels)
    check_possible(where, forecast)
    for name, value in (("off_diagonal_penalty", off_diagonal), ("bias_penalty", bias)):
        require_finite(where, name, value)
        if value < 0:
            raise ValueError(f"{where}: {name} is {value} but must not be negative; 0 is no penalty")
    _refuse_absent(where, labels, forecast.log_probs.shape[1])
    z = forecast.log_probs
    start = Affine(weight.astype(z.dtype), jnp.zeros(z.shape[1], z.dtype))
    params, info = _minimise(start, z, labels, jnp.asarray(off_diagonal, z.dtype), jnp.asarray(bias, z.dtype))
    # along what no penalty holds the likelihood rises for ever if that alone puts every row right
    free = params.weight if off_diagonal == 0 else params.weight * jnp.eye(z.shape[1])
    separated = bool(_all_right(Affine(free, params.bias * (bias == 0)), z, labels))
    note = ""
    if separated:
        note = "the map puts every row right, so the likelihood has no maximum and the parameters are where the search "
        note += "ended: raise the penalties or fit on more rows"
    elif not info["converged"]:
        note = f"not converged: max|∇| is {float(info['grad_norm']):.2g} after {int(info['num_steps'])} steps"
    info["converged"] = info["converged"] & ~jnp.asarray(separated)
    return finished(where, params, apply, info, forecast, labels, note=note, warn=True)


def _refuse_absent(where, labels, num_classes):
    counts = jnp.bincount(labels, length=num_classes)
    if (counts == 0).any():
        raise ValueError(
            f"{where}: class {int(jnp.argmin(counts))} never occurs in labels (counts {counts.tolist()}), so its bias "
            "would go to −∞, or its own weight to ∞, and the class never be forecast again; use temperature or "
            "one_vs_rest(platt), which need no row of each class, or rows of every class"
        )


@jax.jit
def _all_right(params, z, labels):
    logits = _logits(params, z)
    own = jnp.take_along_axis(logits, labels[:, None], axis=1)
    others = jnp.where(jnp.arange(z.shape[1]) == labels[:, None], -jnp.inf, logits)
    return jnp.all(own[:, 0] > jnp.max(others, axis=1))


@jax.jit
def _minimise(start, z, labels, off_diagonal, bias):
    def objective(params):
        log_probs = jax.nn.log_softmax(_logits(params, z), axis=1)
        loss = -jnp.mean(jnp.take_along_axis(log_probs, labels[:, None], axis=1))
        if params.weight.ndim == 2:
            num = len(params.weight)
            loss += off_diagonal * jnp.sum(jnp.square(params.weight * (1 - jnp.eye(num)))) / (num * (num - 1))
        return loss + bias * jnp.mean(jnp.square(params.bias))

    return lbfgs(objective, start)
