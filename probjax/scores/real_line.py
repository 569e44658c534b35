"""Scores of forecasts of a real number (or vector), unreduced [N], in the unit of y. Smaller is better.

The continuous ranked probability score is CRPS(F, y) = ∫(F(z) − 1[y ≤ z])² dz = E|X − y| − ½E|X − X′| (Gneiting &
Raftery 2007, eq. 20–21): the absolute error where F is a point, and strictly proper among laws with a mean. Closed
forms as in Jordan, Krüger & Lerch 2019, appendix A.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import betainc, erf

from probjax import likelihoods, losses
from probjax.scores.classes import concrete
from probjax.special import log1p_square
from probjax.validation import require_finite, require_fraction, require_positive

INV_SQRT_PI = 1 / np.sqrt(np.pi)
HILL = 50.0  # degrees of freedom


def crps_normal(loc: Array, scale: Array, y: Array) -> Array:
    """σ (z (2Φ(z) − 1) + 2φ(z) − 1/√π), z = (y − μ)/σ.

    Args:
        loc, scale: [N] or scalars; scale > 0.
        y: [N], what occurred.

    Returns:
        [N].

    Raises:
        ValueError: shapes that differ, values that are not finite, a scale that is not positive.

    >>> crps_normal(0.0, 1.0, jnp.zeros(1)).tolist()  # (√2 − 1)/√π
    [0.23369...]
    """
    loc, scale, y = _check("crps_normal", y, loc=loc, scale=scale)
    return _expected_distance(y - loc, scale) - INV_SQRT_PI * scale


def crps_laplace(loc: Array, scale: Array, y: Array) -> Array:
    """b (|z| + e^{−|z|} − ¾), z = (y − μ)/b; b is the mean distance from μ. Args, Returns, Raises: as `crps_normal`.

    >>> crps_laplace(0.0, 2.0, jnp.zeros(1)).tolist()
    [0.5]
    """
    loc, scale, y = _check("crps_laplace", y, loc=loc, scale=scale)
    z = jnp.abs(y - loc) / scale
    return scale * (z + jnp.expm1(-z) + 0.25)


def crps_logistic(loc: Array, scale: Array, y: Array) -> Array:
    """s (|z| + 2 log(1 + e^{−|z|}) − 1), z = (y − μ)/s. Args, Returns, Raises: as `crps_normal`.

    >>> crps_logistic(0.0, 1.0, jnp.zeros(1)).tolist()  # log 4 − 1
    [0.38629...]
    """
    loc, scale, y = _check("crps_logistic", y, loc=loc, scale=scale)
    z = jnp.abs(y - loc) / scale
    return scale * (z + 2 * jnp.log1p(jnp.exp(-z)) - 1)


def crps_student_t(df: Array, loc: Array, scale: Array, y: Array) -> Array:
    """s (z (2T(z) − 1) + 2t(z)(ν + z²)/(ν − 1) − 2√ν/(ν − 1) · B(½, ν − ½)/B(ν/2, ½)²), z = (y − μ)/s; t and T are
    Student's density and distribution function.

    Args:
        df: ν > 1, [N] or scalar: below, there is no mean.
        loc, scale, y: as `crps_normal`. There is no derivative with respect to ν.

    Returns, Raises: as `crps_normal`.

    >>> crps_student_t(2.0, 0.0, 1.0, jnp.zeros(1)).tolist()  # √2 (1 − π/4)
    [0.30349...]
    """
    df, loc, scale, y = _check("crps_student_t", y, df=df, loc=loc, scale=scale)
    seen = concrete(df)
    if seen is not None and not np.all(seen > 1):
        raise ValueError(
            f"crps_student_t: the least df is {seen.min():.6g} but df must be above 1, or there is no mean"
        )
    z = (y - loc) / scale
    log_t_at_zero = lambda df: likelihoods.student_t().log_prob(0 * z, (0 * z, jnp.ones_like(z), df + 0 * z))
    # √ν B(ν/2, ½) = 1/t(0): the ratio of beta functions by two densities at 0, which large ν leaves intact
    at_zero = jnp.exp(2 * log_t_at_zero(df) - log_t_at_zero(2 * df - 1)) * df * jnp.sqrt(df / (2 * df - 1))
    # t(z)(ν + z²), where z² may overflow
    tail = df * jnp.exp(log_t_at_zero(df) - 0.5 * (df - 1) * log1p_square(z / jnp.sqrt(df)))
    return scale * (jnp.abs(z) * _central_mass(z, df) + 2 * (tail - at_zero) / (df - 1))


def _central_mass(z, df):
    """P(|T| < |z|). `betainc` loses a digit for each of ν's, so that above 50 it is the normal's at
    Hill's (1970) expansion, within 1e-13."""
    square, few = z**2, df <= HILL
    x = jnp.where(
        few & (square > 0), 1 / (1 + df / jnp.where(square > 0, square, 1.0)), 0.5
    )  # its root at 0 has no derivative
    by_beta = jnp.where(square > 0, betainc(0.5, jnp.where(few, df, HILL) / 2, x), 0.0)
    a = jnp.where(few, HILL, df) - 0.5
    log_square = a * jnp.log1p(square / (a + 0.5))
    w = jnp.minimum(jnp.sqrt(jnp.where(square > 0, log_square, 1.0)), 40.0)  # all mass, long before w⁷ overflows
    b = 48 * a * a
    cubic = w**3 + 3 * w
    higher = (4 * w**7 + 33 * w**5 + 240 * w**3 + 855 * w) / (10 * b * (b + 0.8 * w**4 + 100))
    return jnp.where(few, by_beta, jnp.where(square > 0, erf((w + cubic / b - higher) / np.sqrt(2)), 0.0))


def crps_normal_mixture(weights: Array, loc: Array, scale: Array, y: Array) -> Array:
    """Of Σₘ wₘ N(μₘ, σₘ²): Σₘ wₘ A(y − μₘ, σₘ) − ½ Σₘₗ wₘwₗ A(μₘ − μₗ, √(σₘ² + σₗ²)), A(d, σ) = E|N(d, σ²)| =
    d (2Φ(d/σ) − 1) + 2σφ(d/σ) (Grimit et al. 2006).

    Args:
        weights: [M] or [N, M]; rows sum to 1.
        loc, scale: [N, M]; scale > 0. Takes N M² steps.
        y: [N].

    Returns, Raises: as `crps_normal`; also where weights are negative or do not sum to 1.

    >>> crps_normal_mixture(jnp.array([0.5, 0.5]), jnp.zeros((1, 2)), jnp.ones((1, 2)), jnp.zeros(1)).tolist()
    [0.23369...]
    """
    where = "crps_normal_mixture"
    weights, loc, scale, y = (_floating(value) for value in (weights, loc, scale, y))
    if loc.ndim != 2 or loc.shape != scale.shape or y.shape != loc.shape[:1]:
        raise ValueError(
            f"{where}: loc, scale, y have shapes {loc.shape}, {scale.shape}, {y.shape}; expected [N, M], [N, M], [N]"
        )
    if weights.shape not in (loc.shape, loc.shape[1:]):
        raise ValueError(f"{where}: weights has shape {weights.shape}; expected {loc.shape} or {loc.shape[1:]}")
    _check_values(where, loc=loc, scale=scale, y=y, weights=weights)
    seen = concrete(weights)
    if seen is not None and ((seen < 0).any() or np.abs(seen.sum(-1) - 1).max() > 1e-4):
        raise ValueError(f"{where}: weights must not be negative and must sum to 1; divide each row by its sum")
    weights = jnp.broadcast_to(weights, loc.shape)
    outer = jnp.sum(weights * _expected_distance(y[:, None] - loc, scale), axis=1)
    gaps, spread = loc[:, :, None] - loc[:, None, :], jnp.hypot(scale[:, :, None], scale[:, None, :])
    return outer - 0.5 * jnp.einsum("nm,nml,nl->n", weights, _expected_distance(gaps, spread), weights)


def _expected_distance(d, scale):
    """E|X|, X ~ N(d, σ²)."""
    z = d / scale
    return d * erf(z / np.sqrt(2)) + scale * np.sqrt(2) * INV_SQRT_PI * jnp.exp(-0.5 * z**2)


def quantile_score(prediction: Array, y: Array, probability: Array) -> Array:
    """(y − q)(p − 1[y < q]): `losses.quantile`, the forecast first. Its integral over p is ½ CRPS.

    Args:
        prediction: q, [N], forecast quantiles at `probability`.
        y: [N].
        probability: p in (0, 1), scalar or [N].

    Returns, Raises: as `crps_normal`.

    >>> quantile_score(jnp.array([1.0]), jnp.array([3.0]), 0.75).tolist()
    [1.5]
    """
    require_fraction("quantile_score", "probability", probability)
    probability, prediction, y = _check("quantile_score", y, probability=probability, prediction=prediction)
    return losses.quantile(y, jnp.broadcast_to(prediction, y.shape), probability)


def interval_score(lower: Array, upper: Array, y: Array, probability: Array) -> Array:
    """(u − l) + 2/α (l − y)₊ + 2/α (y − u)₊, α = 1 − probability, for central intervals (Gneiting & Raftery 2007,
    eq. 43): 2/α times the quantile scores of l at α/2 and u at 1 − α/2.

    Args:
        lower, upper: [N] or scalars, the α/2 and 1 − α/2 quantiles.
        y: [N].
        probability: that the interval was to hold y with, in (0, 1).

    Returns, Raises: as `crps_normal`; also where lower > upper.

    >>> interval_score(-1.0, 1.0, jnp.array([0.0, 2.0]), 0.5).tolist()
    [2.0, 6.0]
    """
    require_fraction("interval_score", "probability", probability)
    lower, upper, y = check_interval("interval_score", lower, upper, y)
    outside = jnp.maximum(lower - y, 0) + jnp.maximum(y - upper, 0)
    return upper - lower + 2 / (1 - probability) * outside


def check_interval(where: str, lower: Array, upper: Array, y: Array) -> tuple[Array, Array, Array]:
    """lower, upper and y as floats of y's shape [N] or scalars.

    Raises:
        ValueError: shapes that differ, values that are not finite, lower > upper.
    """
    lower, upper, y = _check(where, y, lower=lower, upper=upper)
    seen = concrete(upper - lower)
    if seen is not None and (seen < 0).any():
        raise ValueError(
            f"{where}: lower is above upper in {int((seen < 0).sum())} rows; swap them or sort the quantiles"
        )
    return lower, upper, y


def _check(where, y, **forecast):
    y = _floating(y)
    forecast = {name: _floating(value) for name, value in forecast.items()}
    if y.ndim != 1 or y.size == 0:
        raise ValueError(f"{where}: y has shape {y.shape}; expected [N], what occurred in each row")
    for name, value in forecast.items():
        if value.shape not in ((), y.shape):  # [N, 1] would broadcast to [N, N]
            raise ValueError(
                f"{where}: {name} has shape {value.shape} but y has {y.shape}; expected {y.shape} or a scalar"
            )
    _check_values(where, y=y, **forecast)
    return *forecast.values(), y


def _check_values(where, **arrays):
    for name, value in arrays.items():
        require_finite(where, name, value)
    if "scale" in arrays:
        require_positive(
            where, "scale", arrays["scale"], "a forecast without spread is a point: score it by losses.mae"
        )


def _floating(value):
    value = jnp.asarray(value)
    return value if jnp.issubdtype(value.dtype, jnp.floating) else value.astype(jnp.result_type(float))
