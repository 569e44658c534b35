"""Simulation-based calibration: over data simulated from the model itself, a right posterior's ranks are uniform.

params* ~ prior, y ~ p(y | params*), L draws of a method's posterior given y: the number of draws whose quantity is
below that of params* is uniform on 0 … L when the draws are independent and exact (Talts et al. 2018). Of parameters
alone that is true of the prior too, returned for every y; the log-likelihood of the simulated data, a quantity that
depends on y, tells it apart (Modrák et al. 2023).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import stats

from probjax import Data, Model, NotApplicable, log_likelihood, over_leading_axis
from probjax.types import as_model, function

FALSE_ALARM = 1e-6
LOG_LIKELIHOOD = "log_likelihood"


class Calibration(NamedTuple):
    """ranks: [N, Q + 1] in 0 … num_ranks, of each query and of the log-likelihood, which comes last; p_value: [Q + 1].
    false_alarm: of `calibrated`, over all quantities together."""

    names: tuple[str, ...]
    ranks: np.ndarray
    num_ranks: int
    p_value: np.ndarray
    false_alarm: float

    @property
    def calibrated(self) -> bool:
        """Whether no quantity's ranks are surely other than uniform (Bonferroni over quantities)."""
        return bool(np.min(self.p_value) * self.p_value.size >= self.false_alarm)

    @property
    def reason(self) -> str:
        """What is wrong, in words; empty where nothing is."""
        if self.calibrated:
            return ""
        worst = int(np.argmin(self.p_value))
        mean, spread = self.ranks[:, worst].mean() / self.num_ranks, self.ranks[:, worst].std() / self.num_ranks
        return (
            f"ranks of {self.names[worst]} are not uniform (p = {self.p_value[worst]:.1g}): mean {mean:.2f} of ½, "
            f"sd {spread:.2f} of {np.sqrt((1 + 2 / self.num_ranks) / 12):.2f}"
        )


def calibration(
    key: Array,
    method: Callable,
    model: Model,
    x: Any,
    *,
    query: Callable,
    names: tuple[str, ...],
    num_simulations: int = 200,
    num_ranks: int = 19,
    false_alarm: float = FALSE_ALARM,
) -> Calibration:
    """Run a method on data simulated from its own model, many times, and test the ranks.

    Args:
        method: (key, model, data) -> Posterior; its draws are thinned to `num_ranks` evenly spaced ones, which must be
            as good as independent: a chain's autocorrelation shows as overconfidence.
        x: inputs, at which y is simulated.
        query: params -> [Q]; names: of the queries.
        num_simulations, num_ranks: N and L.

    Raises:
        NotApplicable: the model is a Target or its prior is improper.
        ValueError: the method gives fewer than `num_ranks` draws, or names and query disagree.
    """
    if as_model(model).prior.sample is None:
        raise NotApplicable("simulation-based calibration draws params from the prior; this one has no sample")
    rows = over_leading_axis(
        partial(one_simulation, method, model, x, function(query), num_ranks), jax.random.split(key, num_simulations)
    )
    truth, draws, tie_breaks = map(np.asarray, rows)
    names = (*names, LOG_LIKELIHOOD)
    if truth.shape[1] != len(names):
        raise ValueError(f"query gives {truth.shape[1] - 1} numbers but there are {len(names) - 1} names; name each")
    ranks = ranks_of(truth, draws, tie_breaks)
    p_value = np.array([uniform_p_value(column, num_ranks) for column in ranks.T])
    return Calibration(names, ranks, num_ranks, p_value, false_alarm)


def one_simulation(method, model, x, query, num_ranks, key):
    """Quantities of the truth [Q + 1] and of the thinned draws [L, Q + 1], and uniforms for ties."""
    like_key, prior_key, data_key, method_key, tie_key = jax.random.split(key, 5)
    truth = model.prior.sample(prior_key, model.init(like_key))
    data = Data(x, model.likelihood.sample(data_key, model.apply(truth, x)))
    draws = method(method_key, model, data).draws
    num_draws = jax.tree.leaves(draws)[0].shape[0]
    if num_draws < num_ranks:
        raise ValueError(f"the method gave {num_draws} draws but num_ranks is {num_ranks}; ask it for more draws")
    kept = np.linspace(0, num_draws - 1, num_ranks).round().astype(int)
    quantities = lambda params: jnp.append(query(params), jnp.sum(log_likelihood(model, params, data)))
    of_draws = jax.vmap(quantities)(jax.tree.map(lambda leaf: leaf[kept], draws))
    return quantities(truth), of_draws, jax.random.uniform(tie_key, of_draws.shape[1:])


def ranks_of(truth, draws, tie_breaks):
    """[N, Q + 1]: draws below the truth, and of those equal to it a uniform number: else discrete quantities are never
    uniform."""
    if not np.isfinite(draws).all():
        raise ValueError("a draw's quantity is NaN or infinite; there is no rank")
    below, equal = (draws < truth[:, None]).sum(1), (draws == truth[:, None]).sum(1)
    return below + np.floor(tie_breaks * (equal + 1)).astype(int)


def uniform_p_value(ranks: np.ndarray, num_ranks: int) -> float:
    """P(a statistic at least as extreme | ranks uniform on 0 … L), exactly for discrete ranks and any N.

    The statistic is the smallest two-sided binomial p-value of #{ranks ≤ k} over k = 0 … L − 1 (Säilynoja, Bürkner &
    Vehtari 2022). Its null distribution comes from the counts' Markov chain, #≤k given #≤k−1 = c being
    c + Binomial(N − c, 1/(L + 1 − k)).

    Args:
        ranks: [N] integers in 0 … L.

    >>> round(uniform_p_value(np.arange(20).repeat(10), 19), 9)  # nothing could be more even
    1.0
    """
    ranks = np.asarray(ranks)
    if ranks.min() < 0 or ranks.max() > num_ranks:
        raise ValueError(
            f"ranks go from {ranks.min()} to {ranks.max()}; with {num_ranks} draws they are 0 … {num_ranks}"
        )
    num, counts = len(ranks), np.arange(len(ranks) + 1)
    below = np.searchsorted(np.sort(ranks), np.arange(num_ranks), side="right")
    tails = _tails(num, num_ranks)
    smallest = tails[np.arange(num_ranks), below].min()
    inside = tails > smallest * (1 + 1e-9)
    weights, outside = (counts == 0).astype(float), 0.0
    for k in range(num_ranks):
        moved = weights @ _steps(num, num_ranks + 1 - k)
        # what leaves is summed, not 1 − what stays: p-values of 1e-20 keep their digits
        outside += moved[~inside[k]].sum()
        weights = np.where(inside[k], moved, 0.0)
    return float(min(outside, 1.0))


@lru_cache(maxsize=32)
def _steps(num, left):
    """[N + 1, N + 1]: P(#{ranks ≤ k} = column | #{ranks ≤ k − 1} = row) when k is one of `left` values left."""
    counts = np.arange(num + 1)
    return stats.binom.pmf(counts[None, :] - counts[:, None], num - counts[:, None], 1 / left)


@lru_cache(maxsize=32)
def _tails(num, num_ranks):
    """[L, N + 1]: two-sided p-values of each count for k = 0 … L − 1."""
    counts, p = np.arange(num + 1), (np.arange(num_ranks)[:, None] + 1) / (num_ranks + 1)
    return np.minimum(1.0, 2 * np.minimum(stats.binom.cdf(counts, num, p), stats.binom.sf(counts - 1, num, p)))
