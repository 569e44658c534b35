"""A dropped unit is a scaled row; Flax modules are the same functions as ours; a leading axis runs as a vmap would."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from probjax import from_linen, from_nnx, linear, location_and_scale, mlp, over_leading_axis

X = np.random.default_rng(0).standard_normal((6, 2))


def test_a_dropout_mask_on_hidden_units_is_a_scaling_of_the_next_rows():
    network, key, rate = mlp([2, 5, 4, 1]), jax.random.key(3), 0.4
    params = network.init(jax.random.key(0))
    masks = [jax.random.bernoulli(k, 1 - rate, (n,)) / (1 - rate) for k, n in zip(jax.random.split(key, 2), (5, 4))]
    hidden = X
    for layer, mask in zip(params[:-1], masks):
        hidden = jnp.tanh(hidden @ layer["weight"] + layer["bias"]) * mask
    expected = (hidden @ params[-1]["weight"] + params[-1]["bias"])[:, 0]
    np.testing.assert_allclose(network.apply(network.drop(key, params, rate), X), expected, rtol=1e-14, atol=1e-15)


def test_dropout_on_a_linear_model_masks_its_inputs_and_spares_the_bias():
    network = linear(2)
    params = network.init(jax.random.key(0)) | {"bias": jnp.array(7.0)}
    masked = jax.vmap(lambda k: network.drop(k, params, 0.25))(jax.random.split(jax.random.key(1), 500))
    ratio = np.asarray(masked["weight"] / params["weight"])
    assert np.all(np.isclose(ratio, 0) | np.isclose(ratio, 1 / 0.75, rtol=1e-14))
    assert np.all(np.asarray(masked["bias"]) == 7)


def test_nnx_and_linen_modules_compute_what_the_plain_network_does():
    plain = mlp([2, 3, 1])
    params = plain.init(jax.random.key(0))
    expected = plain.apply(params, X)
    nnx_net = from_nnx(
        lambda rngs: nnx.Sequential(
            nnx.Linear(2, 3, rngs=rngs), jnp.tanh, nnx.Linear(3, 1, rngs=rngs), lambda f: f[..., 0]
        )
    )
    shapes = nnx_net.init(jax.random.key(0))
    as_nnx = {"layers": {i: {"kernel": p["weight"], "bias": p["bias"]} for i, p in zip((0, 2), params)}}
    assert jax.tree.structure(as_nnx) == jax.tree.structure(shapes)
    np.testing.assert_allclose(nnx_net.apply(as_nnx, X), expected, rtol=1e-6)

    class Net(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.Dense(1, name="out")(jnp.tanh(linen.Dense(3, name="hidden")(x)))[..., 0]

    linen_net = from_linen(Net(), X)
    as_linen = {name: {"kernel": p["weight"], "bias": p["bias"]} for name, p in zip(("hidden", "out"), params)}
    assert jax.tree.structure(as_linen) == jax.tree.structure(linen_net.init(jax.random.key(0)))
    np.testing.assert_allclose(linen_net.apply(as_linen, X), expected, rtol=1e-13)


def test_modules_that_keep_state_are_refused_by_name():
    with pytest.raises(NotImplementedError, match="BatchStat"):
        from_nnx(lambda rngs: nnx.Sequential(nnx.Linear(2, 3, rngs=rngs), nnx.BatchNorm(3, rngs=rngs)))


def test_equal_networks_share_one_compilation():
    traces = []

    @jax.jit
    def start(network, key):
        traces.append(1)
        return network.init(key)

    for network in (mlp([1, 4, 1]), mlp([1, 4, 1]), linear(2), linear(2)):
        start(network, jax.random.key(0))
    assert len(traces) == 2


def test_heteroscedastic_head_needs_two_outputs():
    network = location_and_scale(mlp([2, 3, 2]))
    loc, scale = network.apply(network.init(jax.random.key(0)), X)
    assert loc.shape == scale.shape == (6,) and np.all(np.asarray(scale) > 0)
    with pytest.raises(ValueError, match="2 outputs are named"):
        narrow = location_and_scale(mlp([2, 3, 1]))
        narrow.apply(narrow.init(jax.random.key(0)), X)


@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_a_leading_axis_runs_as_vmap_would(batch_size):
    keys = jax.random.split(jax.random.key(0), 7)
    body = lambda key, x: {"draw": jax.random.normal(key, (2,)) * x}
    got = over_leading_axis(body, keys, jnp.arange(7.0), batch_size=batch_size)
    np.testing.assert_allclose(got["draw"], jax.vmap(body)(keys, jnp.arange(7.0))["draw"], rtol=1e-15)


@pytest.mark.parametrize("num_outputs", [1, 2, 3, 4])
def test_a_layer_of_any_width_is_the_matrix_product_and_so_are_its_derivatives(num_outputs):
    network = mlp([2, 5, num_outputs], squeeze=False)
    params = network.init(jax.random.key(0))

    def plain(params):
        first, second = params
        return jnp.tanh(X @ first["weight"] + first["bias"]) @ second["weight"] + second["bias"]

    own = lambda params: network.apply(params, X)
    np.testing.assert_allclose(own(params), plain(params), rtol=0, atol=1e-14)
    for found, expected in zip(*(jax.tree.leaves(jax.jacobian(f)(params)) for f in (own, plain))):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)
