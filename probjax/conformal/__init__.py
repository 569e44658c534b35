"""Sets and intervals that cover with a chosen probability, whatever the model: conformal prediction."""

from probjax.conformal.classes import aps_scores, at_label, lac_scores, prediction_set, raps_scores
from probjax.conformal.intervals import (
    Interval,
    absolute_residual,
    covered,
    interval,
    quantile_residual,
    scaled_residual,
    widened,
)
from probjax.conformal.resampling import cv_plus, jackknife_plus
from probjax.conformal.thresholds import coverage_law, group_thresholds, rank, threshold

__all__ = [
    "Interval",
    "absolute_residual",
    "aps_scores",
    "at_label",
    "coverage_law",
    "covered",
    "cv_plus",
    "group_thresholds",
    "interval",
    "jackknife_plus",
    "lac_scores",
    "prediction_set",
    "quantile_residual",
    "rank",
    "raps_scores",
    "scaled_residual",
    "threshold",
    "widened",
]
