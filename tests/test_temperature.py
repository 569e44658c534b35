"""Temperature scaling against first-order conditions, at its limits, and on bad input."""

import jax.numpy as jnp
import numpy as np
import pytest
from recalibration_parts import NUM_CLASSES, NUM_DATA, class_rows, drawn
from scipy.optimize import brentq, minimize_scalar
from scipy.special import log_softmax, logsumexp

from probjax.forecasts import from_logits, from_probs
from probjax.recalibration import (
    temperature,
)


@pytest.fixture(scope="module")
def classes():
    return class_rows()


def slope_in_beta(log_probs, labels):
    """The derivative of the mean log-likelihood in 1/T, in NumPy."""
    own = log_probs[np.arange(len(labels)), labels]
    return lambda b: np.mean(own - (np.exp(log_softmax(b * log_probs, axis=1)) * log_probs).sum(1))


def test_temperature_is_the_root_of_the_slope_and_no_search_finds_better(classes):
    logits, labels = classes
    fitted = temperature(from_logits(logits), labels)
    found = float(fitted.params.inverse_temperature)
    assert fitted.info["converged"] and fitted.note == ""
    assert found == pytest.approx(brentq(slope_in_beta(logits, labels), 1e-3, 10, xtol=1e-14), rel=1e-10)
    loss = lambda t: np.mean(logsumexp(logits / t, axis=1) - logits[np.arange(NUM_DATA), labels] / t)
    peer = minimize_scalar(loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-10})
    assert loss(1 / found) <= peer.fun + 1e-15
    assert 1 / found == pytest.approx(peer.x, rel=1e-7)  # √ε: a search by values sees no further
    assert np.allclose(fitted(from_logits(logits)).log_probs, log_softmax(found * logits, axis=1), atol=1e-12)


def test_temperature_of_many_rows_that_start_from_a_sample_is_the_root_too():
    rng = np.random.default_rng(3)
    logits = 4 * rng.standard_normal((20_000, 3))
    labels = drawn(rng, np.exp(log_softmax(logits / 5, axis=1)))
    found = float(temperature(from_logits(logits), labels).params.inverse_temperature)
    assert found == pytest.approx(brentq(slope_in_beta(logits, labels), 1e-3, 10, xtol=1e-14), rel=1e-10)


@pytest.mark.parametrize("factor", [1e-4, 30.0, 1e4])
def test_logits_times_a_number_are_a_temperature_times_that_number(classes, factor):
    logits, labels = classes
    one = temperature(from_logits(logits), labels).params.inverse_temperature
    other = temperature(from_logits(factor * logits), labels)
    assert other.info["converged"]
    assert float(other.params.inverse_temperature) == pytest.approx(float(one) / factor, rel=1e-8)


def test_a_temperature_keeps_the_class_and_for_two_classes_the_order_of_rows():
    rows = from_logits(np.array([[1.0, 0, -100], [1.2, 0, 0]]))
    fitted = temperature(from_logits(np.array([[2.0, 0.0], [1.0, 0.0], [0.0, 2.0]])), np.array([0, 1, 1]))
    at = lambda t: fitted.apply(type(fitted.params)(jnp.array(1 / t)), rows)
    confidence = lambda forecast: np.asarray(forecast.probs.max(1))
    assert confidence(at(1.0))[0] > confidence(at(1.0))[1] and confidence(at(0.2))[0] < confidence(at(0.2))[1]
    assert (at(0.2).probs.argmax(1) == rows.probs.argmax(1)).all()
    two = from_logits(np.array([-0.3, 0.1, 2.0]))
    assert (jnp.diff(fitted(two).probs[:, 1]) > 0).all()


def test_a_temperature_that_has_no_finite_optimum_is_said_and_held_at_its_limit():
    right = from_logits(np.array([[2.0, 0, -1], [0, 1, 0.5], [1, 1, 0]]))  # a tie at the top is not wrong
    with pytest.warns(UserWarning, match="temperature is 0: no row is wrong"):
        fitted = temperature(right, np.array([0, 1, 0]))
    assert np.isinf(fitted.params.inverse_temperature)
    assert np.allclose(fitted(right).probs, [[1, 0, 0], [0, 1, 0], [0.5, 0.5, 0]])
    wrong = from_logits(np.array([[2.0, 0, -np.inf], [0, 1, 0.5]]))
    with pytest.warns(UserWarning, match="temperature is infinite: the mean of z_y"):
        fitted = temperature(wrong, np.array([1, 0]))
    assert np.allclose(fitted(wrong).probs, [[0.5, 0.5, 0], [1 / 3] * 3])
    with pytest.warns(UserWarning, match="every row is uniform"):
        fitted = temperature(from_probs(np.full((3, 2), 0.5)), np.array([0, 1, 1]))
    assert fitted.params.inverse_temperature == 1


def test_the_mean_of_own_logits_decides_whether_the_temperature_is_infinite():
    for own, infinite in ((1.01, False), (0.99, True)):
        forecast = from_logits(np.array([[own, 0.0], [1.0, 0.0]]))  # the second row is wrong
        if infinite:
            with pytest.warns(UserWarning, match="temperature is infinite"):
                fitted = temperature(forecast, np.array([0, 1]))
            assert fitted.params.inverse_temperature == 0
        else:
            fitted = temperature(forecast, np.array([0, 1]))
            assert 0 < fitted.params.inverse_temperature < 0.1 and fitted.info["converged"]


def test_impossible_classes_stay_so_and_one_that_occurred_is_refused(classes):
    logits, labels = classes
    blocked = logits.copy()
    blocked[np.arange(0, NUM_DATA, 3), (labels[::3] + 1) % NUM_CLASSES] = -np.inf
    fitted = temperature(from_logits(blocked), labels)
    finite = np.where(np.isinf(blocked), -1e4, blocked)
    assert float(fitted.params.inverse_temperature) == pytest.approx(
        brentq(slope_in_beta(finite, labels), 1e-2, 10, xtol=1e-14), rel=1e-9
    )
    assert (np.isneginf(fitted(from_logits(blocked)).log_probs) == np.isinf(blocked)).all()
    blocked[7, labels[7]] = -np.inf
    with pytest.raises(ValueError, match=r"1 of 400 rows \(first: row 7\).*infinite at every temperature"):
        temperature(from_logits(blocked), labels)
