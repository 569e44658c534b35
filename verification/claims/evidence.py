"""The evidence, exact and approximate; and what more data do to a posterior."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy import special, stats

from probjax import full_rank, laplace, log_evidence, nuts, target
from verification.claims.parts import BAD, GOOD, THIRD, TRUTH
from verification.claims.types import CONTROL, INSTEAD, UNDER, WITHOUT, Finding, Measurement, standard_error
from verification.work import build_problem

NEAR = 0.05  # nats: the harness's tolerance for an evidence
NUM_KEYS, T_MARGIN = 8, 5.4  # Student's t with 7 degrees of freedom at α = 0.001


def _estimates(problem, key):
    """Log evidence by Laplace, by the ELBO of a full-rank Gaussian, by importance sampling from Laplace's Gaussian and
    by bridge sampling from NUTS's draws; and the log joint at the mode. [NUM_KEYS, 5]."""
    density = target(problem.model)

    def one(key):
        keys = jax.random.split(key, 4)
        normal = laplace(keys[0], problem.model, problem.data, num_draws=2000)
        log_joint = jax.vmap(lambda params: density.log_joint(params, problem.data))
        weights = log_joint(normal.draws) - normal.info["log_q"]
        elbo = full_rank(keys[1], problem.model, problem.data, num_draws=1).info["elbo"]
        draws = nuts(keys[2], problem.model, problem.data, num_draws=1000, num_chains=2).draws
        bridge = _bridge(keys[3], jax.vmap(lambda params: ravel_pytree(params)[0])(draws), density, problem)
        sampled = jax.nn.logsumexp(weights) - jnp.log(2000)
        return jnp.array([normal.info["log_evidence"], elbo, sampled, bridge, -normal.info["objective"]])

    return np.asarray(jax.jit(lambda keys: jax.lax.map(one, keys))(jax.random.split(key, NUM_KEYS)))


def _bridge(key, draws, density, problem):
    """Meng & Wong's (1996) bridge from the posterior's draws to a Gaussian of the moments of every second one."""
    unravel = ravel_pytree(density.init(key))[1]
    fit, rest = draws[::2], draws[1::2]
    mean, root = jnp.mean(fit, axis=0), jnp.linalg.cholesky(jnp.cov(fit.T))
    log_q = lambda w: (
        -0.5 * jnp.sum(jax.scipy.linalg.solve_triangular(root, (w - mean).T, lower=True) ** 2, axis=0)
        - jnp.sum(jnp.log(jnp.diag(root)))
        - 0.5 * len(mean) * jnp.log(2 * jnp.pi)
    )
    fresh = mean + jax.random.normal(key, rest.shape) @ root.T
    ratio = lambda w: jax.vmap(lambda v: density.log_joint(unravel(v), problem.data))(w) - log_q(w)
    own, other = ratio(rest), ratio(fresh)

    def step(log_r, _):
        top = jax.nn.logsumexp(other - jnp.logaddexp(other, log_r))
        return top - jax.nn.logsumexp(-jnp.logaddexp(own, log_r)), None

    return jax.lax.scan(step, jnp.median(own), None, length=50)[0]


def evidence_is_intractable(rng) -> Finding:
    """log p(y) = log ∫ p(y, params): exact where conjugate or of few dimensions; else approximated, and how well."""
    line, logistic, network = (build_problem(name, None) for name in ("linear", "breast_cancer_pc", "network_one_unit"))
    keys = jax.random.split(jax.random.key(int(rng.integers(2**31))), 2)
    exact = [problem.reference.log_evidence for problem in (logistic, network)]
    found = [_estimates(problem, key) - truth for problem, key, truth in zip((logistic, network), keys, exact)]
    names = ("Laplace", "ELBO, full rank", "importance sampling", "bridge sampling", "log joint at the mode")
    told = lambda role, where, i, what: Measurement(
        role,
        f"|log evidence by {names[i]} − exact|, {what}",
        abs(found[where][:, i].mean()),
        NEAR,
        T_MARGIN * standard_error(found[where][:, i]),
    )
    conjugate = float(log_evidence(line.model, line.data)) - line.reference.log_evidence
    regression, unit = "logistic regression, 559 rows", "one tanh unit, 15 rows"
    elbo = found[0][:, 1]

    return Finding(
        [
            Measurement(UNDER, "conjugate: closed form less the oracle's", abs(conjugate), 1e-8),
            Measurement(
                UNDER, "one tanh unit: two quadrature rules, posterior sd", network.reference.certificate.error, 1e-6
            ),
            *(told(UNDER, 0, i, regression) for i in range(4)),
            Measurement(
                UNDER, "ELBO less the exact evidence, not above it", elbo.mean(), 0.0, T_MARGIN * standard_error(elbo)
            ),
            told(WITHOUT, 1, 0, unit),
            told(WITHOUT, 1, 1, unit),
            Measurement(
                INSTEAD,
                f"|log evidence by Laplace + log 2 − exact|, {unit}: its mirror image counted",
                abs(found[1][:, 0].mean() + np.log(2)),
                0.1,
            ),
            told(CONTROL, 0, 4, f"{regression} (no Occam term)"),
        ],
        lambda ax: _draw_evidence(ax, found, names, regression, unit),
    )


def _draw_evidence(ax, found, names, regression, unit):
    spots = np.arange(4)
    for where, colour, name in ((0, GOOD, regression), (1, BAD, unit)):
        ax.bar(spots + 0.4 * where - 0.2, found[where][:, :4].mean(0), 0.4, color=colour, label=name)
    ax.axhline(0, color=TRUTH, lw=0.8)
    ax.set(ylabel="log evidence less the exact one, nats", xticks=spots)
    ax.set_xticklabels([name.replace(" sampling", "\nsampling").replace(", ", ",\n") for name in names[:4]])
    ax.legend(frameon=False)


def _distance_to_gaussian(log_density, low, high, widen=1.0):
    """Total variation between a density on [low, high] and the Gaussian of its mean and sd (times `widen`)."""
    grid = np.linspace(low, high, 200_001)
    log_values = log_density(grid)
    density = np.exp(log_values - log_values.max())
    density /= np.trapezoid(density, grid)
    mean = np.trapezoid(grid * density, grid)
    sd = np.sqrt(np.trapezoid((grid - mean) ** 2 * density, grid))
    normal = stats.norm(mean, widen * sd)
    outside = normal.cdf(low) + normal.sf(high)
    return 0.5 * (np.trapezoid(np.abs(density - normal.pdf(grid)), grid) + outside)


def _coin(n, widen=1.0):
    """Uniform prior, 3 heads in 10: Beta(1 + 0.3 n, 1 + 0.7 n)."""
    a, b = 1 + 0.3 * n, 1 + 0.7 * n
    spread = 14 * np.sqrt(a * b / (a + b) ** 3)
    low, high = max(a / (a + b) - spread, 1e-9), min(a / (a + b) + spread, 1 - 1e-9)
    return _distance_to_gaussian(stats.beta(a, b).logpdf, low, high, widen)


def _edge(n):
    """y uniform on [0, θ], largest y 1, density 1/θ before: θ⁻ⁿ⁻¹ above 1."""
    return _distance_to_gaussian(partial(lambda n, t: -(n + 1) * np.log(t), n), 1.0, 1 + 40 / n)


def more_data(rng) -> Finding:
    """The posterior becomes a Gaussian at the maximum likelihood, if the model is regular; right, if it is true."""
    sizes = np.array([30, 100, 300, 1000, 3000, 10_000])
    coin, edge, wide = (np.array([f(n) for n in sizes]) for f in (_coin, _edge, partial(_coin, widen=2.0)))
    fall = lambda distance: distance[-1] / distance[1]  # n = 100 to 10,000: a tenth, if as 1/√n
    n = 10_000
    sd = np.sqrt(0.21 / n)
    mean, mode = (5 + 0.3 * n) / (7 + n), (4 + 0.3 * n) / (5 + n)  # under a Beta(5, 2) prior
    apart = max(abs(mean - 0.3), abs(mode - 0.3)) / sd
    covered = 2 * special.ndtr(stats.norm.ppf(0.975) / 2) - 1  # noise 1 assumed, 2 true: any n

    def draw(ax):
        for values, colour, name in (
            (coin, GOOD, "coin"),
            (edge, BAD, "uniform on [0, θ]"),
            (wide, THIRD, "coin, sd doubled"),
        ):
            ax.loglog(sizes, values, "o-", color=colour, label=name, ms=4)
        ax.loglog(sizes, coin[0] * np.sqrt(sizes[0] / sizes), color=TRUTH, lw=0.8, ls=":", label="1/√n")
        ax.set(xlabel="rows n", ylabel="total variation to a Gaussian")
        ax.legend(frameon=False)

    return Finding(
        [
            Measurement(UNDER, "total variation at n = 10,000 over that at 100, coin", fall(coin), 0.11),
            Measurement(
                UNDER,  # a prior worth five rows moves either by at most 5/n
                "posterior mean and mode under Beta(5, 2) less maximum likelihood at n = 10,000, posterior sd",
                apart,
                5 / np.sqrt(0.21 * n),
            ),
            Measurement(WITHOUT, "total variation at n = 10,000 over that at 100, uniform on [0, θ]", fall(edge), 0.11),
            Measurement(
                WITHOUT, "|coverage of 95% intervals − 0.95|, noise 1 assumed and 2 true", abs(covered - 0.95), 0.01
            ),
            Measurement(CONTROL, "total variation over that at 100, to a Gaussian of twice the sd", fall(wide), 0.11),
        ],
        draw,
    )
