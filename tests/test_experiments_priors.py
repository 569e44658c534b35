"""The experiments on losses of outliers, noise scales, priors, evidence and optimisers: exact where they say so, and
each makes its table and figure."""

import jax
import numpy as np
import pytest
from experiment_parts import caught, is_figure
from scipy import integrate, stats
from scipy.optimize import linprog, minimize_scalar

from experiments import evidence, heteroscedastic, map_priors, optimisers_and_priors, robust_losses
from experiments import sparsity_is_not_in_the_posterior as sparsity
from verification.claims import listings


@pytest.fixture
def spoilt_lines(monkeypatch):
    monkeypatch.setattr(robust_losses, "NUM_SETS", 4)
    return robust_losses.data_sets(jax.random.key(1), 0.1, "y")


def first(data):
    return jax.tree.map(lambda leaf: leaf[0], data)


def test_least_squares_and_least_deviations_are_the_maxima_of_their_densities(spoilt_lines):
    data = first(spoilt_lines)
    design, y = np.column_stack([data.x[:, 0], np.ones(len(data.y))]), np.asarray(data.y)
    line, _ = robust_losses.fit_line(robust_losses.LIKELIHOODS["normal"], data)
    np.testing.assert_allclose(line, np.linalg.lstsq(design, y, rcond=None)[0], rtol=0, atol=1e-8)
    # min Σ up + down, y = X b + up − down
    eye, cost = np.eye(len(y)), np.append(np.zeros(2), np.ones(2 * len(y)))
    bounds = [(None, None)] * 2 + [(0, None)] * 2 * len(y)
    vertex = linprog(cost, A_eq=np.hstack([design, eye, -eye]), b_eq=y, bounds=bounds).x[:2]
    line, _ = robust_losses.fit_line(robust_losses.LIKELIHOODS["Laplace"], data)
    np.testing.assert_allclose(line, vertex, rtol=0, atol=1e-8)


def test_the_efficiencies_are_the_known_ones():
    names = robust_losses.LIKELIHOODS
    assert abs(robust_losses.efficiency(names["normal"]) - 1) < 1e-8
    assert abs(robust_losses.efficiency(names["Laplace"]) - 2 / np.pi) < 1e-6
    assert abs(robust_losses.efficiency(names["Huber"]) - 0.95) < 1e-4


def test_robust_losses_resist_outliers_in_y_and_not_leverage(tmp_path, monkeypatch):
    monkeypatch.setattr(robust_losses, "NUM_SETS", 20)
    monkeypatch.setattr(robust_losses, "SHARES", (0.0, 0.1))
    calls = caught(monkeypatch, robust_losses, "save_figure")
    assert is_figure(robust_losses.main(tmp_path))
    rmse = calls[0][0]
    for name in ("Laplace", "Huber", "Student-t, 4 df"):
        assert rmse[name, "y", 0.1] < 0.6 * rmse["normal", "y", 0.1]
    assert all(rmse[name, "x", 0.1] > 1.5 for name in ("normal", "Laplace", "Huber"))


def test_scales_and_lines_are_those_of_the_closed_forms(monkeypatch):
    monkeypatch.setattr(heteroscedastic, "NUM_SETS", 1)
    data, new = first(heteroscedastic.data_sets(jax.random.key(3), 1.0)), heteroscedastic.NEW_X
    x, y = np.asarray(data.x[:, 0]), np.asarray(data.y)
    slope, bias = np.polyfit(x, y, 1)
    loc, scale = jax.jit(heteroscedastic.FITS["one scale"])(data, 1.0)
    np.testing.assert_allclose(loc, bias + slope * new, rtol=0, atol=1e-8)
    np.testing.assert_allclose(scale, np.sqrt(np.mean((y - bias - slope * x) ** 2)), rtol=1e-8)
    loc, _ = jax.jit(heteroscedastic.FITS["beta-NLL, β = 1"])(data, 1.0)
    np.testing.assert_allclose(loc, bias + slope * new, rtol=0, atol=1e-8)  # the gradient of squared error
    weighted = np.polyval(np.polyfit(x, y, 1, w=1 / np.asarray(heteroscedastic.noise_sd(x, 1.0))), new)
    np.testing.assert_allclose(heteroscedastic.true_scale(data, 1.0)[0], weighted, rtol=0, atol=1e-8)


def test_the_log_density_of_new_rows_is_its_expectation():
    new, (nodes, rule) = heteroscedastic.NEW_X, np.polynomial.hermite_e.hermegauss(20)
    loc, scale = 0.4 + 1.1 * new, np.exp(0.3 * new)
    truth = heteroscedastic.BIAS + heteroscedastic.WEIGHT * new
    y = truth[:, None] + np.asarray(heteroscedastic.noise_sd(new, 1.0))[:, None] * nodes
    expected = (stats.norm.logpdf(y, loc[:, None], scale[:, None]) @ rule).mean() / np.sqrt(2 * np.pi)
    found = heteroscedastic.score(loc[None], scale[None], 1.0)
    np.testing.assert_allclose(found.log_density, [expected], rtol=1e-10)


def test_predicting_the_scale_gains_only_where_it_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(heteroscedastic, "NUM_SETS", 5)
    monkeypatch.setattr(heteroscedastic, "NUM_STEPS", 500)
    calls = caught(monkeypatch, heteroscedastic, "print_table")
    assert is_figure(heteroscedastic.main(tmp_path))
    mean = {cell: score.log_density.mean() for cell, score in calls[0][0].items()}
    gain = {world: mean[world, "predicted scale"] - mean[world, "one scale"] for world in heteroscedastic.GROWTHS}
    assert gain["growing noise"] > 0.8 and abs(gain["constant noise"]) < 0.05


def test_the_printed_errors_are_ours_and_scikit_learns_lasso_is_run_to_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(map_priors, "NUM_DRAWS", 100)
    calls = caught(monkeypatch, map_priors, "table_row")
    assert is_figure(map_priors.main(tmp_path))
    rows = dict(calls)
    for name, (train, test, nonzero) in listings.SPARSE.items():
        fit, tight = rows[name], map_priors.scikit_learn(name)
        tolerance = 0.02 if "Lasso" in name else 1e-9  # the printed lasso stopped early
        assert abs(fit.rmse(map_priors.TRAIN) - train) < tolerance and abs(fit.rmse(map_priors.TEST) - test) < tolerance
        assert np.sum(fit.weight != 0) == nonzero
        np.testing.assert_allclose(fit.weight, tight.weight, rtol=0, atol=1e-6)
    assert np.all(rows["posterior mean, prior of Lasso 1"].weight != 0)


def test_one_weight_under_a_laplace_prior_is_two_truncated_normals():
    one = sparsity.one_weight(sparsity.PRIORS["Laplace"])
    y, sides = sparsity.SEEN, []
    for sign in (-1, 1):  # exp(−|w| − (y − w)²/2) on one side: a normal of mean y − sign, cut off at 0
        mean = y - sign
        log_mass = 0.5 * mean**2 + stats.norm.logcdf(sign * mean)
        cut = stats.truncnorm(-np.inf if sign < 0 else -mean, -mean if sign < 0 else np.inf, loc=mean)
        sides.append((np.exp(log_mass), cut))
    total = sum(mass for mass, _ in sides)
    assert abs(one.mean - sum(mass * cut.mean() for mass, cut in sides) / total) < 1e-10
    assert abs(sum(mass * cut.cdf(one.median) for mass, cut in sides) / total - 0.5) < 1e-10
    assert one.mode == 0 and one.atom == 0 and one.near(1e-9) < 2e-9 and one.median > 0.1


def test_the_spike_has_an_atom_and_heavy_tails_have_no_zero():
    spike, heavy = (sparsity.one_weight(sparsity.PRIORS[name]) for name in ("spike and slab", "Student-t, 3 df"))
    at_zero, slab = stats.norm.pdf(sparsity.SEEN), stats.norm.pdf(sparsity.SEEN, scale=3**0.5)
    assert abs(spike.atom - at_zero / (at_zero + slab)) < 1e-10 and spike.median == 0
    assert abs(spike.near(sparsity.EDGE) - 1) < 1e-10
    assert heavy.mode > 0.1 and heavy.atom == 0


def test_no_draw_is_zero_where_the_mode_is(tmp_path, monkeypatch):
    monkeypatch.setattr(sparsity, "NUM_DRAWS", 200)
    monkeypatch.setattr(sparsity, "NUM_WARMUP", 100)
    calls = caught(monkeypatch, sparsity, "print_table")
    assert is_figure(sparsity.main(tmp_path))
    many = calls[0][1]
    assert np.sum(many.mode == 0) == 23 and many.zeros == 0 and np.all(many.mean != 0) and np.all(many.median != 0)


def test_evidence_is_that_of_the_marginal_normal_and_its_grid_finds_the_maximum():
    x, y = evidence.design(np.linspace(-1, 1, 12)), np.sin(np.arange(12.0))
    found = np.asarray(evidence.log_evidences(x, y, evidence.TRIED))
    for degree in (0, 3, 8):
        kept = x[:, : degree + 1]
        marginal = stats.multivariate_normal(np.zeros(12), evidence.SD**2 * np.eye(12) + kept @ kept.T)
        assert abs(found[degree, 0] - marginal.logpdf(y)) < 1e-8
    marginal = lambda tau: stats.multivariate_normal(
        np.zeros(12), evidence.SD**2 * np.eye(12) + tau**2 * x[:, :4] @ x[:, :4].T
    )
    best = minimize_scalar(lambda log: -marginal(np.exp(log)).logpdf(y), bounds=(-3, 3), method="bounded").x
    spacing = evidence.TRIED[2] / evidence.TRIED[1]
    assert 1 / spacing < evidence.TRIED[found[3].argmax()] / np.exp(best) < spacing


def test_the_exact_logistic_evidence_is_scipys():
    x, y = np.array([0.3, -1.2, 2.0, 0.7]), np.array([1.0, 0.0, 1.0, 0.0])
    prior = stats.norm(0, evidence.PRIOR_SCALE)
    joint = lambda w: prior.pdf(w) * np.prod(1 / (1 + np.exp(-(2 * y - 1) * x * w)))
    expected = np.log(integrate.quad(joint, -20, 20, epsabs=0, epsrel=1e-12)[0])
    assert abs(evidence.exact_logistic(x[:, None], y) - expected) < 1e-8


def test_evidence_picks_the_truth_and_likelihood_the_largest(tmp_path, monkeypatch):
    monkeypatch.setattr(evidence, "NUM_SETS", 10)
    monkeypatch.setattr(evidence, "NUM_LOGISTIC", 2)
    monkeypatch.setattr(evidence, "SIZES", (20, 80))
    calls = caught(monkeypatch, evidence, "print_table")
    assert is_figure(evidence.main(tmp_path))
    fits, laplace_error, network = calls[0]
    assert np.all(np.diff(fits.likelihood, axis=1) > -1e-9) and np.all(fits.likelihood.argmax(1) == 8)
    assert np.mean(fits.evidence.argmax(1) == 3) > 0.5
    assert np.all(np.abs(laplace_error[:, 1]).mean(-1) < 0.5 * np.abs(laplace_error[:, 0]).mean(-1))
    assert network["mean-field"] < network["full-rank"] < network["exact"] - np.log(2) + 0.02


def test_optimisers_end_where_the_closed_forms_say(tmp_path, monkeypatch):
    found, keep = [], optimisers_and_priors.compare
    monkeypatch.setattr(optimisers_and_priors, "compare", lambda key: found.extend(keep(key)) or found)
    assert is_figure(optimisers_and_priors.main(tmp_path))
    gaps = {(run, against): gap for run, against, gap in found}
    mode, null = "mode under N(0, 1/Nδ)", "P_null w₀ + X⁺y"
    assert gaps["Adam, δ in the gradient", mode] < 1e-8
    assert gaps["gradient descent, δ beside the step", mode] < 1e-8
    assert gaps["AdamW, δ = 0.1", mode] > 0.1 and gaps["AdamW, δ = 0.1", "least squares, no prior"] < 1e-3
    assert gaps["gradient descent, every step", "Σ vᵢ fᵢ vᵢᵀ w"] < 1e-10
    for t in optimisers_and_priors.STOPS:
        assert gaps[f"gradient descent, {t} steps", "ridge with λᵢ = sᵢ²(1 − fᵢ)/fᵢ"] < 1e-10
        assert gaps[f"gradient descent, {t} steps", "nearest ridge of one λ (relative)"] > 1e-3
    assert gaps["the same, 3 steps, all sᵢ equal", "nearest ridge of one λ (relative)"] < 1e-7
    assert gaps["10 rows, 30 weights: gradient descent", null] < 1e-8
    assert gaps["10 rows, 30 weights: Adam", null] > 0.1 and gaps["10 rows, 30 weights: Adam", "X w = y"] < 1e-8
