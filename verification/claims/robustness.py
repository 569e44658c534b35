"""Outliers, and noise that is not the same everywhere."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from probjax import Data, Model, glm, likelihoods, linear, log_likelihood, map_estimate, priors, with_learnt_scale
from probjax.heads import location_and_scale
from verification.claims.counts import T_MARGIN
from verification.claims.parts import BAD, GOOD, KEY, THIRD, TRUTH, fitted, gap, least_squares
from verification.claims.types import CONTROL, STATED, UNDER, WITHOUT, Finding, Measurement, standard_error

NUM_SETS, NUM_ROWS = 240, 60


def _slopes(x, y):
    """Slopes [3, sets] of y on x by the Gaussian, Huber and Laplace likelihoods."""
    huber = Model(*linear(1), prior=priors.flat(), likelihood=likelihoods.huber(1.345, 1.0))
    fit = jax.jit(jax.vmap(lambda x, y: glm(KEY, huber, Data(x[:, None], y)).draws["weight"][0, 0]))
    squares = [least_squares(a[:, None], b)[0] for a, b in zip(x, y)]
    return np.array([squares, fit(jnp.asarray(x), jnp.asarray(y)), [_least_absolute(a, b)[0] for a, b in zip(x, y)]])


def _least_absolute(x, y):
    """Slope and intercept of least absolute deviations, as a linear program."""
    n = len(y)
    design = np.column_stack([x, np.ones(n)])
    cost = np.concatenate([np.zeros(2), np.ones(2 * n)])
    equal = np.hstack([design, np.eye(n), -np.eye(n)])
    return optimize.linprog(cost, A_eq=equal, b_eq=y, bounds=[(None, None)] * 2 + [(0, None)] * (2 * n)).x[:2]


def outliers(rng) -> Finding:
    """Bounded influence of y resists outliers in y; it does not resist outliers in x."""
    x = rng.normal(size=(NUM_SETS, NUM_ROWS))
    noise = rng.standard_normal((NUM_SETS, NUM_ROWS))
    hit = rng.uniform(size=noise.shape) < 0.1
    in_y = noise + hit * rng.choice([-1, 1], noise.shape) * 20
    in_x = np.where(hit, 15.0, x)
    errors = {
        "clean": (_slopes(x, x + noise) - 1) ** 2,
        "outliers in y": (_slopes(x, x + in_y) - 1) ** 2,
        "outliers in x": (_slopes(in_x, x + noise) - 1) ** 2,
    }

    def told(role, where, fit, name):
        """Whether the squared error stays below four times (the RMSE below twice) that on clean data."""
        excess = errors[where][fit] - 4 * errors["clean"][fit]
        what = f"squared error of {name} with {where} less four times its own on clean data"
        return Measurement(role, what, excess.mean(), 0.0, T_MARGIN * standard_error(excess))

    families = {
        "normal": likelihoods.normal(1.0),
        "Laplace": likelihoods.laplace(1.0),
        "Huber": likelihoods.huber(1.345, 1.0),
        "Student t₄": likelihoods.student_t(4.0, 1.0),
    }
    score = lambda likelihood, z: jax.vmap(jax.grad(lambda f, y: likelihood.log_prob(y[None], f[None])[0]))(0 * z, z)
    far = jnp.array([1e6])
    bounded = [abs(float(score(families[name], far)[0])) for name in ("Laplace", "Huber", "Student t₄")]

    return Finding(
        [
            told(UNDER, "outliers in y", 1, "Huber"),
            told(UNDER, "outliers in y", 2, "LAD"),
            Measurement(UNDER, "largest |score| at y = 1e6 of Laplace, Huber, Student", max(bounded), 1.345 + 1e-12),
            Measurement(
                UNDER,
                "|score| at y = 1e6 of the Gaussian",
                abs(float(score(families["normal"], far)[0])),
                1e5,
                at_least=True,
            ),
            told(WITHOUT, "outliers in x", 1, "Huber"),
            told(WITHOUT, "outliers in x", 2, "LAD"),
            told(CONTROL, "outliers in y", 0, "least squares"),
        ],
        lambda ax: _draw_outliers(ax, errors),
    )


def _draw_outliers(ax, errors):
    names, spots = list(errors), np.arange(3)
    for i, (name, colour) in enumerate((("least squares", BAD), ("Huber", GOOD), ("least absolute", THIRD))):
        rmse = [np.sqrt(errors[where][i].mean()) for where in names]
        ax.bar(spots + 0.27 * (i - 1), rmse, 0.27, color=colour, label=name)
    ax.set(xticks=spots, xticklabels=names, ylabel="RMSE of the slope")
    ax.legend(frameon=False)


def _variance_models():
    flat = priors.flat()
    return (
        Model(*with_learnt_scale(linear(1)), prior=flat, likelihood=likelihoods.normal()),
        Model(*location_and_scale(linear(1, 2)), prior=flat, likelihood=likelihoods.normal()),
    )


def noise_that_varies(rng) -> Finding:
    """Known scales: the mode is weighted least squares. Predicted ones: a better held-out density, where they vary."""
    x = rng.uniform(-2, 2, (1200, 1))
    noise = rng.standard_normal(1200)
    scales = {"varying": np.exp(-0.5 + 0.8 * x[:, 0]), "constant": np.full(1200, 0.7)}
    y = {name: 1.0 + 0.5 * x[:, 0] + scale * noise for name, scale in scales.items()}
    scale = scales["varying"]
    weighted = fitted(x, y["varying"], likelihoods.normal(scale))
    design = np.column_stack([x, np.ones(1200)])
    closed = np.linalg.solve((design / scale[:, None] ** 2).T @ design, (design / scale[:, None] ** 2).T @ y["varying"])
    old, new = slice(0, 600), slice(600, 1200)
    fit = jax.jit(lambda model, data, new: _held_out(model, data, new))
    density = {
        name: [
            np.asarray(fit(model, Data(x[old], target[old]), Data(x[new], target[new]))) for model in _variance_models()
        ]
        for name, target in y.items()
    }
    gain = {name: both[1] - both[0] for name, both in density.items()}
    told = lambda role, name: Measurement(
        role,
        f"gain in held-out density less 0.05 nats a row, {name} noise",
        gain[name].mean() - 0.05,
        0.0,
        T_MARGIN * standard_error(gain[name]),
        at_least=True,
    )

    return Finding(
        [
            Measurement(
                STATED, "mode under known scales less weighted least squares", gap(weighted, closed[[0, 1]]), 1e-8
            ),
            told(STATED, "varying"),
            told(CONTROL, "constant"),
        ],
        lambda ax: _draw_gain(ax, x, new, gain),
    )


def _draw_gain(ax, x, new, gain):
    for name, colour in (("varying", GOOD), ("constant", BAD)):
        order = np.argsort(x[new][:, 0])
        smooth = np.convolve(gain[name][order], np.ones(60) / 60, mode="valid")
        ax.plot(
            np.convolve(x[new][order, 0], np.ones(60) / 60, mode="valid"),
            smooth,
            color=colour,
            label=f"{name} noise",
        )
    ax.axhline(0, color=TRUTH, lw=0.8)
    ax.set(xlabel="x", ylabel="gain in log density, nats a row (60 rows averaged)")
    ax.legend(frameon=False)


def _held_out(model, data, new):
    params = jax.tree.map(lambda leaf: leaf[0], map_estimate(KEY, model, data).draws)
    return log_likelihood(model, params, new)
