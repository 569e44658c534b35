"""Answering only where confident: risk against coverage, its area, and risks that are guaranteed.

A row is answered when its confidence is high enough; coverage is the share answered, risk the mean loss of those. These
functions sort in NumPy and are not traceable.
"""

from probjax.selective.curve import Aurc, RiskCoverage, aurc, risk_coverage
from probjax.selective.guarantee import (
    Selection,
    SelectiveRisks,
    choose_in_sequence,
    choose_threshold,
    risk_bound,
    selective_risks,
)

__all__ = [
    "Aurc",
    "RiskCoverage",
    "Selection",
    "SelectiveRisks",
    "aurc",
    "choose_in_sequence",
    "choose_threshold",
    "risk_bound",
    "risk_coverage",
    "selective_risks",
]
