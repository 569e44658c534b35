"""Penalties and the priors they are: ridge, lasso, and what their modes do not say of the posterior."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from scipy import stats
from sklearn.linear_model import Lasso, Ridge

from probjax import Data, Model, empirical_bayes, glm, likelihoods, linear, priors, regularisers
from verification.claims import listings
from verification.claims.parts import BAD, GOOD, KEY, THIRD, TRUTH, fitted, gap, least_squares, on_weights
from verification.claims.types import CONTROL, INSTEAD, REFUTED, STATED, UNDER, WITHOUT, Finding, Measurement


def _regression(rng):
    x = rng.normal(size=(40, 5)) @ (np.eye(5) + 0.3)
    return x, x @ [1.5, -1.0, 0.0, 0.5, 0.0] + 0.4 + rng.standard_normal(40)


def ridge_is_a_gaussian_prior(rng) -> Finding:
    """argmin SSE + λ‖w‖² = MAP under N(0, τ²) and noise σ, λ = σ²/τ²."""
    x, y = _regression(rng)
    sigma, tau = 0.8, 0.5
    mode = fitted(x, y, likelihoods.normal(sigma), on_weights(priors.normal(0.0, tau)))
    centred, target = x - x.mean(0), y - y.mean()
    closed = lambda penalty: np.linalg.solve(centred.T @ centred + penalty * np.eye(5), centred.T @ target)
    penalty = sigma**2 / tau**2
    peer = Ridge(penalty, solver="cholesky").fit(x, y)

    def draw(ax):
        penalties = np.geomspace(1e-2, 1e4, 80)
        for j, path in enumerate(np.array([closed(p) for p in penalties]).T):
            ax.semilogx(penalties, path, color=GOOD, lw=1.2, label="ridge" if j == 0 else None)
        ax.plot(np.full(5, penalty), mode[:5], "o", color=BAD, label="mode under N(0, τ²), λ = σ²/τ²")
        ax.set(xlabel="λ", ylabel="weights")
        ax.legend(frameon=False)

    return Finding(
        [
            Measurement(STATED, "mode less the closed form", gap(mode[:5], closed(penalty)), 1e-8),
            Measurement(STATED, "mode less scikit-learn's ridge", gap(mode, [*peer.coef_, peer.intercept_]), 1e-8),
            Measurement(
                STATED,
                "λ by conversion there and back",
                abs(regularisers.normal_to_ridge(regularisers.ridge_to_normal(penalty, sigma), sigma) / penalty - 1),
                1e-15,
            ),
            Measurement(CONTROL, "mode less the closed form at λ = τ²/σ²", gap(mode[:5], closed(1 / penalty)), 1e-8),
        ],
        draw,
    )


def lasso_is_a_laplace_prior(rng) -> Finding:
    """argmin ½SSE + λ‖w‖₁ = MAP under Laplace(0, b) and noise σ, λ = σ²/b; scikit-learn's alpha is λ/n."""
    train, _ = listings.sparse()
    zeros, off, slack = {}, 0.0, 0.0
    for alpha in (0.1, 1.0):
        scale = regularisers.sklearn_lasso_to_laplace(alpha, 1.0, 80)
        w = fitted(train.x, train.y, likelihoods.normal(1.0), on_weights(priors.laplace(0.0, scale)))
        peer = Lasso(alpha, tol=1e-14, max_iter=1_000_000).fit(train.x, train.y)
        off = max(off, gap(w, [*peer.coef_, peer.intercept_]))
        pull = train.x.T @ (train.y - train.x @ w[:-1] - w[-1])
        slack = max(slack, gap(np.where(w[:-1] != 0, pull - 80 * alpha * np.sign(w[:-1]), 0), 0))
        slack = max(slack, float(np.max(np.abs(pull) - 80 * alpha)))
        zeros[alpha] = float(np.sum(w[:-1] != 0))
    descent = _subgradient_descent(train, 1.0)
    listed = [listings.SPARSE[name][2] for name in ("Lasso 0.1", "Lasso 1")]

    def draw(ax):
        ax.stem(np.arange(50), np.abs(w[:-1]), linefmt="-", markerfmt="o", basefmt=" ", label="exact mode")
        ax.plot(np.arange(50), np.abs(descent), "x", color=BAD, label="subgradient descent, 20,000 steps")
        ax.set(xlabel="coefficient", ylabel="|w| at alpha = 1", yscale="symlog")
        ax.set_yscale("symlog", linthresh=1e-3)
        ax.legend(frameon=False)

    return Finding(
        [
            Measurement(STATED, "violation of the optimality conditions", slack, 1e-8 * 80),
            Measurement(STATED, "mode less scikit-learn's lasso run to 1e-14", off, 1e-6),
            Measurement(
                STATED, "coefficients not 0 less the listing's 48 and 27", gap(list(zeros.values()), listed), 0.0
            ),
            Measurement(STATED, "exact zeros at alpha = 1", 50 - zeros[1.0], 1.0, at_least=True),
            Measurement(CONTROL, "exact zeros of subgradient descent", float(np.sum(descent == 0)), 1.0, at_least=True),
        ],
        draw,
    )


def _subgradient_descent(train, alpha):
    x, y = train.x - train.x.mean(0), train.y - train.y.mean()
    gram, cross, w = x.T @ x / 80, x.T @ y / 80, np.zeros(50)
    step = 1 / np.linalg.eigvalsh(gram)[-1]
    for k in range(20_000):
        w = w - step / np.sqrt(1 + k / 100) * (gram @ w - cross + alpha * np.sign(w))
    return w


def _under_laplace(b, y=0.4, noise=1.0):
    """Posterior of one weight, y ~ N(w, σ²), w ~ Laplace(0, b), on a grid with a node at 0: grid, density, mean."""
    w = np.linspace(-8, 8, 16001)
    log_density = stats.norm.logpdf(y, w, noise) + stats.laplace.logpdf(w, 0, b)
    density = np.exp(log_density - log_density.max())
    density /= np.trapezoid(density, w)
    return w, density, float(np.trapezoid(w * density, w))


def no_mass_at_zero(rng) -> Finding:
    """The mode under a Laplace prior is exactly 0; the posterior has no atom there, and mean and median are not 0."""
    w, density, mean = _under_laplace(0.5)
    near = lambda width: float(np.interp(0.0, w, density) * 2 * width)  # mass of ±width, exact as width → 0
    cdf = np.concatenate([[0], np.cumsum(0.5 * (density[1:] + density[:-1]) * np.diff(w))])
    median = float(np.interp(0.5, cdf, w))
    x = np.ones((1, 1))
    model = Model(*linear(1, bias=False), prior=priors.laplace(0.0, 0.5), likelihood=likelihoods.normal(1.0))
    mode = float(glm(KEY, model, Data(jnp.asarray(x), jnp.array([0.4]))).draws["weight"][0, 0])
    spike = stats.norm.pdf(0.4, 0, 1.0)
    slab = stats.norm.pdf(0.4, 0, np.sqrt(2.0))
    atom = spike / (spike + slab)  # P(w = 0 | y) under ½ δ₀ + ½ N(0, 1)

    def draw(ax):
        ax.plot(w, density, color=GOOD, label="posterior, Laplace prior")
        ax.axvline(mode, color=BAD, lw=1.2, label=f"mode {mode:g}")
        ax.axvline(mean, color=THIRD, lw=1.2, ls="--", label=f"mean {mean:.3f}")
        ax.axvline(median, color=TRUTH, lw=1.2, ls=":", label=f"median {median:.3f}")
        ax.set(xlabel="w", ylabel="density", xlim=(-2, 2.5))
        ax.legend(frameon=False)

    return Finding(
        [
            Measurement(REFUTED, "posterior mass of |w| ≤ 1e-9", near(1e-9), 0.01, at_least=True),
            Measurement(INSTEAD, "the mode", abs(mode), 0.0),
            Measurement(INSTEAD, "posterior mass of |w| ≤ 1e-9", near(1e-9), 1e-6),
            Measurement(INSTEAD, "the mean", abs(mean), 0.01, at_least=True),
            Measurement(INSTEAD, "the median", abs(median), 0.01, at_least=True),
            Measurement(CONTROL, "posterior mass of |w| ≤ 1e-9, spike and slab", atom, 1e-6),
        ],
        draw,
    )


def regularising_helps(rng) -> Finding:
    """Expected squared error of ridge, bias² + variance, against least squares: a gain where λ fits the truth."""
    noise, tau = 2.0, 1.0
    risk, by_evidence = _risk_under_the_prior(rng, noise, tau)
    train, test = listings.sparse()
    rmse = lambda w: float(np.sqrt(np.mean((test.y - test.x @ w[:-1] - w[-1]) ** 2)))
    ridge = lambda tau: fitted(train.x, train.y, likelihoods.normal(1.0), on_weights(priors.normal(0.0, tau)))
    plain, one, ten = rmse(least_squares(train.x, train.y)), rmse(ridge(1.0)), rmse(ridge(0.1**0.5))
    listed = [listings.SPARSE[name][1] for name in ("MLE", "Ridge 1", "Ridge 10")]
    gain = lambda role, what, value: Measurement(role, what, value, 0.0, at_least=True)

    def draw(ax):
        penalties = np.geomspace(1e-2, 1e3, 60)
        curve = [risk(p) / risk(0.0) for p in penalties]
        ax.semilogx(penalties, curve, color=GOOD, label="true weights from the prior")
        curve = [rmse(ridge(p**-0.5)) ** 2 / plain**2 for p in penalties[::6]]
        ax.semilogx(penalties[::6], curve, "o-", color=BAD, label="the listing: 40 zeros, weights up to 82")
        ax.axvline(by_evidence, color=TRUTH, ls=":", lw=1, label="λ of largest evidence (first)")
        ax.axhline(1, color="0.8", lw=0.8)
        ax.set(xlabel="λ", ylabel="squared test error over that of least squares", ylim=(0, 3))
        ax.legend(frameon=False)

    least = "test RMSE of least squares, ridge 1, ridge 10 less the listing's"
    there = "gain in expected squared error, the listing's rows and true weights, ridge 10"
    best = risk(0.0) - risk(noise**2 / tau**2)
    return Finding(
        [
            gain(UNDER, "gain in expected squared error at λ = σ²/τ²", best),
            gain(UNDER, "gain at the λ of largest evidence on one data set", risk(0.0) - risk(by_evidence)),
            Measurement(STATED, least, gap([plain, one, ten], listed), 1e-8),
            gain(WITHOUT, there, _listed_risk(0.0) - _listed_risk(10.0)),
            gain(CONTROL, "gain in expected squared error at 100 σ²/τ²", risk(0.0) - risk(100 * noise**2 / tau**2)),
        ],
        draw,
    )


def _risk_under_the_prior(rng, noise, tau):
    """λ -> expected squared error of its ridge where the true weights come from the prior; and, for one data set, the
    λ of largest evidence."""
    x, new = rng.normal(size=(30, 12)), rng.normal(size=(400, 12))
    truth = tau * rng.standard_normal((12, 2000))

    def risk(penalty):
        gain = np.linalg.solve(x.T @ x + penalty * np.eye(12), x.T)
        bias = new @ (gain @ x @ truth - truth)
        return np.mean(bias**2) + noise**2 * np.mean(np.sum((new @ gain) ** 2, axis=1))

    y = x @ truth[:, 0] + noise * rng.standard_normal(30)
    likelihood = likelihoods.normal(noise)
    build = lambda tau: Model(*linear(12, bias=False), prior=priors.normal(0.0, tau), likelihood=likelihood)
    scale, _ = empirical_bayes(build, Data(x, y), 1.0)
    return risk, float(noise**2 / scale**2)


def _listed_risk(penalty):
    """Expected squared error on the listing's test rows given its true weights and noise, of a ridge with a bias."""
    train, test = listings.sparse()
    centre = train.x.mean(0)
    x, new = train.x - centre, test.x - centre
    gain = np.linalg.solve(x.T @ x + penalty * np.eye(50), x.T)
    bias = new @ (gain @ x @ train.truth - train.truth)
    return np.mean(bias**2) + 15.0**2 * (np.mean(np.sum((new @ gain) ** 2, axis=1)) + 1 / 80)


def tails_and_zeros(rng) -> Finding:
    """The kink at 0 makes exact zeros, not the tails: Student's t has heavier ones than the Laplace and no zeros."""
    x, y = _regression(rng)
    zeros = lambda prior: float(np.sum(fitted(x, y, likelihoods.normal(1.0), on_weights(prior))[:-1] == 0))
    # nine tenths of the rate that leaves no weight: some are 0, whatever the data
    scale = 1 / (0.9 * np.max(np.abs((x - x.mean(0)).T @ (y - y.mean()))))
    student, kinked = zeros(priors.student_t(4.0, 0.0, 0.1)), zeros(priors.laplace(0.0, scale))
    gaussian = zeros(priors.normal(0.0, scale))
    far = jnp.array([50.0])
    tail = float(priors.student_t(4.0, 0.0, 0.1).log_prob(far) - priors.laplace(0.0, 0.1).log_prob(far))

    def draw(ax):
        w = np.linspace(-1.5, 1.5, 601)
        for prior, name, colour in (
            (priors.laplace(0.0, 0.1), "Laplace", GOOD),
            (priors.student_t(4.0, 0.0, 0.1), "Student t₄", BAD),
            (priors.normal(0.0, 0.1), "Gaussian", THIRD),
        ):
            ax.plot(w, [float(prior.log_prob(jnp.array([v]))) for v in w], color=colour, label=name)
        ax.set(xlabel="w", ylabel="log density", ylim=(-16, 3))
        ax.legend(frameon=False)

    return Finding(
        [
            Measurement(REFUTED, "exact zeros of 5 under Student's t", student, 1.0, at_least=True),
            Measurement(INSTEAD, "log density at 50, Student's t over Laplace, nats", tail, 100.0, at_least=True),
            Measurement(INSTEAD, "exact zeros under the Laplace", kinked, 1.0, at_least=True),
            Measurement(CONTROL, "exact zeros under the Gaussian", gaussian, 1.0, at_least=True),
        ],
        draw,
    )
