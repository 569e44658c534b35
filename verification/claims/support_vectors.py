"""Whether the probabilities of a support vector machine are raw."""

from __future__ import annotations

import warnings

import jax.numpy as jnp
import numpy as np
from scipy import special
from sklearn.datasets import make_classification
from sklearn.model_selection import cross_val_predict, train_test_split
from sklearn.svm import SVC

from probjax.forecasts import from_logits, from_probs
from probjax.recalibration import platt, platt_from_margins
from probjax.scores import brier, log_score
from verification.claims.parts import BAD, GOOD, TRUTH, gap
from verification.claims.replicated import average
from verification.claims.types import CONTROL, INSTEAD, REFUTED, Finding, Measurement

LISTED = {"log_loss": 0.1605178825352052, "brier": 0.04194653980772796}  # of the "SVM (uncalibrated)"
SPLITS, ROWS = 16, 600  # of each split: rows to learn from, to recalibrate on, and to judge by


def uncalibrated_machine(rng) -> Finding:
    """A margin f of `SVC` is no log-odds. With `probability=True` libsvm fits σ(−Af + B) to margins of five-fold
    cross-validation: Platt's calibration (Platt 1999; Lin, Lin & Weng 2007). Two classes then go through the coupling
    of many (Wu, Lin & Weng 2004), an iteration that stops within 0.005 of the sigmoid. scikit-learn 1.9 deprecates
    `probability` in favour of `CalibratedClassifierCV(SVC(), ensemble=False)`, which says what it does."""
    x, y = make_classification(n_samples=3000, n_features=20, n_informative=10, random_state=42)
    train, test, labels, new = train_test_split(x, y, test_size=0.3, random_state=42)
    machine = _with_probabilities(train, labels, 42)
    margins, probs = machine.decision_function(test), machine.predict_proba(test)[:, 1]
    listed = gap(_scores(probs, new), list(LISTED.values()))
    slope, shift = _inside(machine)
    inside = special.expit(shift - slope * margins)
    gains = np.array([_gains(x, y, rng.permutation(len(y)), int(rng.integers(2**31))) for _ in range(SPLITS)])

    def draw(ax):
        f = np.linspace(-2.5, 2.8, 200)
        edges = np.quantile(margins, np.linspace(0, 1, 16))
        bins = np.clip(np.searchsorted(edges, margins, side="right") - 1, 0, 14)
        mean = lambda v: np.bincount(bins, v) / np.bincount(bins)
        ax.plot(mean(margins), mean(new), "o", color=TRUTH, label="share of class 1, 60 rows each")
        ax.plot(f, special.expit(shift - slope * f), color=GOOD, label="σ(−Af + B), what predict_proba gives")
        ax.plot(f, special.expit(f), "--", color=BAD, label="σ of the raw margin")
        ax.set(xlabel="margin f, decision_function", ylabel="probability of class 1")
        ax.legend(frameon=False)

    gained = "nats a new row that Platt's sigmoid gains on {}"
    return Finding(
        [
            average(REFUTED, gained.format("predict_proba"), gains[:, 0], 0.02, at_least=True),
            average(INSTEAD, gained.format("σ of the raw margins"), gains[:, 1], 0.02, at_least=True),
            Measurement(INSTEAD, "predict_proba less σ(−Af + B), A and B from inside", gap(inside, probs), 0.005),
            average(
                INSTEAD, "log loss of predict_proba above that of Platt on own cross-validation", gains[:, 2], 0.03
            ),
            Measurement(INSTEAD, "printed log loss and Brier score of the “uncalibrated” one", listed, 1e-6),
            Measurement(CONTROL, "predict_proba less σ of the raw margins", gap(special.expit(margins), probs), 0.005),
        ],
        draw,
    )


def _with_probabilities(x, y, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated, and what the claim is about
        return SVC(probability=True, random_state=seed).fit(x, y)


def _inside(machine):
    """A and B of the sigmoid."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return machine.probA_[0], machine.probB_[0]


def _scores(probs, labels):
    """Mean log score, nats, and Brier score."""
    return [float(jnp.mean(score(probs, labels))) for score in (log_score, brier)]


def _gains(x, y, order, seed):
    """On rows not seen: what Platt's sigmoid, fitted on held-out rows, gains on the machine's probabilities, and on
    its raw margins as log-odds; the machine's loss above that of the sigmoid fitted to margins of cross-validation."""
    train, held, new = (order[k * ROWS : (k + 1) * ROWS] for k in range(3))
    machine = _with_probabilities(x[train], y[train], seed)
    margins = machine.decision_function
    probs = lambda rows: from_probs(machine.predict_proba(x[rows])[:, 1])
    raw = lambda rows: from_logits(margins(x[rows]))
    loss = lambda forecast: float(jnp.mean(log_score(forecast, y[new])))
    gain = lambda forecast: loss(forecast(new)) - loss(platt(forecast(held), y[held])(forecast(new)))
    crossed = cross_val_predict(SVC(), x[train], y[train], cv=5, method="decision_function")
    ours = platt_from_margins(crossed, y[train])
    return gain(probs), gain(raw), loss(probs(new)) - loss(ours(raw(new)))
