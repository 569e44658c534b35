"""The ledger: how measurements become verdicts, that every row is there, and that broken code breaks it."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from verification.claims import command, listings
from verification.claims.ledger import BY_ID, LEDGER
from verification.claims.types import (
    CONTROL,
    FALSE,
    HOLDS,
    HOLDS_IF,
    INSTEAD,
    REFUTED,
    STATED,
    UNDECIDED,
    UNDER,
    WITHOUT,
    Measurement,
    control_rejected,
    decisive,
    verdict,
)


def m(role, value, bound=1.0, margin=0.0, at_least=False):
    return Measurement(role, "a number", value, bound, margin, at_least)


@pytest.mark.parametrize(
    "measurements, expected",
    [
        ([m(STATED, 0.5), m(STATED, 1.0)], HOLDS),
        ([m(STATED, 0.5), m(STATED, 2.0)], UNDECIDED),  # nothing is said instead
        ([m(STATED, 0.5), m(REFUTED, 2.0), m(INSTEAD, 0.1)], FALSE),
        ([m(STATED, 2.0), m(REFUTED, 2.0), m(INSTEAD, 0.1)], UNDECIDED),  # a part that was to hold does not
        ([m(REFUTED, 2.0), m(REFUTED, 0.5), m(INSTEAD, 0.1)], UNDECIDED),  # a part that was refuted holds
        ([m(REFUTED, 2.0)], UNDECIDED),
        ([m(REFUTED, 2.0), m(INSTEAD, 0.1), m(INSTEAD, 1.1)], UNDECIDED),
        ([m(UNDER, 0.5), m(WITHOUT, 2.0)], HOLDS_IF),
        ([m(UNDER, 0.5), m(WITHOUT, 0.9)], UNDECIDED),  # the condition is not needed
        ([m(UNDER, 1.5), m(WITHOUT, 2.0)], UNDECIDED),
        ([m(UNDER, 0.5)], UNDECIDED),
        ([m(STATED, float("nan"))], UNDECIDED),
        ([m(STATED, 0.95, margin=0.1)], UNDECIDED),  # the bound is within the margin
        ([m(STATED, 1.2, margin=0.1, at_least=True)], HOLDS),
        ([m(STATED, float("inf"), float("inf"), at_least=True)], HOLDS),
        ([], UNDECIDED),
    ],
)
def test_measurements_become_verdicts(measurements, expected):
    assert verdict(measurements) == expected


def test_a_control_must_surely_miss_its_bound():
    assert control_rejected([m(CONTROL, 2.0)])
    assert not control_rejected([m(CONTROL, 0.5)])
    assert not control_rejected([m(CONTROL, 2.0), m(CONTROL, 0.5)])
    assert not control_rejected([m(CONTROL, float("nan"))])
    assert not control_rejected([m(CONTROL, 1.05, margin=0.1)])
    assert not control_rejected([m(STATED, 2.0)])


def test_the_number_a_verdict_hangs_on():
    assert decisive([m(STATED, 0.5), m(STATED, 3.0), m(INSTEAD, 0.1)]).value == 3.0
    assert decisive([m(STATED, 0.1), m(STATED, 0.9), m(CONTROL, 5.0)]).value == 0.9
    assert decisive([m(UNDER, 0.1), m(WITHOUT, 7.0)]).value == 7.0


def test_the_ledger_has_every_row():
    ids = [
        *(f"A{i}" for i in range(1, 20)),
        *(f"B{i}" for i in range(1, 9)),
        *(f"C{i}" for i in range(1, 21)),
        *(f"D{i}" for i in range(1, 12)),
        "E1",
        "E2",
        "E3",
    ]
    assert [claim.id for claim in LEDGER] == ids
    false = {claim.id for claim in LEDGER if claim.verdict == FALSE}
    expected = {"A4", "A6", "A18", "A19", "B3", "B6", "B8", "C3", "C6", "C11", "C16", "C18", "C20", "D3", "D5", "D8"}
    assert false == expected


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    out = tmp_path_factory.mktemp("claims")
    (out / command.FOLDER).mkdir()
    return out, lambda name: command.run_claim((name, str(out), 0))


@pytest.mark.parametrize("name", ["A3", "A18", "B6", "E1", "E2", "E3"])
def test_a_claim_is_computed_judged_and_drawn(quick, name):
    out, run = quick
    entry = run(name)
    assert entry["verdict"] == BY_ID[name].verdict and entry["control_rejected"] is True, entry
    assert (out / entry["figure"]).stat().st_size > 8000
    json.loads(json.dumps(entry, allow_nan=False))


def test_wrong_code_is_no_longer_what_the_ledger_says(quick, monkeypatch):
    from probjax import information, losses

    _, run = quick
    clip = lambda q: jnp.clip(q, 1e-10, 1.0)
    exact = information.cross_entropy
    monkeypatch.setattr(information, "cross_entropy", lambda p, q: exact(p, clip(jnp.asarray(q))))
    assert run("E3")["verdict"] == UNDECIDED
    cross_entropy = losses.softmax_cross_entropy
    monkeypatch.setattr(losses, "softmax_cross_entropy", lambda y, f: cross_entropy(y, f) + 1e-9)
    assert run("A3")["verdict"] == UNDECIDED


def test_a_control_that_is_not_wrong_is_not_rejected(quick, monkeypatch):
    from probjax import losses

    _, run = quick
    exact = losses.label_smoothed_cross_entropy
    monkeypatch.setattr(losses, "label_smoothed_cross_entropy", lambda y, f, epsilon: exact(y, f, 0.0))
    entry = run("A18")
    assert entry["verdict"] == FALSE and entry["control_rejected"] is False


def test_what_goes_wrong_in_a_claim_is_its_entry(quick, monkeypatch):
    from probjax import information

    _, run = quick
    monkeypatch.setattr(information, "entropy", lambda p: 1 / 0)
    entry = run("E1")
    assert entry["verdict"] == command.BROKEN and "ZeroDivisionError" in entry["what"]
    assert entry["control_rejected"] is False and "error" in command.page({"E1": entry})


def test_the_summary_keeps_what_other_commands_wrote(quick):
    out, run = quick
    (out / "summary.json").write_text(
        json.dumps({"outcomes": {"pass": 3}, "claims": {"A1": {**run("E2"), "seconds": 9.5}}})
    )
    command.write(out, {"E2": run("E2")})
    stored = json.loads((out / "summary.json").read_text())
    assert stored["outcomes"] == {"pass": 3} and list(stored["claims"]) == ["A1", "E2"]
    assert stored["claims"]["A1"]["seconds"] == 9.5
    for entry in stored["claims"].values():
        assert {"verdict", "measured", "tolerance", "control_rejected"} <= set(entry)
    page = (out / "claims.md").read_text()
    assert "## E2: holds" in page and "![E2](claims/E2.png)" in page


def test_the_listings_print_their_figures():
    """Those that no claim holds to: the fits by NumPy and SciPy alone."""
    from scipy.special import log_softmax

    x, y, _ = listings.line()
    slope, intercept = np.linalg.lstsq(np.column_stack([x, np.ones(50)]), y, rcond=None)[0]
    assert [slope, intercept] == pytest.approx([listings.LINE["slope"], listings.LINE["intercept"]], rel=1e-13)
    logits, labels = listings.three_rows()
    assert -log_softmax(logits, 1)[range(3), labels].mean() == pytest.approx(listings.THREE_ROWS["ce"], rel=1e-14)
    train, test = listings.sparse()
    w = np.linalg.lstsq(np.column_stack([train.x, np.ones(80)]), train.y, rcond=None)[0]
    rmse = np.sqrt(np.mean((test.y - test.x @ w[:-1] - w[-1]) ** 2))
    assert rmse == pytest.approx(listings.SPARSE["MLE"][1], rel=1e-10)


def test_numbers_of_any_make_are_fit_for_json():
    made = [
        m(STATED, np.float32(0.5)),
        m(STATED, jnp.asarray(0.25), margin=jnp.asarray(0.0)),
        m(CONTROL, np.float64("inf")),
    ]
    rows = command.summarised(made)["measurements"]
    assert json.loads(json.dumps(rows, allow_nan=False))[2]["value"] == "inf" and rows[1]["value"] == 0.25
