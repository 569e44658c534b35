"""Bins, binned and unbinned calibration errors: against plain NumPy, by identity, and by replication with margins."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import expit
from sklearn.calibration import calibration_curve

from probjax import calibration as cal
from probjax.forecasts import from_logits, from_probs

NUM_SETS = 400
Z = 4.5  # standard errors allowed of a Monte-Carlo mean: a false alarm in 150,000


def logits_and_labels(rng, num_rows, scale=2.0):
    z = scale * rng.standard_normal(num_rows)
    return z, (rng.random(num_rows) < expit(z)).astype(int)


@pytest.fixture(scope="module")
def binary():
    z, labels = logits_and_labels(np.random.default_rng(0), 2000)
    return expit(1.5 * z), labels


@pytest.mark.parametrize("num_bins", [3, 10, 15, 100])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_edge_belongs_to_the_bin_above_it_and_one_to_the_last(num_bins, dtype):
    edges = cal.equal_width_edges(num_bins)
    at = edges.astype(dtype)
    probs = np.concatenate([at, np.nextafter(at[1:], dtype(0))])
    expected = np.concatenate([np.arange(num_bins), [num_bins - 1], np.arange(num_bins)])
    assert np.array_equal(cal.bin_index(jnp.asarray(probs), edges), expected)


def test_bins_are_those_of_scikit_learn(binary):
    for bins, strategy in (("equal_width", "uniform"), ("equal_mass", "quantile")):
        found = cal.bin_forecasts(*binary, num_bins=10, bins=bins)
        frequency, forecast = calibration_curve(binary[1], binary[0], n_bins=10, strategy=strategy)
        assert np.allclose(found.frequency, frequency, atol=1e-12)
        assert np.allclose(found.forecast, forecast, atol=1e-12)
    assert found.count.sum() == 2000 and (found.count == 200).all()


def test_ties_share_a_bin_and_cuts_go_to_the_nearest_gap():
    probs = np.repeat([0.2, 0.3, 1.0], [60, 25, 15])
    found = cal.bin_forecasts(probs, np.arange(100) % 2, num_bins=2)
    assert found.count.tolist() == [60, 40]
    found = cal.bin_forecasts(probs, np.arange(100) % 2, num_bins=50)
    assert found.count.tolist() == [60, 25, 15] and found.low.tolist() == [0, 0.3, 1.0]


@pytest.mark.parametrize("bins", ["equal_mass", "equal_width"])
@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_the_error_is_what_its_words_say(binary, bins, norm):
    probs, labels = binary
    result = cal.calibration_error(*binary, num_bins=12, bins=bins, norm=norm)
    places = np.round(np.arange(1, 12) * 2000 / 12).astype(int)
    cuts = np.linspace(0, 1, 13)[1:-1] if bins == "equal_width" else np.sort(probs)[places]
    which = np.digitize(probs, cuts)
    gaps = np.array([labels[which == b].mean() - probs[which == b].mean() for b in range(12)])
    share = np.bincount(which) / 2000
    expected = {"l1": share @ abs(gaps), "l2": np.sqrt(share @ gaps**2), "max": abs(gaps).max()}[norm]
    assert abs(result.value - expected) < 1e-12
    assert result.low < result.high and result.value > result.null_value
    assert (result.low > 0) or norm != "l1"
    text = str(result)
    assert bins.replace("_", " ") in text and "[a, b)" in text and cal.errors.NORMS[norm] in text


def test_what_a_calibrated_model_shows_is_its_average():
    rng = np.random.default_rng(1)
    probs = expit(rng.standard_normal(3000))
    values = {norm: [] for norm in ("l1", "l2", "max")}
    found = cal.bin_forecasts(probs, np.zeros(3000, int), num_bins=10)
    index = np.asarray(cal.bin_index(jnp.asarray(probs), np.append(found.low, 1.0)))
    for _ in range(NUM_SETS):
        frequency = np.bincount(index, rng.random(3000) < probs) / found.count
        for norm in values:
            values[norm].append(cal.errors._distance(norm, abs(frequency - found.forecast), found.count))
    for norm, seen in values.items():
        # a hundredth for the normal approximation, and for p̄(1 − p̄) in place of the mean of p(1 − p)
        margin = Z * np.std(seen) / np.sqrt(NUM_SETS) + 0.01 * np.mean(seen)
        assert abs(np.mean(seen) - cal.null_value(found, norm)) < margin
    largest = integrate.quad(  # E max = ∫ P(max > v), in closed form
        lambda v: 1 - np.prod(2 * stats.norm.cdf(v * np.sqrt(found.count / found.forecast / (1 - found.forecast))) - 1),
        0,
        1,
    )[0]
    assert abs(cal.null_value(found, "max") / largest - 1) < 0.01


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_intervals_hold_the_error_and_the_debiased_square_has_no_bias(temperature):
    rng = np.random.default_rng(2)
    nodes = stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000) * 2
    which = np.digitize(expit(temperature * nodes), np.arange(1, 10) / 10)
    share = np.bincount(which) / len(nodes)
    gaps = np.bincount(which, expit(nodes) - expit(temperature * nodes)) / len(nodes) / share
    held, squares, square_held = 0, [], 0
    settings = {"num_bins": 10, "bins": "equal_width"}
    for _ in range(60):
        z, labels = logits_and_labels(rng, 1000)
        result = cal.calibration_error(expit(temperature * z), labels, **settings)
        held += result.low <= share @ abs(gaps) + 1e-12 <= result.high + 1e-12
    for _ in range(NUM_SETS):
        z, labels = logits_and_labels(rng, 400)
        square = cal.debiased_squared_error(expit(temperature * z), labels, **settings)
        squares.append(square.value)
        square_held += square.low <= share @ gaps**2 <= square.high
    assert held >= 48  # P(Bin(60, 0.93) < 48) = 2e-4
    assert square_held / NUM_SETS > 0.9
    assert abs(np.mean(squares) - share @ gaps**2) < Z * np.std(squares) / np.sqrt(NUM_SETS)


def test_the_debiased_square_is_that_of_ferro_and_fricker_where_forecasts_are_constant_in_bins():
    rng = np.random.default_rng(3)
    probs = rng.choice([0.1, 0.4, 0.8], 300)
    labels = (rng.random(300) < 0.5).astype(int)
    result = cal.debiased_squared_error(probs, labels, num_bins=10)
    n, p, f = result.bins.count, result.bins.forecast, result.bins.frequency
    assert abs(result.value - n / 300 @ ((f - p) ** 2 - f * (1 - f) / (n - 1))) < 1e-12


def test_classwise_and_top_label_are_binary_errors(binary):
    rng = np.random.default_rng(4)
    probs = rng.dirichlet([1, 1, 1], 500)
    labels = rng.integers(0, 3, 500)
    classwise = cal.classwise_error(probs, labels)
    each = [cal.calibration_error(probs[:, k], (labels == k).astype(int)) for k in range(3)]
    assert abs(classwise.value - np.mean([e.value for e in each])) < 1e-12
    assert abs(classwise.high - np.mean([e.high for e in each])) < 1e-12
    top = cal.top_label_error(probs, labels)
    right = cal.calibration_error(probs.max(1), (probs.argmax(1) == labels).astype(int))
    assert top.value == right.value and "classes" in str(classwise)


def test_the_kernel_error_is_its_double_sum_and_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(5)
    probs, labels = rng.dirichlet([1, 2, 1], 60), rng.integers(0, 3, 60)
    residual = np.eye(3)[labels] - probs
    distance = 0.5 * abs(probs[:, None] - probs).sum(-1)
    h = np.exp(-distance / 0.3) * (residual @ residual.T)
    result = cal.kernel_calibration_error(probs, labels, bandwidth=0.3)
    assert abs(result.value - h[np.triu_indices(60, 1)].mean()) < 1e-12
    pairs = h[np.arange(0, 60, 2), np.arange(1, 60, 2)]
    linear = cal.kernel_calibration_error(probs, labels, bandwidth=0.3, linear=True)
    assert abs(linear.value - pairs.mean()) < 1e-12
    assert abs(linear.standard_error - stats.sem(pairs)) < 1e-12
    monkeypatch.setattr(cal.kernel, "BLOCK_NUMBERS", 7 * 60)
    totals, squares = cal.kernel_sums(jnp.asarray(probs), jnp.asarray(labels), 0.3)
    np.fill_diagonal(h, 0)
    assert np.allclose(totals, h.sum(1), atol=1e-12) and np.allclose(squares, (h**2).sum(1), atol=1e-12)


def test_one_column_has_the_kernel_error_of_two(binary):
    probs, labels = binary[0][:200], binary[1][:200]
    one = cal.kernel_calibration_error(probs, labels)
    two = cal.kernel_calibration_error(np.stack([1 - probs, probs], 1), labels)
    assert abs(one.value - two.value) < 1e-12


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_kernel_error_is_unbiased_and_its_standard_error_is_its_sd(temperature):
    rng = np.random.default_rng(6)
    found = []
    for _ in range(NUM_SETS):
        z, labels = logits_and_labels(rng, 100)
        found.append(cal.kernel_calibration_error(expit(temperature * z), labels, bandwidth=0.2))
    z = np.random.default_rng(7).standard_normal((2, 1_000_000)) * 2  # the expectation, from independent pairs
    p = expit(temperature * z)
    h = 2 * np.exp(-abs(p[0] - p[1]) / 0.2) * (expit(z[0]) - p[0]) * (expit(z[1]) - p[1])
    values = np.array([one.value for one in found])
    assert abs(values.mean() - h.mean()) < Z * np.hypot(values.std() / np.sqrt(NUM_SETS), h.std() / 1000)
    errors = np.sqrt(np.mean([one.standard_error**2 for one in found]))
    # the sd of 400 values has a standard error near 5%; under calibration the first term, 0, is estimated as 0 or more
    assert 0.8 < errors / values.std(ddof=1) < (1.25 if temperature > 1 else 1.6)


def test_the_calibration_curve_is_found_and_the_index_with_it():
    z, labels = logits_and_labels(np.random.default_rng(8), 20_000)
    probs = expit(2 * z)
    result = cal.integrated_calibration_index(probs, labels)
    truth = np.abs(probs - expit(z))
    assert result.low < truth.mean() < result.high and result.high - result.low < 0.02
    assert np.abs(result.curve - expit(z)).mean() < 0.01  # five coefficients: about √(5/20,000)/2
    assert abs(result.e50 - np.median(truth)) < 0.01 and abs(result.e90 - np.quantile(truth, 0.9)) < 0.02
    calm = cal.integrated_calibration_index(expit(z), labels)
    assert calm.low == 0.0 and calm.ici < 3 * calm.null_value < 0.02


@pytest.mark.parametrize(
    "measure",
    [cal.calibration_error, cal.debiased_squared_error, cal.integrated_calibration_index, cal.reliability_diagram],
)
def test_awkward_input_has_an_answer_with_its_caveat(measure):
    said = lambda probs, labels: " ".join(measure(np.asarray(probs), np.asarray(labels)).caveats)
    assert "equal" in said([0.5] * 40, [0, 1] * 20) or "one bin" in said([0.5] * 40, [0, 1] * 20)
    assert "all labels are 1" in said(np.linspace(0.1, 0.9, 40), [1] * 40)
    assert said([0.2, 0.3, 0.4, 0.9], [0, 1, 0, 1])
    for result in (measure(np.array([0.0, 1.0, 0.0, 1.0]), np.array([0, 1, 0, 1])),):
        assert all(np.isfinite(value).all() for value in result if isinstance(value, float | np.ndarray))
    with pytest.raises(ValueError, match="remove those rows"):
        measure(np.array([0.1, np.nan]), np.array([0, 1]))
    with pytest.raises(ValueError, match="labels must be integers"):
        measure(np.array([0.1, 0.2]), np.array([0, 2]))
    with pytest.raises(ValueError, match="one event"):
        measure(np.array([[0.5, 0.5]]), np.array([0]))


def test_settings_that_are_none_are_refused(binary):
    with pytest.raises(ValueError, match="l1, l2, max"):
        cal.calibration_error(*binary, norm="L3")
    with pytest.raises(ValueError, match="equal_mass, equal_width"):
        cal.calibration_error(*binary, bins="uniform")
    with pytest.raises(ValueError, match="num_bins"):
        cal.calibration_error(*binary, num_bins=0)
    with pytest.raises(ValueError, match="level"):
        cal.calibration_error(*binary, level=95)
    with pytest.raises(ValueError, match="too few pairs"):
        cal.kernel_calibration_error(np.array([0.5]), np.array([1]))


def test_sums_of_bins_are_traced(binary):
    probs, labels = map(jnp.asarray, binary)
    count, total, events = jax.jit(cal.bin_sums)(probs, labels, jnp.asarray(cal.equal_width_edges(15)))
    which = np.minimum((binary[0] * 15).astype(int), 14)
    assert np.array_equal(count, np.bincount(which)) and np.array_equal(events, np.bincount(which, binary[1]))
    assert np.allclose(total, np.bincount(which, binary[0]), atol=1e-10)


def test_the_curve_bends_between_its_outer_knots_only():
    logit = np.linspace(-5, 5, 201)  # outer knots at ±4.5
    bend = np.abs(np.diff(cal.smooth._basis(logit), 2, axis=0))
    assert bend[np.abs(logit[1:-1]) > 4.56].max() < 1e-12
    assert bend.shape == (199, 5) and bend[:, 2:].max(0).min() > 1e-4


def test_a_forecast_is_sent_back_for_its_probabilities_and_ties_outlive_it():
    probs = np.array([[0.7, 0.1, 0.2], [0.7, 0.3 - 0.1, 0.1], [0.7, 0.05, 0.25]])
    forecast = from_probs(probs)
    assert len(np.unique(forecast.probs[:, 0])) == 1  # rows whose sums differ by rounding
    with pytest.raises(TypeError, match=r"probs is a Forecast; pass its .probs \[N, K\]"):
        cal.top_label_error(forecast, np.array([0, 0, 1]))
    with pytest.warns(UserWarning, match="all log-odds lie in"):
        from_logits(np.linspace(0, 1, 30))


def test_where_events_are_few_the_null_value_is_still_what_calibrated_models_show():
    rng = np.random.default_rng(5)
    p = 10 ** rng.uniform(-4, -2, 600)
    found = cal.bin_forecasts(p, np.zeros(600, int), num_bins=15)
    place = np.searchsorted(found.low[1:], p, side="right")
    errors = []
    for _ in range(4000):
        hits = np.bincount(place, rng.random(600) < p, minlength=15)
        errors.append(np.abs(hits / found.count - found.forecast) @ found.count / 600)
    stated, mean, error = cal.null_value(found), np.mean(errors), np.std(errors) / np.sqrt(4000)
    assert mean - 4 * error < stated < 1.02 * mean  # an upper bound (Hoeffding), close where p is small
    assert (
        np.sum(np.sqrt(2 / np.pi * found.forecast * (1 - found.forecast) / found.count) * found.count) / 600
        > 1.3 * mean
    )


def test_the_null_value_is_the_binomials_mean_deviation():
    for n, p in ((1, 0.3), (7, 0.0), (7, 1.0), (12, 0.25), (40, 0.01)):
        found = cal.Bins(*(np.array([v]) for v in (0.0, 1.0, n, p, p)))
        k = np.arange(n + 1)
        expected = float(np.abs(k / n - p) @ stats.binom.pmf(k, n, p))
        assert cal.null_value(found) == pytest.approx(expected, rel=1e-12, abs=1e-300)


def test_bins_of_single_rows_leave_the_debiased_square_undetermined():
    result = cal.debiased_squared_error(np.array([0.1, 0.5, 0.9]), np.array([0, 1, 1]), num_bins=3)
    assert np.isnan(result.value) and any("no bin holds two rows" in said for said in result.caveats)
