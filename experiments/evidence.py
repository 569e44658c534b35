"""What does the evidence choose, and how well is it approximated? `python -m experiments.evidence`

Of polynomials fitted to 20 rows of a cubic the evidence picks degree 3 in 99 of 100 data sets; the largest likelihood,
which lacks the Occam term, always picks the largest model, though its test error is higher. For a logistic regression
Laplace's log evidence is too small by 0.08 nats at 10 rows and by 0.005 at 320, falling as 1/rows. For a network of
one tanh unit Laplace misses 0.78 nats and the ELBO 0.80 (full-rank) or 1.37 (mean-field); 0.69 = log 2 of each is the
mirror image (−w, −b, −a) of the hump that they sit on.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import probjax as pj
from experiments import output
from probjax import Data, Model, likelihoods, linear, mlp, priors
from verification.exact import quadrature
from verification.exact.network import one_unit_network
from verification.problems.network import NOISE, SCALES, one_unit_data

SEED = 0
CUBIC, SD, NUM_ROWS = (1.0, 2.0, 0.0, -3.0), 0.3, 20  # the truth and its noise, x uniform on [−1, 1]
DEGREES = np.arange(9)
TRIED = np.append(1.0, np.geomspace(0.05, 10, 100))  # τ of N(0, τ²) for every coefficient; the first is the model's
NUM_SETS = 100  # of polynomial data
SIZES, NUM_LOGISTIC = (10, 20, 40, 80, 160, 320), 6  # rows of the logistic regressions, data sets of each size
COEFFICIENTS, PRIOR_SCALE = np.array([0.5, 1.5]), 2.0  # their bias and slope
NODES = 41  # a dimension, of the quadrature
HASTE = {"xla_backend_optimization_level": 0}  # these programs take longer to compile than to run


class Polynomials(NamedTuple):
    """[R, 9]. evidence: log p(y), τ = 1. likelihood: the largest log p(y | w). train, test: RMSE of least squares.
    penalty: λ = σ²/τ² of most evidence. regularised: test RMSE of the posterior mean under it."""

    evidence: np.ndarray
    likelihood: np.ndarray
    train: np.ndarray
    test: np.ndarray
    penalty: np.ndarray
    regularised: np.ndarray


def design(x: np.ndarray) -> np.ndarray:
    """Legendre polynomials of degree 0 to 8, each of mean square 1 on [−1, 1]."""
    return np.polynomial.legendre.legvander(x, DEGREES[-1]) * np.sqrt(2 * DEGREES + 1)


def log_evidences(x: jax.Array, y: jax.Array, scales: jax.Array) -> jax.Array:
    """log p(y | degree, τ), [9, len(scales)], by `log_evidence`: x [N, 9] is the design, and a column of zeros leaves
    the evidence as if it were not there, so that one compilation serves all degrees."""

    def one(degree, scale):
        prior, noise = priors.normal(0.0, scale), likelihoods.normal(SD)
        model = Model(*linear(len(DEGREES), bias=False), prior=prior, likelihood=noise)
        return pj.log_evidence(model, Data(jnp.where(degree >= DEGREES, x, 0.0), y))

    return jax.vmap(lambda degree: jax.vmap(lambda scale: one(degree, scale))(scales))(jnp.asarray(DEGREES))


def polynomials(key: jax.Array) -> Polynomials:
    """NUM_SETS data sets of one cubic; the test error is the exact mean over x, noise included."""
    x_key, noise_key = jax.random.split(key)
    x = np.asarray(jax.random.uniform(x_key, (NUM_SETS, NUM_ROWS), minval=-1.0, maxval=1.0))
    y = np.polynomial.polynomial.polyval(x, CUBIC) + SD * np.asarray(jax.random.normal(noise_key, x.shape))
    nodes, rule = np.polynomial.legendre.leggauss(40)
    truth = np.polynomial.polynomial.polyval(nodes, CUBIC)
    evidence = np.asarray(jax.jit(jax.vmap(log_evidences, (0, 0, None)))(design(x), y, TRIED))
    penalty = (SD / TRIED[evidence.argmax(-1)]) ** 2
    rows = []
    for r in range(NUM_SETS):
        for degree in DEGREES:
            columns, new = design(x[r])[:, : degree + 1], design(nodes)[:, : degree + 1]
            free = np.linalg.lstsq(columns, y[r], rcond=None)[0]
            kept = np.linalg.solve(columns.T @ columns + penalty[r, degree] * np.eye(degree + 1), columns.T @ y[r])
            sse = np.sum((y[r] - columns @ free) ** 2)
            likelihood = -NUM_ROWS * np.log(SD * np.sqrt(2 * np.pi)) - 0.5 * sse / SD**2
            test = (np.sqrt(SD**2 + 0.5 * rule @ (truth - new @ w) ** 2) for w in (free, kept))
            rows.append([likelihood, np.sqrt(sse / NUM_ROWS), *test])
    likelihood, train, test, regularised = np.moveaxis(np.reshape(rows, (NUM_SETS, len(DEGREES), 4)), -1, 0)
    return Polynomials(evidence[..., 0], likelihood, train, test, penalty, regularised)


def logistic(key: jax.Array) -> np.ndarray:
    """Laplace's log evidence minus the exact one, by quadrature: [2, sizes, R], for a slope alone and for bias and
    slope. Rows of zeros, each of which has log p = −log 2, fill the data up to one size, and one compilation serves."""
    x_key, y_key = jax.random.split(key)
    x = np.asarray(jax.random.normal(x_key, (NUM_LOGISTIC, SIZES[-1])))
    design = np.stack([np.ones_like(x), x], axis=-1)
    y = np.asarray(jax.random.bernoulli(y_key, jax.nn.sigmoid(design @ COEFFICIENTS)), float)
    model = Model(*linear(2, bias=False), prior=priors.normal(0.0, PRIOR_SCALE), likelihood=likelihoods.bernoulli())
    one = lambda data: pj.laplace(jax.random.key(0), model, data, num_draws=1).info["log_evidence"]
    run, found = jax.jit(lambda data: pj.over_leading_axis(one, data), compiler_options=HASTE), []
    for first in (1, 0):
        for size in SIZES:
            kept = (np.arange(SIZES[-1]) < size)[:, None] * (np.arange(2) >= first)
            approximate = np.asarray(run(Data(design * kept, y))) + (SIZES[-1] - size) * np.log(2)
            exact = [exact_logistic(design[r, :size, first:], y[r, :size]) for r in range(NUM_LOGISTIC)]
            found.append(approximate - exact)
    return np.reshape(found, (2, len(SIZES), NUM_LOGISTIC))


def exact_logistic(x: np.ndarray, y: np.ndarray) -> float:
    """log ∫ N(w | 0, PRIOR_SCALE²) Π σ(±xᵀw) dw by the trapezoid rule."""
    sign = np.where(y > 0, 1.0, -1.0)

    def log_joint(w):
        log_prior = -0.5 * np.sum((w / PRIOR_SCALE) ** 2, 1) - w.shape[1] * np.log(PRIOR_SCALE * np.sqrt(2 * np.pi))
        return log_prior - np.logaddexp(0.0, -(w @ x.T) * sign).sum(1)

    mode, factor = quadrature.mode_and_factor(log_joint, np.zeros(x.shape[1]))
    return float(quadrature.tensor_grid(log_joint, mode, factor, NODES, 9.0)[3])


def one_unit(key: jax.Array) -> dict[str, float]:
    """log p(y) of the one-unit tanh network: exact, and by three approximations."""
    net, new_x, new_y = one_unit_data()
    w, b, a, c = SCALES
    prior = priors.normal(0.0, ({"weight": w, "bias": b}, {"weight": a, "bias": c}))
    model, data = Model(*mlp([1, 1, 1]), prior=prior, likelihood=likelihoods.normal(NOISE)), Data(net.x[:, None], net.y)
    run = lambda method: jax.jit(lambda key: method(key, model, data, num_draws=1).info, compiler_options=HASTE)
    fit = lambda method: run(method)(key)
    return {
        "exact": one_unit_network(net, new_x[:1], new_x, new_y, nodes=401).log_evidence,
        "Laplace": float(fit(pj.laplace)["log_evidence"]),
        "mean-field": float(fit(pj.mean_field)["elbo"]),
        "full-rank": float(fit(pj.full_rank)["elbo"]),
    }


def print_table(fits: Polynomials, laplace_error: np.ndarray, network: dict[str, float]) -> None:
    """The polynomials of the first data set, with picks over all; then what approximations miss."""
    pick = lambda values, degree: f"{np.mean(values.argmax(1) == degree):.0%}"
    rows = []
    for d in DEGREES:
        numbers = (f"{value[0, d]:.2f}" for value in fits)
        rows.append([f"degree {d}", *numbers, f"{pick(fits.evidence, d)}, {pick(fits.likelihood, d)}", ""])
    for size, errors in zip(SIZES, laplace_error[1]):
        gap = f"{errors.mean():+.4f} ± {errors.std(ddof=1) / len(errors) ** 0.5:.4f}"
        rows.append([f"logistic, {size} rows: Laplace", *[""] * 7, gap])
    for name in ("Laplace", "mean-field", "full-rank"):
        rows.append(
            [f"tanh unit: {name}", f"{network['exact']:.3f}", *[""] * 6, f"{network[name] - network['exact']:+.3f}"]
        )
    columns = ("model", "evidence", "likelihood", "train", "test", "best λ", "test", "picks", "less exact")
    title = (
        "log evidence, largest log likelihood (nats); RMSE of least squares, and of the ridge of most evidence; shares"
    )
    title += f" of {NUM_SETS} data sets in which they pick the degree; approximate less exact log evidence"
    output.table(title, columns, rows)


def save_figure(fits: Polynomials, laplace_error: np.ndarray, network: dict[str, float], path: Path) -> None:
    """Fit and evidence by degree; errors by degree; Laplace's error by rows; the network."""
    figure, axes = output.panels(4, height=4.0, width=4.0)
    blue, orange, green = output.COLOURS[:3]
    axes[0].plot(DEGREES, fits.likelihood[0], "o-", color=orange, label="largest log likelihood")
    axes[0].plot(DEGREES, fits.evidence[0], "o-", color=blue, label="log evidence")
    axes[0].plot(3, fits.evidence[0, 3], "o", color=blue, ms=12, mfc="none", mew=1.5)
    axes[0].set(title="what chooses the degree", xlabel="degree (truth: 3)", ylabel="nats", ylim=(-36, 3))
    shown = {"least squares, train": (fits.train, orange, "--"), "least squares, test": (fits.test, orange, "-"),
             "best λ, test": (fits.regularised, blue, "-")}  # fmt: skip
    for label, (values, colour, style) in shown.items():
        axes[1].plot(DEGREES, np.median(values, axis=0), style, marker="o", color=colour, label=label)
    axes[1].set(
        title=f"errors, medians of {NUM_SETS} data sets",
        xlabel="degree of the polynomial",
        ylabel="RMSE",
        ylim=(0.18, 0.8),
    )
    for errors, label, colour in zip(laplace_error, ("slope", "bias and slope"), (blue, green)):
        axes[2].plot(SIZES, np.abs(errors).mean(-1), "o-", color=colour, label=label)
    axes[2].plot(SIZES, 2 / np.array(SIZES), ":", color="0.4", label="∝ 1 / rows")
    axes[2].set(title="Laplace, logistic regression", xlabel="rows", ylabel="|log evidence − exact|, nats")
    axes[2].set(xscale="log", yscale="log")
    for at, (name, value) in enumerate(network.items()):
        axes[3].barh(-at, value - network["exact"], color=output.EXACT if name == "exact" else blue, height=0.55)
    axes[3].axvline(0, color=output.EXACT, lw=1.2)
    axes[3].axvline(-np.log(2), color=orange, ls="--", lw=1.5)
    axes[3].text(-0.66, 0.35, "−log 2: one of two\nmirrored humps", color=orange, fontsize=9)
    axes[3].set_yticks(-np.arange(len(network)), labels=network)
    axes[3].set(title="one tanh unit", xlabel="log evidence − exact, nats", ylim=(-3.5, 1.1))
    for ax, place in zip(axes, ("lower right", "upper left", "lower left")):
        ax.legend(loc=place, frameon=False, fontsize=9)
    output.save(figure, path)


def main(out: Path = Path("figures"), seed: int = SEED) -> Path:
    """Find all evidences; print the table; save the figure and return its path."""
    jax.config.update("jax_enable_x64", True)
    poly_key, logistic_key, network_key = jax.random.split(jax.random.key(seed), 3)
    found = polynomials(poly_key), logistic(logistic_key), one_unit(network_key)
    print_table(*found)
    path = out / "evidence.png"
    save_figure(*found, path)
    return path


if __name__ == "__main__":
    output.command(main, __doc__, SEED)
