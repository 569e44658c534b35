"""Scores and calibration: what is measured, and what of it is true."""

from verification.claims import calibration, decompositions, scores
from verification.claims.types import FALSE, HOLDS, HOLDS_IF, Claim

CLAIMS = (
    Claim(
        "C1",
        "A forecast is calibrated when what it gives chance p occurs with frequency p.",
        "So does any average of the true chances, which may know little: calibration is not skill. A diagram then lies "
        "in its band as often as that says, and a Monte-Carlo test has its size exactly.",
        HOLDS,
        calibration.frequencies_are_forecasts,
    ),
    Claim(
        "C6",
        "The Brier score is calibration − resolution + uncertainty.",
        "Where each bin holds one value of p. Else the variance of p within bins and twice its covariance with y are "
        "missing; bins [a, b) drop p = 1 besides, most of the 0.0027 by which the usual listing misses its own score.",
        FALSE,
        decompositions.three_terms,
    ),
    Claim(
        "C7",
        "The Brier score is 0 if perfect, 0.25 at ½ and bounded; the log score is not bounded.",
        "At p = 0.99 and y = 0: 0.9801 against log 100 = 4.605. Summed over two classes the first is doubled, and for "
        "rare events ¼ is no bar: the base rate 0.01 scores 0.0099.",
        HOLDS,
        scores.ends,
    ),
    Claim(
        "C8",
        "Log loss and the Brier score are proper.",
        "Strictly: another forecast costs KL(p ‖ q) or ‖p − q‖² more. So is the spherical score. The linear score is "
        "not, nor is binned calibration error: the base rate has none, true chances have some.",
        HOLDS,
        scores.proper,
    ),
    Claim(
        "C9",
        "Binned calibration error measures miscalibration.",
        "With many rows in bins that are narrow beside the calibration curve. With few, calibrated forecasts show "
        "the binomials' mean deviation, Σ (n_b/N) √(2/π · p̄_b(1 − p̄_b)/n_b) where both labels are many; subtracting it "
        "over-corrects others. The square debiased by pairs of rows has no bias; "
        "what changes sign within bins is not seen.",
        HOLDS_IF,
        calibration.binned_error,
    ),
    Claim(
        "C19",
        "The Brier and the log score both decompose into calibration, discrimination and uncertainty.",
        "Exactly, by the best increasing function of the forecast, one for both; the log score's discrimination is a "
        "mean KL. In bins a term within them belongs to it.",
        HOLDS,
        decompositions.both_scores,
    ),
)
