"""How well probabilities say how often: errors, tests and diagrams of calibration, for classes and for numbers."""

from probjax.calibration.bins import Bins, bin_forecasts, bin_index, bin_sums, equal_mass_edges, equal_width_edges
from probjax.calibration.classes import ClasswiseError, classwise_error, top_label, top_label_error
from probjax.calibration.errors import CalibrationError, calibration_error, debiased_squared_error, null_value
from probjax.calibration.kernel import KernelError, kernel_calibration_error, kernel_pairs, kernel_sums, median_distance
from probjax.calibration.regression import RegressionCalibration, regression_calibration
from probjax.calibration.reliability import (
    CorpCurve,
    ReliabilityDiagram,
    clopper_pearson,
    corp_curve,
    reliability_diagram,
)
from probjax.calibration.smooth import CalibrationIndex, integrated_calibration_index
from probjax.calibration.testing import CalibrationTest, calibration_test, monte_carlo_p_value

__all__ = [
    "Bins",
    "CalibrationError",
    "CalibrationIndex",
    "CalibrationTest",
    "ClasswiseError",
    "CorpCurve",
    "KernelError",
    "RegressionCalibration",
    "ReliabilityDiagram",
    "bin_forecasts",
    "bin_index",
    "bin_sums",
    "calibration_error",
    "calibration_test",
    "classwise_error",
    "clopper_pearson",
    "corp_curve",
    "debiased_squared_error",
    "equal_mass_edges",
    "equal_width_edges",
    "integrated_calibration_index",
    "kernel_calibration_error",
    "kernel_pairs",
    "kernel_sums",
    "median_distance",
    "monte_carlo_p_value",
    "null_value",
    "regression_calibration",
    "reliability_diagram",
    "top_label",
    "top_label_error",
]
