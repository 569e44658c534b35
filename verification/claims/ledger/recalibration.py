"""Recalibration and smoothed labels: what a temperature, a sigmoid, steps and ε change."""

from verification.claims import recalibration, retempering, smoothing, support_vectors
from verification.claims.types import FALSE, HOLDS, HOLDS_IF, Claim

CLAIMS = (
    Claim(
        "C3",
        "Temperature scaling has one parameter and changes neither ranking nor accuracy.",
        "Accuracy always stays. The order of rows by confidence stays for two classes only. The loss is convex in 1/T; "
        "its optimum is finite exactly if some row is wrong and the mean of z_y − z̄ is positive.",
        FALSE,
        recalibration.temperature_scaling,
    ),
    Claim(
        "C4",
        "Platt scaling suits systematic, monotone miscalibration.",
        "Where the true log-odds are an affine map of the forecast's: n · KL then averages about 1. Of another "
        "ascending distortion a part stays for ever, which isotonic steps take away.",
        HOLDS_IF,
        recalibration.platts_sigmoid,
    ),
    Claim(
        "C5",
        "Isotonic calibration is flexible, and overfits small sets.",
        "It follows any ascending map, and makes a calibrated forecast worse where rows are few. Its log loss on new "
        "rows is infinite even where they are many: both ends are forecast as 0 and 1.",
        HOLDS,
        recalibration.isotonic_overfits,
    ),
    Claim(
        "C10",
        "Label smoothing is cross-entropy against (1 − ε) onehot + ε/K.",
        "It is the loss averaged over labels redrawn with probability ε; with ε/(K − 1) on the others it is the same "
        "at εK/(K − 1).",
        HOLDS,
        smoothing.against_a_mixture,
    ),
    Claim(
        "C11",
        "Label smoothing adds the KL divergence from the model to the uniform distribution, KL(p ‖ u).",
        "It adds ε (log K + KL(u ‖ p)) to (1 − ε) times the loss. KL(p ‖ u) is the confidence penalty: never above "
        "log K, and with K = 10, ε = 0.1 at rest at twice the margin.",
        FALSE,
        smoothing.which_divergence,
    ),
    Claim(
        "C12",
        "Label smoothing keeps logits finite.",
        "Free logits rest at the margin log(((1 − ε)K + ε)/ε). Those of a linear model are finite too, but far rows "
        "lie far beyond that margin.",
        HOLDS,
        smoothing.finite_logits,
    ),
    Claim(
        "C13",
        "Label smoothing hurts calibration unless the model is re-tempered.",
        "If the model was calibrated without, or over-confident by less than half of what ε takes from the mean "
        "confidence, ε(E max p − 1/K) where it is flexible. One more over-confident becomes better. A temperature "
        "mends the mean; the mixture itself it does not undo.",
        HOLDS_IF,
        retempering.confidence_of_smoothed,
    ),
    Claim(
        "C20",
        "An SVM's predict_proba shows an uncalibrated classifier.",
        "SVC(probability=True) fits Platt's sigmoid to cross-validated margins inside: another sigmoid gains nothing. "
        "Raw margins taken for log-odds are what is uncalibrated.",
        FALSE,
        support_vectors.uncalibrated_machine,
    ),
)
