"""Risk against coverage, and the area below: what is gained by leaving the least confident rows unanswered."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class RiskCoverage(NamedTuple):
    """[N], from the most confident row to all of them. risk[i] is the mean loss of the coverage[i]·N = i + 1 most
    confident rows; threshold[i] the least confidence among them."""

    coverage: np.ndarray
    risk: np.ndarray
    threshold: np.ndarray


class Aurc(NamedTuple):
    """area: the mean of the risk over coverages. standard_error: of it. excess: area − best. best: the area of the best
    order of these losses. mean_loss: the risk at coverage 1, which is the expected area of a random order."""

    area: float
    standard_error: float
    excess: float
    best: float
    mean_loss: float


def risk_coverage(confidence: Any, loss: Any) -> RiskCoverage:
    """The risk–coverage curve (El-Yaniv & Wiener 2010). Equal confidences count as the mean over their random orders:
    with constant confidence the curve is flat, the mean loss.

    Args:
        confidence: [N], larger is surer: a top probability, a negative entropy or a negative sd.
        loss: [N], ≥ 0: 0/1 errors, squared errors, nats.

    Raises:
        ValueError: unlike shapes, no rows, NaN, infinite or negative losses.

    >>> risk_coverage([0.9, 0.5, 0.7, 0.7], [0, 1, 1, 0]).risk.round(4).tolist()
    [0.0, 0.25, 0.3333, 0.5]
    """
    confidence, loss, order = ordered("risk_coverage", confidence, loss)
    count = np.arange(1, len(loss) + 1)
    return RiskCoverage(count / len(loss), np.cumsum(_level(confidence[order], loss[order])) / count, confidence[order])


def aurc(confidence: Any, loss: Any) -> Aurc:
    """AURC = (1/N) Σ_i risk(i/N), and its excess over the best order's (Geifman, Uziel & El-Yaniv 2019).

    `best` is that of this sample, sorted by its own losses: not the limit r + (1 − r) log(1 − r) of many 0/1 losses.
    The standard error is that of the area's influence function, with U the share of rows at least as confident,
    −L log U + E[L] − E[L/U · 1(less confident)]: for large N and independent rows.

    Args, Raises: as `risk_coverage`.

    >>> result = aurc([0.9, 0.8, 0.7, 0.6], [0, 0, 0, 1])
    >>> result.area, result.excess
    (0.0625, 0.0)
    """
    confidence, loss, order = ordered("aurc", confidence, loss)
    area = lambda levels: float(np.mean(np.cumsum(levels) / np.arange(1, len(levels) + 1)))
    best = area(np.sort(loss))
    own = area(_level(confidence[order], loss[order]))
    return Aurc(own, _standard_error(confidence[order], loss[order]), own - best, best, float(np.mean(loss)))


def ordered(where, confidence, loss, binary=False):
    """Both as float64, and the order from the most confident on."""
    name = "errors" if binary else "loss"
    confidence, loss = np.asarray(confidence, float), np.asarray(loss, float)
    if confidence.ndim != 1 or confidence.shape != loss.shape or confidence.size == 0:
        raise ValueError(
            f"{where}: confidence has shape {confidence.shape} and {name} {loss.shape}; expected one of each a row, [N]"
        )
    if np.isnan(confidence).any():
        raise ValueError(f"{where}: confidence has {int(np.isnan(confidence).sum())} NaN; remove those rows")
    bad = ~np.isin(loss, [0, 1]) if binary else ~((loss >= 0) & np.isfinite(loss))
    if bad.any():
        row, expected = int(bad.argmax()), "0 or 1, whether the answer is wrong" if binary else "finite and ≥ 0"
        raise ValueError(
            f"{where}: {name} must be {expected}; {int(bad.sum())} of {len(loss)} are not "
            f"(first: row {row}, {loss[row]})"
        )
    return confidence, loss, np.argsort(-confidence, kind="stable")


def _level(confidence, values):
    """values, each replaced by the mean over its run of equal confidences."""
    starts = np.append(0, np.flatnonzero(confidence[1:] != confidence[:-1]) + 1)
    lengths = np.diff(np.append(starts, len(values)))
    return np.repeat(np.add.reduceat(values, starts) / lengths, lengths)


def _standard_error(confidence, loss):
    """Of the area; rows in order. Σ_{k ≥ i} 1/k is −log U, summed as the area is."""
    from_end = lambda terms: np.cumsum(terms[::-1])[::-1]
    place = np.arange(1, len(loss) + 1)
    weight = _level(confidence, from_end(1 / place))
    later = _level(confidence, from_end(_level(confidence, loss) / place))
    return float(np.std(loss * weight - later) / np.sqrt(len(loss)))
