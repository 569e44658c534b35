"""How long does fitting a calibrator take, against what users run, and does it end at the optimum?

    python -m experiments.calibrators_against_peers

Each pair runs interleaved in one process, compilation apart. A time is the mean over as many calls in a row as fill
0.2 s, the way of Python's `timeit`; "single" is one call of ours right after one of the peer, when cores and caches are
cold. Temperature: SciPy's bounded search of T in NumPy, on the same mean log loss. Platt: scikit-learn's
`CalibratedClassifierCV` round a frozen estimator whose decision function is the margin, and its sigmoid fit alone.
Isotonic: scikit-learn's `IsotonicRegression`. Ours take a `Forecast` that is made already, as the peers take arrays;
checks and the mark of the rows are timed with them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import jax
import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit

from experiments.output import table
from probjax.forecasts import from_logits, from_probs
from probjax.recalibration import isotonic, platt, temperature

REPEATS, FILL = 7, 0.2
NUM_DATA, NUM_CLASSES, NUM_ISOTONIC = 100_000, 10, 1_000_000


def temperature_case(rng: np.random.Generator):
    """(ours, {name: peer}, what the two fits say)."""
    logits = 5 * rng.standard_normal((NUM_DATA, NUM_CLASSES))
    labels = np.argmax(logits / 2.5 + rng.gumbel(size=logits.shape), axis=1)
    own = logits[np.arange(NUM_DATA), labels]
    forecast = from_logits(logits)

    def loss(t):
        scaled = logits / t
        top = scaled.max(axis=1)
        return np.mean(np.log(np.exp(scaled - top[:, None]).sum(axis=1)) + top - own / t)

    search = lambda **options: minimize_scalar(loss, bounds=(0.05, 20.0), method="bounded", options=options)
    ours = lambda: temperature(forecast, labels)

    def agreement():
        found, tight = 1 / float(ours().params.inverse_temperature), search(xatol=1e-10)
        return f"T {found:.9f}, SciPy's {tight.x:.9f}; loss less SciPy's {loss(found) - tight.fun:.0e}"

    return ours, {"SciPy bounded": search}, agreement


def platt_case(rng: np.random.Generator):
    """As `temperature_case`."""
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.calibration import CalibratedClassifierCV, _SigmoidCalibration
    from sklearn.frozen import FrozenEstimator

    class Margin(ClassifierMixin, BaseEstimator):
        """A classifier that is fitted already: its input is its decision value."""

        def fit(self, x, y):
            self.classes_, self.n_features_in_ = np.array([0, 1]), 1
            return self

        def decision_function(self, x):
            return x[:, 0]

        def predict(self, x):
            return (x[:, 0] > 0).astype(int)

    margins = 2 * rng.standard_normal(NUM_DATA)
    labels = (rng.uniform(size=NUM_DATA) < expit(0.6 * margins - 0.3)).astype(int)
    frozen = FrozenEstimator(Margin().fit(None, None))
    forecast = from_logits(margins)
    ours = lambda: platt(forecast, labels)
    public = lambda: CalibratedClassifierCV(frozen, method="sigmoid", ensemble=False).fit(margins[:, None], labels)
    alone = lambda: _SigmoidCalibration().fit(margins, labels)

    def agreement():
        ones, peer, params = labels.sum(), alone(), ours().params
        targets = np.where(labels == 1, (ones + 1) / (ones + 2), 1 / (NUM_DATA - ones + 2))
        loss = lambda a, b: np.mean(np.logaddexp(0, a * margins + b) - targets * (a * margins + b))
        less = loss(float(params.slope), float(params.intercept)) - loss(-peer.a_, -peer.b_)
        gap = max(abs(float(params.slope) + peer.a_), abs(float(params.intercept) + peer.b_))
        return f"parameters differ by {gap:.0e}; loss less scikit-learn's {less:.0e}"

    return ours, {"scikit-learn's sigmoid alone": alone, "CalibratedClassifierCV": public}, agreement


def isotonic_case(rng: np.random.Generator):
    """As `temperature_case`."""
    from sklearn.isotonic import IsotonicRegression

    probs = rng.uniform(size=NUM_ISOTONIC)
    labels = (rng.uniform(size=NUM_ISOTONIC) < probs**1.5).astype(int)
    forecast = from_probs(probs)
    ours = lambda: isotonic(forecast, labels)
    peer = lambda: IsotonicRegression(out_of_bounds="clip").fit(probs, labels)

    def agreement():
        at = np.linspace(0, 1, 10_001)
        gap = np.abs(np.asarray(ours()(from_probs(at)).probs[:, 1]) - peer().predict(at)).max()
        return f"predictions differ by {gap:.0e}"

    return ours, {"IsotonicRegression": peer}, agreement


def seconds(work: Callable, fill: float = FILL) -> float:
    """Mean of a call, to the end of what it started, over as many calls in a row as take `fill` seconds or more."""
    start, num_calls = time.perf_counter(), 0
    while num_calls == 0 or time.perf_counter() - start < fill:
        fitted, num_calls = work(), num_calls + 1
        jax.block_until_ready(getattr(fitted, "params", None))
    return (time.perf_counter() - start) / num_calls


def compare(name: str, ours: Callable, peers: dict[str, Callable]) -> list[list[str]]:
    """A row a peer: medians of interleaved runs in ms, the median of their ratios and its range, our single call after
    one of the peer, our first call."""
    compiling = seconds(ours, fill=0)
    times = np.array([[seconds(work) for work in (ours, *peers.values())] for _ in range(REPEATS)])
    medians = np.median(times, axis=0)
    rows = []
    for i, (peer, work) in enumerate(peers.items(), start=1):
        ratios = times[:, i] / times[:, 0]
        ratio = f"{np.median(ratios):.1f} ({ratios.min():.1f}–{ratios.max():.1f})"
        single = np.median([(work(), seconds(ours, fill=0))[1] for _ in range(REPEATS)])
        shown = [f"{1e3 * medians[i]:.0f}", f"{1e3 * medians[0]:.1f}", ratio, f"{1e3 * single:.1f}", f"{compiling:.1f}"]
        rows.append([name, peer, *shown])
    return rows


def main() -> None:
    """Print the table."""
    jax.config.update("jax_enable_x64", True)
    cases = {
        f"temperature, {NUM_DATA:,} × {NUM_CLASSES}": temperature_case,
        f"Platt, {NUM_DATA:,}": platt_case,
        f"isotonic, {NUM_ISOTONIC:,}": isotonic_case,
    }
    rows, words = [], []
    for name, case in cases.items():
        ours, peers, agreement = case(np.random.default_rng(0))
        rows += compare(name, ours, peers)
        words.append(f"{name}: {agreement()}")
    columns = ("fit", "peer", "peer, ms", "probjax, ms", "ratio (range)", "single, ms", "first call, s")
    table(f"Calibrators, medians of {REPEATS} interleaved runs", columns, rows)
    print(*words, sep="\n")


if __name__ == "__main__":
    main()
