"""Stored long runs: the files are whole and consistent, the network on trial is the one that was sampled, chains that
did not mix make no reference, and a fresh run agrees."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from probjax import target
from verification.exact import long_runs as chains
from verification.exact.mlp_density import log_density_and_grad, unpacked
from verification.exact.reference import LEVELS
from verification.problems import PROBLEMS, long_run, long_runs

NAMES = list(long_runs.PROBLEMS)


@pytest.fixture(scope="module")
def problems():
    return {name: PROBLEMS[name]() for name in NAMES}


@pytest.fixture(scope="module")
def setups():
    return {name: long_runs.SETUPS[name]() for name in NAMES}


@pytest.fixture(scope="module")
def records():
    return {name: json.loads(long_runs.stored(name).read_text())["run"] for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_the_stored_answer_has_a_query_for_every_name_and_is_a_distribution(name, problems, setups):
    r, num = problems[name].reference, len(setups[name].names)
    assert r.names == setups[name].names and len(set(r.names)) == num
    assert r.mean.shape == r.sd.shape == (num,) and r.corr.shape == (num, num) and r.quantiles.shape == (9, num)
    assert r.num_new == len(setups[name].new_y) and np.isfinite(r.log_predictive)
    assert np.all(r.sd > 0) and np.all(np.diff(r.quantiles, axis=0) > 0)
    np.testing.assert_array_equal([r.q05, r.q95], r.quantiles[[1, 7]])
    np.testing.assert_array_equal(r.corr, r.corr.T)
    assert np.linalg.eigvalsh(r.corr).min() > -1e-6 and np.all(np.diag(r.corr) == 1)  # rounded to 7 decimals
    chances = [k for k, query in enumerate(r.names) if query.startswith("p(")]
    assert np.all((r.quantiles[:, chances] > 0) & (r.quantiles[:, chances] < 1))


@pytest.mark.parametrize("name", NAMES)
def test_certificates_state_the_largest_standard_error_and_both_samplers_mixed(name, problems, records):
    r, record = problems[name].reference, records[name]
    errors, second = record["standard_errors"], record["standard_errors_second"]
    largest = max(np.max(np.array(errors[field]) / r.sd) for field in ("mean", "sd", "quantiles"))
    assert r.certificate.error == pytest.approx(largest, rel=1e-3) and r.certificate.error < 0.01
    assert not r.certificate.exact and r.certificate.predictive_error == pytest.approx(
        errors["log_predictive"], rel=1e-3
    )
    assert len(record["rhat"]) == 2 and max(record["rhat"].values()) < chains.MOST_RHAT
    assert record["largest_z"] < stats.norm.isf(chains.FALSE_ALARM / (2 * record["num_differences"]))
    gap, both = np.diff(record["log_predictive"])[0], np.hypot(errors["log_predictive"], second["log_predictive"])
    assert abs(gap) < 4 * both
    reach = record["largest_z"] * np.hypot(r.certificate.error, np.max(np.array(second["quantiles"]) / r.sd))
    assert 0 < r.certificate.agreement < reach


def test_differences_have_the_mean_and_variance_that_their_parts_imply(problems, setups):
    """To the stored decimals: E[f − g] = E f − E g, and the covariance of linear queries is P Σ Pᵀ."""
    r, probes = problems["diabetes_network"].reference, setups["diabetes_network"].probes
    np.testing.assert_allclose(r.mean, probes @ r.mean[:7], atol=1e-6)
    covariance = r.corr * np.outer(r.sd, r.sd)
    np.testing.assert_allclose(covariance, probes @ covariance[:7, :7] @ probes.T, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_network_on_trial_is_the_network_that_was_sampled(name, problems, setups):
    """Log joint, its gradient, queries and held-out rows, against NumPy's own."""
    problem, setup = problems[name], setups[name]
    flat = np.random.default_rng(5).standard_normal((4, len(setup.net.prior_sd))) * setup.net.prior_sd
    w, b, a, c = (jnp.asarray(part) for part in unpacked(setup.net, flat))
    params = ({"weight": w, "bias": b}, {"weight": a, "bias": c})

    def everything(p):
        log_joint, grad = jax.value_and_grad(lambda p: target(problem.model).log_joint(p, problem.data))(p)
        (first, last) = grad
        parts = first["weight"], first["bias"], last["weight"], last["bias"]
        return log_joint, jnp.concatenate([part.ravel() for part in parts]), problem.query(p), problem.log_new(p)

    got = jax.jit(jax.vmap(everything))(params)
    expected = (*log_density_and_grad(setup.net, flat), *setup.second_queries(flat))
    for ours, theirs in zip(got, expected):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-9)


def test_rank_normalised_rhat_is_the_larger_of_location_and_scale_by_the_formula():
    values = np.random.default_rng(0).standard_normal((3, 8, 2)) ** 3

    def split(each):
        scores = stats.norm.ppf((stats.rankdata(each) - 0.375) / (each.size + 0.25)).reshape(6, 4)
        within = np.mean([np.var(half, ddof=1) for half in scores])
        return np.sqrt(3 / 4 + np.var([half.mean() for half in scores], ddof=1) / within)

    expected = [max(split(v), split(np.abs(v - np.median(v)))) for v in np.moveaxis(values, 2, 0)]
    np.testing.assert_allclose(chains.rank_normalised_rhat(values), expected, rtol=1e-12)


def test_rhat_sees_a_shifted_a_wider_and_a_drifting_chain_and_passes_heavy_tails():
    rng = np.random.default_rng(1)
    same = rng.standard_cauchy((16, 1000, 1))
    shifted, wider, drifting = (rng.standard_normal((16, 1000, 1)) for _ in range(3))
    shifted[0] += 1
    wider[0] *= 3
    drifting += np.linspace(0, 1, 1000)[:, None]
    rhat = chains.rank_normalised_rhat(np.concatenate([same, shifted, wider, drifting], 2))
    assert rhat[0] < chains.MOST_RHAT < rhat[1:].min()


def made(rng, loc=0.0, num_chains=32):
    """Four uncorrelated standard normals and the log of a lognormal weight."""
    queries = loc + rng.standard_normal((num_chains, 100, 4))
    return chains.Run(queries, rng.standard_normal((num_chains, 100)), "a sampler")


def test_standard_errors_cover_at_their_nominal_rate():
    """600 runs of 8 chains: |z| exceeds t₇'s 5% point in 5% of them, counts within binomial bounds at 1e-6 each."""
    rng, num = np.random.default_rng(2), 600
    truth = {"mean": 0.0, "sd": 1.0, "log_predictive": 0.5, "quantiles": stats.norm.ppf(0.5)}
    exceeded = dict.fromkeys(truth, 0)
    for _ in range(num):
        pooled, errors = chains.summaries(made(rng, num_chains=8))
        for field, exact in truth.items():
            pick = (lambda v: v[4, 0]) if field == "quantiles" else (lambda v: np.ravel(v)[0])
            exceeded[field] += abs(pick(pooled[field]) - exact) > stats.t.ppf(0.975, 7) * pick(errors[field])
    low, high = stats.binom.ppf([5e-7, 1 - 5e-7], num, 0.05)
    assert all(low <= count <= high for count in exceeded.values()), exceeded


def test_two_samplers_of_one_distribution_make_a_reference_and_others_do_not():
    rng, names = np.random.default_rng(3), tuple("abcd")
    first, second = made(rng), made(rng)._replace(name="another")
    reference, record = chains.judged(names, 2, first, second)
    pooled, errors = chains.summaries(first)
    assert reference.log_predictive == pooled["log_predictive"] and reference.num_new == 2
    assert reference.certificate.error == max(np.max(errors[f] / pooled["sd"]) for f in ("mean", "sd", "quantiles"))
    assert record["num_differences"] == 4 + 4 + 36 + 6 + 1
    with pytest.raises(ArithmeticError, match=r"a sampler and a sampler differ by .* standard errors, at most 4"):
        chains.judged(names, 2, first, made(rng, 0.2))
    wrong_rows = second._replace(log_new=second.log_new + 0.3)
    with pytest.raises(ArithmeticError, match="a sampler and another differ"):
        chains.judged(names, 2, first, wrong_rows)
    first.queries[0] += 2
    with pytest.raises(ArithmeticError, match=r"a sampler: the chains disagree .* run longer"):
        chains.judged(names, 2, first, second)
    stuck = second._replace(queries=np.full_like(second.queries, np.nan))
    with pytest.raises(ArithmeticError, match="another: the chains disagree"):
        chains.judged(names, 2, made(rng), stuck)


def test_a_damaged_or_missing_file_is_refused_with_the_cure(tmp_path, problems):
    reference, path = problems["diabetes_network"].reference, tmp_path / "diabetes_network_long_run.json"
    chains.write_reference(path, reference, {"rhat": {}})
    again = chains.read_reference(path)
    np.testing.assert_array_equal(again.quantiles, reference.quantiles)
    assert again.certificate == reference.certificate and again.names == reference.names
    path.write_text(path.read_text().replace(f"{reference.mean[0]}", f"{reference.mean[0] + 0.01:.7f}"))
    with pytest.raises(ValueError, match=r"not what was written .*; restore the file, or remake it with `python -m"):
        chains.read_reference(path)
    path.write_text("{}")
    with pytest.raises(ValueError, match="is not what was written"):
        chains.read_reference(path)
    with pytest.raises(ValueError, match="there is no stored long run of that name"):
        chains.read_reference(tmp_path / "none.json")


def test_an_unknown_long_run_is_refused_with_the_names():
    with pytest.raises(SystemExit, match="no long run 'digits'; there are breast_cancer, diabetes_network, digits_net"):
        long_run.main("digits")


def test_the_second_sampler_runs_on_every_stored_problem(monkeypatch):
    for name, (*_, step_size, path_length) in long_run.SECOND.items():
        monkeypatch.setitem(long_run.SECOND, name, (2, 1, step_size, path_length))
        queries, log_new = long_run._hmc_block(name, 0)
        assert queries.shape == (16, 2, len(long_run._problem(name)[1])) and log_new.shape == (16, 2)
        assert np.isfinite(queries).all() and np.isfinite(log_new).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_short_fresh_run_of_nuts_agrees_with_the_stored_answer(name, problems, records, monkeypatch):
    """Means, second moments, distribution functions at five levels and the predictive of 4 chains of 500 draws; false
    alarm 1e-4 a problem, by t of 40 batches of 50 draws, which are longer than the chains' memory."""
    monkeypatch.setitem(long_run.DRAWS, name, 500)
    monkeypatch.setattr(long_run, "WARMUP", 500)
    monkeypatch.setattr(long_run, "SEED", 77)
    long_run._nuts_program.cache_clear()
    runs = [long_run._nuts_chain(name, index) for index in range(4)]
    long_run._nuts_program.cache_clear()
    queries, log_new = (np.stack(values) for values in zip(*runs))
    r, record = problems[name].reference, records[name]["standard_errors"]
    standard = (queries - r.mean) / r.sd
    below = [queries <= r.quantiles[LEVELS.index(p)] for p in (0.05, 0.25, 0.5, 0.75, 0.95)]
    found = [standard, standard**2, *below, np.exp(log_new - r.log_predictive)[..., None]]
    exact = [0, 1, 0.05, 0.25, 0.5, 0.75, 0.95, 1]
    # the stored answer's own error; of a distribution function at most φ(0) times that of a quantile
    own = [r.certificate.error, 2 * r.certificate.error, *(5 * [0.4 * r.certificate.error]), record["log_predictive"]]
    z = []
    for values, value, error in zip(found, exact, own):
        batches = values.reshape(40, 50, -1).mean(1)
        z.append(np.abs(batches.mean(0) - value) / np.hypot(batches.std(0, ddof=1) / np.sqrt(40), error))
    z = np.concatenate(z)
    assert z.max() < stats.t.isf(1e-4 / (2 * z.size), 39)
