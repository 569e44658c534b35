"""What a check is: a named comparison with a tolerance, and the estimate it makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from verification.checks.summaries import Summaries
from verification.exact.reference import Reference

ALPHA = 1e-3  # a look, two-sided


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
    """

    name: str
    tolerance: dict[str, float]
    units: str
    estimate: Callable[[Summaries, Reference, np.ndarray], Estimate | str]
    reference_error: Callable[[Reference], float] = lambda reference: reference.certificate.error
    one_sided: bool = False

    def size(self, error: np.ndarray) -> np.ndarray:
        """How large a fault each error is."""
        return np.asarray(error) if self.one_sided else np.abs(error)


def standard_error(values: np.ndarray) -> np.ndarray:
    """Of the mean over axis 0, the replications."""
    return values.std(0, ddof=1) / np.sqrt(len(values))
