"""What a check is: a named comparison with a tolerance, and the estimate it makes."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import stats

from verification.checks.summaries import Summaries
from verification.exact.reference import Reference

ALPHA = 1e-3  # a look, two-sided
NOISES = 20_000  # simulated, for the margin of a sum of absolute errors


class Estimate(NamedTuple):
    """errors and standard errors over R replications, by query name."""

    names: tuple[str, ...]
    error: np.ndarray
    standard_error: np.ndarray


class Check(NamedTuple):
    """A named comparison. estimate: (summaries, reference, unit sd) -> Estimate, or a string: why it does not apply.

    tolerance: {"default": …, "full": …}, fixed by the table of the design, in the check's units.
    reference_error: the exact answer's own error, in those units.
    one_sided: only an error above 0 is a fault, as where a bound is exceeded.
    closeness: how near a theorem's number has to be met; None: `tolerance`.
    """

    name: str
    tolerance: dict[str, float]
    units: str
    estimate: Callable[[Summaries, Reference, np.ndarray], Estimate | str]
    reference_error: Callable[[Reference], float] = lambda reference: reference.certificate.error
    one_sided: bool = False
    closeness: float | None = None

    def size(self, error: np.ndarray) -> np.ndarray:
        """How large a fault each error is."""
        return np.asarray(error) if self.one_sided else np.abs(error)


def standard_error(values: np.ndarray) -> np.ndarray:
    """Of the mean over axis 0, the replications."""
    return values.std(0, ddof=1) / np.sqrt(len(values))


def sum_of_absolutes(errors: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """T = Σ_l w_l |ē_l|, ē the mean over replications [R, L], and a standard error for it.

    Noise pushes T upwards, but |T − W| ≤ Σ_l w_l |ε_l| for the truth W and the noise ε of ē (the triangle inequality).
    So the margin is the 1 − α quantile of that bound under ε ~ t₍R₋₁₎(0, Σ̂/R), Σ̂ the covariance of the errors over
    replications: simulated with fixed noise. The standard error is that margin over t₍R₋₁₎(1 − α/2), so that the
    judge's margin is the one meant; of a single term it is the usual one.
    """
    dof = len(errors) - 1
    gap = float(np.abs(errors.mean(0)) @ weights)
    if errors.shape[1] == 1:
        return gap, float(weights[0] * standard_error(errors)[0])
    values, vectors = np.linalg.eigh(np.cov(errors.T) / len(errors))
    root = vectors * np.sqrt(np.clip(values, 0, None))
    margin = np.quantile(np.abs(_noise(errors.shape[1], dof) @ root.T) @ weights, 1 - ALPHA)
    return gap, float(margin / stats.t.ppf(1 - ALPHA / 2, dof))


@lru_cache(maxsize=16)
def _noise(size, dof):
    """[NOISES, size], multivariate Student's t."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((NOISES, size)) / np.sqrt(rng.chisquare(dof, NOISES) / dof)[:, None]
