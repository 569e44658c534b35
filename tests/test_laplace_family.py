"""Laplace by every form of the curvature, held to linear models, to dense matrices and to each other."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy import integrate, special, stats

from probjax import (
    Data,
    Model,
    Network,
    NotApplicable,
    Target,
    columns,
    curvature,
    diagonal_gaussian,
    ggn_gaussian,
    hessian_gaussian,
    kron_gaussian,
    laplace,
    laplace_diagonal,
    laplace_ggn,
    laplace_kron,
    laplace_last_layer,
    last_layer_gaussian,
    likelihoods,
    linear,
    linearised,
    log_evidence,
    log_joint,
    mlp,
    neural_linear,
    precision_by_evidence,
    predict,
    predict_linearised,
    priors,
    probit,
    trained,
)

EXACT = {"rtol": 1e-8, "atol": 1e-8}
KEY = jax.random.key(0)
NUM_DRAWS = 4000
FAMILY = {
    "hessian": laplace,
    "ggn": laplace_ggn,
    "dual": partial(laplace_ggn, dual=True),
    "diagonal": laplace_diagonal,
    "kron": laplace_kron,
    "last_layer": laplace_last_layer,
    "neural_linear": neural_linear,
}


def covariance_of(gaussian):
    """Σ [P, P]."""
    return gaussian.covariance(jnp.eye(gaussian.mean.size))


def run(method, model, data, params, **settings):
    """The method at these params, jitted."""
    return jax.jit(lambda key, params: method(key, model, data, num_draws=3, fit=trained(params), **settings))(
        KEY, params
    )


def blank(tree):
    return ravel_pytree(tree)[1]


@pytest.fixture(scope="module")
def exact(regression):
    """Mean and covariance in the order of the flat parameters (bias, weight), and the log evidence, by NumPy."""
    _, data, design, noise, scale = regression
    order = np.roll(np.eye(4), 1, axis=0)  # the intercept first
    Z = design @ order.T
    covariance = np.linalg.inv(Z.T @ Z / noise**2 + np.eye(4) / scale**2)
    marginal = noise**2 * np.eye(len(Z)) + scale**2 * Z @ Z.T
    evidence = stats.multivariate_normal.logpdf(data.y, np.zeros(len(Z)), marginal)
    return covariance @ Z.T @ data.y / noise**2, covariance, evidence


@pytest.fixture(scope="module")
def on_regression(regression, exact):
    """Every method at the exact mode of the linear regression, by one program: draws as rows, info."""
    model, data, *_ = regression
    mode = {"weight": jnp.asarray(exact[0][1:]), "bias": jnp.asarray(exact[0][0])}

    def run(key, mode):
        made = {m: FAMILY[m](key, model, data, num_draws=NUM_DRAWS, fit=trained(mode)) for m in FAMILY}
        return {m: (jax.vmap(lambda p: ravel_pytree(p)[0])(p.draws), p.info) for m, p in made.items()}

    return jax.device_get(jax.jit(run)(jax.random.key(2), mode))


@pytest.mark.parametrize("name", [name for name in FAMILY if name != "diagonal"])
def test_every_form_is_exact_on_a_linear_model_with_gaussian_noise(name, on_regression, exact):
    mean, covariance, evidence = exact
    draws, info = on_regression[name]
    np.testing.assert_allclose(info["mode"], mean, **EXACT)
    assert float(info["log_evidence"]) == pytest.approx(evidence, abs=1e-8)
    np.testing.assert_allclose(info["log_q"], stats.multivariate_normal.logpdf(draws, mean, covariance), atol=1e-7)
    if name != "hessian":
        gamma = 4 - np.trace(covariance) / 1.5**2
        assert float(info["effective_parameters"]) == pytest.approx(gamma, abs=1e-8)


@pytest.mark.parametrize("name", FAMILY)
def test_draws_have_the_covariance_that_is_stated(name, on_regression, exact):
    """Whitened by the exact (for `diagonal` its own) covariance; each test's false-alarm rate is 1e-6."""
    mean, covariance, _ = exact
    if name == "diagonal":
        covariance = np.diag(1 / np.diag(np.linalg.inv(covariance)))
    z = np.linalg.solve(np.linalg.cholesky(covariance), (on_regression[name][0] - mean).T)
    assert stats.kstest((z**2).sum(0), stats.chi2(4).cdf).pvalue > 1e-6
    assert stats.kstest(z.ravel(), "norm").pvalue > 1e-6
    assert stats.kstest(z.sum(0) / 2, "norm").pvalue > 1e-6


NETWORK = mlp([2, 3, 4, 3])
CLASSES = Model(
    *NETWORK, prior=priors.normal(0.0, ({"weight": 0.7, "bias": 1.3}, 0.9, 2.0)), likelihood=likelihoods.categorical()
)
rng = np.random.default_rng(3)
X, LABELS = rng.standard_normal((7, 2)), rng.integers(0, 3, 7)


@pytest.fixture(scope="module")
def network():
    """Classes on a two-layer network away from its mode: params, the dense GGN of the likelihood by jax.jacobian, the
    prior's precision, and the Gaussians of every form from one program."""
    data, params = Data(X, LABELS), NETWORK.init(jax.random.key(5))
    params = jax.tree.map(lambda leaf: leaf + 0.3, params)
    flat, unravel = ravel_pytree(params)

    def everything(params):
        J = jax.jacobian(lambda w: NETWORK.apply(unravel(w), X))(flat)
        probs = jax.nn.softmax(NETWORK.apply(params, X))
        curved = jax.vmap(jnp.diag)(probs) - probs[:, :, None] * probs[:, None, :]
        prior = -jnp.diag(jax.hessian(lambda w: CLASSES.prior.log_prob(unravel(w)))(flat))
        forms = {
            "primal": ggn_gaussian(CLASSES, data, params, dual=False)[0],
            "dual": ggn_gaussian(CLASSES, data, params, dual=True)[0],
            "diagonal": diagonal_gaussian(CLASSES, data, params)[0],
            "kron": kron_gaussian(CLASSES, data, params)[0],
            "last_layer": last_layer_gaussian(CLASSES, data, params)[0],
            "generic": diagonal_gaussian(unlayered(CLASSES), data, params)[0],
            "generic_dual": ggn_gaussian(unlayered(CLASSES), data, params, dual=True)[0],
        }
        functions = {
            name: (form.covariance(jnp.eye(flat.size)), form.log_det(), form.effective_parameters())
            for name, form in forms.items()
        }
        draws = {name: form.draw(KEY, 3) for name, form in forms.items()}
        rows = jax.vmap(lambda x: curvature.layer_row(CLASSES, params, x, jnp.eye(3)))(X)
        linear = {name: linearised(CLASSES, form, X) for name, form in forms.items()}
        return J, curved, prior, functions, draws, rows, linear

    J, curved, prior, functions, draws, rows, linear = jax.device_get(jax.jit(everything)(params))
    ggn = np.einsum("nkp,nkl,nlq->pq", J, curved, J)
    return flat, J, curved, ggn, prior, functions, draws, rows, linear


def unlayered(model):
    """The same model, its network a function whose layers nobody knows."""
    return model._replace(apply=lambda params, x: model.apply(params, x))


@pytest.mark.parametrize("name", ["primal", "dual", "generic_dual"])
def test_primal_and_dual_are_the_dense_matrix(name, network):
    _, _, _, ggn, prior, functions, *_ = network
    covariance, log_det, effective = functions[name]
    precision = ggn + np.diag(prior)
    np.testing.assert_allclose(covariance, np.linalg.inv(precision), **EXACT)
    assert log_det == pytest.approx(-np.linalg.slogdet(precision)[1], abs=1e-8)
    assert effective == pytest.approx(len(prior) - np.trace(prior[:, None] * np.linalg.inv(precision)), abs=1e-8)


def test_the_dual_is_right_where_prior_scales_differ_within_a_row_of_a_layer():
    data, params = Data(X, LABELS), NETWORK.init(jax.random.key(5))
    scales = jax.tree.map(
        lambda leaf: 0.5 + jnp.abs(jnp.sin(jnp.arange(1.0, leaf.size + 1))).reshape(leaf.shape), params
    )
    model = CLASSES._replace(prior=priors.normal(0.0, scales))
    forms = jax.jit(lambda params: [ggn_gaussian(model, data, params, dual=d)[0].log_det() for d in (False, True)])
    primal, dual = forms(params)
    assert float(dual) == pytest.approx(float(primal), abs=1e-8)


@pytest.mark.parametrize("name", ["diagonal", "generic"])
def test_the_diagonal_is_that_of_the_matrix(name, network):
    _, _, _, ggn, prior, functions, *_ = network
    covariance, log_det, effective = functions[name]
    own = np.diag(ggn) + prior
    np.testing.assert_allclose(covariance, np.diag(1 / own), **EXACT)
    assert log_det == pytest.approx(-np.log(own).sum(), abs=1e-8)
    assert effective == pytest.approx((1 - prior / own).sum(), abs=1e-8)


def test_the_last_layer_is_its_block_and_nothing_else_moves(network):
    flat, _, _, ggn, prior, functions, draws, *_ = network
    last = np.arange(len(prior) - 15, len(prior))
    block = (ggn + np.diag(prior))[np.ix_(last, last)]
    covariance, log_det, _ = functions["last_layer"]
    np.testing.assert_allclose(covariance[np.ix_(last, last)], np.linalg.inv(block), **EXACT)
    assert np.all(covariance[: last[0]] == 0) and log_det == pytest.approx(-np.linalg.slogdet(block)[1], abs=1e-8)
    moved = draws["last_layer"][0] - np.asarray(flat)
    assert np.all(moved[:, : last[0]] == 0) and np.all(moved[:, last] != 0)


def test_kronecker_blocks_are_products_of_their_factors(network):
    """Σₙ aaᵀ ⊗ mean of δΛδᵀ, by NumPy from the dense Jacobian: δ is its derivative by the bias."""
    _, J, curved, ggn, prior, functions, *_ = network
    covariance, log_det, _ = functions["kron"]
    expected, total = np.zeros_like(ggn), 0.0
    hidden = [X]
    params = blank(NETWORK.init(KEY))(network[0])
    for layer in params[:-1]:
        hidden.append(np.tanh(hidden[-1] @ np.asarray(layer["weight"]) + np.asarray(layer["bias"])))
    start = 0
    for a, outputs in zip(hidden, (3, 4, 3)):
        a = np.column_stack([np.ones(len(X)), a])
        end = start + a.shape[1] * outputs
        delta = J[:, :, start : start + outputs]
        slopes = np.einsum("nko,nkl,nlp->op", delta, curved, delta) / len(X)
        block = np.kron(a.T @ a, slopes) + np.diag(prior[start:end])
        expected[start:end, start:end] = np.linalg.inv(block)
        total -= np.linalg.slogdet(block)[1]
        start = end
    np.testing.assert_allclose(covariance, expected, **EXACT)
    assert log_det == pytest.approx(total, abs=1e-8)


@pytest.mark.parametrize("name", ["primal", "dual", "diagonal", "kron", "last_layer"])
def test_log_q_is_the_density_of_its_draws(name, network):
    flat, *_, functions, draws, _, _ = network
    covariance, (at, log_q) = functions[name][0], draws[name]
    free = np.diag(covariance) > 0
    expected = stats.multivariate_normal.logpdf(at[:, free], np.asarray(flat)[free], covariance[np.ix_(free, free)])
    np.testing.assert_allclose(log_q, expected, **EXACT)


@pytest.mark.parametrize("name", ["primal", "dual", "diagonal", "kron", "last_layer"])
def test_the_linearised_predictive_is_the_jacobians_quadratic_form(name, network):
    _, J, _, _, _, functions, *_, predictions = network
    mean, covariance = predictions[name]
    params = blank(NETWORK.init(KEY))(network[0])
    np.testing.assert_allclose(mean, NETWORK.apply(params, X), **EXACT)
    np.testing.assert_allclose(covariance, J @ functions[name][0] @ np.swapaxes(J, 1, 2), **EXACT)


def test_rows_of_a_layer_multiply_to_its_jacobian(network):
    _, J, *_, rows, _ = network
    built = [np.einsum("ni,nko->nkio", a, slope).reshape(7, 3, -1) for a, slope in rows]
    np.testing.assert_allclose(np.concatenate(built, axis=-1), J, **EXACT)


def test_sums_in_blocks_are_the_sums(monkeypatch, network):
    _, _, _, ggn, prior, *_ = network
    monkeypatch.setattr(curvature, "BUDGET", 400)  # 7 rows in blocks of 3 or so, the last of them filled up
    params = blank(NETWORK.init(KEY))(network[0])
    form = lambda params: diagonal_gaussian(CLASSES, Data(X, LABELS), params)[0]
    own = jax.jit(lambda params: form(params).ratio / form(params).scale ** 2)(params)
    np.testing.assert_allclose(own, np.diag(ggn) + prior, **EXACT)
    forms = jax.jit(lambda params: ggn_gaussian(CLASSES, Data(X, LABELS), params, dual=False)[0].log_det())(params)
    assert float(forms) == pytest.approx(-np.linalg.slogdet(ggn + np.diag(prior))[1], abs=1e-8)


def test_the_smaller_form_is_chosen():
    shape = lambda n: jax.eval_shape(
        lambda params: ggn_gaussian(CLASSES, Data(X[:n], LABELS[:n]), params)[0], NETWORK.init(KEY)
    )
    assert type(shape(7)).__name__ == "Dual" and shape(7).root.shape == (21, 40)
    tall = jax.eval_shape(
        lambda params: ggn_gaussian(CLASSES, Data(np.tile(X, (3, 1)), np.tile(LABELS, 3)), params)[0], NETWORK.init(KEY)
    )
    assert type(tall).__name__ == "Dense"


def test_at_a_canonical_link_gauss_newton_is_the_hessian():
    """At any params: f is linear in them, and the curvature does not depend on y."""
    x = rng.standard_normal((12, 2))
    outcomes = ((likelihoods.bernoulli(), rng.integers(0, 2, 12)), (likelihoods.poisson(), rng.poisson(2, 12)))

    def both(params):
        made = []
        for likelihood, y in outcomes:
            model = Model(*linear(2), prior=priors.normal(0.0, 2.0), likelihood=likelihood)
            one = hessian_gaussian(model, Data(x, y), params)
            other, num_clipped = ggn_gaussian(model, Data(x, y), params)
            made.append((one.covariance(jnp.eye(3)), other.covariance(jnp.eye(3)), num_clipped))
        return made

    for one, other, num_clipped in jax.jit(both)({"weight": jnp.array([0.3, -0.5]), "bias": jnp.asarray(0.2)}):
        np.testing.assert_allclose(one, other, **EXACT)
        assert int(num_clipped) == 0


def test_a_curvature_that_is_indefinite_is_clipped_and_counted():
    """f = (μ, σ) at z = (y − μ)/σ has −∂² log p = [[1, 2z], [2z, 3z² − 1]]/σ²: its determinant is < 0."""
    network = columns(linear(1, 2), "real", "positive")
    model = Model(*network, prior=priors.normal(), likelihood=likelihoods.normal())
    data = Data(np.array([[0.5], [-1.0], [2.0]]), np.array([0.1, 5.0, -0.2]))
    params = {"weight": jnp.zeros((1, 2)), "bias": jnp.zeros(2)}
    both = lambda p: (curvature.curvature_roots(model, data, p), covariance_of(ggn_gaussian(model, data, p)[0]))
    (roots, num_clipped), covariance = jax.device_get(jax.jit(both)(params))
    z = data.y
    expected = np.stack([np.ones(3), 2 * z, 2 * z, 3 * z**2 - 1], axis=1).reshape(3, 2, 2)
    eigenvalues, vectors = np.linalg.eigh(expected)
    clipped = (vectors * np.maximum(eigenvalues, 0)[:, None]) @ np.swapaxes(vectors, 1, 2)
    np.testing.assert_allclose(roots @ np.swapaxes(roots, 1, 2), clipped, **EXACT)
    assert int(num_clipped) == (eigenvalues[:, 0] < 0).sum() > 0
    assert np.isfinite(covariance).all()


def test_a_gauss_newton_matrix_stays_positive_where_the_hessian_is_not():
    model = Model(*mlp([1, 2, 1]), prior=priors.normal(0.0, 100.0), likelihood=likelihoods.normal(0.1))
    params = jax.tree.map(jnp.zeros_like, model.init(KEY))  # a saddle: all units alike
    data = Data(np.array([[-1.0], [1.0]]), np.array([-1.0, 1.0]))
    count = jax.jit(lambda params: hessian_gaussian(model, data, params).num_nonpositive())
    assert int(count(params)) > 0
    posterior = run(laplace_ggn, model, data, params)
    assert int(posterior.info["num_nonpositive"]) == 0 and np.isfinite(posterior.info["log_q"]).all()


@pytest.mark.parametrize("method", [laplace_ggn, laplace_diagonal])
def test_what_neither_data_nor_prior_determine_is_counted(method):
    model = Model(*linear(2, bias=False), prior=priors.flat(), likelihood=likelihoods.normal(1.0))
    data = Data(np.array([[1.0, 0.0], [2.0, 0.0], [0.5, 0.0]]), np.ones(3))
    posterior = run(method, model, data, {"weight": jnp.zeros(2)})
    assert int(posterior.info["num_nonpositive"]) == 1 and "effective_parameters" not in posterior.info
    assert not np.isfinite(posterior.draws["weight"]).all()


def test_another_prior_enters_the_primal_form_by_its_hessian():
    prior = priors.student_t(3.0)
    model = Model(*linear(2, bias=False), prior=prior, likelihood=likelihoods.normal(1.0))
    params, x = {"weight": jnp.array([0.2, -0.1])}, rng.standard_normal((5, 2))
    data = Data(x, x @ [0.3, 0.1])
    forms = lambda params: (ggn_gaussian(model, data, params)[0], hessian_gaussian(model, data, params))
    one, other = jax.jit(lambda params: [covariance_of(form) for form in forms(params)])(params)
    np.testing.assert_allclose(one, other, **EXACT)


@pytest.fixture(scope="module")
def regression_network():
    network = mlp([1, 4, 1])
    model = Model(*network, prior=priors.normal(0.2, 1.5), likelihood=likelihoods.normal(0.3))
    x = np.linspace(-2, 2, 9)[:, None]
    return network, model, Data(x, np.sin(2 * x[:, 0])), network.init(jax.random.key(9))


def features_model(params, layer_prior):
    """The linear model on the features of an mlp's hidden layer."""
    hidden = lambda x: jnp.tanh(x @ params[0]["weight"] + params[0]["bias"])
    return hidden, Model(*linear(4), prior=layer_prior, likelihood=likelihoods.normal(0.3))


def test_neural_linear_is_the_conjugate_regression_on_its_features(regression_network):
    _, model, data, params = regression_network
    posterior = run(neural_linear, model, data, params)
    hidden, regression = features_model(params, priors.normal(0.2, 1.5))
    Z = np.column_stack([np.ones(9), hidden(data.x)])
    precision = Z.T @ Z / 0.09 + np.eye(5) / 2.25
    mean = np.linalg.solve(precision, Z.T @ data.y / 0.09 + 0.2 / 2.25)
    np.testing.assert_allclose(posterior.info["mode"][-5:], mean, **EXACT)
    np.testing.assert_array_equal(posterior.info["mode"][:-5], ravel_pytree(params)[0][:-5])
    expected = float(log_evidence(regression, Data(hidden(data.x), data.y)))
    assert float(posterior.info["log_evidence"]) == pytest.approx(expected, abs=1e-8)
    draws = np.asarray(jax.vmap(lambda p: ravel_pytree(p)[0])(posterior.draws))[:, -5:]
    np.testing.assert_allclose(
        posterior.info["log_q"], stats.multivariate_normal.logpdf(draws, mean, np.linalg.inv(precision)), **EXACT
    )
    assert float(posterior.info["nonlinearity"]) < 1e-12


def test_neural_linear_has_the_last_layer_of_laplace_at_its_own_mode(regression_network):
    """With the last layer moved to its conditional mode both are the same Gaussian; their evidences differ by the
    density of the layers before."""
    _, model, data, params = regression_network
    first = run(neural_linear, model, data, params)
    there = blank(params)(first.info["mode"])
    second = run(laplace_last_layer, model, data, there)
    rest = float(model.prior.log_prob(there[0]))
    assert float(second.info["log_evidence"]) == pytest.approx(float(first.info["log_evidence"]) + rest, abs=1e-8)
    assert float(second.info["effective_parameters"]) == pytest.approx(float(first.info["effective_parameters"]))


def test_linearised_draws_are_exact_for_a_linear_model_and_linear_for_a_network(regression, exact, regression_network):
    """The mode found by the method's own fit."""
    model, data, *_ = regression
    posterior = jax.jit(lambda key: laplace_ggn(key, model, data, num_draws=3))(KEY)
    np.testing.assert_allclose(posterior.info["mode"], exact[0], **EXACT)
    both = lambda p: (predict_linearised(model, p, data.x), predict(model, p, data.x))
    np.testing.assert_allclose(*jax.jit(both)(posterior), **EXACT)
    _, model, data, params = regression_network
    posterior = run(laplace_diagonal, model, data, params)
    J = jax.jacobian(lambda w: model.apply(blank(params)(w), data.x))(ravel_pytree(params)[0])
    draws = jax.vmap(lambda p: ravel_pytree(p)[0])(posterior.draws)
    expected = model.apply(params, data.x) + (draws - ravel_pytree(params)[0]) @ J.T
    np.testing.assert_allclose(predict_linearised(model, posterior, data.x), expected, **EXACT)
    with pytest.raises(ValueError, match="no 'mode' to linearise at"):
        predict_linearised(model, posterior._replace(info={}), data.x)


def test_probits_error_is_the_stated_one():
    """Against the integral: below 0.018 everywhere, and near it for wide Gaussians: the bound says something."""
    worst = 0.0
    for v in (0.1, 1.0, 4.0, 100.0, 1e4):
        m = np.linspace(0, 4, 30) * np.sqrt(v)
        density = lambda z: np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
        nodes = np.linspace(-9, 9, 20001)
        exact = integrate.trapezoid(special.expit(m[:, None] + np.sqrt(v) * nodes) * density(nodes), nodes)
        own = np.asarray(probit(m, np.full(30, v)))
        worst = max(worst, np.abs(own - exact).max())
        assert np.abs(own - exact).max() < 0.018
    assert worst > 0.017


def test_probit_limits():
    m = np.array([[0.3, -1.0, 2.0]])
    np.testing.assert_allclose(probit(m, np.zeros((1, 3, 3))), special.softmax(m, axis=1), **EXACT)
    np.testing.assert_allclose(probit(m, 1e20 * np.eye(3)[None]), np.full((1, 3), 1 / 3), **EXACT)
    np.testing.assert_allclose(probit(m[0], np.zeros(3)), special.expit(m[0]), **EXACT)
    with pytest.raises(ValueError, match=r"probit: mean has shape \(1, 3\) and covariance \(1, 3\)"):
        probit(m, m)


def test_evidences_precision_is_a_maximum_of_the_exact_evidence_for_a_linear_model(regression):
    _, data, *_ = regression
    model_at = lambda tau: Model(*linear(3), prior=priors.normal(0.0, tau**-0.5), likelihood=likelihoods.normal(0.5))
    tau, info = jax.jit(lambda key: precision_by_evidence(key, model_at, data, start=30.0))(KEY)
    assert bool(info["converged"])
    exact = lambda log_tau: log_evidence(model_at(jnp.exp(log_tau)), data)
    slope = jax.grad(exact)
    value, first, second = jax.jit(lambda t: (exact(t), slope(t), jax.grad(slope)(t)))(jnp.log(tau))
    assert float(info["log_evidence"]) == pytest.approx(float(value), abs=1e-8)
    assert abs(float(first)) < 1e-8 and float(second) < -0.1


def test_evidences_precision_is_mackays_fixed_point_on_a_network(regression_network):
    network, _, data, params = regression_network
    model_at = lambda tau: Model(*network, prior=priors.normal(0.0, tau**-0.5), likelihood=likelihoods.normal(0.3))

    def found(form, key, params):
        tau, info = precision_by_evidence(key, model_at, data, gaussian=form, fit=trained(params))
        return tau, info, form(model_at(tau), data, params)[0]

    def traces(key, params):
        forms = (ggn_gaussian, kron_gaussian, last_layer_gaussian)
        return [(tau, info, jnp.trace(covariance_of(at))) for tau, info, at in (found(f, key, params) for f in forms)]

    flat = np.asarray(ravel_pytree(params)[0])
    for w, (tau, info, trace) in zip((flat, flat, flat[-5:]), jax.jit(traces)(KEY, params)):
        assert bool(info["converged"])
        assert len(w) - float(tau) * float(trace) == pytest.approx(float(tau) * w @ w, rel=1e-8)


def test_a_precision_without_bound_is_not_called_converged():
    network = linear(2, bias=False)
    model_at = lambda tau: Model(*network, prior=priors.normal(0.0, tau**-0.5), likelihood=likelihoods.normal(1.0))
    data = Data(np.eye(2), np.array([0.1, -0.1]))  # less than noise alone would give
    tau, info = jax.jit(lambda key: precision_by_evidence(key, model_at, data))(KEY)
    assert not bool(info["converged"]) and np.isfinite(float(tau)) and float(tau) > 1e6


def test_trained_parameters_are_taken_as_they_are(regression_network):
    _, model, data, params = regression_network
    posterior = run(laplace_diagonal, model, data, params)
    np.testing.assert_array_equal(posterior.info["mode"], ravel_pytree(params)[0])
    assert not bool(posterior.info["converged"]) and float(posterior.info["grad_norm"]) > 1
    assert float(posterior.info["objective"]) == pytest.approx(-float(log_joint(model, params, data)))


def test_bad_input_is_named(regression_network):
    network, model, data, params = regression_network
    where = lambda method, model, **settings: jax.eval_shape(
        lambda key: method(key, model, data, num_draws=2, **settings), KEY
    )
    with pytest.raises(NotApplicable, match="this is a Target"):
        where(laplace_ggn, Target(lambda key: jnp.zeros(1), lambda p, data: -jnp.sum(p**2), lambda p: {"p": p}))
    with pytest.raises(NotApplicable, match="needs a curvature of the likelihood"):
        where(laplace_ggn, model._replace(likelihood=likelihoods.laplace(1.0)), fit=trained(params))
    flat = model._replace(prior=priors.flat())
    with pytest.raises(ValueError, match=r"the dual form needs priors\.normal in every part"):
        where(laplace_ggn, flat, dual=True, fit=trained(params))
    with pytest.raises(NotApplicable, match="a flat prior leaves no precision"):
        where(laplace_kron, flat, fit=trained(params))
    with pytest.raises(NotApplicable, match="their curvature is one diagonal"):
        where(laplace_diagonal, model._replace(prior=priors.student_t(3.0)), fit=trained(params))
    with pytest.raises(NotApplicable, match=r"layers of probjax\.linear or probjax\.mlp"):
        where(laplace_kron, unlayered(model), fit=trained(params))
    with pytest.raises(NotApplicable, match=r"one known scale and priors\.normal"):
        where(neural_linear, flat)
    named = Network(
        lambda key: {"body": params[0], "head": params[1]}, lambda p, x: network.apply((p["body"], p["head"]), x)
    )
    named = Model(*named, prior=model.prior, likelihood=model.likelihood)
    with pytest.raises(ValueError, match=r"layer is None but params has the top-level entries \['body', 'head'\]"):
        where(laplace_last_layer, named, fit=trained(named.init(KEY)))
    one = run(laplace_last_layer, named, data, named.init(KEY), layer="head").info
    other = run(laplace_last_layer, model, data, params).info
    assert float(one["log_evidence"]) == pytest.approx(float(other["log_evidence"]), abs=1e-9)
    with pytest.raises(ValueError, match="trained: params has shapes"):
        where(laplace_ggn, model, fit=trained(params[0]))
    with pytest.raises(ValueError, match="num_draws is 0"):
        laplace_kron(KEY, model, data, num_draws=0)


def test_a_hundred_thousand_parameters_fit():
    """P × P numbers would be 100 GB, N·K × P of them 0.5 GB: the compiled programs hold far less."""
    network = mlp([64, 256, 256, 64, 10])
    model = Model(*network, prior=priors.normal(0.0, 0.3), likelihood=likelihoods.categorical())
    data = Data(np.random.default_rng(0).random((60, 64)), np.arange(60) % 10)
    params = jax.eval_shape(network.init, KEY)
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert size > 99_000
    with pytest.raises(ValueError, match="take laplace_diagonal, laplace_kron or laplace_last_layer"):
        jax.eval_shape(
            lambda params: ggn_gaussian(model, Data(np.tile(data.x, (99, 1)), np.tile(data.y, 99)), params), params
        )
    forms = lambda params: [
        form(model, data, params) for form in (diagonal_gaussian, kron_gaussian, last_layer_gaussian)
    ]
    compiled = jax.jit(forms).lower(params).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 300e6
    concrete = network.init(KEY)
    for gaussian, _ in compiled(concrete):
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gaussian))
