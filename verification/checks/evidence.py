"""What a method says of the evidence, against the exact one."""

from __future__ import annotations

import numpy as np

from verification.checks.check import Estimate, standard_error


def log_evidence(s, reference, unit):
    """`info["log_evidence"]` less the exact log p(data), nats."""
    return _against(s.log_evidence, reference, "log_evidence")


def elbo(s, reference, unit):
    """`info["elbo"]` less the exact log p(data), nats: E_q[log p(data, params) − log q] = log p(data) − KL(q‖p) is no
    more than it (Jordan et al. 1999), so above 0 beyond the margin is a wrong program and below 0 is none."""
    return _against(s.elbo, reference, "elbo")


def _against(values, reference, name):
    if reference.log_evidence is None:
        return "no claim about the evidence"
    if values is None:
        return f"the method says no {name}"
    values = np.asarray(values, float)
    if not np.isfinite(values).all():
        return Estimate((name,), np.array([np.nan]), np.array([np.nan]))
    return Estimate((name,), np.array([values.mean() - reference.log_evidence]), np.array([standard_error(values)]))
