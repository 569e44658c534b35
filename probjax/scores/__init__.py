"""Proper scores, smaller being better, and their exact decompositions."""

from probjax.scores.classes import Mean, brier, log_score, mean_and_standard_error, spherical
from probjax.scores.corp import Bootstrap, Corp, bootstrap, corp_brier, corp_log
from probjax.scores.decompositions import BinnedBrier, BinnedLogScore, brier_in_bins, log_score_in_bins
from probjax.scores.draws import (
    Coverage,
    Interval,
    central_interval,
    coverage,
    crps_from_draws,
    energy_score_from_draws,
    pit_from_draws,
    randomised_pit,
    sharpness,
)
from probjax.scores.real_line import (
    crps_laplace,
    crps_logistic,
    crps_normal,
    crps_normal_mixture,
    crps_student_t,
    interval_score,
    quantile_score,
)

__all__ = [
    "BinnedBrier",
    "BinnedLogScore",
    "Bootstrap",
    "Corp",
    "Coverage",
    "Interval",
    "Mean",
    "bootstrap",
    "brier",
    "brier_in_bins",
    "central_interval",
    "corp_brier",
    "corp_log",
    "coverage",
    "crps_from_draws",
    "crps_laplace",
    "crps_logistic",
    "crps_normal",
    "crps_normal_mixture",
    "crps_student_t",
    "energy_score_from_draws",
    "interval_score",
    "log_score",
    "log_score_in_bins",
    "mean_and_standard_error",
    "pit_from_draws",
    "quantile_score",
    "randomised_pit",
    "sharpness",
    "spherical",
]
