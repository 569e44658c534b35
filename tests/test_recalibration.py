"""Calibrators against first-order conditions, against SciPy and scikit-learn, at their limits, and on bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recalibration_parts import NUM_DATA, binary_rows, class_rows
from scipy.optimize import minimize
from scipy.special import expit, log_expit, log_softmax

from probjax.forecasts import Forecast, from_logits, from_probs
from probjax.recalibration import (
    assess,
    beta,
    floored,
    histogram_binning,
    isotonic,
    matrix_scaling,
    one_vs_rest,
    platt,
    platt_from_margins,
    temperature,
    vector_scaling,
)


@pytest.fixture(scope="module")
def classes():
    return class_rows()


@pytest.fixture(scope="module")
def binary():
    return binary_rows()


def logistic_loss(columns, targets):
    """Mean cross-entropy in the coefficients, and its gradient."""

    def loss(w):
        f = columns @ w
        return -np.mean(targets * log_expit(f) + (1 - targets) * log_expit(-f)), columns.T @ (expit(f) - targets) / len(
            f
        )

    return loss


def platt_targets(labels):
    ones = labels.sum()
    return np.where(labels == 1, (ones + 1) / (ones + 2), 1 / (len(labels) - ones + 2))


@pytest.mark.parametrize("size, smoothing", [(NUM_DATA, True), (NUM_DATA, False), (20_000, True)])
def test_platt_is_stationary_and_not_above_scikit_learn(binary, size, smoothing):
    from sklearn.calibration import _SigmoidCalibration

    rng = np.random.default_rng(4)
    f = binary[0] if size == NUM_DATA else 3 * rng.standard_normal(size) + 1
    labels = binary[1] if size == NUM_DATA else (rng.uniform(size=size) < expit(0.3 * f + 1)).astype(int)
    fitted = platt(from_logits(f), labels, smoothing=smoothing)
    loss = logistic_loss(np.column_stack([f, np.ones(size)]), platt_targets(labels) if smoothing else labels)
    value, gradient = loss(np.array(fitted.params))
    assert fitted.info["converged"] and np.abs(gradient).max() < 1e-10
    if smoothing:
        peer = _SigmoidCalibration().fit(f, labels)
        assert value <= loss(-np.array([peer.a_, peer.b_]))[0] + 1e-15
        assert np.allclose(fitted.params, [-peer.a_, -peer.b_], atol=1e-4)
        assert np.allclose(fitted(from_logits(f)).probs[:, 1], peer.predict(f), atol=1e-5)


def test_platt_of_an_affine_map_of_margins_forecasts_the_same(binary):
    f, labels = binary
    one = platt_from_margins(f, labels)(from_logits(f))
    other = platt_from_margins(5 - 100 * f, labels)
    assert np.allclose(other(from_logits(5 - 100 * f)).probs, one.probs, atol=1e-9)
    assert "negative: the order of rows is reversed" in other.note
    with pytest.raises(ValueError, match=r"margins has shape \(200, 2\); expected \[N\]"):
        platt_from_margins(f.reshape(-1, 2), labels[:200])


def test_smoothed_targets_survive_what_plain_ones_cannot():
    f = from_logits(np.array([-2.0, -1, 1, 2]))
    apart, alone = np.array([0, 0, 1, 1]), np.ones(4, int)
    assert 0 < platt(f, apart).params.slope < 10
    fitted = platt(f, alone)
    assert fitted.params.slope == pytest.approx(0, abs=1e-8)
    assert np.allclose(fitted(f).probs[:, 1], 5 / 6)
    for labels, words in (
        (apart, "a threshold separates"),
        (1 - apart, "a threshold separates"),
        (alone, "all 4 rows"),
    ):
        with pytest.raises(ValueError, match=words):
            platt(f, labels, smoothing=False)
    touching = from_logits(np.array([-2.0, 1, 1, 2]))
    with pytest.raises(ValueError, match="a threshold separates"):
        platt(touching, apart, smoothing=False)


def test_constant_forecasts_give_the_share(binary):
    labels = binary[1]
    constant = from_probs(np.full(NUM_DATA, 0.3))
    for fit in (lambda *rows: platt(*rows, smoothing=False), beta, isotonic):
        assert np.allclose(fit(constant, labels)(constant).probs[:, 1], labels.mean(), atol=1e-9)
    assert "constant" in platt(constant, labels).note


def test_certain_forecasts_are_refused_where_they_have_no_logit_and_floored_ones_are_not(binary, classes):
    first = np.arange(NUM_DATA) < 20
    two = from_probs(np.where(first, 0.0, expit(binary[0])))
    four = from_logits(np.where(first[:, None], [[0, 0, 0, -np.inf]], classes[0]))
    for fit in (platt, beta, vector_scaling, matrix_scaling):
        certain, labels = (two, binary[1]) if fit in (platt, beta) else (four, classes[1])
        with pytest.raises(ValueError, match=r"20 of 400 rows have a probability of exactly 0.*floored"):
            fit(certain, labels)
        fitted = fit(floored(certain, 0.01), labels)
        assert np.isfinite(fitted(certain).log_probs).all()  # and a certain row to come is finite too
    assert np.allclose(floored(two, 0.01).probs[:20, 1], 0.01 / 1.01)
    for fit in (isotonic, histogram_binning):
        assert np.allclose(fit(two, binary[1])(two).probs.sum(1), 1)


@pytest.mark.parametrize("true_a, true_b", [(0.6, 1.4), (-0.5, 1.0), (1.0, -0.5), (-0.5, -0.7)])
def test_beta_calibration_is_the_bounded_optimum(binary, true_a, true_b):
    rng = np.random.default_rng(5)
    p = expit(binary[0])
    labels = (rng.uniform(size=NUM_DATA) < expit(true_a * np.log(p) - true_b * np.log1p(-p))).astype(int)
    fitted = beta(from_probs(p), labels)
    loss = logistic_loss(np.column_stack([np.log(p), -np.log1p(-p), np.ones(NUM_DATA)]), labels)
    peer = minimize(
        loss, np.ones(3), jac=True, bounds=[(0, None), (0, None), (None, None)], options={"ftol": 1e-15, "gtol": 1e-10}
    )
    found = np.array(fitted.params)
    assert loss(found)[0] <= peer.fun + 1e-14 and np.allclose(found, peer.x, atol=1e-5)
    gradient = loss(found)[1]
    assert (found[:2] >= 0).all() and (gradient[:2] >= -1e-9).all() and np.abs(found * gradient).max() < 1e-9


def test_beta_calibration_needs_both_classes_not_apart():
    f = from_logits(np.array([-2.0, -1, 1, 2]))
    with pytest.raises(ValueError, match=r"a threshold separates.*use platt"):
        beta(f, np.array([0, 0, 1, 1]))
    reversed_ = beta(f, np.array([1, 1, 0, 0]))
    assert np.allclose(reversed_(f).probs, 0.5) and "constant" in reversed_.note


@pytest.mark.parametrize("decimals", [16, 2])
def test_isotonic_is_scikit_learns_and_optimal(binary, decimals):
    from sklearn.isotonic import IsotonicRegression

    p, labels = np.round(expit(binary[0][:80]), decimals), binary[1][:80]
    fitted = isotonic(from_probs(p), labels)
    seen = np.asarray(jnp.exp(from_probs(p).log_probs[:, 1]))
    peer = IsotonicRegression(out_of_bounds="clip").fit(seen, labels)
    new = np.concatenate([seen, np.linspace(0, 1, 200)])
    new_seen = np.asarray(jnp.exp(from_probs(new).log_probs[:, 1]))
    assert np.allclose(fitted(from_probs(new)).probs[:, 1], peer.predict(new_seen), atol=1e-12)
    values = np.asarray(fitted(from_probs(p)).probs[:, 1])
    order = np.argsort(seen)
    points = np.unique(seen)
    mean = lambda low, high: labels[(seen >= low) & (seen <= high)].mean()
    for x in points[:: max(1, len(points) // 8)]:  # max over lower ends of the min over upper ends of the mean
        expected = max(min(mean(low, high) for high in points[points >= x]) for low in points[points <= x])
        assert values[seen == x] == pytest.approx(expected, abs=1e-12)
    assert (np.diff(values[order]) >= -1e-15).all()


def test_isotonic_of_one_class_and_of_certain_rows_says_where_it_is_certain():
    forecast = from_probs(np.array([0.0, 0.2, 1.0, 1.0]))
    fitted = isotonic(forecast, np.array([0, 1, 1, 0]))
    assert np.allclose(fitted(forecast).probs[:, 1], [0, 2 / 3, 2 / 3, 2 / 3]) and "1 of 4 rows" in fitted.note
    assert np.allclose(isotonic(forecast, np.ones(4, int))(forecast).probs[:, 1], 1)


def test_histogram_bins_hold_smoothed_shares():
    p, labels = np.array([0.0, 0.49, 0.5, 0.99, 1.0]), np.array([0, 1, 1, 1, 0])
    fit = lambda **settings: histogram_binning(from_probs(p), labels, **settings)
    halves = fit(num_bins=2, equal_mass=False)
    assert np.allclose(halves.params.values, [2 / 4, 3 / 5]) and halves.info["counts"].tolist() == [2, 3]
    plain = fit(num_bins=4, equal_mass=False, pseudo_count=0.0)
    assert np.allclose(plain.params.values, [0, 1, 1, 0.5]) and plain.note == ""
    empty = fit(num_bins=10, equal_mass=False, pseudo_count=0.0)
    assert empty.params.values[2] == pytest.approx(0.25) and "6 of 10 bins have no row" in empty.note
    assert fit(num_bins=3).info["counts"].tolist() == [2, 1, 2]
    tied = histogram_binning(from_probs(np.full(5, 0.3)), labels)
    assert np.allclose(tied.params.values, [4 / 7])
    with pytest.raises(ValueError, match="pseudo_count is -1"):
        fit(pseudo_count=-1.0)


def test_one_vs_rest_divides_each_class_s_own_map(classes):
    logits, labels = classes
    forecast = from_logits(logits)
    fitted = one_vs_rest(platt)(forecast, labels)
    p = np.exp(log_softmax(logits, axis=1))
    own = [platt(from_probs(p[:, k]), (labels == k).astype(int))(from_probs(p[:, k])).probs[:, 1] for k in range(4)]
    own = np.stack(own, axis=1)
    assert np.allclose(fitted(forecast).probs, own / own.sum(1, keepdims=True), atol=1e-9)
    nobody = one_vs_rest(isotonic)(from_probs(np.eye(3)[[0, 1, 2]] * 0.4 + 0.2), np.array([0, 1, 2]))
    assert np.allclose(nobody(from_probs(np.full((1, 3), 1 / 3))).probs, 1 / 3)
    with pytest.raises(ValueError, match=r"forecast has 4 classes but isotonic is for 2.*one_vs_rest\(isotonic\)"):
        isotonic(forecast, labels)


def test_maps_are_traced_once_for_every_fit(classes, binary):
    logits, labels = classes
    forecast = from_logits(logits)
    runs = []

    @jax.jit
    def run(calibrator_apply, params, forecast):
        runs.append(1)
        return calibrator_apply(params, forecast)

    for rows in (slice(0, 200), slice(200, 400)):
        part = from_logits(logits[rows])
        fitted = temperature(part, labels[rows])
        assert np.allclose(run(fitted.apply, fitted.params, forecast).log_probs, fitted(forecast).log_probs, atol=1e-14)
    assert len(runs) == 1
    two = from_logits(binary[0])
    for fitted in (isotonic(two, binary[1]), histogram_binning(two, binary[1]), one_vs_rest(platt)(forecast, labels)):
        inside = forecast if fitted.name.startswith("one") else two
        assert np.allclose(jax.jit(fitted.apply)(fitted.params, inside).probs, fitted(inside).probs, atol=1e-12)
    assert jax.tree.map(lambda leaf: leaf, fitted).name == fitted.name


def test_a_forecast_is_asked_for_by_type_and_labels_by_range(classes):
    logits, labels = classes
    fitted = temperature(from_logits(logits), labels)
    with pytest.raises(TypeError, match=r"forecast is a ndarray; expected a Forecast.*from_logits"):
        temperature(logits, labels)
    with pytest.raises(TypeError, match="maps a Forecast, not a ndarray"):
        fitted(logits)
    with pytest.raises(ValueError, match="labels must be integers 0 … 3; 1 of 400 are not"):
        temperature(from_logits(logits), np.where(np.arange(NUM_DATA) == 5, 4, labels))
    with pytest.raises(ValueError, match=r"log_probs has NaN in 1 of 2 rows \(first: row 1\)"):
        assess(fitted, Forecast(jnp.array([[-0.1, -2.0, -2, -2], [jnp.nan, 0, 0, 0]])), np.array([0, 1]))
