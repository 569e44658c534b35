"""What a likelihood takes: parameters known or in f, targets within its support."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from likelihood_cases import CONTINUOUS, COUNTS, call, spread
from scipy import stats

from probjax import Data, Model, check_inputs, columns, likelihoods, linear, priors, with_cutpoints, with_learnt


@pytest.mark.parametrize(
    "known, in_f",
    [
        (likelihoods.normal(0.7), likelihoods.normal()),
        (likelihoods.laplace(0.7), likelihoods.laplace()),
        (likelihoods.log_cosh(0.7), likelihoods.log_cosh()),
        (likelihoods.gamma(0.7), likelihoods.gamma()),
        (likelihoods.negative_binomial(0.7), likelihoods.negative_binomial()),
        (likelihoods.zero_inflated_poisson(0.7), likelihoods.zero_inflated_poisson()),
    ],
)
def test_a_known_parameter_is_the_same_as_one_in_f(known, in_f):
    y, f = np.array([1.0, 2.0, 5.0]), jnp.array([-0.3, 0.9, 1.4])
    pair = (f, jnp.full(3, 0.7))
    for member in ("mean", "variance"):
        np.testing.assert_allclose(call(getattr(known, member), f), call(getattr(in_f, member), pair), rtol=1e-15)
    np.testing.assert_allclose(call(known.log_prob, y, f), call(in_f.log_prob, y, pair), rtol=1e-15)
    np.testing.assert_array_equal(call(known.sample, jax.random.key(0), f), call(in_f.sample, jax.random.key(0), pair))


@pytest.mark.parametrize("name", ["normal", "gamma", "beta", "bernoulli", "poisson", "negative_binomial"])
def test_the_link_undoes_the_mean(name):
    case = {**CONTINUOUS, **COUNTS}[name]
    f = spread(case.f, 1)
    first = f[0] if isinstance(f, tuple) else f
    np.testing.assert_allclose(call(case.likelihood.link, call(case.likelihood.mean, f)), first, rtol=1e-13)


def test_new_hyperparameters_do_not_recompile():
    compiled = jax.jit(lambda likelihood, y, f: likelihood.log_prob(y, f))
    for scale in (0.5, 1.0, 2.0):
        compiled(likelihoods.student_t(3.0, scale), np.zeros(3), jnp.zeros(3))
    assert compiled._cache_size() == 1


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: likelihoods.normal(-1.0), r"normal: scale is -1.0 but must be positive"),
        (lambda: likelihoods.student_t(0.0), r"student_t: df is 0.0 but must be positive"),
        (lambda: likelihoods.huber(np.nan), r"huber: delta is nan but must be positive"),
        (lambda: likelihoods.asymmetric_laplace(1.0), r"quantile is 1.0 but must lie strictly between 0 and 1"),
        (lambda: likelihoods.gamma(np.inf), r"gamma: concentration is inf but must be positive and finite"),
        (lambda: likelihoods.beta(-2.0), r"beta: precision is -2.0"),
        (lambda: likelihoods.binomial(0), r"binomial: total_count is 0"),
        (lambda: likelihoods.negative_binomial(0), r"negative_binomial: concentration is 0"),
        (
            lambda: likelihoods.ordinal("cloglog"),
            r"ordinal: link is 'cloglog' but must be one of \['logit', 'probit'\]",
        ),
        (lambda: with_learnt(linear(1), scale="log"), r"scale is 'log' but must be 'positive' or 'real'"),
    ],
)
def test_parameters_outside_their_range_cannot_be_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def checked(likelihood, y, network=None, x=None):
    network = network or linear(1)
    model = Model(*network, prior=priors.flat(), likelihood=likelihood)
    check_inputs(model, Data(np.ones((len(y), 1)) if x is None else x, np.asarray(y)))


@pytest.mark.parametrize(
    "likelihood, y, words",
    [
        (likelihoods.poisson(), [1.0, -1.0], r"a count 0, 1, 2, …\); first: row 1, y = -1.0"),
        (likelihoods.negative_binomial(1.0), [1.5, 1.0], r"a count.*first: row 0, y = 1.5"),
        (likelihoods.beta(2.0), [0.5, 1.0], r"strictly between 0 and 1; for exact 0 or 1 squeeze.*row 1, y = 1.0"),
        (likelihoods.beta(2.0), [0.0, 0.5], r"strictly between 0 and 1.*first: row 0, y = 0.0"),
        (likelihoods.gamma(1.0), [2.0, 0.0], r"numbers above 0\); first: row 1, y = 0.0"),
        (likelihoods.log_normal(1.0), [2.0, -3.0], r"numbers above 0\); first: row 1, y = -3.0"),
        (likelihoods.binomial(5), [3.0, 6.0], r"a count 0, 1, …, n\); first: row 1, y = 6.0"),
        (likelihoods.bernoulli(), [0.0, 0.5], r"0 or 1\); first: row 1, y = 0.5"),
    ],
)  # fmt: skip
def test_targets_outside_the_support_name_row_value_and_support(likelihood, y, words):
    with pytest.raises(ValueError, match="y has 1 rows of 2 outside the support .*" + words):
        checked(likelihood, y)


def test_ranks_and_soft_labels_are_held_to_their_support():
    ranks = with_cutpoints(linear(1), 3)
    checked(likelihoods.ordinal(), [0, 1, 2], ranks)
    with pytest.raises(ValueError, match=r"an integer rank 0..K−1.*first: row 2, y = 3"):
        checked(likelihoods.ordinal(), [0, 1, 3], ranks)
    three = linear(1, 3)
    checked(likelihoods.categorical(), np.full((2, 3), 1 / 3), three)
    with pytest.raises(ValueError, match="K probabilities that sum to 1"):
        checked(likelihoods.categorical(), [[0.5, 0.5, 0.5], [1.0, 0.0, 0.0]], three)


def test_a_number_of_trials_that_comes_with_x_reaches_the_likelihood():
    apply: Callable = lambda params, x: (params * jnp.ones(len(x)), x[:, 0])
    model = Model(lambda key: jnp.zeros(()), apply, prior=priors.flat(), likelihood=likelihoods.binomial())
    from probjax import log_likelihood

    data = Data(np.array([[3.0], [8.0]]), np.array([1.0, 8.0]))
    got = log_likelihood(model, jnp.asarray(0.0), data)
    np.testing.assert_allclose(got, stats.binom.logpmf([1, 8], [3, 8], 0.5), rtol=1e-13)
    with pytest.raises(ValueError, match=r"outside the support \(a count 0, 1, …, n\); first: row 0, y = 4.0"):
        log_likelihood(model, jnp.asarray(0.0), data._replace(y=np.array([4.0, 8.0])))


def test_heads_give_a_likelihood_all_it_takes():
    key, x = jax.random.key(0), np.ones((4, 1))
    location, scale, df = (n := with_learnt(linear(1), scale="positive", df="positive")).apply(n.init(key), x)
    assert call(likelihoods.student_t().log_prob, np.zeros(4), (location, scale, df)).shape == (4,)
    pair = (n := columns(linear(1, 2), "real", "real")).apply(n.init(key), x)
    assert call(likelihoods.zero_inflated_poisson().log_prob, np.zeros(4), pair).shape == (4,)
    location, cutpoints = (n := with_cutpoints(linear(1), 5)).apply(n.init(key), x)
    assert np.all(np.diff(cutpoints, axis=1) > 0)
    assert call(likelihoods.ordinal("probit").log_prob, np.arange(4), (location, cutpoints)).shape == (4,)
