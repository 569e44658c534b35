"""Conformal thresholds obey their finite-sample law, sets and intervals are exactly {score ≤ threshold}.

Simulations are judged at a false-alarm rate of 10⁻⁶ each (4.9 standard errors)."""

from fractions import Fraction
from math import ceil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from probjax import conformal

RNG = np.random.default_rng(0)
FALSE_ALARM, SIGMAS = 1e-6, stats.norm.isf(0.5e-6)
PROBS = RNG.dirichlet([0.5, 1.0, 2.0, 0.3], 60)
UNIFORM, LABELS = RNG.uniform(size=60), RNG.integers(0, 4, 60)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_rank_is_that_of_exact_fractions(dtype):
    for n in (1, 2, 7, 9, 10, 19, 99, 100, 199, 999, 9999, 99_999):
        for i in range(1, 100):
            assert conformal.rank(n, dtype(i / 100)) == ceil((n + 1) * (1 - Fraction(i, 100))), (n, i)
    assert conformal.rank(10, 1 - 1e-15) == 1


def test_the_threshold_is_the_kth_smallest_for_any_leading_axes_and_alphas():
    scores, alphas = RNG.standard_normal((2, 3, 50)), np.array([0.05, 0.1, 0.5])
    expected = np.stack(
        [np.quantile(scores, (51 - np.floor(51 * a)) / 50, axis=-1, method="inverted_cdf") for a in alphas], -1
    )
    np.testing.assert_array_equal(conformal.threshold(scores, alphas), expected)
    assert conformal.threshold(scores[0, 0], 0.1).shape == ()
    assert conformal.threshold([1, 3, 2], 0.5) == 2.0


@pytest.mark.parametrize("n, alpha", [(19, 0.1), (20, 0.1), (57, 0.32)])
def test_coverage_given_the_calibration_rows_is_beta(n, alpha):
    scores = RNG.exponential(size=(20_000, n))
    coverage = stats.expon.cdf(np.asarray(conformal.threshold(scores, alpha)))
    law = conformal.coverage_law(n, alpha)
    assert stats.kstest(coverage, law.cdf).pvalue > FALSE_ALARM
    margin = SIGMAS * coverage.std() / np.sqrt(len(coverage))
    assert 1 - alpha - margin < coverage.mean() < 1 - alpha + 1 / (n + 1) + margin
    assert 1 - alpha - 1e-12 <= law.mean() < 1 - alpha + 1 / (n + 1)
    counts = RNG.binomial(8, coverage)  # of eight new rows each
    expected = len(counts) * conformal.coverage_law(n, alpha, num_test=8).pmf(np.arange(9))
    rare = expected < 10
    pooled = lambda values: np.append(values[~rare], values[rare].sum() + 1e-9)
    seen = pooled(np.bincount(counts, minlength=9).astype(float))
    assert stats.chisquare(seen, pooled(expected), sum_check=False).pvalue > FALSE_ALARM


def test_ties_only_add_coverage():
    scores = RNG.poisson(2.0, (20_000, 20)).astype(float)
    coverage = stats.poisson.cdf(np.asarray(conformal.threshold(scores, 0.2)), 2.0)
    law = conformal.coverage_law(20, 0.2)
    # stochastically no smaller: at no level is the distribution function above the law's by more than its margin
    gap = max((np.mean(coverage < c) - law.cdf(c)) for c in np.unique(coverage))
    assert gap < np.sqrt(-np.log(FALSE_ALARM) / 2 / len(coverage)) and coverage.mean() > law.mean() + 0.05


def test_groups_have_coverage_of_their_own_and_a_pooled_threshold_does_not():
    groups = np.arange(60) % 2
    sds = np.where(groups, 3.0, 1.0)
    covered, pooled = np.zeros((400, 2)), np.zeros((400, 2))
    for r, scores in enumerate(np.abs(RNG.standard_normal((400, 60))) * sds):
        thresholds = np.asarray(conformal.group_thresholds(scores, groups, 0.1, num_groups=2))
        np.testing.assert_array_equal(thresholds[1], conformal.threshold(scores[1::2], 0.1))
        covered[r] = 2 * stats.norm.cdf(thresholds / [1, 3]) - 1
        pooled[r] = 2 * stats.norm.cdf(float(conformal.threshold(scores, 0.1)) / np.array([1, 3])) - 1
    law = conformal.coverage_law(30, 0.1)
    assert (abs(covered.mean(0) - law.mean()) < SIGMAS * law.std() / np.sqrt(400)).all()
    assert pooled.mean(0)[1] < 0.85  # the noisier group goes short


def test_a_shift_of_the_inputs_breaks_coverage():
    residuals = lambda x: np.abs(np.sin(x) * RNG.standard_normal(x.shape))
    threshold = conformal.threshold(residuals(RNG.uniform(0, 0.5, (2000, 99))), 0.1)
    new = residuals(RNG.uniform(1, 2, 2000))
    assert np.mean(new <= np.asarray(threshold)) < 0.6


def test_too_few_rows_are_infinite_in_words_and_never_nan():
    with pytest.warns(UserWarning, match=r"threshold: 8 calibration rows are too few for α = 0.1: at least 9"):
        threshold = conformal.threshold(np.arange(8.0), 0.1)
    assert threshold == np.inf
    made = conformal.interval(jnp.zeros(3), threshold, jnp.array([1e-30, 1.0, 2.0]))
    assert np.isneginf(made.lower).all() and np.isposinf(made.upper).all()
    assert np.asarray(conformal.prediction_set(conformal.lac_scores(PROBS), threshold)).all()
    with pytest.warns(
        UserWarning, match=r"1 of 3 groups have too few calibration rows \(group 2: 0 rows\); at least 3"
    ):
        by_class = conformal.group_thresholds(np.arange(10.0), np.arange(10) % 2, 0.25, num_groups=3)
    assert np.isfinite(by_class[:2]).all() and by_class[2] == np.inf
    with pytest.warns(UserWarning, match="jackknife_plus: 3 calibration rows"):
        made = conformal.jackknife_plus(np.ones(3), np.zeros((3, 2)), 0.1)
    assert np.isneginf(made.lower).all() and np.isposinf(made.upper).all()
    with pytest.raises(ValueError, match=r"num_calibration is 8, too few for α = 0.1.*use at least 9"):
        conformal.coverage_law(8, 0.1)
    assert np.isfinite(conformal.threshold(np.arange(9.0), 0.1)) and conformal.coverage_law(9, 0.1).mean() == 0.9


def test_intervals_are_the_labels_whose_score_is_at_most_the_threshold():
    y, low, width, scale = (
        RNG.standard_normal(400),
        RNG.standard_normal(400),
        RNG.uniform(0, 2, 400),
        RNG.uniform(0.1, 2, 400),
    )
    for t in (-0.4, 0.3, 1.5):
        score = conformal.absolute_residual(y, low)
        np.testing.assert_array_equal(conformal.covered(y, conformal.interval(low, t)), score <= t)
        score = conformal.scaled_residual(y, low, scale)
        np.testing.assert_array_equal(conformal.covered(y, conformal.interval(low, t, scale)), score <= t)
        score = conformal.quantile_residual(y, low, low + width)
        np.testing.assert_array_equal(conformal.covered(y, conformal.widened(low, low + width, t)), score <= t)
    several = conformal.interval(low, np.array([[0.3], [1.5]]))
    assert conformal.covered(y, several).shape == (2, 400)
    np.testing.assert_array_equal(several.upper[1], conformal.interval(low, 1.5).upper)


def test_class_scores_are_their_definitions():
    lac, aps = np.asarray(conformal.lac_scores(PROBS)), np.asarray(conformal.aps_scores(PROBS, UNIFORM))
    raps = np.asarray(conformal.raps_scores(PROBS, 0.3, 2, UNIFORM))
    for n, (p, u) in enumerate(zip(PROBS, UNIFORM)):
        for k in range(4):
            before, place = p[p > p[k]].sum(), 1 + (p > p[k]).sum()
            np.testing.assert_allclose(lac[n, k], 1 - p[k], rtol=1e-15)
            np.testing.assert_allclose(aps[n, k], before + u * p[k], rtol=1e-12)
            np.testing.assert_allclose(raps[n, k], before + u * p[k] + 0.3 * max(place - 2, 0), rtol=1e-12)
    np.testing.assert_array_equal(conformal.raps_scores(PROBS, 0.0, 1, UNIFORM), aps)
    np.testing.assert_allclose(jnp.max(conformal.aps_scores(PROBS), axis=1), 1.0, rtol=1e-12)
    np.testing.assert_array_equal(
        conformal.aps_scores(PROBS[:, 0] / 2)[:, 1],
        conformal.aps_scores(np.stack([1 - PROBS[:, 0] / 2, PROBS[:, 0] / 2], 1))[:, 1],
    )
    tied = conformal.aps_scores(np.full((1, 4), 0.25))  # ties in the order of the classes
    np.testing.assert_array_equal(tied, [[0.25, 0.5, 0.75, 1.0]])


def test_the_aps_score_of_a_label_drawn_from_the_forecast_is_uniform_at_every_x():
    start, end = np.asarray(conformal.aps_scores(PROBS, 0.0)), np.asarray(conformal.aps_scores(PROBS, 1.0))
    for t in (0.05, 0.5, 0.9):
        np.testing.assert_allclose(np.clip(t - start, 0, end - start).sum(1), t, rtol=1e-12)


@pytest.mark.parametrize("name", ["lac", "aps", "raps"])
def test_sets_cover_though_the_forecasts_are_wrong(name):
    replications, n, alpha = 3000, 29, 0.1
    probs = RNG.dirichlet([0.6, 0.8, 1.0], replications * (n + 1))
    wrong = probs**3 / np.sum(probs**3, axis=1, keepdims=True)  # over-confident
    labels = (RNG.uniform(size=(len(probs), 1)) > np.cumsum(probs, 1)[:, :2]).sum(1)
    uniform = RNG.uniform(size=len(probs))
    scores = {
        "lac": lambda: conformal.lac_scores(wrong),
        "aps": lambda: conformal.aps_scores(wrong, uniform),
        "raps": lambda: conformal.raps_scores(wrong, 0.1, 1, uniform),
    }[name]()
    own = np.asarray(conformal.at_label(scores, labels)).reshape(replications, n + 1)
    threshold = np.asarray(conformal.threshold(own[:, :n], alpha))
    new = np.arange(replications) * (n + 1) + n
    sets = np.asarray(conformal.prediction_set(scores[new], threshold[:, None]))
    hits = conformal.at_label(sets, labels[new]).sum()
    np.testing.assert_array_equal(np.asarray(conformal.at_label(sets, labels[new])), own[:, n] <= threshold)
    expected = conformal.coverage_law(n, alpha).mean()
    assert stats.binomtest(int(hits), replications, expected).pvalue > FALSE_ALARM
    assert 0.5 < sets.sum(1).mean() < 2.9


def test_a_threshold_may_differ_by_class_or_by_row_and_no_other_way():
    assert conformal.prediction_set(np.ones((2, 3)), np.array([0.5, 1.0, 2.0])).tolist() == [[False, True, True]] * 2
    assert conformal.prediction_set(np.ones((2, 3)), [[0.5], [1.0]]).tolist() == [[False] * 3, [True] * 3]
    with pytest.raises(ValueError, match=r"threshold has shape \(2,\); expected a number, \(3,\) by class or \(2, 1\)"):
        conformal.prediction_set(np.ones((2, 3)), np.ones(2))


def test_jackknife_plus_is_its_definition():
    residuals, predictions = RNG.exponential(size=17), RNG.standard_normal((17, 5))
    made = conformal.jackknife_plus(residuals, predictions, np.array([0.1, 0.25]))
    assert made.lower.shape == (2, 5)
    for a, alpha in enumerate([Fraction(1, 10), Fraction(1, 4)]):
        low, high = int(alpha * 18), ceil((1 - alpha) * 18)
        np.testing.assert_array_equal(made.lower[a], np.sort(predictions - residuals[:, None], 0)[low - 1])
        np.testing.assert_array_equal(made.upper[a], np.sort(predictions + residuals[:, None], 0)[high - 1])
    by_fold = conformal.cv_plus(residuals, np.arange(17), predictions, 0.1)
    np.testing.assert_array_equal(by_fold.lower, made.lower[0])
    folds = np.arange(17) % 3
    np.testing.assert_array_equal(
        conformal.cv_plus(residuals, folds, predictions[:3], 0.1).upper,
        conformal.jackknife_plus(residuals, predictions[:3][folds], 0.1).upper,
    )
    constant = conformal.jackknife_plus(residuals, np.full((17, 1), 2.0), 0.1)  # nothing learnt: split conformal
    np.testing.assert_array_equal(
        constant.upper, conformal.interval(jnp.full(1, 2.0), conformal.threshold(residuals, 0.1)).upper
    )


def test_jackknife_plus_covers_at_least_one_minus_two_alpha_where_training_residuals_do_not():
    n, d, alpha, replications = 20, 14, 0.1, 400
    hits = naive = 0
    for _ in range(replications):
        x, noise = RNG.standard_normal((n + 1, d)), RNG.standard_t(3, n + 1)
        inverse = np.linalg.inv(x[:n].T @ x[:n])
        weights, leverage = inverse @ x[:n].T @ noise[:n], np.einsum("nd,de,ne->n", x[:n], inverse, x[:n])
        error = noise[:n] - x[:n] @ weights
        left_out = weights - (x[:n] @ inverse) * (error / (1 - leverage))[:, None]  # [n, D]
        residuals = np.abs(noise[:n] - np.einsum("nd,nd->n", x[:n], left_out))
        made = conformal.jackknife_plus(residuals, left_out @ x[n:].T, alpha)
        hits += bool(made.lower[0] <= noise[n] <= made.upper[0])
        naive += abs(noise[n] - x[n] @ weights) <= np.asarray(conformal.threshold(np.abs(error), alpha))
    assert stats.binomtest(hits, replications, 1 - 2 * alpha, alternative="less").pvalue > FALSE_ALARM
    assert stats.binomtest(int(naive), replications, 1 - 2 * alpha, alternative="less").pvalue < FALSE_ALARM


def test_scores_and_sets_are_jitted_once_for_all_their_numbers():
    scores = jax.jit(conformal.raps_scores)
    sets = jax.jit(lambda probs, penalty, t: conformal.prediction_set(scores(probs, penalty, 1), t))
    for penalty in (0.1, 0.2):
        expected = conformal.prediction_set(conformal.raps_scores(PROBS, penalty, 1), 0.9)
        np.testing.assert_array_equal(sets(PROBS, penalty, 0.9), expected)
    assert sets._cache_size() == 1


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: conformal.threshold([0.1, np.nan], 0.5), r"threshold: scores has 1 NaN of 2 \(first at \(1,\)\)"),
        (lambda: conformal.threshold([], 0.5), r"scores has shape \(0,\)"),
        (lambda: conformal.threshold([1.0], 1.5), "alpha is 1.5 but must lie strictly between 0 and 1"),
        (lambda: conformal.group_thresholds(np.ones(3), [0, 1, 2], 0.5, 2), "1 of 3 are not .first: row 2, 2"),
        (lambda: conformal.group_thresholds(np.ones(3), [0, 1], 0.5, 2), r"scores has shape \(3,\) and groups \(2,\)"),
        (
            lambda: conformal.absolute_residual(np.ones(3), np.ones((3, 1))),
            r"y has shape \(3,\) but prediction has \(3, 1\)",
        ),
        (
            lambda: conformal.scaled_residual(np.ones(2), np.ones(2), np.array([1.0, 0.0])),
            "scale is .* must be positive",
        ),
        (lambda: conformal.interval(np.ones(2), 1.0, np.zeros(2)), "scale is .* must be positive"),
        (lambda: conformal.interval(np.ones(3), 1.0, np.ones((3, 1))), r"scale has \(3, 1\)"),
        (lambda: conformal.covered(np.ones(3), conformal.Interval(np.ones(2), np.ones(2))), r"y has shape \(3,\)"),
        (lambda: conformal.lac_scores(np.array([[2.0, -1.0]])), "lac_scores: probs has 2 values"),
        (lambda: conformal.aps_scores(PROBS, np.ones(3)), r"uniform has shape \(3,\) but there are 60 rows"),
        (lambda: conformal.at_label(np.ones((2, 3)), [0, 3]), "labels must be integers 0 … 2"),
        (lambda: conformal.at_label(np.ones(3), [0, 1, 2]), r"scores has shape \(3,\); expected \[N, K\]"),
        (lambda: conformal.jackknife_plus(np.ones(3), np.ones((2, 4)), 0.5), "but there are 3 residuals"),
        (lambda: conformal.jackknife_plus(-np.ones(3), np.ones((3, 4)), 0.5), "3 negative values"),
        (lambda: conformal.cv_plus(np.ones(3), [0, 1, 5], np.ones((2, 4)), 0.5), "expected .3,. integers 0 … 1"),
    ],
)
def test_bad_input_is_named_with_its_cure(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_missing_value_is_refused_and_the_infinite_threshold_names_its_level():
    with pytest.raises(ValueError, match=r"covered: y has 1 NaN, which no interval covers"):
        conformal.covered(np.array([1.0, np.nan]), conformal.interval(np.zeros(2), 2.0))
    with pytest.warns(UserWarning, match=r"too few for α = 0.1: at least 9 are needed"):
        assert conformal.threshold(np.arange(5.0), [0.1, 0.5]).tolist() == [np.inf, 2.0]
