"""Streamed moments of predictions, the digits experiment, and what the README says of a Flax network."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import digits
from probjax import Model, NotApplicable, from_nnx, likelihoods, mlp, priors
from probjax.inference.dropout import masked
from probjax.predictive import predictive_moments

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()


def test_the_network_of_another_loop_in_the_readme_runs(capsys):
    """Trained parameters are taken as they are, the ensemble is its checkpoints, and a frozen layer is no parameter."""
    code = next(block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "nnx.Optimizer" in block)
    namespace = {}
    exec(code, namespace)
    assert capsys.readouterr().out.endswith("(200, 3)\n")
    module, x = namespace["module"], namespace["x"]
    module.eval()
    model = namespace["model"]
    np.testing.assert_array_equal(model.apply(model.init(jax.random.key(0)), x), module(x))
    assert list(namespace["head"].init(jax.random.key(0))) == ["head"]
    assert (np.argmax(namespace["passes"].mean, axis=1) == namespace["data"].y).mean() > 0.95


def test_the_flax_network_in_the_readme_runs(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    code = next(block for block in blocks if "load_digits" in block)
    namespace = {}
    exec(code.replace("num_draws=50", "num_draws=3").replace("num_steps=300", "num_steps=50"), namespace)
    losses = [float(line) for line in capsys.readouterr().out.splitlines()]
    assert len(losses) == 2 and all(loss < 1.5 for loss in losses)  # nothing learnt: log 10 = 2.3


@pytest.mark.parametrize("batch_size", [1, 7])
def test_streamed_moments_are_those_of_the_stacked_draws(batch_size):
    model = Model(*mlp([1, 4, 1]), prior=priors.normal(), likelihood=likelihoods.normal(0.5))
    params, x, key = model.init(jax.random.key(3)), jnp.linspace(-1, 1, 5)[:, None], jax.random.key(1)
    draw = masked(model, params, rate=0.3)
    f = jax.vmap(lambda i: 1e4 + model.apply(draw(jax.random.fold_in(key, i)), x))(jnp.arange(101))
    shifted = model._replace(apply=lambda params, x: 1e4 + model.apply(params, x))  # where E[f²] − E[f]² loses digits
    moments = predictive_moments(key, shifted, draw, x, num_draws=101, batch_size=batch_size)
    np.testing.assert_allclose(moments.mean, f.mean(0), rtol=1e-14)
    np.testing.assert_allclose(moments.between, f.var(0), rtol=1e-10)
    np.testing.assert_allclose(moments.within, 0.25, rtol=1e-14)


def test_streamed_moments_hold_nothing_that_grows_with_the_draws():
    model = Model(*mlp([1, 4, 1]), prior=priors.normal(), likelihood=likelihoods.normal(0.5))
    params, x = model.init(jax.random.key(3)), jnp.ones((5, 1))

    def held(num_draws):
        run = lambda key: predictive_moments(key, model, masked(model, params), x, num_draws=num_draws)
        return jax.jit(run).lower(jax.random.key(0)).compile().memory_analysis().temp_size_in_bytes

    assert held(10) == held(100_000)


def test_masks_need_units_to_drop_and_a_rate():
    network = from_nnx(lambda rngs: digits.nnx.Linear(2, 3, rngs=rngs))
    plain = Model(*network, prior=priors.normal(), likelihood=likelihoods.categorical())
    with pytest.raises(NotApplicable, match="units to drop"):
        masked(plain, {})
    model = Model(*mlp([1, 4, 1]), prior=priors.normal(), likelihood=likelihoods.normal(0.5))
    with pytest.raises(ValueError, match="rate is 1"):
        masked(model, model.init(jax.random.key(0)), rate=1.0)


def test_the_digits_are_scored_in_ten_bins_of_equal_width():
    probs = np.array([[0.9, 0.1], [0.92, 0.08], [0.6, 0.4], [0.0, 1.0]])
    error = digits.top_label_error(probs, np.array([0, 1, 1, 1])).value
    # bins [0.9, 1]: confidence 2.82/3, two of three right; [0.6, 0.7): 0.6, none right
    assert error == pytest.approx(0.75 * (2.82 / 3 - 2 / 3) + 0.25 * 0.6, abs=1e-12)


def test_the_temperature_undoes_a_scaling():
    logits = np.random.default_rng(0).normal(size=(400, 3)) * 2
    y = (logits + np.random.default_rng(1).gumbel(size=logits.shape)).argmax(1)
    one, three = (float(digits.inverse_temperature(jnp.asarray(scale * logits), y)) for scale in (1, 3))
    assert one / three == pytest.approx(3, rel=1e-4)
