"""The report on a user's own predictions, and the experiments on calibration, run small."""

import jax.numpy as jnp
import numpy as np
import pytest
from experiment_parts import is_figure
from scipy.special import expit

from experiments import brier_decomposition, calibrate, calibration_methods, rare_disease, reliability
from experiments.calibration_report import data_caveats, measure
from experiments.calibration_trials import Fit, best_of, calibrators, recommend, try_all
from experiments.prediction_files import Predictions, read_predictions
from probjax import scores
from probjax.forecasts import from_logits, from_probs
from probjax.recalibration import Assessment, Change, temperature


def too_bold(num_rows=600, factor=2.0):
    rng = np.random.default_rng(0)
    z = 2 * rng.standard_normal(num_rows)
    return factor * z, (rng.uniform(size=num_rows) < expit(z)).astype(int)


def csv(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_command_reports_on_files(tmp_path, capsys):
    logits, labels = too_bold()
    np.save(tmp_path / "logits.npy", logits)
    csv(tmp_path / "labels.csv", "id,outcome", *(f"a{i},{label}" for i, label in enumerate(labels)))
    files = ["--logits", str(tmp_path / "logits.npy"), "--labels", str(tmp_path / "labels.csv")]
    calibrate.command([*files, "--label-column", "outcome", "--out", str(tmp_path / "out")])
    shown, report = capsys.readouterr().out, (tmp_path / "out" / "report.md").read_text()
    assert is_figure(tmp_path / "out" / "calibrate.png")
    order = np.asarray(measured_order(600))
    expected = temperature(from_logits(logits[order[:300]]), labels[order[:300]]).params.inverse_temperature
    assert f"Use temperature {1 / float(expected):.3g}:" in shown
    assert "too bold: it divides logits by" in report and "[a, b), the last [a, b]" in report
    mean = float(np.mean(np.logaddexp(0, np.where(labels == 1, -logits, logits))))
    assert f"| log score | {mean:.4f} | " in report


def measured_order(num_rows, seed=0):
    import jax

    return jax.random.permutation(jax.random.split(jax.random.key(seed), 3)[2], num_rows)


def test_many_classes_have_their_own_lines():
    rng = np.random.default_rng(1)
    z = rng.standard_normal((90, 3))
    labels = np.argmax(z + rng.gumbel(size=z.shape), axis=1)
    report = measure(Predictions(from_logits(z), labels, ("0", "1", "2"), ()), seed=0)
    named = [row.what for row in report.rows]
    assert {"classwise error", "calibration error, most likely class"} <= set(named)
    assert report.event == "the most likely class is right" and "vector scaling" in calibrators(3)
    assert report.recommendation[0].startswith("Too few rows")


BAD = [
    ("p\n0.2\n1.7\n", "y\n0\n1\n", ["probs.csv", "1.7 in line 3, column 'p'", "--logits"]),
    ("0.2\nnan\n", "0\n1\n", ["1 are NaN or empty", "remove those rows"]),
    ("0.2\n0.4\n", "0\n1\n1\n", ["labels.csv", "3 labels for 2 rows of", "probs.csv"]),
    ("0.5,0.4\n0.5,0.5\n", "0\n1\n", ["rows must sum to 1", "line 1 sums to 0.9, off by 0.1"]),
    ("0.5,0.5\n0.5,0.5\n", "label\ncat\ndog\n", ["'cat'", "not guessed"]),
    ("p,q\n0.5,0.5\n0.5,0.5\n", "label\ncat\ndog\n", ["'cat'", "columns p, q"]),
    ("0.2\n0.4\n", "0\n2\n", ["'2' (and 0 more) is no class number 0 … 1"]),
    ("0.2\n0.4\n", "y\n0\nnan\n", ["1 of 2 labels are absent", "line 3"]),
    ("0.2\n \n0.4\n", "0\n1\n", ["line 2 is blank", "of both files"]),
    ("1\n0.4\n0.2\n", "0\n1\n", ["line 1 is '1', the only line of whole numbers", "--header or --no-header"]),
    ("0.5,0.5\n0.5,0.5\n", "0\n1\n0\n", ["if its first line, '0', is the name of the column, say --header"]),
    ("a,b\n0.5,0.5\n0.5,0.5\n", "c\na\n", ["its first line, 'c', was taken for the name", "--no-header"]),
    ("id,p\n7,0.2\n9,0.4\n", "0\n1\n", ["7 in line 2, column 'id'", "the other columns are probabilities"]),
    ("id,p\na,0.2\nb,0.4\n", "0\n1\n", ["'a' in line 2, column 'id'", "--column NAME"]),
    ("0.2\n0.4\n", "0,1\n1,0\n", ["labels.csv", "2 columns", "--label-column"]),
    ("", "0\n1\n", ["probs.csv", "empty"]),
    ("0.2,0.8\n0.4\n", "0\n1\n", ["line 2 has 1 cells but line 1 has 2"]),
]


@pytest.mark.parametrize(("probs", "labels", "told"), BAD)
def test_bad_files_end_with_status_2_and_a_cure(tmp_path, capsys, probs, labels, told):
    (tmp_path / "probs.csv").write_text(probs)
    (tmp_path / "labels.csv").write_text(labels)
    with pytest.raises(SystemExit) as end:
        calibrate.command(["--probs", str(tmp_path / "probs.csv"), "--labels", str(tmp_path / "labels.csv")])
    message = capsys.readouterr().err
    assert end.value.code == 2 and [part for part in told if part not in message] == []


def test_parquet_without_its_package_names_the_cure(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    path = csv(tmp_path / "p.parquet", "")
    with pytest.raises(SystemExit):
        calibrate.command(["--probs", str(path), "--labels", str(path)])
    assert "pip install pandas pyarrow" in capsys.readouterr().err


def test_names_of_columns_say_which_class_a_label_is(tmp_path):
    probs = csv(tmp_path / "p.csv", "truth,dog,cat", "dog,0.7,0.3", "cat,0.2,0.8")  # not in the alphabet's order
    found = read_predictions(probs, probs, label_column="truth")
    assert found.labels.tolist() == [0, 1] and found.classes == ("dog", "cat")
    bare = csv(tmp_path / "y.csv", "cat", "dog")  # no header: its first line is a class
    assert read_predictions(probs, bare, columns=("cat", "dog")).labels.tolist() == [0, 1]


def test_npz_columns_are_chosen_by_name_and_rounded_rows_divided(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.array([0.3333, 0.5]), b=np.array([0.6666, 0.5]), y=np.array([1.0, 0.0]))
    found = read_predictions(tmp_path / "a.npz", tmp_path / "a.npz", label_column="y")
    np.testing.assert_allclose(found.forecast.probs[0], [1 / 2.9997 * 0.9999, 2 / 3], rtol=2e-4)
    assert found.labels.tolist() == [1, 0] and "divided by its sum" in " ".join(found.said)


def test_logits_that_look_like_probabilities_are_told(tmp_path):
    np.save(tmp_path / "p.npy", np.array([0.2, 0.7]))
    np.save(tmp_path / "y.npy", np.array([False, True]))
    found = read_predictions(tmp_path / "p.npy", tmp_path / "y.npy", logits=True)
    assert "pass --probs" in " ".join(found.doubts) and found.labels.tolist() == [0, 1]
    report = measure(found, seed=0)
    assert "pass --probs" in report.recommendation[0] and "pass --probs" in report.caveats[0]


def test_whole_numbers_in_the_first_line_are_names_where_they_can_be_nothing_else(tmp_path):
    counted = csv(tmp_path / "c.csv", "2,0,1", "0.2,0.5,0.3", "0.1,0.1,0.8")
    labels = csv(tmp_path / "y.csv", "2", "1")
    found = read_predictions(counted, labels)
    assert found.classes == ("2", "0", "1") and found.labels.tolist() == [0, 2]
    rows = csv(tmp_path / "r.csv", "0,1", "1,0", "0.5,0.5")  # whole numbers occur below it too: a row
    assert read_predictions(rows, csv(tmp_path / "z.csv", "1", "0", "1")).labels.tolist() == [1, 0, 1]
    for header, first in ((True, 0.4), (False, 1.0)):
        one = csv(tmp_path / "o.csv", "1", "0.4", "0.2")
        named = csv(tmp_path / "n.csv", "0", "1", "0")
        found = read_predictions(one, named, header=header)
        assert float(found.forecast.probs[0, 1]) == pytest.approx(first) and len(found.labels) == 3 - header


def test_an_index_without_a_name_is_left_out_and_said_so(tmp_path):
    probs = csv(tmp_path / "p.csv", ",0,1", "5,0.7,0.3", "2,0.2,0.8")
    found = read_predictions(probs, csv(tmp_path / "y.csv", ",y", "5,0", "2,1"))
    assert found.labels.tolist() == [0, 1] and " ".join(found.said).count("as an index does: left out") == 2
    kept = csv(tmp_path / "k.csv", ",b", "0.7,0.3", "0.2,0.8")  # no numbers of rows
    assert read_predictions(kept, csv(tmp_path / "l.csv", "0", "1")).forecast.log_probs.shape == (2, 2)


def test_the_name_of_a_matrix_in_an_npz_means_its_columns(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, probs=np.array([[0.7, 0.3], [0.2, 0.8]]), labels=np.array([0, 1]))
    found = read_predictions(path, path, columns=("probs",), label_column="labels")
    assert found.labels.tolist() == [0, 1] and float(found.forecast.probs[0, 0]) == pytest.approx(0.7)
    np.savez(path, probs=np.zeros((3, 2)), labels=np.array([0, 1]))
    with pytest.raises(ValueError, match=r"probs \(3, 2\), labels \(2,\); expected arrays of one length"):
        read_predictions(path, path, columns=("probs",), label_column="labels")


def test_caveats_say_what_the_data_do_not_allow():
    def said(probs, labels):
        return " ".join(data_caveats(Predictions(from_probs(np.array(probs)), np.array(labels), ("0", "1"), ())))

    assert "all labels are class 1" in said([0.2, 0.3], [1, 1])
    assert "all forecasts are equal" in said([0.2, 0.2], [0, 1])
    assert "ties: 2 different forecasts in 6 rows" in said([0.2] * 3 + [0.4] * 3, [0, 1] * 3)
    assert "fewer than 15 bins" in said([0.2, 0.3], [1, 0])
    assert "in 1 of them that class occurred: the log score is infinite" in said([0.0, 1.0], [1, 1])


def fit_with(gain, error, name="temperature", verdict=None):
    verdict = verdict or ("better" if gain > 2 * error else "no-op: within 2 standard errors of 0")
    change = Change(jnp.asarray(gain), jnp.asarray(error), verdict)
    own = gain + (error * np.sqrt(100) * np.tile([-1.0, 1.0], 50) if np.isfinite(gain) else np.zeros(100))
    calibrator = temperature(from_logits(np.array([3.0, 3, 3, -3])), np.array([1, 1, 0, 0]))
    return Fit(name, calibrator, Assessment(100, change, change), own)


def test_the_recommendation_follows_from_the_numbers():
    labels, halves = np.zeros(200, int), ()
    said = lambda fits, p: recommend(fits, p, 0.05, labels, halves)[0]
    assert said([fit_with(0.0, 0.001)], 0.5).startswith("Nothing to mend")
    assert said([fit_with(0.0, 0.1)], 0.5).startswith("Too few rows to tell")
    assert said([fit_with(0.5, 0.1)], 0.01).startswith("Use temperature 2.73")
    assert said([fit_with(0.5, 0.1)], 0.5).startswith("Do not mend yet")
    assert said([fit_with(0.0, 0.1)], 0.01).startswith("Miscalibrated, and none")
    infinite = fit_with(-np.inf, np.inf, "isotonic", "worse")
    assert said([fit_with(0.0, 0.001), infinite], 0.5).startswith("Nothing to mend")


def test_a_richer_map_must_beat_the_simpler_one():
    plain = fit_with(0.5, 0.1)
    assert best_of([plain, fit_with(0.6, 0.1, "isotonic")._replace(own=plain.own + 0.1)]).name == "isotonic"
    noisy = plain.own + 0.1 + 10 * np.tile([-1.0, 1.0], 50)
    assert best_of([plain, fit_with(0.6, 0.1, "isotonic")._replace(own=noisy)]).name == "temperature"


def test_zeros_are_read_before_maps_are_fitted():
    logits, labels = too_bold()
    probs = np.where(logits < -6, 0.0, expit(logits))
    fits, said = try_all(from_probs(probs), labels, (np.arange(300), np.arange(300, 600)))
    assert "1/(2N)" in said and [fit.name for fit in fits if fit.failed] == []


def test_the_texts_first_line_is_rebuilt_and_methods_run(tmp_path, monkeypatch, capsys):
    from sklearn.metrics import log_loss
    from sklearn.model_selection import train_test_split

    x, y = calibration_methods.data()
    x, x_test, y, y_test = train_test_split(x, y, test_size=900, random_state=42)
    model = calibration_methods.classifiers(42)["logistic regression"].fit(x, y)
    printed = calibration_methods.PRINTED["logistic regression"][0]
    assert abs(log_loss(y_test, model.predict_proba(x_test)) - printed) < 1e-6
    some = lambda seed: {
        "logistic regression": calibration_methods.LogisticRegression(max_iter=1000),
        "random forest": calibration_methods.RandomForestClassifier(4, random_state=seed),
        "support vector machine": calibration_methods.SVC(random_state=seed),
    }
    monkeypatch.setattr(calibration_methods, "classifiers", some)
    monkeypatch.setattr(calibration_methods, "NUM_SPLITS", 2)
    monkeypatch.setattr(calibration_methods, "listed", lambda: {"logistic regression": (0.3614, 0.1131)})
    assert is_figure(calibration_methods.main(tmp_path))
    assert "∞ in 2 of 2" in capsys.readouterr().out  # a forest of four trees


def test_reliability_runs_and_knows_the_truth(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reliability, "SIZES", {200: 2})
    monkeypatch.setattr(reliability, "NUM_SIMULATIONS", 19)
    assert is_figure(reliability.main(tmp_path))
    assert reliability.true_errors(lambda z: z) == (0.0, 0.0)
    shown = capsys.readouterr().out
    assert "calibrated" in shown and "[a, b), the last [a, b]" in shown


def test_the_texts_three_terms_are_rebuilt_and_five_are_exact(tmp_path, monkeypatch):
    monkeypatch.setattr(brier_decomposition, "BINS", (10, 400))
    kept = {}
    keep = brier_decomposition.decompose
    monkeypatch.setattr(brier_decomposition, "decompose", lambda case: kept.setdefault(len(kept), keep(case)))
    case = brier_decomposition.forest()
    monkeypatch.setattr(brier_decomposition, "forest", lambda: case)
    assert is_figure(brier_decomposition.main(tmp_path))
    listed = brier_decomposition.listed(case)
    assert max(abs(listed[name] - value) for name, value in brier_decomposition.PRINTED.items()) < 1e-12
    for terms in (each for found in kept.values() for each in found):
        assert abs(brier_decomposition.five(terms) - terms.score) < 1e-14
    assert abs(brier_decomposition.three(kept[0][0]) - kept[0][0].score) > 1e-4
    assert abs(kept[0][0].score - float(scores.brier(*map(jnp.asarray, case)).mean())) < 1e-14


def test_rare_disease_runs_and_its_integrals_are_exact(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(rare_disease, "CASES", {50: 2})
    kept = {name: rare_disease.CALIBRATORS[name] for name in rare_disease.DRAWN}
    monkeypatch.setattr(rare_disease, "CALIBRATORS", kept)
    monkeypatch.setattr(rare_disease, "NUM_POINTS", 2000)
    z = rare_disease.true_log_odds()
    assert abs(expit(z).mean() - rare_disease.PREVALENCE) < 1e-12
    perfect = rare_disease.outcome(from_logits(z), z, 10, z)
    assert abs(perfect.loss) < 1e-10 and abs(perfect.ratio - 1) < 1e-12
    assert is_figure(rare_disease.main(tmp_path))
    assert "isotonic, 50 cases" in capsys.readouterr().out
