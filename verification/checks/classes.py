"""Predicted classes: the probabilities of the posterior predictive, and the decisions they lead to."""

from __future__ import annotations

import numpy as np
from scipy import stats

from verification.checks.check import ALPHA, Estimate, standard_error, sum_of_absolutes

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
    inputs where the exact decision is a toss-up are left out.

    That no replication decided otherwise does not say that none would: the margin reaches at least up to the share of
    other decisions that the spread of their probabilities leaves possible (`flips_at_most`).
    """
    if not reference.classes:
        return "no classes are predicted"
    leads = []
    for group in reference.classes:
        exact, found = (_all_classes(mean[..., list(group)]) for mean in (reference.mean, s.mean))
        first, second = np.sort(exact)[::-1][:2]
        if first - second > CLEAR:
            others = np.delete(found, exact.argmax(), axis=-1)
            leads.append(found[..., exact.argmax()] - others.max(-1))
    if not leads:
        return "every exact decision is a toss-up"
    leads = np.array(leads)
    share, t = np.mean(leads > 0, axis=0), stats.t.ppf(1 - ALPHA / 2, leads.shape[1] - 1)
    possible = flips_at_most(leads) - (1 - share.mean())
    return Estimate(("decisions",), np.array([share.mean() - 1]), np.array([max(standard_error(share), possible / t)]))


def flips_at_most(leads):
    """An upper 1 − α bound of P(lead ≤ 0), on average over inputs, for leads that are normal over replications:
    Φ(−m/s), with the lower bound m of the mean by Student's t and the upper one s of the sd by χ², α/4 each.

    Args:
        leads: [N, R], by how much the exact class leads the others in each replication's probabilities.
    """
    dof = leads.shape[1] - 1
    mean, sd = leads.mean(1), leads.std(1, ddof=1)
    low = mean - stats.t.ppf(1 - ALPHA / 4, dof) * sd / np.sqrt(dof + 1)
    high = sd * np.sqrt(dof / stats.chi2.ppf(ALPHA / 4, dof))
    # all leads alike: they are what they are
    ratio = np.where(sd > 0, low / np.where(sd > 0, high, 1.0), np.where(mean > 0, np.inf, -np.inf))
    return float(stats.norm.cdf(-ratio).mean())


def _all_classes(probabilities):
    """[..., K]; the probability of one of two classes gets the other beside it."""
    if probabilities.shape[-1] > 1:
        return probabilities
    return np.concatenate([1 - probabilities, probabilities], axis=-1)
