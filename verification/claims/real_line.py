"""Losses of real numbers: squared error, absolute error, Huber's, the quantile loss."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from scipy import integrate, optimize, stats

from probjax import likelihoods, losses
from probjax.optimize import lbfgs
from verification.claims import listings
from verification.claims.parts import BAD, GOOD, THIRD, TRUTH, fitted, gap
from verification.claims.types import CONTROL, INSTEAD, REFUTED, ROUNDINGS, STATED, Finding, Measurement

K = 1.345  # Huber's threshold


def squared_error_is_gaussian(rng) -> Finding:
    """NLL = n/2 · log 2πσ² + SSE/2σ²; σ̂² = MSE."""
    x, y, _ = listings.line()
    nll = lambda w, scale: float(-jnp.sum(likelihoods.normal(scale).log_prob(y, w[0] * x + w[1])))
    closed = lambda w, scale: 25 * np.log(2 * np.pi * scale**2) + np.sum((y - w[0] * x - w[1]) ** 2) / (2 * scale**2)
    off = 0.0
    for w, scale in zip(rng.normal(size=(20, 2)), rng.uniform(0.1, 5, 20)):
        off = max(off, abs(nll(w, scale) - closed(w, scale)) / (abs(closed(w, scale)) + 25 * abs(np.log(scale))))
    w = fitted(x[:, None], y, likelihoods.normal(1.0))
    squares = np.linalg.lstsq(np.column_stack([x, np.ones(50)]), y, rcond=None)[0]
    residual = y - w[0] * x - w[1]
    mse = np.mean(residual**2)
    best = lambda loss: np.exp(float(lbfgs(loss, jnp.zeros(()), max_steps=200)[0]))
    with_log = best(
        lambda t: -jnp.sum(likelihoods.normal().log_prob(residual, (jnp.zeros(50), jnp.exp(t) + jnp.zeros(50))))
    )
    without_log = best(lambda t: jnp.sum(losses.mse(residual, jnp.zeros(50))) / (2 * jnp.exp(2 * t)))
    listed = gap([*w, np.sqrt(mse), -nll(w, np.sqrt(mse))], list(listings.LINE.values()))

    def draw(ax):
        scales = np.geomspace(0.8, 8, 200)
        sse = np.sum(residual**2)
        ax.plot(scales, 25 * np.log(2 * np.pi * scales**2) + sse / (2 * scales**2), color=GOOD, label="Gaussian")
        ax.plot(scales, sse / (2 * scales**2), color=BAD, label="log σ left out")
        ax.axvline(np.sqrt(mse), color=TRUTH, lw=1, ls=":", label="σ = √MSE")
        ax.set(xlabel="σ", ylabel="negative log-likelihood, nats", xscale="log", ylim=(0, 260))
        ax.legend(frameon=False)

    return Finding(
        [
            Measurement(STATED, "NLL less its closed form, relative, 20 places", off, ROUNDINGS),
            Measurement(STATED, "argmin of the NLL less least squares", gap(w, squares), 1e-10),
            Measurement(STATED, "σ̂²/MSE − 1", abs(with_log**2 / mse - 1), 1e-8),
            Measurement(STATED, "printed figures of the listing", listed, 1e-12),
            Measurement(CONTROL, "σ̂²/MSE − 1 without log σ", abs(without_log**2 / mse - 1), 1e-8),
        ],
        draw,
    )


def _excess(loss, y, constant) -> float:
    """How much the mean loss at a constant exceeds the least one, over all data points and a minimiser's answer."""
    mean_loss = lambda c: float(np.mean(loss(c)))
    found = optimize.minimize_scalar(mean_loss, bounds=(y.min(), y.max()), method="bounded", options={"xatol": 1e-12})
    return (mean_loss(constant) - min(found.fun, min(map(mean_loss, y)))) / mean_loss(constant)


def _huber_constant(y, delta) -> float:
    """argmin over c of Σ huber(y − c): the root of the sum of clipped residuals."""
    score = lambda c: float(np.sum(np.clip(y - c, -delta, delta)))
    return optimize.brentq(score, y.min() - 1, y.max() + 1, xtol=1e-15, rtol=8.9e-16)


def optimal_constants(rng) -> Finding:
    """MSE: the mean. MAE: the median. Quantile loss: the quantile. Huber: its own M-estimate."""
    y = rng.lognormal(0.0, 1.0, 101)
    as_loss = {
        "MSE": lambda c: losses.mse(y, jnp.full(101, c)),
        "MAE": lambda c: losses.mae(y, jnp.full(101, c)),
        "quantile": lambda c: losses.quantile(y, jnp.full(101, c), 0.9),
    }
    quantile = np.sort(y)[int(np.ceil(0.9 * 101)) - 1]
    samples = rng.standard_t(2, (400, 9)) * 2
    spots = np.array([[s.mean(), np.median(s), _huber_constant(s, K)] for s in samples])
    outside = np.maximum(spots[:, :2].min(1) - spots[:, 2], spots[:, 2] - spots[:, :2].max(1))
    worst = int(outside.argmax())
    found = lbfgs(lambda c: jnp.sum(losses.huber(samples[worst], c + jnp.zeros(9), K)), jnp.asarray(0.0))[0]

    m = [
        Measurement(
            STATED, f"excess of {name}'s loss at its constant, relative", _excess(as_loss[name], y, c), ROUNDINGS
        )
        for name, c in (("MSE", y.mean()), ("MAE", np.median(y)), ("quantile", quantile))
    ]
    return Finding(
        [
            *m,
            Measurement(REFUTED, "Huber's constant outside [mean, median] of a sample", float(outside[worst]), 1e-9),
            Measurement(INSTEAD, "the loss's argmin less the M-estimate", abs(float(found) - spots[worst, 2]), 1e-8),
            Measurement(
                INSTEAD, "M-estimate at δ = 1e-6 less the median", abs(_huber_constant(y, 1e-6) - np.median(y)), 1e-6
            ),
            Measurement(INSTEAD, "M-estimate at δ = 1e3 less the mean", abs(_huber_constant(y, 1e3) - y.mean()), 1e-12),
            Measurement(CONTROL, "excess of MAE's loss at the mean", _excess(as_loss["MAE"], y, y.mean()), ROUNDINGS),
        ],
        lambda ax: _draw_constants(ax, samples, spots, outside, worst),
    )


def _draw_constants(ax, samples, spots, outside, worst):
    sample, grid = samples[worst], np.linspace(samples[worst].min(), samples[worst].max(), 400)
    loss = [np.mean(losses.huber(sample, jnp.full(9, c), K)) for c in grid]
    ax.plot(grid, loss, color=GOOD, label=f"mean Huber loss, δ = {K}")
    ax.plot(sample, np.zeros(9), "|", color="0.4", ms=14, label="the sample")
    for value, name, colour, style in zip(
        spots[worst], ("mean", "median", "Huber's constant"), (BAD, THIRD, TRUTH), ("--", ":", "-")
    ):
        ax.axvline(value, color=colour, ls=style, lw=1.4, label=f"{name} {value:.2f}")
    share = np.mean(outside > 1e-9)
    ax.set(xlabel="constant", ylabel="loss", ylim=(-0.5, 1.6 * max(loss)))
    ax.set_title(f"outside in {share:.0%} of 400 samples of 9 from Student's t₂", fontsize=9)
    ax.legend(frameon=False, ncols=2)


def absolute_error_is_laplace(rng) -> Finding:
    """NLL = n log 2b + Σ|y − μ|/b; b̂ = mean absolute deviation."""
    y = rng.standard_t(3, 41)
    centre = np.median(y)
    deviation = np.mean(np.abs(y - centre))
    nll = lambda b: float(-jnp.sum(likelihoods.laplace(b).log_prob(y, jnp.full(41, centre))))
    scipys = lambda b: -np.sum(stats.laplace(centre, b).logpdf(y))
    off = max(abs(nll(b) - scipys(b)) / (41 * abs(np.log(2 * b)) + 41 * deviation / b) for b in (0.1, 0.5, 1.0, 7.0))
    total = jnp.sum(losses.mae(y, jnp.full(41, centre)))
    best = lambda loss: float(jnp.exp(lbfgs(loss, jnp.zeros(()), max_steps=200)[0]))
    right = best(lambda t: total / jnp.exp(t) + 41 * jnp.log(2 * jnp.exp(t)))
    learnt = best(
        lambda t: -jnp.sum(likelihoods.laplace().log_prob(y, (jnp.full(41, centre), jnp.full(41, jnp.exp(t)))))
    )
    wrong = best(lambda t: total / jnp.exp(t))

    def draw(ax):
        scales = np.geomspace(0.2, 6, 200)
        ax.plot(scales, [nll(b) for b in scales], color=GOOD, label="Laplace")
        ax.plot(scales, 41 * deviation / scales, color=BAD, label="n log 2b left out")
        ax.axvline(deviation, color=TRUTH, lw=1, ls=":", label="b = mean |y − median|")
        ax.set(xlabel="b", ylabel="negative log-likelihood, nats", xscale="log", ylim=(0, 200))
        ax.legend(frameon=False)

    return Finding(
        [
            Measurement(STATED, "NLL less SciPy's, relative to its terms", off, ROUNDINGS),
            Measurement(STATED, "b̂ over the mean absolute deviation − 1", abs(learnt / deviation - 1), 1e-8),
            Measurement(STATED, "the same from MAE/b + log 2b", abs(right / deviation - 1), 1e-8),
            Measurement(CONTROL, "b̂ without log 2b", abs(wrong / deviation - 1), 1e-8),
        ],
        draw,
    )


def _mixture(p, z):
    weight, scale, b = 1 / (1 + np.exp(-p[0])), np.exp(p[1]), np.exp(p[2])
    return weight * stats.norm(0, scale).pdf(z) + (1 - weight) * stats.laplace(0, b).pdf(z)


def huber_is_one_density(rng) -> Finding:
    """(1 − ε) N + ε H with H outside ±k, 2φ(k)/k − 2Φ(−k) = ε/(1 − ε): Huber's least favourable distribution."""
    density = lambda z: np.exp(np.asarray(likelihoods.huber(K, 1.0).log_prob(jnp.asarray(z), jnp.zeros(len(z)))))
    z = np.linspace(-15, 15, 6001)
    distance = lambda p: 0.5 * np.trapezoid(np.abs(density_z - _mixture(p, z)), z)
    density_z = density(z)
    starts = ((0.0, 0.0, 0.0), (2.0, 0.0, 0.5), (-1.0, -0.3, -0.2))
    fits = [
        optimize.minimize(distance, s, method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-10}) for s in starts
    ]
    best = min(fits, key=lambda fit: fit.fun)
    one = lambda z: float(density(np.array([z]))[0])
    total = 2 * (integrate.quad(one, 0, K, epsabs=1e-13)[0] + integrate.quad(one, K, 60, epsabs=1e-13, limit=200)[0])
    ratio = 2 * stats.norm.pdf(K) / K - 2 * stats.norm.cdf(-K)
    eps = ratio / (1 + ratio)
    rest = density_z - (1 - eps) * stats.norm.pdf(z)
    inside, outside = rest[np.abs(z) <= K], rest[np.abs(z) > K]
    score = jax.vmap(jax.grad(lambda f: likelihoods.huber(K, 1.0).log_prob(jnp.zeros(1), f[None])[0]))
    ours = np.asarray(score(jnp.asarray(-z)))  # d/dμ log p(0 | μ) at μ = −z
    mixed = -np.gradient(np.log(_mixture(best.x, z)), z)

    def draw(ax):
        ax.plot(z, np.clip(z, -K, K), color=TRUTH, lw=3, alpha=0.4, label="clip(z, ±k)")
        ax.plot(z, ours, color=GOOD, label="score of Huber's density")
        ax.plot(z, mixed, color=BAD, ls="--", label="score of the nearest Gaussian–Laplace mixture")
        ax.set(xlabel="z", ylabel="−d log p/dz", xlim=(-6, 6), ylim=(-2, 3.2))
        ax.legend(frameon=False, loc="upper left")

    return Finding(
        [
            Measurement(REFUTED, "total variation to the nearest Gaussian–Laplace mixture", best.fun, 1e-8),
            Measurement(INSTEAD, "its integral − 1", abs(total - 1), 1e-10),
            Measurement(INSTEAD, "score less clip(z, ±k)", gap(ours, np.clip(z, -K, K)), ROUNDINGS * 15),
            Measurement(INSTEAD, "density less (1 − ε) N inside ±k", gap(inside, 0), ROUNDINGS),
            Measurement(INSTEAD, "the same outside ±k, at its least", float(outside.min()), 0.0, at_least=True),
            Measurement(INSTEAD, "ε at k = 1.345 less 0.0579", abs(eps - 0.0579), 5e-5),
            Measurement(CONTROL, "the mixture's score less clip(z, ±k)", gap(mixed, np.clip(z, -K, K)), ROUNDINGS * 15),
        ],
        draw,
    )
