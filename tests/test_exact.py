"""Exact answers agree with a second derivation each: chain rules of evidence, adaptive quadrature, larger models
with known corners."""

import json

import numpy as np
import pytest
from scipy import integrate, optimize, stats
from scipy.special import expit

from verification import posteriordb as ports
from verification.exact import conjugate, network, quadrature, scale_mixture
from verification.exact.reference import Reference, correlation, difference_in_sd, gaussian_reference

RNG = np.random.default_rng(3)
DESIGN, Y = RNG.standard_normal((12, 3)), RNG.standard_normal(12)
NEW_DESIGN, NEW_Y = RNG.standard_normal((4, 3)), RNG.standard_normal(4)
BOTH = np.vstack([DESIGN, NEW_DESIGN]), np.append(Y, NEW_Y)


def linear(design, y):
    return conjugate.linear_regression(
        conjugate.LinearGaussian(("a", "b", "c"), design, y, 0.7, 1.3, np.eye(3), NEW_DESIGN, NEW_Y)
    )


def inverse_gamma(design, y):
    return conjugate.normal_inverse_gamma("abc", design, y, 1.3, 2.0, 0.8, np.eye(3), NEW_DESIGN, NEW_Y)


CHAINS = {
    "linear": (lambda: linear(DESIGN, Y), lambda: linear(*BOTH)),
    "normal–inverse-gamma": (lambda: inverse_gamma(DESIGN, Y), lambda: inverse_gamma(*BOTH)),
    "beta–bernoulli": (
        lambda: conjugate.beta_bernoulli(2.0, 3.0, np.array([1.0, 0, 1]), np.array([1.0, 0])),
        lambda: conjugate.beta_bernoulli(2.0, 3.0, np.array([1.0, 0, 1, 1, 0]), np.zeros(1)),
    ),
    "gamma–poisson": (
        lambda: conjugate.gamma_poisson(2.0, 3.0, np.array([1.0, 4]), np.array([2.0, 0])),
        lambda: conjugate.gamma_poisson(2.0, 3.0, np.array([1.0, 4, 2, 0]), np.zeros(1)),
    ),
    "dirichlet–categorical": (
        lambda: conjugate.dirichlet_categorical(np.array([1.0, 2, 0.5]), np.array([0, 1, 1]), np.array([2, 0])),
        lambda: conjugate.dirichlet_categorical(np.array([1.0, 2, 0.5]), np.array([0, 1, 1, 2, 0]), np.array([0])),
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_evidence_obeys_the_chain_rule(name):
    """log p(y, y_new) = log p(y) + log p(y_new | y)."""
    part, whole = (make() for make in CHAINS[name])
    assert whole.log_evidence - part.log_evidence == pytest.approx(part.log_predictive, abs=1e-10)


@pytest.mark.parametrize("dist", [stats.beta(2.0, 19.0), stats.beta(61.0, 21.0)])
def test_quadrature_on_the_logit_scale_gives_scipys_beta(dist):
    a, b = dist.args
    density = lambda u: a * np.log(expit(u[:, 0])) + b * np.log(expit(-u[:, 0]))
    found = quadrature.increasing_queries(("p",), density, 0.0, (expit,), nodes=401, half_width=26.0)
    expected = [dist.mean(), dist.std(), *dist.ppf([0.05, 0.95])]
    np.testing.assert_allclose([v[0] for v in (found.mean, found.sd, found.q05, found.q95)], expected, rtol=1e-11)


def test_tensor_quadrature_is_exact_on_a_correlated_gaussian():
    mean, covariance = np.array([1.0, -2.0, 0.5]), np.array([[2.0, 1.2, 0], [1.2, 1.0, -0.3], [0, -0.3, 0.5]])
    precision, queries = np.linalg.inv(covariance), np.array([[1.0, 0, 0], [1, -1, 2], [0, 1, 1]])
    density = lambda w: -0.5 * np.einsum("mi,ij,mj->m", w - mean, precision, w - mean)
    found = quadrature.linear_queries(("a", "b", "c"), density, np.zeros(3), queries)
    expected = gaussian_reference("abc", queries @ mean, queries @ covariance @ queries.T)
    assert difference_in_sd(expected, found) < 1e-9
    assert found.log_evidence == pytest.approx(0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1], abs=1e-9)
    assert found.certificate.error < 1e-8 and found.certificate.agreement < 1e-8


def test_a_rule_too_coarse_says_so_in_its_certificate():
    density = lambda w: stats.logistic.logpdf(w).sum(1) + stats.norm.logpdf(w[:, 0] * w[:, 1], 0.5, 0.1)
    coarse = quadrature.linear_queries(("a", "b"), density, np.array([0.7, 0.7]), np.eye(2), nodes=9, half_width=3.0)
    assert max(coarse.certificate.error, coarse.certificate.agreement) > 1e-3


def test_quantiles_of_a_mixture_and_of_a_grid_invert_their_cdf():
    weights, means, sds = np.array([0.2, 0.5, 0.3]), np.array([-2.0, 0.0, 3.0]), np.array([0.5, 1.0, 2.0])
    for p in (0.05, 0.5, 0.95):
        q = quadrature.mixture_quantile(weights, means, sds, p)
        assert weights @ stats.norm.cdf(q, means, sds) == pytest.approx(p, abs=1e-13)
    axis = np.linspace(-8, 8, 41)  # four nodes a standard deviation: enough for the sinc interpolant of a Gaussian
    for p in (0.05, 0.3, 0.95):
        assert quadrature.sinc_quantile(axis, stats.norm.pdf(axis), p) == pytest.approx(stats.norm.ppf(p), abs=1e-12)


def test_scale_mixture_reproduces_the_closed_form_of_an_inverse_gamma_prior():
    """Under p(σ) ∝ 1/σ and flat β the posterior is Student-t with N − D degrees of freedom (Gelman et al. 2013
    §14.2)."""
    found = scale_mixture.linear_regression_unknown_noise(
        ["a", "b", "c", "log σ"], DESIGN, Y, lambda u: 0 * u, -3.0, 4.0, of_scale=lambda u: u
    )
    beta, dof = np.linalg.lstsq(DESIGN, Y, rcond=None)[0], 9
    s2 = np.sum((Y - DESIGN @ beta) ** 2) / dof
    t = stats.t(dof, beta, np.sqrt(s2 * np.diag(np.linalg.inv(DESIGN.T @ DESIGN))))
    np.testing.assert_allclose(found.mean[:3], beta, rtol=1e-9)
    np.testing.assert_allclose(found.sd[:3], t.std(), rtol=1e-8)
    np.testing.assert_allclose(found.q05[:3], t.ppf(0.05), rtol=1e-8)
    chi2 = stats.chi2(dof)
    np.testing.assert_allclose(found.q95[3], 0.5 * np.log(dof * s2 / chi2.ppf(0.05)), rtol=1e-8)
    assert found.log_evidence is None  # a flat prior has none


NET = network.OneUnit(np.linspace(-2, 2, 7), np.tanh(np.linspace(-2, 2, 7)) + 0.1, 0.3, (1.5, 1.0, 2.0, 0.7))


def test_output_weights_given_hidden_weights_are_a_linear_regression():
    hidden = np.array([[0.3, -1.0], [2.0, 0.5]])
    log_weight, mean, covariance = network.conditional(NET, hidden)
    for k, (w, b) in enumerate(hidden):
        design = np.column_stack([np.tanh(w * NET.x + b), np.ones(7)])
        scales = np.array(NET.scales[2:])
        post_mean, precision = conjugate.linear_posterior(design, NET.y, NET.noise_scale, scales)
        marginal = design @ np.diag(scales**2) @ design.T + NET.noise_scale**2 * np.eye(7)
        prior = stats.norm.logpdf([w, b], 0, NET.scales[:2]).sum()
        np.testing.assert_allclose(mean[k], post_mean, rtol=1e-9)
        np.testing.assert_allclose(covariance[k], np.linalg.inv(precision), rtol=1e-9)
        assert log_weight[k] == pytest.approx(
            stats.multivariate_normal.logpdf(NET.y, np.zeros(7), marginal) + prior, abs=1e-9
        )


def test_network_evidence_obeys_the_chain_rule_and_its_certificate_covers_its_error():
    new_x, new_y, at = np.array([-3.0, 1.0]), np.array([-0.8, 0.9]), np.array([-1.0, 0.5])
    part = network.one_unit_network(NET, at, new_x, new_y)
    more = NET._replace(x=np.append(NET.x, new_x), y=np.append(NET.y, new_y))
    whole = network.one_unit_network(more, at, new_x[:1], new_y[:1])
    assert whole.log_evidence - part.log_evidence == pytest.approx(part.log_predictive, abs=1e-7)
    coarse = network.one_unit_network(NET, at, new_x, new_y, nodes=301)
    assert 0 < difference_in_sd(part, coarse) < coarse.certificate.error


@pytest.mark.parametrize("net", [NET, NET._replace(noise_scale=3.0)], ids=["strong data", "weak data"])
def test_network_evidence_equals_adaptive_quadrature(net):
    """Over (w, b) on the whole plane, no half-plane: SciPy's adaptive rule over w, panels of Gauss–Legendre over b."""
    nodes, weights = np.polynomial.legendre.leggauss(20)
    centres, half = np.arange(-11.75, 12, 0.5), 0.25
    b = (centres[:, None] + half * nodes).ravel()
    along = lambda w: (
        half
        * np.exp(network.conditional(net, np.column_stack([np.full_like(b, w), b]))[0]).reshape(len(centres), -1)
        @ weights
    )
    value, error = integrate.quad(lambda w: along(w).sum(), -8, 8, epsabs=0, epsrel=1e-9, limit=400)
    assert error < 1e-7 * value
    reference = network.one_unit_network(net, np.zeros(1), np.zeros(1), np.zeros(1))
    assert reference.log_evidence == pytest.approx(np.log(value), abs=1e-6)


def test_nan_is_no_agreement_and_constant_queries_have_no_correlation():
    a = gaussian_reference("ab", np.zeros(2), np.eye(2))
    assert difference_in_sd(a, a._replace(mean=np.array([np.nan, 0.0]))) == np.inf
    corr = correlation(np.diag([1.0, 0.0]))
    assert np.isnan(corr[0, 1]) and corr[1, 1] == 1
    assert isinstance(a, Reference)


@pytest.mark.parametrize(
    "name",
    [
        "eight_schools-eight_schools_noncentered",
        "kidiq-kidscore_interaction",
        "sblri-blr",
        "sblrc-blr",
        "nes_logit_data-nes_logit_model",
    ],
)
def test_ported_posteriors_agree_with_the_stored_exact_means_and_sds(name, posteriordb):
    """To 1e-6 posterior sd: two quadratures, one written apart from the other."""
    stored = json.loads((posteriordb / "own_exact" / f"{name}.json").read_text())["params"]
    reference = ports.build(str(posteriordb), name).reference
    assert reference.certificate.error < 1e-6 and reference.certificate.agreement < 1e-6
    held = {n: i for i, n in enumerate(reference.names) if n in stored}
    assert len(held) >= 2
    for query, i in held.items():
        assert abs(reference.mean[i] - stored[query]["mean"]) < 1e-6 * reference.sd[i], query
        assert abs(reference.sd[i] - stored[query]["sd"]) < 1e-6 * reference.sd[i], query


@pytest.mark.parametrize("name", ["sblri-blr", "kidiq-kidscore_interaction"])
def test_quantiles_of_the_noise_scale_equal_adaptive_quadrature(name, posteriordb):
    """P(σ ≤ q95) by SciPy's adaptive rule on the marginal of σ, written down afresh, and its own root."""
    data = ports.PORTS[name].prepare(ports.read_data(ports.find_database(posteriordb), name))
    x, y = data["x"], data["y"]
    gram, cross, n, d = x.T @ x, x.T @ y, len(y), x.shape[1]
    flat = name.startswith("kidiq")

    def log_marginal(sigma):
        precision = gram / sigma**2 + (0 if flat else 0.01) * np.eye(d)
        mean = np.linalg.solve(precision, cross / sigma**2)
        fit = (
            -n * np.log(sigma)
            - 0.5 * (y @ y / sigma**2 - mean @ precision @ mean)
            - 0.5 * np.linalg.slogdet(precision)[1]
        )
        return fit + (-np.log1p((sigma / 2.5) ** 2) if flat else -0.5 * (sigma / 10) ** 2)

    reference = ports.build(str(posteriordb), name).reference
    centre, sd = reference.mean[-1], reference.sd[-1]
    top = log_marginal(centre)
    mass = lambda a, b: integrate.quad(lambda s: np.exp(log_marginal(s) - top), a, b, epsabs=0, epsrel=1e-9, limit=400)[
        0
    ]
    low, high = max(centre - 9 * sd, 1e-3 * centre), centre + 12 * sd
    total = mass(low, centre) + mass(centre, high)
    for p, found in ((0.05, reference.q05[-1]), (0.95, reference.q95[-1])):
        root = optimize.brentq(
            lambda s, p=p: (mass(low, min(s, centre)) + (mass(centre, s) if s > centre else 0)) / total - p,
            low,
            high,
            xtol=1e-13,
        )
        assert abs(found - root) < 1e-8 * sd
