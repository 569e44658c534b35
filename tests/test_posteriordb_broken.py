"""Broken and foreign clones say what is wrong."""

import json

import pytest
from posteriordb_clone import made_data, make_clone, write_zip

from verification import posteriordb as ports


def broken(tmp_path, change, name="kidiq-kidscore_momhs"):
    """A clone of one posterior whose data went through `change`."""
    data = made_data()
    change(data["kidiq"])
    return make_clone(tmp_path, data, [name])


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda d: d.pop("mom_hs"), r"kidiq\.json\.zip lacks the field mom_hs .* its fields are N, kid_score, mom_iq"),
        (lambda d: d.update(mom_hs=[1, 0]), r"field mom_hs should hold 60 finite numbers but came with shape \(2,\)"),
        (lambda d: d.update(mom_hs=["a"] * 60), r"field mom_hs does not hold plain numbers"),
        (lambda d: d.update(mom_hs=[[1], [2, 3]] * 30), r"field mom_hs does not hold plain numbers"),
        (
            lambda d: d.update(kid_score=[float("nan")] * 60),
            r"kid_score should hold 60 finite numbers .*not all finite",
        ),
        (
            lambda d: d.update(mom_hs=[1] * 60),
            r"kidiq\.json\.zip has no exact answer .* columns of inputs are linearly dep",
        ),
        (lambda d: d.update(N=3, mom_hs=[1, 0, 1], kid_score=[1, 2, 4]), r"3 rows for 2 coefficients"),
    ],
)
def test_data_of_another_layout_are_refused_with_the_file_and_the_cure(change, message, tmp_path):
    broken(tmp_path, change)
    with pytest.raises(ValueError, match=message):
        ports.build(tmp_path, "kidiq-kidscore_momhs")


def test_files_that_cannot_be_read_are_named(tmp_path):
    name = "kidiq-kidscore_momhs"
    root = broken(tmp_path, lambda d: None)
    path = root / "data" / "data" / "kidiq.json.zip"
    whole, text = path.read_bytes(), json.dumps(made_data()["kidiq"])
    path.write_bytes(whole[: len(whole) // 2])
    refused = lambda message: pytest.raises(ValueError, match=message)
    with refused(r"kidiq\.json\.zip cannot be read \(BadZipFile.*fetch the clone again"):
        ports.build(tmp_path, name)
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    path.write_bytes(bytes(damaged))
    with refused(r"kidiq\.json\.zip cannot be read"):
        ports.build(tmp_path, name)
    write_zip(path, text[:200])
    with refused(r"kidiq\.json\.zip cannot be read \(JSONDecodeError"):
        ports.build(tmp_path, name)
    write_zip(path, "[1, 2]")
    with refused(r"should hold fields by name but has a list"):
        ports.build(tmp_path, name)
    path.unlink()
    with refused(r"no .*kidiq\.json\.zip; the clone is incomplete"):
        ports.build(tmp_path, name)
    entry = root / "posteriors" / f"{name}.json"
    entry.write_text('{"name": "x"}')
    with refused(r"should hold a data_name but has name"):
        ports.build(tmp_path, name)
    entry.write_text('{"data_name": ')
    with refused(r"momhs\.json cannot be read \(JSONDecodeError"):
        ports.build(tmp_path, name)
    with refused("the clone does not hold arK-arK"):
        ports.build(tmp_path, "arK-arK")


@pytest.mark.parametrize(
    "chains, message",
    [
        ({"mu": [1.0]}, "a list of chains.*but has a dict"),
        ([], "a list of chains.*but has a list"),
        ([{"mu": [1.0, 2.0]}, {"tau": [1.0, 2.0]}], "mu is missing or uneven among its 2 chains"),
        ([{"mu": [1.0, 2.0]}, {"mu": [1.0]}], "mu is missing or uneven"),
        ([{"mu": [1.0, float("nan")]}], r"mu came as \(1, 2\), not all finite"),
        ([{"mu": [1.0, 2.0], "tau": [1.0]}], r"tau came as \(1, 1\), the first as \(1, 2\)"),
        ([{"mu": 1.0}], r"mu came as \(1,\)"),
    ],
)
def test_reference_draws_of_another_layout_are_refused(chains, message, tmp_path):
    root = broken(tmp_path, lambda d: None)
    entry = {"data_name": "kidiq", "reference_posterior_name": "ours"}
    (root / "posteriors" / "kidiq-kidscore_momhs.json").write_text(json.dumps(entry))
    with pytest.raises(ValueError, match=r"no .*ours\.json\.zip; the clone is incomplete"):
        ports.reference_draws(tmp_path, "kidiq-kidscore_momhs")
    write_zip(root / "reference_posteriors" / "draws" / "draws" / "ours.json.zip", json.dumps(chains))
    with pytest.raises(ValueError, match=message):
        ports.reference_draws(tmp_path, "kidiq-kidscore_momhs")


def test_names_lists_what_has_a_port_and_what_has_none(tmp_path):
    root = broken(tmp_path, lambda d: None)
    (root / "posteriors" / "garch-garch11.json").write_text("{}")
    assert ports.names(tmp_path) == (["kidiq-kidscore_momhs"], ["garch-garch11"])
    with pytest.raises(ValueError, match="garch-garch11 has no port here; ported are"):
        ports.build(tmp_path, "garch-garch11")
