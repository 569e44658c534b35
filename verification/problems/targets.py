"""Densities without data, in the shapes that samplers find hard: correlated, ill-scaled, skewed, heavy-tailed, of two
modes, at a boundary, and curved. Every summary is a closed form or a one-dimensional integral."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betaln, gammaln, log_ndtr, logsumexp
from jax.scipy.stats import norm
from jax.tree_util import Partial

from probjax import Target
from probjax.types import Static, function
from verification.exact import shapes
from verification.exact import targets as exact
from verification.exact.cache import solved
from verification.types import Bug, Problem


def _problem(name, about, log_joint, size, query, solve, draw, bug, *, log_concave=False) -> Problem:
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


def _linear(rows):
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
    return _problem(name, about, log_joint, len(mean), _linear(rows), solve, draw, bug, log_concave=True)


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
    return _problem(
        "skew_normal",
        "skew normal in 2 dimensions",
        Partial(_skew_normal_log_joint, *map(jnp.asarray, parts)),
        2,
        _linear(rows),
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

    return _problem(
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
    return _cauchy("cauchy", "Cauchy in 2 dimensions, by quantiles alone", _linear(rows), solve)


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

    return _problem(name, about, log_joint, 2, query, solve, draw, Bug("a box of 30 scales cuts the tails", in_a_box))


def _cauchy_log_joint(loc, scale, x):
    z = (x - loc) / scale
    return -1.5 * jnp.log1p(jnp.sum(z**2)) - jnp.log(2 * jnp.pi) - jnp.sum(jnp.log(scale))


def _compressed(loc, scale, x):
    z = (x - loc) / scale
    return jnp.append(jnp.arcsinh(z), 0.5 * jnp.log(jnp.sum(z**2)))


def mixture_separated() -> Problem:
    """Two modes, ten sds apart, with 0.7 and 0.3 of the mass."""
    means = np.array([[-3.0, 1.0], [4.0, -1.0]])
    covariances = np.array([[[0.6, 0.3], [0.3, 0.5]], [[0.5, -0.2], [-0.2, 0.8]]])
    target = exact.Mixture(np.array([0.7, 0.3]), means, covariances)
    larger = target._replace(weights=np.array([1.0, 0.0]))
    bug = Bug("one mode of two", lambda rng, x: _mixture_draws(rng, len(x), larger))
    return _mixture("mixture_separated", "two Gaussian modes far apart, 0.7 and 0.3 of the mass", target, 13.0, bug)


def mixture_close() -> Problem:
    """Two modes of unlike width that chains can cross between."""
    means = np.array([[-1.5, 0.0], [1.5, 0.5]])
    covariances = np.array([[[1.0, 0.3], [0.3, 0.6]], [[0.25, -0.1], [-0.1, 0.4]]])
    target = exact.Mixture(np.array([0.7, 0.3]), means, covariances)
    heights = target.weights / np.sqrt(np.linalg.det(covariances))
    by_height = target._replace(weights=heights / heights.sum())
    bug = Bug("modes weighted by their height", lambda rng, x: _mixture_draws(rng, len(x), by_height))
    return _mixture("mixture_close", "two overlapping Gaussian modes, 0.7 and 0.3 of the mass", target, 11.0, bug)


def _mixture(name, about, target, half_width, bug) -> Problem:
    inverses = np.linalg.inv(np.linalg.cholesky(target.covariances))
    log_weights = np.log(target.weights) + np.linalg.slogdet(inverses)[1] - np.log(2 * np.pi)
    parts = map(jnp.asarray, (log_weights, target.means, inverses))
    rows = np.array([[1.0, 0], [0, 1], [1, 1], [1, -1]])
    return _problem(
        name,
        about,
        Partial(_mixture_log_joint, *parts),
        2,
        _linear(rows),
        lambda: exact.mixture(("x[1]", "x[2]", "x[1] + x[2]", "x[1] - x[2]"), target, rows, half_width),
        lambda rng, num: _mixture_draws(rng, num, target),
        bug,
    )


def _mixture_log_joint(log_weights, means, inverses, x):
    z = jnp.einsum("kij,kj->ki", inverses, x - means)
    return logsumexp(log_weights - 0.5 * jnp.sum(z**2, axis=1))


def _mixture_draws(rng, num, target):
    factors, mode = np.linalg.cholesky(target.covariances), rng.choice(len(target.weights), num, p=target.weights)
    return target.means[mode] + np.einsum("sij,sj->si", factors[mode], rng.standard_normal((num, 2)))


def boundary_logit() -> Problem:
    """Two probabilities that press against 0 and 1, Beta(½, ½) and Beta(0.3, 3), as log-odds."""
    shapes_ab, epsilon = np.array([[0.5, 0.5], [0.3, 3.0]]), 1e-3

    def draw(rng, num):
        # the logit of a Beta is a difference of log Gammas; log Gamma(a) = log Gamma(a + 1) + log(uniform)/a keeps its
        # digits where the Gamma itself is below the smallest number
        log_gamma = lambda a: np.log(rng.gamma(a + 1, size=num)) - rng.exponential(size=num) / a
        return np.column_stack([log_gamma(a) - log_gamma(b) for a, b in shapes_ab])

    def damage(rng, u):
        # the exponents a − 1 are negative, so the ratio wrong/right is at most 1: rejection
        log_ratio = (shapes_ab[:, 0] - 1) * np.log1p(epsilon * (1 + np.exp(-u)))
        return u[rng.choice(np.flatnonzero(np.log(rng.uniform(size=len(u))) < log_ratio.sum(1)), len(u))]

    return _problem(
        "boundary_logit",
        "two probabilities pressed against 0 and 1, as log-odds",
        Partial(_betas_log_joint, jnp.asarray(shapes_ab)),
        2,
        _probabilities_and_logits,
        lambda: exact.independent_betas(("p[1]", "logit p[1]", "p[2]", "logit p[2]"), [(0.5, 0.5), (0.3, 3.0)]),
        draw,
        Bug("log(p + 0.001) for log p", damage),
        log_concave=True,
    )


def _betas_log_joint(shapes_ab, u):
    a, b = shapes_ab.T
    return jnp.sum(a * jax.nn.log_sigmoid(u) + b * jax.nn.log_sigmoid(-u) - betaln(a, b))


def _probabilities_and_logits(u):
    return jnp.stack([jax.nn.sigmoid(u), u], axis=1).ravel()


def boundary_log() -> Problem:
    """0 < a < b with a half-normal(1) and b − a ~ Exponential(1), both densities largest at the boundary; parameters
    log a and log(b − a)."""

    def damage(rng, u):
        return np.column_stack([u[:, 0], np.log(rng.gamma(2.0, size=len(u)))])

    return _problem(
        "boundary_log",
        "an ordered pair, its densities largest at the boundary, on log scales",
        _ordered_log_joint,
        2,
        _ordered_pair,
        lambda: exact.ordered_pair(("a", "b", "log a", "log(b - a)")),
        lambda rng, num: np.log(np.column_stack([np.abs(rng.standard_normal(num)), rng.exponential(size=num)])),
        Bug("the Jacobian of the ordering counted twice", damage),
        log_concave=True,
    )


def _ordered_log_joint(u):
    a, gap = jnp.exp(u)
    return jnp.log(2.0) + norm.logpdf(a) - gap + jnp.sum(u)


def _ordered_pair(u):
    a, gap = jnp.exp(u)
    return jnp.stack([a, a + gap, *u])


def funnel() -> Problem:
    """Neal's (2003) funnel: v ~ N(0, 3²), nine xᵢ | v ~ N(0, eᵛ). params are [v, x₁ … x₉]."""
    bug = Bug("the neck never entered", lambda rng, x: x[rng.choice(np.flatnonzero(x[:, 0] > -4.5), len(x))])
    return _funnel("funnel", "Neal's funnel, 10 dimensions, v of sd 3", 3.0, 9, bug)


def funnel_mild() -> Problem:
    """The funnel that samplers can walk: v ~ N(0, 1.5²), four xᵢ."""
    stretch = lambda rng, x: np.column_stack([x[:, :1], x[:, 1:] * np.exp(x[:, :1] / 2)])
    bug = Bug("a log variance read as a log sd", stretch)
    return _funnel("funnel_mild", "a mild funnel, 5 dimensions, v of sd 1.5", 1.5, 4, bug)


def _funnel(name, about, scale, num_x, bug) -> Problem:
    def draw(rng, num):
        v = scale * rng.standard_normal((num, 1))
        return np.column_stack([v, np.exp(v / 2) * rng.standard_normal((num, num_x))])

    return _problem(
        name,
        about,
        Partial(_funnel_log_joint, jnp.asarray(scale)),
        1 + num_x,
        _funnel_query,
        lambda: shapes.funnel(("v", "asinh x[1]", "log_rms x", "x[1] exp(-v/2)"), scale, num_x),
        draw,
        bug,
    )


def _funnel_log_joint(scale, params):
    v, x = params[0], params[1:]
    return norm.logpdf(v, 0.0, scale) + jnp.sum(norm.logpdf(x, 0.0, jnp.exp(v / 2)))


def _funnel_query(params):
    v, x = params[0], params[1:]
    return jnp.stack([v, jnp.arcsinh(x[0]), 0.5 * jnp.log(jnp.mean(x**2)), x[0] * jnp.exp(-v / 2)])


def banana() -> Problem:
    """A Gaussian bent along a parabola (Haario et al. 1999): x₂ − b(x₁² − 3²) is a standard normal, b = 0.1."""
    flatter = lambda rng, x: np.column_stack([x[:, 0], x[:, 1] - 0.05 * (x[:, 0] ** 2 - 9.0)])
    return _banana("banana", "a Gaussian bent along a parabola", 0.1, Bug("the parabola's curvature halved", flatter))


def banana_sharp() -> Problem:
    """The same with b = 0.2, whose arms are as narrow as a fourth of its belly."""
    near = lambda rng, x: x[rng.choice(np.flatnonzero(np.abs(x[:, 0]) < 6.6), len(x))]
    bug = Bug("the far ends of the arms never reached", near)
    return _banana("banana_sharp", "a Gaussian bent along a parabola, twice as much", 0.2, bug)


def _banana(name, about, bend, bug) -> Problem:
    width = 3.0

    def draw(rng, num):
        x = rng.standard_normal((num, 2)) * [width, 1.0]
        return np.column_stack([x[:, 0], x[:, 1] + bend * (x[:, 0] ** 2 - width**2)])

    return _problem(
        name,
        about,
        Partial(_banana_log_joint, jnp.asarray(width), jnp.asarray(bend)),
        2,
        Partial(_banana_query, jnp.asarray(width), jnp.asarray(bend)),
        lambda: shapes.banana(("x[1]", "x[2]", "x[1]^2", "x[2] untwisted"), width, bend),
        draw,
        bug,
    )


def _banana_log_joint(width, bend, x):
    return norm.logpdf(x[0], 0.0, width) + norm.logpdf(x[1], bend * (x[0] ** 2 - width**2))


def _banana_query(width, bend, x):
    return jnp.stack([x[0], x[1], x[0] ** 2, x[1] - bend * (x[0] ** 2 - width**2)])


def ring() -> Problem:
    """A circle of radius 3 blurred by 0.5: p(x) ∝ exp(−2(‖x‖ − 3)²), normalised."""
    radius, width = 3.0, 0.5

    def draw(rng, num):
        # by rejection from the normal that leaves out the Jacobian r
        kept = np.empty(0)
        while len(kept) < num:
            r = radius + width * rng.standard_normal(2 * num + 100)
            accept = r > (radius + 8 * width) * rng.uniform(size=len(r))
            kept = np.append(kept, r[accept])
        return _on_circle(rng, kept[:num])

    def without_jacobian(rng, x):
        return _on_circle(rng, radius + width * rng.standard_normal(len(x)))

    log_normaliser = shapes.ring_log_normaliser(radius, width)
    return _problem(
        "ring",
        "a blurred circle",
        Partial(_ring_log_joint, *map(jnp.asarray, (radius, width, log_normaliser))),
        2,
        _ring_query,
        lambda: shapes.ring(("x[1]", "x[2]", "x[1] + x[2]", "radius"), radius, width),
        draw,
        Bug("the polar Jacobian r left out", without_jacobian),
    )


def _on_circle(rng, r):
    angle = 2 * np.pi * rng.uniform(size=len(r))
    return r[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])


def _ring_log_joint(radius, width, log_normaliser, x):
    return -0.5 * ((jnp.sqrt(jnp.sum(x**2)) - radius) / width) ** 2 - log_normaliser


def _ring_query(x):
    return jnp.append(jnp.append(x, jnp.sum(x)), jnp.sqrt(jnp.sum(x**2)))


PROBLEMS = {
    "gaussian_positive": gaussian_positive,
    "gaussian_negative": gaussian_negative,
    "gaussian_ill_scaled": gaussian_ill_scaled,
    "skew_normal": skew_normal,
    "student_t": student_t,
    "cauchy": cauchy,
    "cauchy_compressed": cauchy_compressed,
    "mixture_separated": mixture_separated,
    "mixture_close": mixture_close,
    "boundary_logit": boundary_logit,
    "boundary_log": boundary_log,
    "funnel": funnel,
    "funnel_mild": funnel_mild,
    "banana": banana,
    "banana_sharp": banana_sharp,
    "ring": ring,
}
