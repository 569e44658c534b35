"""Scores of classes and of the real line: identities, exact limits, quadrature; scikit-learn where defined alike."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats
from sklearn.metrics import brier_score_loss, log_loss, mean_pinball_loss

from probjax import losses, scores
from probjax.forecasts import from_logits, from_probs

RNG = np.random.default_rng(0)
N, K = 200, 4
LOGITS = RNG.standard_normal((N, K)) * 3
PROBS = np.asarray(from_logits(LOGITS).probs)
LABELS = RNG.integers(0, K, N)
CHANCE, EVENT = RNG.uniform(0.01, 0.99, N), RNG.integers(0, 2, N)
WEIGHTS = RNG.uniform(0, 2, N)
Y = np.array([-7.0, -0.3, 0.0, 0.6, 2.5, 40.0])
LOC, SCALE = np.array([0.5, -0.3, 0.0, 1.1, -2.0, 0.0]), np.array([1.0, 0.2, 3.0, 0.7, 1.5, 2.0])


def test_log_score_and_brier_are_scikit_learns():
    ours = lambda score, probs, labels: float(scores.mean_and_standard_error(score(probs, labels), WEIGHTS).mean)
    weighted = {"sample_weight": WEIGHTS}
    assert ours(scores.log_score, PROBS, LABELS) == pytest.approx(log_loss(LABELS, PROBS, **weighted), rel=1e-12)
    assert ours(scores.log_score, CHANCE, EVENT) == pytest.approx(log_loss(EVENT, CHANCE, **weighted), rel=1e-12)
    assert ours(scores.brier, CHANCE, EVENT) == pytest.approx(brier_score_loss(EVENT, CHANCE, **weighted), rel=1e-12)
    theirs = np.average(((PROBS - np.eye(K)[LABELS]) ** 2).sum(1), weights=WEIGHTS)
    assert ours(scores.brier, PROBS, LABELS) == pytest.approx(theirs, rel=1e-12)


def test_two_columns_cost_twice_one_and_the_other_scores_the_same():
    columns = np.stack([1 - CHANCE, CHANCE], 1)
    np.testing.assert_allclose(scores.brier(columns, EVENT), 2 * scores.brier(CHANCE, EVENT), rtol=1e-12)
    for score in (scores.log_score, scores.spherical):
        np.testing.assert_allclose(score(columns, EVENT), score(CHANCE, EVENT), rtol=1e-12)


def test_logits_lose_nothing():
    far = np.array([-800.0, 800.0, 40.0])
    np.testing.assert_allclose(scores.log_score(from_logits(far), np.array([1, 0, 1])), [800, 800, np.exp(-40)], 1e-12)
    expected = losses.softmax_cross_entropy(LABELS, LOGITS)
    np.testing.assert_allclose(scores.log_score(from_logits(LOGITS), LABELS), expected, rtol=1e-12)


def test_constant_half_and_sure_forecasts_have_their_known_scores():
    labels = np.array([0, 1])
    np.testing.assert_array_equal(scores.brier(labels.astype(float), labels), 0)
    np.testing.assert_array_equal(scores.log_score(labels.astype(float), labels), 0)
    np.testing.assert_array_equal(scores.spherical(labels.astype(float), labels), -1)
    np.testing.assert_array_equal(scores.brier(np.full(2, 0.5), labels), 0.25)
    assert float(scores.log_score(np.array([0.99]), np.array([0]))[0]) == pytest.approx(-np.log(0.01))
    assert float(scores.log_score(np.array([1.0]), np.array([0]))[0]) == np.inf
    assert float(scores.brier(np.array([0.99]), np.array([0]))[0]) == pytest.approx(0.9801)


@pytest.mark.parametrize("score", [scores.log_score, scores.brier, scores.spherical])
def test_scores_of_classes_are_strictly_proper(score):
    grid = np.array([(i, j, 20 - i - j) for i in range(1, 20) for j in range(1, 20 - i)]) / 20
    by_label = np.stack([score(grid, np.full(len(grid), k)) for k in range(3)], 1)
    expected = grid @ by_label.T  # [truth, forecast]
    np.testing.assert_array_equal(expected.argmin(1), np.arange(len(grid)))
    assert np.sort(expected, 1)[:, 1].min() > 0 or np.all(np.diff(np.sort(expected, 1)[:, :2]) > 1e-6)
    linear = np.stack([-grid[:, k] for k in range(3)], 1)
    assert np.any((grid @ linear.T).argmin(1) != np.arange(len(grid)))  # and the linear score is not


def test_the_standard_error_is_the_textbooks_and_weights_matter_by_ratio():
    values = RNG.standard_normal(50)
    mean, error = scores.mean_and_standard_error(values)
    assert float(mean) == pytest.approx(values.mean(), rel=1e-12)
    assert float(error) == pytest.approx(stats.sem(values), rel=1e-12)
    weights = np.append(np.full(30, 7.0), np.zeros(20))
    some = scores.mean_and_standard_error(np.append(values[:30], [np.inf] * 20), weights)
    np.testing.assert_allclose(some, scores.mean_and_standard_error(values[:30]), rtol=1e-12)
    assert [float(v) for v in scores.mean_and_standard_error(np.array([1.0, np.inf]))] == [np.inf, np.inf]
    assert float(scores.mean_and_standard_error(np.array([1.0])).standard_error) == np.inf


def test_the_weighted_standard_error_is_that_of_repeated_samples():
    """√E[se²] within 4 standard errors of the sd of the mean over 4000 samples; wrong by chance in 1 of 10⁴ runs."""
    rng = np.random.default_rng(1)
    weights = rng.uniform(0.2, 2, (4000, 40))
    values = rng.standard_normal((4000, 40)) * (1 + weights)
    mean, error = jax.vmap(scores.mean_and_standard_error)(values, weights)
    spread, claimed = np.asarray(mean) ** 2, np.asarray(error) ** 2  # the true mean is 0
    ratio = claimed.mean() / spread.mean()
    margin = 4 * np.std(claimed - ratio * spread) / np.sqrt(4000) / spread.mean()
    assert abs(ratio - 1) < margin + 1 / 40  # linearised: right to order 1/n


FAMILIES = {
    "normal": (scores.crps_normal, special.ndtr),
    "laplace": (scores.crps_laplace, stats.laplace.cdf),
    "logistic": (scores.crps_logistic, special.expit),
    "student_t_1.5": (lambda *a: scores.crps_student_t(1.5, *a), lambda z: special.stdtr(1.5, z)),
    "student_t_60": (lambda *a: scores.crps_student_t(60.0, *a), lambda z: special.stdtr(60.0, z)),
}


def crps_by_quadrature(cdf, sf, y, points):
    """∫(F − 1{y ≤ z})² dz, each side cut at `points` and its tail over a half-line."""
    cuts = np.sort(np.append(points, y))
    precise = {"epsabs": 1e-13, "epsrel": 1e-12, "limit": 200}
    pieces = lambda f, ends: sum(integrate.quad(f, a, b, **precise)[0] for a, b in pairwise(ends))
    below, above = np.append(-np.inf, cuts[cuts <= y]), np.append(cuts[cuts >= y], np.inf)
    return pieces(lambda z: cdf(z) ** 2, below) + pieces(lambda z: sf(z) ** 2, above)


@pytest.mark.parametrize("name", FAMILIES)
def test_crps_is_its_integral(name):
    score, cdf = FAMILIES[name]
    ours = np.asarray(jax.jit(score)(LOC, SCALE, Y))
    for value, loc, scale, y in zip(ours, LOC, SCALE, Y):
        z = (y - loc) / scale
        expected = scale * crps_by_quadrature(cdf, lambda z: cdf(-z), z, np.array([-30, -6, -2, 0, 2, 6, 30.0]))
        assert value == pytest.approx(expected, rel=1e-10)


def test_crps_of_a_mixture_is_its_integral_and_of_one_component_the_normals():
    weights, loc, scale = np.array([0.2, 0.5, 0.3]), np.array([-1.0, 0.5, 3.0]), np.array([0.5, 1.0, 2.0])
    y = np.array([-4.0, 0.0, 5.0])
    ours = scores.crps_normal_mixture(weights, np.tile(loc, (3, 1)), np.tile(scale, (3, 1)), y)
    cdf = lambda z: weights @ special.ndtr((z - loc) / scale)
    sf = lambda z: weights @ special.ndtr((loc - z) / scale)
    expected = [crps_by_quadrature(cdf, sf, value, np.array([-6, -2, 0, 2, 6, 12.0])) for value in y]
    np.testing.assert_allclose(ours, expected, rtol=1e-10)
    one = scores.crps_normal_mixture(np.ones((6, 1)), LOC[:, None], SCALE[:, None], Y)
    np.testing.assert_allclose(one, scores.crps_normal(LOC, SCALE, Y), rtol=1e-12)


def test_student_t_ends_at_the_normal_and_its_two_ways_meet():
    student_t = jax.jit(scores.crps_student_t)
    np.testing.assert_allclose(student_t(1e9, LOC, SCALE, Y), scores.crps_normal(LOC, SCALE, Y), rtol=1e-8)
    assert abs(student_t(50.0, LOC, SCALE, Y) - student_t(50 + 1e-12, LOC, SCALE, Y)).max() < 1e-12


@pytest.mark.parametrize("name", FAMILIES)
def test_the_derivative_of_crps_by_y_is_how_far_cdf_is_from_half(name):
    """∂CRPS/∂y = 2F(y) − 1, at the middle too."""
    score, cdf = FAMILIES[name]
    slope = jax.jit(jax.grad(lambda y: jnp.sum(score(LOC, SCALE, y))))(Y)
    np.testing.assert_allclose(slope, 2 * cdf((Y - LOC) / SCALE) - 1, atol=1e-10)


def test_quantile_score_is_scikit_learns_and_twice_its_integral_is_crps():
    prediction, y = RNG.standard_normal(50), RNG.standard_normal(50)
    ours = float(jnp.mean(scores.quantile_score(prediction, y, 0.3)))
    assert ours == pytest.approx(mean_pinball_loss(y, prediction, alpha=0.3), rel=1e-12)
    nodes, node_weights = np.polynomial.legendre.leggauss(400)  # split at F(y), where the score has a kink
    kink = stats.norm.cdf(0.7)
    total = 0.0
    for low, high in ((0.0, kink), (kink, 1.0)):
        p = low + (high - low) * (nodes + 1) / 2
        values = scores.quantile_score(stats.norm.ppf(p), np.full(400, 0.7), p)
        total += (high - low) / 2 * float(node_weights @ np.asarray(values))
    assert 2 * total == pytest.approx(float(scores.crps_normal(0.0, 1.0, np.array([0.7]))[0]), abs=1e-5)


def test_interval_score_is_two_quantile_scores():
    lower, upper = np.sort(RNG.standard_normal((2, 50)), 0)
    y = RNG.standard_normal(50) * 2
    both = scores.quantile_score(lower, y, 0.1) + scores.quantile_score(upper, y, 0.9)
    np.testing.assert_allclose(scores.interval_score(lower, upper, y, 0.8), 2 / 0.2 * both, rtol=1e-12, atol=1e-12)


BAD = [
    (lambda: scores.log_score(np.array([1.2]), np.array([0])), "outside"),
    (lambda: scores.brier(np.array([[0.5, 0.4]]), np.array([0])), "sum to 1"),
    (lambda: scores.brier(PROBS, LABELS + 1), "labels must be integers"),
    (lambda: scores.spherical(CHANCE, EVENT[:5]), "labels has shape"),
    (lambda: scores.mean_and_standard_error(np.array([1.0, np.nan])), "1 NaN of 2"),
    (lambda: scores.mean_and_standard_error(np.ones((2, 1))), r"expected \[N\]"),
    (lambda: scores.mean_and_standard_error(np.ones(2), np.array([1.0, -1.0])), "row 1, -1"),
    (lambda: scores.mean_and_standard_error(np.ones(2), np.zeros(2)), "all weights are 0"),
    (lambda: scores.crps_normal(LOC[:, None], SCALE, Y), "loc has shape"),
    (lambda: scores.crps_normal(LOC, -SCALE, Y), "must be positive"),
    (lambda: scores.crps_normal(LOC, SCALE, Y * np.nan), "must be a finite number"),
    (lambda: scores.crps_student_t(1.0, LOC, SCALE, Y), "above 1"),
    (lambda: scores.crps_normal_mixture(np.ones((1, 2)), np.ones((1, 2)), np.ones((1, 2)), np.ones(1)), "sum to 1"),
    (lambda: scores.interval_score(np.ones(2), np.zeros(2), np.ones(2), 0.9), "above upper in 2 rows"),
    (lambda: scores.interval_score(0.0, 1.0, np.ones(2), 90), "strictly between 0 and 1"),
]


@pytest.mark.parametrize("call, message", BAD)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_scores_compile_and_map_over_a_leading_axis():
    jitted = jax.jit(scores.brier)(PROBS, LABELS)
    np.testing.assert_allclose(jitted, scores.brier(from_probs(PROBS), LABELS), rtol=1e-12)
    mapped = jax.vmap(scores.log_score, in_axes=(0, None))(np.stack([PROBS, PROBS[::-1]]), LABELS)
    np.testing.assert_allclose(mapped[0], scores.log_score(PROBS, LABELS), rtol=1e-12)


def test_labels_that_are_no_classes_have_no_score_inside_a_trace():
    both, labels = np.array([[0.2, 0.8], [0.5, 0.5], [0.6, 0.4]]), np.array([1, 2, -1])
    for probs in (both, both[:, 1]):
        for score in (scores.log_score, scores.brier, scores.spherical):
            assert np.isnan(jax.jit(score)(probs, labels)).tolist() == [False, True, True]
    with pytest.raises(ValueError, match=r"labels are <U1, not numbers; encode classes as 0 … 1"):
        scores.log_score(both, np.array(["a", "b", "a"]))
