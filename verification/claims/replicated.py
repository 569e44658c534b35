"""Measurements that are averages over independent replications, with their margins."""

from __future__ import annotations

import numpy as np
from scipy import stats

from verification.claims.types import CONTROL, REFUTED, STATED, WITHOUT, Measurement

ALPHA = 1e-3  # of one measurement, two-sided


def average(role: str, what: str, values: np.ndarray, bound: float, at_least: bool = False) -> Measurement:
    """The mean of values [R]."""
    return Measurement(role, what, float(np.mean(values)), bound, float(_margin(values)), at_least)


def farthest(role: str, what: str, ratios: np.ndarray, bound: float) -> Measurement:
    """The largest |mean over replications − 1| of ratios [R, …]: the one that is surest to lie beyond the bound where
    that is what the role is for, else the one least sure to lie within it."""
    ratios = np.asarray(ratios).reshape(len(ratios), -1)
    off, margin = np.abs(ratios.mean(0) - 1), _margin(ratios)
    sign = -1 if role in (STATED, REFUTED, WITHOUT, CONTROL) else 1
    at = int(np.argmax(off + sign * margin))
    return Measurement(role, what, float(off[at]), bound, float(margin[at]))


def _margin(values):
    values = np.asarray(values)
    num = len(values)
    return stats.t.ppf(1 - ALPHA / 2, num - 1) * values.std(0, ddof=1) / np.sqrt(num)
