"""Which calibration suits which classifier? `python -m experiments.calibration_methods`

The text's four on its own data, rebuilt: scikit-learn's `make_classification` of 3000 rows, 900 of them for the test.
First its figures as printed beside those found: the same to all digits but for the two calibrated boosting lines, which
differ by 2e-4 (their seed is not known, and boosting breaks ties between features at random). Then what one split
cannot say: over splits of the same rows into training, calibration and test, each classifier uncalibrated, by Platt,
isotonic and temperature, with standard errors. The support vector machine enters by its decision function:
`SVC(probability=True)` has Platt's sigmoid inside.

A probability of exactly 0 where the class occurs costs an infinite log loss: splits where that happens are counted (∞),
and in the means a 0 is read as 1/(2N), N the calibration rows.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from experiments import output
from probjax import scores
from probjax.calibration import reliability_diagram
from probjax.forecasts import Forecast, from_logits, from_probs
from probjax.recalibration import floored, isotonic, platt, temperature

SEED = 0  # of the splits
LISTED_SEED = 42  # of the text's data, split and classifiers
NUM_ROWS, NUM_TEST, NUM_FIT = 3000, 900, 700
NUM_SPLITS = 10
FOREST_FOLDS, BOOSTING_FOLDS = 3, 5  # of the text's calibrated classifiers
NUM_TREES = 100
METHODS = {"uncalibrated": None, "Platt": platt, "isotonic": isotonic, "temperature": temperature}
PRINTED = {  # log loss, Brier
    "logistic regression": (0.3614260980839561, 0.11314811535744056),
    "SVC(probability=True)": (0.1605178825352052, 0.04194653980772796),
    "random forest": (0.2773921302425926, 0.07564044444444445),
    "gradient boosting": (0.23352538527824776, 0.06621237446425786),
    "random forest, isotonic": (0.21556350596890847, 0.06453621552416587),
    "gradient boosting, Platt": (0.2144782648242537, 0.06247329305796877),
    "gradient boosting, isotonic": (0.2461633742829012, 0.06247601364986038),
}


class Trial(NamedTuple):
    """One classifier and method on one split: mean scores of its test rows (0 read as 1/(2N)), whether the log loss as
    it stands is infinite, and the chance of class 1 with the labels."""

    log_score: float
    brier: float
    infinite: bool
    chance: np.ndarray
    labels: np.ndarray


def data() -> tuple[np.ndarray, np.ndarray]:
    """The text's rows and labels."""
    return make_classification(
        n_samples=NUM_ROWS, n_features=20, n_informative=10, n_redundant=2, random_state=LISTED_SEED
    )


def classifiers(seed: int) -> dict:
    """The text's four, the support vector machine without its inner calibration."""
    return {
        "logistic regression": LogisticRegression(max_iter=1000),
        "random forest": RandomForestClassifier(NUM_TREES, random_state=seed),
        "support vector machine": SVC(random_state=seed),
        "gradient boosting": GradientBoostingClassifier(random_state=seed),
    }


def listed() -> dict[str, tuple[float, float]]:
    """Log loss and Brier score of the text's own lines, by scikit-learn alone, clipping included."""
    x, y = data()
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=NUM_TEST, random_state=LISTED_SEED)
    own = classifiers(LISTED_SEED)
    forest, boosting = own["random forest"], own["gradient boosting"]
    several = {"cv": BOOSTING_FOLDS}
    models = {
        "logistic regression": own["logistic regression"],
        "SVC(probability=True)": SVC(probability=True, random_state=LISTED_SEED),
        "random forest": forest,
        "gradient boosting": boosting,
        "random forest, isotonic": CalibratedClassifierCV(forest, method="isotonic", cv=FOREST_FOLDS),
        "gradient boosting, Platt": CalibratedClassifierCV(boosting, method="sigmoid", **several),
        "gradient boosting, isotonic": CalibratedClassifierCV(boosting, method="isotonic", **several),
    }
    found = {}
    for name, model in models.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # SVC's inner sigmoid is on its way out
            chance = model.fit(x_train, y_train).predict_proba(x_test)[:, 1]
        found[name] = (log_loss(y_test, chance), brier_score_loss(y_test, chance))
    return found


def forecast_of(model, x: np.ndarray) -> Forecast:
    """Its probabilities; of a support vector machine the sigmoid of its margin, which is no log-odds of anything."""
    if isinstance(model, SVC):
        return from_logits(model.decision_function(x))
    return from_probs(model.predict_proba(x)[:, 1])


def zeros_read(forecast: Forecast) -> Forecast:
    """A 0 as 1/(2N), rows without a 0 as they are."""
    zero = jnp.isneginf(forecast.log_probs).any(axis=1, keepdims=True)
    return Forecast(jnp.where(zero, floored(forecast, 1 / (2 * NUM_FIT)).log_probs, forecast.log_probs))


def one_split(seed: int) -> dict[tuple[str, str], Trial]:
    """Every classifier by every method."""
    x, y = data()
    x_rest, x_test, y_rest, y_test = train_test_split(x, y, test_size=NUM_TEST, random_state=seed)
    x_train, x_fit, y_train, y_fit = train_test_split(x_rest, y_rest, test_size=NUM_FIT, random_state=seed)
    found = {}
    for name, model in classifiers(seed).items():
        model.fit(x_train, y_train)
        fit_rows, test_rows = forecast_of(model, x_fit), forecast_of(model, x_test)
        for method, fit in METHODS.items():
            after = test_rows
            if fit is isotonic:
                after = fit(fit_rows, y_fit)(test_rows)
            elif fit is not None:
                after = fit(zeros_read(fit_rows), y_fit)(zeros_read(test_rows))
            found[name, method] = trial(after, y_test)
    return found


def trial(forecast: Forecast, labels: np.ndarray) -> Trial:
    """Scores of one set of forecasts."""
    chance = np.asarray(forecast.probs[:, 1])
    infinite = bool(jnp.isinf(scores.log_score(forecast, labels)).any())
    log_score = float(scores.log_score(zeros_read(forecast), labels).mean())
    return Trial(log_score, float(scores.brier(chance, labels).mean()), infinite, chance, labels)


def mean_and_error(values: list[float]) -> tuple[float, float]:
    """Over splits; they share rows, so that the error is of the split, not of another data set."""
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))


def print_table(found: dict[str, tuple[float, float]], trials: dict[tuple[str, str], list[Trial]]) -> None:
    """The text's lines, then the repeated splits."""
    rows = []
    for name, (loss, brier) in found.items():
        gap = max(abs(loss - PRINTED[name][0]), abs(brier - PRINTED[name][1]))
        said = f"printed {PRINTED[name][0]:.5f}, {PRINTED[name][1]:.5f}: differ by {gap:.0e}"
        rows.append([name, f"{brier:.5f}", f"{loss:.5f}", "", said])
    for (name, method), each in trials.items():
        plain = trials[name, "uncalibrated"]
        brier, loss = (mean_and_error([getattr(t, score) for t in each]) for score in ("brier", "log_score"))
        change = mean_and_error([t.log_score - u.log_score for t, u in zip(each, plain)])
        infinite = sum(t.infinite for t in each)
        rows.append(
            [
                f"{name}, {method}",
                f"{brier[0]:.4f} ± {brier[1]:.4f}",
                f"{loss[0]:.4f} ± {loss[1]:.4f}",
                "" if method == "uncalibrated" else f"{change[0]:+.4f} ± {change[1]:.4f}",
                f"∞ in {infinite} of {len(each)}" if infinite else "",
            ]
        )
    columns = ["", "Brier", "log loss, nats a row", "change of log loss", ""]
    output.table(f"The text's split, then {NUM_SPLITS} splits ({NUM_FIT} rows calibrate)", columns, rows)


def save_figure(path: Path, trials: dict[tuple[str, str], list[Trial]]) -> None:
    """Log losses with standard errors; reliability of the four as they come, all test rows together."""
    figure, (left, right) = output.panels(2, height=4.2, width=5.6)
    names = list(dict.fromkeys(name for name, _ in trials))
    for i, method in enumerate(METHODS):
        ends = np.array([mean_and_error([t.log_score for t in trials[name, method]]) for name in names])
        at = np.arange(len(names)) + 0.16 * (i - 1.5)
        left.errorbar(at, ends[:, 0], ends[:, 1], fmt="o", ms=6, color=output.COLOURS[i], label=method)
    left.set_xticks(range(len(names)), [name.replace(" ", "\n", 1) for name in names])
    left.set(ylabel="log loss, nats a row", title=f"{NUM_SPLITS} splits, ± standard error")
    left.set_ylim(0, 1.25 * max(t.log_score for each in trials.values() for t in each))
    left.legend(frameon=False, ncols=2, loc="upper right")
    right.plot([0, 1], [0, 1], color=output.EXACT, lw=1)
    for i, name in enumerate(names):
        parts = trials[name, "uncalibrated"]
        chance, labels = (np.concatenate([getattr(t, part) for t in parts]) for part in ("chance", "labels"))
        found = reliability_diagram(chance, labels, num_bins=12, bins="equal_width")
        right.plot(found.forecast, found.frequency, "o-", ms=4, color=output.COLOURS[i], label=name)
    right.set(xlabel="forecast, uncalibrated", ylabel="observed frequency", aspect="equal", title="as they come")
    right.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    output.save(figure, path)


def main(out: Path = Path("figures"), seed: int = SEED) -> Path:
    """Print the table, save the figure and return its path."""
    jax.config.update("jax_enable_x64", True)
    splits = [one_split(seed + r) for r in range(NUM_SPLITS)]
    trials = {case: [split[case] for split in splits] for case in splits[0]}
    print_table(listed(), trials)
    path = out / "calibration_methods.png"
    save_figure(path, trials)
    return path


if __name__ == "__main__":
    output.command(main, __doc__, SEED)
