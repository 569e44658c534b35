"""Every likelihood is normalised, has the moments and the sampler it says, and transforms under grad and jit.

That the densities are those of their formulas, to the last digits, is in test_accuracy.py.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from probjax import Data, Model, check_inputs, columns, likelihoods, linear, priors, with_cutpoints, with_learnt

FALSE_ALARM = 1e-6
NUM = 40_000


class Case(NamedTuple):
    """A likelihood at one f. oracle: SciPy's frozen distribution. ends: of y. breaks: kinks of the density."""

    likelihood: Any
    f: Any  # scalars, one a part of f
    oracle: Any
    ends: tuple = (-np.inf, np.inf)
    breaks: tuple = ()


class Huber:
    """Huber's least favourable distribution, by its own pieces."""

    def __init__(self, delta, loc, scale):
        self.delta, self.loc, self.scale = delta, loc, scale
        self.core = np.sqrt(2 * np.pi) * special.erf(delta / np.sqrt(2))
        self.tail = np.exp(-(delta**2) / 2) / delta  # of one side
        self.total = self.core + 2 * self.tail

    def cdf(self, y):
        z = (np.asarray(y) - self.loc) / self.scale
        left = self.tail * np.exp(self.delta * (np.minimum(z, -self.delta) + self.delta))
        middle = np.sqrt(2 * np.pi) * (special.ndtr(np.clip(z, -self.delta, self.delta)) - special.ndtr(-self.delta))
        right = self.tail * -np.expm1(-self.delta * (np.maximum(z, self.delta) - self.delta))
        return (left + middle + right) / self.total


class ZeroInflated:
    def __init__(self, rate, share):
        self.poisson, self.share = stats.poisson(rate), share

    def pmf(self, y):
        return self.share * (np.asarray(y) == 0) + (1 - self.share) * self.poisson.pmf(y)


CONTINUOUS = {
    "normal": Case(likelihoods.normal(), (0.4, 2.0), stats.norm(0.4, 2.0)),
    "student_t": Case(likelihoods.student_t(), (0.4, 2.0, 4.5), stats.t(4.5, 0.4, 2.0)),
    "laplace": Case(likelihoods.laplace(), (0.4, 2.0), stats.laplace(0.4, 2.0), breaks=(0.4,)),
    "huber": Case(likelihoods.huber(1.345), (0.4, 2.0), Huber(1.345, 0.4, 2.0), breaks=(-2.29, 3.09)),
    "huber, small delta": Case(likelihoods.huber(0.2), (0.4, 2.0), Huber(0.2, 0.4, 2.0), breaks=(0.0, 0.8)),
    "asymmetric_laplace": Case(
        likelihoods.asymmetric_laplace(0.2), (0.4, 2.0), stats.laplace_asymmetric(0.5, 0.4, 5.0), breaks=(0.4,)
    ),
    "log_cosh": Case(likelihoods.log_cosh(), (0.4, 2.0), stats.hypsecant(0.4, 2.0)),
    "log_normal": Case(likelihoods.log_normal(), (0.4, 0.6), stats.lognorm(0.6, scale=np.exp(0.4)), (0, np.inf)),
    "gamma": Case(likelihoods.gamma(), (0.4, 2.5), stats.gamma(2.5, scale=np.exp(0.4) / 2.5), (0, np.inf)),
    "beta": Case(
        likelihoods.beta(),
        (0.4, 7.0),
        stats.beta(7 * special.expit(0.4), 7 * special.expit(-0.4)),
        (0, 1),
    ),
}
COUNTS = {
    "bernoulli": Case(likelihoods.bernoulli(), (-0.8,), stats.bernoulli(special.expit(-0.8)), (0, 2)),
    "binomial": Case(likelihoods.binomial(12), (-0.8,), stats.binom(12, special.expit(-0.8)), (0, 13)),
    "poisson": Case(likelihoods.poisson(), (1.1,), stats.poisson(np.exp(1.1)), (0, 80)),
    "negative_binomial": Case(
        likelihoods.negative_binomial(), (1.1, 1.7), stats.nbinom(1.7, 1.7 / (1.7 + np.exp(1.1))), (0, 400)
    ),
    "zero_inflated_poisson": Case(
        likelihoods.zero_inflated_poisson(), (1.1, -0.4), ZeroInflated(np.exp(1.1), special.expit(-0.4)), (0, 80)
    ),
}


@jax.jit
def call(member, *args):
    """A member of a likelihood as one program, not an operation at a time."""
    return member(*args)


def spread(f, num):
    """Each part of f repeated num times; one part stands alone."""
    parts = tuple(np.full(num, part) for part in f)
    return parts if len(parts) > 1 else parts[0]


def moments_by_quadrature(case: Case):
    """∫ p, ∫ y p, ∫ y² p, adaptive between the kinks; the tails in pieces of their own."""
    log_prob = jax.jit(lambda y: case.likelihood.log_prob(y, spread(case.f, 1)))
    density = lambda y: np.exp(float(log_prob(np.array([y]))[0]))
    middle = [-40.0, -8.0, *case.breaks, 8.0, 40.0] if case.ends[0] == -np.inf else [0.02, 2.0, 8.0, 40.0]
    points = [case.ends[0], *(m for m in middle if case.ends[0] < m < case.ends[1]), case.ends[1]]
    pieces = list(pairwise(points))
    integral = lambda power: sum(
        integrate.quad(lambda y: y**power * density(y), *piece, epsabs=1e-13, epsrel=1e-12, limit=200)[0]
        for piece in pieces
    )
    return integral(0), integral(1), integral(2)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_a_density_integrates_to_one_and_has_the_stated_moments(name):
    case = CONTINUOUS[name]
    total, first, second = moments_by_quadrature(case)
    assert total == pytest.approx(1, abs=1e-10)
    f = spread(case.f, 1)
    assert float(call(case.likelihood.mean, f)[0]) == pytest.approx(first, rel=1e-8)
    assert float(call(case.likelihood.variance, f)[0]) == pytest.approx(second - first**2, rel=1e-6)


@pytest.mark.parametrize("name", COUNTS)
def test_a_mass_adds_up_to_one_and_has_the_stated_moments(name):
    case = COUNTS[name]
    y = np.arange(*case.ends, dtype=float)
    p = np.exp(call(case.likelihood.log_prob, y, spread(case.f, len(y))))
    np.testing.assert_allclose(p, case.oracle.pmf(y), rtol=1e-10, atol=1e-300)
    assert p.sum() == pytest.approx(1, abs=1e-10)
    f = spread(case.f, 1)
    assert float(call(case.likelihood.mean, f)[0]) == pytest.approx((p * y).sum(), rel=1e-10)
    assert float(call(case.likelihood.variance, f)[0]) == pytest.approx((p * y**2).sum() - (p * y).sum() ** 2, rel=1e-9)


def by_kolmogorov(draws, oracle):
    return stats.kstest(draws, oracle.cdf).pvalue


def by_chi_square(draws, pmf, least=10):
    """Pearson's test, rare values pooled so that at least `least` are expected in each cell."""
    values = np.arange(int(draws.max()) + 2)
    expected = pmf(values) * len(draws)
    expected[-1] += len(draws) - expected.sum()
    observed = np.bincount(draws.astype(int), minlength=len(values)).astype(float)
    cells, total_expected, total_observed = [], 0.0, 0.0
    for e, o in zip(expected, observed):
        total_expected, total_observed = total_expected + e, total_observed + o
        if total_expected >= least:
            cells.append([total_expected, total_observed])
            total_expected = total_observed = 0.0
    cells[-1] = [cells[-1][0] + total_expected, cells[-1][1] + total_observed]
    wanted, seen = np.array(cells).T
    return stats.chisquare(seen, wanted * seen.sum() / wanted.sum()).pvalue


@pytest.mark.parametrize("name", [*CONTINUOUS, *COUNTS])
def test_samples_follow_the_density(name):
    case = {**CONTINUOUS, **COUNTS}[name]
    draws = np.asarray(call(case.likelihood.sample, jax.random.key(0), spread(case.f, NUM)), float)
    assert draws.shape == (NUM,)
    pvalue = by_kolmogorov(draws, case.oracle) if name in CONTINUOUS else by_chi_square(draws, case.oracle.pmf)
    assert pvalue > FALSE_ALARM
    # the same tests reject draws that are 15% too wide, or come from another mean
    if name in CONTINUOUS:
        wider = np.median(draws) + 1.15 * (draws - np.median(draws))
        assert by_kolmogorov(wider, case.oracle) < FALSE_ALARM
    else:
        other = np.asarray(call(case.likelihood.sample, jax.random.key(1), spread((case.f[0] + 0.1, *case.f[1:]), NUM)))
        assert by_chi_square(other, case.oracle.pmf) < FALSE_ALARM


LOGITS = np.array([0.3, -1.0, 0.8])
CUTPOINTS = np.array([-0.7, 0.1, 1.6])


def ordinal_probs(cdf, location):
    return np.diff([0.0, *cdf(CUTPOINTS - location), 1.0])


@pytest.mark.parametrize(
    "likelihood, f, probs",
    [
        (likelihoods.categorical(), (LOGITS,), special.softmax(LOGITS)),
        (likelihoods.ordinal("logit"), (np.array(0.4), CUTPOINTS), ordinal_probs(special.expit, 0.4)),
        (likelihoods.ordinal("probit"), (np.array(0.4), CUTPOINTS), ordinal_probs(special.ndtr, 0.4)),
    ],
    ids=["categorical", "ordinal logit", "ordinal probit"],
)
def test_labels_have_the_stated_probabilities_and_samples(likelihood, f, probs):
    repeated = lambda num: (lambda parts: parts if len(parts) > 1 else parts[0])(
        tuple(np.broadcast_to(part, (num, *part.shape)) for part in f)
    )
    labels = np.arange(len(probs))
    np.testing.assert_allclose(np.exp(call(likelihood.log_prob, labels, repeated(len(probs)))), probs, rtol=1e-12)
    np.testing.assert_allclose(call(likelihood.mean, repeated(1))[0], probs, rtol=1e-12)
    np.testing.assert_allclose(call(likelihood.variance, repeated(1))[0], probs * (1 - probs), rtol=1e-12)
    draws = np.asarray(call(likelihood.sample, jax.random.key(0), repeated(NUM)))
    assert stats.chisquare(np.bincount(draws, minlength=len(probs)), NUM * probs).pvalue > FALSE_ALARM


def test_two_classes_three_ways_are_one_model():
    eta = jnp.array([-30.0, -3.0, -0.5, 0.0, 1.2, 400.0])
    for y in (0, 1):
        binary = call(likelihoods.bernoulli().log_prob, np.full(6, y), eta)
        softmax = call(likelihoods.categorical().log_prob, np.full(6, y), jnp.stack([jnp.zeros(6), eta], 1))
        ranked = call(likelihoods.ordinal().log_prob, np.full(6, y), (eta, jnp.zeros((6, 1))))
        np.testing.assert_allclose(softmax, binary, rtol=1e-14)
        np.testing.assert_allclose(ranked, binary, rtol=1e-14)


def test_soft_labels_are_the_expected_log_density():
    f = jnp.asarray(np.random.default_rng(0).standard_normal((5, 4)))
    q = np.random.default_rng(1).dirichlet(np.ones(4), 5)
    each = [call(likelihoods.categorical().log_prob, np.full(5, k), f) for k in range(4)]
    got = call(likelihoods.categorical().log_prob, q, f)
    np.testing.assert_allclose(got, sum(q[:, k] * each[k] for k in range(4)), rtol=1e-13)


def test_limits_of_the_families():
    y, f = np.array([0.0, 1.0, 7.0, 300.0]), jnp.array([0.3, -2.0, 1.1, 5.0])
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8)
    close(call(likelihoods.negative_binomial(1e12).log_prob, y, f), call(likelihoods.poisson().log_prob, y, f))
    close(call(likelihoods.zero_inflated_poisson(-60.0).log_prob, y, f), call(likelihoods.poisson().log_prob, y, f))
    close(call(likelihoods.student_t(1e14, 2.0).log_prob, y, f), call(likelihoods.normal(2.0).log_prob, y, f))
    close(call(likelihoods.huber(1e3, 2.0).log_prob, y, f), call(likelihoods.normal(2.0).log_prob, y, f))
    close(call(likelihoods.huber(1e-9, 2e-9).log_prob, y, f), call(likelihoods.laplace(2.0).log_prob, y, f))
    close(call(likelihoods.asymmetric_laplace(0.5, 1.0).log_prob, y, f), call(likelihoods.laplace(2.0).log_prob, y, f))
    one = call(likelihoods.binomial(1.0).log_prob, np.array([0.0, 1.0, 1.0, 0.0]), f)
    close(one, call(likelihoods.bernoulli().log_prob, np.array([0.0, 1.0, 1.0, 0.0]), f))


@pytest.mark.parametrize("name", [*CONTINUOUS, *COUNTS])
def test_second_derivatives_are_finite(name):
    case = {**CONTINUOUS, **COUNTS}[name]
    log_prob = lambda y, *f: case.likelihood.log_prob(y[None], tuple(p[None] for p in f) if len(f) > 1 else f[0][None])[
        0
    ]
    hessian = jax.jit(jax.vmap(jax.hessian(log_prob, argnums=tuple(range(1, len(case.f) + 1)))))
    firsts = np.array([-30.0, -2.0, case.f[0], 3.0, 30.0])
    ys = {"bernoulli": [0.0, 1.0], "beta": [1e-9, 0.3, 1 - 1e-9], "gamma": [1e-9, 12.0], "log_normal": [1e-9, 12.0]}
    ys = ys.get(name, [0.0, 1.0, 12.0])
    y, first = (grid.ravel() for grid in np.meshgrid(ys, firsts))
    parts = [jnp.asarray(first), *(jnp.full(len(first), part) for part in case.f[1:])]
    assert all(np.isfinite(block).all() for block in jax.tree.leaves(hessian(jnp.asarray(y), *parts)))


def test_second_derivatives_of_the_poisson_are_exact_across_its_branches():
    for y in (0.0, 3.0, 20.0):
        curvature = jax.grad(jax.grad(lambda f, y=y: call(likelihoods.poisson().log_prob, np.array([y]), f[None])[0]))(
            jnp.asarray(0.7)
        )
        assert float(curvature) == pytest.approx(-np.exp(0.7), rel=1e-13)


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
