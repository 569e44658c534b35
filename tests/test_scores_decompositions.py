"""Decompositions are exact sums, their terms are what they are called, and zeros and ones are met exactly."""

import jax
import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit, rel_entr
from sklearn.isotonic import IsotonicRegression

from probjax import scores
from probjax.forecasts import from_logits, from_probs

RNG = np.random.default_rng(0)
N, K = 400, 3
TRUE = RNG.uniform(0.02, 0.98, N)
LABELS = (RNG.uniform(size=N) < TRUE).astype(int)
PROBS = np.round(np.clip(1.4 * TRUE - 0.3, 0, 1), 2)  # overconfident, with ties, zeros and ones
SOFT = np.clip(PROBS, 0.01, 0.99)
WEIGHTS = RNG.integers(0, 4, N).astype(float)
CLASS_PROBS = RNG.dirichlet(np.ones(K) * 0.7, N)
CLASSES = np.array([RNG.choice(K, p=p) for p in np.sqrt(CLASS_PROBS) / np.sqrt(CLASS_PROBS).sum(1, keepdims=True)])
EDGES = np.array([0, 0.13, 0.5, 0.55, 1.0])
five = jax.jit(scores.brier_in_bins)


def total(terms):
    return terms.reliability - terms.resolution + terms.uncertainty


def within(terms):
    return terms.within_bin_variance - 2 * terms.within_bin_covariance


@pytest.mark.parametrize("edges", [None, EDGES])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_five_terms_are_brier_and_each_is_its_definition(edges, weights):
    terms = five(PROBS, LABELS, edges, weights)
    w = np.ones(N) if weights is None else weights
    average = lambda values: np.average(values, weights=w)
    assert float(terms.score) == pytest.approx(average((PROBS - LABELS) ** 2), abs=1e-12)
    assert float(total(terms) + within(terms)) == pytest.approx(float(terms.score), abs=1e-12)
    bins = np.digitize(PROBS, (np.arange(11) / 10 if edges is None else edges)[1:-1])
    mean = np.array([np.average(PROBS[bins == b], weights=w[bins == b]) for b in bins])
    rate = np.array([np.average(LABELS[bins == b], weights=w[bins == b]) for b in bins])
    expected = [
        average((mean - rate) ** 2),
        average((rate - average(LABELS)) ** 2),
        average(LABELS) * (1 - average(LABELS)),
        average((PROBS - mean) ** 2),
        average((PROBS - mean) * (LABELS - rate)),
    ]
    np.testing.assert_allclose(terms[1:], expected, atol=1e-12)


def test_three_terms_are_not_the_score_unless_bins_hold_one_value():
    terms = five(PROBS, LABELS)
    assert abs(float(total(terms) - terms.score)) > 1e-4
    tenths = np.round(TRUE, 1)
    terms = five(tenths, LABELS, np.append(np.linspace(-0.05, 0.95, 11).clip(0), 1.0))
    np.testing.assert_allclose(total(terms), terms.score, atol=1e-12)
    np.testing.assert_allclose(terms[4:], 0, atol=1e-12)


def test_a_chance_of_one_belongs_to_the_last_bin_and_an_edge_to_the_right():
    terms = five(np.array([1.0, 0.95, 0.5, 0.45]), np.array([1, 0, 1, 0]))
    assert float(terms.score) == pytest.approx((0.95**2 + 0.25 + 0.45**2) / 4, abs=1e-12)
    assert float(terms.resolution) == pytest.approx(2 * 0.25 / 4, abs=1e-12)  # bins: {1, .95}, {.5}, {.45}
    assert float(terms.within_bin_variance) == pytest.approx(0.025**2 / 2, abs=1e-12)


def test_terms_of_many_classes_are_sums_over_one_against_the_rest():
    terms = five(CLASS_PROBS, CLASSES)
    np.testing.assert_allclose(terms.score, np.mean(scores.brier(CLASS_PROBS, CLASSES)), atol=1e-12)
    np.testing.assert_allclose(total(terms) + within(terms), terms.score, atol=1e-12)
    each = [five(CLASS_PROBS[:, k], (k == CLASSES).astype(int)) for k in range(K)]
    np.testing.assert_allclose(terms, np.sum(each, axis=0), atol=1e-12)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_the_binned_log_score_is_exact_only_with_its_within_bin_term(weights):
    terms = scores.log_score_in_bins(SOFT, LABELS, EDGES, weights)
    mean = scores.mean_and_standard_error(scores.log_score(SOFT, LABELS), weights).mean
    assert float(terms.score) == pytest.approx(float(mean), abs=1e-12)
    assert float(total(terms) + terms.within_bin) == pytest.approx(float(terms.score), abs=1e-12)
    assert abs(float(total(terms) - terms.score)) > 1e-3
    assert min(terms[:4]) > 0


def test_the_binned_log_score_is_exact_or_infinite_at_zeros_and_ones():
    sure = scores.log_score_in_bins(LABELS.astype(float), LABELS)
    assert float(sure.score) == 0 and float(sure.within_bin) == 0 and float(sure.reliability) == 0
    assert float(sure.resolution) == pytest.approx(float(sure.uncertainty), abs=1e-12)
    all_zero = scores.log_score_in_bins(np.array([0.0, 0.0, 0.6]), np.array([0, 1, 1]))
    assert [float(all_zero[i]) for i in (0, 1, 4)] == [np.inf, np.inf, 0]
    some_zero = scores.log_score_in_bins(np.array([0.0, 0.05, 0.6]), np.array([1, 0, 1]))
    assert float(some_zero.score) == float(some_zero.within_bin) == np.inf and np.isfinite(some_zero[1:4]).all()
    near_one = scores.log_score_in_bins(np.array([1.0, 1.0, 1 - 1e-16]), np.array([1, 1, 0]))  # p̄ rounds to 1
    assert np.isfinite(near_one).all()
    one_class = scores.log_score_in_bins(SOFT, np.ones(N, int), weights=np.full(N, 0.1))
    assert float(one_class.uncertainty) == 0 and np.isfinite(one_class).all()


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_corp_brier_is_scikit_learns_isotonic_fit(weights):
    terms = scores.corp_brier(PROBS, LABELS, weights)
    fit = IsotonicRegression().fit(PROBS, LABELS, sample_weight=weights).predict(PROBS)
    average = lambda values: np.average(values, weights=weights)
    base = average(LABELS)
    own, recalibrated = average((PROBS - LABELS) ** 2), average((fit - LABELS) ** 2)
    expected = [own, own - recalibrated, base * (1 - base) - recalibrated, base * (1 - base)]
    np.testing.assert_allclose(terms, expected, atol=1e-12)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize(
    "corp, score, probs, labels",
    [
        (scores.corp_brier, scores.brier, PROBS, LABELS),
        (scores.corp_log, scores.log_score, SOFT, LABELS),
        (scores.corp_brier, scores.brier, CLASS_PROBS, CLASSES),
        (scores.corp_log, scores.log_score, CLASS_PROBS, CLASSES),
    ],
    ids=["brier", "log", "brier of classes", "log of classes"],
)
def test_corp_is_an_exact_sum_of_terms_that_are_not_negative(corp, score, probs, labels, weights):
    terms = corp(probs, labels, weights)
    mean = float(scores.mean_and_standard_error(score(probs, labels), weights).mean)
    assert terms.score == pytest.approx(mean, abs=1e-12)
    assert terms.miscalibration - terms.discrimination + terms.uncertainty == pytest.approx(mean, abs=1e-12)
    assert terms.miscalibration > 1e-3 and terms.discrimination > 1e-3
    shares = np.bincount(labels, weights=weights) / (N if weights is None else weights.sum())
    entropy = -np.sum(shares * np.log(shares))
    squares = 1 - np.sum(shares**2)
    expected = entropy if score is scores.log_score else squares if probs.ndim == 2 else squares / 2
    assert terms.uncertainty == pytest.approx(expected, abs=1e-12)


def test_corp_log_discrimination_is_a_divergence_and_pav_is_best_for_the_log_score_too():
    fit = IsotonicRegression().fit(SOFT, LABELS).predict(SOFT)
    base = LABELS.mean()
    divergence = np.mean(rel_entr(fit, base) + rel_entr(1 - fit, 1 - base))
    terms = scores.corp_log(SOFT, LABELS)
    assert terms.discrimination == pytest.approx(divergence, abs=1e-12)
    logits = np.log(SOFT / (1 - SOFT))
    sharper = lambda t: float(np.mean(scores.log_score(from_logits(t * logits), LABELS)))
    best = minimize_scalar(sharper, bounds=(0.05, 3), method="bounded").fun  # a recalibration that is monotone
    assert terms.score - terms.miscalibration < best


def test_monotone_changes_of_the_forecast_leave_discrimination_alone_and_calibrated_ones_have_no_miscalibration():
    for corp in (scores.corp_brier, scores.corp_log):
        before, after = corp(SOFT, LABELS), corp(SOFT**2, LABELS)
        assert after.discrimination == pytest.approx(before.discrimination, abs=1e-12)
        fit = IsotonicRegression().fit(SOFT, LABELS).predict(SOFT)
        assert corp(np.clip(fit, 0, 1), LABELS).miscalibration == pytest.approx(0, abs=1e-12)
        assert corp(np.full(N, LABELS.mean()), LABELS).discrimination == 0


def test_the_log_score_of_two_columns_is_that_of_one_and_its_uncertainty_ignores_the_order_of_classes():
    two = scores.corp_log(np.stack([1 - SOFT, SOFT], 1), LABELS)
    np.testing.assert_allclose(two, scores.corp_log(SOFT, LABELS), atol=1e-12)
    ours, turned = scores.corp_log(CLASS_PROBS, CLASSES), scores.corp_log(CLASS_PROBS[:, ::-1], K - 1 - CLASSES)
    np.testing.assert_allclose([turned.score, turned.uncertainty], [ours.score, ours.uncertainty], atol=1e-12)
    assert abs(turned.discrimination - ours.discrimination) > 1e-4
    np.testing.assert_allclose(scores.corp_log(from_probs(CLASS_PROBS), CLASSES), ours, atol=1e-12)


def test_zeros_and_ones_of_corp_are_exact():
    sure = scores.corp_log(LABELS.astype(float), LABELS)
    assert sure.score == 0 and sure.miscalibration == 0 and sure.discrimination == sure.uncertainty
    wrong = scores.corp_log(np.array([0.0, 0.3, 1.0]), np.array([1, 0, 1]))
    assert wrong.score == wrong.miscalibration == np.inf and 0 <= wrong.discrimination < np.inf
    rows = np.array([[1.0, 0, 0], [0, 0.5, 0.5], [0, 0, 1]])
    wrong = scores.corp_log(rows, np.array([1, 2, 2]))
    assert wrong.score == wrong.miscalibration == np.inf and np.isfinite(wrong[2:]).all()
    one_class = scores.corp_log(SOFT, np.zeros(N, int))
    assert one_class.uncertainty == one_class.discrimination == 0 and one_class.miscalibration == one_class.score
    far = scores.corp_log(from_logits(np.array([-800.0, -900.0])), np.array([1, 0]))  # told apart though p is 0
    assert far.score == pytest.approx(400) and far.discrimination == pytest.approx(np.log(2))


def test_bootstrap_intervals_are_seeded_hold_the_score_and_shrink():
    ends = scores.bootstrap(jax.random.key(0), scores.corp_log, SOFT, LABELS, num_replications=100)
    again = scores.bootstrap(jax.random.key(0), scores.corp_log, SOFT, LABELS, num_replications=100)
    np.testing.assert_array_equal(ends, again)
    other = scores.bootstrap(jax.random.key(1), scores.corp_log, SOFT, LABELS, num_replications=100)
    assert ends.lower.score != other.lower.score
    mean, error = scores.mean_and_standard_error(scores.log_score(SOFT, LABELS))
    width = ends.upper.score - ends.lower.score  # 3.29 standard errors; 100 replications give it to a tenth
    assert ends.lower.score < mean < ends.upper.score and 2.3 < width / error < 4.3
    binned = scores.bootstrap(jax.random.key(0), five, SOFT, LABELS, num_replications=20)
    assert binned.lower.uncertainty < five(SOFT, LABELS).uncertainty <= binned.upper.uncertainty
    infinite = scores.bootstrap(
        jax.random.key(0), scores.corp_log, np.array([0.0, 0.5, 0.7, 0.2]), np.array([1, 0, 1, 1]), num_replications=20
    )
    assert infinite.upper.score == np.inf and not np.isnan([*infinite.lower, *infinite.upper]).any()


def test_bootstrap_intervals_hold_a_miscalibration_that_percentiles_miss():
    """Forecasts tempered by 1.5: the population's miscalibration is known by quadrature. 40 data sets at nominal 90%;
    a true coverage of 0.75 falls below 20 of 40 once in 3000 runs, and percentiles hold it in none."""
    nodes, mass = np.polynomial.hermite_e.hermegauss(80)
    mass, truth, said = mass / mass.sum(), expit(1.5 * nodes), expit(2.25 * nodes)
    population = float(mass @ (said - truth) ** 2)
    rng, hits = np.random.default_rng(5), np.zeros(2)
    for r in range(40):
        logits = 1.5 * rng.standard_normal(300)
        labels = (rng.uniform(size=300) < expit(logits)).astype(int)
        probs = expit(1.5 * logits)
        ends = scores.bootstrap(jax.random.key(r), scores.corp_brier, probs, labels, num_replications=30)
        low, high = ends.lower.miscalibration, ends.upper.miscalibration
        twice = 2 * scores.corp_brier(probs, labels).miscalibration
        hits += [low <= population <= high, twice - high <= population <= twice - low]
    assert hits[0] >= 20 and hits[1] <= 5


BAD = [
    (lambda: scores.brier_in_bins(PROBS, LABELS, np.array([0.1, 1.0])), "rise from 0 to 1"),
    (lambda: scores.brier_in_bins(PROBS, LABELS, 10), "edges has shape"),
    (lambda: scores.brier_in_bins(PROBS * 3, LABELS), "outside"),
    (lambda: scores.brier_in_bins(PROBS, LABELS, None, WEIGHTS[:3]), "weights has shape"),
    (lambda: scores.log_score_in_bins(CLASS_PROBS, CLASSES), "pass one column"),
    (lambda: scores.corp_brier(PROBS, LABELS[:9]), "labels has shape"),
    (lambda: scores.corp_log(CLASS_PROBS, CLASSES + 1), "labels must be integers"),
    (lambda: scores.corp_log(PROBS, LABELS, -WEIGHTS), "negative or not finite"),
    (lambda: scores.bootstrap(jax.random.key(0), five, PROBS, LABELS, num_replications=1), "at least 2"),
    (lambda: scores.bootstrap(jax.random.key(0), five, PROBS, LABELS, probability=90), "strictly between"),
]


@pytest.mark.parametrize("call, message", BAD)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
