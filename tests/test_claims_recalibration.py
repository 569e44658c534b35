"""What the claims on recalibration and smoothed labels compute by themselves."""

import numpy as np
import pytest
from scipy import special
from sklearn.linear_model import LogisticRegression

from verification.claims import recalibration, retempering, smoothing


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_pairs_that_change_places_are_counted_once():
    rows = np.vstack([recalibration.CROSSING, [[9.0, 0.0, 0.0]]])
    assert recalibration._changed_places(rows, 5.0) == 1
    assert recalibration._changed_places(rows, 0.9) == 0


def test_least_loss_on_the_grid_lies_inside_where_both_halves_of_the_rule_say_so(rng):
    by_half, by_both = recalibration._finite_by_rule(rng)
    assert by_both == 0 < by_half


def test_losses_of_data_sets_are_those_of_each_row(rng):
    z, labels = rng.standard_normal((2, 4, 3)), rng.integers(0, 3, (2, 4))
    one = -special.log_softmax(0.7 * z[1], 1)[np.arange(4), labels[1]].mean()
    assert recalibration._losses(z, labels, [0.7])[1, 0] == pytest.approx(one, abs=1e-14)


def test_excess_of_the_truth_is_zero_and_of_a_bent_forecast_is_the_kullback_leibler_divergence():
    same = lambda forecast: forecast
    assert np.allclose(recalibration._excess(same, recalibration.F), 0, atol=1e-14)
    kl, square = recalibration._excess(same, 2 * recalibration.F)
    p, q = recalibration.CHANCE, special.expit(2 * recalibration.F)
    assert kl == pytest.approx(np.mean(special.rel_entr(p, q) + special.rel_entr(1 - p, 1 - q)), rel=1e-12)
    assert square == pytest.approx(np.mean((p - q) ** 2), rel=1e-12)


def test_newton_is_logistic_regression_without_a_penalty(rng):
    x = rng.standard_normal((2, 300, 3))
    y = (rng.random((2, 300)) < special.expit(x.sum(2))).astype(int)
    found = retempering._newton(x, y)[..., 0]
    for rows, labels, ours in zip(x, y, found):
        peer = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-12, solver="newton-cholesky").fit(rows, labels)
        assert np.allclose(ours, peer.coef_[0], atol=1e-8)


def test_descent_ends_where_smoothed_shares_are_met(rng):
    y = np.arange(40) % 2
    x = (2 * y - 1) * rng.uniform(0.5, 2, 40)
    weight, bias = smoothing._descent(x, y)[-1, 2]
    gap = special.expit(weight * x + bias) - (0.9 * y + 0.05)
    assert abs(gap.sum()) < 1e-10
    assert abs(gap @ x) < 1e-10
