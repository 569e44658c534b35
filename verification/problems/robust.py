"""Lines whose noise is the point: heavy tails, two slopes that compete for the rows, kinks."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from probjax import Model, likelihoods, linear, log_likelihood, priors
from verification.exact import kinked_plane
from verification.exact import row_densities as rows_of
from verification.exact.cache import solved
from verification.exact.glm_grid import Pilot
from verification.problems._flat import (
    Quantity,
    Rows,
    design,
    exact_queries,
    model_query,
    problem,
    rejected,
    solved_on_grid,
)
from verification.problems._parts import reweighted
from verification.types import Bug, Problem

LINE = [
    Quantity("bias", (1, 0)),
    Quantity("w", (0, 1)),
    Quantity("f(1)", (1, 1)),
    Quantity("f(-2)", (1, -2)),
]


def line_density(rows: Rows, log_prob: Callable, *args: float) -> Callable:
    """log p(θ, y), θ = [b, w] ~ N(0, 1); log_prob(y, f, *args) of all rows."""
    likelihood = new_density(rows.x, rows.y, log_prob, *args)
    return lambda theta: likelihood(theta) + rows_of.normal_prior(theta, 0.0, 1.0)


def new_density(x, y, log_prob, *args) -> Callable:
    """log p(y | θ), θ = [b, w]."""
    matrix = design(x).T
    return lambda theta: log_prob(y, theta @ matrix, *args)


def huber_rows() -> Rows:
    """14 rows of a line, the two at the right end far below it."""
    rng = np.random.default_rng(51)
    x = np.append(np.linspace(-2, 2, 14), [-1.5, -0.2, 0.6, 1.7])
    y = 0.8 * x + 0.2 + 0.5 * rng.standard_normal(18)
    y[12:14] -= [2.5, 3.0]
    return Rows.split(x[:, None], y, 14)


HUBER_DELTA, HUBER_SCALE = 1.0, 0.5


def huber() -> Problem:
    """y = xw + b + 0.5 z, z with Huber's density of δ = 1, N(0, 1) priors."""
    rows = huber_rows()
    noise = likelihoods.huber(HUBER_DELTA, HUBER_SCALE)
    model = Model(*linear(1), prior=priors.normal(), likelihood=noise)
    density = line_density(rows, rows_of.huber, HUBER_SCALE, HUBER_DELTA)
    new = new_density(rows.new_x, rows.new_y, rows_of.huber, HUBER_SCALE, HUBER_DELTA)
    edge = HUBER_DELTA * HUBER_SCALE
    lines = _lines(rows, (-edge, edge))
    pilot = Pilot(np.zeros(2), 0.08 * np.eye(2), 30)
    solve = lambda: kinked_plane.solve(exact_queries(LINE), density, lines, pilot, log_new=new, num_new=4)
    reference = solved("huber", solve)
    wrong = likelihoods.huber(HUBER_DELTA / HUBER_SCALE, HUBER_SCALE)
    return problem(
        "huber",
        "Huber regression, 14 rows with two outliers",
        model,
        rows,
        model_query(LINE),
        reference,
        rejected(model, density, reference, 2),
        Bug("δ taken in units of y instead of scales", reweighted(_other_noise(model, wrong, rows.data))),
        log_concave=True,
    )


def _lines(rows, distances):
    x, y = np.concatenate([rows.x, rows.new_x]), np.concatenate([rows.y, rows.new_y])
    return kinked_plane.residual_lines(design(x), y, distances)


def _other_noise(model, likelihood, data):
    wrong = model._replace(likelihood=likelihood)
    return lambda params: jnp.sum(log_likelihood(wrong, params, data) - log_likelihood(model, params, data))


def student_rows() -> Rows:
    """13 rows of two lines that cross: seven go up, six go down."""
    rng = np.random.default_rng(75)
    x = rng.uniform(-2, 2, 17)
    up = np.append(np.arange(13) % 2 == 0, [True, False, True, False])
    y = np.where(up, 0.3 + 0.6 * x, -0.1 - 0.6 * x) + 0.3 * rng.standard_normal(17)
    return Rows.split(x[:, None], y, 13)


STUDENT_DF, STUDENT_SCALE = 3.0, 0.3


def student_t() -> Problem:
    """y = xw + b + 0.3 t₃, N(0, 1) priors: two slopes compete for the rows."""
    rows = student_rows()
    noise = likelihoods.student_t(STUDENT_DF, STUDENT_SCALE)
    model = Model(*linear(1), prior=priors.normal(), likelihood=noise)
    density = line_density(rows, rows_of.student_t, STUDENT_SCALE, STUDENT_DF)
    new = new_density(rows.new_x, rows.new_y, rows_of.student_t, STUDENT_SCALE, STUDENT_DF)
    pilot = Pilot(np.zeros(2), 0.06 * np.eye(2), 40)
    settings = {"log_new": new, "num_new": 4, "step": 0.06, "pilot": pilot}
    reference = solved_on_grid("student_t_noise", LINE, density, 2, **settings)
    wrong = likelihoods.student_t(STUDENT_DF, STUDENT_SCALE * np.sqrt(1 - 2 / STUDENT_DF))
    return problem(
        "student_t_noise",
        "Student-t regression, 13 rows of two crossing lines, two modes",
        model,
        rows,
        model_query(LINE),
        reference,
        rejected(model, density, reference, 2, dof=4.0),
        Bug("the t's scale taken for its standard deviation", reweighted(_other_noise(model, wrong, rows.data))),
    )


def quantile_rows() -> Rows:
    """12 rows of a line whose noise is skewed."""
    rng = np.random.default_rng(53)
    x = rng.standard_normal(15)
    return Rows.split(x[:, None], 0.5 * x - 0.4 + rng.exponential(1.0, 15), 12)


QUANTILE, QUANTILE_SCALE = 0.8, 0.4


def quantile_regression() -> Problem:
    """The line below which 80% of y lie: asymmetric Laplace noise (Yu & Moyeed 2001), N(0, 1) priors."""
    rows = quantile_rows()
    noise = likelihoods.asymmetric_laplace(QUANTILE, QUANTILE_SCALE)
    model = Model(*linear(1), prior=priors.normal(), likelihood=noise)
    density = line_density(rows, rows_of.asymmetric_laplace, QUANTILE_SCALE, QUANTILE)
    new = new_density(rows.new_x, rows.new_y, rows_of.asymmetric_laplace, QUANTILE_SCALE, QUANTILE)
    pilot = Pilot(np.zeros(2), 0.15 * np.eye(2), 30)
    lines = _lines(rows, (0.0,))
    solve = lambda: kinked_plane.solve(exact_queries(LINE), density, lines, pilot, log_new=new, num_new=3)
    reference = solved("quantile_regression", solve)
    wrong = likelihoods.asymmetric_laplace(QUANTILE, QUANTILE_SCALE / 2)
    return problem(
        "quantile_regression",
        "quantile regression (80%), 12 rows, a kink at every row",
        model,
        rows,
        model_query(LINE),
        reference,
        rejected(model, density, reference, 2),
        Bug("check loss |z| + (2q − 1) z without its half", reweighted(_other_noise(model, wrong, rows.data))),
        log_concave=True,
    )


PROBLEMS = {"huber": huber, "student_t_noise": student_t, "quantile_regression": quantile_regression}
