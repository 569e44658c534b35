"""What heads that predict their noise learn, and what they take for noise."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from probjax import (
    Data,
    Model,
    ensemble,
    likelihoods,
    linear,
    location_and_scale,
    mlp,
    optimize,
    predict,
    predictive_sd,
    priors,
)
from verification.claims.members import ALPHA
from verification.claims.parts import BAD, GOOD, TRUTH, gap
from verification.claims.spread import near
from verification.claims.types import CONTROL, INSTEAD, REFUTED, STATED, Finding, Measurement, standard_error
from verification.exact.conjugate import linear_posterior

TRUE_LOC, TRUE_LOG_SCALE = (2.0, 1.0), (0.8, -1.0)  # weight and bias
ROWS, SETS = 400, 128
AT = np.linspace(-1, 1, 9)
WAVE_ROWS, WAVE_SETS, HEADS, WAVE_NOISE = 80, 40, 2, 0.1


def heads(rng) -> Finding:
    """f = (μ(x), σ(x)) by maximum likelihood from several starts; the mixture's variance is the mean of σ² + the
    variance of μ. With many rows and a right model σ(x) is the noise's. The variance of μ is over starts, 0 where there
    is one mode; μ's posterior given σ(x) is that of weighted least squares.

    Fitted noise is too small by what f's posterior is wide: of least squares E[RSS]/n = σ² − the mean over the rows of
    φᵀΣφ, the trace of the hat matrix. A listing of this kind, whose data are not known, prints a noise of 0.086 for
    0.1, which leaves √(0.1² − 0.086²) = 0.05 to the other part; it prints 0.007.

    Where f is hard to learn the likelihood takes its errors for noise and learns no further, each row's gradient in μ
    being divided by σ²; β-NLL multiplies it by σ^2β (Seitzer et al. 2022)."""
    keys = jax.random.split(jax.random.key(int(rng.integers(2**31))), 3)
    x = np.linspace(-1, 1, ROWS)
    truth = lambda x: np.exp(np.polyval(TRUE_LOG_SCALE, x))
    y = np.polyval(TRUE_LOC, x) + truth(x) * rng.standard_normal((SETS, ROWS))
    loc, scale = _fits(keys[0], x, y)
    design, exact = np.column_stack([x, np.ones(ROWS)]), _weighted_sd(x, truth)
    constant = np.tile(np.mean((y - y @ np.linalg.pinv(design).T @ design.T) ** 2, 1), (len(AT), 1)).T  # σ̂² = RSS/n
    fit = _wave_fitter()
    smooth, wavy = _waves(rng, 1.0), _waves(rng, 3.0)
    smooth, lost, kept = (fit(keys[k], *w, beta) for k, w, beta in ((1, smooth, 0.0), (2, wavy, 0.0), (2, wavy, 0.5)))
    spread = np.mean(np.var(smooth.loc, axis=1, ddof=1), axis=1)
    lacking = np.mean(smooth.noise**2, axis=1) - np.mean(smooth.scale**2, axis=(1, 2))
    taken = np.sqrt(np.mean(lost.scale**2, axis=(1, 2))) / WAVE_NOISE
    gain = np.log(lost.error.mean(1)) - np.log(kept.error.mean(1))
    t = stats.t.ppf(1 - ALPHA / 2, WAVE_SETS - 1)
    share = spread.mean() / lacking.mean()
    share_error = t * standard_error((spread - share * lacking) / lacking.mean())
    mixed = gap(lost.total[0], _mixture_sd(lost.loc[0], lost.scale[0]))
    over = "a sine, constant noise: variance of μ over heads over what their σ² lacks of the noise's"
    taken_for = "sin 3x by likelihood: fitted noise over the true one"
    return Finding(
        [
            near(
                STATED, f"{ROWS} rows, linear heads: σ(x) against the noise's sd, relative", scale[:, 0] ** 2, truth(AT)
            ),
            near(REFUTED, "the same: sd of μ over heads against the posterior's", np.var(loc, axis=1, ddof=1), exact),
            Measurement(INSTEAD, "predictive sd less the mixture's by quadrature", mixed, 1e-12),
            Measurement(
                INSTEAD, "least squares: what RSS/n lacks less the mean posterior variance", _shortfall(rng), 1e-12
            ),
            Measurement(INSTEAD, over, share, 0.5, share_error),
            Measurement(INSTEAD, taken_for, taken.mean(), 1.3, t * standard_error(taken), at_least=True),
            Measurement(
                INSTEAD,
                "log of the error of μ over that under β-NLL",
                gain.mean(),
                0.0,
                t * standard_error(gain),
                at_least=True,
            ),
            near(CONTROL, "σ(x) by a head of one σ for all x, relative", constant, truth(AT)),
        ],
        lambda ax: _draw_heads(ax, lost, kept),
    )


def _draw_heads(ax, lost, kept):
    x = lost.x[0]
    ax.plot(x, np.sin(3 * x), color=TRUTH, lw=1, label="sin 3x, noise 0.1")
    ax.plot(x, np.sin(3 * x) + lost.noise[0], ".", color="0.5", ms=4)
    for found, colour, label in ((lost, BAD, "likelihood, μ ± 2σ"), (kept, GOOD, "β-NLL, β = ½, μ ± 2σ")):
        loc, scale = found.loc[0, 0], found.scale[0, 0]
        ax.plot(x, loc, color=colour, label=label)
        ax.fill_between(x, loc - 2 * scale, loc + 2 * scale, color=colour, alpha=0.2, lw=0)
    ax.set(xlabel="x", ylabel="y", ylim=(-2.2, 2.6))
    ax.legend(frameon=False, ncols=3, loc="upper center")


def _mixture_sd(loc, scale):
    """Of the equal mixture of M normals at each of N rows, by the trapezoid: with a step of half the smallest σ its
    error is below rounding."""
    edge = np.max(np.abs(loc) + 10 * scale)
    nodes = np.linspace(-edge, edge, 2 * int(2 * edge / scale.min()))[:, None]
    density = np.mean([stats.norm.pdf(nodes, *head) for head in zip(loc, scale)], axis=0) * (nodes[1] - nodes[0])
    mean = np.sum(density * nodes, axis=0)
    return np.sqrt(np.sum(density * (nodes - mean) ** 2, axis=0))


def _shortfall(rng):
    """|σ² − E[RSS]/n − mean over the rows of φᵀΣφ|, the expectation over noise by its unit vectors."""
    design = rng.standard_normal((40, 12))
    residuals = np.eye(40) - design @ np.linalg.lstsq(design, np.eye(40), rcond=None)[0]
    _, precision = linear_posterior(design, np.zeros(40), WAVE_NOISE, np.inf)
    lacking = WAVE_NOISE**2 * (1 - np.sum(residuals**2) / 40)
    return float(abs(lacking - np.mean(np.sum(design * np.linalg.solve(precision, design.T).T, axis=1))))


def _weighted_sd(x, scale):
    """The posterior's sd of μ at `AT` under a flat prior, σ(x) known."""
    design, at = (np.column_stack([v, np.ones_like(v)]) for v in (x, AT))
    _, precision = linear_posterior(design / scale(x)[:, None], np.zeros(len(x)), 1.0, np.inf)
    return np.sqrt(np.sum(at * np.linalg.solve(precision, at.T).T, axis=1))


def _fits(key, x, y):
    """For each data set μ and σ of two linear heads at `AT`: [R, 2, Q]."""
    model = Model(*location_and_scale(linear(1, 2)), prior=priors.flat(), likelihood=likelihoods.normal())
    x, at = jnp.asarray(x)[:, None], jnp.asarray(AT)[:, None]

    def one(key, y):
        return predict(model, ensemble(key, model, Data(x, y), num_members=2, batch_size=2), at)

    return map(np.asarray, jax.jit(jax.vmap(one))(jax.random.split(key, len(y)), jnp.asarray(y)))


class _Fitted(NamedTuple):
    """Heads on waves: rows x [R, N] and μ, σ there [R, M, N]; the predictive sd and the noise that was drawn [R, N];
    the error of each μ, root mean square over the rows [R, M]."""

    x: np.ndarray
    loc: np.ndarray
    scale: np.ndarray
    total: np.ndarray
    noise: np.ndarray
    error: np.ndarray


def _waves(rng, frequency):
    x = np.tile(np.linspace(-3, 3, WAVE_ROWS), (WAVE_SETS, 1))
    return x, np.sin(frequency * x), WAVE_NOISE * rng.standard_normal(x.shape)


def _wave_fitter():
    network = location_and_scale(mlp([1, 16, 2], squeeze=False))
    model = Model(*network, prior=priors.flat(), likelihood=likelihoods.normal())
    fit = partial(optimize.adam, num_steps=1000, learning_rate=0.02)

    @jax.jit
    def run(keys, x, y, beta):
        def one(key, x, y):
            members = ensemble(key, model, Data(x, y), num_members=HEADS, beta=beta, fit=fit, batch_size=HEADS)
            return *predict(model, members, x), predictive_sd(model, members, x)

        return jax.vmap(one)(keys, x[..., None], y)

    def fitted(key, x, f, noise, beta):
        found = run(jax.random.split(key, len(x)), jnp.asarray(x), jnp.asarray(f + noise), beta)
        loc, scale, total = map(np.asarray, found)
        return _Fitted(x, loc, scale, total, noise, np.sqrt(np.mean((loc - f[:, None]) ** 2, axis=-1)))

    return fitted
