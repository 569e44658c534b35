"""A test of calibration whose size is exact: the forecasts themselves say how the labels should have fallen."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from probjax.forecasts import check_labels, check_probs
from probjax.validation import require_counts

BLOCK_NUMBERS = 2**23  # simulated labels held at once, times classes


class CalibrationTest(NamedTuple):
    """p_value: of "labels occur with the probabilities forecast". statistics, null_quantiles: [2], large when they do
    not, and their 95% points under calibration. components: [2, E, M], an event a row (one for two classes; for K > 2
    each class, then "the most likely class is right"); each has mean 0 and variance 1 under calibration. The first of a
    row is positive where events were more frequent than forecast; the second, where they were more frequent at low
    forecasts and less at high ones: forecasts too bold. Negative there, they are too timid.
    """

    p_value: float
    statistics: np.ndarray
    null_quantiles: np.ndarray
    components: np.ndarray
    num_simulations: int
    caveats: tuple[str, ...]

    def __str__(self) -> str:
        seen = ", ".join(f"{value:.4g} ({point:.4g})" for value, point in zip(self.statistics, self.null_quantiles))
        _, num_events, num_components = self.components.shape
        lines = [
            f"calibration test: p = {self.p_value:.4g}, {self.num_simulations} simulations",
            f"adaptive Neyman statistics (95% point if calibrated): {seen}; {num_components} components, "
            f"events: {num_events}",
            *(f"caveat: {caveat}" for caveat in self.caveats),
        ]
        return "\n".join(lines)


def calibration_test(
    key: Array, probs: Any, labels: Any, *, num_simulations: int = 999, num_components: int = 16
) -> CalibrationTest:
    """Monte-Carlo test (Dwass 1957; Barnard 1963) of H₀: labels are independent, with the probabilities forecast.

    Under H₀ the labels seen and B sets drawn from the forecasts are exchangeable, so the rank of any statistic among
    them, ties broken at random, is uniform: p ≤ α has probability ⌊α(B + 1)⌋/(B + 1) whatever the number of rows.

    Two statistics for an event forecast as p. Z_j = Σ φ_j(u) (y − p) / √Σ p(1 − p), φ₀ = 1 and φ_j = √2 cos(πju), u the
    share of the variance p(1 − p) that lies at smaller forecasts (half of that at equal ones); and Z_j = Σ φ_j(u)
    (y − p)/√(p(1 − p)) / √N, u the share of rows: slower to see a gap at middling forecasts, quick to see events that
    were all but excluded. Either is joined to max over m ≤ M of Σ_{j<m} (Z_j² − 1)/√(2m) (Fan 1996, adaptive Neyman),
    which sees slow distortions in its first terms and follows quick ones up to frequency M. What is ranked is the
    higher of a set's two ranks. For K > 2 classes the statistics are summed over each class against the rest and "the
    most likely class is right": what shows only in the joint law of whole rows of forecasts is not seen.

    Args:
        key: consumed.
        probs: [N] of class 1 of two, or [N, K].
        labels: [N] integers 0 … K − 1.
        num_simulations: B; take (B + 1)α whole.
        num_components: M. Memory is 2·N·M numbers for each event, and blocks of simulations.

    Returns:
        A `CalibrationTest`; a label that was forecast with probability 0 makes the statistics infinite.

    Raises:
        ValueError: probs that are none, labels that are none, counts below 1.

    >>> probs = jnp.linspace(0.1, 0.9, 64)
    >>> calibration_test(jax.random.key(0), probs, (probs < 0.5).astype(int), num_simulations=99).p_value <= 0.02
    True
    """
    where = "calibration_test"
    require_counts(where, num_simulations=(num_simulations, 1), num_components=(num_components, 1))
    probs = check_probs(where, probs)
    labels = check_labels(where, labels, probs.shape[0], 2 if probs.ndim == 1 else probs.shape[1])
    p_value, statistics, components = _compiled(key, probs, labels, num_simulations, num_components)
    statistics = np.asarray(statistics)
    return CalibrationTest(
        float(p_value),
        statistics[0],
        np.quantile(statistics[1:], 0.95, axis=0, method="higher"),
        np.asarray(components),
        num_simulations,
        _caveats(np.asarray(probs), np.asarray(labels), num_simulations),
    )


def monte_carlo_p_value(
    key: Array, probs: Array, labels: Array, num_simulations: int, num_components: int
) -> tuple[Array, Array, Array]:
    """`calibration_test` on arrays, for jit and vmap; nothing is checked.

    Returns:
        p; the statistics [B + 1, 2], those of the labels first; their components [2, E, M].

    >>> p, statistics, _ = monte_carlo_p_value(jax.random.key(0), jnp.full(9, 0.5), jnp.zeros(9, int), 19, 2)
    >>> statistics.shape, bool(p <= 0.1)
    ((20, 2), True)
    """
    events = _events(probs, num_components)
    draw_key, place_key, tie_key = jax.random.split(key, 3)
    # the labels stand at a random place, so that even rounding treats them as one set of B + 1
    place = jax.random.randint(place_key, (), 0, num_simulations + 1)

    def one(row):
        index, key = row
        return _statistics(jnp.where(index == place, labels, _draw(key, probs)), events)

    keys = jax.random.split(draw_key, num_simulations + 1)
    block = max(1, min(num_simulations + 1, BLOCK_NUMBERS // probs.size))
    statistics = jax.lax.map(one, (jnp.arange(num_simulations + 1), keys), batch_size=block)
    # what cannot occur is never drawn, so this too is a statistic, and keeps the size
    statistics = statistics.at[place].set(jnp.where(_impossible(probs, labels), jnp.inf, statistics[place]))
    joint = _joint_rank(statistics)
    equal = jnp.sum(joint == joint[place]) - 1
    rank = 1 + jnp.sum(joint > joint[place]) + jax.random.randint(tie_key, (), 0, equal + 1)
    components = jnp.swapaxes(_components(labels, events), 0, 1)
    return rank / (num_simulations + 1), jnp.roll(statistics, -place, axis=0), components


_compiled = partial(jax.jit, static_argnums=(3, 4))(monte_carlo_p_value)


def _joint_rank(statistics):
    """The higher of a set's two ranks, and among equals the other one: large where either statistic is."""

    def midrank(values):
        ordered = jnp.sort(values)
        below = jnp.searchsorted(ordered, values, side="left")
        return below + jnp.searchsorted(ordered, values, side="right")  # doubled, so whole

    ranks = jnp.stack([midrank(values) for values in statistics.T])
    return jnp.max(ranks, axis=0) * (2 * len(statistics) + 1) + jnp.min(ranks, axis=0)


class _Events(NamedTuple):
    """E events: [E, N] forecasts, [E, N] the class by which each occurs, and waves [E, N, 2, M], of which
    Σ (occurred − forecast) wave are the components."""

    forecast: Array
    occurs: Array
    wave: Array


def _events(probs, num_components):
    """One event for two classes; each class and the most likely one for more."""
    if probs.ndim == 1 or probs.shape[1] == 2:
        chance = probs if probs.ndim == 1 else probs[:, 1]
        forecast, occurs = chance[None], jnp.ones((1, len(chance)), jnp.int32)
    else:
        num_rows, num_classes = probs.shape
        forecast = jnp.concatenate([probs.T, jnp.max(probs, axis=1)[None]])
        each = jnp.broadcast_to(jnp.arange(num_classes, dtype=jnp.int32)[:, None], (num_classes, num_rows))
        occurs = jnp.concatenate([each, jnp.argmax(probs, axis=1).astype(jnp.int32)[None]])
    return _Events(forecast, occurs, jax.lax.map(lambda p: _waves(p, num_components), forecast))


def _waves(forecast, num_components):
    """[N, 2, M]: of equal weights by the clock of variance, and of weights 1/sd by that of rows."""
    ordered = jnp.sort(forecast)
    first = jnp.searchsorted(ordered, forecast, side="left")
    last = jnp.searchsorted(ordered, forecast, side="right")

    def clock(passing):
        passed = jnp.concatenate([jnp.zeros(1, forecast.dtype), jnp.cumsum(passing)])
        total = jnp.maximum(passed[-1], jnp.finfo(forecast.dtype).tiny)
        return (passed[first] + passed[last]) / (2 * total), total

    variance = forecast * (1 - forecast)
    inverse_sd = jnp.where(variance > 0, 1 / jnp.sqrt(jnp.where(variance > 0, variance, 1.0)), 0.0)
    (of_variance, total), (of_rows, num_rows) = clock(ordered * (1 - ordered)), clock(jnp.ones_like(ordered))
    order = jnp.arange(num_components, dtype=forecast.dtype)
    height = jnp.where(order == 0, 1.0, jnp.sqrt(2.0)).astype(forecast.dtype)
    wave = lambda clock: height * jnp.cos(jnp.pi * clock[:, None] * order)
    weighted = wave(of_rows) * inverse_sd[:, None] / jnp.sqrt(num_rows)
    return jnp.stack([wave(of_variance) / jnp.sqrt(total), weighted], axis=1)


def _impossible(probs, labels):
    """Whether a label was forecast with probability 0."""
    if probs.ndim == 1:
        return jnp.any(jnp.where(labels == 1, probs == 0, probs == 1))
    return jnp.any(jnp.take_along_axis(probs, labels[:, None], axis=1) == 0)


def _draw(key, probs):
    """Labels of the forecasts' own law."""
    uniform = jax.random.uniform(key, probs.shape[:1], probs.dtype)
    uniform = uniform + 0.5 * jnp.finfo(probs.dtype).eps  # the middle of its cell: 0 would make 1e-9 as likely as 1e-7
    if probs.ndim == 1:
        return (uniform < probs).astype(jnp.int32)
    reached = jnp.cumsum(probs, axis=1)
    label = jnp.sum(uniform[:, None] >= reached / reached[:, -1:], axis=1)
    return jnp.minimum(label, probs.shape[1] - 1).astype(jnp.int32)


def _components(labels, events):
    """Z [E, 2, M]."""

    def one(event):
        forecast, occurs, wave = event
        flat = ((labels == occurs) - forecast) @ wave.reshape(len(forecast), -1)
        return flat.reshape(wave.shape[1:])

    return jax.lax.map(one, tuple(events))


def _statistics(labels, events):
    """[2]."""
    squares = _components(labels, events) ** 2
    size = jnp.arange(1, squares.shape[-1] + 1, dtype=squares.dtype)
    excess = jnp.cumsum(squares - 1, axis=-1) / jnp.sqrt(2 * size)
    return jnp.sum(jnp.max(excess, axis=-1), axis=0)


def _caveats(probs, labels, num_simulations):
    said = []
    columns = np.stack([1 - probs, probs], axis=1) if probs.ndim == 1 else probs
    impossible = int((columns[np.arange(len(labels)), labels] == 0).sum())
    if impossible:
        said.append(f"{impossible} labels were forecast with probability 0: calibration is refuted whatever p says")
    if ((columns == 0) | (columns == 1)).all():
        said.append("all forecasts are 0 or 1: labels drawn from them never differ, and p is a random number or least")
    elif (columns == columns[:1]).all():
        said.append("all forecasts are equal: only their mean is compared with the frequencies")
    expected = columns.sum(0).min()
    if expected < 5:
        said.append(f"a class is expected {expected:.3g} times only: the size is exact, but power is low")
    if num_simulations < 99:
        said.append(f"p is not below {1 / (num_simulations + 1):.3g} with {num_simulations} simulations")
    return tuple(said)
