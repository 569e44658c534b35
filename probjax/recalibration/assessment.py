"""What a recalibration changes on rows it has not seen."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from probjax.forecasts import Forecast
from probjax.recalibration.calibrator import Calibrator, check_fit, mark

NUM_STANDARD_ERRORS = 2.0
IDENTITY = 64  # units of rounding by which a map that changes nothing may differ from its input


class Change(NamedTuple):
    """mean: of the paired differences, after less before. standard_error: their sd / √N. verdict: "better", "worse",
    "no-op: …" or "undefined: …"."""

    mean: Array
    standard_error: Array
    verdict: str


class Assessment(NamedTuple):
    """log_score: of log p_y, nats a row, positive is better. brier: of Σₖ (p_k − 1[k = y])², negative is better (for
    two classes twice the change of (p₁ − y)²)."""

    num_rows: int
    log_score: Change
    brier: Change


def assess(
    calibrator: Calibrator, forecast: Forecast, labels: Any, *, num_standard_errors: float = NUM_STANDARD_ERRORS
) -> Assessment:
    """The change of the log score and of the Brier score on held-out rows, each row paired with itself.

    The verdict is "better" or "worse" where |mean| exceeds `num_standard_errors` of them, each with a chance of some
    2.3% (for 2, and N large) when nothing has changed in truth; otherwise "no-op": the map is the identity on these
    rows, or its change cannot be told from 0. A row with p_y = 0 after, but not before, makes the mean −∞: "worse".
    Where p_y = 0 on both sides the row counts as unchanged.

    Args:
        calibrator: any.
        forecast, labels: rows it was *not* fitted on, before recalibration.

    Raises:
        ValueError: fewer than 2 rows; labels or forecast as in every fit.

    Warns where these are the rows of the fit (in any order): scores there flatter.

    >>> import numpy as np
    >>> from probjax.forecasts import from_logits
    >>> from probjax.recalibration import platt
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(size=(2, 2000)) * 3
    >>> labels = (rng.uniform(size=(2, 2000)) < 1 / (1 + np.exp(-logits / 2))).astype(int)
    >>> calibrator = platt(from_logits(logits[0]), labels[0])
    >>> assess(calibrator, from_logits(logits[1]), labels[1]).log_score.verdict
    'better'
    """
    forecast, labels = check_fit("assess", forecast, labels)
    own = mark(forecast, labels)
    if own.num_rows == calibrator.rows.num_rows and own.digest == calibrator.rows.digest:
        warnings.warn(
            f"assess: these {len(labels)} rows are those that {calibrator.name} was fitted on, so its change is "
            "flattered; pass rows that it has not seen",
            stacklevel=2,
        )
    log_score, brier, identity = _differences(forecast, calibrator(forecast), labels)
    return Assessment(
        len(labels),
        change_of(log_score, identity, num_standard_errors=num_standard_errors),
        change_of(brier, identity, smaller_is_better=True, num_standard_errors=num_standard_errors),
    )


def change_of(
    differences: Array,
    identity: Any = False,
    *,
    smaller_is_better: bool = False,
    num_standard_errors: float = NUM_STANDARD_ERRORS,
) -> Change:
    """The mean of paired differences [N], its standard error, and the verdict by the rule of `assess`."""
    num_rows = len(differences)
    if num_rows < 2:
        raise ValueError(f"assess: {num_rows} row of forecasts has no standard error; pass 2 or more")
    mean = jnp.mean(differences)
    error = jnp.std(differences, ddof=1) / num_rows**0.5
    if identity:
        return Change(jnp.zeros_like(mean), jnp.zeros_like(mean), "no-op: the map changes nothing on these rows")
    if jnp.isnan(mean):
        return Change(mean, error, "undefined: some rows gain infinitely much and some lose it")
    error = jnp.where(jnp.isinf(mean), jnp.inf, error)
    gain = -mean if smaller_is_better else mean
    if jnp.isfinite(mean) and not jnp.abs(mean) > num_standard_errors * error:
        return Change(mean, error, f"no-op: within {num_standard_errors:g} standard errors of 0")
    return Change(mean, error, "better" if gain > 0 else "worse")


@jax.jit
def _differences(before, after, labels):
    """[N] of log p_y, [N] of the Brier score, and whether the two forecasts are the same."""
    own = lambda forecast: jnp.take_along_axis(forecast.log_probs, labels[:, None], axis=1)[:, 0]
    target = labels[:, None] == jnp.arange(before.log_probs.shape[1])
    brier = lambda forecast: jnp.sum(jnp.square(forecast.probs - target), axis=1)
    gap = jnp.where(after.log_probs == before.log_probs, 0.0, jnp.abs(after.log_probs - before.log_probs))
    allowed = IDENTITY * jnp.finfo(gap.dtype).eps * jnp.maximum(1.0, jnp.abs(before.log_probs))
    log_score = jnp.where(own(after) == own(before), 0.0, own(after) - own(before))
    return log_score, brier(after) - brier(before), jnp.all(gap <= allowed)
