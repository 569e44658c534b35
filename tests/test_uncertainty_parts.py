"""Total = aleatoric + epistemic, to rounding; scores of strangeness, and the area that judges them.

Simulations are judged at a false-alarm rate of 10⁻⁶ each (4.9 standard errors)."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from scipy import special, stats
from sklearn.metrics import roc_auc_score

from probjax import Model, Posterior, information, likelihoods, linear, priors, uncertainty
from probjax.out_of_distribution import auroc, closeness, doubt, free_energy
from probjax.predictive import predictive_sd

RNG = np.random.default_rng(0)
FALSE_ALARM, SIGMAS = 1e-6, stats.norm.isf(0.5e-6)
PROBS = RNG.dirichlet([0.3, 1.0, 2.0], (7, 50))
PROBS[:, 0], PROBS[:3, 1] = [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]  # all draws certain and agreed; some certain
X = RNG.standard_normal((50, 2))


def model_and_draws(likelihood, num_outputs=None, num_draws=7):
    network = linear(2) if num_outputs is None else linear(2, num_outputs)
    model = Model(*network, prior=priors.normal(), likelihood=likelihood)
    draws = jax.vmap(model.init)(jax.random.split(jax.random.key(0), num_draws))
    return model, Posterior(jax.tree.map(lambda leaf: 2 * RNG.standard_normal(leaf.shape), draws), {})


def test_entropies_add_up_zeros_included():
    parts = uncertainty.split_entropy(PROBS)
    np.testing.assert_allclose(parts.total, parts.aleatoric + parts.epistemic, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(parts.total, stats.entropy(PROBS.mean(0), axis=-1), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(parts.aleatoric, stats.entropy(PROBS, axis=-1).mean(0), rtol=1e-13, atol=1e-15)
    assert all(float(part[0]) == 0 for part in parts) and float(parts.epistemic.min()) == 0
    disagreeing = uncertainty.split_entropy(np.eye(3)[:, None, :])  # each draw certain of another class
    np.testing.assert_allclose(np.ravel(disagreeing), [np.log(3), 0, np.log(3)], rtol=1e-15)


def test_one_draw_has_no_epistemic_part_exactly():
    assert not np.asarray(uncertainty.split_entropy(PROBS[:1]).epistemic).any()
    assert not np.asarray(uncertainty.split_variance(PROBS[:1], PROBS[:1]).between).any()
    model, posterior = model_and_draws(likelihoods.normal(0.7), num_draws=1)
    assert not np.asarray(uncertainty.variance_decomposition(model, posterior, X).between).any()


def test_the_epistemic_part_keeps_its_digits_where_draws_nearly_agree():
    base, step = np.array([0.2, 0.3, 0.5]), 1e-8 * np.array([1.0, -2.0, 1.0])
    probs = np.stack([base + step, base - step])
    with mpmath.workdps(50):
        rows = [[mpmath.mpf(p) for p in row] for row in probs]
        mean = [(a + b) / 2 for a, b in zip(*rows)]
        exact = sum(p * mpmath.log(p / q) for row in rows for p, q in zip(row, mean)) / 2
    epistemic = float(uncertainty.split_entropy(probs[:, None]).epistemic[0])
    assert epistemic == pytest.approx(float(exact), rel=1e-6, abs=0) and epistemic < 1e-14


@pytest.mark.parametrize(
    "likelihood, outputs",
    [(likelihoods.bernoulli(), None), (likelihoods.categorical(), 3)],
    ids=["bernoulli", "categorical"],
)
def test_a_posterior_of_classes_gives_what_its_probabilities_give(likelihood, outputs):
    model, posterior = model_and_draws(likelihood, outputs)
    f = X @ np.asarray(posterior.draws["weight"]).reshape(7, 2, -1) + np.asarray(posterior.draws["bias"]).reshape(
        7, 1, -1
    )
    probs = special.softmax(f, -1) if outputs else np.concatenate([special.expit(-f), special.expit(f)], -1)
    expected = uncertainty.split_entropy(probs)
    for given in (
        uncertainty.entropy_decomposition(model, posterior, X),
        jax.jit(uncertainty.entropy_decomposition)(model, posterior, X),
    ):
        np.testing.assert_allclose(np.asarray(given), np.asarray(expected), rtol=1e-10, atol=1e-14)
    parts, mean = (
        uncertainty.variance_decomposition(model, posterior, X),
        probs.mean(0) if outputs else probs[..., 1].mean(0),
    )
    np.testing.assert_allclose(parts.within + parts.between, mean * (1 - mean), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(parts.mean, mean, rtol=1e-12)
    if outputs:
        np.testing.assert_allclose(jnp.sum(parts.within + parts.between, 1), 1 - (mean**2).sum(1), rtol=1e-12)


def test_variances_add_up_to_the_predictive_variance_and_to_the_exact_posteriors():
    model, posterior = model_and_draws(likelihoods.normal(0.7))
    parts = uncertainty.variance_decomposition(model, posterior, X)
    np.testing.assert_allclose(np.sqrt(parts.within + parts.between), predictive_sd(model, posterior, X), rtol=1e-12)
    # draws of a known posterior N(0, C) of the weights: epistemic is xᵀCx, aleatoric σ²
    root, num_draws = np.array([[1.0, 0.0], [0.6, 0.2]]), 3000
    draws = {"weight": RNG.standard_normal((num_draws, 2)) @ root.T, "bias": np.zeros(num_draws)}
    parts = uncertainty.variance_decomposition(model, Posterior(draws, {}), X[:3])
    np.testing.assert_allclose(parts.within, 0.49, rtol=1e-12)
    exact = np.square(X[:3] @ root).sum(1)
    pvalue = stats.chi2.cdf(num_draws * np.asarray(parts.between) / exact, num_draws - 1)
    assert (np.minimum(pvalue, 1 - pvalue) > FALSE_ALARM).all()


CONCENTRATION = np.array([2.0, 1.0, 3.0])
TOTAL = stats.entropy(CONCENTRATION / 6)
ALEATORIC = special.digamma(7) - np.sum(CONCENTRATION / 6 * special.digamma(CONCENTRATION + 1))


@pytest.mark.parametrize("num_draws", [2, 20])
def test_few_draws_have_too_little_epistemic_entropy_by_the_stated_amount(num_draws):
    replications = 20_000  # as the rows N
    probs = RNG.dirichlet(CONCENTRATION, (num_draws, replications))
    parts, missing = jax.jit(lambda probs: (uncertainty.split_entropy(probs), uncertainty.missing_entropy(probs)))(
        probs
    )
    error = lambda values, exact: (np.mean(values) - exact, SIGMAS * np.std(values) / np.sqrt(replications))
    aleatoric, margin = error(parts.aleatoric, ALEATORIC)
    assert abs(aleatoric) < margin
    total, margin_of_total = error(parts.total, TOTAL)
    epistemic, margin = error(parts.epistemic, TOTAL - ALEATORIC)
    assert total < -margin_of_total and epistemic < -margin
    np.testing.assert_allclose(total - aleatoric, epistemic, atol=1e-12)
    corrected, margin_of_corrected = error(parts.epistemic + missing, TOTAL - ALEATORIC)
    assert abs(corrected) < 0.2 * abs(epistemic) + margin_of_corrected


def test_scores_are_larger_for_stranger_rows_and_are_their_definitions():
    probs, logits = PROBS[0], RNG.standard_normal((50, 4)) * 3
    top = np.sort(probs, 1)[:, ::-1]
    np.testing.assert_allclose(doubt(probs), 1 - top[:, 0], atol=1e-15)
    np.testing.assert_allclose(closeness(probs), 1 - top[:, 0] + top[:, 1], atol=1e-15)
    np.testing.assert_allclose(doubt(probs[:, 0]), np.minimum(probs[:, 0], 1 - probs[:, 0]), atol=1e-15)
    np.testing.assert_allclose(free_energy(logits, 2.0), -2 * special.logsumexp(logits / 2, axis=1), rtol=1e-12)
    assert float(doubt(np.array([[1.0, 1e-30, 0.0]]))[0]) == 1e-30
    assert float(closeness(np.array([[0.25] * 4]))[0]) == 1.0 and float(doubt(np.array([[0.25] * 4]))[0]) == 0.75
    sure, unsure = np.array([[0.98, 0.01, 0.01]]), np.array([[0.4, 0.35, 0.25]])
    for score in (doubt, closeness, information.entropy):
        assert float(score(sure)[0]) < float(score(unsure)[0])
    assert float(free_energy(10 * sure)[0]) < float(free_energy(unsure)[0])


@pytest.mark.parametrize("decimals", [0, 1, 9])
def test_the_area_is_scikit_learns_ties_included_and_its_standard_error_delongs(decimals):
    known, strange = RNG.standard_normal(150).round(decimals), (0.8 + RNG.standard_normal(90)).round(decimals)
    area, standard_error = auroc(known, strange)
    truth = roc_auc_score(np.repeat([0, 1], [150, 90]), np.concatenate([known, strange]))
    assert area == pytest.approx(truth, abs=1e-12)
    above = (strange > known[:, None]) + 0.5 * (strange == known[:, None])
    expected = np.sqrt(above.mean(1).var(ddof=1) / 150 + above.mean(0).var(ddof=1) / 90)
    assert standard_error == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(auroc(strange, known), (1 - area, standard_error), rtol=1e-12)
    np.testing.assert_allclose(auroc(np.exp(known), np.exp(strange)), (area, standard_error), rtol=1e-12)


def test_the_areas_standard_error_covers():
    replications, exact = 2000, stats.norm.cdf(1 / np.sqrt(2))
    found = np.array([auroc(RNG.standard_normal(80), 1 + RNG.standard_normal(60)) for _ in range(replications)])
    covered = int(np.sum(abs(found[:, 0] - exact) < 1.96 * found[:, 1]))
    bounds = stats.binom.ppf(
        [FALSE_ALARM, 1 - FALSE_ALARM], replications, [0.93, 0.96]
    )  # 95%, less what normality costs
    assert bounds[0] <= covered <= bounds[1]
    assert auroc([0.0, 1.0], [2.0, np.inf]) == (1.0, 0.0)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: uncertainty.split_entropy(PROBS[0]), r"probs has shape \(50, 3\); expected \[S, N, K\]"),
        (lambda: uncertainty.split_entropy(PROBS * 1.1), "split_entropy: "),
        (lambda: uncertainty.split_entropy(PROBS * 0.9), "rows of probs must sum to 1"),
        (lambda: uncertainty.missing_entropy(PROBS[:1]), "probs has 1 draw"),
        (
            lambda: uncertainty.split_variance(np.ones((2, 3)), np.ones(3)),
            r"means has shape \(2, 3\) and variances \(3,\)",
        ),
        (
            lambda: uncertainty.split_variance(np.ones((2, 3)), -np.ones((2, 3))),
            r"variances has 6 values of 6 .*first: -1 at \(0, 0\)",
        ),
        (
            lambda: uncertainty.split_variance(np.full((2, 3), np.nan), np.ones((2, 3))),
            "means has 6 values of 6 that are NaN",
        ),
        (
            lambda: uncertainty.entropy_decomposition(*model_and_draws(likelihoods.normal(1.0)), X),
            "not those of classes .*use variance_decomposition",
        ),
        (lambda: doubt(np.array([0.5, 1.5])), "doubt: probs has 1 values of 2 outside"),
        (lambda: free_energy(np.ones(3)), r"logits has shape \(3,\); expected \[N, K\]"),
        (
            lambda: free_energy(np.array([[0.0, np.inf]])),
            r"logits has 1 values of 2 that are NaN or \+inf \(first: row 0",
        ),
        (lambda: free_energy(np.ones((2, 3)), 0.0), "temperature is 0.0 but must be positive"),
        (lambda: auroc([1.0], [1.0, 2.0]), r"score_in has shape \(1,\)"),
        (lambda: auroc([1.0, 2.0], [1.0, np.nan]), "score_out has 1 NaN of 2"),
    ],
)
def test_bad_input_is_named_with_its_cure(call, message):
    with pytest.raises(ValueError, match=message):
        call()
