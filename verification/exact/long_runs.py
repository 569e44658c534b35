"""References that are long Markov chains: their summaries with standard errors, the test that they mixed, and the
files that hold them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp, ndtri
from scipy.stats import rankdata

from verification.exact.cache import decoded, encoded
from verification.exact.reference import LEVELS, Certificate, Reference

MOST_RHAT = 1.01
FALSE_ALARM = 1e-4  # of the comparison of two samplers, all quantities together


class Run(NamedTuple):
    """What one sampler drew: queries [C, S, Q] and log p(y_new | params) [C, S], nats over all new rows; its name."""

    queries: np.ndarray
    log_new: np.ndarray
    name: str


def rank_normalised_rhat(chains: np.ndarray) -> np.ndarray:
    """Split-R̂ of normal scores Φ⁻¹((rank − 3/8)/(n + 1/4)), the larger of that of the draws and that of their distances
    from the median (Vehtari et al. 2021): chains must agree in location and in scale, whatever the tails.

    Args:
        chains: [C, S, Q]; S ≥ 4.

    Returns:
        [Q]: 1 when all half-chains agree.
    """
    folded = np.abs(chains - np.median(chains, axis=(0, 1)))
    return np.maximum(_split_rhat(_normal_scores(chains)), _split_rhat(_normal_scores(folded)))


def _normal_scores(chains):
    flat = chains.reshape(-1, chains.shape[-1])
    return ndtri((rankdata(flat, axis=0) - 0.375) / (len(flat) + 0.25)).reshape(chains.shape)


def _split_rhat(chains):
    half = chains.shape[1] // 2
    halves = np.concatenate([chains[:, :half], chains[:, half : 2 * half]])
    within = halves.var(1, ddof=1).mean(0)
    return np.sqrt((half - 1) / half + halves.mean(1).var(0, ddof=1) / within)


def summaries(run: Run) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Of all draws together: mean, sd, quantiles at `LEVELS`, corr, log_predictive; and their standard errors, each
    from the spread of the same number over chains, which are independent."""
    flat = run.queries.reshape(-1, run.queries.shape[-1])
    log_predictive = logsumexp(run.log_new) - np.log(run.log_new.size)
    pooled = {**_moments(flat), "log_predictive": log_predictive}
    per_chain = [_moments(chain) for chain in run.queries]
    errors = {name: _standard_error(np.stack([each[name] for each in per_chain])) for name in per_chain[0]}
    # d log p̂ = dp̂ / p̂
    errors["log_predictive"] = _standard_error(np.exp(run.log_new - log_predictive).mean(1))
    return pooled, errors


def _moments(draws):
    return {
        "mean": draws.mean(0),
        "sd": draws.std(0, ddof=1),
        "quantiles": np.quantile(draws, LEVELS, axis=0),
        "corr": np.corrcoef(draws.T),
    }


def _standard_error(values):
    return values.std(0, ddof=1) / np.sqrt(len(values))


def judged(names, num_new: int, first: Run, second: Run) -> tuple[Reference, dict]:
    """The reference that `first` makes, if both samplers mixed and agree.

    Args:
        names: of the Q queries.
        num_new: rows behind log_new.

    Returns:
        The reference, its certificate's error the largest standard error of a mean, sd or quantile in posterior sd; and
        the record of the run: R̂ of both samplers, standard errors, the largest differences.

    Raises:
        ArithmeticError: the largest R̂ of a sampler is not below 1.01, or the two differ by more standard errors than
            one pair in 10⁴ would.
    """
    rhat = {run.name: float(rank_normalised_rhat(run.queries).max()) for run in (first, second)}
    for name, value in rhat.items():
        if not value < MOST_RHAT:
            raise ArithmeticError(
                f"{name}: the chains disagree (rank-normalised split R-hat {value:.4f}, must be below {MOST_RHAT}); "
                "run longer, or make the prior stronger or the network smaller"
            )
    (a, error_a), (b, error_b) = summaries(first), summaries(second)
    z, number = largest_difference(a, error_a, b, error_b)
    most = -ndtri(FALSE_ALARM / (2 * number))
    if not z < most:
        raise ArithmeticError(
            f"{first.name} and {second.name} differ by {z:.1f} standard errors, at most {most:.1f} of {number} "
            "differences may; one of them has not converged or is wrong"
        )
    in_sd = lambda values: float(max(np.max(np.abs(values[f]) / a["sd"]) for f in ("mean", "sd", "quantiles")))
    certificate = Certificate(
        in_sd(error_a),
        f"standard error over the chains of {first.name}; rank-normalised split R-hat {rhat[first.name]:.4f}",
        f"{second.name}, R-hat {rhat[second.name]:.4f}, largest of {number} differences {z:.1f} SE",
        in_sd({f: a[f] - b[f] for f in ("mean", "sd", "quantiles")}),
        exact=False,
        predictive_error=float(error_a["log_predictive"]),
    )
    reference = Reference(
        names=tuple(names),
        mean=a["mean"],
        sd=a["sd"],
        q05=a["quantiles"][LEVELS.index(0.05)],
        q95=a["quantiles"][LEVELS.index(0.95)],
        corr=a["corr"],
        log_predictive=float(a["log_predictive"]),
        num_new=num_new,
        log_evidence=None,  # chains do not give it
        certificate=certificate,
        quantiles=a["quantiles"],
    )
    return reference, {"rhat": rhat, "largest_z": z, "num_differences": number, **_record(a, error_a, b, error_b)}


def _record(a, error_a, b, error_b):
    rounded = lambda errors: {name: np.round(value, 6).tolist() for name, value in errors.items()}
    return {
        "log_predictive": [float(a["log_predictive"]), float(b["log_predictive"])],
        "standard_errors": rounded(error_a),
        "standard_errors_second": rounded(error_b),
    }


def largest_difference(a, error_a, b, error_b) -> tuple[float, int]:
    """The largest |a − b| in standard errors, over all summaries, and how many there are."""
    z = []
    for name in a:
        gap, error = np.abs(np.asarray(a[name] - b[name])), np.hypot(error_a[name], error_b[name])
        if name == "corr":
            above = np.triu_indices(len(gap), 1)
            gap, error = gap[above], error[above]
        z.append(np.ravel(gap / error))
    z = np.concatenate(z)
    return float(z.max()), z.size


def write_reference(path: Path, reference: Reference, record: dict) -> None:
    """A reference with its checksum, and beside it the record of the run that made it."""
    rounded = {
        field: np.round(value, 7) for field, value in reference._asdict().items() if isinstance(value, np.ndarray)
    }
    text = json.loads(encoded(reference._replace(**rounded)))
    path.write_text(json.dumps({**text, "run": record}, indent=1) + "\n")


def read_reference(path: Path) -> Reference:
    """What `write_reference` wrote.

    Raises:
        ValueError: the content is not what was written, or is missing.
    """
    cure = "restore the file, or remake it with `python -m verification.problems.long_run NAME`"
    try:
        return decoded(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"{path.name}: there is no stored long run of that name; {cure}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path.name}: the stored long run is not what was written ({error}); {cure}") from None
