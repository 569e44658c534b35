"""What the optimiser adds: decay, early stopping, starting points, dropout."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax

from probjax import likelihoods, priors, regularisers
from verification.claims.parts import BAD, GOOD, THIRD, TRUTH, fitted, gap, on_weights
from verification.claims.types import CONTROL, INSTEAD, REFUTED, UNDER, WITHOUT, Finding, Measurement

DECAY = 0.05


def _small_regression(rng, rows=40, columns=4):
    x = rng.normal(size=(rows, columns)) * np.geomspace(0.5, 2, columns)
    return x, x @ rng.normal(size=columns) + 0.5 * rng.standard_normal(rows)


def _run(optimiser, gradient, start, steps):
    def step(carry, _):
        w, state = carry
        updates, state = optimiser.update(gradient(w), state, w)
        return (optax.apply_updates(w, updates), state), None

    return np.asarray(jax.jit(lambda w: jax.lax.scan(step, (w, optimiser.init(w)), None, length=steps)[0][0])(start))


def weight_decay(rng) -> Finding:
    """Mean NLL + ½ wd ‖w‖² in the gradient: MAP under N(0, 1/(n wd)). AdamW's decoupled decay: another fixed point."""
    x, y = _small_regression(rng)
    tau = regularisers.weight_decay_to_normal(DECAY, 40)
    centred, target = x - x.mean(0), y - y.mean()
    mode = fitted(x, y, likelihoods.normal(1.0), on_weights(priors.normal(0.0, tau)))[:4]
    slope = lambda w: jnp.asarray(centred).T @ (jnp.asarray(centred) @ w - target) / 40
    rate = optax.join_schedules([optax.constant_schedule(0.03), optax.exponential_decay(0.03, 100, 0.5)], [3000])
    zero = jnp.zeros(4)
    coupled = _run(optax.chain(optax.add_decayed_weights(DECAY), optax.adam(rate)), slope, zero, 8000)
    descent = _run(optax.chain(optax.add_decayed_weights(DECAY), optax.sgd(0.1)), slope, zero, 8000)
    decoupled = _run(optax.adamw(1e-3, weight_decay=DECAY), slope, zero, 60_000)
    squares = np.linalg.lstsq(centred, target, rcond=None)[0]
    forgotten = regularisers.weight_decay_to_normal(DECAY, 1)
    other = fitted(x, y, likelihoods.normal(1.0), on_weights(priors.normal(0.0, forgotten)))[:4]

    def draw(ax):
        floor = 1e-17  # 0 has no place on a logarithmic axis
        for w, name, colour in ((decoupled, "AdamW", BAD), (coupled, "Adam, L2 in the gradient", GOOD),
                                (descent, "gradient descent, L2 in the gradient", THIRD)):  # fmt: skip
            ax.semilogy(np.arange(4), np.abs(w - mode) + floor, "o", color=colour, ms=8, alpha=0.8, label=name)
        ax.axhline(1e-8, color=TRUTH, lw=0.8, ls=":", label="bound")
        ax.set(xlabel="weight", ylabel="|w − MAP|", xticks=range(4), ylim=(floor, 10))
        ax.legend(frameon=False, loc="center right")

    return Finding(
        [
            Measurement(UNDER, "Adam with L2 in the gradient less the MAP", gap(coupled, mode), 1e-8),
            Measurement(UNDER, "gradient descent with L2 in the gradient less the MAP", gap(descent, mode), 1e-8),
            Measurement(WITHOUT, "AdamW, decoupled, less the MAP", gap(decoupled, mode), 1e-8),
            # within the size of one of its steps, the rate
            Measurement(INSTEAD, "AdamW less least squares without any penalty", gap(decoupled, squares), 1e-3),
            Measurement(CONTROL, "Adam with L2 less the MAP at τ = 1/√wd, n forgotten", gap(coupled, other), 1e-8),
        ],
        draw,
    )


def early_stopping_and_dropout(rng) -> Finding:
    """Stopped gradient descent is the ridge λᵢ = sᵢ²(1 − fᵢ)/fᵢ, fᵢ = 1 − (1 − ηsᵢ²)ᵗ: one λ only for equal sᵢ. Dropout
    of inputs penalises by (1 − q)/q Σⱼ wⱼ² Σₙ xₙⱼ²: it depends on x and grows with n, as no prior does."""
    x, y = _small_regression(rng)
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    rate, steps = 0.5 / s[0] ** 2, 12

    def descend(x, rate):
        w = np.zeros(x.shape[1])
        for _ in range(steps):
            w = w - rate * x.T @ (x @ w - y)
        return w

    stopped = descend(x, rate)
    filtered = lambda f, u=u, s=s, vt=vt: vt.T @ (f / s * (u.T @ y))
    share = 1 - (1 - rate * s**2) ** steps
    ridge = lambda penalty: np.linalg.solve(x.T @ x + penalty, x.T @ y)
    anisotropic = ridge(vt.T @ np.diag(s**2 * (1 - share) / share) @ vt)
    penalties = np.geomspace(1e-3, 1e4, 2000)
    residual = [float(np.linalg.norm(ridge(p * np.eye(4)) - stopped) / np.linalg.norm(stopped)) for p in penalties]
    keep, w = 0.7, rng.normal(size=4)
    mask_penalty = lambda x: (1 - keep) / keep * np.sum(w**2 * np.sum(x**2, axis=0))
    exact = _expected_dropout_loss(x, y, w, keep) - np.sum((y - x @ w) ** 2)
    twice = mask_penalty(np.vstack([x, x])) / mask_penalty(x) - 1
    other = "stopped descent less the filter 1 − exp(−ηts²)"
    masks = "expected loss under dropout less the loss and the penalty, relative"

    def draw(ax):
        grid = np.geomspace(s[-1] * 0.5, s[0] * 1.2, 200)
        ax.semilogx(grid, 1 - (1 - rate * grid**2) ** steps, color=GOOD, label="stopped descent")
        best = penalties[int(np.argmin(residual))]
        ax.semilogx(grid, grid**2 / (grid**2 + best), color=BAD, ls="--", label=f"nearest ridge, λ = {best:.2g}")
        ax.plot(s, share, "o", color=TRUTH, ms=5, label="singular values of x")
        ax.set(xlabel="singular value s", ylabel="share f of the least-squares coefficient")
        ax.legend(frameon=False)

    return Finding(
        [
            Measurement(REFUTED, "stopped descent less the nearest isotropic ridge, relative", min(residual), 1e-8),
            Measurement(REFUTED, "dropout's penalty on twice the rows over that on the rows − 1", twice, 1e-8),
            Measurement(INSTEAD, "stopped descent less its filter", gap(stopped, filtered(share)), 1e-10),
            Measurement(INSTEAD, "stopped descent less the ridge λᵢ", gap(stopped, anisotropic), 1e-10),
            Measurement(INSTEAD, "equal singular values: less one ridge", _one_ridge(x, y, descend, steps), 1e-10),
            Measurement(INSTEAD, masks, abs(exact / mask_penalty(x) - 1), 1e-10),
            Measurement(CONTROL, other, gap(stopped, filtered(1 - np.exp(-rate * steps * s**2))), 1e-10),
        ],
        draw,
    )


def _one_ridge(x, y, descend, steps):
    """Stopped descent less its one ridge where all singular values are equal."""
    equal = np.linalg.qr(x)[0]
    share = 1 - 0.9**steps
    return gap(descend(equal, 0.1), np.linalg.solve((1 + (1 - share) / share) * np.eye(4), equal.T @ y))


def _expected_dropout_loss(x, y, w, keep):
    """E over masks m/q of ‖y − x(m∘w)/q‖², all 2⁴ masks enumerated."""
    total = 0.0
    for code in range(16):
        mask = np.array([code >> j & 1 for j in range(4)], float)
        weight = keep ** mask.sum() * (1 - keep) ** (4 - mask.sum())
        total += weight * np.sum((y - x @ (mask * w / keep)) ** 2)
    return total


def every_optimiser(rng) -> Finding:
    """With more weights than rows gradient descent ends at P_null w₀ + X⁺y: where it started stays in the answer."""
    x, y = rng.normal(size=(6, 15)), rng.normal(size=6)
    null = np.eye(15) - np.linalg.pinv(x) @ x

    def descend(w):
        for _ in range(4000):
            w = w - 0.9 / np.linalg.norm(x, 2) ** 2 * x.T @ (x @ w - y)
        return w

    start = rng.normal(size=15)
    stopped = 0.9 / np.linalg.norm(x, 2) ** 2 * x.T @ y  # after one step from 0
    end, from_zero = descend(start), descend(np.zeros(15))
    least_norm = np.linalg.pinv(x) @ y
    loss = lambda w: float(np.sum((x @ w - y) ** 2))

    def draw(ax):
        order = np.argsort(least_norm)
        ax.plot(least_norm[order], "o-", color=TRUTH, label="X⁺y: least norm")
        ax.plot(from_zero[order], "x", color=GOOD, ms=8, label="descent from 0")
        ax.plot(end[order], "s-", color=BAD, ms=4, label="descent from w₀")
        ax.plot((null @ start + least_norm)[order], "+", color=THIRD, ms=10, label="P w₀ + X⁺y")
        ax.set(xlabel="weight, in order of X⁺y", ylabel="value; both fit y exactly")
        ax.legend(frameon=False)

    return Finding(
        [
            Measurement(REFUTED, "squared error that descent stopped after one step leaves", loss(stopped), 1e-16),
            Measurement(INSTEAD, "squared error of descent from two starts", max(loss(end), loss(from_zero)), 1e-16),
            Measurement(INSTEAD, "distance of their answers", gap(end, from_zero), 0.1, at_least=True),
            Measurement(INSTEAD, "descent from w₀ less P_null w₀ + X⁺y", gap(end, null @ start + least_norm), 1e-8),
            Measurement(INSTEAD, "descent from 0 less X⁺y", gap(from_zero, least_norm), 1e-8),
            Measurement(
                CONTROL, "descent from w₀ less (1 − P_null) w₀ + X⁺y", gap(end, start - null @ start + least_norm), 1e-8
            ),
        ],
        draw,
    )
