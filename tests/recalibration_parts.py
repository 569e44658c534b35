"""Rows that tests of calibrators are fitted on."""

import numpy as np
from scipy.special import expit, log_softmax

NUM_DATA, NUM_CLASSES = 400, 4


def drawn(rng, probs):
    """One label a row."""
    return (probs.cumsum(1) < rng.uniform(size=(len(probs), 1))).sum(1)


def class_rows():
    """(logits [N, K], labels): logits twice too large, one class too popular."""
    rng = np.random.default_rng(1)
    logits = 3 * rng.standard_normal((NUM_DATA, NUM_CLASSES))
    return logits, drawn(rng, np.exp(log_softmax(logits / 2 + np.array([0.5, 0, 0, 0]), axis=1)))


def binary_rows():
    """(log-odds [N], labels)."""
    rng = np.random.default_rng(2)
    f = 2 * rng.standard_normal(NUM_DATA)
    return f, (rng.uniform(size=NUM_DATA) < expit(0.5 * f - 0.4)).astype(int)
