"""Curvatures at the edge: canonical links, indefinite and undetermined ones, other priors; probit; many parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laplace_parts import EXACT, KEY, covariance_of, run
from scipy import integrate, special

from probjax import (
    Data,
    Model,
    columns,
    curvature,
    diagonal_gaussian,
    ggn_gaussian,
    hessian_gaussian,
    kron_gaussian,
    laplace_diagonal,
    laplace_ggn,
    last_layer_gaussian,
    likelihoods,
    linear,
    mlp,
    priors,
    probit,
)


def test_at_a_canonical_link_gauss_newton_is_the_hessian():
    """At any params: f is linear in them, and the curvature does not depend on y."""
    rng = np.random.default_rng(4)
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
    x = np.random.default_rng(4).standard_normal((5, 2))
    params = {"weight": jnp.array([0.2, -0.1])}
    data = Data(x, x @ [0.3, 0.1])
    forms = lambda params: (ggn_gaussian(model, data, params)[0], hessian_gaussian(model, data, params))
    one, other = jax.jit(lambda params: [covariance_of(form) for form in forms(params)])(params)
    np.testing.assert_allclose(one, other, **EXACT)


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
