"""Scores as sums of terms: of bins, and of the best increasing function of the forecast."""

from __future__ import annotations

import numpy as np
from scipy import special, stats
from scipy.optimize import isotonic_regression
from sklearn.isotonic import IsotonicRegression

from probjax.scores import brier, brier_in_bins, corp_brier, corp_log, log_score, log_score_in_bins
from verification.claims.parts import BAD, GOOD, THIRD, TRUTH, gap
from verification.claims.types import CONTROL, INSTEAD, REFUTED, STATED, Finding, Measurement

EXACT = 1e-12
PRINTED = {  # by the usual decomposition of a forest's forecasts, ten bins
    "calibration": 0.014631243933918077,
    "resolution": 0.1860806041481298,
    "uncertainty": 0.24979135802469135,
    "sum": 0.07834199781047962,
    "brier": 0.07564044444444445,
}


def listed_forest():
    """Forecasts of 100 trees and labels, [900] each: the test rows whose decomposition is `PRINTED`."""
    from sklearn.datasets import make_classification
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import train_test_split

    x, y = make_classification(3000, n_features=20, n_informative=10, n_redundant=2, random_state=42)
    x, test_x, y, test_y = train_test_split(x, y, test_size=0.3, random_state=42)
    forest = RandomForestClassifier(n_estimators=100, random_state=42).fit(x, y)
    return forest.predict_proba(test_x)[:, 1], test_y


def three_terms(rng) -> Finding:
    """Σ w_b (p̄_b − ȳ_b)² − Σ w_b (ȳ_b − ȳ)² + ȳ(1 − ȳ) (Murphy 1973) is the score where a bin is one value of p; else
    it lacks Σ w_b Var_b[p] − 2 Σ w_b Cov_b[p, y] (Stephenson, Coelho & Jolliffe 2008)."""
    p, y = listed_forest()
    score, dropped, kept = float(np.mean((p - y) ** 2)), _three_terms(p, y, 10, False), _three_terms(p, y, 10, True)
    terms = brier_in_bins(p, y, np.linspace(0, 1, 11))
    values = np.concatenate([[0], (np.arange(100) + 0.5) / 100, [1]])  # of 100 trees: 101 forecasts, a bin each
    apart = brier_in_bins(p, y, values)
    logits = 2 * rng.standard_normal(len(p))
    any_value, events = special.expit(1.5 * logits), (rng.uniform(size=len(p)) < special.expit(logits)).astype(int)
    of_any, true = brier_in_bins(any_value, events, np.linspace(0, 1, 11)), float(np.mean((any_value - events) ** 2))
    without_ones = dropped + float(terms.within_bin_variance - 2 * terms.within_bin_covariance)
    covariance_once = _five(of_any) + float(of_any.within_bin_covariance)
    share, ones = (dropped - kept) / (dropped - score), int(np.sum(p == 1))
    off = lambda role, what, value, true: Measurement(role, what, abs(value - true), EXACT)
    in_no_bin = f"share of its error that its {ones} rows of p = 1 make, which are in no bin"
    return Finding(
        [
            off(REFUTED, "a listing's printed sum of three less its printed score", PRINTED["sum"], PRINTED["brier"]),
            off(REFUTED, "its three terms, p = 1 kept, less the score", kept, score),
            off(REFUTED, "three terms in ten bins less the score, forecasts of any value", _three(of_any), true),
            off(INSTEAD, "the listing rebuilt: its sum less what it printed", dropped, PRINTED["sum"]),
            Measurement(INSTEAD, in_no_bin, share, 0.5, at_least=True),
            off(INSTEAD, "five terms in ten bins less the score, the listing's forest", _five(terms), score),
            off(INSTEAD, "five terms in ten bins less the score, forecasts of any value", _five(of_any), true),
            off(INSTEAD, "three terms less the score, a bin for each value of p", _three(apart), score),
            off(CONTROL, "five terms, p = 1 in no bin, less the score", without_ones, score),
            off(CONTROL, "five terms, the covariance once, less the score", covariance_once, true),
        ],
        lambda ax: _draw_three(ax, p, y, score),
    )


def _three_terms(p, y, num_bins, closed):
    """As listings have it: bins [a, b), the last closed or not."""
    place = np.searchsorted(np.linspace(0, 1, num_bins + 1)[1:-1], p, side="right")
    count, forecasts, events = (
        np.bincount(place, weights * (closed | (p < 1)), num_bins) for weights in (np.ones(len(p)), p, y)
    )
    held = count > 0
    share, mean, rate = count[held] / len(p), forecasts[held] / count[held], events[held] / count[held]
    return float(share @ (mean - rate) ** 2 - share @ (rate - y.mean()) ** 2 + y.mean() * (1 - y.mean()))


def _three(terms):
    return float(terms.reliability - terms.resolution + terms.uncertainty)


def _five(terms):
    return _three(terms) + float(terms.within_bin_variance - 2 * terms.within_bin_covariance)


def _draw_three(ax, p, y, score):
    bins = np.arange(2, 61)
    for closed, colour, label in ((False, BAD, "three terms, p = 1 in no bin"), (True, THIRD, "three terms")):
        ax.plot(bins, [_three_terms(p, y, b, closed) for b in bins], color=colour, label=label)
    ax.plot([10], [PRINTED["sum"]], "o", color=BAD, label="printed")
    ax.axhline(score, color=TRUTH, lw=1, label="score, and the five terms")
    ax.set(xlabel="bins of equal width", ylabel="Brier score of a forest")
    ax.legend(frameon=False)


ROWS = 600


def both_scores(rng) -> Finding:
    """S̄(p) = [S̄(p) − S̄(c)] − [S̄(ȳ) − S̄(c)] + S̄(ȳ), c the best increasing function of p, for both scores one and the
    same (Dimitriadis, Gneiting & Jordan 2021): no bracket is negative, and the second is Σ (c − ȳ)²/N, or mean
    KL(c ‖ ȳ). In bins the log score has KL terms and the mean of log(p̄_b(y)/p(y)) besides."""
    chance = special.expit(1.5 * rng.standard_normal(ROWS))
    p, y = _bolder(np.column_stack([1 - chance, chance]))[:, 1], (rng.uniform(size=ROWS) < chance).astype(int)
    of_three = special.softmax(1.5 * rng.standard_normal((ROWS, 3)), axis=1)
    three = _bolder(of_three), (rng.uniform(size=(ROWS, 1)) > of_three.cumsum(1)[:, :2]).sum(1)
    of_brier, of_log, scored = corp_brier(p, y), corp_log(p, y), ((brier, corp_brier), (log_score, corp_log))
    missing = [abs(_total(corp(*data)) - np.mean(own(*data))) for data in ((p, y), three) for own, corp in scored]
    terms = np.array([corp(*data)[1:] for data in ((p, y), three) for _, corp in scored])
    c, rate = IsotonicRegression(y_min=0, y_max=1).fit_transform(p, y), y.mean()
    kl = special.rel_entr(c, rate) + special.rel_entr(1 - c, 1 - rate)
    bins = log_score_in_bins(p, y)
    binned = float(bins.reliability - bins.resolution + bins.uncertainty)
    off = lambda role, what, value, true: Measurement(role, what, gap(value, true), EXACT)
    entropy = stats.bernoulli(rate).entropy()
    return Finding(
        [
            Measurement(
                STATED, "scores less their three terms, 2 scores of 2 and 3 classes, largest", max(missing), EXACT
            ),
            Measurement(STATED, "least of all these terms", float(terms.min()), 0.0, at_least=True),
            Measurement(
                STATED, "what other increasing functions cost more than c", _others(rng, p, y, c), 0.0, at_least=True
            ),
            off(STATED, "Brier: discrimination less mean (c − ȳ)²", of_brier.discrimination, np.mean((c - rate) ** 2)),
            off(STATED, "log: discrimination less mean KL(c ‖ ȳ)", of_log.discrimination, np.mean(kl)),
            off(STATED, "log: uncertainty less the entropy of ȳ", of_log.uncertainty, entropy),
            off(STATED, "log score less its four terms in ten bins", binned + float(bins.within_bin), bins.score),
            off(CONTROL, "the same without the term within bins", binned, bins.score),
            off(CONTROL, "Brier: discrimination less mean KL(c ‖ ȳ)", of_brier.discrimination, np.mean(kl)),
        ],
        lambda ax: _draw_terms(ax, {"Brier": of_brier, "log": of_log}),
    )


def _bolder(probs):
    bold = probs**1.6
    return bold / bold.sum(1, keepdims=True)


def _total(terms):
    return float(terms.miscalibration - terms.discrimination + terms.uncertainty)


def _others(rng, p, y, c):
    """The least of both scores of other increasing functions of p, less those of c."""
    order = np.argsort(p)
    c, y, found = c[order], y[order], []
    for size in np.geomspace(1e-3, 1, 300):
        q = isotonic_regression(np.clip(c + size * rng.standard_normal(len(c)), 0, 1)).x
        for score in (lambda q: (q - y) ** 2, lambda q: -special.xlogy(y, q) - special.xlogy(1 - y, 1 - q)):
            found.append(np.mean(score(q)) - np.mean(score(c)))
    return float(min(found))


def _draw_terms(ax, corp):
    for row, terms in enumerate(corp.values()):
        left = terms.uncertainty - terms.discrimination
        bars = (
            (0.25, 0, terms.uncertainty, TRUTH, "uncertainty"),
            (0.0, left, terms.discrimination, GOOD, "− discrimination"),
            (-0.25, left, terms.miscalibration, BAD, "+ miscalibration"),
        )
        for place, start, width, colour, label in bars:
            ax.barh(row + place, width, 0.2, left=start, color=colour, label=label if row == 0 else None)
        ax.plot([terms.score] * 2, [row - 0.4, row + 0.4], "--", color=THIRD, label="= score" if row == 0 else None)
    names = [f"{name} score" for name in corp]
    ax.set(yticks=range(len(corp)), yticklabels=names, xlabel="mean per row (log score: nats)")
    ax.legend(frameon=False)
