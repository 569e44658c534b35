"""Calibrators: maps of forecasts to better ones, fitted on held-out rows, and what they change on rows not seen."""

from probjax.recalibration.assessment import Assessment, Change, assess
from probjax.recalibration.beta import beta
from probjax.recalibration.calibrator import Calibrator, floored
from probjax.recalibration.histogram import histogram_binning
from probjax.recalibration.isotonic import isotonic
from probjax.recalibration.linear import matrix_scaling, vector_scaling
from probjax.recalibration.one_vs_rest import one_vs_rest
from probjax.recalibration.platt import platt, platt_from_margins
from probjax.recalibration.regression import (
    Levels,
    ScaleFactor,
    assess_levels,
    assess_scale,
    quantile_recalibration,
    variance_scaling,
)
from probjax.recalibration.temperature import temperature

__all__ = [
    "Assessment",
    "Calibrator",
    "Change",
    "Levels",
    "ScaleFactor",
    "assess",
    "assess_levels",
    "assess_scale",
    "beta",
    "floored",
    "histogram_binning",
    "isotonic",
    "matrix_scaling",
    "one_vs_rest",
    "platt",
    "platt_from_margins",
    "quantile_recalibration",
    "temperature",
    "variance_scaling",
    "vector_scaling",
]
