"""Losses of labels: cross-entropies, ordered classes, squared error on labels, and what is no likelihood at all."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import special
from sklearn.linear_model import LogisticRegression

from probjax import likelihoods, linear, losses, priors, regularisers, with_cutpoints
from probjax.optimize import lbfgs
from verification.claims import listings
from verification.claims.parts import BAD, GOOD, THIRD, TRUTH, fitted, gap, on_weights
from verification.claims.types import CONTROL, INSTEAD, REFUTED, STATED, UNDER, WITHOUT, Finding, Measurement

LOGITS = np.concatenate([-np.geomspace(1e4, 1e-3, 60), [0.0], np.geomspace(1e-3, 1e4, 60)])


def binary_cross_entropy_is_bernoulli(rng) -> Finding:
    """−log Bernoulli(y | σ(f)) = −y log σ(f) − (1 − y) log σ(−f), from logits, finite at ±1e4."""
    exact = lambda y, f: -(y * special.log_expit(f) + (1 - y) * special.log_expit(-f))
    relative = lambda ours, truth: np.max(np.abs(ours - truth) / np.maximum(truth, 1e-300))  # e^−10⁴ is 0 to both
    off = lambda ours: max(float(relative(ours(np.full(len(LOGITS), y), LOGITS), exact(y, LOGITS))) for y in (0.0, 1.0))
    probs = lambda f: np.clip(special.expit(f), 1e-15, 1 - 1e-15)
    clipped = lambda y, f: -(y * np.log(probs(f)) + (1 - y) * np.log1p(-probs(f)))
    x, y, _ = listings.two_classes()
    penalty = regularisers.sklearn_c_to_normal(1e6)
    w = fitted(x, y, likelihoods.bernoulli(), on_weights(priors.normal(0.0, penalty)))
    log_loss = float(jnp.mean(losses.binary_cross_entropy(y, x @ w[:2] + w[2])))
    peer = LogisticRegression(C=1e6, tol=1e-12, solver="newton-cholesky").fit(x, y)
    # a solver that stops at a mean gradient of 1e-4 is at most ½ gᵀH⁻¹g above the least loss, H's least eigenvalue 0.1
    unfinished = listings.TWO_CLASSES["log_loss"] - log_loss

    def draw(ax):
        f = np.linspace(-60, 10, 300)
        ax.plot(f, losses.binary_cross_entropy(np.ones(300), f), color=GOOD, label="from logits")
        ax.plot(f, clipped(np.ones(300), f), color=BAD, ls="--", label="probabilities clipped at 1e-15")
        ax.set(xlabel="logit f, y = 1", ylabel="loss, nats")
        ax.legend(frameon=False)

    return Finding(
        [
            Measurement(STATED, "loss over SciPy's log σ − 1, logits to ±1e4", off(losses.binary_cross_entropy), 1e-12),
            Measurement(
                STATED,
                "coefficients less those of scikit-learn run to 1e-12",
                gap(w, [*peer.coef_[0], *peer.intercept_]),
                1e-8,
            ),
            Measurement(
                STATED,
                "the listing's printed log loss less the least one (its solver stopped early)",
                unfinished,
                0.5 * 3 * 1e-4**2 / 0.1,
            ),
            Measurement(STATED, "the same, not below 0", unfinished, 0.0, at_least=True),
            Measurement(CONTROL, "loss of clipped probabilities over the exact one − 1", off(clipped), 1e-12),
        ],
        draw,
    )


def softmax_cross_entropy_is_categorical(rng) -> Finding:
    """−log softmax(f)_y = logsumexp(f) − f_y."""
    logits = rng.normal(size=(200, 5)) * rng.choice([1.0, 30.0, 1e4], size=(200, 1))
    labels = rng.integers(0, 5, 200)
    exact = -special.log_softmax(logits, axis=1)[np.arange(200), labels]
    size = 1 + np.abs(logits).max(1)
    off = lambda ours: float(np.max(np.abs(np.asarray(ours) - exact) / size))
    z, y = listings.three_rows()
    ce, listed = float(jnp.mean(losses.softmax_cross_entropy(y, z))), listings.THREE_ROWS
    theirs = optax.softmax_cross_entropy_with_integer_labels(jnp.asarray(logits), jnp.asarray(labels))

    def draw(ax):
        f = np.linspace(-6, 6, 200)
        rows = np.column_stack([f, np.zeros(200), np.ones(200)])
        ax.plot(f, losses.softmax_cross_entropy(np.zeros(200, int), rows), color=GOOD, label="−log softmax(f)₀")
        ax.plot(f, -f, color=BAD, ls="--", label="−f₀, unnormalised")
        ax.axhline(0, color="0.8", lw=0.8)
        ax.set(xlabel="f₀, the others 0 and 1", ylabel="loss, nats")
        ax.legend(frameon=False)

    return Finding(
        [
            Measurement(
                STATED,
                "loss less SciPy's, per size of logits",
                off(losses.softmax_cross_entropy(labels, logits)),
                1e-12,
            ),
            Measurement(STATED, "optax less SciPy's, likewise", off(theirs), 1e-12),
            Measurement(STATED, "printed figure of the listing", abs(ce - listed["ce"]), 1e-15),
            Measurement(
                STATED,
                "its probabilities",
                gap(likelihoods.categorical().mean(jnp.asarray(z))[0], listed["first"]),
                1e-15,
            ),
            Measurement(CONTROL, "−f_y, unnormalised, less SciPy's", off(-logits[np.arange(200), labels]), 1e-12),
        ],
        draw,
    )


def ordinal_probabilities(rng) -> Finding:
    """P(y = k) = F(c_k − η) − F(c_{k−1} − η) ≥ 0, summing to 1; K = 2 is logistic regression."""
    network, ordinal = with_cutpoints(linear(3), 5), likelihoods.ordinal()
    x = jnp.asarray(rng.normal(size=(50, 3)))
    least, total = np.inf, 0.0
    for key in jax.random.split(jax.random.key(int(rng.integers(1000))), 10):
        params = jax.tree.map(lambda w, k=key: 3 * jax.random.normal(k, w.shape), network.init(key))
        location, cutpoints = network.apply(params, x)
        least = min(least, float(jnp.diff(cutpoints, axis=1).min()))
        total = max(total, gap(ordinal.mean((location, cutpoints)).sum(1), 1))
    f = jnp.linspace(-30, 30, 61)
    two = [ordinal.log_prob(jnp.full(61, y), (f, jnp.zeros((61, 1)))) for y in (0, 1)]
    logistic = [likelihoods.bernoulli().log_prob(jnp.full(61, float(y)), f) for y in (0, 1)]
    mass = lambda cuts: np.diff(special.expit(np.concatenate([[-np.inf], cuts, [np.inf]]) - 0.3))
    ordered, unordered = mass(np.array([-1.0, 0.5, 2.0])), mass(np.array([-1.0, 2.0, 0.5]))

    def draw(ax):
        ax.bar(np.arange(4) - 0.2, ordered, 0.4, color=GOOD, label="cutpoints −1, 0.5, 2")
        ax.bar(np.arange(4) + 0.2, unordered, 0.4, color=BAD, label="cutpoints −1, 2, 0.5")
        ax.axhline(0, color="black", lw=0.8)
        ax.set(xlabel="class", ylabel="probability", xticks=range(4))
        ax.legend(frameon=False)

    return Finding(
        [
            Measurement(STATED, "least gap between cutpoints of random parameters", least, 0.0, at_least=True),
            Measurement(STATED, "sum of the probabilities − 1", total, 1e-12),
            Measurement(STATED, "K = 2 less logistic regression, nats", gap(two, logistic), 1e-12),
            Measurement(STATED, "least probability, cutpoints in order", float(ordered.min()), 0.0, at_least=True),
            Measurement(
                CONTROL, "least probability, cutpoints out of order", float(unordered.min()), 0.0, at_least=True
            ),
        ],
        draw,
    )


def _asymptotic_variance(slope, loss_slope, loss_curve) -> float:
    """E[ψ²]/E[ψ′]² of the estimate of w in P(y = 1 | x) = σ(w x), x standard normal (Huber 1967)."""
    x, weights = np.polynomial.hermite_e.hermegauss(201)
    weights = weights / weights.sum()
    p = special.expit(slope * x)
    meat = weights @ (x**2 * (p * loss_slope(p, 1.0) ** 2 + (1 - p) * loss_slope(p, 0.0) ** 2))
    bread = weights @ (x**2 * loss_curve(p))
    return float(meat / bread**2)


def squared_error_on_labels(rng) -> Finding:
    """Both scores are proper; what squared error loses is efficiency, and its gradient where it is sure and wrong."""
    bce = (lambda p, y: p - y, lambda p: p * (1 - p))
    brier = (lambda p, y: 2 * (p - y) * p * (1 - p), lambda p: 2 * (p * (1 - p)) ** 2)
    ratio = lambda slope, a, b: _asymptotic_variance(slope, *a) / _asymptotic_variance(slope, *b)
    counts, trials = np.array([3.0, 8.0, 15.0]), 20.0  # a saturated model: one probability a cell
    brier_loss = lambda y, f: (y - jax.nn.sigmoid(f)) ** 2
    saturated = gap(*(_best_probabilities(loss, counts, trials) for loss in (brier_loss, losses.binary_cross_entropy)))
    slope = lambda loss, f: abs(float(jax.grad(lambda f: loss(jnp.ones(()), f))(f)))

    def draw(ax):
        slopes = np.linspace(0.05, 5, 60)
        ax.plot(slopes, [ratio(s, brier, bce) for s in slopes], color=GOOD)
        ax.axhline(1, color=TRUTH, lw=0.8)
        ax.set(xlabel="true slope w of σ(w x), x standard normal", ylabel="variance, squared error over cross-entropy")

    return Finding(
        [
            Measurement(
                UNDER, "variance ratio at slope 2, unsaturated model", ratio(2.0, brier, bce), 1.05, at_least=True
            ),
            Measurement(
                UNDER,
                "|gradient| of BCE over squared error's at logit −20, y = 1",
                slope(losses.binary_cross_entropy, -20.0) / slope(brier_loss, -20.0),
                1e6,
                at_least=True,
            ),
            Measurement(WITHOUT, "distance of the two estimates, saturated model", saturated, 1e-6, at_least=True),
            Measurement(CONTROL, "variance ratio of BCE to itself", ratio(2.0, bce, bce), 1.05, at_least=True),
        ],
        draw,
    )


def _best_probabilities(loss, hits, trials):
    """One free logit a cell, all cells at once."""
    total = lambda f: jnp.sum(hits * loss(jnp.ones_like(f), f) + (trials - hits) * loss(jnp.zeros_like(f), f))
    return jax.nn.sigmoid(lbfgs(total, jnp.zeros(len(hits)), tolerance=1e-13)[0])


def not_every_loss_is_a_likelihood(rng) -> Finding:
    """A loss is −log of a density in y only if Σ_y exp(−loss(y, f)) is the same for every f."""
    f = np.linspace(-4, 4, 161)
    spread = lambda mass: float(np.ptp(mass))
    hinge = sum(np.exp(-np.maximum(0, 1 - y * f)) for y in (-1, 1))
    logistic = sum(np.exp(-np.asarray(losses.binary_cross_entropy(np.full(161, y), f))) for y in (0.0, 1.0))
    grid = np.linspace(-16, 16, 4001)  # the trapezoid rule is exact to rounding for exp(−(y − f)²)
    squared = np.array([np.trapezoid(np.exp(-np.asarray(losses.mse(grid, np.full(4001, m)))), grid) for m in f])
    logits = np.column_stack([f, np.zeros(161), np.zeros(161)])
    smoothed = sum(
        np.exp(-np.asarray(losses.label_smoothed_cross_entropy(np.full(161, k), logits, 0.1))) for k in range(3)
    )
    at = {m: float(sum(np.exp(-np.maximum(0, 1 - y * m)) for y in (-1, 1))) for m in (0, 1)}

    def draw(ax):
        for values, name, colour in (
            (hinge, "hinge, y = ±1", BAD),
            (smoothed, "label-smoothed, K = 3", THIRD),
            (logistic, "cross-entropy", GOOD),
            (squared / np.sqrt(np.pi), "squared / √π", TRUTH),
        ):
            ax.plot(f, values, color=colour, label=name, ls="--" if name.startswith("squared") else "-")
        ax.set(xlabel="prediction f", ylabel="Σ or ∫ over y of exp(−loss)", ylim=(0, None))
        ax.legend(frameon=False)

    return Finding(
        [
            Measurement(REFUTED, "spread of the hinge's total over f in ±4", spread(hinge), 1e-10),
            Measurement(
                INSTEAD, "hinge totals at 0 and 1 less 0.736 and 1.135", gap([at[0], at[1]], [0.736, 1.135]), 5e-4
            ),
            Measurement(INSTEAD, "spread of squared error's", spread(squared), 1e-10),
            Measurement(INSTEAD, "its total less √π", gap(squared, np.sqrt(np.pi)), 1e-10),
            Measurement(INSTEAD, "spread of cross-entropy's", spread(logistic), 1e-10),
            Measurement(CONTROL, "spread of label-smoothed cross-entropy's", spread(smoothed), 1e-10),
        ],
        draw,
    )
