"""Draws made anywhere, held to an exact answer: from Python `compare`, from the command line `score`."""

from __future__ import annotations

import math

import numpy as np

from verification import draws_file
from verification.checks import CHECKS, MIN_DRAWS_FOR_QUANTILES, Summaries
from verification.exact.reference import Reference
from verification.judge import examine
from verification.types import Verdict

BATCHES = 32  # in all chains together; their scatter gives the standard errors
FEWEST = 10  # draws a batch
MOST_RHAT = 1.05
OF_PARAMETERS = ("log_predictive", "evidence", "elbo", "pareto_k")  # what draws of quantities do not tell
OF_CLASSES = ("total_variation", "agreement")


def compare(draws: dict, reference: Reference, *, level: str = "default", problem: str = "draws") -> list[Verdict]:
    """Hold named draws to an exact answer.

    Chains are cut into 32 batches or more. Each number is computed from all draws; its standard error is that of the
    batches' influences, so that autocorrelation shorter than a batch is accounted for (batch means; Flegal & Jones
    2010).

    Args:
        draws: name -> [S] or [C, S] (chains), the names being those of `reference.names`; a part of them will do.
        reference: the exact answer, such as `build_problem(name).reference`.

    Returns:
        One Verdict a check, with one look at α = 10⁻³: there are no fresh draws to repeat a fail on.

    Raises:
        ValueError: unknown names (with the known ones), unlike shapes, fewer than 320 draws, NaN or infinite draws, a
            chain that does not move, chains that disagree (split R̂ > 1.05).

    >>> from verification.exact.reference import Certificate, gaussian_reference
    >>> import numpy as np
    >>> truth = gaussian_reference(("a",), [0.0], [[1.0]], certificate=Certificate(0.0, "closed form", "", 0.0))
    >>> verdicts = compare({"a": 1.2 * np.random.default_rng(0).standard_normal(20_000)}, truth)
    >>> [v.check for v in verdicts if v.outcome == "fail"][0]
    'sd'
    """
    chains = draws_file.named(draws)
    names = tuple(name for name in reference.names if name in chains)
    _check(chains, names, reference)
    values = np.stack([chains[name] for name in names], -1)  # [C, S, Q]
    part = _restricted(reference, names)
    summaries = summarise_chains(values, part)
    silent = OF_PARAMETERS if part.classes else (*OF_PARAMETERS, *OF_CLASSES)
    checks = [check for check in CHECKS if check.name not in silent]
    return [_verdict(problem, check, summaries, part, level) for check in checks]


def _check(chains, names, reference):
    if not names:
        known = ", ".join(reference.names)
        raise ValueError(f"draws are named {', '.join(list(chains)[:8])}; none is a quantity of the problem: {known}")
    first = chains[names[0]]
    if first.size < FEWEST * BATCHES:
        raise ValueError(f"draws: {first.size} in all but at least {FEWEST * BATCHES} are needed for standard errors")
    for name in names:
        if not np.isfinite(chains[name]).all():
            raise ValueError(f"draws: {name} has {np.sum(~np.isfinite(chains[name]))} NaN or infinite draws")
        stuck = np.flatnonzero(np.ptp(chains[name], axis=1) == 0)
        if len(stuck):
            raise ValueError(f"draws: {name} never moves in chain {stuck[0]}; a chain that is stuck says nothing")
        rhat = split_rhat(chains[name])
        if rhat > MOST_RHAT:
            raise ValueError(
                f"draws: the halves of the chains disagree in {name} (split R-hat {rhat:.3f}, at most {MOST_RHAT}); "
                "run them longer, or drop their start"
            )


def split_rhat(chains: np.ndarray) -> float:
    """Split-R̂ of [C, S] (Gelman et al. 2013 §11.4)."""
    half = chains.shape[1] // 2
    halves = chains[:, : 2 * half].reshape(-1, half)
    within, between = halves.var(1, ddof=1).mean(), halves.mean(1).var(ddof=1)
    return math.sqrt((half - 1) / half + between / within) if within > 0 else math.inf


def _restricted(reference: Reference, names) -> Reference:
    rows = [reference.names.index(name) for name in names]
    classes = [group for group in reference.classes if set(group) <= set(rows)]
    take = lambda value: None if value is None else np.asarray(value)[rows]
    return reference._replace(
        names=names,
        **{field: take(getattr(reference, field)) for field in ("mean", "sd", "q05", "q95")},
        corr=None if reference.corr is None else reference.corr[np.ix_(rows, rows)],
        quantiles=None if reference.quantiles is None else reference.quantiles[:, rows],
        classes=tuple(tuple(rows.index(k) for k in group) for group in classes),
    )


def summarise_chains(values: np.ndarray, reference: Reference) -> Summaries:
    """Chains [C, S, Q] as batches whose mean statistics are those of all draws."""
    num_chains, num_draws, num_queries = values.shape
    each = max(1, -(-BATCHES // num_chains))
    size = num_draws // each
    kept = values[:, num_draws - each * size :]  # the start is dropped where batches do not come out even
    batches = kept.reshape(num_chains * each, size, num_queries)
    flat = batches.reshape(-1, num_queries)
    centred = batches - flat.mean(0)  # about the mean of all: that of a batch would hide slow wandering
    covariance = centred.swapaxes(1, 2) @ centred / size * len(flat) / (len(flat) - 1)
    quantile = {p: _influences(batches, flat, p) for p in (0.05, 0.95)}
    exceed = None
    if reference.quantiles is not None:
        exceed = np.stack([(batches <= q).mean(1) for q in reference.quantiles], 1)
    return Summaries(
        num_draws=len(flat),
        mean=batches.mean(1),
        variance=np.diagonal(covariance, axis1=1, axis2=2),
        q05=quantile[0.05],
        q95=quantile[0.95],
        covariance=covariance,
        log_predictive=None,
        finite=True,
        below=exceed,
    )


def _influences(batches, flat, p):
    """The p-quantile of all draws, plus each batch's influence (p − F_b(q))/f(q): their mean is the quantile."""
    if len(flat) < MIN_DRAWS_FOR_QUANTILES:
        return None
    q, step = np.quantile(flat, p, axis=0, method="median_unbiased"), 0.02
    low, high = (np.quantile(flat, p + d, axis=0) for d in (-step, step))
    inverse_density = (high - low) / (2 * step)
    shares = (batches <= q).mean(1)
    return q + (shares.mean(0) - shares) * inverse_density


def _verdict(problem, check, summaries, reference, level) -> Verdict:
    look = examine(check, summaries, reference, reference.scale, level)
    tolerance, reason = check.tolerance[level], look.reason
    named = {"problem": problem, "method": "draws", "check": check.name, "tolerance": tolerance}
    if look.estimate is None:
        return Verdict.without_numbers(**named, outcome=look.outcome, reason=reason)
    worst, names = look.worst, look.estimate.names
    error, margin = float(look.estimate.error[worst]), float(look.margin[worst])
    if look.outcome == "unresolved":
        needed = math.ceil(summaries.num_draws * (2 * margin / tolerance) ** 2)  # a margin of half the tolerance
        reason = f"too few draws to tell: about {float(f'{needed:.2g}'):.0f} of this kind are needed"
    errors = {n: (float(e), float(s)) for n, e, s in zip(names, look.estimate.error, look.estimate.standard_error)}
    numbers = {"query": names[worst], "error": error, "margin": margin, "num_replications": len(summaries)}
    return Verdict(**named, **numbers, outcome=look.outcome, expected="no", reason=reason, errors=errors)


def told(verdicts: list[Verdict]) -> list[str]:
    """One line a check."""
    lines = []
    for v in verdicts:
        number = f"{v.error:+.3g} ± {v.margin:.2g} in {v.query} (tolerance {v.tolerance:g})" if v.query else ""
        lines.append(f"{v.check}: {v.outcome} {number}{'; ' if number and v.reason else ''}{v.reason}".rstrip())
    return lines


def run(console, name: str, paths: list, level: str) -> int:
    """`python -m verification score --problem NAME --draws FILE …`: the verdicts, one line each.

    Returns:
        0 when every check passes, 1 when one fails or is unresolved.
    """
    from verification.work import build_problem

    reference = build_problem(name, None).reference
    draws = draws_file.read(paths)
    verdicts = compare(draws, reference, level=level, problem=name)
    ignored = [column for column in draws if column not in reference.names]
    missing = [quantity for quantity in reference.names if quantity not in draws]
    for words, columns in (("not quantities of the problem, ignored", ignored), ("not in the draws", missing)):
        if columns:
            console.print(f"{words}: {', '.join(columns)}", markup=False)
    shape = next(iter(draws.values())).shape
    console.print(f"{name}: {shape[0]} chains of {shape[1]} draws", markup=False)
    for line in told(verdicts):
        console.print(line, markup=False)
    return int(any(v.outcome in ("fail", "unresolved", "error") for v in verdicts))
