"""What recalibration changes on rows not seen, its verdict, and the recalibration of regression."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, log_softmax
from scipy.stats import norm

from probjax.forecasts import Forecast, from_logits, from_probs
from probjax.recalibration import (
    assess,
    assess_levels,
    assess_scale,
    isotonic,
    platt,
    quantile_recalibration,
    temperature,
    variance_scaling,
)
from probjax.recalibration.assessment import change_of

NUM_DATA = 500


def rows(seed, slope):
    """(log-odds, labels) of forecasts whose log-odds are to be multiplied by `slope`."""
    rng = np.random.default_rng(seed)
    f = 2 * rng.standard_normal(NUM_DATA)
    return f, (rng.uniform(size=NUM_DATA) < expit(slope * f)).astype(int)


def test_the_change_is_the_paired_mean_and_its_standard_error():
    (f, labels), (new, seen) = rows(0, 0.4), rows(1, 0.4)
    fitted = temperature(from_logits(f), labels)
    found = assess(fitted, from_logits(new), seen)
    z = np.column_stack([np.zeros(NUM_DATA), new])
    scaled = float(fitted.params.inverse_temperature) * z
    own = lambda z: log_softmax(z, axis=1)[np.arange(NUM_DATA), seen]
    gain = own(scaled) - own(z)
    assert found.log_score.mean == pytest.approx(gain.mean(), abs=1e-12)
    assert found.log_score.standard_error == pytest.approx(gain.std(ddof=1) / NUM_DATA**0.5, rel=1e-10)
    brier = 2 * ((expit(scaled[:, 1]) - seen) ** 2 - (expit(new) - seen) ** 2)
    assert found.brier.mean == pytest.approx(brier.mean(), abs=1e-12)
    assert found.brier.standard_error == pytest.approx(brier.std(ddof=1) / NUM_DATA**0.5, rel=1e-10)
    assert found.log_score.verdict == found.brier.verdict == "better" and found.num_rows == NUM_DATA


def test_a_map_fitted_elsewhere_is_worse_and_one_without_need_a_no_op():
    worse = assess(
        temperature(from_logits(rows(0, 0.3)[0]), rows(0, 0.3)[1]), from_logits(rows(1, 1.5)[0]), rows(1, 1.5)[1]
    )
    assert worse.log_score.verdict == worse.brier.verdict == "worse"
    assert worse.log_score.mean < 0 < worse.brier.mean
    calibrated = rows(2, 1.0)
    fitted = temperature(from_logits(calibrated[0]), calibrated[1])
    found = assess(fitted, from_logits(rows(3, 1.0)[0]), rows(3, 1.0)[1])
    assert found.log_score.verdict == "no-op: within 2 standard errors of 0"
    identity = fitted._replace(params=type(fitted.params)(jnp.array(1.0)))
    found = assess(identity, from_logits(rows(3, 1.0)[0]), rows(3, 1.0)[1])
    assert found.log_score == (0, 0, "no-op: the map changes nothing on these rows")


def test_the_rows_of_the_fit_are_known_again_in_any_order_and_others_are_not():
    f, labels = rows(0, 0.4)
    fitted = platt(from_logits(f), labels)
    order = np.random.default_rng(0).permutation(NUM_DATA)
    with pytest.warns(UserWarning, match="these 500 rows are those that platt was fitted on"):
        assess(fitted, from_logits(f[order]), labels[order])
    other = labels.copy()
    other[3] = 1 - other[3]
    assess(fitted, from_logits(f), other)  # warnings are errors here
    moved = f.copy()
    moved[3] += 1e-12
    assess(fitted, from_logits(moved), labels)
    flat, half = from_probs(np.full(NUM_DATA, 0.5)), np.arange(NUM_DATA) % 2
    assess(platt(flat, half), flat, np.arange(NUM_DATA) % 3 % 2)  # equal forecasts are told apart by their labels


def test_an_infinite_loss_is_worse_whatever_the_rest_gains():
    f, labels = rows(0, 0.4)
    fitted = isotonic(from_logits(f), labels)
    new, seen = rows(1, 0.4)
    new[0], seen[0] = -50.0, 1  # below all that was seen, where the map says 0
    found = assess(fitted, from_logits(new), seen)
    assert "exactly 0 or 1" in fitted.note
    assert found.log_score.mean == -np.inf and found.log_score.verdict == "worse"
    assert np.isfinite(found.brier.mean) and found.brier.verdict == "better"


def test_the_verdict_on_infinities_and_on_few_rows():
    inf = jnp.inf
    assert change_of(jnp.array([inf, 0.0, -1.0])).verdict == "better"
    assert change_of(jnp.array([inf, -inf])).verdict.startswith("undefined")
    assert change_of(jnp.array([1.0, 1.0])).verdict == "better"
    assert change_of(jnp.array([1.0, -0.5, 0.1]), num_standard_errors=0.1).verdict == "better"
    assert change_of(jnp.array([1.0, 0.9]), smaller_is_better=True).verdict == "worse"
    with pytest.raises(ValueError, match="1 row of forecasts has no standard error"):
        change_of(jnp.array([1.0]))
    before = Forecast(jnp.log(jnp.array([[1.0, 0.0], [0.6, 0.4]])))
    fitted = temperature(from_probs(np.array([0.2, 0.4, 0.7])), np.array([0, 1, 0]))
    found = assess(fitted, before, np.array([1, 0]))  # impossible before and after: unchanged
    assert np.isfinite(found.log_score.mean)


def test_the_scale_factor_is_the_maximum_of_the_likelihood():
    rng = np.random.default_rng(6)
    loc, scale = rng.standard_normal(NUM_DATA), rng.uniform(0.5, 2, NUM_DATA)
    y = loc + 1.7 * scale * rng.standard_normal(NUM_DATA)
    fitted = variance_scaling(loc, scale, y)
    s = float(fitted.factor)
    assert s == pytest.approx(np.sqrt(np.mean(((y - loc) / scale) ** 2)), rel=1e-12)
    density = lambda s: norm.logpdf(y, loc, s * scale).mean()
    assert density(s) > max(density(s * (1 + 1e-4)), density(s * (1 - 1e-4)))
    assert np.allclose(fitted(scale), s * scale)
    change = assess_scale(fitted, loc, scale, y)
    assert change.mean == pytest.approx(density(s) - density(1.0), abs=1e-12) and change.verdict == "better"
    with pytest.raises(ValueError, match="y equals loc in every row"):
        variance_scaling(loc, scale, loc)
    with pytest.raises(ValueError, match="standard deviation, not its logarithm"):
        variance_scaling(loc, -scale, y)
    with pytest.raises(ValueError, match=r"shapes \(500,\), \(500,\), \(499,\)"):
        variance_scaling(loc, scale, y[1:])


def test_recalibrated_levels_cover_by_rank():
    rng = np.random.default_rng(7)
    pit = norm.cdf(2 * rng.standard_normal(99))  # twice too narrow
    levels = quantile_recalibration(pit)
    assert np.allclose(levels(np.sort(pit)), np.arange(1, 100) / 100, atol=1e-12)
    assert np.allclose(levels.inverse(np.arange(1, 100) / 100), np.sort(pit), atol=1e-12)
    assert levels(np.array([0.0, 1.0])).tolist() == [0, 1]
    # P(F(y) ≤ R⁻¹(q)) over a new row of the same law, exactly: Φ(Φ⁻¹(R⁻¹(q)) / 2); q on average over fits
    at = lambda seed: quantile_recalibration(norm.cdf(2 * np.random.default_rng(seed).standard_normal(99))).inverse(0.9)
    found = norm.cdf(norm.ppf([float(at(seed)) for seed in range(200)]) / 2)
    assert abs(found.mean() - 0.9) < 3.9 * found.std(ddof=1) / 200**0.5  # false alarm 1e-4


def test_levels_of_tied_and_of_bad_values():
    levels = quantile_recalibration(np.array([0.0, 0.2, 0.2, 0.6, 1.0]))
    assert np.allclose(levels(np.array([0.2, 0.6])), [3 / 6, 4 / 6])
    slope = assess_levels(levels, np.array([0.1, 0.9]))
    assert slope.mean == pytest.approx(0.5 * (np.log(0.5 / 0.2) + np.log((1 / 3) / 0.4)))
    with pytest.raises(ValueError, match=r"1 values of 2 that are NaN or outside \[0, 1\] \(first: row 1, 1.5\)"):
        quantile_recalibration(np.array([0.5, 1.5]))
    with pytest.raises(ValueError, match="0 distinct values strictly between"):
        quantile_recalibration(np.array([0.0, 1.0]))
