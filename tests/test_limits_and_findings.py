"""Predicted flaws are the numbers of their theorems; recorded ones are guarded in both directions."""

import json

import numpy as np
import pytest

from verification import findings
from verification.limits import limit_for
from verification.limits.dropout import _expected_quantile, adaptive_ridge
from verification.methods import METHODS
from verification.types import Verdict
from verification.work import build_problem

MASKED = np.array([True, True, False])  # dropout spares the bias


@pytest.fixture(scope="module")
def linear():
    return build_problem("linear", None)


def test_mean_field_limit_minimises_the_kl_divergence(linear):
    """KL(N(m, D) ‖ N(m, Λ⁻¹)) = ½(Σ Λᵢᵢdᵢ − Σ log dᵢ) + const: any other diagonal is worse."""
    precision = linear.linear.posterior[1]
    kl = lambda d: 0.5 * (np.diag(precision) @ d - np.log(d).sum())
    best = limit_for(METHODS["mean_field"], linear).reference.sd[:3] ** 2
    for factor in (0.9, 1.1):
        for k in range(3):
            assert kl(best * np.where(np.arange(3) == k, factor, 1.0)) > kl(best)


def test_dropout_limit_is_the_distribution_of_simulated_masks(linear):
    s, rng, keep = linear.linear, np.random.default_rng(0), 0.9
    reference = limit_for(METHODS["dropout"], linear).reference
    masks = np.where(MASKED, rng.binomial(1, keep, (200_000, 3)) / keep, 1.0)
    values = (masks * adaptive_ridge(s, keep)) @ s.queries.T
    error = values.std(0) / np.sqrt(len(values)) + 1e-13
    assert np.all(np.abs(values.mean(0) - reference.mean) < 5 * error)
    square = (values - reference.mean) ** 2
    assert np.all(np.abs(square.mean(0) - reference.sd**2) < 5 * square.std(0) / np.sqrt(len(values)) + 1e-13)
    w, x = adaptive_ridge(s, keep), s.queries[3]  # f(1, 1): variance (1 − q)/q Σ w²x² over the masked inputs
    assert reference.sd[3] ** 2 == pytest.approx((1 - keep) / keep * np.sum((w * x)[MASKED] ** 2), rel=1e-12)


def test_adaptive_ridge_minimises_the_expected_loss(linear):
    s, keep = linear.linear, 0.9
    masks = np.array([[a, b, keep] for a in (0, 1) for b in (0, 1)]) / keep
    weights = np.prod(np.where(masks[:, :2] > 0, keep, 1 - keep), axis=1)

    def loss(w):
        residual = s.y - (masks * w) @ s.design.T
        return 0.5 * weights @ (residual**2).sum(1) / s.noise_scale**2 + 0.5 * w @ w / s.prior_scale**2

    best = adaptive_ridge(s, keep)
    gradient = [(loss(best + h) - loss(best - h)) / 2e-5 for h in 1e-5 * np.eye(3)]
    np.testing.assert_allclose(gradient, 0, atol=1e-5)


def test_expected_sample_quantile_of_a_discrete_distribution_is_that_of_simulated_samples():
    from verification.checks.summaries import _quantiles

    values, weights = np.array([[0.0], [1.0], [4.0]]), np.array([0.049, 0.9, 0.051])
    rng = np.random.default_rng(0)
    samples = rng.choice(values[:, 0], p=weights, size=(3000, 1, 4000))
    q05, q95 = _quantiles(samples)
    for p, found in ((0.05, q05), (0.95, q95)):
        expected = _expected_quantile(values, weights, p, 4000)[0]
        assert abs(found.mean() - expected) < 5 * found.std() / np.sqrt(3000)


def test_limits_exist_only_where_their_theorem_holds(linear):
    network = build_problem("network_one_unit", None)
    assert limit_for(METHODS["mean_field"], network) is None and limit_for(METHODS["dropout"], network) is None
    assert limit_for(METHODS["ensemble"], network) is None  # several modes are possible
    assert limit_for(METHODS["nuts"], linear) is None and limit_for(METHODS["laplace"], linear) is None
    assert (
        limit_for(METHODS["map_estimate"], network).reference.mean is None
    )  # no number for the mean without a Gaussian


def verdict(error, outcome="fail", method="laplace", tolerance=0.05, se=0.001):
    errors = {"a": (error, se), "b": (0.0, se)}
    return Verdict("p", method, "mean", "a", error, 0.004, tolerance, outcome, "no", "", 32, errors)


def test_a_finding_is_expected_while_its_number_holds_and_only_then(tmp_path):
    path = tmp_path / "findings.json"
    assert findings.record([verdict(0.3)], path) == 1
    recorded = findings.load(path)
    assert findings.compare(verdict(0.302), recorded).expected == "measured"
    for departed in (0.4, 0.2):
        found = findings.compare(verdict(departed), recorded)
        assert found.expected == "no" and "departs from the recorded finding: a" in found.reason
    better = findings.compare(verdict(0.0, "pass"), recorded)
    assert better.outcome == "error" and "departs" in better.reason  # a flaw that vanished is news too
    assert findings.compare(verdict(-0.3), recorded).expected == "no"


def test_noise_that_has_grown_tenfold_is_news_and_less_of_it_is_told(tmp_path):
    path = tmp_path / "findings.json"
    findings.record([verdict(0.3)], path)
    recorded = findings.load(path)
    assert findings.compare(verdict(0.3, se=0.0025), recorded).expected == "measured"
    assert findings.compare(verdict(0.3, se=0.009)._replace(num_replications=4), recorded).expected == "noisy"
    found = findings.compare(verdict(0.3, se=0.02), recorded)
    assert found.expected == "no" and "differ more than they did" in found.reason


def test_a_record_too_noisy_to_show_its_flaw_gone_says_so(tmp_path):
    """Recorded with a standard error of 0.3: at 32 keys a window of 2.4 about an error of 1 excludes nothing."""
    path = tmp_path / "findings.json"
    findings.record([verdict(1.0, se=0.3)], path)
    assert findings.compare(verdict(1.2, se=0.3), findings.load(path)).expected == "noisy"
    findings.record([verdict(5.0, se=0.3)], path)
    assert findings.compare(verdict(5.2, se=0.3), findings.load(path)).expected == "measured"


def test_a_recorded_fail_that_drifts_to_unresolved_is_news_and_a_contradiction_of_a_theorem_is_never_recorded(tmp_path):
    path = tmp_path / "findings.json"
    findings.record([verdict(0.3)], path)
    assert findings.compare(verdict(0.05, "unresolved"), findings.load(path)).outcome == "error"
    assert findings.compare(verdict(0.3, "unresolved"), findings.load(path)).outcome == "unresolved"
    assert findings.record([verdict(0.3)._replace(contradicts=True)], path) == 0 and not findings.load(path)
    assert findings.record([verdict(0.3, method="my_file:mine")], path) == 0


def test_a_query_that_is_not_the_worst_is_guarded_too(tmp_path):
    path = tmp_path / "findings.json"
    findings.record([verdict(0.3)], path)
    moved = verdict(0.3)
    moved = moved._replace(errors={**moved.errors, "b": (0.2, 0.001)})
    assert findings.compare(moved, findings.load(path)).expected == "no"


def test_nothing_excuses_a_stranger_nor_an_exact_method_but_where_its_chains_cannot_pass(tmp_path):
    path = tmp_path / "findings.json"
    assert findings.record([verdict(0.3, method="nuts")], path) == 0
    findings.record([verdict(0.3)], path)
    assert findings.compare(verdict(0.3, method="nuts"), findings.load(path)).expected == "no"
    elsewhere = [verdict(0.3, method=m)._replace(problem="funnel") for m in ("nuts", "my_file:mine")]
    assert findings.record(elsewhere, path) == 1  # where no chain of NUTS comes through
    assert findings.compare(elsewhere[0], findings.load(path)).expected == "measured"
    result = {"task": {"stranger": True}, "verdicts": [verdict(0.3)._asdict()]}
    assert findings.compared(result, findings.load(path)) == result


def test_a_recording_of_some_cells_keeps_the_others(tmp_path):
    path = tmp_path / "findings.json"
    findings.record([verdict(0.3), verdict(0.3)._replace(problem="q")], path)
    findings.record([verdict(0.0, "pass")], path)
    assert set(json.loads(path.read_text())) == {"q/laplace/mean"}


def test_draws_that_were_not_finite_are_a_finding_of_their_own(tmp_path):
    path = tmp_path / "findings.json"
    broken = verdict(float("nan"))._replace(errors={})
    findings.record([broken], path)
    assert findings.compare(broken, findings.load(path)).expected == "measured"
    assert findings.compare(verdict(0.3), findings.load(path)).expected == "no"


def test_the_committed_record_names_only_problems_and_methods_that_exist():
    from verification.posteriordb import PORTS
    from verification.problems import PROBLEMS

    for name in findings.load():
        problem, method, _ = name.split("/")
        assert problem in {**PROBLEMS, **PORTS}
        assert not METHODS[method].exact or problem in findings.NOT_CROSSED
    assert set(findings.NOT_CROSSED) <= set(PROBLEMS)


def test_a_recording_at_the_default_budget_adds_to_that_of_the_full_one_and_never_replaces_it(tmp_path):
    path = tmp_path / "findings.json"
    findings.record([verdict(0.3)], path)
    coarse = [verdict(0.2), verdict(0.4, method="swag")]
    assert findings.record(coarse, path, level="default") == 1
    recorded = findings.load(path)
    assert recorded["p/laplace/mean"]["errors"]["a"][0] == 0.3 and recorded["p/swag/mean"]["level"] == "default"
    findings.record([verdict(0.5, method="swag")], path)
    assert findings.load(path)["p/swag/mean"]["level"] == "full"


def test_no_number_and_other_queries_depart_from_any_record(tmp_path):
    path = tmp_path / "findings.json"
    findings.record([verdict(0.3)], path)
    recorded = findings.load(path)
    for errors in (
        {"a": (float("nan"),) * 2, "b": (0.0, 0.001)},
        {"a": (-float("inf"), float("nan")), "b": (0.0, 0.001)},
    ):
        assert findings.compare(verdict(0.3)._replace(errors=errors), recorded).expected == "no"
    another = {"a": (0.3, 0.001), "b": (0.0, 0.001), "c": (0.9, 0.001)}
    found = findings.compare(verdict(0.3)._replace(errors=another), recorded)
    assert found.expected == "no" and "queries" in found.reason


def test_open_cells_of_an_exact_method_are_counted_by_themselves():
    from verification.report import Outcome, complaints

    cells = [verdict(0.0, "pass")] * 200 + [verdict(0.0, "unresolved", method="nuts")] * 2
    outcome = Outcome(["laplace", "nuts"], ["p"], cells, {}, {}, [], {}, 0, 0.02, 1.0, 0, "default")
    assert complaints(outcome) == ["2 of 2 applicable cells of exact methods are unresolved, not as recorded"]
    assert complaints(outcome._replace(verdicts=cells[:200])) == []
