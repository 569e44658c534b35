"""Remake the committed reference of the thirty-feature logistic regression: `python -m verification.problems.long_run`.

The reference is a long NUTS run; a Hamiltonian Monte Carlo written apart in NumPy must agree with it. Both errors are
standard errors over independent chains, in posterior sd.
"""

from __future__ import annotations

import json

import jax
import numpy as np
from scipy.special import expit, logsumexp

from probjax import nuts, over_leading_axis
from verification.exact.hmc import hmc
from verification.problems import logistic as problem
from verification.problems._parts import with_ones

CHAINS, NUTS_DRAWS, HMC_DRAWS = 64, 8000, 2000


def main() -> None:
    """Run both samplers, compare them, write the file."""
    jax.config.update("jax_enable_x64", True)
    x, y = problem.standardised_breast_cancer()
    _, probes = problem.thirty_feature_queries(x, y)
    design = with_ones(x)
    chains, rhat = _long_nuts(x, y)
    nuts_summary = _summary(chains @ probes.T, _log_new(chains, design, y))
    hmc_draws, _ = _long_hmc(design, y)
    hmc_chains = hmc_draws.transpose(1, 0, 2)
    hmc_summary = _summary(hmc_chains @ probes.T, _log_new(hmc_chains, design, y))
    sd = nuts_summary["sd"]
    fields = ("mean", "sd", "q05", "q95")
    error = max(np.max(nuts_summary[f"{f}_se"] / sd) for f in fields)
    z = max(
        np.max(np.abs(nuts_summary[f] - hmc_summary[f]) / np.hypot(nuts_summary[f"{f}_se"], hmc_summary[f"{f}_se"]))
        for f in fields
    )
    gap = max(np.max(np.abs(nuts_summary[f] - hmc_summary[f]) / sd) for f in fields)
    stored = {
        **{f: np.round(nuts_summary[f], 7).tolist() for f in fields},
        "corr": np.round(nuts_summary["corr"], 5).tolist(),
        "log_predictive": float(nuts_summary["log_predictive"]),
        "error": float(error),
        "found": f"standard error over {CHAINS} NUTS chains of {NUTS_DRAWS} draws; split R-hat {rhat(probes):.4f}",
        "second": f"NumPy HMC, 256 chains of {HMC_DRAWS} draws, largest of {4 * len(probes)} differences {z:.1f} SE",
        "agreement": float(gap),
        "log_predictive_second": float(hmc_summary["log_predictive"]),
    }
    problem.LONG_RUN.write_text(json.dumps(stored))
    print(json.dumps({k: v for k, v in stored.items() if k not in (*fields, "corr")}, indent=1))


def _long_nuts(x, y):
    from probjax.diagnostics import split_rhat

    spec = problem._problem("breast_cancer", "", x, y, with_ones(x[:1]), None)

    def chain(key):
        return nuts(
            key, spec.model, spec.data, num_draws=NUTS_DRAWS, num_warmup=1000, num_chains=1, target_accept=0.9
        ).draws

    draws = jax.jit(lambda keys: over_leading_axis(chain, keys))(jax.random.split(jax.random.key(2026), CHAINS))
    chains = np.concatenate([draws["weight"], np.asarray(draws["bias"])[..., None]], -1)
    return chains, lambda probes: float(np.max(split_rhat(chains @ probes.T)))


def _long_hmc(design, y):
    fit, labels, scale = design[: problem.NUM_FIT], y[: problem.NUM_FIT], problem.PRIOR_SCALE["breast_cancer"]
    density, _, _ = problem._log_densities(design, y, scale)
    mode, covariance = problem.laplace_fit(design, y, scale)
    factor = np.linalg.cholesky(covariance)
    value_and_grad = lambda w: (density(w), (labels - expit(w @ fit.T)) @ fit - w / scale**2)
    return hmc(np.random.default_rng(2026), value_and_grad, mode, factor, num_draws=HMC_DRAWS)


def _log_new(chains, design, y):
    signed = ((2 * y - 1)[:, None] * design)[problem.NUM_FIT :]
    return np.stack([-np.logaddexp(0, -(chain @ signed.T)).sum(1) for chain in chains])


def _summary(values, log_new):
    """Pooled summaries of queries [C, S, Q] and their standard errors over chains."""
    flat = values.reshape(-1, values.shape[-1])
    per_chain = {
        "mean": values.mean(1),
        "sd": values.std(1, ddof=1),
        "q05": np.quantile(values, 0.05, axis=1),
        "q95": np.quantile(values, 0.95, axis=1),
    }
    pooled = {
        "mean": flat.mean(0),
        "sd": flat.std(0, ddof=1),
        "q05": np.quantile(flat, 0.05, axis=0),
        "q95": np.quantile(flat, 0.95, axis=0),
    }
    errors = {f"{name}_se": v.std(0, ddof=1) / np.sqrt(len(v)) for name, v in per_chain.items()}
    return {
        **pooled,
        **errors,
        "corr": np.corrcoef(flat.T),
        "log_predictive": logsumexp(log_new) - np.log(log_new.size),
    }


if __name__ == "__main__":
    main()
