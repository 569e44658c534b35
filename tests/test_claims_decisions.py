"""What the claims on decisions and on confidence compute with."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from probjax import losses
from verification.claims import confidence, decisions, pooling, small_nets, soft_targets


def test_signed_error_is_confidence_less_accuracy():
    probs = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]])
    assert confidence.signed_error(probs, np.array([0, 1, 1, 0])) == pytest.approx(0.75 - 0.5, abs=1e-15)


def test_smoothed_targets_are_those_of_the_loss():
    logits = np.random.default_rng(0).standard_normal((5, 10))
    labels = np.arange(5)
    targets = small_nets.smoothed(small_nets.one_hot(labels), 0.1)
    expected = losses.label_smoothed_cross_entropy(jnp.asarray(labels), jnp.asarray(logits), 0.1)
    np.testing.assert_allclose(-np.sum(targets * jax.nn.log_softmax(logits), 1).mean(), expected.mean(), rtol=1e-6)


def test_rows_are_filled_up_and_their_number_kept():
    filled = small_nets.stacked([np.ones((2, 3)), np.ones((4, 3))], least=5)
    assert filled.shape == (2, 5, 3)
    assert filled.sum(axis=(1, 2)).tolist() == [6, 12]


def test_a_split_is_scaled_by_its_training_rows():
    data = small_nets.split(np.random.default_rng(1), "wine", 60)
    assert data.x.shape == (60, small_nets.INPUTS) and len(data.test_x) == 178 - 60 and data.num_classes == 3
    np.testing.assert_allclose(data.x[:, :13].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(data.x[:, :13].std(0), 1, atol=1e-5)
    assert not data.x[:, 13:].any()


@pytest.fixture(scope="module")
def params():
    rng, sizes = np.random.default_rng(0), (small_nets.INPUTS, small_nets.WIDTH, small_nets.WIDTH, small_nets.CLASSES)
    layer = lambda a, b: {
        "weight": rng.standard_normal((a, b)) * (2 / a) ** 0.5,
        "scale": np.ones(b),
        "bias": np.zeros(b),
    }
    return jax.tree.map(np.float32, [layer(a, b) for a, b in pairwise(sizes)])


def test_batch_norm_forgets_the_scale_of_the_weights_before_it(params):
    x = jnp.asarray(np.random.default_rng(2).standard_normal((30, small_nets.INPUTS)), jnp.float32)
    doubled = [{**params[0], "weight": 2 * params[0]["weight"]}, *params[1:]]
    one, two = (small_nets._forward(p, x, 1.0)[0] for p in (params, doubled))
    np.testing.assert_allclose(one, two, atol=2e-4)
    one, two = (small_nets._forward(p, x, 0.0)[0] for p in (params, doubled))
    assert np.max(np.abs(one - two)) > 0.5


def test_statistics_are_those_of_the_rows_that_are_there(params):
    x = jnp.asarray(np.random.default_rng(3).standard_normal((20, small_nets.INPUTS)), jnp.float32)
    weight = jnp.asarray(np.arange(20) < 12, jnp.float32) / 12
    f, own = small_nets._forward(params, x[:12], 1.0)
    _, padded = small_nets._forward(params, x.at[12:].set(7.0), 1.0, weight=weight)
    np.testing.assert_allclose(small_nets._forward(params, x[:12], 1.0, padded)[0], f, atol=1e-4)
    assert len(own) == 2


def test_dropout_keeps_the_mean_of_a_unit():
    masks = jax.vmap(lambda key: small_nets._mask(key, 0.2))(jax.random.split(jax.random.key(4), 500))
    assert sorted(np.unique(masks).tolist()) == pytest.approx([0, 1.25])
    assert np.mean(masks) == pytest.approx(1, abs=4 * 0.5 / np.sqrt(masks.size))  # four standard errors


@pytest.mark.parametrize("evidence", [0.3, 1.0, 2.0])
def test_members_and_their_product_are_calibrated_and_their_mean_is_not(evidence):
    expect, first, second, product = pooling._two_members(evidence)
    assert expect(np.ones_like(first)) == pytest.approx(1, abs=1e-12)
    for p in (first, second, product):
        assert pooling._slack(expect, p) == pytest.approx(0, abs=1e-12)
    pooled = pooling._slack(expect, (first + second) / 2)
    assert pooled == pytest.approx(expect((first - second) ** 2) / 4, abs=1e-12) and pooled > 1e-3
    assert expect(first > 0.5) == pytest.approx(stats.norm.cdf(evidence), abs=0.01)  # a jump on a grid of 0.04


def test_coverage_of_a_threshold_matches_draws():
    rng = np.random.default_rng(5)
    x = rng.standard_normal(200_000)
    y = np.sin(2 * x) + np.sqrt(0.25 + x**2) * rng.standard_normal(len(x))
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    (covered,) = decisions._coverage(np.array([1.5]), nodes, weights)
    assert np.mean(np.abs(y) <= 1.5) == pytest.approx(covered, abs=4 * 0.5 / np.sqrt(len(y)))


def test_one_in_turn_left_out_is_covered_k_times():
    rng = np.random.default_rng(6)
    probs, labels = rng.dirichlet(np.ones(4), 200), rng.integers(0, 4, 200)
    assert decisions._one_out(probs, labels) == 0
    ties = np.full((200, 4), 0.25)
    assert decisions._one_out(ties, labels) == 9  # all 96 are covered, and k is 87


def test_temperature_keeps_the_order_of_two_classes():
    p = np.array([0.6, 0.9, 0.75])
    np.testing.assert_allclose(decisions._tempered(p, 1.0), p, rtol=1e-14)
    assert (np.argsort(decisions._tempered(p, 0.5)) == np.argsort(p)).all()


def test_flipped_labels_are_other_digits():
    labels = np.arange(10).repeat(400)
    flipped = soft_targets._flipped(np.random.default_rng(7), labels)
    share = np.mean(flipped != labels)
    assert share == pytest.approx(soft_targets.NOISE, abs=4 * 0.5 / np.sqrt(len(labels)))
    assert flipped.min() >= 0 and flipped.max() <= 9
