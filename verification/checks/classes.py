"""Predicted classes: the probabilities of the posterior predictive, and the decisions they lead to."""

from __future__ import annotations

import numpy as np

from verification.checks.check import Estimate, standard_error, sum_of_absolutes

CLEAR = 0.05  # by which the exact probability of the likeliest class exceeds the next: else the decision is a toss-up


def total_variation(s, reference, unit):
    """½ Σₖ |p̄ₖ − pₖ| at each input, p̄ the mean over draws (and replications) of the class probabilities: the largest
    difference in the probability of any set of classes. A single draw can be judged too."""
    if not reference.classes:
        return "no classes are predicted"
    errors, margins, names = [], [], []
    for group in reference.classes:
        columns = list(group)
        gaps = s.mean[:, columns] - reference.mean[columns]
        found = sum_of_absolutes(gaps, np.full(len(columns), 0.5 if len(columns) > 1 else 1.0))
        errors.append(found[0])
        margins.append(found[1])
        names.append(reference.names[columns[0]])
    return Estimate(tuple(names), np.array(errors), np.array(margins))


def agreement(s, reference, unit):
    """The share of inputs at which a replication's likeliest class is the exact one, less 1 (Izmailov et al. 2021);
    inputs where the exact decision is a toss-up are left out."""
    if not reference.classes:
        return "no classes are predicted"
    same = []
    for group in reference.classes:
        exact, found = (_all_classes(mean[..., list(group)]) for mean in (reference.mean, s.mean))
        first, second = np.sort(exact)[::-1][:2]
        if first - second > CLEAR:
            same.append(found.argmax(-1) == exact.argmax())
    if not same:
        return "every exact decision is a toss-up"
    share = np.mean(same, axis=0)
    return Estimate(("decisions",), np.array([share.mean() - 1]), np.array([standard_error(share)]))


def _all_classes(probabilities):
    """[..., K]; the probability of one of two classes gets the other beside it."""
    if probabilities.shape[-1] > 1:
        return probabilities
    return np.concatenate([1 - probabilities, probabilities], axis=-1)
