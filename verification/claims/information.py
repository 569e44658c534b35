"""Entropies and divergences."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from scipy import integrate, special, stats

from probjax import information
from probjax.optimize import lbfgs
from verification.claims import listings
from verification.claims.parts import BAD, GOOD, TRUTH, gap
from verification.claims.types import CONTROL, EPS, ROUNDINGS, STATED, Finding, Measurement


def divergence(rng) -> Finding:
    """KL(P ‖ Q) ≥ 0, zero at Q = P alone, not symmetric; discrete and Gaussian."""
    p, q = rng.dirichlet(np.ones(6), 500), rng.dirichlet(np.ones(6), 500)
    kl = np.asarray(information.kl(p, q))
    exact = special.rel_entr(p, q).sum(1)
    size = np.abs(special.rel_entr(p, q)).sum(1)
    pinsker = kl / (0.5 * np.abs(p - q).sum(1) ** 2)
    pairs = [(0.0, 1.0, 1.5, 0.7), (-1.0, 2.0, 1.0, 2.0), (0.3, 0.2, 0.3, 0.5)]
    closed = np.array([float(information.kl_normal(*pair)) for pair in pairs])
    by_quadrature = lambda m, s, m2, s2: integrate.quad(
        lambda x: stats.norm.pdf(x, m, s) * (stats.norm.logpdf(x, m, s) - stats.norm.logpdf(x, m2, s2)),
        m - 12 * s,
        m + 12 * s,
        epsabs=1e-13,
        epsrel=1e-13,
    )[0]
    quadrature = np.array([by_quadrature(*pair) for pair in pairs])
    reverse = np.array([by_quadrature(m2, s2, m, s) for m, s, m2, s2 in pairs])

    def draw(ax):
        scales = np.geomspace(0.2, 5, 200)
        for a, b, colour, name in ((0, 1, GOOD, "KL(N(0, 1) ‖ N(0, s²))"), (1, 0, BAD, "KL(N(0, s²) ‖ N(0, 1))")):
            first, second = (scales if a else 1.0), (scales if b else 1.0)
            ax.plot(scales, information.kl_normal(0.0, first, 0.0, second), color=colour, label=name)
        ax.axhline(0, color=TRUTH, lw=0.8)
        ax.set(xlabel="s", ylabel="nats", xscale="log", ylim=(-0.2, 6))
        ax.legend(frameon=False)

    return Finding(
        [
            Measurement(STATED, "least KL of 500 random pairs", float(kl.min()), 0.0, at_least=True),
            Measurement(
                STATED, "KL less SciPy's, relative to its terms", float(np.max(np.abs(kl - exact) / size)), ROUNDINGS
            ),
            Measurement(STATED, "least KL over ½‖P − Q‖₁² (Pinsker)", float(pinsker.min()), 1.0, at_least=True),
            Measurement(STATED, "KL(P ‖ P), largest", float(np.max(information.kl(p, p))), 0.0),
            Measurement(STATED, "largest |KL(P ‖ Q) − KL(Q ‖ P)|", gap(kl, information.kl(q, p)), 0.1, at_least=True),
            Measurement(STATED, "Gaussian closed form less quadrature", gap(closed, quadrature), 1e-10),
            Measurement(
                CONTROL, "Gaussian closed form less quadrature, arguments reversed", gap(closed, reverse), 1e-10
            ),
        ],
        draw,
    )


def maximum_likelihood_is_least_divergence(rng) -> Finding:
    """Σ log p(yₙ | θ)/n = −H(empirical) − KL(empirical ‖ model): one argmax."""
    counts = rng.multinomial(95, [0.4, 0.15, 0.05, 0.1, 0.3]) + 1.0  # every value seen, so the reverse is finite
    empirical, k = counts / counts.sum(), jnp.arange(5.0)
    choose = jnp.asarray(special.binom(4, np.arange(5)))
    model = lambda t: choose * jax.nn.sigmoid(t) ** k * jax.nn.sigmoid(-t) ** (4 - k)
    best = lambda loss: float(jax.nn.sigmoid(lbfgs(loss, jnp.zeros(()), tolerance=1e-13)[0]))
    forward = best(lambda t: information.kl(empirical, model(t)))
    reverse = best(lambda t: information.kl(model(t), empirical))
    mle = float(empirical @ np.arange(5) / 4)
    ll = lambda p: empirical @ stats.binom(4, p).logpmf(np.arange(5))
    identity = [
        ll(p) + stats.entropy(empirical) + float(information.kl(empirical, stats.binom(4, p).pmf(np.arange(5))))
        for p in (0.1, 0.3, 0.6)
    ]

    def draw(ax):
        grid = np.linspace(0.05, 0.8, 200)
        pmf = np.array([stats.binom(4, p).pmf(np.arange(5)) for p in grid])
        ax.plot(grid, information.kl(empirical, pmf), color=GOOD, label="KL(empirical ‖ model)")
        ax.plot(grid, information.kl(pmf, empirical), color=BAD, label="KL(model ‖ empirical)")
        ax.axvline(mle, color=TRUTH, ls=":", lw=1, label="maximum likelihood")
        ax.set(xlabel="p of Binomial(4, p)", ylabel="nats", ylim=(0, 1.5))
        ax.legend(frameon=False)

    return Finding(
        [
            Measurement(STATED, "argmin of KL(empirical ‖ model) less the mean's p", abs(forward - mle), 1e-8),
            Measurement(STATED, "log-likelihood + H + KL", gap(identity, 0), ROUNDINGS * 4),
            Measurement(CONTROL, "argmin of KL(model ‖ empirical) less it", abs(reverse - mle), 1e-8),
        ],
        draw,
    )


def cross_entropy_is_entropy_and_divergence(rng) -> Finding:
    """H(P, Q) = H(P) + KL(P ‖ Q), zeros in P included, nothing clipped."""
    p, q = rng.dirichlet(np.ones(5), 300), rng.dirichlet(np.ones(5), 300)
    p[::3, 0] = 0
    p[::5, 1:] = 0
    p[:, 4] += 1 - p.sum(1)
    ce, h, kl = (np.asarray(v) for v in (information.cross_entropy(p, q), information.entropy(p), information.kl(p, q)))
    off = np.max(np.abs(ce - h - kl) / (1 + ce))
    one, other = listings.ONE_HOT
    clip = lambda v: np.clip(v, 1e-10, 1.0)
    clipped = -np.sum(clip(one) * np.log(clip(other)))

    def draw(ax):
        floors = np.geomspace(1e-14, 1e-3, 60)
        miss = [-np.sum(np.clip(one, f, 1) * np.log(np.clip(other, f, 1))) + np.log(0.7) for f in floors]
        ax.loglog(floors, miss, color=BAD, label="probabilities clipped")
        ax.axhline(EPS, color=GOOD, label="zeros as zeros: one rounding")
        ax.set(xlabel="floor that both are clipped at", ylabel="error of H(P, Q), nats")
        ax.legend(frameon=False)

    return Finding(
        [
            Measurement(STATED, "H(P, Q) − H(P) − KL(P ‖ Q), 300 pairs", float(off), ROUNDINGS),
            Measurement(
                STATED,
                "the listing's 0.3566749",
                abs(float(information.cross_entropy(one, other)) + np.log(0.7)),
                2 * EPS,
            ),
            Measurement(CONTROL, "the same, both clipped at 1e-10", abs(clipped + np.log(0.7)), 2 * EPS),
        ],
        draw,
    )


def one_hot_targets(rng) -> Finding:
    """P one-hot: H(P) = 0, so cross-entropy = KL = −log q at the label."""
    q, labels = rng.dirichlet(np.ones(4), 200), rng.integers(0, 4, 200)
    p = np.eye(4)[labels]
    soft = 0.9 * p + 0.1 / 4
    own = -np.log(q[np.arange(200), labels])
    difference = lambda p: gap(information.cross_entropy(p, q), information.kl(p, q))

    def draw(ax):
        ax.plot(own, information.cross_entropy(p, q) - information.kl(p, q), ".", color=GOOD, label="one-hot")
        ax.plot(
            own, information.cross_entropy(soft, q) - information.kl(soft, q), ".", color=BAD, label="smoothed by 0.1"
        )
        ax.set(xlabel="−log q at the label, nats", ylabel="cross-entropy − KL = H(P), nats")
        ax.legend(frameon=False)

    return Finding(
        [
            Measurement(STATED, "H(P)", gap(information.entropy(p), 0), 0.0),
            Measurement(
                STATED,
                "cross-entropy + log q, relative",
                float(np.max(np.abs(information.cross_entropy(p, q) / own - 1))),
                ROUNDINGS,
            ),
            Measurement(STATED, "cross-entropy less KL", difference(p), ROUNDINGS * own.max()),
            Measurement(CONTROL, "cross-entropy less KL, smoothed labels", difference(soft), ROUNDINGS * own.max()),
        ],
        draw,
    )


def mass_where_there_is_none(rng) -> Finding:
    """Q = 0 < P: KL(P ‖ Q) = ∞; where Q > 0 its gradient is that of −P/Q."""
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.75, 0.0])
    lost = np.array([1.0, 0.0, 0.0])
    slope = np.asarray(jax.grad(lambda q: information.cross_entropy(p, q))(jnp.asarray(q)))
    clipped = float(np.sum(p[:2] * np.log(p[:2] / np.clip(lost[:2], 1e-10, 1))))

    def draw(ax):
        mass = np.geomspace(1e-16, 0.5, 200)
        rows = np.stack([1 - mass, mass], 1)
        ax.semilogx(mass, information.kl(np.array([[0.5, 0.5]]), rows), color=GOOD, label="KL")
        floor = np.clip(rows, 1e-10, 1)
        ax.semilogx(mass, 0.5 * np.log(0.25 / floor.prod(1)), color=BAD, ls="--", label="clipped at 1e-10")
        ax.set(xlabel="Q's mass where P has ½", ylabel="KL(P ‖ Q), nats")
        ax.legend(frameon=False)

    return Finding(
        [
            Measurement(STATED, "KL with Q = 0 < P", float(information.kl(p, lost)), np.inf, at_least=True),
            Measurement(
                STATED, "cross-entropy with Q = 0 < P", float(information.cross_entropy(p, lost)), np.inf, at_least=True
            ),
            Measurement(STATED, "KL with P = 0 at Q = 0: finite", float(information.kl(p, q)), 1.0),
            Measurement(
                STATED, "gradient in Q less −P/Q where both are positive", gap(slope[:2], -p[:2] / q[:2]), ROUNDINGS
            ),
            Measurement(STATED, "gradient where P = 0 = Q", abs(float(slope[2])), 0.0),
            Measurement(CONTROL, "KL of a clipped Q", clipped, np.inf, at_least=True),
        ],
        draw,
    )
