"""Is least squares the maximum of a Gaussian likelihood? `python -m experiments.mle_regression`

log p(y | w, σ) = −n/2 log 2πσ² − SSE(w)/2σ², on 50 points of a line. For every σ the maximum in w is the minimum of
SSE, and the maximum in σ is √MSE. Both ways, Newton's method on w with σ = √MSE and L-BFGS on (w, log σ) together, give
the slope 1.88403, intercept 1.12889, σ 1.81675 and log-likelihood −100.79928 of the listing, to 13 digits or more;
weights found under a noise scale that is wrong are the same. Without the term −n log σ nothing holds σ: L-BFGS has
carried it to 257 after 20 steps and to 3e5 after 40.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments import output
from probjax import Data, Model, glm, likelihoods, linear, log_likelihood, map_estimate, priors, with_learnt_scale
from probjax.optimize import lbfgs
from verification.claims import listings

SEED = 0  # of the starting point of L-BFGS: the data are given
OTHER_SCALES = (0.1, 30.0)  # wrong noise scales under which the weights are found again
STEPS = (5, 10, 20, 40)  # of L-BFGS without the term log σ


def line_data() -> Data:
    """The listing's 50 points."""
    line = listings.line()
    return Data(jnp.asarray(line.x)[:, None], jnp.asarray(line.y))


def learnt_model() -> Model:
    """f = (wᵀx + b, σ), flat in the weights and in log σ."""
    return Model(*with_learnt_scale(linear(1)), prior=priors.flat(), likelihood=likelihoods.normal())


def described(params: dict, data: Data) -> dict[str, float]:
    """The listing's four numbers of params {"network": {"weight", "bias"}, "log_scale"}."""
    return {
        "slope": float(params["network"]["weight"][0]),
        "intercept": float(params["network"]["bias"]),
        "sigma": float(jnp.exp(params["log_scale"])),
        "loglik": float(jnp.sum(log_likelihood(learnt_model(), params, data))),
    }


def weights_at(scale: float, data: Data) -> dict:
    """argmax of the likelihood over the weights, the noise scale being held."""
    model = Model(*linear(1), prior=priors.flat(), likelihood=likelihoods.normal(scale))
    return jax.tree.map(lambda leaf: leaf[0], glm(jax.random.key(0), model, data).draws)


def by_newton(data: Data) -> dict[str, float]:
    """Weights by `glm` with σ = 1, then σ = √MSE."""
    weights = weights_at(1.0, data)
    mse = jnp.mean((data.y - linear(1).apply(weights, data.x)) ** 2)
    return described({"network": weights, "log_scale": 0.5 * jnp.log(mse)}, data)


def by_lbfgs(key: jax.Array, data: Data) -> dict[str, float]:
    """Weights and log σ together."""
    posterior = map_estimate(key, learnt_model(), data, fit=partial(lbfgs, tolerance=1e-13))
    return described(jax.tree.map(lambda leaf: leaf[0], posterior.draws), data)


def runaway(data: Data) -> np.ndarray:
    """σ after each number of STEPS of L-BFGS on SSE/2σ², the term n log σ left out."""
    network = with_learnt_scale(linear(1))

    def objective(params):
        loc, scale = network.apply(params, data.x)
        return 0.5 * jnp.sum(((data.y - loc) / scale) ** 2)

    @jax.jit
    def scale_after(num_steps):
        params, _ = lbfgs(objective, network.init(jax.random.key(0)), max_steps=num_steps, tolerance=0.0)
        return jnp.exp(params["log_scale"])

    return np.array([scale_after(num_steps) for num_steps in STEPS])


def print_table(found: dict[str, dict], data: Data, escaped: np.ndarray) -> None:
    """The listing's numbers beside both ways, then the other noise scales and the runaway."""
    rows = []
    for name, printed in listings.LINE.items():
        pairs = ((f"{way[name]:.14f}", f"{abs(way[name] - printed):.0e}") for way in found.values())
        rows.append([name, f"{printed:.14f}", *(cell for pair in pairs for cell in pair)])
    for scale in OTHER_SCALES:
        slope = float(weights_at(scale, data)["weight"][0])
        change = f"{abs(slope - listings.LINE['slope']):.0e}"
        rows.append([f"slope, σ held at {scale:g}", "", f"{slope:.14f}", change, "", ""])
    for num_steps, scale in zip(STEPS, escaped):
        rows.append([f"sigma without log σ, {num_steps} steps", "", "", "", f"{scale:.4g}", ""])
    columns = ["", "listing", "Newton, σ = √MSE", "|difference|", "L-BFGS on (w, log σ)", "|difference|"]
    output.table("the maximum of the Gaussian likelihood", columns, rows)


def save_figure(fit: dict[str, float], data: Data, path: Path) -> None:
    """The fit with two σ on either side; the log-likelihood of σ, with and without its term log σ."""
    figure, (left, right) = output.panels(2, height=4.2, width=5.4)
    x, y = np.asarray(data.x[:, 0]), np.asarray(data.y)
    mean = fit["intercept"] + fit["slope"] * x
    left.fill_between(x, mean - 2 * fit["sigma"], mean + 2 * fit["sigma"], color=output.COLOURS[0], alpha=0.15, lw=0)
    left.plot(x, mean, color=output.COLOURS[0], lw=2, label="maximum likelihood, ± 2σ")
    left.plot(x, 1 + 2 * x, color=output.EXACT, lw=1.2, ls="--", label="truth, 1 + 2x")
    left.plot(x, y, "o", color="0.35", ms=4)
    left.set(xlabel="x", ylabel="y", title="50 points")
    left.legend(frameon=False, loc="upper left")
    scales = np.geomspace(0.9, 30, 300)
    misfit = -0.5 * np.sum((y - mean) ** 2) / scales**2
    normaliser = -len(x) * (0.5 * np.log(2 * np.pi) + np.log(scales))
    right.plot(scales, misfit + normaliser, color=output.COLOURS[0], lw=2, label="log p(y | ŵ, σ)")
    right.plot(scales, misfit, color=output.COLOURS[1], lw=2, ls="--", label="−SSE/2σ² alone: rises for ever")
    found = f"σ = √MSE = {fit['sigma']:.4g}"
    right.plot(fit["sigma"], fit["loglik"], "o", color=output.EXACT, ms=7, zorder=3, label=found)
    right.set_xscale("log")
    right.set_xticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
    right.minorticks_off()
    right.set(xlabel="σ", ylabel="nats", ylim=(-260, 20), title="what holds σ is its logarithm")
    right.legend(frameon=False, loc="lower right")
    output.save(figure, path)


def main(out: Path = Path("figures"), seed: int = SEED) -> Path:
    """Fit both ways, print the table, save the figure and return its path."""
    jax.config.update("jax_enable_x64", True)
    data = line_data()
    found = {"Newton": by_newton(data), "L-BFGS": by_lbfgs(jax.random.key(seed), data)}
    print_table(found, data, runaway(data))
    path = out / "mle_regression.png"
    save_figure(found["Newton"], data, path)
    return path


if __name__ == "__main__":
    output.command(main, __doc__, SEED)
