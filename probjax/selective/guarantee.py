"""Thresholds on confidence whose chance of a wrong answer is bounded with a chosen probability, whatever the model."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from probjax.selective.curve import ordered
from probjax.validation import require_counts, require_fraction


class SelectiveRisks(NamedTuple):
    """[T]. Answer where confidence > threshold: num_answered rows of the sample (a share coverage), of which num_errors
    were wrong. bound: of the chance that an answer is wrong, from above."""

    threshold: np.ndarray
    coverage: np.ndarray
    num_answered: np.ndarray
    num_errors: np.ndarray
    bound: np.ndarray


class Selection(NamedTuple):
    """Answer where confidence > threshold. coverage and risk are those seen. bound: of the chance that an answer is
    wrong, with probability ≥ 1 − δ, the choice of the threshold included. Where nothing could be guaranteed: threshold
    +inf, coverage 0, risk 0, bound 1."""

    threshold: float
    coverage: float
    risk: float
    bound: float


def risk_bound(num_errors: Any, num_answered: Any, delta: Any) -> np.ndarray:
    """The b with P(Binomial(n, b) ≤ e) = δ: the chance of error is at most b with probability ≥ 1 − δ (Clopper &
    Pearson 1934; the binomial tail inversion of Langford 2005). 1 where all were wrong or none answered.

    Args:
        num_errors: e, an integer or an array.
        num_answered: n ≥ e.
        delta: the chance of being wrong, one-sided.

    Raises:
        ValueError: e outside 0 … n, δ not between 0 and 1.

    >>> round(float(risk_bound(0, 59, 0.05)), 4)  # 1 − δ^(1/n): the rule of three
    0.0495
    """
    require_fraction("risk_bound", "delta", delta)
    e, n = np.asarray(num_errors), np.asarray(num_answered)
    if not ((e >= 0) & (e <= n) & (e == np.floor(e)) & (n == np.floor(n))).all():
        raise ValueError(f"risk_bound: num_errors is {e} of num_answered {n}; expected integers 0 ≤ e ≤ n")
    return np.where(e < n, stats.beta.ppf(1 - np.asarray(delta, float), e + 1, np.maximum(n - e, 1)), 1.0)


def selective_risks(confidence: Any, errors: Any, delta: float, num_thresholds: int = 32) -> SelectiveRisks:
    """Bounds on the selective risk at T thresholds that hold *together* with probability ≥ 1 − δ, so that the threshold
    may be chosen after seeing them: Clopper–Pearson at δ/T each (Geifman & El-Yaniv 2017, Lemma 3.1).

    The thresholds are confidences of this sample: those that leave about N i/T rows above them, i = 1 … T, the last −∞.
    The row at
    the threshold is not answered, so that those above it are independent draws from all above it, given the threshold.
    The list is fixed by N and T alone; a binary search would let the errors choose whom to ask, against the union
    bound.

    Args:
        confidence, errors: [N]; errors 0 or 1. Held-out rows, independent, like those to come.
        delta: the chance that any of the bounds fails.
        num_thresholds: T.

    Raises:
        ValueError: as `risk_coverage`; errors other than 0 and 1.

    >>> risks = selective_risks(np.arange(100.0), np.arange(100) < 40, delta=0.05, num_thresholds=2)
    >>> risks.num_answered.tolist(), risks.num_errors.tolist(), risks.bound.round(3).tolist()
    ([50, 100], [0, 40], [0.071, 0.503])
    """
    require_fraction("selective_risks", "delta", delta)
    require_counts("selective_risks", num_thresholds=(num_thresholds, 1))
    confidence, errors, order = ordered("selective_risks", confidence, errors, binary=True)
    wanted = np.unique(np.ceil(len(errors) * np.arange(1, num_thresholds + 1) / num_thresholds).astype(int))
    thresholds = np.append(confidence[order], -np.inf)[wanted]
    return _at(confidence, errors, thresholds, delta / len(wanted))


def choose_threshold(risks: SelectiveRisks, target: float) -> Selection:
    """The threshold of most answers whose bound is at most the target: with probability ≥ 1 − δ (that of the bounds)
    the chance of a wrong answer is at most the target, whatever the model and however the target was chosen.

    Raises:
        ValueError: a target not between 0 and 1.

    Where no bound is as low, nothing is answered, with a warning.

    >>> risks = selective_risks(np.arange(100.0), np.arange(100) < 40, delta=0.05, num_thresholds=2)
    >>> choose_threshold(risks, 0.1).threshold
    49.0
    """
    require_fraction("choose_threshold", "target", target)
    good = np.flatnonzero(risks.bound <= target)
    return _selection("choose_threshold", risks, good[-1] if good.size else None, target)


def choose_in_sequence(confidence: Any, errors: Any, thresholds: Any, target: float, delta: float) -> Selection:
    """The last of a fixed sequence of thresholds before the first whose Clopper–Pearson bound *at δ itself* exceeds the
    target: P(its risk > target) ≤ δ with nothing paid for their number (fixed-sequence testing; Angelopoulos, Bates,
    Candès, Jordan & Lei 2021). It answers more than `choose_threshold` where the sequence starts well.

    Args:
        confidence, errors, delta: as `selective_risks`.
        thresholds: [T], in the order in which they are tried, usually falling. Fixed without this sample (as
            probabilities, or from other rows): taken from it, the guarantee is lost.
        target: the risk to stay below.

    Returns:
        A `Selection` whose bound is the target: the smaller number at its threshold has been chosen by the errors.

    Raises:
        ValueError: as `selective_risks`; thresholds that are not [T] numbers.

    >>> choose_in_sequence(np.arange(100.0), np.arange(100) < 40, [50, 30, 10], target=0.1, delta=0.05).coverage
    0.49
    """
    require_fraction("choose_in_sequence", "target", target)
    require_fraction("choose_in_sequence", "delta", delta)
    confidence, errors, _ = ordered("choose_in_sequence", confidence, errors, binary=True)
    thresholds = np.asarray(thresholds, float)
    if thresholds.ndim != 1 or thresholds.size == 0 or np.isnan(thresholds).any():
        raise ValueError(f"choose_in_sequence: thresholds is {thresholds}; expected [T] numbers in the order of trial")
    risks = _at(confidence, errors, thresholds, delta)
    failed = np.flatnonzero(risks.bound > target)
    passed = failed[0] if failed.size else len(thresholds)
    found = _selection("choose_in_sequence", risks, passed - 1 if passed else None, target)
    # the bounds at δ have been chosen among, and hold less often
    return found._replace(bound=target) if passed else found


def _at(confidence, errors, thresholds, delta):
    order = np.argsort(confidence, kind="stable")
    below = np.searchsorted(confidence[order], thresholds, side="right")
    errors_above = np.append(np.cumsum(errors[order][::-1])[::-1], 0.0)[below].astype(int)
    answered = len(errors) - below
    bound = risk_bound(errors_above, answered, delta)
    return SelectiveRisks(thresholds, answered / len(errors), answered, errors_above, bound)


def _selection(where, risks, index, target):
    if index is None:
        lowest = risks.bound.min()
        warnings.warn(
            f"{where}: no threshold that counts has a bound of at most {target} (the lowest of all: {lowest:.4g}), so "
            "nothing is answered; raise the target or use more rows",
            stacklevel=3,
        )
        return Selection(np.inf, 0.0, 0.0, 1.0)
    answered = int(risks.num_answered[index])
    risk = int(risks.num_errors[index]) / max(answered, 1)
    return Selection(float(risks.threshold[index]), float(risks.coverage[index]), risk, float(risks.bound[index]))
