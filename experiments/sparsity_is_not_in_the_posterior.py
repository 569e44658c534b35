"""Does a Laplace prior say that weights are exactly 0? `python -m experiments.sparsity_is_not_in_the_posterior`

No: only the mode is sparse. For one weight, by quadrature, the posterior under a Laplace prior has its mode at exactly
0 while its mean is 0.39, its median 0.33 and P(w = 0 | y) is 0: P(|w| < ε) falls in proportion to ε. Of 50 weights the
mode sets 23 to 0; of the posterior means, medians and 100,000 drawn weights none is 0, and no weight is within 0.01
posterior sd of 0 with more than 2% probability. A spike and slab has the atom, 0.58 after the row was seen. Heavier
tails do not help: under Student-t not even the mode is 0; what makes zeros is the kink.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize, stats

from experiments import output
from probjax import Data, Model, Prior, glm, likelihoods, linear, nuts, priors, regularisers
from verification.claims import listings

SEED = 0
SEEN = 0.8  # one row: y = w + N(0, 1)
PRIORS = {  # of that weight, all of variance 2 but for the atom
    "Laplace": priors.laplace(0.0, 1.0),
    "Student-t, 3 df": priors.student_t(3.0, 0.0, (2 / 3) ** 0.5),
    "spike and slab": priors.spike_and_slab(0.5, 2**0.5),
}
EDGE, NODES = 12.0, 200  # of the quadrature
NOISE, ALPHA = 15.0, 1.0  # of the 50 weights: the noise of the data, the penalty of the listing
NUM_DRAWS, NUM_WARMUP = 2000, 500
HASTE = {"xla_backend_optimization_level": 0}  # what takes longer to compile than to run
NEAR = 0.01  # posterior sd, called near 0


class OneWeight(NamedTuple):
    """The posterior of w given y = SEEN: an atom at 0 of probability `atom`, and a density elsewhere."""

    atom: float
    density: Callable[[np.ndarray], np.ndarray]
    mode: float
    mean: float
    sd: float
    median: float

    def near(self, width: float) -> float:
        """P(|w| < width)."""
        return self.atom + _integral(self.density, -width, width)


class ManyWeights(NamedTuple):
    """mode, mean, median, sd, q05, q95 and near, P(|w| < NEAR sd): [50]; zeros: how many numbers of all draws are 0."""

    mode: np.ndarray
    mean: np.ndarray
    median: np.ndarray
    sd: np.ndarray
    q05: np.ndarray
    q95: np.ndarray
    near: np.ndarray
    zeros: int
    max_rhat: float


def _integral(function: Callable, low: float, high: float) -> float:
    """Gauss–Legendre on either side of 0, where the densities are smooth."""
    points, rule = np.polynomial.legendre.leggauss(NODES)
    ends = [(low, min(0.0, high)), (max(0.0, low), high)]
    return sum((b - a) / 2 * float(rule @ function(a + (b - a) / 2 * (1 + points))) for a, b in ends if a < b)


def one_weight(prior: Prior) -> OneWeight:
    """p(w | y) ∝ p(w) N(y | w, 1) by quadrature; the mode is 0 where the slope changes its sign there."""
    log_prob = jax.jit(jax.vmap(prior.log_prob))
    joint = lambda w: np.exp(log_prob(jnp.asarray(w))) * stats.norm.pdf(SEEN, w)
    has_atom = priors.has_pole(prior)
    at_zero = float(joint(np.zeros(1))[0]) if has_atom else 0.0  # the prior's own value at 0 is its atom
    total = at_zero + _integral(joint, -EDGE, EDGE)
    density = lambda w: joint(w) / total
    moment = lambda power: _integral(lambda w: w**power * density(w), -EDGE, EDGE)
    below = lambda w: _integral(density, -EDGE, w) - 0.5
    straddles = below(0.0) < 0 < below(0.0) + at_zero / total
    median = 0.0 if straddles else optimize.brentq(lambda w: below(w) + at_zero / total * (w > 0), -EDGE, EDGE)
    slope = lambda w: float(jax.grad(prior.log_prob)(w)) + SEEN - w
    kinked = not has_atom and slope(-1e-12) >= 0 >= slope(1e-12)
    mode = 0.0 if kinked or has_atom else optimize.brentq(slope, 1e-12, SEEN)
    return OneWeight(at_zero / total, density, mode, moment(1), np.sqrt(moment(2) - moment(1) ** 2), median)


def many_weights(key: jax.Array) -> ManyWeights:
    """The lasso of the listing as a posterior: its mode by `glm`, the rest by NUTS."""
    train = listings.sparse()[0]
    scale = regularisers.sklearn_lasso_to_laplace(ALPHA, NOISE, len(train.y))
    prior = priors.joint(weight=priors.laplace(0.0, scale), bias=priors.flat())
    model = Model(*linear(train.x.shape[1]), prior=prior, likelihood=likelihoods.normal(NOISE))
    data = Data(jnp.asarray(train.x), jnp.asarray(train.y))
    mode = glm(key, model, data).draws["weight"][0]
    settings = {"num_draws": NUM_DRAWS, "num_warmup": NUM_WARMUP, "num_chains": 2, "dense_mass": False}
    posterior = jax.jit(lambda key: nuts(key, model, data, **settings), compiler_options=HASTE)(key)
    draws = np.asarray(posterior.draws["weight"])
    sd = draws.std(0, ddof=1)
    summaries = (draws.mean(0), np.median(draws, axis=0), sd, *np.quantile(draws, [0.05, 0.95], axis=0))
    near = (np.abs(draws) < NEAR * sd).mean(0)
    return ManyWeights(np.asarray(mode), *summaries, near, int(np.sum(draws == 0)), float(posterior.info["max_rhat"]))


def print_table(ones: dict[str, OneWeight], many: ManyWeights) -> None:
    """A row a posterior; for 50 weights, how many are exactly 0."""
    columns = ("posterior", "mode", "mean", "median", "P(w = 0)", f"P(|w| < {NEAR:g} sd)")
    number = lambda value: "0" if value == 0 else f"{value:.4f}"
    rows = []
    for name, one in ones.items():
        told = (one.mode, one.mean, one.median, one.atom, one.near(NEAR * one.sd))
        rows.append([f"{name}, one weight", *map(number, told)])
    zeros = (f"{np.sum(values == 0)} of 50 are 0" for values in (many.mode, many.mean, many.median))
    shown = f"{many.near.min():.4f} to {many.near.max():.4f}"
    rows.append(["Laplace, 50 weights", *zeros, f"{many.zeros} of {50 * NUM_DRAWS:,} drawn", shown])
    output.table(f"one weight: y = {SEEN:g}, noise of sd 1 (quadrature); 50 weights: NUTS", columns, rows)


def save_figure(ones: dict[str, OneWeight], many: ManyWeights, path: Path) -> None:
    """The one-weight posterior; P(|w| < ε) as ε falls; the weights whose mode is 0."""
    figure, axes = output.panels(3, height=4.2)
    w, laplace = np.linspace(-2.5, 3.5, 1200), ones["Laplace"]
    axes[0].plot(w, laplace.density(w), color=output.COLOURS[0], lw=2)
    for name, colour, style in (("mode", output.EXACT, "-"), ("median", output.COLOURS[1], "--"),
                                ("mean", output.COLOURS[2], "-.")):  # fmt: skip
        at = getattr(laplace, name)
        axes[0].vlines(
            at, 0, laplace.density(np.array([at]))[0], color=colour, ls=style, lw=2, label=f"{name} {at:.3g}"
        )
    axes[0].set(title="posterior under a Laplace prior", xlabel="w", ylabel="density", ylim=(0, None))
    widths = np.geomspace(1e-6, 1, 25)
    for (name, one), colour in zip(ones.items(), output.COLOURS):
        axes[1].plot(widths, [one.near(width) for width in widths], color=colour, lw=2, label=name,
                     ls="--" if "Student" in name else "-")  # fmt: skip
    axes[1].set(title="an atom, or none", xlabel="ε", ylabel="P(|w| < ε | y)", xscale="log", yscale="log")
    order = np.flatnonzero(many.mode == 0)
    order = order[np.argsort(many.mean[order])]
    at = np.arange(len(order))
    axes[2].vlines(at, many.q05[order], many.q95[order], color=output.COLOURS[0], lw=2, label="5% to 95%")
    axes[2].plot(at, many.mean[order], "o", color=output.COLOURS[0], ms=4.5, label="posterior mean")
    axes[2].plot(at, many.mode[order], "_", color=output.EXACT, ms=9, mew=1.6, label="mode: exactly 0")
    axes[2].set(
        title=f"the {len(order)} of 50 weights with mode 0", xlabel="weight, by its mean", ylabel="w", ylim=(-5, 6)
    )
    axes[2].set_xticks([])
    for ax, place in zip(axes, ("upper right", "lower right", "upper left")):
        ax.legend(loc=place, frameon=False, fontsize=9)
    output.save(figure, path)


def main(out: Path = Path("figures"), seed: int = SEED) -> Path:
    """Find the posteriors; print the table; save the figure and return its path."""
    jax.config.update("jax_enable_x64", True)
    ones = {name: one_weight(prior) for name, prior in PRIORS.items()}
    many = many_weights(jax.random.key(seed))
    print_table(ones, many)
    path = out / "sparsity_is_not_in_the_posterior.png"
    save_figure(ones, many, path)
    return path


if __name__ == "__main__":
    output.command(main, __doc__, SEED)
