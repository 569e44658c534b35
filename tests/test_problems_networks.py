"""Networks solved exactly: the density on trial is the one that was integrated, exact draws have the exact summaries,
every bug shows, and each rule agrees with another derivation."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import erf, expit

from probjax import target
from verification.exact import infinite_width, mixture, network, network_class, network_qmc, network_units, unit_rules
from verification.exact.quadrature import mixture_quantile
from verification.exact.reference import LEVELS, difference_in_sd
from verification.problems import infinite_width as processes
from verification.problems import networks
from verification.problems.network import network_one_unit

pytestmark = pytest.mark.slow  # 4-D grids: minutes where answers are not kept yet

BUILDERS = {**networks.PROBLEMS, **processes.PROBLEMS, "network_one_unit": network_one_unit}
UNITS = list(networks.SIZES)
BUILT = {}


def built(name):
    if name not in BUILT:
        BUILT[name] = BUILDERS[name]()
    return BUILT[name]


@pytest.fixture(scope="module", params=BUILDERS)
def problem(request):
    return built(request.param)


@pytest.fixture(scope="module")
def draws(problem):
    return problem.exact_draws(np.random.default_rng(11), 40_000)


def queries_of(problem, params):
    return np.asarray(jax.jit(jax.vmap(problem.query))(jax.tree.map(jnp.asarray, params)))


def test_certificates_say_how_far_the_answer_may_be_off(problem):
    certificate = problem.reference.certificate
    assert certificate.exact == (problem.name not in ("network_three_units", "network_four_units"))
    assert certificate.error < (1e-5 if certificate.exact else 1e-2)
    # the 1% quantile of the second method's 60,000 draws has a standard error of up to 0.015
    assert certificate.agreement < (1e-5 if certificate.exact else 6e-2)


def test_exact_draws_have_the_exact_summaries(problem, draws):
    """z-scores of means, sds, quantiles, correlations and the predictive, the answer's own error allowed for; false
    alarm 1e-6 a problem."""
    r, num = problem.reference, 40_000
    standard = (queries_of(problem, draws) - r.mean) / r.sd
    slack = 0.0 if r.certificate.exact else 4 * r.certificate.error * np.sqrt(num)
    square, products = standard**2, standard[:, :, None] * standard[:, None, :]
    levels = np.array(LEVELS)[:, None]
    below = (standard[:, None] <= (r.quantiles - r.mean) / r.sd).mean(0)
    z = [
        standard.mean(0) * np.sqrt(num),
        (square.mean(0) - 1) / (square.std(0) / np.sqrt(num)),
        (below - levels) / np.sqrt(levels * (1 - levels) / num),
        (products.mean(0) - r.corr) / (products.std(0) / np.sqrt(num)),
    ]
    z = np.abs(np.concatenate([np.ravel(v) for v in z]))
    assert np.max(z) < stats.norm.ppf(1 - 1e-6 / (2 * z.size)) + slack
    ratio = np.exp(np.asarray(jax.vmap(problem.log_new)(jax.tree.map(jnp.asarray, draws))) - r.log_predictive)
    allowed = r.certificate.predictive_error or 0.0
    assert abs(ratio.mean() - 1) < 6 * ratio.std() / np.sqrt(num) + 6 * allowed


def test_the_bug_shows_in_a_summary_and_is_not_gross(problem, draws):
    """Beyond the full budget's tolerances by far, yet by less than three posterior sd."""
    right, wrong = (queries_of(problem, p) for p in (draws, problem.bug.damage(np.random.default_rng(2), draws)))
    r = problem.reference
    shift = np.abs(wrong.mean(0) - right.mean(0)) / r.sd
    shown = [
        np.max(shift) / 0.025,
        np.max(np.abs(wrong.std(0) / right.std(0) - 1)) / 0.025,
        np.max(np.abs(np.quantile(wrong, LEVELS, 0) - np.quantile(right, LEVELS, 0)) / r.sd) / 0.05,
        np.max(np.abs(np.corrcoef(wrong.T) - np.corrcoef(right.T))) / 0.025,
    ]
    assert max(shown) > 3 and np.max(shift) < 3


@pytest.mark.parametrize("name", UNITS)
def test_the_network_on_trial_is_the_network_that_was_integrated(name):
    """log p(y, params) = log p(hidden) + log p(y | hidden) + log p(outputs | hidden, y)."""
    problem, (net, _) = built(name), networks.units_data(name)
    rng = np.random.default_rng(5)
    hidden, outputs = rng.standard_normal((6, net.num_units, 2)), rng.standard_normal((6, net.num_units + 1))
    params = jax.tree.map(jnp.asarray, networks.units_params(hidden, outputs))
    got = jax.vmap(lambda p: target(problem.model).log_joint(p, problem.data))(params)
    log_evidence, mean, covariance = network_units.conditional(net, hidden)
    given = [stats.multivariate_normal.logpdf(o, m, c) for o, m, c in zip(outputs, mean, covariance)]
    np.testing.assert_allclose(got, network_units.log_prior(net, hidden).sum(1) + log_evidence + given, atol=1e-8)


def test_the_classifier_on_trial_is_the_one_that_was_integrated():
    problem, (net, _) = built("network_classifier"), networks.classifier_data()
    weights = np.random.default_rng(5).standard_normal((6, 4))
    params = jax.tree.map(jnp.asarray, networks._classifier_params(weights))
    got = jax.vmap(lambda p: target(problem.model).log_joint(p, problem.data))(params)
    expected = network_class.log_likelihood(net, weights) + stats.norm.logpdf(weights, 0, net.scales).sum(1)
    np.testing.assert_allclose(got, expected, atol=1e-8)


@pytest.mark.parametrize("name", list(processes.PROBLEMS))
def test_the_process_on_trial_obeys_bayes_theorem_draw_by_draw(name):
    """log p(y, f) − log p(f | y) = log p(y); the kernel on trial is written apart from the exact one."""
    problem = built(name)
    net, points, _ = processes.process_data(*problem.model.log_joint.args[0].value)
    params = problem.exact_draws(np.random.default_rng(5), 6)
    got = [problem.model.log_joint({"f": jnp.asarray(f)}, problem.data) for f in params["f"]]
    mean, covariance, evidence = infinite_width.process_posterior(net, points)
    log_posterior = stats.multivariate_normal.logpdf(params["f"], mean, covariance)
    np.testing.assert_allclose(got - log_posterior, evidence, atol=1e-8)
    assert problem.reference.log_evidence == pytest.approx(evidence, abs=1e-9)


@pytest.mark.parametrize("num_units", [1, 2, 3, 4])
def test_the_unrolled_cholesky_is_the_dense_algebra(num_units):
    net = networks.units_data("network_four_units")[0]._replace(num_units=num_units)
    hidden = np.random.default_rng(0).standard_normal((50, num_units, 2))
    dense = network_units.conditional(net, hidden)[0]
    np.testing.assert_allclose(network_qmc.log_likelihood(net, hidden), dense, atol=1e-9)
    for h in hidden[:2]:
        features = np.tanh(h[:, :1] * net.x + h[:, 1:])
        marginal = net.scales[2] ** 2 * features.T @ features + net.scales[3] ** 2 + net.noise_scale**2 * np.eye(9)
        at = stats.multivariate_normal.logpdf(net.y, np.zeros(9), marginal)
        assert network_units.conditional(net, h[None])[0][0] == pytest.approx(at, abs=1e-9)


def test_rules_of_pairs_equal_the_dense_mixture_over_all_ordered_pairs():
    """Permutation, the whitened output bias and the blocks change nothing."""
    net, queries = networks.units_data("network_two_units")
    rule = unit_rules.half_circle(net, 5, 6)
    i, j = (v.ravel() for v in np.indices((len(rule.hidden),) * 2))
    dense = network_qmc.hidden_chunk(net, np.stack([rule.hidden[i], rule.hidden[j]], 1), queries)
    weights = dense.log_weights + np.log(len(i)) + rule.log_weights[i] + rule.log_weights[j]
    dense = mixture.mixture_reference(queries.names, [dense._replace(log_weights=weights)], 3)
    pairs = mixture.mixture_reference(queries.names, network_units.chunks(net, rule, queries), 3)
    assert difference_in_sd(dense, pairs) < 1e-8
    assert pairs.log_evidence == pytest.approx(dense.log_evidence, abs=1e-9)


def test_one_tanh_unit_by_polar_coordinates_is_the_cartesian_answer():
    net, queries = networks.units_data("network_two_units")
    net = net._replace(num_units=1)
    rule = unit_rules.half_circle(net, 70, 160)
    values = queries._replace(names=queries.names[:6], probes=np.eye(6))
    polar = mixture.mixture_reference(values.names, network_units.chunks(net, rule, values), 3)
    old = network.OneUnit(net.x, net.y, net.noise_scale, net.scales)
    cartesian = network.one_unit_network(old, queries.x, queries.new_x, queries.new_y)
    assert difference_in_sd(cartesian, polar) < 1e-5
    assert polar.log_evidence == pytest.approx(cartesian.log_evidence, abs=1e-7)


def test_one_relu_unit_is_a_laplace_slope_in_a_random_direction():
    """Weights (w, b) = r(cos φ, sin φ) with a ~ N(0, τ²) make a·r ~ Laplace(τ), independent of φ: one kinked integral
    over φ of a one-dimensional integral each, by SciPy's adaptive rule."""
    net, _ = networks.units_data("network_relu")
    tau, noise = net.scales[2], net.noise_scale**2 * np.eye(7) + net.scales[3] ** 2

    def given_angle(phi):
        g = np.maximum(np.cos(phi) * net.x + np.sin(phi), 0)
        precision, cross = g @ np.linalg.solve(noise, g), g @ np.linalg.solve(noise, net.y)
        base = stats.multivariate_normal.logpdf(net.y, np.zeros(7), noise)
        if precision < 1e-12:
            return np.exp(base)
        centre, sd = cross / precision, precision**-0.5
        halves = 0.0
        for sign in (1, -1):  # ∫₀^∞ e^(−β/τ) N(y; sign·βg, ·) dβ completes a square
            m = sign * centre - 1 / (tau * precision)
            halves += np.exp(base + 0.5 * precision * m**2 + stats.norm.logcdf(m / sd))
        return halves * sd * np.sqrt(2 * np.pi) / (2 * tau)

    kinks = np.arctan2(-net.x, 1.0) % np.pi
    edges = np.unique(np.concatenate([[0, 2 * np.pi], kinks, kinks + np.pi]))
    parts = [integrate.quad(given_angle, a, b, epsrel=1e-11)[0] for a, b in pairwise(edges)]
    assert built("network_relu").reference.log_evidence == pytest.approx(np.log(sum(parts) / (2 * np.pi)), abs=1e-7)


def test_compressed_quantiles_are_the_quantiles_of_the_mixture():
    rng = np.random.default_rng(0)
    weights, u = rng.dirichlet(np.ones(20_000)), rng.uniform(size=(20_000, 2))
    means, sds = np.stack([np.sin(3 * u[:, 0]), u[:, 1]], 1), 0.1 + 0.9 * u
    found = mixture.mixture_quantiles(weights, means, sds)
    exact = [[mixture_quantile(weights, means[:, q], sds[:, q], p) for q in range(2)] for p in LEVELS]
    np.testing.assert_allclose(found, exact, atol=3e-7)


def test_a_likelihood_above_the_bound_is_an_error(monkeypatch):
    monkeypatch.setattr(network_qmc, "SLACK", -3.0)
    draw = network_qmc.prior_rejection(lambda v: -0.5 * (v[:, 0] - 0.3) ** 2, (1,), np.ones(1))
    with pytest.raises(ArithmeticError, match="above the bound; raise SLACK"):
        draw(np.random.default_rng(0), 10)


def test_bad_input_is_refused_with_the_cure():
    net, queries = networks.units_data("network_three_units")
    with pytest.raises(ValueError, match="num_units is 3, but rules reach 1 or 2"):
        network_units.chunks(net, unit_rules.half_circle(net, 4, 4), queries)
    with pytest.raises(ValueError, match="activation is 'sine'"):
        infinite_width.nngp_kernel(np.ones((2, 1)), np.ones((2, 1)), 1.0, 1.0, 1, "sine")
    with pytest.raises(ValueError, match="at least one hidden layer"):
        infinite_width.nngp_kernel(np.ones((2, 1)), np.ones((2, 1)), 1.0, 1.0, 0, "erf")
    with pytest.raises(ValueError, match=r"must be \[N, D\] and \[M, D\] but are \(2,\)"):
        infinite_width.nngp_kernel(np.ones(2), np.ones((2, 1)), 1.0, 1.0, 1, "erf")
    classifier, asked = networks.classifier_data()
    with pytest.raises(ValueError, match="weigh the points unequally"):
        network_class.solve_classifier(classifier, asked._replace(extra=np.array([[0, -1.0, 0, 1.0]])))
    many = classifier._replace(x=np.zeros(17), y=np.zeros(17))
    with pytest.raises(ValueError, match="17 rows given, but at most 16"):
        network_class.solve_classifier(many, asked)


ACTIVATIONS = {"relu": lambda z: np.maximum(z, 0), "erf": erf}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_kernel_expectations_equal_quadrature(activation):
    """E[φ(u)φ(v)] in polar coordinates of the plane, Gauss–Legendre in the radius and between the kink angles."""
    phi, (k11, k12, k22) = ACTIVATIONS[activation], (1.3, -0.4, 0.7)
    nodes, rule = np.polynomial.legendre.leggauss(80)
    r, r_rule = 5 * (1 + nodes), 5 * rule * 5 * (1 + nodes) * np.exp(-0.5 * (5 * (1 + nodes)) ** 2) / (2 * np.pi)
    factor = np.linalg.cholesky([[k11, k12], [k12, k22]])
    kinks = np.sort([np.arctan2(-factor[i, 0], factor[i, 1] + 0.0) % np.pi for i in range(2)])
    edges = np.unique(np.concatenate([[0.0], kinks, kinks + np.pi, [2 * np.pi]]))
    half = np.diff(edges) / 2
    angle = ((edges[1:] + edges[:-1])[:, None] / 2 + half[:, None] * nodes).ravel()
    u, v = factor @ np.stack([np.cos(angle), np.sin(angle)])
    inner = np.array([r_rule @ (phi(r * a) * phi(r * b)) for a, b in zip(u, v)])
    expected = (half[:, None] * rule).ravel() @ inner
    assert infinite_width.expected_product(k12, k11, k22, activation) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_kernel_is_the_covariance_of_wide_random_networks(activation):
    """20,000 one-layer networks of width 50 (the covariance is that of the limit at any width), and a second layer of
    width 1,000 from the first's limit; within five standard errors."""
    rng, x, phi = np.random.default_rng(3), np.array([[0.3, -1.0], [1.2, 0.4]]), ACTIVATIONS[activation]
    weight_sd, bias_sd = 1.4, 0.5
    first = bias_sd * rng.standard_normal((20_000, 50, 1)) + weight_sd / np.sqrt(2) * (
        rng.standard_normal((20_000, 50, 2)) @ x.T
    )
    second = bias_sd * rng.standard_normal((20_000, 1)) + weight_sd / np.sqrt(50) * np.einsum(
        "rh,rhn->rn", rng.standard_normal((20_000, 50)), phi(first)
    )
    products = second[:, :, None] * second[:, None, :]
    kernel = infinite_width.nngp_kernel(x, x, weight_sd, bias_sd, 1, activation)
    assert np.all(np.abs(products.mean(0) - kernel) < 5 * products.std(0) / np.sqrt(20_000))
    hidden = rng.multivariate_normal(np.zeros(2), kernel, (4000, 100))
    f = bias_sd * rng.standard_normal((4000, 1)) + weight_sd / 10 * np.einsum(
        "rh,rhn->rn", rng.standard_normal((4000, 100)), phi(hidden)
    )
    products = f[:, :, None] * f[:, None, :]
    deeper = infinite_width.nngp_kernel(x, x, weight_sd, bias_sd, 2, activation)
    assert np.all(np.abs(products.mean(0) - deeper) < 5 * products.std(0) / np.sqrt(4000))


def test_a_wrong_kernel_is_told_from_the_right_one():
    """The negative control of the test above: without the factor 1/2 the covariance is off by twenty standard
    errors."""
    rng = np.random.default_rng(3)
    products = np.maximum(rng.standard_normal(20_000), 0) ** 2
    right = infinite_width.expected_product(1.0, 1.0, 1.0, "relu")
    error = products.std() / np.sqrt(20_000)
    assert abs(products.mean() - right) < 5 * error < 20 * error < abs(products.mean() - 2 * right)


def test_the_classifiers_evidence_equals_importance_sampling():
    """From 2^16 prior draws, within five standard errors."""
    net, _ = networks.classifier_data()
    weights = np.random.default_rng(4).standard_normal((65_536, 4)) * net.scales
    likelihood = np.exp(network_class.log_likelihood(net, weights))
    error = likelihood.std() / np.sqrt(len(likelihood))
    assert abs(likelihood.mean() - np.exp(built("network_classifier").reference.log_evidence)) < 5 * error


def test_probabilities_have_the_quantiles_of_their_logits():
    reference = built("network_classifier").reference
    np.testing.assert_allclose(reference.quantiles[:, 5:], expit(reference.quantiles[:, :4]), rtol=1e-10)
