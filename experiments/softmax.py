"""What does a softmax make of logits? `python -m experiments.softmax`

−log p(y | f) = logsumexp(f) − f_y, with the gradient p − onehot(y). On the listing's three rows it is 0.217735209, and
the first row's probabilities 0.68967, 0.25372, 0.05661, to all digits printed. A number added to all logits of a row
changes nothing, and two classes are logistic regression in the difference of their logits. Logits used as they are do
no such thing: divided by their sum they give a "probability" of −0.2 in the first row, and −f_y alone as a loss falls
by 1000 when 1000 is added to every logit.
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments import output
from probjax import likelihoods, losses
from verification.claims import listings

SEED = 0  # of the logits for K = 2
SHIFT = 1000.0
NUM_PAIRS = 1000  # rows of two logits
CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])  # where p is one of the classes


def three_rows() -> dict[str, float]:
    """Cross-entropy and first probabilities of the listing's rows."""
    logits, labels = (jnp.asarray(part) for part in listings.three_rows())
    first = jax.nn.softmax(logits)[0]
    return {
        "cross-entropy": float(-jnp.mean(likelihoods.categorical().log_prob(labels, logits))),
        **{f"p of row 1, class {k}": float(first[k]) for k in range(3)},
    }


def listed() -> dict[str, float]:
    """What the listing prints, by the names of `three_rows`."""
    printed = listings.THREE_ROWS
    return {"cross-entropy": printed["ce"], **{f"p of row 1, class {k}": p for k, p in enumerate(printed["first"])}}


def shifted() -> tuple[float, float]:
    """Change of the mean loss as SHIFT is added to all logits: softmax, and −f_y without a normaliser."""
    logits, labels = (jnp.asarray(part) for part in listings.three_rows())
    own = lambda f: -jnp.mean(jnp.take_along_axis(f, labels[:, None], axis=1))
    proper = lambda f: jnp.mean(losses.softmax_cross_entropy(labels, f))
    return float(proper(logits + SHIFT) - proper(logits)), float(own(logits + SHIFT) - own(logits))


def two_classes(key: jax.Array) -> float:
    """max |softmax loss of logits (a, b) − logistic loss of b − a|, logits up to some hundreds."""
    logit_key, label_key = jax.random.split(key)
    logits = 100 * jax.random.normal(logit_key, (NUM_PAIRS, 2))
    labels = jax.random.bernoulli(label_key, shape=(NUM_PAIRS,)).astype(int)
    binary = losses.binary_cross_entropy(labels.astype(logits.dtype), logits[:, 1] - logits[:, 0])
    return float(jnp.max(jnp.abs(losses.softmax_cross_entropy(labels, logits) - binary)))


def gradient_gap() -> float:
    """max |∇ loss − (p − onehot)| over the listing's rows."""
    logits, labels = (jnp.asarray(part) for part in listings.three_rows())
    slope = jax.grad(lambda f: jnp.sum(losses.softmax_cross_entropy(labels, f)))(logits)
    return float(jnp.max(jnp.abs(slope - (jax.nn.softmax(logits) - jax.nn.one_hot(labels, 3)))))


def as_scores(logits: np.ndarray) -> np.ndarray:
    """f / Σf: what becomes of logits that are taken for scores."""
    return logits / logits.sum(axis=-1, keepdims=True)


def print_table(key: jax.Array) -> None:
    """The listing beside probjax, then the identities and what breaks without the normaliser."""
    found, printed = three_rows(), listed()
    rows = [[n, f"{printed[n]:.16f}", f"{found[n]:.16f}", f"{abs(found[n] - printed[n]):.0e}"] for n in found]
    proper, bare = shifted()
    scores = as_scores(listings.three_rows()[0])[0]
    rows += [
        ["p − onehot, and the gradient", "", "", f"{gradient_gap():.0e}"],
        ["K = 2, and logistic regression", "", "", f"{two_classes(key):.0e}"],
        [f"loss after {SHIFT:g} more in all logits, less before", "0", f"{proper:.1e}", f"{abs(proper):.0e}"],
        ["the same with −f_y alone", "0", f"{bare:g}", f"{abs(bare):g}"],
        *([f"f / Σf of row 1, class {k}", "", f"{scores[k]:g}", ""] for k in range(3)),
    ]
    output.table("softmax cross-entropy is the categorical", ["", "reference", "found", "|difference|"], rows)


def draw_simplex(ax) -> None:
    """Where descent on the logits takes p when the label is class 0: −Σ_k ṗ_k of ḟ = onehot − p, over loss contours."""
    spread = np.stack(np.meshgrid(np.linspace(0, 1, 21), np.linspace(0, np.sqrt(0.75), 19)), -1)
    corners = np.column_stack([CORNERS, np.ones(3)])
    probs = np.concatenate([spread, np.ones((*spread.shape[:2], 1))], -1) @ np.linalg.inv(corners)  # barycentric
    pull = np.array([1.0, 0, 0]) - probs
    motion = probs * (pull - (probs * pull).sum(-1, keepdims=True)) @ CORNERS  # dp/dt under df/dt = onehot − p
    inside = (probs > 0.015).all(-1)
    fine = np.random.default_rng(0).dirichlet(np.ones(3), 6000)
    fine = np.concatenate([np.clip(fine, 1e-3, None), np.eye(3) * 0.997 + 1e-3])
    at = (fine / fine.sum(1, keepdims=True)) @ CORNERS
    filled = ax.tricontourf(at[:, 0], at[:, 1], -np.log(fine[:, 0]), levels=np.arange(0, 7.5, 0.5), cmap="Blues")
    ax.figure.colorbar(filled, ax=ax, label="−log p₀, nats", shrink=0.8, ticks=range(0, 8, 2))
    arrows = motion[inside] / np.linalg.norm(motion[inside], axis=1, keepdims=True)
    points = spread[inside]
    ax.quiver(points[:, 0], points[:, 1], arrows[:, 0], arrows[:, 1], color=output.COLOURS[1], scale=28, width=0.005)
    ax.plot(*np.vstack([CORNERS, CORNERS[:1]]).T, color="0.3", lw=1)
    for k, (x, y) in enumerate(CORNERS):
        ax.text(x, y + (0.03 if k == 2 else -0.03), f"p{'₀₁₂'[k]} = 1", ha="center", va="bottom" if k == 2 else "top")
    ax.set(aspect="equal", xlim=(-0.1, 1.1), ylim=(-0.1, 1.02))
    ax.set_title("label 0: where descent on the logits takes p")
    ax.axis("off")


def save_figure(path: Path) -> None:
    """p and its pull along one logit; a shift of all logits; the simplex."""
    figure, (left, middle, right) = output.panels(3, height=4.2, width=4.7)
    f = np.linspace(-6, 8, 300)
    row = np.column_stack([f, np.full_like(f, 1.0), np.full_like(f, -0.5)])
    probs = np.asarray(jax.nn.softmax(jnp.asarray(row), axis=1))
    for k in range(3):
        left.plot(f, probs[:, k], color=output.COLOURS[k], lw=2, label=f"p{'₀₁₂'[k]}")
    left.plot(f, 1 - probs[:, 0], color=output.EXACT, lw=1.5, ls="--", label="1 − p₀: pull on f₀, label 0")
    left.axvline(2, color="0.8", lw=1, zorder=0)
    left.set(xlabel="f₀, the others at 1 and −0.5 (the listing: 2)", ylim=(0, 1.35))
    left.set_title("row 1, its first logit moved")
    left.legend(frameon=False, loc="upper center", ncols=2, columnspacing=1.0)
    logits = listings.three_rows()[0][0]
    for part in (np.linspace(-3, -0.84, 200), np.linspace(-0.826, 3, 200)):  # f / Σf has its pole between
        ratio = as_scores(logits + part[:, None])
        for k in range(3):
            middle.plot(part, ratio[:, k], color=output.COLOURS[k], lw=1.6, ls="--")
    for k in range(3):
        middle.axhline(listings.THREE_ROWS["first"][k], color=output.COLOURS[k], lw=2.5)
    middle.plot([], [], color="0.3", lw=2.5, label="softmax")
    middle.plot([], [], color="0.3", lw=1.6, ls="--", label="f / Σf")
    middle.axhspan(-2.5, 0, color="0.93", lw=0, zorder=0)
    middle.axhspan(1, 3.5, color="0.93", lw=0, zorder=0)
    middle.text(2.9, -2.3, "no probability", ha="right", color="0.35")
    middle.set(xlabel="number added to every logit", ylim=(-2.5, 3.5), title="row 1, all logits shifted", xlim=(-3, 3))
    middle.legend(frameon=False, loc="upper right")
    draw_simplex(right)
    output.save(figure, path)


def main(out: Path = Path("figures"), seed: int = SEED) -> Path:
    """Print the table, save the figure and return its path."""
    jax.config.update("jax_enable_x64", True)
    print_table(jax.random.key(seed))
    path = out / "softmax.png"
    save_figure(path)
    return path


if __name__ == "__main__":
    output.command(main, __doc__, SEED)
