"""Each form of the curvature on a network, held to dense matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from laplace_parts import EXACT, KEY, blank, unlayered
from scipy import stats

from probjax import (
    Data,
    Model,
    curvature,
    diagonal_gaussian,
    ggn_gaussian,
    kron_gaussian,
    last_layer_gaussian,
    likelihoods,
    linearised,
    mlp,
    priors,
)

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
