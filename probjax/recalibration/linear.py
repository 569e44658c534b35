"""Vector and matrix scaling: an affine map of log-probabilities."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.special import softmax

from probjax.forecasts import Forecast
from probjax.optimize import lbfgs
from probjax.recalibration.calibrator import Calibrator, check_fit, check_possible, finished, finite
from probjax.validation import require_finite

FLAT = {"float32": 1e-5, "float64": 1e-7}  # relative curvature below which a direction has no optimum
MOST_PARAMETERS, BLOCK_NUMBERS = 1500, 2_000_000


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

    Warns where it has not converged, or where the likelihood has no maximum, because some direction of the parameters
    puts all rows right that it moves (those of one class, say): at the end it is flat along such a direction, which is
    looked for with up to 1500 parameters.
    Reads values, so it cannot be traced; the map that it returns can.

    >>> import numpy as np
    >>> from probjax.forecasts import from_probs
    >>> forecast = from_probs(np.array(2 * [[0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7]]))
    >>> calibrator = vector_scaling(forecast, np.array([0, 1, 2, 1, 2, 0]))
    >>> [round(p, 3) for p in calibrator(forecast).probs.mean(axis=0).tolist()]  # at the optimum the labels' shares
    [0.333, 0.333, 0.333]
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
    curvature = flattest(params, np.asarray(z, float), float(off_diagonal), float(bias))
    flat = curvature < min(FLAT[str(z.dtype)], 0.01 / len(z))  # a row that holds a direction back weighs 1/N
    note = ""
    if flat:
        note = "the likelihood has no maximum (it rises for ever along a direction that moves forecasts), and "
        note += "parameters are where the search ended: raise the penalties, fit on more rows, or use temperature"
    elif not info["converged"]:
        note = f"not converged: max|∇| is {float(info['grad_norm']):.2g} after {int(info['num_steps'])} steps"
    info["converged"] = info["converged"] & ~jnp.asarray(flat)
    return finished(where, params, apply, info, forecast, labels, note=note, warn=True)


def _refuse_absent(where, labels, num_classes):
    counts = jnp.bincount(labels, length=num_classes)
    if (counts == 0).any():
        raise ValueError(
            f"{where}: class {int(jnp.argmin(counts))} never occurs in labels (counts {counts.tolist()}), so its bias "
            "would go to −∞, or its own weight to ∞, and the class never be forecast again; use temperature or "
            "one_vs_rest(platt), which need no row of each class, or rows of every class"
        )


def flattest(params, z, off_diagonal, bias) -> float:
    """The least curvature of the objective at the end, relative to that at uniform forecasts, over directions that move
    forecasts at all (two equal columns move none, and do no harm); inf with too many parameters to look."""
    num_classes, full = z.shape[1], params.weight.ndim == 2
    size = num_classes * (num_classes + 1) if full else 2 * num_classes
    if size > MOST_PARAMETERS:
        return np.inf
    uniform, probs = np.full(z.shape, 1 / num_classes), softmax(np.asarray(_logits(params, z), float), axis=1)
    at_uniform, at_end = (_curvature(z, p, full) for p in (uniform, probs))
    penalty = np.zeros((num_classes, size // num_classes))  # by class: its weights, then its bias
    if full:
        penalty[:, :-1] = 2 * off_diagonal * (1 - np.eye(num_classes)) / (num_classes * (num_classes - 1))
    penalty[:, -1] = 2 * bias / num_classes
    values, vectors = np.linalg.eigh(at_uniform)
    moving = values > 1e-12 * values[-1]
    scaled = vectors[:, moving] / np.sqrt(values[moving])
    return float(np.linalg.eigvalsh(scaled.T @ (at_end + np.diag(penalty.ravel())) @ scaled)[0])


def _curvature(z, probs, full):
    """The Hessian of the mean cross-entropy, parameters ordered by class: Σ (diag p − ppᵀ) ⊗ inputs inputsᵀ / N."""
    num_rows, num_classes = z.shape
    total, block = 0.0, max(1, BLOCK_NUMBERS // num_classes**2)
    for start in range(0, num_rows, block):
        p, some = probs[start : start + block], z[start : start + block]
        spread = p[:, :, None] * np.eye(num_classes) - p[:, :, None] * p[:, None, :]
        ones = np.ones_like(some[:, :1])
        if full:  # as one product of matrices [K², n] [n, (K + 1)²]
            inputs = np.concatenate([some, ones], axis=1)
            outer = inputs[:, :, None] * inputs[:, None, :]
            product = spread.reshape(len(p), -1).T @ outer.reshape(len(p), -1)
            total = total + np.swapaxes(product.reshape(2 * (num_classes,) + 2 * (num_classes + 1,)), 1, 2)
        else:  # each class has its own input and 1
            inputs = np.stack([some, np.broadcast_to(ones, some.shape)], axis=2)
            total = total + np.einsum("nij,nia,njb->iajb", spread, inputs, inputs, optimize=True)
    size = int(np.sqrt(total.size))
    return total.reshape(size, size) / num_rows


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
