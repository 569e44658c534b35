"""Networks of any few hidden units: exact draws by rejection from the prior, and summaries by randomised quasi-Monte
Carlo.

log p(y | hidden) is bounded, so a draw of the hidden weights from the prior, kept with probability p(y | hidden) /
max p(y | ·), is a draw from the posterior (von Neumann 1951); where the data are few one in thirty is kept. For
summaries the same prior is the proposal of importance sampling on scrambled Sobol points (Owen 1998), and the scatter
over independent scramblings is the standard error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from scipy.special import ndtri
from scipy.stats import qmc

from verification.exact.mixture import Chunk, mixture_reference
from verification.exact.network_units import Queries, Units, conditional, hidden_layer
from verification.exact.reference import Certificate, Reference, difference_in_sd

SLACK = 0.02  # nats above the largest likelihood found


def log_likelihood(net: Units, hidden: np.ndarray) -> np.ndarray:
    """log p(y | hidden) for hidden weights [M, H, 2], the Cholesky factorisation unrolled over [M] arrays: ten times
    as fast as a batched one."""
    num, s2 = net.num_units, net.noise_scale**2
    units = hidden_layer(net, hidden, net.x)
    columns = [units[:, h] for h in range(num)]
    ones, precision = len(net.x) / s2 + net.scales[3] ** -2, net.scales[2] ** -2
    first = [column.sum(1) / s2 / np.sqrt(ones) for column in columns]  # the row of L that belongs to c
    solved_c = net.y.sum() / s2 / np.sqrt(ones)
    factor, solved = [], []
    log_det, quadratic = np.log(ones), solved_c**2 - net.y @ net.y / s2
    for i in range(num):
        row = []
        for j in range(i + 1):
            entry = np.einsum("mn,mn->m", columns[i], columns[j]) / s2 - first[i] * first[j]
            entry += precision * (i == j) - sum(row[k] * (factor[j] if j < i else row)[k] for k in range(j))
            row.append(np.sqrt(entry) if i == j else entry / factor[j][j])
        factor.append(row)
        right = columns[i] @ net.y / s2 - first[i] * solved_c - sum(row[k] * solved[k] for k in range(i))
        solved.append(right / row[i])
        log_det, quadratic = log_det + 2 * np.log(row[i]), quadratic + solved[i] ** 2
    scales = 2 * num * np.log(net.scales[2]) + 2 * np.log(net.scales[3])
    return 0.5 * (quadratic - log_det - scales - len(net.x) * np.log(2 * np.pi * s2))


def largest(log_density: Callable, shape: tuple[int, ...], scales) -> float:
    """The largest log density [M, *shape] -> [M] by random ascent, from the best of 50,000 Gaussian draws, in steps
    that shrink from half a scale to a thousandth."""
    rng = np.random.default_rng(0)
    points = rng.standard_normal((50_000, *shape)) * scales
    best = points[np.argsort(log_density(points))[-40:]]
    for step in np.geomspace(0.5, 1e-3, 60):
        near = best[:, None] + step * scales * rng.standard_normal((len(best), 24, *shape))
        candidates = np.concatenate([best[:, None], near], 1)
        values = log_density(candidates.reshape(-1, *shape)).reshape(len(best), -1)
        best = candidates[np.arange(len(best)), values.argmax(1)]
    return float(values.max())


def prior_rejection(log_density: Callable, shape: tuple[int, ...], scales) -> Callable:
    """(rng, S) -> [S, *shape] from the density ∝ exp(log_density) N(0, scales²), a bounded likelihood times a prior.
    The bound is found at the first call.

    Raises (when drawing):
        ArithmeticError: a likelihood above the bound, so that the draws would not be exact.
    """
    bound: list[float] = []

    def draw(rng: np.random.Generator, num_draws: int) -> np.ndarray:
        if not bound:
            bound.append(largest(log_density, shape, scales) + SLACK)
        kept, num = [], 0
        while num < num_draws:
            points = rng.standard_normal((4096, *shape)) * scales
            log_ratio = log_density(points) - bound[0]
            if log_ratio.max() > 0:
                raise ArithmeticError(f"a likelihood is {log_ratio.max():.3f} nats above the bound; raise SLACK")
            kept.append(points[np.log(rng.uniform(size=len(points))) < log_ratio])
            num += len(kept[-1])
        return np.concatenate(kept)[:num_draws]

    return draw


def units_sampler(net: Units) -> Callable:
    """(rng, S) -> exact draws: hidden weights [S, H, 2], and output weights with the bias last [S, H + 1]."""
    draw_hidden = prior_rejection(lambda h: log_likelihood(net, h), (net.num_units, 2), np.array(net.scales[:2]))

    def draw(rng: np.random.Generator, num_draws: int) -> tuple[np.ndarray, np.ndarray]:
        hidden = draw_hidden(rng, num_draws)
        _, mean, covariance = conditional(net, hidden)
        noise = rng.standard_normal((num_draws, net.num_units + 1, 1))
        return hidden, mean + (np.linalg.cholesky(covariance) @ noise)[..., 0]

    return draw


def hidden_chunk(net: Units, hidden: np.ndarray, queries: Queries, log_weights=None) -> Chunk:
    """The mixture over given hidden weights [M, H, 2]; `log_weights` [M], by default log p(y | hidden) − log M."""
    log_density, mean, covariance = conditional(net, hidden)
    both = net._replace(x=np.append(net.x, queries.new_x), y=np.append(net.y, queries.new_y))
    units = hidden_layer(net, hidden, queries.x)
    features = queries.probes @ np.concatenate([units, np.ones_like(units[:, :1])], 1).transpose(0, 2, 1)
    spread = features @ covariance  # [M, Q, H + 1]
    sds = np.sqrt((spread * features).sum(-1))
    flat = lambda v: v.transpose(0, 2, 1).reshape(-1, v.shape[1])
    within = lambda w: flat(w[:, None, None] * spread).T @ flat(features)
    log_weights = log_density - np.log(len(hidden)) if log_weights is None else log_weights
    means = np.einsum("mqk,mk->mq", features, mean)
    return Chunk(log_weights, means, sds, within, log_likelihood(both, hidden) - log_density)


def scrambled_chunks(net: Units, queries: Queries, log2_points: int, seeds) -> Iterator[Chunk]:
    """One chunk a seed: 2^log2_points scrambled Sobol points through the prior's inverse CDF."""
    for seed in seeds:
        points = qmc.Sobol(2 * net.num_units, scramble=True, rng=np.random.default_rng(seed)).random_base2(log2_points)
        hidden = ndtri(points.clip(1e-16, 1 - 1e-16)).reshape(-1, net.num_units, 2) * net.scales[:2]
        chunk = hidden_chunk(net, hidden, queries)
        keep = chunk.log_weights > chunk.log_weights.max() - 20
        log_weights = np.where(keep, chunk.log_weights, -np.inf)
        yield chunk._replace(log_weights=log_weights)


def solve_by_qmc(
    net: Units, queries: Queries, *, log2_points=14, num_randomisations=16, second_draws=60_000
) -> Reference:
    """The mixture over all points of all randomisations. Error: the largest standard error of a summary, from the
    scatter of single randomisations. Second method: rejection sampling with pseudo-random numbers."""
    seeds, num_new = range(num_randomisations), len(queries.new_y)
    chunks = list(scrambled_chunks(net, queries, log2_points, seeds))
    single = [mixture_reference(queries.names, [chunk], num_new) for chunk in chunks]
    pooled = mixture_reference(queries.names, chunks, num_new)
    pooled = pooled._replace(log_evidence=pooled.log_evidence - np.log(num_randomisations))
    scatter = lambda field, scale: np.std([getattr(r, field) for r in single], axis=0, ddof=1) / scale
    errors = {field: scatter(field, pooled.sd) for field in ("mean", "sd", "quantiles")}
    errors |= {"corr": scatter("corr", 1.0), "log_predictive": scatter("log_predictive", 1.0)}
    worst = {field: float(np.max(value)) / np.sqrt(num_randomisations) for field, value in errors.items()}
    hidden = units_sampler(net)(np.random.default_rng(99), second_draws)[0]
    equal = hidden_chunk(net, hidden, queries, np.full(second_draws, -np.log(second_draws)))
    agreement = difference_in_sd(pooled, mixture_reference(queries.names, [equal], num_new))
    found = f"standard error over {num_randomisations} scramblings of 2^{log2_points} Sobol points, the worst summary"
    second = f"{second_draws} exact draws of the hidden weights by rejection"
    predictive = worst.pop("log_predictive")
    certificate = Certificate(max(worst.values()), found, second, agreement, False, predictive)
    return pooled._replace(certificate=certificate)
