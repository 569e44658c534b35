"""What do the modes under Gaussian and Laplace priors do to a fit? `python -m experiments.map_priors`

On 50 weights of which 10 matter ridge does not help the 20 test rows at any λ (least squares 24.3, λ = 1 27.3, λ = 10
51.4) and hardly helps in expectation (25.9 at the best λ, 26.1 without); the λ of most evidence, 0.6, does no better.
The Gaussian is the wrong shape here, not the wrong size: the lasso reaches 18.3, the posterior mean under the same
Laplace prior about 20, no weight being 0 in it. The printed errors of least squares and ridge are ours to all digits;
those of the lasso differ from the 4th on, for scikit-learn stopped early: run to the end it agrees to 1e-9.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import output
from probjax import Data, Model, empirical_bayes, glm, glm_path, likelihoods, linear, nuts, priors
from probjax import regularisers as convert
from verification.claims import listings

SEED = 0
NOISE = 15.0  # sd of the noise of the data: the modes depend on the penalty alone, the posterior mean on both
WIDE = 1e4  # sd of the bias where its prior must be proper
PENALTIES = np.append(np.geomspace(1e-2, 1e3, 50), [1.0, 10.0])  # λ of SSE + λ‖w‖²
ALPHAS = np.sort(np.append(np.geomspace(100.0, 1e-2, 50), [1.0, 0.1]))[::-1]  # α of SSE/2n + α‖w‖₁, tight to wide
NUM_DRAWS, NUM_WARMUP = 1000, 300
HASTE = {"xla_backend_optimization_level": 0}  # what takes longer to compile than to run
TRAIN, TEST = listings.sparse()
NUM_ROWS, NUM_INPUTS = TRAIN.x.shape
DENSITIES = {
    "normal": priors.normal(0.0, 1.0),
    "Laplace": priors.laplace(0.0, 1.0),
    "Student-t, 3 df": priors.student_t(3.0, 0.0, 1.0),
    "horseshoe": priors.horseshoe(1.0),
}


class Fit(NamedTuple):
    """weight [..., D], bias [...]: one fit, or a path of them."""

    weight: np.ndarray
    bias: np.ndarray

    def rmse(self, rows: listings.Regression) -> np.ndarray:
        """√ of the mean squared error on `rows`."""
        f = rows.x @ self.weight.T + self.bias
        return np.sqrt(np.mean((f.T - rows.y) ** 2, axis=-1))

    def expected(self) -> np.ndarray:
        """√ of the expected squared error on a new row, x ~ N(0, I): √(noise² + ‖w − truth‖² + bias²)."""
        return np.sqrt(NOISE**2 + np.sum((self.weight - TRAIN.truth) ** 2, axis=-1) + self.bias**2)

    def at(self, index: int) -> Fit:
        """One fit of a path."""
        return Fit(self.weight[index], self.bias[index])


def data() -> Data:
    """The 80 rows to learn from."""
    return Data(jnp.asarray(TRAIN.x), jnp.asarray(TRAIN.y))


def model(of_weights, noise_scale=1.0, of_bias=None) -> Model:
    """A line in all inputs, its bias free unless it has a prior."""
    prior = priors.joint(weight=of_weights, bias=priors.flat() if of_bias is None else of_bias)
    return Model(*linear(NUM_INPUTS), prior=prior, likelihood=likelihoods.normal(noise_scale))


def least_squares() -> Fit:
    """The mode under a flat prior."""
    draws = jax.jit(lambda key: glm(key, model(priors.flat()), data()), compiler_options=HASTE)(jax.random.key(0)).draws
    return Fit(np.asarray(draws["weight"]), np.asarray(draws["bias"])).at(0)


def ridge(penalties: np.ndarray) -> Fit:
    """argmin SSE + λ‖w‖² for every λ: the mode under N(0, 1/λ) and noise of sd 1."""
    prior = lambda penalty: priors.normal(0.0, convert.ridge_to_normal(penalty, 1.0))
    mode = lambda penalty: glm(jax.random.key(0), model(prior(penalty)), data()).draws
    draws = jax.jit(jax.vmap(mode), compiler_options=HASTE)(jnp.asarray(penalties))
    return Fit(np.asarray(draws["weight"])[:, 0], np.asarray(draws["bias"])[:, 0])


def lasso(alphas: np.ndarray) -> Fit:
    """argmin SSE/2n + α‖w‖₁ for every α, falling: the mode under Laplace(0, 1/nα) and noise of sd 1."""
    scales = convert.sklearn_lasso_to_laplace(jnp.asarray(alphas), 1.0, NUM_ROWS)
    path = lambda key: glm_path(key, lambda b: model(priors.laplace(0.0, b)), data(), values=scales)
    draws = jax.jit(path, compiler_options=HASTE)(jax.random.key(0)).draws
    return Fit(np.asarray(draws["weight"]), np.asarray(draws["bias"]))


def evidence_penalty() -> float:
    """λ = σ²/τ² at the maximum of the evidence over the noise σ and the prior's scale τ."""
    at = lambda hyper: model(priors.normal(0.0, hyper["prior"]), hyper["noise"], priors.normal(0.0, WIDE))
    run = jax.jit(lambda start: empirical_bayes(at, data(), start), compiler_options=HASTE)
    hyper, info = run({"prior": 10.0, "noise": 10.0})
    assert info["converged"]
    return float(convert.normal_to_ridge(hyper["prior"], hyper["noise"]))


def posterior_mean(key: jax.Array, alpha: float) -> Fit:
    """Under the Laplace prior whose mode is the lasso at α, by NUTS."""
    target = model(priors.laplace(0.0, convert.sklearn_lasso_to_laplace(alpha, NOISE, NUM_ROWS)), NOISE)
    settings = {"num_draws": NUM_DRAWS, "num_warmup": NUM_WARMUP, "num_chains": 1, "dense_mass": False}
    draws = jax.jit(lambda key: nuts(key, target, data(), **settings), compiler_options=HASTE)(key).draws
    return Fit(np.asarray(draws["weight"]).mean(0), np.asarray(draws["bias"]).mean(0))


def scikit_learn(name: str) -> Fit:
    """The objective of a row of `listings.SPARSE`, solved to the end by scikit-learn."""
    from sklearn.linear_model import Lasso, LinearRegression, Ridge

    kind, _, penalty = name.partition(" ")
    tight = {"tol": 1e-12, "max_iter": 1_000_000}
    peer = LinearRegression() if kind == "MLE" else {"Ridge": Ridge, "Lasso": Lasso}[kind](float(penalty), **tight)
    peer.fit(TRAIN.x, TRAIN.y)
    return Fit(peer.coef_, peer.intercept_)


def table_row(name: str, fit: Fit) -> list:
    """Errors and zeros; where `listings.SPARSE` prints the errors, the largest difference of those from ours, and of
    scikit-learn's at its tightest."""
    ours = np.array([fit.rmse(TRAIN), fit.rmse(TEST)])
    told = [name, *(f"{value:.6f}" for value in ours), f"{fit.expected():.2f}", int(np.sum(fit.weight != 0))]
    if name not in listings.SPARSE:
        return [*told, "", ""]
    tight = scikit_learn(name)
    gap = lambda other: f"{np.max(np.abs(np.array(other) - ours)):.1e}"
    return [*told, gap(listings.SPARSE[name][:2]), gap([tight.rmse(TRAIN), tight.rmse(TEST)])]


def save_figure(ridges: Fit, lassos: Fit, marks: dict[str, tuple[float, Fit]], path: Path) -> None:
    """Densities; the lasso path; errors along both paths, against the prior's sd under the noise of the data."""
    figure, axes = output.panels(3, height=4.8)
    w = np.linspace(-5, 5, 1000)  # even: 0, where the horseshoe's density is infinite, is left out
    for (name, prior), colour in zip(DENSITIES.items(), output.COLOURS):
        axes[0].plot(w, jax.vmap(prior.log_prob)(jnp.asarray(w)), color=colour, lw=2, label=name)
    axes[0].set(title="priors of one weight", xlabel="weight", ylabel="log density", ylim=(-9, 1.5))
    for weight, truth in sorted(zip(lassos.weight.T, TRAIN.truth), key=lambda pair: pair[1] != 0):
        axes[1].plot(ALPHAS, weight, color="0.7" if truth == 0 else output.COLOURS[0], lw=0.9 if truth == 0 else 1.7)
    axes[1].plot([], color=output.COLOURS[0], lw=1.7, label="the 10 that matter")
    axes[1].plot([], color="0.7", lw=0.9, label="the 40 that do not")
    axes[1].set(title="lasso path: exact zeros", xlabel="α", ylabel="weight at the mode", xscale="log")
    sds = {"ridge": NOISE / np.sqrt(PENALTIES), "lasso": np.sqrt(2) * NOISE**2 / (NUM_ROWS * ALPHAS)}
    for (name, sd), fit, colour in zip(sds.items(), (ridges, lassos), output.COLOURS):
        order = np.argsort(sd)
        axes[2].plot(sd[order], fit.rmse(TEST)[order], color=colour, lw=2, label=f"{name}, 20 test rows")
        axes[2].plot(sd[order], fit.expected()[order], color=colour, lw=1.2, ls="--", label=f"{name}, expected")
    for (name, (sd, fit)), marker in zip(marks.items(), "os"):
        axes[2].plot(sd, fit.rmse(TEST), marker, color=output.EXACT, ms=6, label=name)
    axes[2].set(title="error on new rows", xlabel="sd of the prior", ylabel="RMSE", xscale="log", ylim=(12, 60))
    for ax in axes:
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2, frameon=False, fontsize=9)
    output.save(figure, path)


def main(out: Path = Path("figures"), seed: int = SEED) -> Path:
    """Fit along both paths; print the table; save the figure and return its path."""
    jax.config.update("jax_enable_x64", True)
    penalty = evidence_penalty()
    ridges, lassos = ridge(np.append(PENALTIES, penalty)), lasso(ALPHAS)
    ridges, of_evidence = Fit(ridges.weight[:-1], ridges.bias[:-1]), ridges.at(-1)
    index = lambda values, value: int(np.argmin(np.abs(values - value)))
    rows = {"MLE": least_squares()}
    rows |= {f"Ridge {value:g}": ridges.at(index(PENALTIES, value)) for value in (1.0, 10.0)}
    rows |= {f"Lasso {value:g}": lassos.at(index(ALPHAS, value)) for value in (0.1, 1.0)}
    best_ridge, best_lasso = (int(np.argmin(path.expected())) for path in (ridges, lassos))
    rows[f"Ridge {PENALTIES[best_ridge]:.2g}, least expected error"] = ridges.at(best_ridge)
    rows[f"Lasso {ALPHAS[best_lasso]:.2g}, least expected error"] = lassos.at(best_lasso)
    rows[f"Ridge {penalty:.2g}, most evidence"] = of_evidence
    rows["posterior mean, prior of Lasso 1"] = mean = posterior_mean(jax.random.key(seed), 1.0)
    columns = ("fit", "train RMSE", "test RMSE", "expected", "not 0", "printed − ours", "scikit-learn − ours")
    output.table("80 rows, 50 columns of which 10 matter", columns, [table_row(*item) for item in rows.items()])
    path, lasso_sd = out / "map_priors.png", np.sqrt(2) * NOISE**2 / NUM_ROWS
    marks = {"ridge of most evidence": (NOISE / penalty**0.5, of_evidence), "posterior mean, α = 1": (lasso_sd, mean)}
    save_figure(ridges, lassos, marks, path)
    return path


if __name__ == "__main__":
    output.command(main, __doc__, SEED)
