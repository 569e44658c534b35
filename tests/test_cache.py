"""Stored exact answers: what comes back is what was solved, and nothing that was tampered with."""

import json

import numpy as np
import pytest

from verification.exact import cache
from verification.exact.reference import Certificate, gaussian_reference

REFERENCE = gaussian_reference(
    ("a", "b"), [0.1, 0.2], [[1.0, 0.3], [0.3, 2.0]], log_evidence=-3.0, certificate=Certificate(1e-9, "x", "y", 1e-10)
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBJAX_CACHE", str(tmp_path))
    return tmp_path


def never():
    raise AssertionError("solved again")


def test_an_answer_is_solved_once_and_comes_back_to_the_last_bit(folder):
    first = cache.solved("it", lambda: REFERENCE)
    again = cache.solved("it", never)
    assert again.names == first.names and again.certificate == first.certificate
    assert again.log_evidence == first.log_evidence and again.log_predictive is None
    for field in cache.ARRAYS:
        np.testing.assert_array_equal(getattr(again, field), getattr(first, field))


def test_a_file_with_another_checksum_is_solved_anew(folder):
    cache.solved("it", lambda: REFERENCE)
    path = next(folder.glob("it-*.json"))
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({**stored, "body": stored["body"].replace("0.1", "0.11", 1)}))
    with pytest.raises(AssertionError, match="solved again"):
        cache.solved("it", never)
    cache.solved("it", lambda: REFERENCE)
    assert cache.solved("it", never).mean[0] == 0.1


def test_a_folder_that_cannot_be_written_costs_nothing_but_the_file(monkeypatch):
    monkeypatch.setenv("PROBJAX_CACHE", "/proc/none")
    assert cache.solved("it", lambda: REFERENCE) is REFERENCE


def test_folders(monkeypatch):
    monkeypatch.delenv("PROBJAX_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert str(cache.folder()) == "/somewhere/probjax/exact"
