"""Special functions that keep their digits where the usual forms cancel.

log p of a count of 10⁹ is about −11, the difference of terms near 2·10¹⁰. The forms here never make those terms: the
density is written as a half deviance, which is small near the mode, and a Stirling remainder, which is small always
(Loader 2000, "Fast and accurate computation of binomial probabilities").
"""

from __future__ import annotations

import decimal
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

HALF_LOG_TWO_PI = 0.9189385332046727  # ½ log 2π
LOG_TWO, _SQRT_HALF, _EULER = math.log(2), math.sqrt(0.5), 0.5772156649015329
_BITS = 7  # log m is tabulated at 2⁷ points of [1, 2)
_GRID = 2.0**-42  # high parts are multiples of this, so that k log 2 + log m is exact up to |k| of 2¹⁰
# x R(x) for x ≥ 2 as a Chebyshev series in 8/x² − 1, R the Stirling remainder: interpolated at 17 nodes in 60 digits,
# what is cut off being below 3e-17 of it
_STIRLING = (
    0.0830024277137797, -0.00032579837156858674, 4.925029345455579e-06, -1.7154659702805925e-07, 9.79746154252603e-09,
    -7.829683148105643e-10, 8.002614010166476e-11, -9.884078461785974e-12, 1.419680727592288e-12,
    -2.3075342738021545e-13, 4.159685128718242e-14, -8.189709807906492e-15, 1.7401015978489263e-15,
    -3.952067564313635e-16, 9.516718173190511e-17, -2.4022362751141302e-17, 5.919540513946902e-18,
)  # fmt: skip
_STIRLING_POWERS = np.polynomial.chebyshev.cheb2poly(_STIRLING)


def _factorial_remainders():
    """log k! − k log k + k for k = 0 … 15, correctly rounded."""
    decimal.getcontext().prec = 60
    whole = [decimal.Decimal(k) for k in range(1, 16)]
    return [0.0, *(float(decimal.Decimal(math.factorial(int(k))).ln() - k * k.ln() + k) for k in whole)]


_FACTORIALS = _factorial_remainders()


def _split_logarithms():
    """log 2 and log m, m = 1 + i/2⁷, each as an exact multiple of the grid and the rest."""
    decimal.getcontext().prec = 60
    logs = [decimal.Decimal(2).ln(), *((1 + decimal.Decimal(i) / 2**_BITS).ln() for i in range(2**_BITS))]
    high = [float(round(value / decimal.Decimal(_GRID))) * _GRID for value in logs]
    low = [float(value - decimal.Decimal(h)) for value, h in zip(logs, high)]
    return np.array(high), np.array(low)


_HIGH, _LOW = _split_logarithms()


@jax.custom_jvp
def log_ratio(f: Array, y: Array) -> Array:
    """f − log y for y > 0, to a relative eps even where f is within eps of log y.

    log y comes as high + low with the high part exact, so that f − high loses nothing when the two are near.
    """
    f, y = jnp.broadcast_arrays(f, y)
    mantissa, exponent = jnp.frexp(y)  # y = mantissa · 2^exponent, mantissa in [½, 1)
    mantissa, exponent = 2 * mantissa, exponent - 1
    index = jnp.floor((mantissa - 1) * 2**_BITS).astype(int)
    tabulated = 1 + index.astype(y.dtype) / 2**_BITS
    high, low = (jnp.asarray(table, y.dtype) for table in (_HIGH, _LOW))
    rest = exponent * low[0] + low[1:][index] + jnp.log1p((mantissa - tabulated) / tabulated)
    return (f - (exponent * high[0] + high[1:][index])) - rest


@log_ratio.defjvp
def _log_ratio_jvp(primals, tangents):
    f, y = primals
    df, dy = tangents
    return log_ratio(f, y), df - dy / y


def expm1_remainder(u: Array) -> Array:
    """eᵘ − 1 − u = u²/2 + u³/6 + …, without cancellation near 0. Never negative."""
    near = jnp.abs(u) < 0.5
    small = jnp.where(near, u, 0.0)
    series = jnp.ones_like(small)
    for k in range(16, 2, -1):
        series = 1 + small / k * series
    return jnp.where(near, 0.5 * small * small * series, jnp.expm1(u) - u)


def stirling_remainder(x: Array) -> Array:
    """R(x) = log Γ(x) − (x − ½) log x + x − ½ log 2π for x > 0: 1/12x − 1/360x³ + … (Abramowitz & Stegun 6.1.41).

    Below 2 by R(x) = R(x + 1) + (x + ½) log(1 + 1/x) − 1, twice: a sum of positive terms.
    """
    small = x < 2
    within = jnp.where(small, x, 1.0)
    above = _stirling_series(jnp.where(small, x + 2, x))
    return above + jnp.where(small, _step(within) + _step(within + 1), 0.0)


def _stirling_series(x):
    """R(x) for x ≥ 2."""
    inverse = 1 / x
    t = 8 * inverse * inverse - 1
    series = jnp.zeros_like(t)
    for coefficient in _STIRLING_POWERS[::-1]:
        series = float(coefficient) + t * series
    return inverse * series


def _step(x):
    below = x < 1
    near, far = jnp.where(below, x, 1.0), jnp.where(below, 1.0, x)  # 1/x of the first would overflow in its derivative
    return (x + 0.5) * jnp.where(below, jnp.log1p(near) - jnp.log(near), jnp.log1p(1 / far)) - 1


def log_gamma(x: Array) -> Array:
    """log Γ(x) for x > 0; `jax.lax.lgamma` loses four digits of it."""
    return (x - 0.5) * jnp.log(x) - x + HALF_LOG_TWO_PI + stirling_remainder(x)


def half_log_less_remainder(x: Array) -> Array:
    """½ log x − R(x) for x > 0."""
    small = x < 1
    within, above = jnp.where(small, x, 0.5), jnp.where(small, 1.0, x)
    near_zero = jnp.log(within) + remainder_near_zero(within, jnp.log(within))
    return jnp.where(small, near_zero, 0.5 * jnp.log(above) - stirling_remainder(above))


def remainder_near_zero(x: Array, log_x: Array) -> Array:
    """−½ log x − R(x) for 0 ≤ x < 1, from log x where x itself has underflowed; ½ log 2π at 0."""
    return x * log_x - stirling_remainder(1 + x) - (x + 0.5) * jnp.log1p(x) + 1


def log_factorial_remainder(y: Array) -> Array:
    """log y! − y log y + y for counts y = 0, 1, 2, …; 0 at 0. Exact up to 15, ½ log 2πy + R(y) above."""
    large = jnp.where(y > 15, y, 16.0)
    table = jnp.asarray(_FACTORIALS, large.dtype)[jnp.clip(y, 0, 15).astype(int)]
    return jnp.where(y > 15, HALF_LOG_TWO_PI + 0.5 * jnp.log(large) + _stirling_series(large), table)


def deviance_term(count: Array, expected: Array, u: Array) -> Array:
    """count · log(count/expected) + expected − count for count > 0, u being log(expected/count). Never negative."""
    far = u > 2  # there eᵘ may overflow, or be less exact than the expected number itself
    return jnp.where(far, expected - count * (1 + u), count * expm1_remainder(jnp.where(far, 0.0, u)))


@jax.custom_jvp
def binomial_deviance(count: Array, rest: Array, u: Array) -> Array:
    """n KL(count/n ‖ p), n = count + rest, both positive, u = logit p − log(count/rest), as a sum of positive terms."""
    up, down = _log_shares(count, rest, u)
    return _binomial_term(count, up) + _binomial_term(rest, down)


def _binomial_term(count, u):
    return count * expm1_remainder(u)


@binomial_deviance.defjvp
def _binomial_deviance_jvp(primals, tangents):
    count, rest, u = primals
    dcount, drest, du = tangents
    up, down = _log_shares(count, rest, u)
    # the same number twice: the excess of the expected over the observed count, by the smaller of the two counts
    excess = jnp.where(count < rest, count * jnp.expm1(up), -rest * jnp.expm1(down))
    tangent = excess * du + expm1_remainder(up) * dcount + expm1_remainder(down) * drest
    return binomial_deviance(count, rest, u), tangent


def _log_shares(count, rest, u):
    """log of p over count/n and of 1 − p over rest/n."""
    total = count + rest
    p, q, logit = count / total, rest / total, jnp.log(count / rest)
    return -_log_tilt(-u, q, p, -logit), -_log_tilt(u, p, q, logit)


def _log_tilt(u, p, q, logit):
    """log(q + p eᵘ), p + q = 1, logit = log(p/q)."""
    near = jnp.abs(u) < 30
    v = jnp.where(near, u, 0.0)
    turn = (v < 0) & (p > 0.5)
    direct = jnp.log1p(p * jnp.expm1(jnp.where(turn, 0.0, v)))
    turned = v + jnp.log1p(q * jnp.expm1(jnp.where(turn, -v, 0.0)))
    far = jax.nn.softplus(logit + u) - jax.nn.softplus(logit)
    return jnp.where(near, jnp.where(turn, turned, direct), far)


def log1p_gap(w: Array) -> Array:
    """log(1 + w) − w/(1 + w) = w²/2 − … for w ≥ 0, without cancellation near 0."""
    near = w < 0.2
    s = jnp.where(near, w / (1 + w), 0.0)
    series = jnp.zeros_like(s)
    for k in range(22, 1, -1):
        series = 1 / k + s * series
    far = jnp.where(near, 1.0, w)
    return jnp.where(near, s * s * series, jnp.log1p(far) - 1 / (1 + 1 / far))


@jax.custom_jvp
def scaled_log1p(z: Array, n: Array) -> Array:
    """n log(1 + z/n) for z ≥ 0, n > 0; its derivative in n keeps its digits for large n."""
    return n * jnp.log1p(z / n)


@scaled_log1p.defjvp
def _scaled_log1p_jvp(primals, tangents):
    z, n = primals
    dz, dn = tangents
    return scaled_log1p(z, n), dz / (1 + z / n) + log1p_gap(z / n) * dn


def log1p_square(t: Array) -> Array:
    """log(1 + t²), where t² may overflow."""
    large = jnp.abs(t) > 1
    inverse = 1 / jnp.where(large, t, 1.0)
    small = jnp.where(large, 0.0, t)
    return jnp.where(large, jnp.log1p(inverse * inverse) - 2 * jnp.log(jnp.abs(inverse)), jnp.log1p(small * small))


def log_cosh(z: Array) -> Array:
    """log cosh z: z²/2 near 0, |z| − log 2 far out, relative digits kept at both ends."""
    size = jnp.abs(z)
    near = size < 1
    within, outside = jnp.where(near, z, 0.0), jnp.where(near, 1.0, size)
    tail = outside + jnp.log1p(jnp.exp(-2 * outside)) - LOG_TWO
    return jnp.where(near, jnp.log1p(2 * jnp.sinh(within / 2) ** 2), tail)


def log_normal_cdf(x: Array) -> Array:
    """log Φ(x); `jax.scipy.special.log_ndtr` loses five digits near −20 and all of its gradient at −1e8.

    Below −12 by the asymptotic series of Mills' ratio (Abramowitz & Stegun 26.2.12).
    """
    far, right = x < -12, x > 0
    t = jnp.where(far, -x, 12.0)
    inverse = 1 / t
    series = jnp.zeros_like(t)
    for k in range(14, 0, -1):
        series = -(2 * k - 1) * inverse * inverse * (1 + series)
    tail = -0.5 * t * t - jnp.log(t) - HALF_LOG_TWO_PI + jnp.log1p(series)
    left = jnp.log(0.5 * jax.lax.erfc(-jnp.where(far | right, 0.0, x) * _SQRT_HALF))
    upper = jnp.log1p(-0.5 * jax.lax.erfc(jnp.where(right, x, 0.0) * _SQRT_HALF))
    return jnp.where(far, tail, jnp.where(right, upper, left))


def log_scaled_exp1(x: Array) -> Array:
    """log(eˣ E₁(x)) for x > 0: by the series of E₁ below 1.5 (Abramowitz & Stegun 5.1.11), by its continued fraction
    above (5.1.22, even part). Infinite at 0."""
    small = x < 1.5
    near, far = jnp.where(small, x, 1.0), jnp.where(small, 1.5, x)
    series, term = jnp.zeros_like(near), jnp.ones_like(near)
    for k in range(1, 26):
        term = -term * near / k
        series -= term / k
    fraction = jnp.zeros_like(far)
    for k in range(60, 0, -1):
        fraction = k * k / (far + 2 * k + 1 - fraction)
    by_series = near + jnp.log(series - _EULER - jnp.log(near))
    return jnp.where(small, by_series, -jnp.log(far + 1 - fraction))
