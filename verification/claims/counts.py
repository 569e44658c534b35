"""Counts and proportions: what squared error does to them, and what their own densities do."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special, stats

from probjax import likelihoods, losses
from probjax.optimize import lbfgs
from verification.claims.parts import BAD, GOOD, THIRD, TRUTH, fitted, least_squares
from verification.claims.types import CONTROL, STATED, UNDER, WITHOUT, Finding, Measurement, standard_error

T_MARGIN = 4.5  # standard errors: α below 1e-5 for a mean of hundreds of rows


def poisson_predicts_the_rate(rng) -> Finding:
    """−log p = λ − y log λ + log y!; argmin over constants: the mean."""
    y = rng.poisson(3.7, 200).astype(float)
    log_rate = rng.normal(1.0, 0.5, 200)
    exact = stats.poisson(np.exp(log_rate)).logpmf(y)
    off = lambda ours: float(np.max(np.abs(np.asarray(ours) - exact)))
    constant = float(jnp.exp(lbfgs(lambda f: jnp.sum(losses.poisson(y, f + jnp.zeros(200))), jnp.zeros(()))[0]))
    total = lambda f: -np.sum(losses.poisson(y, f))  # less log y!
    geometric = float(jnp.sum(likelihoods.negative_binomial(1.0).log_prob(y, jnp.full(200, np.log(y.mean())))))
    right, wrong = np.sum(stats.poisson(y.mean()).logpmf(y)), total(np.full(200, np.log(y.mean())))

    def draw(ax):
        names = ("Poisson", "Poisson\nless log y!", "geometric")
        ax.bar(names, (right, wrong, geometric), color=(GOOD, BAD, THIRD))
        ax.axhline(0, color="black", lw=0.8)
        ax.set(ylabel="log-likelihood of 200 Poisson counts, nats")

    return Finding(
        [
            Measurement(STATED, "log p less SciPy's, nats", off(likelihoods.poisson().log_prob(y, log_rate)), 1e-12),
            Measurement(STATED, "best constant less the mean", abs(constant - y.mean()), 1e-8),
            Measurement(STATED, "log-likelihood over the geometric's, nats", right - geometric, 0.0, at_least=True),
            Measurement(CONTROL, "−loss without log y! less SciPy's, nats", off(-losses.poisson(y, log_rate)), 1e-12),
        ],
        draw,
    )


NODES = 1601


@jax.jit
def _best_beta_mean(nodes, weights):
    """Mean of the Beta density of largest expected log-density under a distribution on nodes."""

    def loss(p):
        f = (p[0] + jnp.zeros_like(nodes), jnp.exp(p[1]) + jnp.zeros_like(nodes))
        return -weights @ likelihoods.beta().log_prob(nodes, f)

    return jax.nn.sigmoid(lbfgs(loss, jnp.array([0.0, 1.0]), tolerance=1e-13)[0][0])


def _beta_mean(nodes, weights) -> float:
    """The same, all distributions padded to one length, so that one program serves them all."""
    spare = NODES - len(nodes)
    return float(_best_beta_mean(np.append(nodes, np.full(spare, 0.5)), np.append(weights, np.zeros(spare))))


def beta_predicts_the_mean(rng) -> Finding:
    """E log y and E log(1 − y) fix the maximum of the Beta likelihood, and E y only where y is Beta."""
    of_beta = lambda a, b: _jacobi(a, b)
    logit_normal = np.polynomial.hermite_e.hermegauss(61)
    normal = (special.expit(1.5 + 1.8 * logit_normal[0]), logit_normal[1] / logit_normal[1].sum())
    two_points = (np.array([0.02, 0.9]), np.array([0.3, 0.7]))
    off = lambda nodes, weights: abs(_beta_mean(nodes, weights) - float(weights @ nodes))
    true = [off(*of_beta(a, b)) for a, b in ((2.0, 3.0), (0.7, 4.0), (9.0, 1.5))]
    share = np.linspace(0.05, 0.95, 37)

    def draw(ax):
        means = [_beta_mean(np.array([0.02, 0.9]), np.array([1 - s, s])) for s in share]
        ax.plot(0.02 + 0.88 * share, means, color=BAD, label="y is 0.02 or 0.9")
        ax.plot([0, 1], [0, 1], color=TRUTH, lw=0.8, label="y is Beta")
        ax.set(xlabel="mean of y", ylabel="mean of the fitted Beta")
        ax.legend(frameon=False)

    return Finding(
        [
            Measurement(UNDER, "fitted mean less E y, three Beta distributions", max(true), 1e-8),
            Measurement(WITHOUT, "the same, y logit-normal", off(*normal), 1e-8),
            Measurement(CONTROL, "the same, y in two points", off(*two_points), 1e-8),
        ],
        draw,
    )


def _jacobi(a, b):
    """Nodes and weights of Beta(a, b) for analytic functions and for log y, by substitution y = σ(u) on a fine grid."""
    u = np.linspace(-60 / min(a, 1), 60 / min(b, 1), NODES)
    log_weight = a * special.log_expit(u) + b * special.log_expit(-u) - special.betaln(a, b)
    keep = log_weight > -46
    weights = np.exp(log_weight[keep])
    return special.expit(u[keep]), weights / weights.sum()


def _basis(t, order):
    waves = [g(2 * np.pi * k * t / 24) for k in range(1, order + 1) for g in (np.sin, np.cos)]
    return np.column_stack([t / 400, *waves])


def _held_out(x, y, new_x, new_y):
    """Held-out log-probability of a count, per row, by a Poisson and by a Gaussian regression (its mass on y ± ½), and
    the Gaussian's predictions."""
    count, real = fitted(x, y, likelihoods.poisson()), least_squares(x, y)
    predict = lambda w: new_x @ w[:-1] + w[-1]
    scale = np.sqrt(np.mean((y - x @ real[:-1] - real[-1]) ** 2))
    poisson = np.asarray(likelihoods.poisson().log_prob(new_y, predict(count)))
    edges = ((new_y + s - predict(real)) / scale for s in (0.5, -0.5))
    upper, lower = edges
    flip = lower > 0  # differences in the tail that keeps its digits
    mass = np.where(flip, stats.norm.sf(lower) - stats.norm.sf(upper), stats.norm.cdf(upper) - stats.norm.cdf(lower))
    return poisson, np.log(mass), predict(real), predict(count)


def counts_under_squared_error(rng) -> Finding:
    """Squared error predicts negative counts and has one spread for all; a line in time shows neither."""
    t = np.arange(800.0)
    y = rng.poisson(np.exp(0.8 + 1.8 * np.sin(2 * np.pi * t / 24))).astype(float)
    shuffled = rng.permutation(800)
    old, new = shuffled[:400], shuffled[400:]
    fits = {
        name: _held_out(x[old], y[old], x[new], y[new])
        for name, x in (("adequate", _basis(t, 1)), ("linear in time", _basis(t, 0)))
    }
    gain = {name: fit[0] - fit[1] for name, fit in fits.items()}
    steady = np.round(60 + 12 * np.sin(2 * np.pi * t / 24) + 3 * rng.standard_normal(800))
    control = _held_out(_basis(t[old], 1), steady[old], _basis(t[new], 1), steady[new])
    negative = {name: float(np.sum(fit[2] < 0)) for name, fit in fits.items()}
    no_gain = control[0] - control[1]
    margin = lambda values: T_MARGIN * standard_error(values)
    gains = gain["adequate"]
    return Finding(
        [
            Measurement(UNDER, "negative predictions, adequate basis", negative["adequate"], 1.0, at_least=True),
            Measurement(
                UNDER,
                "gain of the Poisson in held-out log-probability, nats a row, adequate basis",
                gains.mean(),
                0.0,
                margin(gains),
                at_least=True,
            ),
            Measurement(
                WITHOUT, "negative predictions, linear in time", negative["linear in time"], 1.0, at_least=True
            ),
            Measurement(
                WITHOUT,
                "gain in held-out log-probability, nats a row, linear in time",
                gain["linear in time"].mean(),
                0.0,
                margin(gain["linear in time"]),
                at_least=True,
            ),
            Measurement(
                CONTROL, "gain on Gaussian data, nats a row", no_gain.mean(), 0.0, margin(no_gain), at_least=True
            ),
        ],
        lambda ax: _draw_counts(ax, t, y, new, fits),
    )


def _draw_counts(ax, t, y, new, fits):
    hour, order = t[new] % 24, np.argsort(t[new] % 24)
    ax.plot(hour, y[new], ".", color="0.75", ms=3)
    for fit, colour, name in ((2, BAD, "Gaussian"), (3, GOOD, "Poisson")):
        value = fits["adequate"][fit][order]
        ax.plot(hour[order], np.exp(value) if fit == 3 else value, color=colour, label=f"{name}, adequate basis")
    in_time = fits["linear in time"][2]
    ax.fill_between(
        [0, 23], in_time.min(), in_time.max(), color=BAD, alpha=0.25, lw=0, label="Gaussian, linear in time"
    )
    ax.axhline(0, color="black", lw=0.8)
    ax.set(xlabel="hour of the day", ylabel="count and prediction")
    ax.legend(frameon=False)


def bounded_targets(rng) -> Finding:
    """Squared error predicts outside [0, 1]; a Bernoulli or Beta mean cannot."""
    x = rng.normal(size=(300, 1)) * 2
    grid = np.linspace(-8, 8, 321)[:, None]
    near = special.expit(2.0 * x[:, 0] + 0.3 * rng.standard_normal(300))
    far = 0.5 + 0.02 * x[:, 0] + 0.02 * rng.standard_normal(300)
    labels = (rng.uniform(size=300) < special.expit(2 * x[:, 0])).astype(float)
    line = lambda y: (lambda w: grid @ w[:1] + w[1])(least_squares(x, y))
    outside = lambda p: float(np.sum((p < 0) | (p > 1)))
    w = fitted(x, labels, likelihoods.bernoulli())
    logistic = special.expit(grid @ w[:1] + w[1])
    beta = special.expit(_beta_line(x, near, grid))

    def draw(ax):
        ax.plot(x[:, 0], near, ".", color="0.75", ms=4)
        ax.plot(grid, line(near), color=BAD, label="squared error")
        ax.plot(grid, beta, color=GOOD, label="Beta")
        ax.axhspan(0, 1, color="0.95", zorder=0)
        ax.set(xlabel="x", ylabel="proportion and prediction", ylim=(-1, 2))
        ax.legend(frameon=False)

    return Finding(
        [
            Measurement(STATED, "predictions of 321 outside, squared error", outside(line(near)), 1.0, at_least=True),
            Measurement(STATED, "the same on labels 0 and 1", outside(line(labels)), 1.0, at_least=True),
            Measurement(STATED, "predictions outside, Beta", outside(beta), 0.0),
            Measurement(STATED, "predictions outside, Bernoulli", outside(logistic), 0.0),
            Measurement(CONTROL, "squared error, data far from the bounds", outside(line(far)), 1.0, at_least=True),
        ],
        draw,
    )


def _beta_line(x, y, grid):
    def loss(p):
        f = (x @ p[:1] + p[1], jnp.exp(p[2]) + jnp.zeros(len(y)))
        return -jnp.mean(likelihoods.beta().log_prob(y, f))

    w = np.asarray(lbfgs(loss, jnp.array([0.0, 0.0, 1.0]))[0])
    return grid @ w[:1] + w[1]
