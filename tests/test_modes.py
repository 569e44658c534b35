"""Certificates of modes: true modes hold every condition, near ones, saddles and false zeros do not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from probjax import Data, Model, Target, likelihoods, linear, priors
from probjax.inference import glm, map_estimate
from verification.modes import certify_mode


def first(posterior):
    return jax.tree.map(lambda leaf: leaf[0], posterior.draws)


def test_the_conjugate_mode_has_the_posteriors_precision(regression):
    model, data, design, noise_scale, prior_scale = regression
    precision = design.T @ design / noise_scale**2 + np.eye(4) / prior_scale**2
    mean = np.linalg.solve(precision, design.T @ np.asarray(data.y) / noise_scale**2)
    params = {"weight": mean[:3], "bias": mean[3]}
    found = certify_mode(model, data, params)
    assert found.is_mode(1e-10) and found.num_held == 0 and found.grad_norm == found.violation
    assert found.smallest_eigenvalue == pytest.approx(np.linalg.eigvalsh(precision)[0], rel=1e-10)
    step = np.array([0.01, -0.02, 0.0, 0.03])
    off = certify_mode(model, data, {"weight": mean[:3] + step[:3], "bias": mean[3] + step[3]})
    assert not off.is_mode(1e-3) and off.gain == pytest.approx(0.5 * step @ precision @ step, rel=1e-9)


def test_the_optimisers_modes_are_modes(regression):
    model, data, *_ = regression
    assert certify_mode(model, data, first(map_estimate(jax.random.key(0), model, data))).is_mode(1e-3)
    assert certify_mode(model, data, first(glm(jax.random.key(0), model, data))).is_mode(1e-6)


@pytest.fixture(scope="module")
def lasso():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((40, 5))
    data = Data(jnp.asarray(x), jnp.asarray(x @ [2.0, 0, 0, -1.5, 0] + 0.5 * rng.standard_normal(40)))
    prior = priors.joint(weight=priors.laplace(0.0, 0.02), bias=priors.flat())
    model = Model(*linear(5), prior=prior, likelihood=likelihoods.normal(0.5))
    return model, data, first(glm(jax.random.key(0), model, data))


def test_a_lassos_zeros_obey_the_karush_kuhn_tucker_conditions(lasso):
    model, data, mode = lasso
    found = certify_mode(model, data, mode)
    assert found.is_mode(1e-6) and found.num_held == int((mode["weight"] == 0).sum()) > 0
    assert found.grad_norm == pytest.approx(50.0, abs=1e-6)  # at a coordinate off zero the gradient is the rate, 1/b


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.at[0].set(0.0),  # a zero that the gradient pulls harder at than its rate
        lambda w: w.at[1].set(1e-4),  # a coefficient that should be zero
        lambda w: w.at[0].add(1e-4),
    ],
    ids=["false zero", "missing zero", "off"],
)
def test_points_beside_a_lassos_mode_are_told_apart(lasso, change):
    model, data, mode = lasso
    found = certify_mode(model, data, {**mode, "weight": change(mode["weight"])})
    assert not found.is_mode(1e-3) and found.violation > 1e-3


def test_a_saddle_is_no_mode():
    saddle = Target(lambda key: jnp.zeros(2), lambda w, data: -(w[0] ** 2) + w[1] ** 2, lambda w: {"w": w})
    found = certify_mode(saddle, None, jnp.zeros(2))
    assert found.violation == 0 and found.smallest_eigenvalue == -2 and not found.is_mode(1e-6)
    assert np.isnan(found.gain)


def test_poles_and_too_many_parameters_are_refused(regression):
    model, data, *_ = regression
    with pytest.raises(ValueError, match="the prior has a pole or an atom"):
        certify_mode(model._replace(prior=priors.horseshoe()), data, {"weight": jnp.ones(3), "bias": jnp.ones(())})
    with pytest.raises(ValueError, match="params has 5000 numbers"):
        certify_mode(model, data, {"weight": jnp.zeros(4999), "bias": jnp.zeros(())})
