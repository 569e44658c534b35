"""Is binary cross-entropy the Bernoulli, and why from logits? `python -m experiments.cross_entropy`

−log p(y | f) = −y log σ(f) − (1 − y) log σ(−f): at the listing's coefficients it is the log loss that the listing
prints, 0.436077, to all 15 digits. Those coefficients are not quite the maximum: the solver stopped at a mean gradient
of 9e-5, and the exact mode lies 8e-4 from them, with a log loss 4e-8 lower. By way of probabilities clipped at 1e-15
the loss is off by 1e-3 at a wrong logit of 30 and never exceeds 34.54; from the logit it is 10⁴ at 10⁴. Squared error
on probabilities is a proper score too, but its slope at a wrong logit of −8 is 7e-4 where that of cross-entropy is 1:
descent takes 1507 steps out of there against 9.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments import output
from probjax import Data, Model, glm, likelihoods, linear, log_joint, losses, priors, regularisers
from verification.claims import listings

SEED = 0  # for glm, which draws no rows where there are so few: nothing here is random
C = 1e6  # scikit-learn's inverse penalty in the listing
CLIP = 1e-15
LOGITS = (10.0, 30.0, 34.0, 36.0, 100.0, 1e4)  # of class 1, where the label is 0
SATURATED = -8.0  # where descent starts, the label being 1


def two_classes_model() -> tuple[Model, Data]:
    """The listing's penalty as a prior, and its 1000 labels."""
    classes = listings.two_classes()
    prior = priors.joint(weight=priors.normal(0.0, regularisers.sklearn_c_to_normal(C)), bias=priors.flat())
    model = Model(*linear(2), prior=prior, likelihood=likelihoods.bernoulli())
    return model, Data(jnp.asarray(classes.x), jnp.asarray(classes.y))


def described(params: dict) -> dict[str, float]:
    """Coefficients, mean −log p, and how far from stationary: max|∇ log joint|/n."""
    model, data = two_classes_model()
    slope = jax.grad(lambda params: log_joint(model, params, data))(params)
    return {
        "coef 1": float(params["weight"][0]),
        "coef 2": float(params["weight"][1]),
        "intercept": float(params["bias"]),
        "log loss": float(jnp.mean(losses.binary_cross_entropy(data.y, model.apply(params, data.x)))),
        "max|∇|/n": max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(slope)) / len(data.y),
    }


def listed() -> dict[str, float]:
    """The listing's coefficients, their log loss computed anew."""
    printed = listings.TWO_CLASSES
    return described({"weight": jnp.array(printed["coef"]), "bias": jnp.asarray(printed["intercept"])})


def fitted(key: jax.Array) -> dict[str, float]:
    """The exact mode."""
    model, data = two_classes_model()
    return described(jax.tree.map(lambda leaf: leaf[0], glm(key, model, data).draws))


def clipped(y: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """The same loss by way of probabilities kept within [CLIP, 1 − CLIP]."""
    probs = np.clip(1 / (1 + np.exp(-logits)), CLIP, 1 - CLIP)
    return -(y * np.log(probs) + (1 - y) * np.log(1 - probs))


def squared_error(y: jax.Array, logits: jax.Array) -> jax.Array:
    """(y − σ(f))²: the Brier score."""
    return jnp.square(y - jax.nn.sigmoid(logits))


def slopes(loss: Callable, y: float, logits: Sequence) -> np.ndarray:
    """∂ loss / ∂ f at each logit."""
    one = lambda f: loss(jnp.full(1, y), f[None])[0]
    return np.asarray(jax.vmap(jax.grad(one))(jnp.asarray(logits)))


def steps_to_even(loss: Callable) -> int:
    """Steps f ← f − ∂loss/∂f from the saturated logit, label 1, until p > ½."""
    slope = jax.grad(lambda f: loss(jnp.ones(1), f[None])[0])
    step = lambda carry: (carry[0] - slope(carry[0]), carry[1] + 1)
    start = (jnp.asarray(SATURATED), 0)
    return int(jax.lax.while_loop(lambda carry: (carry[0] <= 0) & (carry[1] < 1_000_000), step, start)[1])


def print_table(key: jax.Array) -> None:
    """The fit beside the listing, the loss beside the clipped one, and descent on both losses."""
    found, printed = fitted(key), listed()
    apart = lambda one, other: f"{abs(one - other):.1e}"
    log_loss = listings.TWO_CLASSES["log_loss"]
    again = [f"{log_loss:.15f}", f"{printed['log loss']:.15f}", apart(log_loss, printed["log loss"])]
    rows = [["log loss of the listing's fit: as printed, by probjax", *again]]
    for name, value in found.items():
        form = "{:.1e}" if name == "max|∇|/n" else "{:.15f}"
        cells = [form.format(printed[name]), form.format(value), apart(printed[name], value)]
        rows.append([f"{name}: listing, exact mode", *cells])
    logits, zeros = np.array(LOGITS), np.zeros(len(LOGITS))
    exact = np.asarray(losses.binary_cross_entropy(zeros, logits))
    for logit, one, other in zip(LOGITS, exact, clipped(zeros, logits)):
        name = f"loss at logit {logit:g}, label 0: exact, clipped"
        rows.append([name, f"{one:.6f}", f"{other:.6f}", apart(one, other)])
    both = (losses.binary_cross_entropy, squared_error)
    at = f"logit {SATURATED:g}, label 1"
    rows.append([f"slope at {at}: CE, squared error", *(f"{slopes(f, 1.0, [SATURATED])[0]:.6f}" for f in both), ""])
    rows.append(["descent from there to p > ½, steps: CE, squared error", *map(steps_to_even, both), ""])
    output.table("binary cross-entropy", ["", "one", "other", "|difference|"], rows)


def save_figure(path: Path) -> None:
    """The loss of a wrong, confident logit; the slopes of cross-entropy and of squared error."""
    figure, (left, right) = output.panels(2, height=4.2, width=5.4)
    logits = np.geomspace(1, 1e4, 400)
    exact = losses.binary_cross_entropy(jnp.zeros(len(logits)), jnp.asarray(logits))
    left.loglog(logits, exact, color=output.COLOURS[0], lw=2.5, label="from the logit")
    by_probs = clipped(np.zeros(len(logits)), logits)
    left.loglog(logits, by_probs, color=output.COLOURS[1], lw=2, ls="--", label="from p clipped at 1e-15")
    left.annotate("never above −log 1e-15 = 34.5", (700, 30), color=output.COLOURS[1], ha="center", va="top")
    left.set(xlabel="logit of class 1, label 0", ylabel="loss, nats", title="clipping hides a confident error")
    left.legend(frameon=False, loc="upper left")
    logits = np.linspace(-20, 8, 300)
    for loss, name, colour, style in (
        (losses.binary_cross_entropy, "cross-entropy: 1 − p", output.COLOURS[0], "-"),
        (squared_error, "squared error: 2p (1 − p)²", output.COLOURS[1], "--"),
    ):
        right.semilogy(logits, -slopes(loss, 1.0, logits), color=colour, lw=2.5, ls=style, label=name)
    right.axvspan(-20, -4, color="0.93", lw=0)
    right.text(-12, 5, "confident and wrong", ha="center", color="0.35")
    right.set(xlabel="logit of class 1, label 1", ylabel="−∂loss/∂logit", ylim=(1e-9, 30), xlim=(-20, 8))
    right.set_title("squared error stops learning there")
    right.legend(frameon=False, loc="lower right")
    output.save(figure, path)


def main(out: Path = Path("figures"), seed: int = SEED) -> Path:
    """Print the table, save the figure and return its path."""
    jax.config.update("jax_enable_x64", True)
    print_table(jax.random.key(seed))
    path = out / "cross_entropy.png"
    save_figure(path)
    return path


if __name__ == "__main__":
    output.command(main, __doc__, SEED)
