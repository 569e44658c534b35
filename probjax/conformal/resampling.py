"""Intervals without a held-out set: from models that each left some of the training rows out. Not traceable."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from probjax.conformal.intervals import Interval
from probjax.conformal.thresholds import checked_scores, kth_smallest, rank, warn_if_infinite


def jackknife_plus(residuals: Any, predictions: Any, alpha: Any) -> Interval:
    """[⌊α(n + 1)⌋-th smallest of μ₋ᵢ(x) − Rᵢ, ⌈(1 − α)(n + 1)⌉-th smallest of μ₋ᵢ(x) + Rᵢ], Rᵢ = |yᵢ − μ₋ᵢ(xᵢ)|
    (Barber, Candès, Ramdas & Tibshirani 2021, eq. 1.2).

    It covers with probability at least 1 − 2α for exchangeable rows and any symmetric training; about 1 − α where
    leaving a row out changes little.

    Args:
        residuals: Rᵢ of each of n training rows under the model that did not see it, [n].
        predictions: μ₋ᵢ(x) of each of these n models at N new inputs, [n, N].
        alpha: a number or an array.

    Returns:
        Interval of [*α's shape, N]; infinite, with a warning, where n < 1/α − 1.

    Raises:
        ValueError: shapes that do not match, negative residuals, NaN, α not between 0 and 1.

    >>> import numpy as np
    >>> jackknife_plus(np.arange(1.0, 10.0), np.zeros((9, 1)), 0.2).upper.tolist()
    [8.0]
    """
    residuals, predictions = _checked("jackknife_plus", residuals, predictions)
    if len(predictions) != len(residuals):
        raise ValueError(
            f"jackknife_plus: predictions has shape {predictions.shape} but there are {len(residuals)} residuals; "
            "expected [n, N], a row for the model without training row i (for folds use cv_plus)"
        )
    return _plus("jackknife_plus", residuals, predictions, alpha)


def cv_plus(residuals: Any, folds: Any, predictions: Any, alpha: Any) -> Interval:
    """`jackknife_plus` with the model that left out row i's whole fold in place of μ₋ᵢ (Barber et al. 2021, §3).

    It covers with probability at least 1 − 2α − min(2(1 − 1/F)/(n/F + 1), (1 − F/n)/(F + 1)) ≥ 1 − 2α − √(2/n), for F
    folds of equal size. With a row a fold it is `jackknife_plus`.

    Args:
        residuals: [n], |yᵢ − prediction for row i of the model that did not see its fold|.
        folds: [n] integers 0 … F − 1.
        predictions: [F, N], of the model without fold f at the new inputs.
        alpha: a number or an array.

    Returns, Raises: as `jackknife_plus`; ValueError too for folds other than 0 … F − 1.

    >>> import numpy as np
    >>> cv_plus(np.arange(1.0, 10.0), np.arange(9) % 3, np.zeros((3, 1)), 0.2).lower.tolist()
    [-8.0]
    """
    residuals, predictions = _checked("cv_plus", residuals, predictions)
    folds = np.asarray(folds)
    if folds.shape != residuals.shape or not np.isin(folds, np.arange(len(predictions))).all():
        raise ValueError(
            f"cv_plus: folds has shape {folds.shape} and values {np.unique(folds)[:5].tolist()} …; expected "
            f"{residuals.shape} integers 0 … {len(predictions) - 1}, the rows of predictions"
        )
    return _plus("cv_plus", residuals, predictions[folds.astype(int)], alpha)


def _plus(where, residuals, predictions, alpha):
    ranks = rank(len(residuals), alpha)
    warn_if_infinite(where, ranks, len(residuals), alpha)
    ends = lambda sign: np.moveaxis(kth_smallest((sign * predictions + residuals[:, None]).T, ranks), 0, -1)
    return Interval(jnp.asarray(-ends(-1)), jnp.asarray(ends(1)))


def _checked(where, residuals, predictions):
    residuals, predictions = checked_scores(where, residuals), checked_scores(where, predictions)
    if residuals.ndim != 1 or predictions.ndim != 2:
        raise ValueError(
            f"{where}: residuals has shape {residuals.shape} and predictions {predictions.shape}; expected [n] and "
            "[models, N]"
        )
    if (residuals < 0).any():
        raise ValueError(
            f"{where}: residuals has {int((residuals < 0).sum())} negative values (first: row "
            f"{int((residuals < 0).argmax())}); pass absolute residuals"
        )
    return residuals, predictions
