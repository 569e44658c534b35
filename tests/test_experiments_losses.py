"""The experiments on losses: each makes its table and figure, and what its docstring says is what it measures."""

import jax
import numpy as np
import pytest

from experiments import (
    counts,
    cross_entropy,
    kl_and_entropy,
    label_smoothing,
    mle_regression,
    ordinal,
    softmax,
)
from probjax import information
from verification.claims import listings


def is_figure(path, folder, name):
    return path == folder / f"{name}.png" and path.read_bytes()[:4] == b"\x89PNG" and path.stat().st_size > 20_000


def test_least_squares_is_the_gaussian_maximum(tmp_path, monkeypatch):
    seen = {}
    keep = mle_regression.print_table
    monkeypatch.setattr(
        mle_regression, "print_table", lambda *args: seen.update(found=args[0], escaped=args[2]) or keep(*args)
    )
    assert is_figure(mle_regression.main(tmp_path), tmp_path, "mle_regression")
    for way in seen["found"].values():
        for name, printed in listings.LINE.items():
            assert abs(way[name] - printed) < 1e-10
    assert np.all(np.diff(seen["escaped"]) > 0) and seen["escaped"][-1] > 1e3  # without log σ nothing holds it


def test_cross_entropy_is_the_bernoulli(tmp_path):
    assert is_figure(cross_entropy.main(tmp_path), tmp_path, "cross_entropy")
    printed, found = cross_entropy.listed(), cross_entropy.fitted(jax.random.key(0))
    assert abs(printed["log loss"] - listings.TWO_CLASSES["log_loss"]) < 1e-15
    assert found["max|∇|/n"] < 1e-12 < 5e-5 < printed["max|∇|/n"]
    assert 0 < printed["log loss"] - found["log loss"] < 1e-7
    assert abs(cross_entropy.clipped(np.zeros(1), np.array([1e4]))[0] + np.log(1e-15)) < 0.01
    assert cross_entropy.steps_to_even(cross_entropy.squared_error) > 1000


def test_softmax_is_the_categorical(tmp_path):
    assert is_figure(softmax.main(tmp_path), tmp_path, "softmax")
    printed = softmax.listed()
    assert all(abs(value - printed[name]) < 1e-15 for name, value in softmax.three_rows().items())
    proper, bare = softmax.shifted()
    assert abs(proper) < 1e-12 and abs(bare + softmax.SHIFT) < 1e-9
    assert softmax.two_classes(jax.random.key(1)) < 1e-12 and softmax.gradient_gap() < 1e-14
    assert softmax.as_scores(listings.three_rows()[0])[0].min() < 0


def test_poisson_regression_gains_where_its_mean_fits(tmp_path, monkeypatch):
    monkeypatch.setattr(counts, "NUM_SERIES", 4)
    seen = {}
    keep = counts.print_table
    monkeypatch.setattr(counts, "print_table", lambda found: seen.update(found) or keep(found))
    assert is_figure(counts.main(tmp_path), tmp_path, "counts")
    gain = {
        (kind, basis): np.mean(scores[basis, "Poisson"].log_prob - scores[basis, "Gaussian"].log_prob)
        for kind, scores in seen.items()
        for basis in counts.BASES
    }
    assert gain["Poisson", "linear in time"] < -0.5 and gain["Poisson", "one harmonic"] > 0.3
    assert gain["Poisson", "three harmonics"] > 0.2
    assert all(gain["Gaussian", basis] < 0 for basis in counts.BASES)
    assert all(f"{listings.LISTED_COUNTS[name]:.3f}" in counts.__doc__ for name in ("mae_gaussian", "mae_poisson"))


@pytest.mark.parametrize("family", counts.FAMILIES)
def test_masses_sum_to_one_and_the_interval_holds_its_level(family):
    y, mean = np.arange(-200.0 if family == "Gaussian" else 0.0, 300.0), 7.3
    mass = np.exp(counts.log_mass(family, np.full_like(y, mean), 2.1, y))
    assert abs(mass.sum() - 1) < 1e-12
    below, at = counts.cdf_steps(family, np.full_like(y, mean), 2.1, y)
    np.testing.assert_allclose(at - below, mass, atol=1e-14)
    assert abs(mass @ counts.share_within(below, at) - counts.LEVEL) < 1e-12


def test_ordinal_regression_knows_the_order(tmp_path, monkeypatch):
    monkeypatch.setattr(ordinal, "NUM_SETS", 2)
    seen = {}
    keep = ordinal.print_table
    monkeypatch.setattr(
        ordinal, "print_table", lambda *args: seen.update(found=args[0], params=args[1], gaps=args[2]) or keep(*args)
    )
    assert is_figure(ordinal.main(tmp_path), tmp_path, "ordinal")
    assert all(gap < 1e-10 for gap in seen["gaps"].values())
    assert np.all(np.diff(ordinal.cutpoints(seen["params"])) > 0)
    by_order, by_softmax, by_squares = seen["found"]["ordered"].mean(0)
    assert by_squares < by_softmax < by_order
    by_order, by_softmax, _ = seen["found"]["unordered"].mean(0)
    assert by_order < by_softmax - 0.2
    assert ordinal.middle_mass(np.zeros(1))[0] < -0.4


def test_zeros_and_the_directions_of_kl(tmp_path, monkeypatch):
    seen = {}
    keep = kl_and_entropy.print_table
    monkeypatch.setattr(kl_and_entropy, "print_table", lambda rng, fits: seen.update(fits) or keep(rng, fits))
    assert is_figure(kl_and_entropy.main(tmp_path), tmp_path, "kl_and_entropy")
    p, q = listings.ONE_HOT
    exact = -np.log(0.7)
    assert abs(float(information.cross_entropy(p, q)) - exact) < 1e-15
    assert 3e-10 < float(kl_and_entropy.clipped_cross_entropy(p, q)) - exact < 5e-10
    assert kl_and_entropy.identity_gap(np.random.default_rng(1)) < 1e-13
    assert all(fit.converged for fit in seen.values())
    forward, left, right, wide = seen.values()
    np.testing.assert_allclose(forward[:2], kl_and_entropy.moments(), rtol=1e-8)
    assert abs(left.loc + 3) < 0.01 and abs(right.loc - 3) < 0.01
    assert left.kl < right.kl < wide.kl and wide.scale > 2


def test_label_smoothing_bounds_weights_but_not_margins(tmp_path, monkeypatch):
    seen = {}
    keep = label_smoothing.print_table
    monkeypatch.setattr(
        label_smoothing,
        "print_table",
        lambda rng, data, grown: seen.update(data=data, grown=grown) or keep(rng, data, grown),
    )
    assert is_figure(label_smoothing.main(tmp_path), tmp_path, "label_smoothing")
    by_hand, decomposed, swapped = label_smoothing.identity_gaps(np.random.default_rng(1)).values()
    assert by_hand < 1e-13 and decomposed < 1e-13 and swapped > 0.1
    assert abs(label_smoothing.found_margin(4, 0.2) - label_smoothing.optimal_margin(4, 0.2)) < 1e-8
    params, info = label_smoothing.minimum(seen["data"], 0.1)
    assert info["converged"]
    assert label_smoothing.margins(params, seen["data"]).max() > label_smoothing.optimal_margin(3, 0.1)
    bounded, growing = seen["grown"][0.1], seen["grown"][0.0]
    assert abs(bounded[-1] - np.linalg.norm(params["weight"])) < 1e-6
    assert np.all(np.diff(growing) > 1)  # each tenfold of steps adds as much again
