"""Stein's particles, held to the definition of their force."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from probjax import stein
from probjax.inference.stein import bandwidth, median_root, stein_force


def force_by_hand(w, score):
    """φ by its definition, one pair after another."""
    distance = np.array([[np.linalg.norm(a - b) for b in w] for a in w])
    h = np.median(distance) ** 2 / np.log(len(w)) + np.finfo(float).eps
    total = np.zeros_like(w)
    for i, a in enumerate(w):
        for b in w:
            k = np.exp(-((a - b) @ (a - b)) / h)
            total[i] += k * score(b) - 2 / h * (b - a) * k
    return total / len(w)


def test_the_stein_force_is_its_definition():
    w = np.random.default_rng(0).standard_normal((7, 3)) + 5
    score = lambda v: np.array([1.0, 2.0, 3.0]) - v**2
    expected = force_by_hand(w, score)
    h = bandwidth(jnp.asarray(((w[:, None] - w) ** 2).sum(-1)))
    np.testing.assert_allclose(stein_force(jnp.asarray(w), score(w), h), expected, rtol=1e-11, atol=1e-12)


def test_stein_particles_end_where_no_force_is_left_with_too_little_variance(density):
    """On N(2, 3²) with ten particles: 22% of the variance is missing."""
    normal = density(lambda w: -0.5 * jnp.sum((w - 2) ** 2) / 9)
    run = lambda key: stein(key, normal, None, num_particles=10, num_steps=4000, learning_rate=0.1, tolerance=1e-6)
    posterior = jax.jit(run)(jax.random.key(0))
    w = np.sort(np.asarray(posterior.draws), axis=0)
    score = lambda v: -(v - 2) / 9
    assert np.abs(force_by_hand(w, score)).max() < 1e-6
    assert float(posterior.info["force"]) < 1e-6 and bool(posterior.info["converged"])
    # the repulsions cancel: the mean weighted by the kernel's density is exact
    distance = np.abs(w - w.T)
    mass = np.exp(-(distance**2) / float(posterior.info["bandwidth"])).sum(1)
    assert mass @ w[:, 0] / mass.sum() == pytest.approx(2, abs=1e-5)
    assert w.var() / 9 == pytest.approx(0.7777, abs=1e-3)


def test_stein_says_what_it_needs(regression):
    model, data, *_ = regression
    with pytest.raises(ValueError, match="stein: num_particles is 1 but must be an integer, at least 2"):
        stein(jax.random.key(0), model, data, num_particles=1)
    with pytest.raises(ValueError, match="learning_rate is -1"):
        stein(jax.random.key(0), model, data, learning_rate=-1)


def test_stein_without_enough_steps_says_so_and_blocks_of_particles_change_nothing(density):
    quartic = density(lambda w: -jnp.sum((w - 1) ** 4), 2)
    settings = {"num_particles": 6, "num_steps": 5}
    run = lambda key: [stein(key, quartic, None, batch_size=b, **settings) for b in (None, 4)]
    whole, blocks = jax.jit(run)(jax.random.key(0))
    assert not bool(whole.info["converged"]) and "log_q" not in whole.info
    np.testing.assert_allclose(whole.draws, blocks.draws, rtol=1e-10)


@pytest.mark.parametrize("num", [2, 3, 6, 7, 100])
def test_the_median_by_halving_is_the_median(num):
    """Of squares with ties and zeros too; to 2⁻⁴⁰ of the range it finds the values themselves."""
    rng = np.random.default_rng(num)
    half = rng.gamma(0.5, size=num**2 // 2)
    as_rounded = np.concatenate([half, half * (1 + 1e-16 * rng.integers(-3, 4, len(half))), np.zeros(num**2 % 2)])
    drawn = rng.gamma(0.5, size=num**2)
    for squares in (drawn, np.repeat(drawn[:num], num), as_rounded, np.zeros(num**2)):
        found = float(median_root(jnp.asarray(squares)))
        assert found == pytest.approx(np.median(np.sqrt(squares)), rel=1e-14)
