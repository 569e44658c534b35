"""Kernel calibration error: no bins, and without bias."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.special import ndtri

from probjax.calibration.classes import two_columns
from probjax.validation import require_fraction, require_positive

NUM_FOR_BANDWIDTH = 500
BLOCK_NUMBERS = 2**20  # kernel values held at once


class KernelError(NamedTuple):
    """value: the squared kernel calibration error, without bias, so it may be negative. low, high: its normal interval
    of confidence `level`. standard_error; bandwidth: of the kernel; estimator: in words. A calibrated model has 0."""

    value: float
    low: float
    high: float
    level: float
    standard_error: float
    bandwidth: float
    estimator: str
    caveats: tuple[str, ...]

    def __str__(self) -> str:
        lines = [
            f"squared kernel calibration error {self.value:.3e}, {self.level:.0%} interval [{self.low:.3e}, "
            f"{self.high:.3e}]; a calibrated model shows 0 on average",
            f"estimator: {self.estimator}; kernel exp(−½ Σ|p − p'| / {self.bandwidth:.4g})",
            *(f"caveat: {caveat}" for caveat in self.caveats),
        ]
        return "\n".join(lines)


def kernel_calibration_error(
    probs: Any, labels: Any, *, bandwidth: Any = None, linear: bool = False, level: float = 0.95
) -> KernelError:
    """E[k(p, p') (e_y − p)ᵀ(e_y' − p')] over two independent rows, SKCE, with k = exp(−TV(p, p')/ν), TV = ½ Σ|p − p'|
    (Widmann, Lindsten & Zachariah 2019): 0 if and only if the model is calibrated, for whole rows of forecasts.

    Unbiased: the mean over all pairs i < j (quadratic in N, in blocks of bounded memory), or, `linear`, over the pairs
    (1, 2), (3, 4), …: N/2 terms, far noisier. Standard errors: of the pairs, if linear; else of a U-statistic, its two
    terms 4 Var(E[h | row])/N, estimated and so not below 0, and 2 E[h²]/(N (N − 1)), which is all there is under
    calibration: there the first, noise alone, makes the standard error a fifth to a third too large (measured on 100 to
    1000 rows), and the law is no normal one: to test calibration see `calibration_test`.

    Not traceable; `kernel_pairs` and `kernel_sums` are.

    Args:
        probs: [N, K], or [N] of class 1 of two (the same number as [N, 2]).
        labels: [N] integers 0 … K − 1.
        bandwidth: ν; by default the median TV between 500 rows spread over the data, or 1 if that is 0 (a caveat).
        linear: the second estimator.
        level: of the interval.

    Raises:
        ValueError: as `calibration_error`; fewer than two rows, or four if linear; a bandwidth that is not positive.

    >>> probs, labels = np.array([0.5, 0.5, 0.5, 0.5]), np.array([0, 1, 0, 1])
    >>> round(kernel_calibration_error(probs, labels, bandwidth=1.0).value, 6)  # −2/6 · ½
    -0.166667
    """
    where = "kernel_calibration_error"
    require_fraction(where, "level", level)
    probs, labels = two_columns(where, probs, labels)
    num_rows = len(probs)
    if num_rows < (4 if linear else 2):
        raise ValueError(f"{where}: {num_rows} rows have too few pairs; at least {4 if linear else 2} are needed")
    caveats = ()
    if bandwidth is None:
        bandwidth = median_distance(probs)
        if bandwidth == 0:
            bandwidth, caveats = 1.0, ("most forecasts are equal: the bandwidth is 1, not their median distance",)
    require_positive(where, "bandwidth", bandwidth, "leave it out for the median distance")
    if linear:
        pairs = np.asarray(_compiled_pairs(probs, labels, bandwidth), float)
        value, error = float(pairs.mean()), float(pairs.std(ddof=1) / np.sqrt(len(pairs)))
        estimator = "linear, unbiased"
    else:
        totals, squares = (np.asarray(part, float) for part in _compiled_sums(probs, labels, bandwidth))
        value, error = _of_all_pairs(totals, squares)
        estimator = "quadratic, unbiased"
    half = -ndtri((1 - level) / 2) * error
    return KernelError(value, value - half, value + half, float(level), error, float(bandwidth), estimator, caveats)


def median_distance(probs: Any) -> float:
    """Median total variation ½ Σ|p − p'| of pairs of at most 500 rows [N, K], evenly spread.

    >>> median_distance(np.array([[0.0, 1.0], [0.5, 0.5]]))
    0.5
    """
    probs = np.asarray(probs)
    some = probs[np.unique(np.linspace(0, len(probs) - 1, NUM_FOR_BANDWIDTH).astype(int))]
    distance = np.zeros((len(some), len(some)))
    for column in some.T:
        distance += 0.5 * np.abs(column[:, None] - column)
    return float(np.median(distance[np.triu_indices(len(some), 1)]))


def kernel_pairs(probs: Array, labels: Array, bandwidth: Array) -> Array:
    """[N // 2]: h of rows 1 and 2, 3 and 4, …; the last of an odd number is left out.

    >>> kernel_pairs(jnp.full((2, 2), 0.5), jnp.array([0, 1]), 1.0).tolist()
    [-0.5]
    """
    residual = jax.nn.one_hot(labels, probs.shape[1], dtype=probs.dtype) - probs
    half = 2 * (len(probs) // 2)
    distance = 0.5 * jnp.sum(jnp.abs(probs[:half:2] - probs[1:half:2]), axis=1)
    return jnp.exp(-distance / bandwidth) * jnp.sum(residual[:half:2] * residual[1:half:2], axis=1)


def kernel_sums(probs: Array, labels: Array, bandwidth: Array) -> tuple[Array, Array]:
    """Σ_{j≠i} h_ij and Σ_{j≠i} h_ij² for each row i, [N] each; memory is that of a block of rows.

    >>> [part.tolist() for part in kernel_sums(jnp.full((2, 2), 0.5), jnp.array([0, 1]), 1.0)]
    [[-0.5, -0.5], [0.25, 0.25]]
    """
    residual = jax.nn.one_hot(labels, probs.shape[1], dtype=probs.dtype) - probs
    columns = probs.T

    def row(i):
        add = lambda total, pair: (total + jnp.abs(pair[0] - pair[1]), None)
        distance = jax.lax.scan(add, jnp.zeros_like(columns[0]), (columns, columns[:, i]))[0]
        h = jnp.exp(-0.5 * distance / bandwidth) * (residual @ residual[i])
        h = h.at[i].set(0.0)
        return jnp.sum(h), jnp.sum(h**2)

    block = max(1, min(len(probs), BLOCK_NUMBERS // len(probs)))
    return jax.lax.map(row, jnp.arange(len(probs)), batch_size=block)


_compiled_pairs, _compiled_sums = jax.jit(kernel_pairs), jax.jit(kernel_sums)


def _of_all_pairs(totals, squares):
    """The U-statistic of order two and its standard error."""
    n = len(totals)
    value = totals.sum() / (n * (n - 1))
    mean_square = squares.sum() / (n * (n - 1))
    # variance of the rows' means less the noise that each mean has by itself
    of_rows = np.var(totals / (n - 1), ddof=1) - (mean_square - value**2) / (n - 1)
    return float(value), float(np.sqrt(4 * max(of_rows, 0.0) / n + 2 * mean_square / (n * (n - 1))))
