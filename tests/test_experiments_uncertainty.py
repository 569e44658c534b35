"""The experiments on uncertainty: their parts are the closed forms, and each makes its table and figure."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiment_parts import caught, is_figure
from scipy import integrate, stats
from scipy.special import erf

from experiments import (
    contraction,
    cost_of_uncertainty,
    deep_ensemble,
    digits,
    epistemic_gap,
    large_networks,
    mc_dropout,
    sine,
    width,
)
from probjax import (
    Data,
    Model,
    Posterior,
    likelihoods,
    location_and_scale,
    masked,
    mlp,
    neural_linear_gaussian,
    predict,
    priors,
)
from probjax.linearised import linearised
from verification.exact.infinite_width import process_posterior


def test_dropout_does_not_contract_and_the_posterior_does():
    x, y = contraction.rows(np.random.default_rng(3))
    few, many = (contraction.closed_forms(x[:n], y[:n]) for n in (10, 10**6))
    sd, gram = np.sqrt(1 / (x @ x + 1)), x @ x
    assert abs(many["exact posterior"] / sd - 1) < 1e-12 and abs(sd - 1e-3) < 1e-5
    assert abs(many["anchored ensemble"] / sd**2 - 1) < 1e-12
    ridge = x @ y / (gram / 0.7 + 1)  # (1 + (1 − q)/q) XᵀX + 1/τ²
    assert abs(many["MC dropout"] / (np.sqrt(3 / 7) * ridge) - 1) < 1e-12
    assert abs(many["MC dropout"] - 0.9165) < 2e-3
    assert many["SWAG, batch 10"] > 0.9 * few["SWAG, batch 10"] and many["SWAG, batch n/10"] < 1e-3


def test_two_rows_say_what_all_rows_say():
    x, y = (part[:500] for part in contraction.rows(np.random.default_rng(4)))
    data = contraction.compressed(x, y)
    model, weights = contraction.line(), jnp.array([-1.0, 0.3, 2.0])
    log_joint = lambda data, w: jnp.sum(model.likelihood.log_prob(data.y, model.apply({"weight": w[None]}, data.x)))
    both = [jnp.stack([log_joint(d, w) for w in weights]) for d in (data, Data(x[:, None], y))]
    np.testing.assert_allclose(np.diff(both[0]), np.diff(both[1]), rtol=1e-10)


@pytest.mark.slow
def test_contraction_makes_its_table_and_figure(tmp_path, monkeypatch):
    for name, value in {
        "SIZES": (10, 100, 1000),
        "NUM_MEMBERS": 400,
        "SWAG_SIZES": (100,),
        "NUM_SNAPSHOTS": 50,
        "RANK": 10,
    }.items():
        monkeypatch.setattr(contraction, name, value)
    calls = caught(monkeypatch, contraction, "print_table")
    assert is_figure(contraction.main(tmp_path))
    exact, found = calls[0]
    for name in ("Laplace", "MC dropout", "randomised MAP", "anchored ensemble"):
        draws = 400 if "a" in name.split()[0] and name != "Laplace" else contraction.NUM_DRAWS
        for n, each in zip(
            contraction.SIZES, exact
        ):  # z at a false-alarm rate of 1e-6 a comparison; dropout's fit wobbles
            margin = 4.9 / np.sqrt(2 * draws) + (0.05 if name == "MC dropout" else 0.0)
            assert abs(found[name, n] / each[name] - 1) < margin
    assert all(found["plain ensemble", n] < contraction.POINT for n in contraction.SIZES)


def test_a_network_given_its_units_is_the_regression_on_them():
    """The posterior by `condition` against the library's exact last layer."""
    net, rng = width.network(1), np.random.default_rng(0)
    hidden = {"weight": jnp.asarray(rng.standard_normal((1, 3))), "bias": jnp.asarray(rng.standard_normal(3))}
    units = net.weight_sd / np.sqrt(3)
    scales = ({"weight": 1.0, "bias": 1.0}, {"weight": units, "bias": net.bias_sd})
    noise = likelihoods.normal(np.sqrt(net.noise_variance))
    model = Model(*mlp([1, 3, 1], activation=jax.scipy.special.erf), prior=priors.normal(0.0, scales), likelihood=noise)
    params = (hidden, {"weight": jnp.ones((3, 1)), "bias": jnp.zeros(1)})
    gaussian, log_evidence, _ = jax.jit(neural_linear_gaussian)(model, Data(net.x, net.y), params)
    x = np.concatenate([net.x, width.POINTS[:, None]])
    k = width._kernel(net, np.asarray(x @ hidden["weight"] + hidden["bias"])[None])
    found, mean, variance = width.condition(k, net.y, net.noise_variance)
    np.testing.assert_allclose(found[0], log_evidence, rtol=1e-10)
    expected = linearised(model, gaussian, width.POINTS[:, None])
    np.testing.assert_allclose(mean[0], expected[0], rtol=0, atol=1e-8)
    np.testing.assert_allclose(variance[0], expected[1], rtol=0, atol=1e-8)


def test_the_process_given_its_own_kernel_is_itself():
    net = width.network(2)
    limit = width.nngp_kernel(*[np.concatenate([net.x, width.POINTS[:, None]])] * 2, *net[3:])
    found, mean, variance = width.condition(limit[None], net.y, net.noise_variance)
    expected = process_posterior(net, width.POINTS[:, None])
    np.testing.assert_allclose(mean[0], expected[0], rtol=0, atol=1e-10)
    np.testing.assert_allclose(variance[0], np.diag(expected[1]), rtol=0, atol=1e-10)
    assert abs(found[0] - expected[2]) < 1e-10


def test_width_makes_its_table_and_figure_and_the_kurtosis_is_that_of_one_unit(tmp_path, monkeypatch):
    for name, value in {"WIDTHS": (1, 4, 32), "MAX_DRAWS": 4000, "MAX_UNITS": 1 << 17, "DEPTHS": (1, 2)}.items():
        monkeypatch.setattr(width, name, value)
    calls = caught(monkeypatch, width, "print_table")
    assert is_figure(width.main(tmp_path))
    found, net = calls[0][0], width.network(1)
    power = lambda p: integrate.quad(lambda z: erf(net.bias_sd * z) ** p * stats.norm.pdf(z), -10, 10, epsabs=1e-12)[0]
    variance = net.weight_sd**4 * (power(4) - power(2) ** 2)
    kurtosis = 3 * variance / (net.bias_sd**2 + net.weight_sd**2 * power(2)) ** 2
    for w in (1, 4, 32):
        one = found[1, w]
        assert abs(one.kurtosis.value - kurtosis / w) < 1.5 * one.kurtosis.margin < 0.5 * kurtosis / w
        assert np.all(found[1, w].covariance.value < 2 * found[1, w].covariance.margin)
    assert found[1, 1].sd.value[-1] < 0.75 and np.all(np.abs(found[1, 32].sd.value - 1) < 0.05)


def test_one_newton_step_is_the_minimum_of_a_quadratic():
    x, y = epistemic_gap.rows(1)
    case = epistemic_gap.linear_case("", epistemic_gap.bumps, x, y)
    params, info = epistemic_gap.quadratic_minimum(
        lambda w: jnp.sum((case.data.x @ w["weight"] - case.data.y) ** 2) / 0.08 + 0.5 * jnp.sum(w["weight"] ** 2),
        {"weight": jnp.ones(epistemic_gap.NUM_FEATURES)},
    )
    design, precision = np.asarray(case.data.x), np.asarray(case.data.x.T @ case.data.x) / 0.04 + np.eye(11)
    expected = np.linalg.solve(precision, design.T @ y / 0.04)
    np.testing.assert_allclose(params["weight"], expected, rtol=0, atol=1e-8)
    assert info["grad_norm"] < 1e-8


@pytest.mark.slow
def test_the_gap_widens_laplace_and_not_dropout(tmp_path, monkeypatch):
    kept = {name: epistemic_gap.METHODS[name] for name in ("plain ensemble", "MC dropout", "Laplace")}
    monkeypatch.setattr(epistemic_gap, "METHODS", kept)
    monkeypatch.setattr(epistemic_gap, "COLOURS", {name: epistemic_gap.COLOURS[name] for name in kept})
    monkeypatch.setattr(epistemic_gap, "NUM_MEMBERS", 4)
    keep = epistemic_gap.cases
    monkeypatch.setattr(epistemic_gap, "cases", lambda seed: keep(seed)[:2])
    calls = caught(monkeypatch, epistemic_gap, "print_table")
    assert is_figure(epistemic_gap.main(tmp_path))
    bumps, polynomials = calls[0][0]
    found = calls[0][1]
    for case in (bumps, polynomials):
        ratio = found[case.title, "Laplace"] / case.exact
        assert np.all(
            np.abs(ratio - 1) < 6.5 / np.sqrt(2 * epistemic_gap.NUM_DRAWS)
        )  # z at 1e-8 for each of 121 points
        assert found[case.title, "plain ensemble"].max() < 1e-9
    left, gap, right = epistemic_gap.in_regions(found[bumps.title, "MC dropout"])
    assert gap < 0.6 * min(left, right) and epistemic_gap.in_regions(bumps.exact)[1] > 5 * max(left, right) / 2


@pytest.mark.parametrize("module", [mc_dropout, deep_ensemble])
def test_the_sine_makes_its_table_and_figure(module, tmp_path, monkeypatch):
    monkeypatch.setattr(sine, "BIAS_SDS", (1.0, 6.0))
    settings = {"NUM_SEEDS": 2, "WIDTH": 8}
    more = {"RATES": (0.01, 0.3), "NUM_STEPS": 50} if module is mc_dropout else {"STEPS": (50,), "NUM_MEMBERS": 3}
    for name, value in {**settings, **more}.items():
        monkeypatch.setattr(module, name, value)
    calls = caught(monkeypatch, module, "print_table")
    assert is_figure(module.main(tmp_path))
    found = calls[0][0]
    exact = module.figures(found[module.EXACT])
    if module is mc_dropout:
        assert np.all(found["rate 0.01"].sd.mean(1) < found["rate 0.3"].sd.mean(1))
        assert np.all(exact["covered outside"] > 0.8) and np.all(exact["sd outside"] > 5 * exact["sd inside"])
    else:
        assert np.allclose(exact["aleatoric inside"], module.NOISE, rtol=1e-12)
        assert np.all(exact["epistemic outside"] > 5 * exact["epistemic inside"])


def test_members_start_within_one_over_the_root_of_their_inputs():
    init = location_and_scale(mlp([1, 4, 4, 2])).init
    start = jax.jit(lambda key: deep_ensemble.uniform_start(init, key))(jax.random.key(0))
    shapes = jax.eval_shape(init, jax.random.key(0))
    assert jax.tree.map(jnp.shape, start) == jax.tree.map(lambda leaf: leaf.shape, shapes)
    for layer, bound in zip(start, (1.0, 0.5, 0.5)):
        assert all(0 < float(jnp.abs(layer[name]).max()) <= bound for name in ("weight", "bias"))


def test_coverage_counts_the_points_where_the_sine_is_within_two_sds():
    truth, ones = np.sin(mc_dropout.GRID)[None], np.ones((1, len(mc_dropout.GRID)))
    found = mc_dropout.figures(mc_dropout.Prediction(truth + 0.3 * mc_dropout.INSIDE, 0.1 * ones))
    assert found["covered inside"] == 0 and found["covered outside"] == 1 and found["error outside"] == 0
    assert abs(found["error inside"][0] - 0.3) < 1e-12 and abs(found["sd at 5"][0] - 0.1) < 1e-12
    found = deep_ensemble.figures(deep_ensemble.Prediction(truth + 0.3, 0.1 * ones, 0.2 * ones))
    assert found["f covered inside"] == 0 and abs(found["aleatoric outside"][0] - 0.2) < 1e-12


def test_streamed_masks_are_the_mixture_of_their_draws_and_one_draw_is_the_network():
    model = Model(*mlp([64, 5, 8]), prior=priors.normal(), likelihood=likelihoods.categorical())
    params, key, x = model.init(jax.random.key(0)), jax.random.key(1), jax.random.normal(jax.random.key(2), (4, 64))
    mixture = lambda draws: cost_of_uncertainty.mixture(predict, model, key, Posterior(draws, {}), x)

    @jax.jit
    def both_ways():
        draws = jax.vmap(lambda s: masked(model, params)(jax.random.fold_in(key, s)))(jnp.arange(6))
        one = jax.tree.map(lambda leaf: leaf[None], params)
        streamed = cost_of_uncertainty.over_masks(model, 6, key, params, x)
        return (streamed, mixture(one)), (mixture(draws), jax.nn.log_softmax(model.apply(params, x)))

    for found, expected in zip(*both_ways()):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_blocks_filled_up_are_the_rows_themselves():
    x, sizes = np.arange(14.0).reshape(7, 2), []
    square = lambda block: sizes.append(len(block)) or block**2
    for size in (1, 3, 7, 20):
        np.testing.assert_array_equal(cost_of_uncertainty.in_blocks(square, x, size), x**2)
        assert set(sizes) == {size}
        sizes.clear()


def test_a_gain_is_paired_by_rows():
    losses = np.random.default_rng(0).exponential(size=50)
    worth = lambda losses: (None, cost_of_uncertainty.Worth(losses, 0.0, {}))
    found = {cost_of_uncertainty.MAP: worth(losses), "better": worth(losses - 0.1)}
    ((name, gain, error),) = cost_of_uncertainty.gains(found)
    assert name == "better" and abs(gain - 0.1) < 1e-12 and error < 1e-12


def test_the_cost_of_uncertainty_makes_its_table_and_figure(tmp_path, monkeypatch):
    small = {"FIT": {"num_steps": 60, "learning_rate": 0.02}, "PASSES": (10, 30), "REPEATS": 3}
    for name, value in small.items():
        monkeypatch.setattr(cost_of_uncertainty, name, value)
    ways = cost_of_uncertainty.ways
    kept = {cost_of_uncertainty.MAP, "temperature", "dropout, T=10", "last layer, probit"}
    chosen = lambda model: [way for way in ways(model) if kept & set(way.predictives)]
    monkeypatch.setattr(cost_of_uncertainty, "ways", chosen)
    calls = caught(monkeypatch, cost_of_uncertainty, "print_table")
    assert is_figure(cost_of_uncertainty.main(tmp_path))
    found = calls[0][0]
    assert set(found) == kept | {"dropout, T=30"}
    assert all(len(cost.calls[count]) == 3 for cost, _ in found.values() for count in cost_of_uncertainty.ROWS)
    nbytes = {name: cost.nbytes for name, (cost, _) in found.items()}
    assert nbytes["dropout, T=10"] == nbytes["dropout, T=30"] and nbytes["last layer, probit"] > nbytes["MAP"]
    assert all(w.losses.mean() < np.log(digits.NUM_CLASSES) and w.auroc["8 and 9"] > 0.5 for _, w in found.values())


def test_large_networks_says_what_cannot_be_held_and_what_is_linear(tmp_path, monkeypatch):
    """On a small network: sampled and linearised draws of one posterior, a method that refuses, one that fails."""
    monkeypatch.setattr(large_networks, "CASES", ("dense",))
    small = lambda name, x, num_outputs=10: mlp([64, 3, num_outputs], activation=jax.nn.relu)
    monkeypatch.setattr(large_networks, "network", small)
    methods = large_networks.methods

    def chosen(case):
        found = {name: methods(case)[name] for name in ("map_estimate", "laplace_kron, linearised")}
        nowhere = lambda key, model, data: Posterior({"weight": jnp.zeros(3)}, {})
        gone = lambda key, model, data: Posterior(
            jax.tree.map(lambda leaf: jnp.full((2, *leaf.shape), jnp.nan), case.mode), {"num_nonpositive": 7}
        )
        predict = found["map_estimate"][1]
        return found | {"refusing": (nowhere, predict), "failing": (gone, predict)}

    monkeypatch.setattr(large_networks, "methods", chosen)
    calls = caught(monkeypatch, large_networks, "print_table")
    assert is_figure(large_networks.main(tmp_path))
    found = {name: result for (name, _), result in calls[0][0].items()}
    for name in ("map_estimate", "laplace_kron, linearised"):
        assert found[name].nll < np.log(10) and found[name].accuracy > 0.3 and not found[name].said
    assert np.isnan(found["refusing"].nll) and "draws" in found["refusing"].said
    assert np.isnan(found["failing"].nll) and found["failing"].said.endswith("num_nonpositive 7")


def test_a_regression_speaks_of_classes_by_rounding():
    """P(k) is what a normal of the network's output puts between k − ½ and k + ½, the ends of the scale open."""
    model = Model(*mlp([64, 3, 1]), prior=priors.normal(), likelihood=likelihoods.normal(large_networks.NUMBER_NOISE))
    posterior = Posterior(jax.vmap(model.init)(jax.random.split(jax.random.key(0), 2)), {})
    posterior.draws[-1]["bias"] = jnp.array([[4.2], [-1.0]])
    x = jnp.asarray(np.random.default_rng(0).uniform(size=(5, 64)))
    f = np.asarray(jax.vmap(lambda params: model.apply(params, x))(posterior.draws))
    edges = np.array([-np.inf, *(np.arange(9) + 0.5), np.inf])
    expected = np.diff(stats.norm.cdf((edges - f[..., None]) / large_networks.NUMBER_NOISE), axis=-1)
    found = large_networks.predict_rounded(model, model, posterior, x)
    np.testing.assert_allclose(np.exp(found), expected, rtol=1e-8, atol=1e-12)
