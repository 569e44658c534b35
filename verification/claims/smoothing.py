"""Smoothed labels: what they add to the loss, where the logits come to rest, and what confidence becomes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import optimize, special

from probjax import information, losses
from verification.claims.parts import BAD, GOOD, THIRD, TRUTH, gap
from verification.claims.types import CONTROL, INSTEAD, REFUTED, STATED, Finding, Measurement

EPSILON = 0.1


def _logits(rng, num_classes=5):
    """Rows of sizes from 1 to 1000, their labels, and each row's size."""
    logits = rng.standard_normal((300, num_classes)) * rng.choice([1.0, 30.0, 1e3], size=(300, 1))
    return jnp.asarray(logits), rng.integers(0, num_classes, 300), 1 + np.abs(logits).max(1)


def against_a_mixture(rng) -> Finding:
    """−Σ t_k log p_k, t = (1 − ε) onehot + ε/K: the cross-entropy averaged over labels that are redrawn uniformly with
    probability ε (Szegedy et al. 2016). With ε/(K − 1) on the other classes it is the same loss at ε′ = εK/(K − 1)."""
    logits, labels, size = _logits(rng)
    one_hot, num_classes = np.eye(5)[labels], 5
    log_probs = special.log_softmax(np.asarray(logits), axis=1)
    off = lambda ours, theirs: float(np.max(np.abs(np.asarray(ours) - theirs) / size))
    loss = losses.label_smoothed_cross_entropy(labels, logits, EPSILON)
    by_optax = optax.softmax_cross_entropy(logits, optax.smooth_labels(jnp.asarray(one_hot), EPSILON))
    others = -np.sum(((1 - EPSILON) * one_hot + EPSILON / (num_classes - 1) * (1 - one_hot)) * log_probs, axis=1)
    moved = losses.label_smoothed_cross_entropy(labels, logits, EPSILON * num_classes / (num_classes - 1))
    each = [losses.softmax_cross_entropy(np.full(300, k), logits) for k in range(num_classes)]
    redrawn = (1 - EPSILON) * losses.softmax_cross_entropy(labels, logits) + EPSILON * np.mean(each, axis=0)

    def draw(ax):
        f = np.linspace(-4, 10, 200)
        rows = np.column_stack([f, np.zeros((200, 4))])
        for epsilon, colour in ((0.0, TRUTH), (EPSILON, GOOD), (0.3, THIRD)):
            smoothed = losses.label_smoothed_cross_entropy(np.zeros(200, int), jnp.asarray(rows), epsilon)
            ax.plot(f, smoothed, color=colour, label=f"ε = {epsilon:g}")
        other = -special.log_softmax(rows, axis=1) @ [0.9, *[0.025] * 4]
        ax.plot(f, other, "--", color=BAD, label="ε = 0.1 as ε/(K − 1)")
        ax.set(xlabel="logit of the label's class, the other four 0", ylabel="loss, nats")
        ax.legend(frameon=False)

    return Finding(
        [
            Measurement(STATED, "loss less optax's, per size of logits", off(loss, by_optax), 1e-12),
            Measurement(STATED, "loss less the mean over redrawn labels, likewise", off(loss, redrawn), 1e-12),
            Measurement(INSTEAD, "ε/(K − 1) less the loss at εK/(K − 1), likewise", off(moved, others), 1e-12),
            Measurement(CONTROL, "ε/(K − 1) less the loss at the same ε, likewise", off(loss, others), 1e-12),
        ],
        draw,
    )


def which_divergence(rng) -> Finding:
    """(1 − ε) CE + ε (log K + KL(u ‖ p)), u uniform. KL(u ‖ p) grows with the margin without end; KL(p ‖ u), the
    confidence penalty of Pereyra et al. (2017), never exceeds log K. With free logits and K classes the first comes to
    rest at the margin log(((1 − ε)K + ε)/ε), the second where p times the margin is (1 − ε)/ε."""
    logits, labels, size = _logits(rng)
    size = size + np.log(5)
    probs, uniform = jax.nn.softmax(logits), jnp.full(5, 0.2)
    loss = losses.label_smoothed_cross_entropy(labels, logits, EPSILON)
    log_probs = special.log_softmax(np.asarray(logits), axis=1)
    ce, to_model = -log_probs[np.arange(300), labels], -np.log(5) - log_probs.mean(1)  # from logits: p may be 0
    kept = (1 - EPSILON) * ce
    from_model = np.asarray(information.kl(probs, jnp.broadcast_to(uniform, probs.shape)))
    off = lambda parts: float(np.max(np.abs(np.asarray(loss) - parts) / size))
    mild = np.asarray(logits / size[:, None])
    ours = np.asarray(information.kl(jnp.broadcast_to(uniform, mild.shape), jax.nn.softmax(jnp.asarray(mild))))
    rest = {way: _margin_at_rest(way) for way in _DIVERGENCES}
    penalty = rest["p ‖ u"] * _with_margin(rest["p ‖ u"])[0] * EPSILON / (1 - EPSILON)

    return Finding(
        [
            Measurement(
                REFUTED,
                "loss less (1 − ε) CE + ε (log K + KL(p ‖ u)), per size of logits",
                off(kept + EPSILON * (np.log(5) + from_model)),
                1e-12,
            ),
            Measurement(INSTEAD, "the same with KL(u ‖ p)", off(kept + EPSILON * (np.log(5) + to_model)), 1e-12),
            Measurement(
                INSTEAD,
                "that KL from logits less the library's",
                gap(ours, -np.log(5) - special.log_softmax(mild, 1).mean(1)),
                1e-12,
            ),
            Measurement(INSTEAD, "largest KL(p ‖ u) less log K", float(from_model.max()) - np.log(5), 1e-12),
            Measurement(INSTEAD, "largest KL(u ‖ p)", float(to_model.max()), 100.0, at_least=True),
            Measurement(
                INSTEAD, "K = 10, at rest: margin under KL(u ‖ p) less log 91", gap(rest["u ‖ p"], np.log(91)), 1e-6
            ),
            Measurement(INSTEAD, "under KL(p ‖ u): p · margin over 9, less 1", gap(penalty, 1), 1e-6),
            Measurement(CONTROL, "loss less CE + ε KL(u ‖ p)", off(ce + EPSILON * to_model), 1e-12),
        ],
        lambda ax: _draw_divergences(ax, rest),
    )


_DIVERGENCES = {
    "u ‖ p": lambda p: -np.log(10) - np.log(p).mean(),
    "p ‖ u": lambda p: np.log(10) - special.entr(p).sum(),
}  # of ten classes


def _draw_divergences(ax, rest):
    margins = np.linspace(0, 16, 200)
    for way, colour in (("u ‖ p", GOOD), ("p ‖ u", BAD)):
        ax.plot(margins, [_DIVERGENCES[way](_with_margin(m)) for m in margins], color=colour, label=f"KL({way})")
        ax.axvline(rest[way], color=colour, ls=":", lw=1.5)
    ax.axhline(np.log(10), color=TRUTH, lw=0.8, label="log K")
    ax.set(xlabel="margin, K = 10 (dotted: at rest, ε = 0.1)", ylabel="added divergence, nats", ylim=(0, 12))
    ax.legend(frameon=False)


def _with_margin(m):
    return special.softmax(np.append(m, np.zeros(9)))


def _margin_at_rest(way):
    """Where (1 − ε) CE + ε KL is least, for free logits of ten classes."""
    loss = lambda m: -(1 - EPSILON) * np.log(_with_margin(m)[0]) + EPSILON * _DIVERGENCES[way](_with_margin(m))
    return optimize.minimize_scalar(loss, (1, 5), tol=1e-10).x


STEPS = (10, 30, 100, 300, 1000, 3000, 10_000)  # of gradient descent, step 1
EPSILONS = (0.0, 0.01, EPSILON)


def finite_logits(rng) -> Finding:
    """Free logits come to rest at the margin log(((1 − ε)K + ε)/ε). A linear model of rows that a threshold parts: the
    loss along any direction of weights rises in the end, at the rate E[max_k z_k − Σ t_k z_k] > 0, so its weights are
    finite; but its margins are a weight times what the rows are, and far rows lie far beyond the free margin."""
    free = lambda epsilon, k: np.log(((1 - epsilon) * k + epsilon) / epsilon)
    cases = [(epsilon, k) for epsilon in (0.01, EPSILON) for k in (2, 10)]
    at_rest = max(_pull(free(*case), *case) for case in cases)
    other = max(_pull(np.log((1 - epsilon) * (k - 1) / epsilon), epsilon, k) for epsilon, k in cases)
    y = np.arange(200) % 2
    x = (2 * y - 1) * (0.3 + rng.exponential(size=200))
    params = _descent(x, y)  # [step, ε, 2]
    margins = (2 * y - 1) * (params[..., :1] * x + params[..., 1:])  # [step, ε, row]
    largest = margins.max(2)
    late = largest[-1] / largest[STEPS.index(1000)] - 1
    loss = lambda w: jnp.mean(
        losses.label_smoothed_cross_entropy(y, jnp.stack([jnp.zeros(200), w[0] * x + w[1]], 1), EPSILON)
    )
    slope = gap(jax.grad(loss)(jnp.asarray(params[-1, 2])), 0)

    def draw(ax):
        for at, colour in enumerate((TRUTH, THIRD, GOOD)):
            name = f"ε = {EPSILONS[at]:g}"
            ax.semilogx(STEPS, largest[:, at], "o-", color=colour, label=f"{name}: largest margin")
            if at:
                ax.axhline(free(EPSILONS[at], 2), color=colour, ls="--", lw=1, label=f"{name}: of free logits")
        ax.set(xlabel="steps of gradient descent", ylabel="margin of a linear model", ylim=(0, None))
        ax.legend(frameon=False)

    grows = "growth of the largest margin from 1000 to 10,000 steps, linear model, ε = {:g}"
    return Finding(
        [
            Measurement(STATED, "gradient at the free margin, K = 2 and 10, ε = 0.01 and 0.1", at_rest, 1e-12),
            Measurement(STATED, grows.format(EPSILON), abs(late[2]), 1e-6),
            Measurement(STATED, "gradient of the loss where it ends", slope, 1e-10),
            Measurement(
                INSTEAD,
                "its largest margin over that of free logits",
                largest[-1, 2] / free(EPSILON, 2),
                1.5,
                at_least=True,
            ),
            Measurement(CONTROL, grows.format(0), late[0], 1e-6),
            Measurement(CONTROL, "gradient at the margin of the ε/(K − 1) convention", other, 1e-12),
        ],
        draw,
    )


def _pull(margin, epsilon, num_classes):
    """The largest slope of the loss at logits (margin, 0, …, 0) of class 0."""
    loss = lambda z: losses.label_smoothed_cross_entropy(jnp.zeros(1, int), z[None], epsilon)[0]
    return gap(jax.grad(loss)(jnp.zeros(num_classes).at[0].set(margin)), 0)


def _descent(x, y):
    """Weight and bias of a logistic regression on smoothed labels after each number of STEPS: [step, ε, 2]."""
    epsilon = np.array(EPSILONS)[:, None]
    targets, design = (1 - epsilon) * y + epsilon / 2, np.column_stack([x, np.ones_like(x)])
    params, seen = np.zeros((len(epsilon), 2)), []
    for step in range(1, STEPS[-1] + 1):
        params = params - (special.expit(params @ design.T) - targets) @ design / len(y)
        if step in STEPS:
            seen.append(params)
    return np.array(seen)
