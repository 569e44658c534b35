"""The experiments on decisions under uncertainty: their parts are the closed forms, and each makes its table and
figure."""

import jax
import jax.numpy as jnp
import numpy as np
from experiment_parts import caught, is_figure
from scipy import integrate, special, stats

from experiments import aleatoric_vs_epistemic, label_smoothing_and_calibration, rejection
from probjax.forecasts import from_logits
from verification.work import build_problem


def test_far_is_three_times_as_far_from_the_mean():
    x = np.random.default_rng(0).standard_normal((120, 2))
    near, far = np.split(aleatoric_vs_epistemic.near_and_far(x), 2)
    assert len(near) == 40 and (near == x[::3]).all()
    assert np.allclose(far - x.mean(0), 3 * (near - x.mean(0)), rtol=0, atol=1e-12)


def test_exact_parts_of_a_gaussian_posterior_are_those_of_its_draws():
    problem = build_problem("linear", None)
    x = jnp.asarray(aleatoric_vs_epistemic.near_and_far(np.asarray(problem.data.x)))
    closed = aleatoric_vs_epistemic.exact_parts(np.random.default_rng(1), problem, x, False)
    drawn = aleatoric_vs_epistemic.exact_parts(np.random.default_rng(1), problem._replace(linear=None), x, False)
    assert np.abs(drawn[0] - 0.25).max() < 1e-12 and (closed[0] == 0.25).all()
    # a mean of variances has at most the relative sd √(2/S) of one; 5 of them: one false alarm in a million
    assert np.abs(drawn[1] / closed[1] - 1).max() < 5 * np.sqrt(2 / aleatoric_vs_epistemic.NUM_EXACT)


def test_exact_parts_of_a_beta_posterior_are_digammas(monkeypatch):
    """E H(p) = ψ(n + 1) − Σ (aₖ/n) ψ(aₖ + 1), p ~ Beta(a₁, a₂), n = a₁ + a₂."""
    monkeypatch.setattr(aleatoric_vs_epistemic, "NUM_EXACT", 400_000)
    problem = build_problem("beta_bernoulli", None)
    shapes = np.array([2.0, 19.0])
    n = shapes.sum()
    aleatoric = special.digamma(n + 1) - shapes @ special.digamma(shapes + 1) / n
    total = special.entr(shapes / n).sum()
    parts = aleatoric_vs_epistemic.exact_parts(np.random.default_rng(2), problem, problem.data.x[:2], True)
    entropy = lambda p: special.entr(p) + special.entr(1 - p)
    square = integrate.quad(lambda p: entropy(p) ** 2 * stats.beta.pdf(p, *shapes), 0, 1)[0]
    margin = 5 * np.sqrt((square - aleatoric**2) / 400_000)
    assert margin < 0.1 * (total - aleatoric)
    assert np.abs(parts[0] - aleatoric).max() < margin
    assert np.abs(parts.sum(0) - total).max() < margin  # the mean of p moves it less than that of H(p)


def test_a_point_has_no_epistemic_part_and_laplace_that_of_a_gaussian(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(aleatoric_vs_epistemic, "CASES", {"linear": ("linear", False)})
    monkeypatch.setattr(aleatoric_vs_epistemic, "NAMES", {"MAP": "map_estimate", "Laplace": "laplace"})
    monkeypatch.setattr(aleatoric_vs_epistemic, "NUM_KEYS", 2)
    calls = caught(monkeypatch, aleatoric_vs_epistemic, "print_table")
    assert is_figure(aleatoric_vs_epistemic.main(tmp_path))
    [case], found = calls[0]
    point, gaussian = found["linear", "MAP"], found["linear", "Laplace"]
    assert np.abs(point[:, 0] / 0.25 - 1).max() < 1e-12 and (point[:, 1] == 0).all()
    # 4000 draws a key; 5 sd, as above
    assert np.abs(gaussian[:, 1] / case.exact[1] - 1).max() < 5 * np.sqrt(2 / 4000)
    assert "epistemic, far" in capsys.readouterr().out


def fake_rows(rng, num=600):
    """Confidences that are right about how often, in hundredths so that many are equal."""
    probs = rng.dirichlet(np.full(8, 0.03), num).round(2)
    probs /= probs.sum(1, keepdims=True)
    y = np.array([rng.choice(8, p=row) for row in probs])
    return rejection.Rows(probs, y, {"8 and 9": rng.uniform(size=50)}, np.array([0.97, 0.95, 0.9, 0.8]))


def test_the_threshold_as_seen_is_the_lowest_that_kept_the_promise():
    for seed in range(5):
        rows = fake_rows(np.random.default_rng(seed), 200)
        confidence, errors = rows.confidence, rows.errors
        risk = lambda t, c=confidence, e=errors: e[c > t].mean() if (c > t).any() else 0.0
        found = rejection.as_seen(confidence, errors)
        assert risk(found) <= rejection.TARGET
        lower = [t for t in np.append(np.unique(confidence), -np.inf) if t < found]
        assert all(risk(t) > rejection.TARGET for t in lower)
    assert rejection.as_seen(np.ones(3), np.ones(3)) == np.inf
    assert rejection.as_seen(np.ones(3), np.zeros(3)) == -np.inf


def test_bounds_keep_their_promise_and_the_eye_does_not(monkeypatch):
    monkeypatch.setattr(rejection, "NUM_RESAMPLES", 100)
    rows = fake_rows(np.random.default_rng(0))
    kept = rejection.promises(np.random.default_rng(1), rows)
    broken = {rule: int((kept[rule].risk > rejection.TARGET).sum()) for rule in rejection.RULES}
    most = stats.binom.ppf(1 - 1e-6, 100, rejection.DELTA)  # false alarms: one in a million
    assert broken["bounds"] <= most and broken["sequence"] <= most < broken["as seen"]
    for own in kept.values():
        assert own.coverage.shape == own.risk.shape == own.unknown["8 and 9"].shape == (100,)
        risks = {float(rows.errors[rows.confidence > t].mean()) for t in np.unique(rows.confidence)[:-1]}
        risks |= {float(rows.errors.mean()), 0.0}
        assert all(min(abs(r - other) for other in risks) < 1e-12 for r in own.risk)


def test_sets_hold_the_classes_below_the_rank_of_the_calibration():
    rows = fake_rows(np.random.default_rng(3))
    size, coverage = rejection.set_sizes(jax.random.key(0), rows)["LAC"]
    first = rejection.NUM_CALIBRATION
    own = np.sort(rows.probs[np.arange(first), rows.y[:first]])[::-1]
    least = own[int(np.ceil((first + 1) * (1 - rejection.ALPHA))) - 1]
    rest, labels = rows.probs[first:], rows.y[first:]
    assert abs(size - (rest >= least - 1e-12).sum(1).mean()) < 1e-12
    assert abs(coverage - (rest[np.arange(len(rest)), labels] >= least - 1e-12).mean()) < 1e-12


def test_rejection_makes_its_table_and_figure(tmp_path, monkeypatch, capsys):
    """Distances from the class means stand for the networks."""

    def logits_of_all(key, data, x):
        labels = jax.nn.one_hot(data.y, 8)
        means = labels.T @ data.x / labels.sum(0)[:, None]
        f = -jnp.sum((x[:, None] - means) ** 2, axis=-1)
        draws = f + jax.random.normal(key, (3, *f.shape))
        return {"MAP": f[None], "dropout": draws, "ensemble": draws, "SWAG": draws}

    monkeypatch.setattr(rejection, "logits_of_all", logits_of_all)
    monkeypatch.setattr(rejection, "inverse_temperature", lambda logits, y: jnp.asarray(0.5))
    monkeypatch.setattr(rejection, "NUM_SPLITS", 2)
    monkeypatch.setattr(rejection, "NUM_RESAMPLES", 5)
    calls = caught(monkeypatch, rejection, "print_table")
    assert is_figure(rejection.main(tmp_path))
    found = calls[0][0]
    assert list(found) == list(rejection.METHODS) and all(len(splits) == 2 for splits in found.values())
    plain, warm = (found[name][0].rows for name in rejection.METHODS[:2])
    assert (plain.errors == warm.errors).all() and np.abs(plain.confidence - warm.confidence).max() > 0.01
    assert "ensemble" in capsys.readouterr().out


def test_worth_is_what_numpy_says():
    rng = np.random.default_rng(4)
    logits, y = rng.standard_normal((50, 8)), rng.integers(0, 8, 50)
    found = label_smoothing_and_calibration.worth(from_logits(logits), y)
    probs = special.softmax(logits, axis=1)
    right = probs.argmax(1) == y
    assert abs(found.error - (1 - right.mean())) < 1e-12
    assert abs(found.signed - (probs.max(1).mean() - right.mean())) < 1e-12
    assert abs(found.log_loss + np.log(probs[np.arange(50), y]).mean()) < 1e-12
    wrong = 1.0 - right[np.argsort(-probs.max(1))]
    assert abs(found.area - np.mean(np.cumsum(wrong) / np.arange(1, 51))) < 1e-12


def test_an_interval_is_students():
    values = np.random.default_rng(5).standard_normal((7, 2))
    mean, half = label_smoothing_and_calibration.interval(values)
    low, high = stats.t.interval(0.95, 6, loc=values.mean(0), scale=stats.sem(values))
    assert np.abs(mean - half - low).max() < 1e-12 and np.abs(mean + half - high).max() < 1e-12


def test_smoothing_lowers_confidence_and_a_temperature_takes_it_back(tmp_path, monkeypatch, capsys):
    module = label_smoothing_and_calibration
    for name, value in (("NUM_SEEDS", 2), ("EPSILONS", (0.0, 0.4)), ("NUM_STEPS", 100)):
        monkeypatch.setattr(module, name, value)
    calls = caught(monkeypatch, module, "print_table")
    assert is_figure(module.main(tmp_path))
    found = calls[0][0]
    assert found.warmth.shape == found.before.error.shape == (2, 2)
    assert (found.before.signed[:, 1] < -0.2).all() and (found.warmth[:, 1] < 0.8).all()
    assert np.abs(found.after.signed).max() < 0.1
    assert (found.after.error == found.before.error).all()  # a temperature moves no decision
    assert (found.after.log_loss[:, 1] < found.before.log_loss[:, 1]).all()
    assert "AURC" in capsys.readouterr().out
