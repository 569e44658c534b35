"""Densities without data that have one mode: correlated, ill-scaled, skewed and heavy-tailed. Every summary is a
closed form or a one-dimensional integral."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, log_ndtr
from jax.tree_util import Partial

from probjax import Target
from probjax.types import Static, function
from verification.exact import targets as exact
from verification.exact.cache import solved
from verification.types import Bug, Problem


def density_problem(name, about, log_joint, size, query, solve, draw, bug, *, log_concave=False) -> Problem:
    """A Target whose params are one array [size], with no data; `log_joint` is params -> scalar."""
    reference, query = solved(name, solve), function(query)
    constrain = Partial(_named, Static(reference.names), query)
    return Problem(
        name=name,
        about=about,
        model=Target(Partial(_standard_normal, Static(size)), Partial(_without_data, function(log_joint)), constrain),
        data=(),
        query=query,
        log_new=None,
        reference=reference,
        exact_draws=draw,
        log_concave=log_concave,
        bug=bug,
    )


def _standard_normal(size, key):
    return jax.random.normal(key, (size.value,))


def _without_data(log_joint, params, data):
    return log_joint(params)


def _named(names, query, params):
    return dict(zip(names.value, query(params)))


def linear_rows(rows):
    """x -> rows @ x."""
    return Partial(_product, jnp.asarray(rows))


def _product(rows, x):
    return rows @ x


def _normal_draws(mean, factor):
    return lambda rng, num: mean + rng.standard_normal((num, len(mean))) @ factor.T


def _gaussian_log_joint(mean, inverse_factor, log_det, x):
    """N(mean, LLᵀ), from L⁻¹ and log |L|."""
    z = inverse_factor @ (x - mean)
    return -0.5 * jnp.sum(z**2) - log_det - 0.5 * x.size * jnp.log(2 * jnp.pi)


def _gaussian(name, about, mean, factor, names, rows, bug) -> Problem:
    parts = (jnp.asarray(mean), jnp.asarray(np.linalg.inv(factor)), jnp.asarray(np.linalg.slogdet(factor)[1]))
    solve = lambda: exact.gaussian(names, mean, factor, rows)
    log_joint = Partial(_gaussian_log_joint, *parts)
    draw = _normal_draws(mean, factor)
    return density_problem(name, about, log_joint, len(mean), linear_rows(rows), solve, draw, bug, log_concave=True)


def gaussian_positive() -> Problem:
    """All pairs correlated at 0.95, sds 0.02, 0.5, 4 and 50. Contrasts of standardised coordinates show what the
    coordinates hide."""
    mean, scale = np.array([0.1, -1.0, 3.0, 20.0]), np.array([0.02, 0.5, 4.0, 50.0])
    corr = 0.95 + 0.05 * np.eye(4)
    contrasts = np.array([[1.0, -1, 0, 0], [0, 0, 1, -1], [1, 1, 1, 1]]) / scale
    names = ["x[1]", "x[2]", "x[3]", "x[4]", "z[1] - z[2]", "z[3] - z[4]", "z[1] + … + z[4]"]
    factor = scale[:, None] * np.linalg.cholesky(corr)
    with_jitter = _normal_draws(mean, scale[:, None] * np.linalg.cholesky(corr + 0.02 * np.eye(4)))
    return _gaussian(
        "gaussian_positive",
        "Gaussian in 4 dimensions, correlations 0.95, sds from 0.02 to 50",
        mean,
        factor,
        names,
        np.vstack([np.eye(4), contrasts]),
        Bug("jitter of 0.02 left on the correlation matrix", lambda rng, x: with_jitter(rng, len(x))),
    )


def gaussian_negative() -> Problem:
    """Corr(xᵢ, xⱼ) = (−0.95)^|i−j| in 3 dimensions: neighbours against each other."""
    mean, scale = np.array([1.0, -2.0, 0.5]), np.array([0.3, 1.0, 2.0])
    corr = (-0.95) ** np.abs(np.subtract.outer(np.arange(3), np.arange(3)))
    rows = np.vstack([np.eye(3), np.array([[1.0, 1, 0], [0, 1, 1], [1, 0, -1]]) / scale])
    names = ["x[1]", "x[2]", "x[3]", "z[1] + z[2]", "z[2] + z[3]", "z[1] - z[3]"]
    mirrored = lambda rng, x: np.column_stack([x[:, 0], 2 * mean[1] - x[:, 1], x[:, 2]])
    return _gaussian(
        "gaussian_negative",
        "Gaussian in 3 dimensions, neighbours correlated at -0.95",
        mean,
        scale[:, None] * np.linalg.cholesky(corr),
        names,
        rows,
        Bug("the sign of a negative correlation lost", mirrored),
    )


def gaussian_ill_scaled() -> Problem:
    """Principal sds 0.001, 0.01, 0.1 and 1 in rotated axes: the covariance has condition number 10⁶."""
    axes = np.linalg.qr(np.random.default_rng(4).standard_normal((4, 4)))[0]
    mean, sds = np.array([0.5, -0.5, 1.0, 0.0]), np.array([1e-3, 1e-2, 1e-1, 1.0])
    names = [f"x[{k}]" for k in range(1, 5)] + [f"direction of sd {sd:g}" for sd in sds]
    narrow = axes[:, :1]
    damage = lambda rng, x: x + 0.1 * ((x - mean) @ narrow) @ narrow.T
    return _gaussian(
        "gaussian_ill_scaled",
        "Gaussian in 4 dimensions, rotated, principal sds from 0.001 to 1",
        mean,
        axes * sds,
        names,
        np.vstack([np.eye(4), axes.T]),
        Bug("the narrowest direction's sd too large by a tenth", damage),
    )


def skew_normal() -> Problem:
    """Two skewed and dependent coordinates (Azzalini & Dalla Valle 1996)."""
    omega, alpha = np.array([[1.0, 0.6], [0.6, 1.0]]), np.array([6.0, -3.0])
    target = exact.SkewNormal(np.array([-1.0, 2.0]), np.array([1.0, 3.0]), omega, alpha)
    inverse = np.linalg.inv(np.linalg.cholesky(omega))
    parts = (target.loc, target.scale, inverse, -np.linalg.slogdet(inverse)[1] + np.log(target.scale).sum(), alpha)
    rows = np.array([[1.0, 0], [0, 1], [1, -1 / 3], [1, 1 / 3]])
    delta = target.delta
    of_marginals = target._replace(alpha=delta / np.sqrt(1 - delta**2))
    return density_problem(
        "skew_normal",
        "skew normal in 2 dimensions",
        Partial(_skew_normal_log_joint, *map(jnp.asarray, parts)),
        2,
        linear_rows(rows),
        lambda: exact.skew_normal(("x[1]", "x[2]", "x[1] - x[2]/3", "x[1] + x[2]/3"), target, rows),
        lambda rng, num: _skew_normal_draws(rng, num, target),
        Bug("marginal shapes taken for joint ones", lambda rng, x: _skew_normal_draws(rng, len(x), of_marginals)),
        log_concave=True,
    )


def _skew_normal_log_joint(loc, scale, inverse_factor, log_det, alpha, x):
    z = (x - loc) / scale
    white = inverse_factor @ z
    return jnp.log(2.0) - jnp.log(2 * jnp.pi) - 0.5 * jnp.sum(white**2) - log_det + log_ndtr(alpha @ z)


def _skew_normal_draws(rng, num, target):
    # z ~ N(0, Ω), its sign turned so that αᵀz and an independent normal's bound agree
    z = rng.standard_normal((num, 2)) @ np.linalg.cholesky(target.omega).T
    sign = np.where(rng.standard_normal(num) < z @ target.alpha, 1.0, -1.0)
    return target.loc + target.scale * z * sign[:, None]


def student_t() -> Problem:
    """Three coordinates with 5 degrees of freedom: the last moments a sample of sds needs just exist."""
    loc, scale, corr = np.array([0.0, 2.0, -1.0]), np.array([1.0, 0.2, 3.0]), 0.6 + 0.4 * np.eye(3)
    factor, dof = scale[:, None] * np.linalg.cholesky(corr), 5.0
    inverse = np.linalg.inv(factor)
    rows = np.vstack([np.eye(3), np.array([[1.0, -1, 0]]) / scale])
    radius = lambda x: np.sqrt((((x - loc) @ inverse.T) ** 2).sum(1))
    farthest = np.sqrt(3 * 5.409)  # the 95% point of F(3, 5)

    def draw(rng, num):
        z = rng.standard_normal((num, 3)) / np.sqrt(rng.chisquare(dof, num) / dof)[:, None]
        return loc + z @ factor.T

    def within(rng, x):
        return x[rng.choice(np.flatnonzero(radius(x) < farthest), len(x))]

    return density_problem(
        "student_t",
        "Student-t in 3 dimensions, 5 degrees of freedom",
        Partial(_student_t_log_joint, jnp.asarray(loc), jnp.asarray(inverse), jnp.asarray(dof)),
        3,
        Partial(_linear_and_log_radius, jnp.asarray(rows), jnp.asarray(loc), jnp.asarray(inverse)),
        lambda: exact.student_t(("x[1]", "x[2]", "x[3]", "z[1] - z[2]", "log_radius"), dof, loc, factor, rows),
        draw,
        Bug("tails beyond the 95% radius never visited", within),
    )


def _student_t_log_joint(loc, inverse_factor, dof, x):
    z, dim = inverse_factor @ (x - loc), x.size
    normaliser = gammaln((dof + dim) / 2) - gammaln(dof / 2) - 0.5 * dim * jnp.log(dof * jnp.pi)
    return normaliser + jnp.linalg.slogdet(inverse_factor)[1] - 0.5 * (dof + dim) * jnp.log1p(jnp.sum(z**2) / dof)


def _linear_and_log_radius(rows, loc, inverse_factor, x):
    return jnp.append(rows @ x, 0.5 * jnp.log(jnp.sum((inverse_factor @ (x - loc)) ** 2)))


CAUCHY = (np.array([1.0, -3.0]), np.array([0.5, 2.0]))  # loc, scale


def cauchy() -> Problem:
    """A two-dimensional Cauchy: quantiles, and no claim about means, sds or correlations, which do not exist."""
    loc, scale = CAUCHY
    rows = np.array([[1.0, 0], [0, 1], [2, -0.5]])
    solve = lambda: exact.cauchy(("x[1]", "x[2]", "2 x[1] - x[2]/2"), loc, scale, rows)
    return _cauchy("cauchy", "Cauchy in 2 dimensions, by quantiles alone", linear_rows(rows), solve)


def cauchy_compressed() -> Problem:
    """The same density judged by asinh of its coordinates and by its log radius, which have all moments."""
    loc, scale = CAUCHY
    query = Partial(_compressed, jnp.asarray(loc), jnp.asarray(scale))
    solve = lambda: exact.cauchy_compressed(("asinh z[1]", "asinh z[2]", "log_radius"))
    return _cauchy("cauchy_compressed", "Cauchy in 2 dimensions, on an asinh scale", query, solve)


def _cauchy(name, about, query, solve) -> Problem:
    loc, scale = CAUCHY
    log_joint = Partial(_cauchy_log_joint, jnp.asarray(loc), jnp.asarray(scale))
    draw = lambda rng, num: loc + scale * rng.standard_normal((num, 2)) / np.abs(rng.standard_normal((num, 1)))

    def in_a_box(rng, x):
        inside = np.all(np.abs(x - loc) < 30 * scale, axis=1)
        return x[rng.choice(np.flatnonzero(inside), len(x))]

    return density_problem(
        name, about, log_joint, 2, query, solve, draw, Bug("a box of 30 scales cuts the tails", in_a_box)
    )


def _cauchy_log_joint(loc, scale, x):
    z = (x - loc) / scale
    return -1.5 * jnp.log1p(jnp.sum(z**2)) - jnp.log(2 * jnp.pi) - jnp.sum(jnp.log(scale))


def _compressed(loc, scale, x):
    z = (x - loc) / scale
    return jnp.append(jnp.arcsinh(z), 0.5 * jnp.log(jnp.sum(z**2)))


PROBLEMS = {
    "gaussian_positive": gaussian_positive,
    "gaussian_negative": gaussian_negative,
    "gaussian_ill_scaled": gaussian_ill_scaled,
    "skew_normal": skew_normal,
    "student_t": student_t,
    "cauchy": cauchy,
    "cauchy_compressed": cauchy_compressed,
}
