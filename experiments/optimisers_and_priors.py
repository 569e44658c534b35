"""Which optimisers find the mode, and which carry a prior of their own? `python -m experiments.optimisers_and_priors`

Full-batch Adam with the decay in its gradient ends at the mode, to 1e-15; AdamW, whose decay is decoupled, at another
point: least squares within the box |wⱼ| ≤ 1/decay (Xie & Li 2024), without any shrinkage while the box does not bind
(1.35 from the mode, 1e-5 from least squares). Gradient descent stopped after t steps is a ridge with a λᵢ of its own
for each singular direction, larger for small singular values and so a matter of the data: no single λ gives it (19% off
after 3 steps), unless all singular values are equal. With more weights than rows gradient descent ends at P_null w₀ +
X⁺y, keeping what it started with; Adam fits the rows as well and ends elsewhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.optimize import lsq_linear, minimize_scalar

from experiments import output
from probjax import Data, Model, likelihoods, linear, log_joint, optimize, priors, regularisers

SEED = 0
NUM_ROWS, FALLING = 40, np.diag(0.6 ** np.arange(5))  # of least squares with noise of sd 1; sds of its inputs
DECAY = 0.1  # of mean NLL + ½ decay ‖w‖²
STRONG = 1.0  # a decay at which the box of AdamW, |wⱼ| ≤ 1/decay, binds
NUM_STEPS, LEARNING_RATE = 20_000, 0.05  # of Adam and AdamW, the rate decaying to 0 along a cosine
STOPS = (3, 30, 300)  # steps of gradient descent that is stopped early


class Problem(NamedTuple):
    """y = x w + N(0, 1), x [N, D]; u s vᵀ = x."""

    x: np.ndarray
    y: np.ndarray
    s: np.ndarray
    v: np.ndarray

    @property
    def rate(self) -> float:
        """η: a quarter of the largest rate at which gradient descent on mean NLL converges."""
        return 0.5 * len(self.y) / self.s[0] ** 2

    def ridge(self, penalty: float | np.ndarray) -> np.ndarray:
        """argmin SSE + Σ λᵢ (vᵢᵀw)², one λ or one for each singular direction."""
        precision = self.x.T @ self.x + (self.v * penalty) @ self.v.T
        return np.linalg.solve(precision, self.x.T @ self.y)


def decomposed(x: np.ndarray, y: np.ndarray) -> Problem:
    """With the singular values and right singular vectors of x."""
    _, s, v = np.linalg.svd(x, full_matrices=False)
    return Problem(x, y, s, v.T)


def problem(key: jax.Array, num_rows: int, mix: np.ndarray) -> Problem:
    """Inputs N(0, I) mix; weights of alternating sign."""
    x_key, y_key = jax.random.split(key)
    x = np.asarray(jax.random.normal(x_key, (num_rows, len(mix)))) @ mix
    y = x @ (1.5 * (-1.0) ** np.arange(len(mix))) + np.asarray(jax.random.normal(y_key, (num_rows,)))
    return decomposed(x, y)


def objective(data: Problem, decay: float):
    """w -> −log p(y, w) / N: mean NLL + ½ decay ‖w‖², but for a constant."""
    scale = regularisers.weight_decay_to_normal(decay, len(data.y))
    prior = priors.normal(0.0, scale)
    model = Model(*linear(data.x.shape[1], bias=False), prior=prior, likelihood=likelihoods.normal(1.0))
    return lambda w: -log_joint(model, {"weight": w}, Data(data.x, data.y)) / len(data.y)


def adam(data: Problem, decay: float) -> np.ndarray:
    """Full-batch Adam, the decay in the gradient."""
    start = jnp.zeros(data.x.shape[1])
    fit = lambda: optimize.adam(objective(data, decay), start, num_steps=NUM_STEPS, learning_rate=LEARNING_RATE)[0]
    return np.asarray(jax.jit(fit)())


def adamw(data: Problem, decay: float) -> np.ndarray:
    """Full-batch AdamW: the decay beside Adam's step, not in its gradient."""
    rate = optax.cosine_decay_schedule(LEARNING_RATE, NUM_STEPS)
    return descend(data, optax.adamw(rate, weight_decay=decay), np.zeros(data.x.shape[1]), NUM_STEPS)[-1]


def descend(data: Problem, optimiser: optax.GradientTransformation, start: np.ndarray, num_steps: int) -> np.ndarray:
    """The path of an optimiser on mean NLL, start included: [num_steps + 1, D]."""

    def step(carry, _):
        w, state = carry
        updates, state = optimiser.update(data.x.T @ (data.x @ w - data.y) / len(data.y), state, w)
        w = optax.apply_updates(w, updates)
        return (w, state), w

    w = jnp.asarray(start)
    path = jax.jit(lambda w: jax.lax.scan(step, (w, optimiser.init(w)), length=num_steps)[1])(w)
    return np.vstack([start, path])


def filters(data: Problem, num_steps: int | np.ndarray) -> np.ndarray:
    """fᵢ = 1 − (1 − η sᵢ²/N)ᵗ: how much of least squares is there after t steps from 0, by direction."""
    return 1 - (1 - data.rate * data.s**2 / len(data.y)) ** np.asarray(num_steps)[..., None]


def stopped(data: Problem, num_steps: int | np.ndarray) -> np.ndarray:
    """Σ vᵢ fᵢ vᵢᵀ w, w that of least squares."""
    return (filters(data, num_steps) * (data.ridge(0.0) @ data.v)) @ data.v.T


def penalties(data: Problem, num_steps: int | np.ndarray) -> np.ndarray:
    """λᵢ = sᵢ² (1 − fᵢ)/fᵢ: the ridge that early stopping is."""
    f = filters(data, num_steps)
    return data.s**2 * (1 - f) / f


def nearest_ridge(data: Problem, w: np.ndarray) -> float:
    """The least ‖w − ridge(λ)‖ / ‖w‖ over one λ for all directions."""
    gap = lambda log: np.linalg.norm(data.ridge(np.exp(log)) - w) / np.linalg.norm(w)
    grid = np.linspace(-10, 12, 200)
    best = grid[np.argmin([gap(log) for log in grid])]
    return float(minimize_scalar(gap, bounds=(best - 0.2, best + 0.2), method="bounded", options={"xatol": 1e-12}).fun)


def boxed(data: Problem, decay: float) -> np.ndarray:
    """argmin SSE with every |wⱼ| ≤ 1/decay."""
    return lsq_linear(data.x, data.y, (-1 / decay, 1 / decay), tol=1e-14).x


def compare(key: jax.Array) -> list[tuple[str, str, float]]:
    """(what was run, what it is held against, largest difference)."""
    data_key, wide_key, start_key = jax.random.split(key, 3)
    data, wide = problem(data_key, NUM_ROWS, FALLING), problem(wide_key, 10, np.eye(30))
    mode, free, name = data.ridge(NUM_ROWS * DECAY), data.ridge(0.0), "mode under N(0, 1/Nδ)"
    gap = lambda a, b: float(np.max(np.abs(a - b)))
    decoupled, strong = adamw(data, DECAY), adamw(data, STRONG)
    shrinking = optax.chain(optax.sgd(data.rate), optax.add_decayed_weights(-data.rate * DECAY))
    shrunk = descend(data, shrinking, np.zeros(len(free)), 5000)[-1]
    path = descend(data, optax.sgd(data.rate), np.zeros(len(free)), max(STOPS))
    start = np.asarray(jax.random.normal(start_key, (30,)))
    inverse = np.linalg.pinv(wide.x)
    nearest = start + inverse @ (wide.y - wide.x @ start)  # P_null start + X⁺y
    by_descent = descend(wide, optax.sgd(wide.rate), start, 5000)[-1]
    by_adam = descend(wide, optax.adam(optax.cosine_decay_schedule(0.05, 5000)), start, 5000)[-1]
    return [
        ("Adam, δ in the gradient", name, gap(adam(data, DECAY), mode)),
        ("gradient descent, δ beside the step", name, gap(shrunk, mode)),
        (f"AdamW, δ = {DECAY:g}", name, gap(decoupled, mode)),
        (f"AdamW, δ = {DECAY:g}", "least squares, no prior", gap(decoupled, free)),
        (f"AdamW, δ = {STRONG:g}", "mode under N(0, 1/Nδ)", gap(strong, data.ridge(NUM_ROWS * STRONG))),
        (f"AdamW, δ = {STRONG:g}", "least squares with every |wⱼ| ≤ 1/δ", gap(strong, boxed(data, STRONG))),
        ("gradient descent, every step", "Σ vᵢ fᵢ vᵢᵀ w", gap(path, stopped(data, np.arange(len(path))))),
        *early_stopping(data, path),
        ("10 rows, 30 weights: gradient descent", "P_null w₀ + X⁺y", gap(by_descent, nearest)),
        ("10 rows, 30 weights: Adam", "P_null w₀ + X⁺y", gap(by_adam, nearest)),
        ("10 rows, 30 weights: Adam", "X w = y", gap(wide.x @ by_adam, wide.y)),
    ]


def early_stopping(data: Problem, path: np.ndarray) -> list[tuple[str, str, float]]:
    """The stopped path against ridges with one λ a direction, and with one for all; there also for equal sᵢ."""
    rows = []
    for t in STOPS:
        own = float(np.max(np.abs(path[t] - data.ridge(penalties(data, t)))))
        rows.append((f"gradient descent, {t} steps", "ridge with λᵢ = sᵢ²(1 − fᵢ)/fᵢ", own))
        rows.append((f"gradient descent, {t} steps", "nearest ridge of one λ (relative)", nearest_ridge(data, path[t])))
    u, _, v = np.linalg.svd(data.x, full_matrices=False)
    equal = decomposed(NUM_ROWS**0.5 * u @ v, data.y)
    end = descend(equal, optax.sgd(equal.rate), np.zeros(len(equal.s)), STOPS[0])[-1]
    return [
        *rows,
        (f"the same, {STOPS[0]} steps, all sᵢ equal", "nearest ridge of one λ (relative)", nearest_ridge(equal, end)),
    ]


def save_figure(key: jax.Array, path: Path) -> None:
    """Filters and penalties by singular value; the paths of two weights."""
    figure, axes = output.panels(3, height=4.3)
    data, s = problem(key, NUM_ROWS, FALLING), np.geomspace(0.03, 1, 200)
    line = data._replace(s=s * data.s[0])  # the same step size, other singular values
    for t, colour in zip(STOPS, output.COLOURS):
        rate = data.rate / NUM_ROWS
        f = 1 - (1 - rate * line.s**2) ** t
        half = (1 - 0.5 ** (1 / t)) / rate  # the s² at which f = ½, and the λ of a ridge with f = ½ there
        axes[0].plot(s, f, color=colour, lw=2)
        axes[0].plot(s, line.s**2 / (line.s**2 + half), color=colour, lw=1.3, ls="--")
        axes[1].plot(s, line.s**2 * (1 - f) / f, color=colour, lw=2, label=f"{t} steps")
        axes[1].axhline(half, color=colour, lw=1.3, ls="--")
    axes[1].plot([], color="0.4", ls="--", lw=1.3, label="ridge, equal at f = ½")
    axes[0].set(title="share of least squares kept", xlabel="singular value / the largest", ylabel="f", xscale="log")
    axes[1].set(title="the ridge that early stopping is", xlabel="singular value / the largest", ylabel="λ")
    axes[1].set(xscale="log", yscale="log", ylim=(1e-3, 100))
    show_paths(axes[2], problem(key, NUM_ROWS, np.array([[1.0, 0.2], [0.0, 0.25]])))
    for ax in axes[1:]:
        ax.legend(loc="lower left", frameon=False, fontsize=9)
    output.save(figure, path)


def show_paths(ax, data: Problem) -> None:
    """Ridge for every λ, gradient descent from 0, the modes and AdamW's end, over contours of the error."""
    ridges = np.stack([data.ridge(penalty) for penalty in np.geomspace(1e-3, 1e4, 300)])
    steps = descend(data, optax.sgd(data.rate), np.zeros(2), 3000)
    free, mode, end = data.ridge(0.0), data.ridge(NUM_ROWS * DECAY), adamw(data, DECAY)
    low, high = np.minimum(0, free) - np.array([0.2, 1.2]), np.maximum(0, free) + np.array([0.3, 0.2])
    first, second = np.meshgrid(*(np.linspace(a, b, 120) for a, b in zip(low, high)))
    away = np.stack([first, second], -1) - free
    excess = np.einsum("...i,ij,...j", away, data.x.T @ data.x, away)
    ax.contour(first, second, excess, levels=np.geomspace(0.5, 200, 8), colors="0.85", linewidths=0.9)
    ax.plot(*ridges.T, color=output.COLOURS[1], lw=2, label="ridge, every λ")
    ax.plot(*steps.T, color=output.COLOURS[0], lw=2, label="gradient descent")
    ax.plot(*mode, "s", color=output.COLOURS[1], ms=7, label=f"mode, δ = {DECAY:g} (Adam)")
    ax.plot(*end, "D", color=output.COLOURS[4], ms=7, label=f"AdamW, δ = {DECAY:g}")
    ax.plot(*free, "+", color=output.EXACT, ms=11, mew=1.8, label="least squares")
    ax.set(title="two weights", xlabel="w₁", ylabel="w₂")


def main(out: Path = Path("figures"), seed: int = SEED) -> Path:
    """Run the optimisers; print the table; save the figure and return its path."""
    jax.config.update("jax_enable_x64", True)
    key = jax.random.key(seed)
    rows = [(run, against, f"{gap:.1e}" if gap < 1e-3 else f"{gap:.3f}") for run, against, gap in compare(key)]
    output.table(
        f"least squares, full batch; mean NLL + ½ δ‖w‖², N = {NUM_ROWS}", ("run", "against", "difference"), rows
    )
    path = out / "optimisers_and_priors.png"
    save_figure(key, path)
    return path


if __name__ == "__main__":
    output.command(main, __doc__, SEED)
