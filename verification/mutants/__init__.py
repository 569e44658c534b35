"""Seeded bugs that the suite must catch: in draws, in models, in references, in the checks themselves,
in Markov kernels and in what simulation-based calibration sees."""

from verification.mutants.calibrations import CALIBRATION_MUTANTS
from verification.mutants.checks import CHECK_MUTANTS
from verification.mutants.draws import DRAW_MUTANTS
from verification.mutants.kernels import KERNEL_MUTANTS
from verification.mutants.models import MODEL_MUTANTS
from verification.mutants.references import REFERENCE_MUTANTS

ROOMS = {
    "draws": DRAW_MUTANTS,
    "model": MODEL_MUTANTS,
    "reference": REFERENCE_MUTANTS,
    "check": CHECK_MUTANTS,
    "kernel": KERNEL_MUTANTS,
    "calibration": CALIBRATION_MUTANTS,
}
