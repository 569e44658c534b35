"""What does label smoothing add, and does it bound the logits? `python -m experiments.label_smoothing`

The loss is the cross-entropy against (1 − ε) onehot(y) + ε/K = (1 − ε)(−log p_y) + ε (KL(u ‖ p) + log K), u uniform:
both hold to 1e-14, and with KL(p ‖ u) in place of KL(u ‖ p) the second is off by up to 0.6 nats. Free logits come to
rest at a margin of log(((1 − ε)K + ε)/ε). A linear softmax on separable rows has finite weights for ε > 0, where for
ε = 0 they grow with the logarithm of the steps; but nothing bounds its margins by those of free logits: 29% of rows lie
beyond them at ε = 0.1 (up to 4.44 against 3.33).
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from experiments import output
from probjax import Data, information, linear, losses
from probjax.optimize import lbfgs

SEED = 0  # of the rows and of the logits
EPSILON = 0.1
EPSILONS = (0.0, 0.01, 0.1)  # of the linear softmax
NUM_ROWS, NUM_CLASSES = 90, 3
CENTRES = ((0.0, 2.4), (-2.1, -1.2), (2.1, -1.2))  # of the three classes
SPREAD = 0.45  # sd of a row around its centre
STEPS = (10, 100, 1000, 10_000)  # of gradient descent on the mean loss
RATE = 1.0  # its step


def by_hand(y: Array, logits: Array, epsilon: float) -> np.ndarray:
    """−Σ_k t_k log p_k, t = (1 − ε) onehot(y) + ε/K, in NumPy."""
    y, logits = np.asarray(y), np.asarray(logits)
    num_classes = logits.shape[1]
    targets = (1 - epsilon) * np.eye(num_classes)[y] + epsilon / num_classes
    return -(targets * (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))).sum(axis=1)


def decomposed(y: Array, logits: Array, epsilon: float, *, from_uniform: bool = True) -> Array:
    """(1 − ε) CE + ε (log K + KL(u ‖ p)); not `from_uniform`, with KL(p ‖ u) instead."""
    probs = jax.nn.softmax(logits)
    uniform = jnp.full_like(probs, 1 / probs.shape[1])
    kl = information.kl(uniform, probs) if from_uniform else information.kl(probs, uniform)
    return (1 - epsilon) * losses.softmax_cross_entropy(y, logits) + epsilon * (jnp.log(probs.shape[1]) + kl)


def identity_gaps(rng: np.random.Generator) -> dict[str, float]:
    """max |difference| from the loss over random logits."""
    logits = jnp.asarray(3 * rng.standard_normal((1000, NUM_CLASSES)))
    y = jnp.asarray(rng.integers(0, NUM_CLASSES, 1000))
    loss = losses.label_smoothed_cross_entropy(y, logits, EPSILON)
    gap = lambda other: float(np.max(np.abs(loss - other)))
    return {
        "CE against (1 − ε) onehot + ε/K": gap(by_hand(y, logits, EPSILON)),
        "(1 − ε) CE + ε (log K + KL(u ‖ p))": gap(decomposed(y, logits, EPSILON)),
        "the same with KL(p ‖ u)": gap(decomposed(y, logits, EPSILON, from_uniform=False)),
    }


def optimal_margin(num_classes: int, epsilon: float) -> float:
    """log(((1 − ε)K + ε)/ε): f_y − f_j where the loss of free logits is least."""
    return float(np.log(((1 - epsilon) * num_classes + epsilon) / epsilon))


def found_margin(num_classes: int, epsilon: float) -> float:
    """The same by L-BFGS on the logits."""
    loss = lambda f: losses.label_smoothed_cross_entropy(jnp.zeros(1, int), f[None], epsilon)[0]
    logits, _ = jax.jit(lambda: lbfgs(loss, jnp.zeros(num_classes)))()
    return float(logits[0] - jnp.max(logits[1:]))


def separable_rows(rng: np.random.Generator) -> Data:
    """Three clouds that straight lines part."""
    y = np.arange(NUM_ROWS) % NUM_CLASSES
    return Data(jnp.asarray(np.array(CENTRES)[y] + SPREAD * rng.standard_normal((NUM_ROWS, 2))), jnp.asarray(y))


def mean_loss(params: dict, data: Data, epsilon: Array) -> Array:
    """The loss of a linear softmax."""
    logits = linear(2, NUM_CLASSES).apply(params, data.x)
    return jnp.mean(losses.label_smoothed_cross_entropy(data.y, logits, epsilon))


def zeros() -> dict:
    """Where every fit starts."""
    return {"weight": jnp.zeros((2, NUM_CLASSES)), "bias": jnp.zeros(NUM_CLASSES)}


@jax.jit
def minimum(data: Data, epsilon: Array) -> tuple[dict, dict]:
    """The minimum by L-BFGS, and its info."""
    return lbfgs(lambda params: mean_loss(params, data, epsilon), zeros())


def norms(data: Data, epsilon: Array) -> Array:
    """‖w‖ after each number of STEPS of gradient descent."""
    descend = lambda _, w: jax.tree.map(lambda p, g: p - RATE * g, w, jax.grad(mean_loss)(w, data, epsilon))
    params, seen = zeros(), []
    for before, after in zip((0, *STEPS), STEPS):
        params = jax.lax.fori_loop(before, after, descend, params)
        seen.append(jnp.linalg.norm(params["weight"]))
    return jnp.stack(seen)


all_norms = jax.jit(jax.vmap(norms, (None, 0)))


def margins(params: dict, data: Data) -> np.ndarray:
    """f_y − max over the others, a row."""
    logits = linear(2, NUM_CLASSES).apply(params, data.x)
    own = jax.nn.one_hot(data.y, NUM_CLASSES, dtype=bool)
    return np.asarray(logits[own] - jnp.max(jnp.where(own, -jnp.inf, logits), axis=1))


def print_table(rng: np.random.Generator, data: Data, grown: dict[float, np.ndarray]) -> None:
    """Identities, margins of free logits, and what the linear softmax does."""
    rows = [[f"loss − {name}", f"{gap:.1e}", "at most"] for name, gap in identity_gaps(rng).items()]
    for num_classes in (2, 10):
        formula, found = optimal_margin(num_classes, EPSILON), found_margin(num_classes, EPSILON)
        rows.append([f"margin of free logits, K = {num_classes}: formula, found", f"{formula:.9f}", f"{found:.9f}"])
    for epsilon in EPSILONS:
        steps = ", ".join(f"{norm:.3g}" for norm in grown[epsilon])
        rows.append([f"ε = {epsilon:g}: ‖w‖ after {STEPS[0]:g}, … {STEPS[-1]:g} steps", steps, ""])
        if epsilon > 0:
            params, info = minimum(data, epsilon)
            seen, bound = margins(params, data), optimal_margin(NUM_CLASSES, epsilon)
            norm = f"{float(jnp.linalg.norm(params['weight'])):.3f}"
            rows += [
                ["    ‖w‖ by L-BFGS", norm, "converged" if info["converged"] else "not converged"],
                ["    margins, and the free one", f"{seen.min():.2f} to {seen.max():.2f}", f"{bound:.2f}"],
                ["    rows beyond it", f"{np.mean(seen > bound):.0%}", ""],
            ]
    output.table(f"label smoothing, ε = {EPSILON:g} where none is named", ["", "value", ""], rows)


def draw_confidence(ax, data: Data) -> None:
    """max p over the plane for ε = EPSILON, and the rows."""
    params, _ = minimum(data, EPSILON)
    side = np.linspace(-4.5, 4.5, 181)
    points = jnp.asarray(np.stack(np.meshgrid(side, side), -1).reshape(-1, 2))
    probs = np.asarray(jax.nn.softmax(linear(2, NUM_CLASSES).apply(params, points)))
    levels = [0.33, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1]
    filled = ax.contourf(side, side, probs.max(1).reshape(181, 181), levels=levels, cmap="Greys", vmax=1.6)
    ax.figure.colorbar(filled, ax=ax, spacing="uniform").ax.set_title("largest p", fontsize=9)
    for k in range(NUM_CLASSES):
        ax.plot(*np.asarray(data.x[data.y == k]).T, "o", color=output.COLOURS[k], ms=5, mec="white", mew=0.6)
    ax.set(aspect="equal", xlabel="x₁", ylabel="x₂", title=f"linear softmax, ε = {EPSILON:g}")


def save_figure(data: Data, grown: dict[float, np.ndarray], path: Path) -> None:
    """The rows; norms against steps; margins against the free bound."""
    figure, (left, middle, right) = output.panels(3, height=4.2, width=4.7)
    draw_confidence(left, data)
    for epsilon, colour in zip(EPSILONS, (output.EXACT, *output.COLOURS)):
        middle.semilogx(STEPS, grown[epsilon], "o-", color=colour, lw=2, label=f"ε = {epsilon:g}")
        if epsilon > 0:
            params, _ = minimum(data, epsilon)
            middle.axhline(float(jnp.linalg.norm(params["weight"])), color=colour, lw=1, ls=":")
            bound = optimal_margin(NUM_CLASSES, epsilon)
            seen = margins(params, data)
            right.hist(seen, bins=np.arange(0, 10, 0.5), color=colour, alpha=0.6, label=f"ε = {epsilon:g}")
            right.axvline(bound, color=colour, lw=2, ls="--")
    middle.set(xlabel="steps of gradient descent", ylabel="‖w‖", title="dotted: the finite minimum (L-BFGS)")
    right.set(xlabel="margin: own logit less the largest other", ylabel="rows")
    right.set_title("dashed: the margin of free logits")
    for ax in (middle, right):
        ax.legend(frameon=False)
    output.save(figure, path)


def main(out: Path = Path("figures"), seed: int = SEED) -> Path:
    """Fit, print the table, save the figure and return its path."""
    jax.config.update("jax_enable_x64", True)
    rng = np.random.default_rng(seed)
    data = separable_rows(rng)
    grown = dict(zip(EPSILONS, np.asarray(all_norms(data, jnp.array(EPSILONS)))))
    print_table(rng, data, grown)
    path = out / "label_smoothing.png"
    save_figure(data, grown, path)
    return path


if __name__ == "__main__":
    output.command(main, __doc__, SEED)
