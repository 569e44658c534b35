"""What the claims on ensembles compute with: minima of quadratics, sds with margins, moments of mixtures."""

import jax.numpy as jnp
import numpy as np
import pytest

from verification.claims.heads import _mixture_sd, _shortfall
from verification.claims.members import descend, one_step, sd_error


def test_one_step_and_descent_end_at_the_minimum_of_a_quadratic():
    rng = np.random.default_rng(0)
    A, b = rng.standard_normal((5, 3)), rng.standard_normal(5)
    objective = lambda w: 0.5 * jnp.sum((A @ jnp.append(w["a"], w["b"]) - b) ** 2)
    expected = np.linalg.lstsq(A, b, rcond=None)[0]
    start = {"a": jnp.ones(2), "b": jnp.asarray(7.0)}
    for fit in (one_step, lambda f, w: descend(f, w, rate=1 / np.linalg.norm(A, 2) ** 2)):
        w, _ = fit(objective, start)
        np.testing.assert_allclose(np.append(w["a"], w["b"]), expected, rtol=0, atol=1e-9)


def test_the_error_of_an_sd_and_its_margin():
    exact = np.array([1.0, 2.0])
    assert sd_error(np.tile(exact**2, (5, 1)), exact) == (0.0, 0.0)
    assert sd_error(np.tile(1.21 * exact**2, (5, 1)), exact)[0] == pytest.approx(0.1, rel=1e-12)
    assert sd_error(np.zeros((5, 2)), exact) == (1.0, 0.0)
    rng = np.random.default_rng(1)  # false alarm 2e-4 each: t at α = 1e-4, two queries
    inside = [
        error <= margin
        for error, margin in (sd_error(rng.chisquare(200, (16, 2)) / 200, np.ones(2)) for _ in range(50))
    ]
    assert np.mean(inside) >= 0.98
    narrow = sd_error(0.8 * rng.chisquare(200, (16, 2)) / 200, np.ones(2))
    assert narrow[0] - narrow[1] > 0.05


def test_the_sd_of_a_mixture_is_by_its_two_parts():
    rng = np.random.default_rng(2)
    loc, scale = rng.standard_normal((3, 4)), rng.uniform(0.1, 1.0, (3, 4))
    expected = np.sqrt(np.mean(scale**2, 0) + np.var(loc, 0))
    np.testing.assert_allclose(_mixture_sd(loc, scale), expected, rtol=1e-12)


def test_what_the_residuals_lack_is_the_posteriors_variance():
    assert _shortfall(np.random.default_rng(3)) < 1e-14
