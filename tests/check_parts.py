"""What the tests of checks share: the checks by name, and a standard normal in two dimensions as an exact answer."""

import numpy as np

from verification.checks import CHECKS
from verification.exact.reference import Certificate, gaussian_reference

NORMAL = gaussian_reference(("a", "b"), np.zeros(2), np.eye(2), log_evidence=-3.0)._replace(
    certificate=Certificate(0.0, "", "", 0.0)
)
BY_NAME = {c.name: c for c in CHECKS}
