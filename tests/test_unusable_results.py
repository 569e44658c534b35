"""What cannot be used says so: modes that are none, starts that are all one, densities of a part, NaN for draws."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

from probjax import (
    Data,
    Model,
    NotApplicable,
    Posterior,
    ensemble,
    from_linen,
    from_nnx,
    importance_corrected,
    joint_log_predictive,
    laplace,
    laplace_diagonal,
    laplace_ggn,
    laplace_last_layer,
    likelihoods,
    linear,
    log_predictive,
    map_estimate,
    mlp,
    neural_linear,
    optimize,
    predict,
    priors,
    stein,
    trained,
)

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (12, 2))
DATA = Data(X, jnp.sin(X[:, 0]))


def regression(network, prior=None):
    return Model(*network, prior=prior or priors.normal(), likelihood=likelihoods.normal(0.3))


class Net(nnx.Module):
    def __init__(self, rngs, width=4):
        self.body, self.norm = nnx.Linear(2, width, rngs=rngs), nnx.BatchNorm(width, rngs=rngs)
        self.head = nnx.Linear(width, 1, rngs=rngs)

    def __call__(self, x):
        return self.head(jnp.tanh(self.norm(self.body(x))))[:, 0]


def test_parameters_that_no_fit_has_seen_are_no_mode_however_many_they_are():
    """The prior's constant of a wide network is thousands of nats, beside which any slope would be small."""
    model = regression(mlp([2, 3000, 1]))
    untrained = map_estimate(KEY, model, DATA, fit=trained(model.init(jax.random.key(5)))).info
    assert float(untrained["objective"]) > 1e4 and not untrained["converged"]
    line = regression(linear(2))
    converged = lambda fit: bool(map_estimate(KEY, line, DATA, fit=fit).info["converged"])
    mode = jax.tree.map(lambda leaf: leaf[0], map_estimate(KEY, line, DATA).draws)
    assert converged(trained(mode)) and not converged(trained(jax.tree.map(lambda leaf: leaf + 0.1, mode)))
    assert converged(partial(optimize.adam, num_steps=1000, learning_rate=0.02))
    assert not converged(partial(optimize.adam, num_steps=50, learning_rate=1e10))


def test_a_fit_that_is_none_or_ends_nowhere_is_named():
    model = regression(linear(2))
    for fit, words in (
        (optax.adam(0.1), "must be a minimiser"),
        (lambda f, params: params, r"return \(params, info\)"),
    ):
        with pytest.raises(TypeError, match=words):
            map_estimate(KEY, model, DATA, fit=fit)
    nowhere = lambda f, params: (jax.tree.map(lambda leaf: leaf * jnp.nan, params), {})
    with pytest.raises(ValueError, match="NaN or infinite; lower its learning rate"):
        laplace(KEY, model, DATA, fit=nowhere)
    with pytest.raises(ValueError, match="adam: learning_rate is -1"):
        map_estimate(KEY, model, DATA, fit=partial(optimize.adam, learning_rate=-1))
    with pytest.raises(ValueError, match="use laplace_diagonal, laplace_kron or laplace_last_layer"):
        laplace(KEY, regression(linear(5000)), Data(jnp.ones((2, 5000)), jnp.ones(2)))


def test_predictions_from_draws_that_are_nan_are_refused_with_what_the_method_says():
    model = regression(linear(2))
    draws = {"weight": jnp.zeros((3, 2)).at[1].set(jnp.nan), "bias": jnp.zeros(3)}
    posterior = Posterior(draws, {"converged": jnp.asarray(False), "objective": jnp.ones(3)})
    for use, at in ((predict, X), (log_predictive, DATA), (joint_log_predictive, DATA)):
        with pytest.raises(ValueError, match=r"1 draws of 3 .*first: draw 1.* the method says: converged 0"):
            use(model, posterior, at)
    assert jnp.isnan(jax.jit(lambda p: predict(model, p, X))(posterior)).any()  # inside a trace nothing can be seen


@pytest.mark.parametrize("method", [laplace_last_layer, neural_linear])
def test_the_density_of_a_last_layer_is_not_taken_for_that_of_all(method):
    network, whole = regression(mlp([2, 3, 1])), regression(linear(2))
    run = lambda model, **settings: jax.jit(partial(method, num_draws=30, **settings))(KEY, model, DATA).info
    info = run(network)
    assert "log_q" not in info and info["log_q_last"].shape == (30,) and float(info["nonlinearity"]) < 1e-10
    assert "log_q" in run(whole)
    with pytest.raises(NotApplicable, match="reports no log_q"):
        jax.eval_shape(partial(importance_corrected, method=method), KEY, network, DATA)
    assert float(run(network, layer=0)["nonlinearity"]) > 1e-3  # not the last


def test_where_nothing_is_known_a_gaussian_is_nan_and_never_infinite():
    x = jnp.concatenate([X, X[:, :1] + X[:, 1:], jnp.zeros((12, 1))], axis=1)
    for columns, method in ((x[:, :3], laplace), (x[:, [0, 1, 3]], laplace), (x[:, [0, 1, 3]], laplace_diagonal)):
        for seed in range(4):
            data = Data(columns + 0, jax.random.normal(jax.random.key(seed), (12,)))
            posterior = method(KEY, regression(linear(3), priors.flat()), data, num_draws=5)
            leaves = jax.tree.leaves((posterior.draws, posterior.info["log_evidence"]))
            assert int(posterior.info["num_nonpositive"]) == 1
            assert any(jnp.isnan(leaf).any() for leaf in leaves) and not any(jnp.isinf(leaf).any() for leaf in leaves)


def test_a_prior_with_heavy_tails_curves_the_other_way_in_them():
    """−∂² log Cauchy = 2(1 − w²)/(1 + w²)² < 0 beyond 1, and tanh there is flat: Gauss–Newton says that it has none."""
    network = linear(1, bias=False)._replace(apply=lambda params, x: jnp.tanh(x[:, 0] * params["weight"][0]))
    model = Model(*network, prior=priors.cauchy(0.0, 1.0), likelihood=likelihoods.normal(0.1))
    data = Data(jnp.ones((1, 1)), jnp.full(1, 2.0))
    at = {"fit": trained({"weight": jnp.full(1, 3.29)}), "num_draws": 5}
    found = laplace_ggn(KEY, model, data, **at)
    assert int(found.info["num_nonpositive"]) == 1 and jnp.isnan(found.draws["weight"]).all()
    assert int(laplace(KEY, model, data, **at).info["num_nonpositive"]) == 0


def test_members_from_one_start_are_refused():
    model = regression(from_nnx(Net, trained=Net(nnx.Rngs(0))))
    for method in (ensemble, stein):
        with pytest.raises(ValueError, match=rf"{method.__name__}: model\.init returns the trained parameters"):
            method(KEY, model, DATA)


def test_no_weight_of_beta_nll_is_the_likelihood():
    model = regression(linear(2))
    members = [ensemble(KEY, model, DATA, num_members=2, beta=beta).draws["weight"] for beta in (None, 0, 0.0)]
    np.testing.assert_array_equal(members[0], members[1])
    np.testing.assert_array_equal(members[0], members[2])


def test_a_frozen_layer_is_a_constant_and_the_rest_is_inferred():
    module = Net(nnx.Rngs(3))
    model = regression(from_nnx(Net, trained=module, trainable=nnx.PathContains("head")))
    params = model.init(KEY)
    assert jax.tree.map(jnp.shape, params) == {"head": {"bias": (1,), "kernel": (4, 1)}}
    module.eval()
    np.testing.assert_array_equal(model.apply(params, X), module(X))
    # f is linear in what is left: with normal noise Laplace is the exact posterior of a regression on the features
    features = np.column_stack([np.tanh(module.norm(module.body(X))), np.ones(12)])
    covariance = np.linalg.inv(features.T @ features / 0.09 + np.eye(5))
    posterior = laplace(KEY, model, DATA, num_draws=2)
    head = posterior.draws["head"]
    unravelled = dict(zip(("bias", "kernel"), np.split(np.asarray(posterior.info["mode"]), [1])))
    mean = covariance @ features.T @ np.asarray(DATA.y) / 0.09
    np.testing.assert_allclose(np.append(unravelled["kernel"], unravelled["bias"]), mean, atol=1e-7)
    assert head["kernel"].shape == (2, 4, 1)


def test_modules_that_cannot_be_taken_say_why():
    one = jnp.zeros((1, 2))
    with pytest.raises(TypeError, match="make is a Net but must be what makes a module"):
        from_nnx(Net(nnx.Rngs(0)), X)
    with pytest.raises(TypeError, match="trained is a dict"):
        from_nnx(Net, X, trained={})
    with pytest.raises(ValueError, match="trained has parameters of shapes"):
        from_nnx(Net, X, trained=Net(nnx.Rngs(0), width=5))
    with pytest.raises(ValueError, match=r"example_x \(1 rows, all the same\) has none to give"):
        from_nnx(Net, one)
    with pytest.raises(ValueError, match="trainable freezes parameters; pass trained"):
        from_nnx(Net, X, trainable=nnx.PathContains("head"))
    with pytest.raises(ValueError, match=r"trainable matches no nnx\.Param"):
        from_nnx(Net, X, trained=Net(nnx.Rngs(0)), trainable=nnx.PathContains("tail"))
    with pytest.raises(TypeError, match=r"module is the class Dense but must be a flax\.linen\.Module, made"):
        from_linen(linen.Dense, X)

    class Normed(linen.Module):
        @linen.compact
        def __call__(self, x, train=False):
            return linen.BatchNorm(use_running_average=not train)(linen.Dense(1)(x))[:, 0]

    with pytest.raises(ValueError, match=r"from_linen: .*rows, all the same"):
        from_linen(Normed(), jnp.ones((9, 2)), train={"train": True})
