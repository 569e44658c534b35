"""Normal hierarchies: eight schools in both parameterisations, 85 unequal groups, growth curves."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jax.tree_util import Partial

from probjax import Target
from verification.exact.cache import solved
from verification.exact.gaussian_mixture import HyperQuery, Queries, gaussian_mixture
from verification.exact.hierarchy import Dense, EightSchools, OneWay, log_half_cauchy
from verification.problems._scales import (
    exact_draws,
    identity,
    log_half_cauchy_scale,
    log_half_normal_scale,
    normal_init,
    redrawn,
)
from verification.problems.growth import growth_curves
from verification.types import Bug, Problem

SCHOOLS = EightSchools(
    np.array([28.0, 8, -3, 7, -1, 1, 18, 12]), np.array([15.0, 10, 16, 11, 9, 11, 10, 18])
)  # Rubin 1981


def eight_schools_centred() -> Problem:
    """Treatment effects of eight schools (Rubin 1981), θ_j ~ N(μ, τ²) sampled as they are: a neck at small τ."""
    return _eight_schools(
        "eight_schools_centred",
        "effects in eight schools, centred: a funnel's neck at small scales",
        Target(normal_init(1.0, theta=(8,), mu=(), log_tau=()), _centred_log_joint, _centred_constrain),
        _centred_params,
        Bug("scale of the effects squared (a variance passed as an sd)", SCHOOLS._replace(power=2.0)),
    )


def eight_schools_noncentred() -> Problem:
    """The same posterior with θ_j = μ + τη_j and η_j ~ N(0, 1) sampled."""
    return _eight_schools(
        "eight_schools_noncentred",
        "effects in eight schools, non-centred",
        Target(normal_init(1.0, eta=(8,), mu=(), log_tau=()), _noncentred_log_joint, _noncentred_constrain),
        _noncentred_params,
        Bug("standard errors taken for variances", SCHOOLS._replace(sigma=np.sqrt(SCHOOLS.sigma))),
    )


def _eight_schools(name, about, model, to_params, bug) -> Problem:
    matrix = np.vstack([np.eye(9), np.eye(9)[0] - np.eye(9)[2], np.append(np.full(8, 1 / 8), -1.0)])
    names = (*(f"theta[{j + 1}]" for j in range(8)), "mu", "theta[1] - theta[3]", "mean theta - mu")
    queries = Queries(names, matrix, (HyperQuery("tau", (1.0,)), HyperQuery("log tau", (1.0,), identity)))
    solve = lambda: gaussian_mixture(SCHOOLS, queries, nodes=[801], second=eight_schools_densely())
    return Problem(
        name=name,
        about=about,
        model=model,
        data={"y": jnp.asarray(SCHOOLS.y), "sigma": jnp.asarray(SCHOOLS.sigma)},
        query=Partial(_schools_query, model.constrain, jnp.asarray(matrix)),
        log_new=None,
        reference=solved("eight_schools", solve),  # one posterior, two parameterisations
        exact_draws=exact_draws(SCHOOLS, [801], to_params),
        bug=Bug(bug.name, redrawn(bug.damage, [801], to_params)),
        more_keys=2,  # differences of effects have their 95% point where their density is low
    )


def eight_schools_densely() -> Dense:
    """`SCHOOLS` by dense Gaussian algebra on (θ, μ)."""

    def prior(v):
        own = np.append(np.ones(8), 0.0)
        return SCHOOLS.mu_scale**2 + np.exp(2 * v[:, :, None]) * np.diag(own)

    noise = lambda v: np.broadcast_to(SCHOOLS.sigma**2, (len(v), 8))
    log_prior = lambda v: log_half_cauchy(v[:, 0], SCHOOLS.tau_scale)
    return Dense(np.eye(8, 9), SCHOOLS.y, prior, noise, log_prior)


def _schools_prior(params):
    return norm.logpdf(params["mu"], 0.0, SCHOOLS.mu_scale) + log_half_cauchy_scale(
        params["log_tau"], SCHOOLS.tau_scale
    )


def _centred_log_joint(params, data):
    effects = norm.logpdf(params["theta"], params["mu"], jnp.exp(params["log_tau"]))
    rows = norm.logpdf(data["y"], params["theta"], data["sigma"])
    return _schools_prior(params) + jnp.sum(effects) + jnp.sum(rows)


def _centred_constrain(params):
    return {"theta": params["theta"], "mu": params["mu"], "tau": jnp.exp(params["log_tau"])}


def _noncentred_log_joint(params, data):
    rows = norm.logpdf(data["y"], _noncentred_constrain(params)["theta"], data["sigma"])
    return _schools_prior(params) + jnp.sum(norm.logpdf(params["eta"])) + jnp.sum(rows)


def _noncentred_constrain(params):
    tau = jnp.exp(params["log_tau"])
    return {"theta": params["mu"] + tau * params["eta"], "mu": params["mu"], "tau": tau}


def _schools_query(constrain, matrix, params):
    named = constrain(params)
    return jnp.append(matrix @ jnp.append(named["theta"], named["mu"]), jnp.stack([named["tau"], params["log_tau"]]))


def _centred_params(v, latents):
    return {"theta": latents[:, :8], "mu": latents[:, 8], "log_tau": v[:, 0]}


def _noncentred_params(v, latents):
    eta = (latents[:, :8] - latents[:, 8:]) / np.exp(v)
    return {"eta": eta, "mu": latents[:, 8], "log_tau": v[:, 0]}


NUM_GROUPS = 85
UNEQUAL_SCALES = (2.0, 1.0)  # prior sd of μ, of τ and of σ


def unequal_groups_data():
    """Rows of 85 groups of 1 to 100, sized and spread like radon in the counties of Minnesota (Gelman & Hill 2007,
    ch. 12), and 12 held-out rows: y, group, y_new, group_new."""
    rng = np.random.default_rng(85)
    counts = np.clip(np.round(rng.lognormal(1.6, 0.9, NUM_GROUPS)), 1, 100).astype(int)
    counts[:5] = 1, 1, 2, 100, 76
    group = np.repeat(np.arange(NUM_GROUPS), counts)
    effects = 1.3 + 0.35 * rng.standard_normal(NUM_GROUPS)
    group_new = np.append(np.arange(8), [3, 4, 3, 4])
    y, y_new = (effects[g] + 0.75 * rng.standard_normal(len(g)) for g in (group, group_new))
    return y, group, y_new, group_new


def unequal_groups() -> Problem:
    """y ~ N(θ_group, σ²), θ_j ~ N(μ, τ²): 88 parameters, a 2-D grid over (log τ, log σ)."""
    y, group, y_new, group_new = unequal_groups_data()
    solver = OneWay.of_rows(y, group, NUM_GROUPS, *UNEQUAL_SCALES)
    both = OneWay.of_rows(np.append(y, y_new), np.append(group, group_new), NUM_GROUPS, *UNEQUAL_SCALES)
    unit = np.eye(NUM_GROUPS + 1)
    average = np.append(np.full(NUM_GROUPS, 1 / NUM_GROUPS), 0.0)
    matrix = np.vstack([unit[:12], unit[-1], unit[0] - unit[3], unit[3] - unit[4], average - unit[-1]])
    names = (*(f"theta[{j}]" for j in range(12)), "mu", "theta[0] - theta[3]", "theta[3] - theta[4]", "mean theta - mu")
    hyper = (HyperQuery("tau", (1.0, 0.0)), HyperQuery("sigma", (0.0, 1.0)), HyperQuery("icc", (1.0, -1.0), _icc))
    queries = Queries(names, matrix, hyper)
    log_new = lambda v: both.log_weight(v) - solver.log_weight(v)
    new = {"y": jnp.asarray(y_new), "group": jnp.asarray(group_new)}
    return Problem(
        name="unequal_groups",
        about="85 groups of 1 to 100 rows, partially pooled (like radon in counties)",
        model=Target(
            normal_init(1.0, theta=(NUM_GROUPS,), mu=(), log_tau=(), log_sigma=()),
            Partial(_one_way_log_joint, *UNEQUAL_SCALES),
            _one_way_constrain,
        ),
        data={"y": jnp.asarray(y), "group": jnp.asarray(group)},
        query=Partial(_one_way_query, jnp.asarray(matrix)),
        log_new=Partial(_one_way_rows, new),
        reference=solved(
            "unequal_groups",
            lambda: gaussian_mixture(solver, queries, nodes=[141, 71], log_new=log_new, num_new=len(y_new)),
        ),
        exact_draws=exact_draws(solver, [81, 61], _one_way_params),
        bug=Bug("groups of a single row left out", _without_small_groups(y, group)),
    )


def _icc(log_ratio):
    """τ²/(τ² + σ²) of log(τ/σ)."""
    return 1 / (1 + np.exp(-2 * log_ratio))


def _one_way_rows(data, params):
    return jnp.sum(norm.logpdf(data["y"], params["theta"][data["group"]], jnp.exp(params["log_sigma"])))


def _one_way_log_joint(mu_scale, scale, params, data):
    scales = log_half_normal_scale(params["log_tau"], scale) + log_half_normal_scale(params["log_sigma"], scale)
    effects = jnp.sum(norm.logpdf(params["theta"], params["mu"], jnp.exp(params["log_tau"])))
    return norm.logpdf(params["mu"], 0.0, mu_scale) + scales + effects + _one_way_rows(data, params)


def _one_way_constrain(params):
    tau, sigma = jnp.exp(params["log_tau"]), jnp.exp(params["log_sigma"])
    return {"theta": params["theta"], "mu": params["mu"], "tau": tau, "sigma": sigma}


def _one_way_query(matrix, params):
    tau, sigma = jnp.exp(params["log_tau"]), jnp.exp(params["log_sigma"])
    hyper = jnp.stack([tau, sigma, tau**2 / (tau**2 + sigma**2)])
    return jnp.append(matrix @ jnp.append(params["theta"], params["mu"]), hyper)


def _without_small_groups(y, group):
    """Draws of the model fitted to the larger groups; the others' effects then come from N(μ, τ²)."""
    large = np.bincount(group) > 1
    kept = large[group]
    solver = OneWay.of_rows(y[kept], np.cumsum(large)[group[kept]] - 1, large.sum(), *UNEQUAL_SCALES)
    draw = exact_draws(solver, [81, 61], _one_way_params)

    def damage(rng, params):
        fitted = draw(rng, len(params["mu"]))
        effects = rng.standard_normal((len(params["mu"]), NUM_GROUPS)) * np.exp(fitted["log_tau"])[:, None]
        effects += fitted["mu"][:, None]
        effects[:, large] = fitted["theta"]
        return {**fitted, "theta": effects}

    return damage


def _one_way_params(v, latents):
    return {"theta": latents[:, :-1], "mu": latents[:, -1], "log_tau": v[:, 0], "log_sigma": v[:, 1]}


PROBLEMS = {
    "eight_schools_centred": eight_schools_centred,
    "eight_schools_noncentred": eight_schools_noncentred,
    "unequal_groups": unequal_groups,
    "growth_curves": growth_curves,
}
