"""When is a wide network its Gaussian process? `python -m experiments.width`

Networks of erf units, weights N(0, 1.4²/width), biases N(0, 0.5²), against their kernel of infinite width (Neal 1996;
Lee et al. 2018). Given the units of its last hidden layer f is Gaussian with the kernel
k = b² + s² mean φφᵀ, so that nothing is left to draw but those units, a layer at a time.

The prior: with one hidden layer the covariance of f is that of the process at every width; what differs is the shape,
excess kurtosis 3 Var k / (E k)², which falls as 1/width exactly. With two layers the covariance differs too, by about
1/width. The posterior of 12 rows is exact but for Monte Carlo: hidden units from the prior, weighted by the evidence
N(y | 0, k + σ²), the output layer in closed form. Its sd of f(4) is 34% too small at width 1 and 2.5% at 16, and from
width 64 on all its sds are within 1% of the process's.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import erf, logsumexp
from scipy.stats import t as student

from experiments import output
from verification.exact.infinite_width import InfiniteNetwork, nngp_kernel, process_posterior
from verification.problems.infinite_width import process_data

SEED = 0
WIDTHS = tuple(2**k for k in range(11))
DEPTHS = (1, 2)
NUM_BATCHES = 20  # of draws, for the standard errors
MAX_DRAWS, MAX_UNITS = 16_000, 1 << 21  # hidden layers drawn at a width; fewer where they are wide
POINTS = np.array([-4.0, -2.5, -1.0, 0.0, 1.0, 2.5, 4.0])  # the rows lie in [−2, 2]
ALPHA = 1e-3


class Estimate(NamedTuple):
    """A value and the half-width of its interval of level 1 − ALPHA over batches."""

    value: np.ndarray
    margin: np.ndarray


class Width(NamedTuple):
    """covariance: largest error over pairs of points, in units of the prior variance. kurtosis: excess, of f(0). sd: of
    f at POINTS over the process's. ess: effective share of the draws under the weights."""

    covariance: Estimate
    kurtosis: Estimate
    sd: Estimate
    ess: float


def network(depth: int) -> InfiniteNetwork:
    """The rows and scales of the problem `nngp_erf`, with `depth` hidden layers."""
    return process_data("erf", 1)[0]._replace(depth=depth)


def kernels(rng: np.random.Generator, net: InfiniteNetwork, x: np.ndarray, width: int, num: int) -> np.ndarray:
    """Draws of k at x [P, 1], [num, P, P]. A layer's preactivations are, given the layer below, `width` independent
    draws of N(0, k): no weight is drawn but the first layer's."""
    weight = net.weight_sd * rng.standard_normal((num, 1, width)) / np.sqrt(x.shape[1])
    z = x * weight + net.bias_sd * rng.standard_normal((num, 1, width))
    for _ in range(net.depth - 1):
        values, vectors = np.linalg.eigh(_kernel(net, z))  # of rank width + 1 at most: no Cholesky factor
        half = vectors * np.sqrt(np.clip(values, 0.0, None))[:, None]
        z = half @ rng.standard_normal((num, len(x), width))
    return _kernel(net, z)


def _kernel(net: InfiniteNetwork, z: np.ndarray) -> np.ndarray:
    units = erf(z)
    return net.bias_sd**2 + net.weight_sd**2 * (units @ units.swapaxes(1, 2)) / z.shape[-1]


class Batch(NamedTuple):
    """Sums over the draws of a batch; the weighted ones relative to exp(`shift`)."""

    kernel: np.ndarray  # mean k
    square: float  # mean k(0, 0)²
    log_weights: np.ndarray
    moments: np.ndarray  # [3, Q]: Σ w, Σ w mean, Σ w (variance + mean²), at POINTS


def batch(rng: np.random.Generator, net: InfiniteNetwork, width: int, num: int) -> Batch:
    """Prior moments, and posterior moments under the evidence as weight."""
    x, n = np.concatenate([net.x, POINTS[:, None]]), len(net.y)
    k = kernels(rng, net, x, width, num)
    log_weights, mean, variance = condition(k, net.y, net.noise_variance)
    w = np.exp(log_weights - log_weights.max())[:, None]
    moments = np.stack([np.full(len(POINTS), w.sum()), (w * mean).sum(0), (w * (variance + mean**2)).sum(0)])
    origin = n + int(np.argmin(np.abs(POINTS)))
    return Batch(k[:, n:, n:].mean(0), float(np.mean(k[:, origin, origin] ** 2)), log_weights, moments)


def condition(k: np.ndarray, y: np.ndarray, noise_variance: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log N(y | 0, k + σ²) [S], and mean and variance of f [S, Q] at the points after the rows, given y and k."""
    n = len(y)
    L = np.linalg.cholesky(k[:, :n, :n] + noise_variance * np.eye(n))
    white = np.linalg.solve(L, np.concatenate([k[:, :n, n:], np.broadcast_to(y[:, None], (len(k), n, 1))], axis=2))
    gain, residual = white[..., :-1], white[..., -1]
    log_det = np.log(np.diagonal(L, axis1=1, axis2=2)).sum(1)
    log_evidence = -0.5 * (residual**2).sum(1) - log_det - 0.5 * n * np.log(2 * np.pi)
    mean = np.einsum("snq,sn->sq", gain, residual)
    return log_evidence, mean, np.diagonal(k, axis1=1, axis2=2)[:, n:] - (gain**2).sum(1)


def summary(net: InfiniteNetwork, batches: list[Batch]) -> Width:
    """Estimates over all draws, with margins from leaving one batch out at a time (the jackknife)."""
    limit = nngp_kernel(POINTS[:, None], POINTS[:, None], net.weight_sd, net.bias_sd, net.depth, net.activation)
    exact_sd = np.sqrt(np.diag(process_posterior(net, POINTS[:, None])[1]))
    scale, origin = np.sqrt(np.outer(np.diag(limit), np.diag(limit))), int(np.argmin(np.abs(POINTS)))
    error = (np.mean([b.kernel for b in batches], 0) - limit) / scale
    worst = np.unravel_index(np.abs(error).argmax(), error.shape)

    def estimates(batches):
        kernel, square = np.mean([b.kernel for b in batches], 0), np.mean([b.square for b in batches])
        top = max(b.log_weights.max() for b in batches)
        total, first, second = sum(np.exp(b.log_weights.max() - top) * b.moments for b in batches)
        sd = np.sqrt(second / total - (first / total) ** 2) / exact_sd
        return np.array([abs((kernel - limit) / scale)[worst], 3 * (square / kernel[origin, origin] ** 2 - 1), *sd])

    value = estimates(batches)
    left_out = np.stack([estimates(batches[:i] + batches[i + 1 :]) for i in range(len(batches))])
    error = np.sqrt((len(batches) - 1) * left_out.var(0))
    margin = student.ppf(1 - ALPHA / 2, len(batches) - 1) * error
    log_weights = np.concatenate([b.log_weights for b in batches])
    ess = np.exp(2 * logsumexp(log_weights) - logsumexp(2 * log_weights)) / len(log_weights)
    covariance, kurtosis, sd = (Estimate(value[i], margin[i]) for i in (0, 1, slice(2, None)))
    return Width(covariance, kurtosis, sd, float(ess))


def measured(seed: int) -> dict[tuple[int, int], Width]:
    """(depth, width) -> what its draws say."""
    found = {}
    for depth in DEPTHS:
        net = network(depth)
        for width in WIDTHS:
            rng = np.random.default_rng([seed, depth, width])
            num = max(2, min(MAX_DRAWS, MAX_UNITS // width) // NUM_BATCHES)
            found[depth, width] = summary(net, [batch(rng, net, width, num) for _ in range(NUM_BATCHES)])
    return found


def print_table(found: dict[tuple[int, int], Width]) -> None:
    """One row a depth and width."""
    shown = [f"{q:g}" for q in POINTS[len(POINTS) // 2 :]]
    columns = ["layers", "width", "covariance", "excess kurtosis", *(f"sd at {q}" for q in shown), "ESS"]
    told, rows = lambda value, margin, digits=3: f"{value:.{digits}f} ± {margin:.{digits}f}", []
    for (depth, width), one in found.items():
        sds = [told(v, m) for v, m in zip(one.sd.value[len(POINTS) // 2 :], one.sd.margin[len(POINTS) // 2 :])]
        lead = [depth, width, told(*one.covariance, 4), told(*one.kurtosis, 4)]
        rows.append([*lead, *sds, f"{one.ess:.0%}"])
    title = "against infinite width: worst prior covariance (in variances), kurtosis of f(0), posterior sd as a ratio"
    output.table(title, columns, rows)


def save_figure(found: dict[tuple[int, int], Width], path: Path) -> None:
    """Shape of the prior, its covariance, and the posterior's sds."""
    figure, axes = output.panels(3, height=4.2)
    for depth, colour, size in zip(DEPTHS, output.COLOURS, (9, 5)):
        ours, label = [found[depth, w] for w in WIDTHS], "one hidden layer" if depth == 1 else "two hidden layers"
        for ax, parts in zip(axes, ([o.kurtosis for o in ours], [o.covariance for o in ours])):
            _resolved(ax, np.array(parts), colour, size, label)
    axes[0].set(title="prior: excess kurtosis of f(0)", ylabel="excess kurtosis")
    axes[1].set(title="prior: largest error of a covariance", ylabel="error over the prior variance")
    axes[0].plot([], color="0.4", lw=0.8, ls="--", label="∝ 1/width")
    axes[0].legend(frameon=False)
    axes[1].plot([], "v", color="0.4", ms=6, mfc="none", label="below (nothing is seen)")
    axes[1].legend(frameon=False)
    for i, colour in zip(range(len(POINTS) // 2, len(POINTS)), output.COLOURS[2:]):
        value, margin = np.array([(found[1, w].sd.value[i], found[1, w].sd.margin[i]) for w in WIDTHS]).T
        axes[2].errorbar(WIDTHS, value, margin, fmt="o-", color=colour, ms=4, lw=1.4, label=f"x = {POINTS[i]:g}")
    axes[2].axhline(1, color=output.EXACT, lw=2, zorder=0)
    axes[2].set(title="posterior, one layer", ylabel="sd of f over the infinite network's", xscale="log")
    axes[2].legend(frameon=False)
    for ax in axes:
        ax.set(xlabel="width")
    output.save(figure, path)


def _resolved(ax, parts: np.ndarray, colour: str, size: float, label: str) -> None:
    """Values [W, 2] with their margins, and 1/width through the first; an upper bound where a value may be 0."""
    (value, margin), width = parts.T, np.array(WIDTHS)
    seen = value > margin
    bars = [margin[seen], margin[seen]]
    ax.errorbar(width[seen], value[seen], bars, fmt="o", ms=size, mfc="none", color=colour, lw=1, label=label)
    ax.plot(width[~seen], (value + margin)[~seen], "v", ms=6, mfc="none", color=colour)
    if seen.any():
        first = int(np.argmax(seen))
        ax.plot(width, value[first] * width[first] / width, color=colour, lw=0.8, ls="--")
    ax.set(xscale="log", yscale="log")


def main(out: Path = Path("figures"), seed: int = SEED) -> Path:
    """Draw networks of every width; print the table; save the figure and return its path."""
    found = measured(seed)
    print_table(found)
    path = out / "width.png"
    save_figure(found, path)
    return path


if __name__ == "__main__":
    output.command(main, __doc__, SEED)
