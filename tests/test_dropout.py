"""Dropout: Gaussian masks, its law on a linear model, and Flax modules that have it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from probjax import (
    Data,
    Masked,
    Model,
    NotApplicable,
    dropout,
    from_linen,
    from_nnx,
    gaussian_mask,
    likelihoods,
    mlp,
    optimize,
    priors,
)
from verification.exact.conjugate import linear_posterior
from verification.limits import ensembles
from verification.limits.dropout import adaptive_ridge
from verification.methods import Method
from verification.work import build_problem

KEY = jax.random.key(0)


def test_gaussian_masks_have_the_variance_of_bernoullis_and_fall_on_the_same_units():
    """Each law's mask has mean 1 and variance rate/(1 − rate) (false alarm 1e-6 each)."""
    from probjax import bernoulli_mask

    for law in (gaussian_mask, bernoulli_mask):
        m = np.asarray(law(KEY, (40_000,), 0.3))
        assert abs(m.mean() - 1) < 4.9 * m.std() / 200
        square = (m - 1) ** 2
        assert abs(square.mean() - 0.3 / 0.7) < 4.9 * square.std() / 200


def test_gaussian_dropout_is_the_scaled_fit_and_its_limit_is_that_gaussian(regression, weights):
    model, data, *_ = regression
    settings = {"num_draws": 4, "num_steps": 200, "rate": 0.3, "mask": gaussian_mask}
    posterior = jax.jit(lambda key: dropout(key, model, data, **settings))(KEY)
    keys = jax.random.split(jax.random.split(KEY, 3)[2], 4)
    ratio = weights(posterior.draws)[:, :3] / np.array([gaussian_mask(k, (3,), 0.3) for k in keys])
    np.testing.assert_allclose(ratio, np.tile(ratio[0], (4, 1)), rtol=1e-10)  # one fit under every mask
    problem = build_problem("linear", None)
    s = problem.linear
    limit = ensembles.dropout(Method("", dropout, settings), problem)
    w, x = adaptive_ridge(s, 0.7), s.queries[3]  # f(1, 1); the last column is the constant one
    assert limit.reference.sd[3] ** 2 == pytest.approx(0.3 / 0.7 * np.sum((w * x)[:-1] ** 2), rel=1e-12)
    assert limit.reference.mean == pytest.approx(s.queries @ w, rel=1e-12)
    assert limit.below.shape == problem.reference.quantiles.shape
    bernoulli = ensembles.dropout(Method("", dropout, {"num_draws": 9, "rate": 0.3}), problem)
    np.testing.assert_allclose(bernoulli.reference.sd, limit.reference.sd, rtol=1e-10, atol=1e-12)
    assert ensembles.dropout(Method("", dropout, settings), build_problem("network_one_unit", None)) is None


def test_dropout_does_not_contract_with_n():
    """q = 0.7, slope 2, σ = τ = 1, x = 1, Σx² = n: sd √((1−q)/q) w → 0.92 where w = 2n/(n/q + 1), the posterior's
    1/√(n + 1)."""
    from types import SimpleNamespace

    sd, exact = {}, {}
    for n in (10, 10**3, 10**6):
        x = np.where(np.arange(n) % 2, 1.0, -1.0)[:, None]
        s = SimpleNamespace(design=x, y=2 * x[:, 0], noise_scale=1.0, prior_scale=1.0)
        w = adaptive_ridge(s, 0.7)
        assert w[0] == pytest.approx(2 * n / (n / 0.7 + 1), rel=1e-12)
        assert np.sqrt(ensembles.gaussian_dropout(s, 0.3)[1][0]) == pytest.approx(np.sqrt(0.3 / 0.7) * w[0], rel=1e-12)
        sd[n], exact[n] = np.sqrt(0.3 / 0.7) * w[0], np.sqrt(1 / linear_posterior(x, s.y, 1.0, 1.0)[1][0, 0])
    assert sd[10**6] == pytest.approx(2 * np.sqrt(0.3 * 0.7), rel=1e-5) and round(sd[10**6], 2) == 0.92
    assert round(exact[10**6], 6) == 0.001 and sd[10] < sd[10**3] < sd[10**6]


X = np.random.default_rng(3).standard_normal((12, 2)).astype(np.float32)
Y = np.sin(X[:, 0]).astype(np.float32)


class LinenNet(linen.Module):
    """Two Dropout layers of unlike rates around a BatchNorm."""

    batch_norm: bool = False

    @linen.compact
    def __call__(self, x, train=False):
        x = linen.Dropout(0.25)(x, deterministic=not train)
        x = linen.Dense(4)(x)
        if self.batch_norm:
            x = linen.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        x = linen.Dropout(0.5, deterministic=not train)(jnp.tanh(x))
        return linen.Dense(1)(x)[..., 0]


class NnxNet(nnx.Module):
    def __init__(self, rngs, batch_norm=False):
        self.first, self.last = nnx.Linear(2, 4, rngs=rngs), nnx.Linear(4, 1, rngs=rngs)
        self.drops = nnx.List([nnx.Dropout(0.25, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)])
        self.norm = nnx.BatchNorm(4, momentum=0.9, rngs=rngs) if batch_norm else None

    def __call__(self, x):
        x = self.first(self.drops[0](x))
        x = x if self.norm is None else self.norm(x)
        return self.last(self.drops[1](jnp.tanh(x)))[..., 0]


def norm_net(rngs):
    return NnxNet(rngs, batch_norm=True)


NETWORKS = {
    "linen": lambda norm: from_linen(LinenNet(norm), X, train={"train": True}, predict={"train": False}),
    "nnx": lambda norm: from_nnx(norm_net if norm else NnxNet, X),
}


def by_hand(params, masks, x, stats=None):
    """The network in numpy; stats: "batch", those of X under the draw, or (mean, var)."""
    p = {k: jax.tree.map(np.asarray, v) for k, v in params.items()}
    first, last = (p[k] for k in (("Dense_0", "Dense_1") if "Dense_0" in p else ("first", "last")))
    inner = lambda x: (x * masks[0]) @ first["kernel"] + first["bias"]
    hidden = inner(x)
    if stats is not None:
        norm = p.get("BatchNorm_0", p.get("norm"))
        mean, var = (inner(X).mean(0), inner(X).var(0)) if isinstance(stats, str) else stats
        hidden = (hidden - mean) / np.sqrt(var + 1e-5) * norm["scale"] + norm["bias"]
    return ((np.tanh(hidden) * masks[1]) @ last["kernel"] + last["bias"])[:, 0]


@pytest.mark.parametrize("flavour, norm", [("linen", True), ("nnx", True), ("nnx", False)])
def test_a_flax_draw_is_a_function_with_its_masks_and_its_statistics(flavour, norm):
    network = NETWORKS[flavour](norm)
    params, stats = jax.jit(network.init)(KEY), "batch" if norm else None
    new = np.float32(0.3) * X[:5] + 1
    draw = network.drop(jax.random.key(1), params, None)
    assert [mask.shape for mask in draw.masks] == [(2,), (4,)]
    again = network.drop(jax.random.key(2), params, None)
    values = {i: {round(float(v), 4) for d in (draw, again) for v in d.masks[i]} for i in (0, 1)}
    assert values[0] <= {0.0, 1.3333} and values[1] == {0.0, 2.0}  # each layer's own rate
    calls = lambda params, draw: [network.apply(*call) for call in ((params, new), (draw, new), (draw, new[:2]))]
    plain, f, fewer = jax.jit(calls)(params, draw)
    np.testing.assert_allclose(plain, by_hand(params, (1, 1), new, stats), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(f, by_hand(params, draw.masks, new, stats), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(fewer, f[:2], rtol=1e-5, atol=1e-6)  # whatever rows stand beside


@pytest.mark.parametrize("flavour", NETWORKS)
def test_a_flax_net_with_dropout_and_batch_norm_is_trained_under_its_masks(flavour):
    model = Model(*NETWORKS[flavour](True), prior=priors.normal(), likelihood=likelihoods.normal(0.5))
    settings = {"num_draws": 5, "num_steps": 40, "num_masks": 2, "mask": gaussian_mask}
    posterior = jax.jit(partial(dropout, **settings))(KEY, model, Data(X, Y))
    assert isinstance(posterior.draws, Masked) and posterior.draws.masks[1].shape == (5, 4)
    start = jax.jit(model.init)(jax.random.split(KEY, 3)[0])
    fitted = jax.tree.map(lambda leaf: leaf[0], posterior.draws.params)
    error = lambda params: np.sum((Y - by_hand(params, (1, 1), X, "batch")) ** 2)
    assert error(fitted) < error(start)
    f = jax.jit(jax.vmap(model.apply, (0, None)))(posterior.draws, X)
    draws = [jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i]), posterior.draws) for i in range(5)]
    expected = [by_hand(draw.params, draw.masks, X, "batch") for draw in draws]
    np.testing.assert_allclose(f, expected, rtol=1e-3, atol=1e-4)
    assert np.all(np.asarray(f).std(0) > 0)


def test_trained_statistics_and_parameters_are_used_as_they_are():
    variables = LinenNet(True).init(jax.random.key(5), X)
    stats = {"BatchNorm_0": {"mean": jnp.arange(4.0), "var": jnp.arange(1.0, 5.0)}}
    network = from_linen(LinenNet(True), X, variables={"params": variables["params"], "batch_stats": stats})
    expected = by_hand(variables["params"], (1, 1), X, (np.arange(4.0), np.arange(1.0, 5.0)))
    np.testing.assert_allclose(network.apply(network.init(KEY), X), expected, rtol=1e-4, atol=1e-5)
    module = norm_net(nnx.Rngs(5))
    module.norm.mean[...] = jnp.arange(4, dtype=jnp.float32)
    module.norm.var[...] = jnp.arange(1, 5, dtype=jnp.float32)
    network = from_nnx(norm_net, X, trained=module)
    params = network.init(KEY)
    expected = by_hand(params, (1, 1), X, (np.arange(4.0), np.arange(1.0, 5.0)))
    np.testing.assert_allclose(network.apply(params, X), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(params["first"]["kernel"], module.first.kernel[...])


def test_flax_modules_that_cannot_be_used_say_why():
    layers = lambda *modules: linen.Sequential(modules)
    assert from_linen(linen.Dense(1), X).drop is None
    model = Model(*from_linen(linen.Dense(1), X), prior=priors.normal(), likelihood=likelihoods.normal(1.0))
    with pytest.raises(NotApplicable, match="units to drop"):
        dropout(KEY, model, Data(X, Y))
    with pytest.raises(ValueError, match=r"has rate 1\.0 but needs one in"):
        from_linen(layers(linen.Dropout(1.0), linen.Dense(1)), X)
    silent = from_linen(layers(linen.Dropout(0.0), linen.Dense(1)), X)
    with pytest.raises(ValueError, match="every Dropout layer of the module has rate 0"):
        silent.drop(KEY, silent.init(KEY), None)
    with pytest.raises(NotImplementedError, match="does not see the rows of x on its leading axis"):
        from_linen(layers(jnp.transpose, linen.Dropout(0.5), jnp.transpose, linen.Dense(1)), X)
    with pytest.raises(ValueError, match=r"pass it as train=\{…\}"):
        from_linen(layers(linen.Dense(3), linen.BatchNorm(use_running_average=True)), X)
    with pytest.raises(ValueError, match="variables has tree"):
        from_linen(LinenNet(), X, variables={})
    with pytest.raises(NotImplementedError, match="pass example_x"):
        from_nnx(NnxNet)
    drop = from_linen(LinenNet(), X)
    with pytest.raises(ValueError, match="x needs the shape of example_x"):
        drop.apply(drop.drop(KEY, drop.init(KEY), 0.5)._replace(masks=(jnp.ones(3),) * 2), X)


def test_the_same_keys_give_the_same_masks_as_ever():
    """A rate alone is Bernoulli's law at every network of ours; None is 0.1 there."""
    network = mlp([2, 5, 1])
    params, key = network.init(KEY), jax.random.key(4)
    keep = jax.random.bernoulli(jax.random.split(key, 1)[0], 0.9, (5,)) / (1 - 0.1)
    expected = params[1]["weight"] * keep[:, None]
    for rate in (0.1, None):
        np.testing.assert_allclose(network.drop(key, params, rate)[1]["weight"], expected, rtol=1e-15)


def test_the_last_slope_is_a_mean_over_keys_in_the_memory_of_one():
    """Its value is that of the gradient of the mean, and 4096 keys of a thousand parameters would be 32 MB."""
    noisy = lambda w, key: 0.5 * jnp.sum((w - 1 + 0.1 * jax.random.normal(key, w.shape)) ** 2)
    run = partial(optimize.stochastic_adam, jax.random.key(0), noisy, jnp.zeros(1000), num_steps=1, num_final=4096)
    compiled = jax.jit(run).lower().compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 4e6
    w, info = compiled()
    noise = jax.vmap(lambda k: 0.1 * jax.random.normal(k, (1000,)))(
        jax.random.split(jax.random.split(jax.random.key(0))[1], 4096)
    )
    np.testing.assert_allclose(info["grad_norm"], np.abs(w - 1 + noise.mean(0)).max(), rtol=1e-12)
    np.testing.assert_allclose(info["objective"], 0.5 * ((w - 1 + noise) ** 2).sum(1).mean(), rtol=1e-12)
