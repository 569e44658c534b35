"""Bugs of samplers, as damage to exact draws.

A mutant is a function (rng, Replications, Problem) -> Replications, or None where the problem cannot show it: what a
Gaussian is moment-matched to must not be Gaussian, correlations that are lost must have been there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from verification.exact.reference import Z95

VISIBLE = 0.1  # posterior sd: by how much a shape has to differ from another to count as another


def _standardised(exact, problem):
    return (exact.queries - problem.reference.mean) / problem.reference.sd


def _replaced(exact, problem, z):
    return exact._replace(queries=problem.reference.mean + problem.reference.sd * z)


def _with_moments(change: Callable) -> Callable:
    """A mutant from (rng, z) -> z on standardised draws; it needs means and sds."""

    def mutant(rng, exact, problem):
        if problem.reference.mean is None or problem.reference.sd is None:
            return None
        z = change(rng, _standardised(exact, problem))
        return None if z is None else _replaced(exact, problem, z)

    return mutant


def _last_shifted(rng, z):
    z = z.copy()
    z[..., -1] += 0.06
    return z


def _cut(low, high):
    def change(rng, z):
        for _ in range(4):
            z = np.where((z < low) | (z > high), z[:, rng.permutation(z.shape[1])], z)
        return np.clip(z, low, high)

    return change


def _correlated(problem) -> bool:
    corr = problem.reference.corr
    return corr is not None and np.nanmax(np.abs(corr - np.eye(len(corr)))) > VISIBLE


def _correlations_lost(rng, exact, problem):
    return exact._replace(queries=rng.permuted(exact.queries, axis=1)) if _correlated(problem) else None


def _sign_lost(rng, exact, problem):
    """The most correlated query, mirrored about its mean."""
    if problem.reference.mean is None or not _correlated(problem):
        return None
    corr = np.nan_to_num(np.abs(problem.reference.corr - np.eye(len(problem.reference.corr))))
    column, z = int(corr.max(0).argmax()), _standardised(exact, problem)
    z[..., column] *= -1
    return _replaced(exact, problem, z)


def _skew(problem):
    r = problem.reference
    return np.max(np.abs(r.q05 + r.q95 - 2 * r.mean) / r.sd) if r.mean is not None and r.q05 is not None else 0.0


def _mirrored(rng, exact, problem):
    return _replaced(exact, problem, -_standardised(exact, problem)) if _skew(problem) > 2 * VISIBLE else None


def _gaussian(rng, exact, problem):
    """Normal draws with the posterior's means and covariance, where a 5% or 95% quantile tells them apart."""
    r = problem.reference
    if r.mean is None or r.sd is None or r.corr is None or r.q05 is None or not np.isfinite(r.corr).all():
        return None
    gap = np.maximum(np.abs(r.q05 - r.mean + Z95 * r.sd), np.abs(r.q95 - r.mean - Z95 * r.sd)) / r.sd
    if gap.max() < VISIBLE:
        return None
    values, vectors = np.linalg.eigh(r.corr)
    root = vectors * np.sqrt(np.maximum(values, 0))
    return _replaced(exact, problem, rng.standard_normal(exact.queries.shape) @ root.T)


def _heavy_tails(rng, z):
    """Student factors with 4 degrees of freedom, the sds kept."""
    return z * np.sqrt(2 / rng.chisquare(4, z.shape[:2]))[..., None]


def _averaged(rng, z):
    return (z + z[:, rng.permutation(z.shape[1])]) / 2


def _start_kept(rng, z):
    z = z.copy()
    z[:, : z.shape[1] // 20] += 3.0
    return z


def _stuck_at_the_mean(rng, z):
    return np.where(rng.uniform(size=z.shape[:2])[..., None] < 0.1, 0.0, z)


def _half_stuck(rng, z):
    z = z.copy()
    z[::2] = z[::2, :1]
    return z


def _shared_noise(rng, z):
    return np.sqrt(0.5) * (z + z[:, :1])


def _one_side(rng, z):
    """Draws on the lower side of the first query only, as a sampler that does not cross."""
    rows = np.argsort(z[..., 0], axis=1)[:, : z.shape[1] // 2]
    half = np.take_along_axis(z, rows[..., None], 1)
    return np.concatenate([half, half], axis=1)


def _another_order(rng, exact, problem):
    return exact._replace(queries=np.roll(exact.queries, 1, axis=-1)) if exact.queries.shape[-1] > 1 else None


def _one_draw(value):
    def mutant(rng, exact, problem):
        queries = exact.queries.copy()
        queries[0, 0, 0] = value
        return exact._replace(queries=queries)

    return mutant


def _row_unscored(rng, exact, problem):
    if exact.log_new is None or problem.reference.log_predictive is None:
        return None
    share = 1 - 1 / problem.reference.num_new if problem.reference.num_new > 1 else 0.5
    return exact._replace(log_new=share * exact.log_new)


def _classes_exchanged(rng, exact, problem):
    """Each class has the probability of another one."""
    if not problem.reference.classes:
        return None
    queries = exact.queries.copy()
    for group in map(list, problem.reference.classes):
        p = queries[..., group]
        queries[..., group] = np.roll(p, 1, axis=-1) if len(group) > 1 else 1 - p
    return exact._replace(queries=queries)


def _best_draw_scored(rng, exact, problem):
    """Every draw scored as the best of its run."""
    if exact.log_new is None or problem.reference.log_predictive is None:
        return None
    return exact._replace(log_new=np.broadcast_to(exact.log_new.max(1, keepdims=True), exact.log_new.shape))


DRAW_MUTANTS: dict[str, Callable] = {
    "sd × 1.05": _with_moments(lambda rng, z: 1.05 * z),
    "sd × 0.95": _with_moments(lambda rng, z: 0.95 * z),
    "mean + 0.06 sd": _with_moments(lambda rng, z: z + 0.06),
    "one query's mean + 0.06 sd": _with_moments(_last_shifted),
    "tails cut at 2 sd": _with_moments(_cut(-2, 2)),
    "upper tail cut at 1.7 sd": _with_moments(_cut(-np.inf, 1.7)),
    "Student tails": _with_moments(_heavy_tails),
    "correlations lost": _correlations_lost,
    "a correlation's sign lost": _sign_lost,
    "mirrored about the mean": _mirrored,
    "a Gaussian with the right moments": _gaussian,
    "two chains averaged": _with_moments(_averaged),
    "start not discarded": _with_moments(_start_kept),
    "a tenth of the draws stuck at the mean": _with_moments(_stuck_at_the_mean),
    "every other chain stuck": _with_moments(_half_stuck),
    "one draw a run, repeated": _with_moments(lambda rng, z: np.broadcast_to(z[:, :1], z.shape)),
    "members share half of their noise": _with_moments(_shared_noise),
    "one side only": _with_moments(_one_side),
    "queries in another order": _another_order,
    "classes exchanged": _classes_exchanged,
    "one NaN": _one_draw(np.nan),
    "one infinity": _one_draw(np.inf),
    "a held-out row not scored": _row_unscored,
    "held-out rows scored at the best draw": _best_draw_scored,
}
