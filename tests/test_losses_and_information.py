"""Losses are −log p up to the constant they state; information identities hold with zeros in place."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import optax
import pytest
from scipy import integrate, special, stats

from probjax import information, likelihoods, losses

RNG = np.random.default_rng(0)
Y, F, G = RNG.standard_normal(9) * 3, RNG.standard_normal(9) * 3, RNG.standard_normal(9) * 3
LABELS, LOGITS = RNG.integers(0, 4, 9), RNG.standard_normal((9, 4)) * 3
SHARES = RNG.uniform(0.01, 0.99, 9)
COUNTS = RNG.integers(0, 30, 9).astype(float)
CUTPOINTS = np.sort(RNG.standard_normal((9, 3)))
HUBER = np.log(np.sqrt(2 * np.pi) * special.erf(0.7 / np.sqrt(2)) + 2 / 0.7 * np.exp(-(0.7**2) / 2))


@pytest.mark.parametrize(
    "loss, log_prob, constant",
    [
        (losses.mse(Y, F), likelihoods.normal(np.sqrt(0.5)).log_prob(Y, F), 0.5 * np.log(np.pi)),
        (losses.mae(Y, F), likelihoods.laplace(1.0).log_prob(Y, F), np.log(2)),
        (losses.huber(Y, F, 0.7), likelihoods.huber(0.7, 1.0).log_prob(Y, F), HUBER),
        (losses.quantile(Y, F, 0.2), likelihoods.asymmetric_laplace(0.2, 1.0).log_prob(Y, F), -np.log(0.2 * 0.8)),
        (losses.log_cosh(Y, F), likelihoods.log_cosh(1.0).log_prob(Y, F), np.log(np.pi)),
        (losses.gaussian_nll(Y, F, SHARES), likelihoods.normal(SHARES).log_prob(Y, F), 0),
        (losses.binary_cross_entropy(Y > 0, F), likelihoods.bernoulli().log_prob(Y > 0, F), 0),
        (losses.softmax_cross_entropy(LABELS, LOGITS), likelihoods.categorical().log_prob(LABELS, LOGITS), 0),
        (losses.poisson(COUNTS, F), likelihoods.poisson().log_prob(COUNTS, F), special.gammaln(COUNTS + 1)),
        (losses.beta(SHARES, F, 3.0), likelihoods.beta(3.0).log_prob(SHARES, F), 0),
        (
            losses.ordinal_cross_entropy(LABELS, F, CUTPOINTS),
            likelihoods.ordinal().log_prob(LABELS, (F, CUTPOINTS)),
            0,
        ),
    ],
)
def test_a_loss_is_minus_the_log_density_less_its_stated_constant(loss, log_prob, constant):
    np.testing.assert_allclose(loss, -log_prob - constant, rtol=1e-12, atol=1e-13)


def test_losses_equal_the_peers():
    binary = (Y > 0).astype(float)
    np.testing.assert_allclose(
        losses.binary_cross_entropy(binary, F), optax.sigmoid_binary_cross_entropy(F, binary), rtol=1e-12
    )
    np.testing.assert_allclose(
        losses.softmax_cross_entropy(LABELS, LOGITS),
        optax.softmax_cross_entropy_with_integer_labels(jnp.asarray(LOGITS), jnp.asarray(LABELS)),
        rtol=1e-12,
    )
    soft = optax.smooth_labels(jax.nn.one_hot(LABELS, 4), 0.1)
    smoothed = losses.label_smoothed_cross_entropy(LABELS, LOGITS, 0.1)
    np.testing.assert_allclose(smoothed, optax.softmax_cross_entropy(LOGITS, soft), rtol=1e-12)
    np.testing.assert_allclose(losses.huber(Y, F, 0.7), optax.huber_loss(F, Y, delta=0.7), rtol=1e-12)
    np.testing.assert_allclose(losses.kl(soft, LOGITS), smoothed - stats.entropy(soft, axis=1), rtol=1e-12)


def test_beta_nll_interpolates_between_gaussian_and_squared_error_gradients():
    slope = lambda beta: jax.grad(lambda loc: losses.beta_nll(1.0, loc, 0.3, beta))(0.2)
    assert float(slope(0.0)) == pytest.approx(-0.8 / 0.09) and float(slope(1.0)) == pytest.approx(-0.8)


@pytest.mark.parametrize("name", ["mse", "mae", "huber", "log_cosh", "binary_cross_entropy", "poisson"])
def test_shapes_that_would_broadcast_are_refused(name):
    with pytest.raises(ValueError, match=rf"losses.{name}: y has shape \(9,\) but the prediction has \(9, 1\)"):
        getattr(losses, name)(Y, F[:, None])


P = np.array([[0.2, 0.0, 0.5, 0.3], [0.25, 0.25, 0.25, 0.25], [0.0, 1.0, 0.0, 0.0]])
Q = np.array([[0.1, 0.4, 0.3, 0.2], [0.7, 0.1, 0.1, 0.1], [0.2, 0.3, 0.0, 0.5]])


def test_cross_entropy_is_entropy_plus_divergence_zeros_included():
    np.testing.assert_allclose(
        information.cross_entropy(P, Q), information.entropy(P) + information.kl(P, Q), rtol=1e-15
    )
    np.testing.assert_allclose(information.entropy(P), stats.entropy(P, axis=1), rtol=1e-15, atol=1e-16)
    np.testing.assert_allclose(information.kl(P, Q), stats.entropy(P, Q, axis=1), rtol=1e-14)


def test_mass_where_the_other_has_none_is_infinitely_far():
    p, q = jnp.array([0.5, 0.5, 0.0]), jnp.array([1.0, 0.0, 0.0])
    assert float(information.kl(p, q)) == float(information.cross_entropy(p, q)) == np.inf
    assert float(information.kl(q, p)) == pytest.approx(np.log(2))
    slopes = jax.grad(lambda p: information.kl(p, jnp.array([0.3, 0.3, 0.4])))(jnp.array([0.0, 0.6, 0.4]))
    assert np.isfinite(slopes[1:]).all() and not np.isnan(slopes).any()


def test_the_divergence_of_near_equals_keeps_its_digits():
    p, direction = np.array([0.125, 0.25, 0.25, 0.375]), np.array([1.0, -2.0, 2.0, -1.0])
    for exponent in (3, 10, 20, 30):
        q = p + 2.0**-exponent * direction / 16  # exact in binary, so that both add up to 1
        with mpmath.workdps(50):
            exact = sum(mpmath.mpf(a) * mpmath.log(mpmath.mpf(a) / mpmath.mpf(b)) for a, b in zip(p, q))
        assert float(information.kl(p, q)) == pytest.approx(float(exact), rel=1e-14)


def test_the_divergence_of_gaussians_is_the_integral():
    for parameters in ((0.3, 1.2, -0.5, 0.7), (0.0, 1.0, 0.0, 1.0 + 1e-7)):
        p, q = stats.norm(*parameters[:2]), stats.norm(*parameters[2:])
        integrand = lambda y, p=p, q=q: p.pdf(y) * (p.logpdf(y) - q.logpdf(y))
        numeric = integrate.quad(integrand, -12, 12, epsabs=1e-14, limit=200)[0]
        assert float(information.kl_normal(*parameters)) == pytest.approx(numeric, rel=1e-9, abs=1e-14)


def test_gradients_are_finite_where_neither_has_mass():
    p, q = jnp.array([0.5, 0.5, 0.0]), jnp.array([0.25, 0.75, 0.0])
    np.testing.assert_allclose(jax.grad(lambda q: information.cross_entropy(p, q))(q), [-2.0, -2 / 3, 0.0], rtol=1e-15)
    for slope in (jax.grad(information.kl)(p, q), jax.grad(information.kl, argnums=1)(p, q)):
        assert np.isfinite(slope).all()
    towards = jax.grad(lambda p: information.cross_entropy(p, jnp.array([0.5, 0.5])))(jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(towards, np.log([2.0, 2.0]), rtol=1e-15)


def test_a_label_that_does_not_exist_is_no_good_score():
    smoothed = losses.label_smoothed_cross_entropy(jnp.array([0, 3, -1]), jnp.zeros((3, 3)), 0.1)
    assert np.isfinite(smoothed[0]) and np.isnan(smoothed[1:]).all()
