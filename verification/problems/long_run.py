"""Remake the stored reference of a problem that only long runs reach:

    python -m verification.problems.long_run breast_cancer | diabetes_network | digits_network

NUTS is the reference; a Hamiltonian Monte Carlo written apart in NumPy, with its own density, gradient, metric and
starting points, must agree with it. Nothing is written where the chains of one of them or the two disagree. The work is
shared among all cores: a network took under two minutes on 16 fast ones; on two slow ones allow an hour.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import cache

import jax
import numpy as np
from scipy.special import expit

from probjax import nuts
from verification.exact.hmc import hmc
from verification.exact.long_runs import Run, judged, write_reference
from verification.exact.mlp_density import log_density_and_grad
from verification.problems import logistic, long_runs
from verification.problems._parts import with_ones

SEED = 2026
CHAINS, WARMUP = 64, 800
DRAWS = {"breast_cancer": 8000, "diabetes_network": 4500, "digits_network": 6000}  # of a NUTS chain
SECOND_CHAINS, BLOCK = 256, 16  # of HMC, and how many run together in one process
SECOND = {  # HMC's draws a chain, warm-up, step size and path length in its metric
    "breast_cancer": (2000, 100, 0.2, 1.6),
    "diabetes_network": (600, 200, 0.04, 1.4),
    "digits_network": (400, 200, 0.15, 2.0),
}


def main(name: str) -> None:
    """Run both samplers, compare them, write the file.

    Raises:
        SystemExit: there is no long run of that name.
        ArithmeticError: a sampler did not mix, or the two disagree.
    """
    if name not in DRAWS:
        raise SystemExit(f"long_run: there is no long run {name!r}; there are {', '.join(DRAWS)}")
    jax.config.update("jax_enable_x64", True)
    _, names, num_new = _problem(name)
    reference, record = judged(names, num_new, long_nuts(name), long_hmc(name))
    write_reference(long_runs.stored(name), reference, record)
    print(json.dumps({**reference.certificate._asdict(), "largest_z": record["largest_z"]}, indent=1))


def _problem(name):
    """The problem without reference, the names of its queries, and how many rows are held out."""
    if name != "breast_cancer":
        setup = long_runs.SETUPS[name]()
        return setup.problem, setup.names, len(setup.new_y)
    x, y = logistic.standardised_breast_cancer()
    names, probes = logistic.thirty_feature_queries(x, y)
    return logistic._problem(name, "", x, y, probes, None), names, len(y) - logistic.NUM_FIT


def long_nuts(name: str, num_chains: int = CHAINS) -> Run:
    """Independent chains of NUTS, each adapted by itself and started from a draw of the prior."""
    queries, log_new = _over_processes(_nuts_chain, name, range(num_chains))
    return Run(queries, log_new, f"NUTS, {num_chains} chains of {DRAWS[name]} draws")


def long_hmc(name: str, num_chains: int = SECOND_CHAINS) -> Run:
    """NumPy HMC, many chains at once."""
    parts = _over_processes(_hmc_block, name, np.random.SeedSequence(SEED).spawn(num_chains // BLOCK))
    queries, log_new = (values.reshape(-1, *values.shape[2:]) for values in parts)
    return Run(queries, log_new, f"NumPy HMC, {num_chains} chains of {SECOND[name][0]} draws")


def _over_processes(work, name, seeds):
    """work(name, seed) of every seed, one process a core, stacked; how many cores there are changes no draw."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # of each process
    workers, context = len(os.sched_getaffinity(0)), multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_without_accelerator) as pool:
        parts = list(pool.map(work, [name] * len(seeds), seeds))
    return tuple(np.stack(values) for values in zip(*parts))


def _without_accelerator():
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)


def _nuts_chain(name, index):
    return jax.device_get(_nuts_program(name)(jax.random.fold_in(jax.random.key(SEED), index)))


@cache
def _nuts_program(name):
    """key -> queries [S, Q] and log p(y_new | params) [S] of one chain; compiled once a process."""
    problem = _problem(name)[0]
    model = problem.model._replace(init=lambda key: problem.model.prior.sample(key, problem.model.init(key)))

    def chain(key):
        draws = nuts(key, model, problem.data, num_draws=DRAWS[name], num_warmup=WARMUP, num_chains=1).draws
        return jax.vmap(problem.query)(draws), jax.vmap(problem.log_new)(draws)

    return jax.jit(chain)


def _hmc_block(name, seed):
    """Queries [C, S, Q] and log p(y_new | params) [C, S] of one block of chains."""
    num_draws, num_warmup, step_size, path_length = SECOND[name]
    density, centre, factor, queries = _second_breast_cancer() if name == "breast_cancer" else _second_network(name)
    settings = {"num_chains": BLOCK, "num_warmup": num_warmup, "num_draws": num_draws}
    draws, _ = hmc(
        np.random.default_rng(seed), density, centre, factor, step_size=step_size, path_length=path_length, **settings
    )
    parts = [queries(chain) for chain in draws.transpose(1, 0, 2)]
    return tuple(np.stack(values) for values in zip(*parts))


def _second_network(name):
    """In units of the prior sd, from draws of the prior: further apart than the posterior."""
    setup = long_runs.SETUPS[name]()
    sd = setup.net.prior_sd
    return (lambda w: log_density_and_grad(setup.net, w)), np.zeros(len(sd)), np.diag(sd), setup.second_queries


def _second_breast_cancer():
    """In units of the Laplace approximation, from draws of it."""
    x, y = logistic.standardised_breast_cancer()
    design, scale, num_fit = with_ones(x), logistic.PRIOR_SCALE["breast_cancer"], logistic.NUM_FIT
    probes = logistic.thirty_feature_queries(x, y)[1]
    fit, labels = design[:num_fit], y[:num_fit]
    density, log_new, _ = logistic._log_densities(design, y, scale)
    mode, covariance = logistic.laplace_fit(design, y, scale)
    value_and_grad = lambda w: (density(w), (labels - expit(w @ fit.T)) @ fit - w / scale**2)
    return value_and_grad, mode, np.linalg.cholesky(covariance), lambda w: (w @ probes.T, log_new(w))


if __name__ == "__main__":
    main(*sys.argv[1:2] or ("",))
