"""Risk–coverage curves with ties as expectations, and guarantees whose error rate is the stated one.

Simulations are judged at a false-alarm rate of 10⁻⁶ each (4.9 standard errors)."""

from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from probjax.selective import (
    aurc,
    choose_in_sequence,
    choose_threshold,
    risk_bound,
    risk_coverage,
    selective_risks,
)

RNG = np.random.default_rng(0)
FALSE_ALARM, SIGMAS = 1e-6, stats.norm.isf(0.5e-6)
CONFIDENCE, LOSS = np.array([0.9, 0.7, 0.7, 0.7, 0.2, 0.2]), np.array([0.5, 1.0, 0.0, 2.0, 3.0, 0.25])


def running_means(loss):
    return np.cumsum(loss) / np.arange(1, len(loss) + 1)


def test_ties_count_as_the_mean_over_their_orders():
    orders = [order for order in permutations(range(6)) if (np.diff(CONFIDENCE[list(order)]) <= 0).all()]
    assert len(orders) == 12
    curves = np.array([running_means(LOSS[list(order)]) for order in orders])
    shuffled = RNG.permutation(6)
    curve = risk_coverage(CONFIDENCE[shuffled], LOSS[shuffled])
    np.testing.assert_allclose(curve.risk, curves.mean(0), rtol=1e-13)
    np.testing.assert_array_equal(curve.threshold, CONFIDENCE)
    np.testing.assert_allclose(curve.coverage, np.arange(1, 7) / 6)
    result = aurc(CONFIDENCE[shuffled], LOSS[shuffled])
    assert result.area == pytest.approx(curves.mean(), rel=1e-13)
    assert result.best == pytest.approx(min(running_means(LOSS[list(o)]).mean() for o in permutations(range(6))))
    assert result.excess == result.area - result.best > 0


def test_rejecting_at_random_is_flat():
    orders = np.array(list(permutations(LOSS)))
    curves = np.cumsum(orders, axis=1) / np.arange(1, 7)
    np.testing.assert_allclose(curves.mean(0), LOSS.mean(), rtol=1e-12)  # every order alike: the expected risk
    np.testing.assert_allclose(risk_coverage(np.full(6, 0.3), LOSS).risk, LOSS.mean(), rtol=1e-14)
    constant = aurc(np.full(6, 0.3), LOSS)
    assert constant.area == pytest.approx(constant.mean_loss, rel=1e-14) and constant.mean_loss == LOSS.mean()


def test_the_best_area_of_many_errors_is_geifmans_limit():
    errors = np.arange(200_000) < 60_000
    result = aurc(-errors.astype(float), errors)
    assert result.excess < 0.5 * 0.3  # ties within the two groups, the right order between
    assert result.best == pytest.approx(0.3 + 0.7 * np.log(0.7), abs=2e-5)
    assert aurc(-np.arange(5.0), np.arange(5.0)).excess == 0


def sample(num_rows):
    confidence = RNG.uniform(size=num_rows)
    return confidence, 2 - confidence + 0.3 * RNG.exponential(size=num_rows)


def test_the_areas_standard_error_is_its_spread():
    area, standard_error = np.array([aurc(*sample(800))[:2] for _ in range(1500)]).T
    ratio = np.mean(standard_error**2) / area.var()
    assert abs(np.log(ratio)) < SIGMAS * np.sqrt(2 / 1500)


@pytest.mark.parametrize("decimals", [1, 12])
def test_the_areas_standard_error_tends_to_the_jackknifes(decimals):
    def gap(num_rows):
        confidence, loss = sample(num_rows)
        confidence = confidence.round(decimals)
        without = [aurc(np.delete(confidence, i), np.delete(loss, i)).area for i in range(num_rows)]
        return aurc(confidence, loss).standard_error / (np.std(without) * np.sqrt(num_rows - 1)) - 1

    gaps = np.abs([gap(num_rows) for num_rows in (100, 800)])
    assert gaps[1] < gaps[0] < 0.1


def test_with_constant_confidence_the_areas_standard_error_is_the_means():
    assert aurc(np.zeros(6), LOSS).standard_error == pytest.approx(np.std(LOSS) / np.sqrt(6), rel=1e-12)


def test_the_bound_inverts_the_binomial_tail():
    errors, delta = np.arange(41), np.array([[0.001], [0.05], [0.4]])
    bound = risk_bound(errors, 41, delta)
    np.testing.assert_allclose(stats.binom.cdf(errors, 41, bound), np.broadcast_to(delta, bound.shape), rtol=1e-9)
    assert risk_bound(7, 7, 0.1) == 1 and risk_bound(0, 0, 0.1) == 1
    assert risk_bound(0, 100, 0.05) == pytest.approx(1 - 0.05 ** (1 / 100), rel=1e-12)


def test_thresholds_answer_what_lies_strictly_above_them():
    confidence, errors = RNG.uniform(size=200).round(2), RNG.integers(0, 2, 200)
    risks = selective_risks(confidence, errors, 0.1, num_thresholds=9)
    for t, coverage, answered, wrong, bound in zip(*risks):
        above = confidence > t
        assert (answered, wrong, coverage) == (above.sum(), errors[above].sum(), above.mean())
        assert bound == risk_bound(wrong, answered, 0.1 / 9)
    assert risks.threshold[-1] == -np.inf and risks.coverage[-1] == 1 and (np.diff(risks.threshold) < 0).all()
    chosen = choose_threshold(risks, 0.7)
    within = risks.bound <= 0.7
    assert chosen.coverage == risks.coverage[within].max() and chosen.bound <= 0.7
    above = confidence > chosen.threshold
    assert chosen.risk == pytest.approx(errors[above].mean()) and chosen.coverage == above.mean()


def draw(num_rows):
    """Confidence uniform, errors with chance (1 − confidence)/2: the risk above t is (1 − t)/4."""
    confidence = RNG.uniform(size=num_rows)
    return confidence, (RNG.uniform(size=num_rows) < 0.5 * (1 - confidence)).astype(int)


def risk_above(threshold):
    return (1 - np.maximum(threshold, 0)) / 4


@pytest.mark.parametrize("num_thresholds", [1, 8])
def test_all_bounds_hold_together_as_often_as_promised(num_thresholds):
    replications, delta = 1500, 0.3
    each, failures, chosen_wrongly = np.zeros(num_thresholds, int), 0, 0
    for _ in range(replications):
        risks = selective_risks(*draw(120), delta, num_thresholds)
        failed = risk_above(risks.threshold) > risks.bound
        each, failures = each + failed, failures + failed.any()
        target = risks.bound[RNG.integers(num_thresholds)] if risks.bound.min() < 1 else 0.5  # chosen after seeing
        if target < 1:
            chosen_wrongly += risk_above(choose_threshold(risks, target).threshold) > target
    most = stats.binom.ppf(1 - FALSE_ALARM, replications, delta)
    assert failures <= most and chosen_wrongly <= most
    share = delta / num_thresholds  # given its threshold each bound is exact for the rows above
    assert (each <= stats.binom.ppf(1 - FALSE_ALARM / num_thresholds, replications, share)).all()
    if num_thresholds == 1:  # one bound: its exact error rate, not only below δ
        errors = np.arange(121)
        exact = stats.binom.pmf(errors, 120, 0.25)[risk_bound(errors, 120, delta) < 0.25].sum()
        assert stats.binomtest(int(failures), replications, exact).pvalue > FALSE_ALARM and exact > 0.2


def test_a_fixed_sequence_fails_as_often_as_promised_and_hardly_less():
    replications, delta, thresholds = 1500, 0.1, [0.8, 0.6, 0.4, 0.2]
    target = risk_above(0.4) - 1e-9  # true at 0.8 and 0.6, false by a hair at 0.4, false at 0.2
    failures = sum(
        risk_above(choose_in_sequence(*draw(2000), thresholds, target, delta).threshold) > target
        for _ in range(replications)
    )
    low, high = stats.binom.ppf([FALSE_ALARM, 1 - FALSE_ALARM], replications, [0.08, delta])
    assert low <= failures <= high


def test_a_sequence_stops_at_its_first_failure():
    confidence, errors = np.arange(100.0), (np.arange(100) < 60).astype(int)
    stops = choose_in_sequence(confidence, errors, [70, 20, 60], 0.2, 0.05)
    assert (stops.threshold, stops.coverage, stops.risk) == (70, 0.29, 0)
    assert choose_in_sequence(confidence, errors, [70, 60, 20], 0.2, 0.05).threshold == 60
    assert stops.bound == 0.2 > risk_bound(0, 29, 0.05)  # the target is promised, not the number that was chosen by


def test_where_nothing_can_be_promised_nothing_is_answered_in_words():
    confidence, errors = np.arange(20.0), np.ones(20, int)
    for choose in (
        lambda: choose_threshold(selective_risks(confidence, errors, 0.05), 0.1),
        lambda: choose_in_sequence(confidence, errors, [15.0, 10.0], 0.1, 0.05),
        lambda: choose_in_sequence(confidence, errors, [50.0], 0.1, 0.05),
    ):
        with pytest.warns(UserWarning, match=r"has a bound of at most 0.1 \(the lowest of all: 1\), so nothing"):
            assert choose() == (np.inf, 0, 0, 1)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: risk_coverage(np.ones(3), np.ones(2)), r"confidence has shape \(3,\) and loss \(2,\)"),
        (lambda: aurc([0.1, np.nan], [0, 1]), "aurc: confidence has 1 NaN"),
        (lambda: aurc([0.1, 0.2], [0, -1.0]), "loss must be finite and ≥ 0; 1 of 2 are not .first: row 1, -1.0"),
        (lambda: aurc([0.1, 0.2], [0, np.inf]), "loss must be finite and ≥ 0"),
        (lambda: selective_risks([0.1, 0.2], [0, 0.5], 0.1), "errors must be 0 or 1.*row 1, 0.5"),
        (lambda: selective_risks([0.1, 0.2], [0, 1], 0.0), "delta is 0.0 but must lie strictly between 0 and 1"),
        (lambda: selective_risks([0.1, 0.2], [0, 1], 0.1, 0), "num_thresholds is 0"),
        (lambda: risk_bound(3, 2, 0.1), "num_errors is 3 of num_answered 2"),
        (lambda: choose_in_sequence([0.1], [0], [np.nan], 0.1, 0.1), r"expected \[T\] numbers"),
        (lambda: choose_in_sequence([0.1], [0], [0.5], 1.5, 0.1), "target is 1.5"),
    ],
)
def test_bad_input_is_named_with_its_cure(call, message):
    with pytest.raises(ValueError, match=message):
        call()
