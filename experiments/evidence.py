"""What does the evidence choose, and how well is it approximated? `python -m experiments.evidence`

TODO
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import output
from probjax import (
    Data, Model, empirical_bayes, full_rank, laplace, likelihoods, linear, log_evidence, mean_field, over_leading_axis, priors,
)  # fmt: skip
from probjax import regularisers
from verification.exact import network as exact_network
from verification.exact.quadrature import mode_and_factor, tensor_grid
from verification.problems.network import NOISE, SCALES, one_unit_data

SEED = 0
DEGREES = range(9)
NUM_ROWS, NUM_NEW, SD = 20, 2000, 0.3  # of the cubic
NUM_SETS, SIZES = 8, (10, 20, 40, 80, 160, 320)  # of the logistic regressions
SLOPES = np.array([1.5, -1.0])  # of their inputs; the prior is N(0, 2²)
NODES = 81  # a dimension, of the quadrature


class Polynomial(NamedTuple):
    """Of one degree. evidence: log p(y), τ = 1; likelihood: its maximum; train, test: RMSE of least squares; best:
    τ of most evidence, most: that evidence, test_best: RMSE of the posterior mean under it."""

    evidence: float
    laplace: float
    likelihood: float
    train: float
    test: float
    penalty: float
    most: float
    test_best: float


def design(x: np.ndarray) -> np.ndarray:
    """Legendre polynomials of degree 0 to 8, each of mean square 1 on [−1, 1]."""
    return np.polynomial.legendre.legvander(x, max(DEGREES)) * np.sqrt(2 * np.arange(max(DEGREES) + 1) + 1)


def cubic(key: jax.Array, num_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """x uniform on [−1, 1]; y = 1 − x + 3x³ − … with noise"""
