"""Ensembles of infinitely wide networks: the kernel of their training, their law, and how finite networks near it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm
from scipy.special import erf
from scipy.stats import t as student

from verification.claims import infinite_width as claim
from verification.claims.types import CONTROL, INSTEAD
from verification.exact.infinite_width import InfiniteNetwork, expected_product, nngp_kernel, process_posterior
from verification.exact.tangent_kernel import LAST_LAYER, expected_slopes, flow, members_law, tangent_kernel

ROWS = np.linspace(-2, 2, 4)[:, None]
AT = np.array([-4.0, 0.0, 3.0])[:, None]
WEIGHT_SD, BIAS_SD = 1.4, 1.0
ALPHA = 1e-6  # of each margin below: some sixty numbers then raise a false alarm in one run of ten thousand


def network(activation, depth=1):
    return InfiniteNetwork(ROWS, 0.5 * np.sin(1.8 * ROWS[:, 0]), 0.04, WEIGHT_SD, BIAS_SD, depth, activation)


def margin(values):
    """Half-width of the interval of level 1 − `ALPHA` for the mean over the leading axis."""
    return student.ppf(1 - ALPHA / 2, len(values) - 1) * values.std(0, ddof=1) / np.sqrt(len(values))


@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_expected_slopes_are_the_derivative_of_the_expected_product(activation):
    """∂E[φ(u)φ(v)]/∂k₁₂ = E[φ′(u)φ′(v)] (Price 1958)."""
    k11, k22, step = 1.3, 0.7, 1e-5
    for k12 in (-0.8, -0.1, 0.0, 0.5, 0.9):
        up, down = (expected_product(k12 + s, k11, k22, activation) for s in (step, -step))
        assert expected_slopes(k12, k11, k22, activation) == pytest.approx((up - down) / (2 * step), abs=1e-9)


def test_a_relu_network_without_biases_has_depth_plus_one_kernels():
    """At x = x′ every layer adds as much: Θ = (depth + 1) K where weight_sd² = 2."""
    x = np.array([[0.3, -1.2]])
    for depth in (1, 2, 5):
        scales = (np.sqrt(2), 0.0, depth, "relu")
        assert tangent_kernel(x, x, *scales).item() == pytest.approx((depth + 1) * nngp_kernel(x, x, *scales).item())


ACTIVATIONS = {"relu": jax.nn.relu, "erf": jax.scipy.special.erf}


def finite_network(params, x, activation, depth):
    """Weights weight_sd/√n u, biases bias_sd b; params a list of (u [in, out], b [out])."""
    for layer, (u, b) in enumerate(params):
        x = x if layer == 0 else ACTIVATIONS[activation](x)
        x = WEIGHT_SD / jnp.sqrt(x.shape[1]) * x @ u + BIAS_SD * b
    return x[:, 0]


def tangent_kernels(x, activation, depth, width):
    """Of 400 random networks, by automatic differentiation: [400, N, N]."""
    sizes = (2, *[width] * depth, 1)

    def one(key):
        keys = jax.random.split(key, 2 * depth + 2)
        params = [
            (jax.random.normal(k, (n, m)), jax.random.normal(k2, (m,)))
            for k, k2, n, m in zip(keys[::2], keys[1::2], sizes, sizes[1:])
        ]
        parts = jax.tree.leaves(jax.jacobian(finite_network)(params, x, activation, depth))
        J = jnp.concatenate([part.reshape(len(x), -1) for part in parts], axis=1)
        return J @ J.T

    keys = jax.random.split(jax.random.key(depth + width), 400)
    return np.asarray(jax.jit(lambda keys: jax.lax.map(one, keys))(keys))


@pytest.mark.parametrize("activation, depth", [("relu", 1), ("erf", 1), ("erf", 2)])
def test_the_kernel_is_the_mean_of_the_tangent_kernels_of_random_networks(activation, depth):
    """With one hidden layer at any width; with two it misses by a term in 1/width, which two widths take out."""
    x = np.array([[0.3, -1.0], [1.2, 0.4], [-0.5, 0.1]])
    weights = {64: 1} if depth == 1 else {64: 2, 32: -1}
    found = {width: tangent_kernels(x, activation, depth, width) for width in weights}
    mean = sum(weight * found[width].mean(0) for width, weight in weights.items())
    error = sum(abs(weight) * margin(found[width]) for width, weight in weights.items())
    scales = (WEIGHT_SD, BIAS_SD, depth, activation)
    assert np.all(np.abs(mean - tangent_kernel(x, x, *scales)) < error)
    assert np.any(np.abs(mean - nngp_kernel(x, x, *scales)) > error)


def test_the_flow_is_gradient_descent_of_the_parameters_in_function_space():
    """f(x, t) of a linear model under a ridge to its start, by its parameters and by its kernel."""
    rng = np.random.default_rng(0)
    J, J_at, residual, ridge = rng.standard_normal((4, 9)), rng.standard_normal((3, 9)), rng.standard_normal(4), 0.3
    for time in (0.0, 0.7, 20.0):
        hessian = J.T @ J + ridge * np.eye(9)
        moved = np.linalg.solve(hessian, (np.eye(9) - expm(-time * hessian)) @ J.T @ residual)
        kernel = J @ J.T + ridge * np.eye(4)
        np.testing.assert_allclose(flow(kernel, J @ J_at.T, time).T @ residual, J_at @ moved, rtol=0, atol=1e-12)
    np.testing.assert_allclose(flow(kernel, J @ J_at.T), flow(kernel, J @ J_at.T, 1e3), rtol=0, atol=1e-12)
    np.testing.assert_allclose(flow(np.ones((2, 2)), np.eye(2), 3.0)[:, 0].sum(), -np.expm1(-6) / 2, rtol=1e-12)


@pytest.mark.parametrize("activation, depth", [("relu", 1), ("erf", 1), ("relu", 3)])
def test_the_last_layer_alone_gives_the_posterior_and_every_layer_does_not(activation, depth):
    net = network(activation, depth)
    clean = process_posterior(net._replace(noise_variance=0.0), AT)
    noisy = process_posterior(net, AT)
    anew = {"ridge": net.noise_variance, "target_noise": net.noise_variance}
    for exact, settings in ((clean, {}), (noisy, anew)):
        mean, covariance = members_law(net, AT, trained=LAST_LAYER, **settings)
        np.testing.assert_allclose(mean, exact[0], rtol=0, atol=1e-10)
        np.testing.assert_allclose(covariance, exact[1], rtol=0, atol=1e-10)
        mean, covariance = members_law(net, AT, **settings)
        assert np.abs(np.sqrt(np.diag(covariance) / np.diag(exact[1])) - 1).max() > 0.02
        assert np.abs(mean - exact[0]).max() > 0.02


def test_members_start_as_the_prior_and_end_on_the_rows():
    net = network("relu")
    mean, covariance = members_law(net, AT, time=0.0)
    np.testing.assert_array_equal(mean, 0.0)
    np.testing.assert_allclose(covariance, nngp_kernel(AT, AT, WEIGHT_SD, BIAS_SD, 1, "relu"), rtol=1e-14)
    mean, covariance = members_law(net, ROWS)
    np.testing.assert_allclose(mean, net.y, rtol=0, atol=1e-12)
    np.testing.assert_allclose(covariance, 0.0, rtol=0, atol=1e-11)
    late = members_law(net, AT, time=100.0)
    for now, end in zip(late, members_law(net, AT)):
        np.testing.assert_allclose(now, end, rtol=0, atol=1e-10)


PHI = {
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    "erf": (erf, lambda z: 2 / np.pi**0.5 * np.exp(-z * z)),
}


def finite_kernels(rng, x, activation, width, num):
    """Of `num` networks with one hidden layer, [num, N, N] each: K given the sizes |v| of the output weights, over
    whose signs f is averaged, and Θ."""
    phi, slope = PHI[activation]
    w, b, v = rng.standard_normal((3, num, 1, width))
    z = WEIGHT_SD * x * w + BIAS_SD * b
    units, slopes = phi(z), slope(z)
    mean = lambda a: WEIGHT_SD**2 / width * a @ a.swapaxes(1, 2)
    below = WEIGHT_SD**2 * x @ x.T + BIAS_SD**2
    return BIAS_SD**2 + mean(units * v), BIAS_SD**2 + mean(units) + mean(slopes * v) * below


def errors_at_width(rng, net, width, num):
    """E[(f − m)²]/C − 1 at `AT` for networks made linear at their starts and trained to the end, m and C the law's mean
    and variance, [num, P]. K and Θ have the law's as means, so that what is linear in their differences is left out:
    the rest is of order 1/width in each network."""
    every, n = np.concatenate([net.x, AT]), len(net.x)
    scales = (net.weight_sd, net.bias_sd, 1, net.activation)
    prior, tangent = nngp_kernel(every, every, *scales), tangent_kernel(every, every, *scales)
    rows, at = slice(None, n), slice(n, None)
    gain = np.linalg.solve(tangent[rows, rows], tangent[rows, at]).T
    mean, law = members_law(net, AT)
    K, T = finite_kernels(rng, every, net.activation, width, num)
    own = np.linalg.solve(T[:, rows, rows], T[:, rows, at]).swapaxes(1, 2)
    spread = lambda g, k: np.einsum("...pa,...ab,...pb->...p", project(g), k, project(g))
    project = lambda g: np.concatenate([-g, np.broadcast_to(np.eye(len(AT)), (*g.shape[:-1], len(AT)))], axis=-1)
    second = spread(own, K) + (own @ net.y - mean) ** 2
    moved = (T[:, at, rows] - tangent[at, rows] - gain @ (T - tangent)[:, rows, rows]) @ np.linalg.inv(
        tangent[rows, rows]
    )
    first = spread(gain, K - prior) - 2 * np.einsum("rpa,ab,pb->rp", moved, prior[rows], project(gain))
    return (second - first) / np.diag(law) - 1


@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_finite_networks_near_the_law_as_one_over_width(activation):
    """Four times the width, a quarter of the error: within the margins, and 30% for what is of order 1/width²."""
    rng, net, found = np.random.default_rng(4), network(activation), {}
    for width, num in ((256, 4000), (1024, 1000)):
        errors = errors_at_width(rng, net, width, num)
        found[width] = errors.mean(0) * width, margin(errors) * width
    (few, few_margin), (many, many_margin) = found[256], found[1024]
    assert np.all(np.abs(few) > few_margin)
    assert np.all(np.abs(many - few) < few_margin + many_margin + 0.3 * np.abs(few))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"time": -1.0}, "time is -1.0 but must be at least 0"),
        ({"ridge": np.nan}, "ridge is nan"),
        ({"target_noise": -0.1}, "target_noise is -0.1"),
        ({"trained": "first layer"}, "trained is 'first layer' but must be 'every layer' or 'last layer'"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        members_law(network("relu"), AT, **settings)


def test_equal_rows_have_no_end():
    net = network("relu")
    twice = net._replace(x=ROWS[[0, 0, 1, 2]])
    with pytest.raises(
        ArithmeticError, match="no inverse; take rows that differ, or a ridge above 0, or a finite time"
    ):
        members_law(twice, AT)
    assert np.all(np.isfinite(members_law(twice, AT, time=5.0)[1]))
    with pytest.raises(ValueError, match="activation is 'sine'"):
        members_law(net._replace(activation="sine"), AT)


def test_the_claim_knows_a_wrong_kernel(monkeypatch):
    """A small run of it: the kernel without the hidden layer's part no longer says where members end."""
    monkeypatch.setattr(claim, "MEMBERS", 32)
    ends = claim._trained(jax.random.key(0))
    monkeypatch.setattr(claim, "_trained", lambda key: ends)
    judged = lambda: {m.role: m.met for m in claim.tangent_members(None)[0][-2:]}
    assert judged() == {INSTEAD: True, CONTROL: False}
    monkeypatch.setattr(claim, "_tangent", claim._prior)
    assert judged() == {INSTEAD: False, CONTROL: False}
