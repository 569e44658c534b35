"""What the claims on scores and calibration compute with: frequencies of tables, laws of sums, bins."""

from itertools import product

import numpy as np
import pytest

from probjax.calibration import Bins, bin_forecasts
from verification.claims.calibration import _chance_inside, _gaps, _off_frequency, _sharpened, _wave
from verification.claims.decompositions import _three_terms
from verification.claims.scores import _excess


def test_a_forecast_is_off_by_what_its_average_chance_is():
    chance, mass = np.array([[0.2, 0.6], [0.5, 0.9]]), np.array([[0.1, 0.3], [0.2, 0.4]])
    forecast = np.array([[0.5, 0.5], [0.7, 0.7]])  # averages: (0.02 + 0.18)/0.4, (0.1 + 0.36)/0.6
    assert _off_frequency(forecast, chance, mass) == pytest.approx(0.46 / 0.6 - 0.7, rel=1e-12)
    assert _off_frequency(chance, chance, mass) < 1e-15
    np.testing.assert_allclose(_sharpened(np.array([0.5, 0.8])), [0.5, 8 / 9], rtol=1e-14)


def test_the_chance_of_a_diagram_in_its_band_is_that_of_all_labels():
    forecast, chance = np.array([0.1, 0.3, 0.4, 0.6, 0.9]), np.array([0.2, 0.3, 0.5, 0.4, 0.8])
    found = bin_forecasts(forecast, np.zeros(5, int), num_bins=2, bins="equal_width")

    class Diagram:
        low, count, joint_low, joint_high = found.low, found.count, np.array([1 / 3, 0.0]), np.array([2 / 3, 0.5])

    expected = 0.0
    for labels in product((0, 1), repeat=5):
        if 1 <= sum(labels[:3]) <= 2 and sum(labels[3:]) <= 1:
            expected += np.prod(np.where(np.array(labels) == 1, chance, 1 - chance))
    assert _chance_inside(Diagram, forecast, chance) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("bins", ["equal_mass", "equal_width"])
def test_gaps_of_sure_events_are_those_of_the_library(bins):
    rng = np.random.default_rng(0)
    forecast, labels = rng.uniform(size=200), rng.integers(2, size=200)
    gaps, found = _gaps(rng, forecast, labels.astype(float), 3, bins)
    assert isinstance(found, Bins)
    expected = bin_forecasts(forecast, labels, bins=bins)
    np.testing.assert_allclose(gaps, np.tile(expected.frequency - expected.forecast, (3, 1)), atol=1e-12)


def test_a_wave_is_a_chance_that_bins_average_out():
    forecast = np.random.default_rng(1).uniform(size=30_000)
    chance = _wave(forecast)
    assert chance.min() >= 0 and chance.max() <= 1
    found = bin_forecasts(forecast, np.zeros(30_000, int))
    place = np.searchsorted(found.low[1:], forecast, side="right")
    assert np.abs(np.bincount(place, chance - forecast) / found.count).max() < 0.02 < np.abs(chance - forecast).mean()


def test_three_terms_are_the_score_of_forecasts_that_share_their_bins_value():
    p, y = np.array([0.25, 0.25, 0.75, 1.0, 1.0, 1.0]), np.array([0, 1, 1, 1, 1, 0])
    assert _three_terms(p, y, 3, True) != pytest.approx(np.mean((p - y) ** 2))  # 0.75 and 1 in one
    assert _three_terms(p, y, 8, False) != pytest.approx(np.mean((p - y) ** 2))
    p[2] = 0.25
    assert _three_terms(p, y, 3, True) == pytest.approx(np.mean((p - y) ** 2), rel=1e-12)


def test_the_cost_of_another_forecast():
    grid = np.array([[1.0, 0.0], [0.5, 0.5]])
    score = lambda probs, labels: -np.log(probs[np.arange(len(labels)), labels])
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(_excess(score, grid), [[0, np.log(2)], [np.inf, 0]], atol=1e-15)
