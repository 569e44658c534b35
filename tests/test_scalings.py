"""Vector and matrix scaling: stationary, nested, and said where they have no optimum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from recalibration_parts import NUM_CLASSES, NUM_DATA, class_rows

from probjax.forecasts import from_logits
from probjax.recalibration import (
    beta,
    matrix_scaling,
    one_vs_rest,
    platt,
    temperature,
    vector_scaling,
)
from probjax.recalibration.linear import Affine, flattest


@pytest.fixture(scope="module")
def classes():
    return class_rows()


def test_scalings_are_stationary_and_nested(classes):
    logits, labels = classes
    forecast = from_logits(logits)
    z, onehot = np.asarray(forecast.log_probs), np.eye(NUM_CLASSES)[labels]
    loss = lambda fitted: -np.mean(np.asarray(fitted(forecast).log_probs)[np.arange(NUM_DATA), labels])
    vector, matrix = vector_scaling(forecast, labels), matrix_scaling(forecast, labels)
    gap = lambda fitted: (np.asarray(fitted(forecast).probs) - onehot) / NUM_DATA
    assert np.abs((gap(vector) * z).sum(0)).max() < 1e-9 and np.abs(gap(vector).sum(0)).max() < 1e-9
    assert np.abs(gap(matrix).T @ z).max() < 1e-9 and np.abs(gap(matrix).sum(0)).max() < 1e-9
    assert loss(matrix) < loss(vector) < loss(temperature(forecast, labels))
    stiff = matrix_scaling(forecast, labels, off_diagonal_penalty=100.0)
    assert loss(matrix) < loss(stiff) < stiff.info["objective"] < loss(vector)  # which is λ = ∞
    assert float(jnp.sum(vector.params.bias)) == pytest.approx(0, abs=1e-12)


def test_the_penalties_are_those_of_kull(classes):
    logits, labels = classes
    forecast = from_logits(logits)
    fitted = matrix_scaling(forecast, labels, off_diagonal_penalty=0.3, bias_penalty=0.2)
    weight, bias = np.asarray(fitted.params.weight), np.asarray(fitted.params.bias)
    gap = (np.asarray(fitted(forecast).probs) - np.eye(NUM_CLASSES)[labels]) / NUM_DATA
    off = weight * (1 - np.eye(NUM_CLASSES))
    assert np.allclose(gap.T @ np.asarray(forecast.log_probs) + 2 * 0.3 * off / 12, 0, atol=1e-9)
    assert np.allclose(gap.sum(0) + 2 * 0.2 * bias / 4, 0, atol=1e-9)


def test_a_class_that_never_occurs(classes):
    logits, labels = classes
    forecast, absent = from_logits(logits), np.where(labels == 3, 0, labels)
    for fit in (vector_scaling, matrix_scaling):
        with pytest.raises(ValueError, match=r"class 3 never occurs in labels.*bias would go to −∞"):
            fit(forecast, absent)
        with pytest.raises(ValueError, match="class 3 never occurs"):  # a penalty leaves its own weight free
            fit(forecast, absent, bias_penalty=1.0)
    with pytest.raises(ValueError, match=r"bias_penalty is -1.* must not be negative"):
        vector_scaling(forecast, labels, bias_penalty=-1.0)
    assert np.isfinite(one_vs_rest(platt)(forecast, absent)(forecast).log_probs).all()
    with pytest.raises(ValueError, match=r"one_vs_rest\(beta\): class 3 against the others: beta: all 400 rows"):
        one_vs_rest(beta)(forecast, absent)


def test_classes_that_the_map_separates_are_said(classes):
    logits, _ = classes
    with pytest.warns(UserWarning, match="the likelihood has no maximum"):
        fitted = vector_scaling(from_logits(logits), logits.argmax(1))
    assert not fitted.info["converged"]


def test_one_class_that_the_map_separates_is_said_and_equal_columns_are_not():
    z = np.array([[1.0, 0, -3], [0, 1, -3], [1, 0, -3], [0, 1, -3], [1, 0, -3], [0, 1, -3], [0, 0, 3.0]])
    labels = np.array([0, 1, 1, 0, 0, 1, 2])  # rows of class 2 stand apart, the others do not
    for fit in (vector_scaling, matrix_scaling):
        with pytest.warns(UserWarning, match="the likelihood has no maximum"):
            assert not fit(from_logits(z), labels).info["converged"]
    rng = np.random.default_rng(3)
    one = rng.standard_normal((60, 2))
    double = from_logits(one[:, [0, 1, 1]])  # two columns alike: nothing moves along their difference
    assert matrix_scaling(double, rng.integers(0, 3, 60)).note == ""


def test_relative_curvature_is_that_of_the_objective(classes):
    logits, labels = classes
    logits, labels = logits[:50, :3], labels[:50] % 3
    z = np.asarray(from_logits(logits).log_probs)

    def objective(flat, off, bias):
        weight, shift = flat[:9].reshape(3, 3), flat[9:]
        log_probs = jax.nn.log_softmax(z @ weight.T + shift)
        loss = -jnp.mean(log_probs[jnp.arange(50), labels])
        return loss + off * jnp.sum((weight * (1 - jnp.eye(3))) ** 2) / 6 + bias * jnp.mean(shift**2)

    at = jnp.arange(12.0) / 10
    end, uniform = jax.hessian(objective)(at, 0.3, 0.2), jax.hessian(objective)(0 * at, 0.0, 0.0)
    values, vectors = np.linalg.eigh(uniform)
    half = vectors[:, values > 1e-12] / np.sqrt(values[values > 1e-12])
    expected = np.linalg.eigvalsh(half.T @ end @ half)[0]
    found = flattest(Affine(at[:9].reshape(3, 3), at[9:]), z, 0.3, 0.2)
    assert found == pytest.approx(expected, rel=1e-9)
