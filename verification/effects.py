"""A Gaussian posterior that is drawn in NumPy, and what can be wrong with draws of it: one damage a check, its size a
number, so that the power of the check can be measured as a function of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from verification.controls import EFFICIENCY, NUM_DRAWS
from verification.exact.reference import Certificate, Reference, gaussian_reference
from verification.types import Replications

NAMES = ("a", "b", "c", "chance")  # the last is taken for the probability of one of two classes
MEAN, SD = np.array([1.0, -2.0, 0.5, 0.7]), np.array([0.5, 2.0, 1.0, 0.05])
CORRELATION = np.array([[1.0, 0.9, 0.0, 0.0], [0.9, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
CHANCE = 3
NEW_X = np.array([[0.5, 0.2, -0.4, 0.0], [-1.0, 0.3, 0.6, 0.0]])  # two new rows, y = x·θ + N(0, 1)
NEW_Y = np.array([0.4, -1.2])
LOG_EVIDENCE, NOISE = -3.0, 0.05  # nats; the noise of what a method says of it, sd over its runs
K_NOISE = 0.1  # of k̂ over runs, about what a few thousand draws give
EVERY = (0, 1, 2, 3)


class Effect(NamedTuple):
    """One way to be wrong.

    check: the name of the check that has to see it.
    damage: in words, its size being e.
    units: of e.
    apply: (Replications, e, Reference) -> Replications.
    per_tolerance: the e that makes an error of one unit in the check's own units.
    queries: which of the posterior's the draws are made of; the damage is in one of them.
    rows, shares: whether the check looks at the new rows, at the shares of draws below quantiles; both cost time.
    num_draws: S; 1 where the check looks at no draws.
    bar: the e that must be found at each budget with power 0.99; None where no figure is set.
    """

    check: str
    damage: str
    units: str
    apply: Callable[[Replications, float, Reference], Replications]
    per_tolerance: float = 1.0
    queries: tuple[int, ...] = (0,)
    rows: bool = False
    shares: bool = False
    num_draws: int = NUM_DRAWS
    bar: dict[str, float] | None = None


def posterior(queries: tuple[int, ...] = EVERY) -> Reference:
    """The exact answer for some of the queries, the others known to be 0."""
    index, at = list(queries), np.ix_(queries, queries)
    mean, covariance, x = MEAN[index], (CORRELATION * np.outer(SD, SD))[at], NEW_X[:, index]
    new = (NEW_Y, x @ mean, x @ covariance @ x.T + np.eye(len(x)))
    certificate = Certificate(0.0, "closed form", "", float("nan"))
    names = tuple(NAMES[q] for q in queries)
    exact = gaussian_reference(names, mean, covariance, new=new, log_evidence=LOG_EVIDENCE, certificate=certificate)
    return exact._replace(classes=((index.index(CHANCE),),) if CHANCE in index else ())


def replications(
    rng: np.random.Generator,
    num_replications: int,
    *,
    queries: tuple[int, ...] = EVERY,
    rows: bool = True,
    chained: bool = False,
    num_draws: int = NUM_DRAWS,
) -> Replications:
    """Exact draws, and an evidence and an ELBO that are right but for noise.

    Args:
        chained: draws keep their predecessor so often that effective ones are EFFICIENCY of S, as in `controls`.

    Returns:
        queries [R, S, Q], log_new [R, S] or None, log_evidence [R], elbo [R], pareto_k [R].
    """
    index, shape = list(queries), (num_replications, num_draws)
    fresh = np.ones(shape, bool)
    if chained:
        refresh = 2 * EFFICIENCY / (1 + EFFICIENCY)
        fresh[:, 1:] = rng.random((num_replications, num_draws - 1), dtype=np.float32) < refresh
    root = np.linalg.cholesky(CORRELATION[np.ix_(queries, queries)]) * SD[index][:, None]
    # float32 and draws last in memory: several times faster, and 1e-6 sd is no effect
    z = rng.standard_normal((len(index), int(fresh.sum())), dtype=np.float32)
    made, log_new = MEAN[index, None].astype(np.float32) + root.astype(np.float32) @ z, None
    if rows:
        x, y = NEW_X[:, index].astype(np.float32), NEW_Y.astype(np.float32)
        log_new = -0.5 * ((y[:, None] - x @ made) ** 2).sum(0) - np.float32(0.5 * len(y) * np.log(2 * np.pi))
    if chained:
        last = np.cumsum(fresh) - 1  # the one made last
        made, log_new = np.take(made, last, 1), None if log_new is None else log_new[last]
    said = LOG_EVIDENCE + NOISE * rng.standard_normal((2, num_replications))
    log_new = None if log_new is None else log_new.reshape(shape)
    pareto_k = K_NOISE * rng.standard_normal(num_replications)
    return Replications(made.reshape(-1, *shape).transpose(1, 2, 0), log_new, *said, pareto_k)


def _shift(exact, e, reference):
    return _affine(exact, [[1.0]], [e * reference.sd[0]])


def _widen(exact, e, reference):
    return _affine(exact, [[1 + e]], -e * reference.mean)


def _narrow(exact, e, reference):
    return _widen(exact, -e, reference)


def _uncorrelate(exact, e, reference):
    """The first query stays; the second's correlation with it falls by e, its sd stays."""
    was, ratio = reference.corr[0, 1], reference.sd[1] / reference.sd[0]
    now = was - e
    rest = np.sqrt((1 - now**2) / (1 - was**2))
    a = np.array([[1.0, 0.0], [(now - was * rest) * ratio, rest]])
    return _affine(exact, a, reference.mean - a @ reference.mean)


def _affine(exact, a, b):
    """A·query + b, in the precision and order in memory of the draws."""
    columns = np.moveaxis(exact.queries, 2, 0)
    a, b = np.asarray(a, columns.dtype), np.asarray(b, columns.dtype)
    moved = [sum(c * x for c, x in zip(row, columns) if c) + at for row, at in zip(a, b)]
    return exact._replace(queries=np.moveaxis(np.stack(moved), 0, 2))


def _worsen_predictive(exact, e, reference):
    return exact._replace(log_new=exact.log_new - np.float32(e * reference.num_new))


def _raise_evidence(exact, e, reference):
    return exact._replace(log_evidence=exact.log_evidence + e)


def _raise_elbo(exact, e, reference):
    return exact._replace(elbo=exact.elbo + e)


def _raise_pareto_k(exact, e, reference):
    return exact._replace(pareto_k=exact.pareto_k + e)


def _shift_chance(exact, e, reference):
    return exact._replace(queries=exact.queries + np.float32(e))


def _decide_otherwise(exact, e, reference):
    """A share e of runs, told by their first draw, gives the one class the other's probability."""
    chosen = ndtr((exact.queries[:, :1] - MEAN[CHANCE]) / SD[CHANCE]) < e
    return exact._replace(queries=np.where(chosen, 1 - exact.queries, exact.queries))


SD_BAR = {"default": 0.10, "full": 0.05}
EFFECTS = (
    Effect("mean", "mean + e sd", "posterior sd", _shift),
    Effect("sd", "sd × (1 − e)", "of the posterior sd", _narrow, bar=SD_BAR),
    Effect("sd", "sd × (1 + e)", "of the posterior sd", _widen, bar=SD_BAR),
    Effect("q05", "all draws + e sd", "posterior sd", _shift),
    Effect("q95", "all draws + e sd", "posterior sd", _shift),
    Effect("correlation", "correlation 0 − e", "correlation", _uncorrelate, queries=(0, 2)),
    Effect("log_predictive", "log p(y_new | θ) − e", "nats a row", _worsen_predictive, rows=True),
    # a normal's distribution function moves most at its centre: by e / √(2π)
    Effect("ks", "all draws + e sd", "posterior sd", _shift, per_tolerance=np.sqrt(2 * np.pi), shares=True),
    # a shift of e is a Wasserstein distance of e, of which 98% lies between the outer quantiles
    Effect("w1", "all draws + e sd", "posterior sd", _shift, per_tolerance=1 / 0.98, shares=True),
    Effect("total_variation", "class probability + e", "probability", _shift_chance, queries=(CHANCE,)),
    Effect("agreement", "a share e of runs decides otherwise", "of runs", _decide_otherwise, 2.0, (CHANCE,)),
    Effect("evidence", "log evidence + e", "nats", _raise_evidence, num_draws=1),
    Effect("elbo", "ELBO = log evidence + e", "nats", _raise_elbo, num_draws=1),
    Effect("pareto_k", "k̂ = e", "", _raise_pareto_k, num_draws=1),
)
