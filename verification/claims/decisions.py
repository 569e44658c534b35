"""Decisions on forecasts: which rows to leave unanswered, and sets that hold the truth with a known probability."""

from __future__ import annotations

import warnings

import numpy as np
from scipy import stats

from probjax import conformal, selective
from verification.claims.parts import BAD, GOOD, THIRD, TRUTH, gap
from verification.claims.replicated import ALPHA, average, farthest
from verification.claims.small_nets import split
from verification.claims.types import CONTROL, INSTEAD, STATED, Finding, Measurement

SAMPLES, ROWS = 800, 1000
TARGET, DELTA = 0.15, 0.1  # the risk to stay below, and the chance of not doing so
SEQUENCE = np.arange(0.98, 0.5, -0.03)  # thresholds in the order of trial; none at the target's, 0.7
SPLITS, TRAIN = 12, 200


def reject_the_unsure(rng) -> Finding:
    """p ~ U(0, 1), labels drawn from it, N rows: the confidence c = max(p, 1 − p) is uniform on (½, 1), an answer is
    wrong with probability 1 − c, so the i most confident rows have risk (i + 1)/(4(N + 1)) on average, and the area is
    1/8 + 1/(4(N + 1)), half the risk of answering always. Answering where c > t has risk (1 − t)/2.

    A threshold chosen because the risk *seen* above it is at most the target breaks it in two samples of five here;
    bounds at δ/T each (Geifman & El-Yaniv 2017), or a fixed sequence of thresholds at δ (Angelopoulos et al. 2021), do
    so with probability at most δ."""
    p = rng.uniform(size=(SAMPLES, ROWS))
    confidence = np.maximum(p, 1 - p)
    errors = rng.uniform(size=p.shape) > confidence
    areas = np.array([selective.aurc(*rows).area for rows in zip(confidence, errors)])
    law = 1 / 8 + 1 / (4 * (ROWS + 1))
    colder = [selective.aurc(_tempered(c, 0.5), e).area for c, e in zip(confidence[:10], errors)]
    broken = np.mean([_broken(*rows) for rows in zip(confidence, errors)], axis=0)
    real = {name: [_fitted_rows(rng, name) for _ in range(SPLITS)] for name in ("breast cancer", "digits")}
    order = lambda rows: rows[0]
    at_random = lambda rows: rng.uniform(size=len(rows[0]))
    half = "logistic regression, {}: area less half the risk of answering always"
    broke = "share of samples in which the true risk exceeds the target, {}"
    return Finding(
        [
            farthest(STATED, "sampled areas: mean over 1/8 + 1/(4(N + 1)), less 1", areas / law, 0.02),
            Measurement(STATED, "area at half the temperature, less that at 1", gap(colder, areas[:10]), 1e-12),
            *(average(STATED, half.format(name), _over_half(rows, order), 0.0) for name, rows in real.items()),
            _share(STATED, broke.format("thresholds bounded together"), broken[0]),
            _share(STATED, broke.format("in sequence"), broken[1]),
            average(CONTROL, "digits, rows in random order: the same", _over_half(real["digits"], at_random), 0.0),
            _share(CONTROL, broke.format("by the risk that is seen"), broken[2]),
        ],
        lambda ax: _draw_risks(ax, rng, confidence[0], errors[0], *real["digits"][0]),
    )


def _tempered(confidence, temperature):
    """Of two classes."""
    logit = np.log(confidence) - np.log1p(-confidence)
    return 1 / (1 + np.exp(-logit / temperature))


def _broken(confidence, errors):
    """Whether the true risk exceeds the target above the threshold of three ways to choose it."""
    risks = selective.selective_risks(confidence, errors, DELTA)
    seen = np.flatnonzero(risks.num_errors <= TARGET * risks.num_answered)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # nothing answered breaks no promise
        together = selective.choose_threshold(risks, TARGET).threshold
        in_turn = selective.choose_in_sequence(confidence, errors, SEQUENCE, TARGET, DELTA).threshold
    naive = risks.threshold[seen[-1]] if seen.size else np.inf
    risk = lambda t: (1 - np.maximum(t, 0.5)) / 2  # negative at +inf, where nothing is answered
    return [risk(t) > TARGET for t in (together, in_turn, naive)]


def _share(role, what, share):
    """With half its Clopper–Pearson interval, the upper one."""
    margin = selective.risk_bound(round(share * SAMPLES), SAMPLES, ALPHA / 2) - share
    return Measurement(role, what, float(share), DELTA, float(margin))


def _forecasts(rng, name):
    """A random split and the fit's probabilities at the rows to train on and to test."""
    from sklearn.linear_model import LogisticRegression

    data = split(rng, name, TRAIN)
    fit = LogisticRegression(max_iter=1000).fit(data.x, data.labels)
    return data, fit.predict_proba(data.x), fit.predict_proba(data.test_x)


def _fitted_rows(rng, name):
    """(confidence, errors) of the test rows of a split."""
    data, _, probs = _forecasts(rng, name)
    return probs.max(1), probs.argmax(1) != data.test_labels


def _over_half(splits, confidence):
    """[R]."""
    found = (selective.aurc(confidence(rows), rows[1]) for rows in splits)
    return np.array([f.area - f.mean_loss / 2 for f in found])


def _draw_risks(ax, rng, confidence, errors, digits_confidence, digits_errors):
    curve = selective.risk_coverage(confidence, errors)
    random = selective.risk_coverage(rng.uniform(size=ROWS), errors)
    digits = selective.risk_coverage(digits_confidence, digits_errors)
    shown = slice(20, None)  # the first rows' risk is 0 or 1
    ax.plot([0, 1], [0, 0.25], color=TRUTH, lw=1, label="law, p uniform: coverage/4")
    ax.plot(curve.coverage[shown], curve.risk[shown], color=GOOD, label=f"{ROWS} rows")
    ax.plot(random.coverage[shown], random.risk[shown], color=BAD, label="the same, rejected at random")
    ax.plot(digits.coverage[shown], digits.risk[shown], color=THIRD, label="logistic regression on digits")
    ax.set(xlabel="coverage", ylabel="risk: share of wrong answers", xlim=(0, 1), ylim=(0, None))
    ax.legend(frameon=False)


CALIBRATION, MISS = 95, 0.1
DRAWS = 4000
SHIFT, FAR = 1.5, 1.5


def conformal_sets(rng) -> Finding:
    """The threshold is the k-th smallest of n held-out scores, k = ⌈(n + 1)(1 − α)⌉. By symmetry alone the new score
    is among the k smallest of all n + 1 with probability k/(n + 1), in [1 − α, 1 − α + 1/(n + 1)), and the coverage
    that a threshold has follows Beta(k, n + 1 − k) (Vovk 2012), however bad the model: here it predicts 0 for y ~
    N(sin 2x, ¼ + x²). Coverage is over all rows, not at each x; other x, or scores of rows that the model was
    trained on, are not exchangeable with the new one."""
    x = rng.standard_normal((DRAWS, CALIBRATION))
    y = np.sin(2 * x) + np.sqrt(0.25 + x**2) * rng.standard_normal(x.shape)
    thresholds = np.asarray(conformal.threshold(conformal.absolute_residual(y, np.zeros_like(y)), MISS))
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    normal = lambda shift: _coverage(thresholds, nodes + shift, weights)
    covered, shifted = normal(0.0), normal(SHIFT)
    far = np.linspace(FAR, 8, 400)
    far = np.concatenate([-far, far])
    hard = _coverage(thresholds, far, stats.norm.pdf(far))
    law = conformal.coverage_law(CALIBRATION, MISS)
    p_value = stats.kstest(covered, law.cdf).pvalue
    fits = [_forecasts(rng, "digits") for _ in range(SPLITS)]
    trained = np.array([_digits_coverage(data.labels, train, data.test_labels, test) for data, train, test in fits])
    data, _, probs = fits[0]
    labels, guesses = data.test_labels, rng.dirichlet(np.ones(10), len(data.test_labels))
    one_out = "digits, each of {} rows against the others: rows covered, less k; {}"
    what = one_out.format(CALIBRATION + 1, "{}")
    new = "coverage of new rows, mean over {} calibrations"
    return Finding(
        [
            average(STATED, new.format(DRAWS), covered, 1 - MISS, at_least=True),
            average(STATED, "the same", covered, 1 - MISS + 1 / (CALIBRATION + 1)),
            Measurement(STATED, "its law against Beta(k, n + 1 − k): p-value", p_value, 1e-6, at_least=True),
            Measurement(STATED, what.format("logistic regression"), _one_out(probs, labels), 0.0),
            Measurement(STATED, what.format("random forecasts"), _one_out(guesses, labels), 0.0),
            average(INSTEAD, f"coverage of the rows with |x| > {FAR}", hard, 1 - MISS - 0.1),
            average(CONTROL, f"x shifted by {SHIFT}", shifted, 1 - MISS, at_least=True),
            average(CONTROL, "digits, scores of the rows trained on", trained, 1 - MISS, at_least=True),
        ],
        lambda ax: _draw_coverage(ax, covered, shifted, law),
    )


def _coverage(thresholds, x, weights):
    """P(|y| ≤ threshold) for x at these nodes, [R]."""
    loc, scale, t = np.sin(2 * x), np.sqrt(0.25 + x**2), thresholds[:, None]
    return (stats.norm.cdf((t - loc) / scale) - stats.norm.cdf((-t - loc) / scale)) @ (weights / weights.sum())


def _one_out(probs, labels):
    """|number covered − k|."""
    scores = np.asarray(conformal.at_label(conformal.lac_scores(probs), labels))[: CALIBRATION + 1]
    others = np.stack([np.delete(scores, row) for row in range(CALIBRATION + 1)])
    covered = np.sum(scores <= np.asarray(conformal.threshold(others, MISS)))
    return float(abs(covered - conformal.rank(CALIBRATION, MISS)))


def _digits_coverage(labels, probs, new_labels, new_probs):
    score = lambda probs, labels: conformal.at_label(conformal.lac_scores(probs), labels)
    return float(np.mean(score(new_probs, new_labels) <= conformal.threshold(score(probs, labels), MISS)))


def _draw_coverage(ax, covered, shifted, law):
    grid = np.linspace(0.4, 1, 400)
    bins = np.linspace(0.4, 1, 61)
    ax.hist(covered, bins, density=True, color=GOOD, alpha=0.7, label="rows as those of the calibration")
    ax.hist(shifted, bins, density=True, color=BAD, alpha=0.7, label=f"x shifted by {SHIFT}")
    ax.plot(grid, law.pdf(grid), color=TRUTH, label="Beta(k, n + 1 − k)")
    ax.axvline(1 - MISS, color=TRUTH, lw=1, ls=":")
    ax.set(xlabel=f"coverage that one calibration of {CALIBRATION} rows has; aim {1 - MISS}", ylabel="density")
    ax.legend(frameon=False, loc="upper left")
