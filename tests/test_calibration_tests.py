"""The calibration test: its size and power; diagrams' bands; regression calibration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from experiments import calibration_test_rates as rates
from probjax import calibration as cal


@pytest.fixture(scope="module")
def p_values():
    """[R] under calibration, three kinds of 40 forecasts: spread, all ½ (many ties), three classes."""

    def one(key):
        place_key, label_key, test_key = jax.random.split(key, 3)
        z = 2 * jax.random.normal(place_key, (40, 3))
        keys = jax.random.split(label_key, 3)
        spread, half = jax.nn.sigmoid(z[:, 0]), jnp.full(40, 0.5)
        three = jax.nn.softmax(z)
        toss = lambda key, p: jax.random.bernoulli(key, p).astype(jnp.int32)
        labels = toss(keys[0], spread), toss(keys[1], half), jax.random.categorical(keys[2], z).astype(jnp.int32)
        cases = zip((spread, half, three), labels)
        return jnp.stack([cal.monte_carlo_p_value(test_key, probs, y, 19, 4)[0] for probs, y in cases])

    return np.asarray(jax.jit(lambda keys: jax.lax.map(one, keys))(jax.random.split(jax.random.key(0), 2000)))


@pytest.mark.parametrize("case", range(3))
def test_under_calibration_p_is_uniform_whatever_the_forecasts(p_values, case):
    counts = np.bincount(np.round(p_values[:, case] * 20).astype(int), minlength=21)
    assert counts[0] == 0
    assert stats.chisquare(counts[1:]).pvalue > 1e-4  # of each of the twenty values alike


def test_both_temperatures_are_seen_at_five_thousand_rows():
    for name in ("logits times 1.2", "logits over 1.2"):
        assert rates.rejection_rate(jax.random.key(1), name, 5000, 6).rate == 1.0


def test_a_distortion_of_slope_one_is_seen():
    z = rates.SCALE * np.random.default_rng(0).standard_normal(400_000)
    f = np.asarray(rates.s_shaped(jnp.asarray(z)))
    gap = expit(z) - expit(f)
    assert abs(np.mean(gap)) < 4.5 * np.std(gap) / 632 and abs(np.mean(f * gap)) < 4.5 * np.std(f * gap) / 632
    assert np.diff(np.asarray(rates.s_shaped(jnp.linspace(-4, 4, 50)))).min() < 0  # and not monotone
    assert rates.rejection_rate(jax.random.key(2), "S-shaped, intercept 0, slope 1", 5000, 6).rate > 0.6


def test_the_components_say_which_way_forecasts_err():
    rng = np.random.default_rng(1)
    z = 2 * rng.standard_normal(3000)
    labels = (rng.random(3000) < expit(z)).astype(int)
    test = lambda probs: cal.calibration_test(jax.random.key(0), probs, labels, num_simulations=99)
    assert test(expit(1.5 * z)).components[0, 0, 1] > 4 and test(expit(z / 1.5)).components[0, 0, 1] < -4
    low = test(expit(z - 0.5))
    assert low.components[0, 0, 0] > 4 and low.p_value == 0.01
    chance = expit(z - 0.5)
    assert np.isclose(low.components[0, 0, 0], (labels - chance).sum() / np.sqrt((chance * (1 - chance)).sum()))
    assert np.isclose(low.components[1, 0, 0], ((labels - chance) / np.sqrt(chance * (1 - chance))).sum() / 3000**0.5)
    assert "p = 0.01" in str(low)


def test_events_that_were_all_but_excluded_are_seen():
    probs = np.concatenate([np.full(500, 1e-6), np.full(500, 0.5)])
    labels = np.arange(1000) % 2 * (np.arange(1000) >= 500)
    test = lambda labels: cal.calibration_test(jax.random.key(0), probs, labels, num_simulations=99).p_value
    assert test(labels) > 0.05
    labels[0] = 1
    assert test(labels) <= 0.02  # first by one statistic; whichever set is first by the other may tie with it


def test_impossible_labels_and_certain_forecasts_are_told():
    impossible = cal.calibration_test(
        jax.random.key(0), np.array([0.0, 0.5, 0.5]), np.array([1, 0, 1]), num_simulations=99
    )
    assert impossible.p_value == 0.01 and "probability 0" in impossible.caveats[0]
    certain = cal.calibration_test(
        jax.random.key(0), np.array([0.0, 1.0, 0.0]), np.array([0, 1, 0]), num_simulations=99
    )
    assert any("0 or 1" in caveat for caveat in certain.caveats) and 0 < certain.p_value <= 1


def test_bands_are_binomial_quantiles_and_hold_at_their_level():
    rng = np.random.default_rng(2)
    probs = expit(2 * rng.standard_normal(300))
    inside = []
    for _ in range(100):
        diagram = cal.reliability_diagram(probs, (rng.random(300) < probs).astype(int), num_bins=8, level=0.9)
        inside.append(diagram.inside)
    assert np.mean(inside) > 0.9 - 3.7 * np.sqrt(0.09 / 100)  # one in 10,000
    assert np.mean(inside) < 1 and diagram.count.sum() == 300
    n, p = diagram.count, diagram.forecast
    assert np.allclose(diagram.band_high, stats.binom.ppf(0.95, n, p) / n)
    assert (diagram.joint_low <= diagram.band_low).all() and (diagram.joint_high >= diagram.band_high).all()
    ends = stats.binomtest(round(diagram.frequency[3] * n[3]), n[3]).proportion_ci(0.9, "exact")
    assert np.allclose([diagram.interval_low[3], diagram.interval_high[3]], ends, atol=1e-12)
    bold = cal.reliability_diagram(expit(4 * rng.standard_normal(2000)), rng.integers(0, 2, 2000))
    assert not bold.inside


def test_the_corp_curve_is_scikit_learns_isotonic_fit_and_lies_in_its_band():
    rng = np.random.default_rng(3)
    probs = np.round(rng.random(400), 2)
    labels = (rng.random(400) < probs).astype(int)
    curve = cal.corp_curve(jax.random.key(0), probs, labels, num_simulations=100)
    peer = IsotonicRegression(out_of_bounds="clip").fit(probs, labels).predict(curve.forecast)
    assert np.allclose(curve.recalibrated, peer, atol=1e-12) and curve.count.sum() == 400
    within = (curve.band_low <= curve.recalibrated) & (curve.recalibrated <= curve.band_high)
    assert within.mean() > 0.8 and (curve.band_low < curve.band_high).mean() > 0.95
    outside = cal.corp_curve(jax.random.key(0), probs, 1 - labels, num_simulations=100)
    assert ((outside.recalibrated < outside.band_low) | (outside.recalibrated > outside.band_high)).mean() > 0.5


def test_regression_calibration_counts_and_finds_both_errors_of_width():
    rng = np.random.default_rng(4)
    y = rng.standard_normal(2000)
    right, narrow, wide = (cal.regression_calibration(stats.norm.cdf(y / scale)) for scale in (1.0, 0.7, 1.4))
    assert right.p_value > 1e-4 and narrow.p_value < 1e-6 and wide.p_value < 1e-6
    assert narrow.dispersion > 1.2 and wide.dispersion < 0.8
    assert (narrow.coverage < narrow.band_low).mean() > 0.8 and (wide.coverage > wide.band_high).mean() > 0.8
    assert np.allclose(right.coverage, [(np.abs(y) <= stats.norm.ppf((1 + c) / 2)).mean() for c in right.nominal])
    assert np.allclose(right.below, [(y <= stats.norm.ppf(c)).mean() for c in right.nominal])
    assert abs(right.error / right.null_error) < 10 < narrow.error / narrow.null_error
    assert np.isclose(stats.kstwo.cdf(right.joint_half_width, 2000), 0.95)
    assert "Kolmogorov" in str(right)


def test_pit_that_is_none_is_refused_and_doubtful_pit_is_told():
    with pytest.raises(ValueError, match="distribution function"):
        cal.regression_calibration([0.5, 1.5])
    with pytest.raises(ValueError, match="remove those rows"):
        cal.regression_calibration([0.5, np.nan])
    with pytest.raises(ValueError, match="levels"):
        cal.regression_calibration([0.5, 0.6], levels=[1.0])
    said = cal.regression_calibration([0.5, 0.5, 1.0]).caveats
    assert len(said) == 3 and "ties" in said[0]
