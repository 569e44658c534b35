"""Logistic regression on the breast cancer data: two principal components by quadrature, all thirty features against
long runs."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy.special import expit
from sklearn.datasets import load_breast_cancer

from probjax import Data, Model, likelihoods, linear, log_likelihood, priors
from verification.exact import cache, quadrature
from verification.exact.long_runs import read_reference
from verification.exact.sampling import rejection_sampler
from verification.problems._parts import (
    linear_params,
    linear_queries,
    new_rows,
    principal_directions,
    reweighted,
    with_ones,
)
from verification.types import Bug, Problem

LONG_RUN = Path(__file__).with_name("breast_cancer_long_run.json")
NUM_FIT = 559  # of 569; the rest is held out
PRIOR_SCALE = {"breast_cancer_pc": 5.0, "breast_cancer": 1.0}


def breast_cancer_pc() -> Problem:
    """559 rows, the first two principal components (unit variance) and an intercept, N(0, 5²) priors; 3-D
    quadrature."""
    x, y = standardised_breast_cancer()
    scores = np.linalg.svd(x, full_matrices=False)[0][:, :2] * np.sqrt(len(x))
    directions, rows = principal_directions(laplace_fit(with_ones(scores), y, PRIOR_SCALE["breast_cancer_pc"])[1])
    inputs = np.array([[0, 0, 1], [1, -2, 1], [-0.5, 1, 1]])
    probes = np.vstack([np.eye(3), [[1, 1, 1], [-2, 1, 1]], rows, inputs])
    names = ("w[0]", "w[1]", "bias", "f(1,1)", "f(-2,1)", *directions, *(f"p({a:g},{b:g})" for a, b, _ in inputs))
    chances = tuple(range(len(probes) - len(inputs), len(probes)))
    density, new, start = _log_densities(with_ones(scores), y, PRIOR_SCALE["breast_cancer_pc"])
    settings = {"log_new": new, "num_new": len(y) - NUM_FIT, "nodes": 47, "half_width": 8.5}
    settings["links"] = dict.fromkeys(chances, expit)
    solve = lambda: quadrature.linear_queries(names, density, start, probes, **settings)
    reference = cache.solved("breast_cancer_pc", solve)._replace(classes=tuple((k,) for k in chances))
    problem = _problem(
        "breast_cancer_pc", "breast cancer, logistic regression on 2 principal components", scores, y, probes, reference
    )._replace(query=Partial(_logits_and_chances, jnp.asarray(probes), len(inputs)))
    covariance = (reference.corr * np.outer(reference.sd, reference.sd))[:3, :3]  # the first three queries are w itself
    draw = rejection_sampler(density, reference.mean[:3], covariance)
    exact_draws = lambda rng, num: linear_params(draw(rng, num))
    weights = reweighted(Partial(_weighted_ratio, problem.model, problem.data))
    bug = Bug("one class weighted by 1.2", weights)
    return problem._replace(exact_draws=exact_draws, log_concave=True, bug=bug)


def _logits_and_chances(probes, num_chances, params):
    """Linear functions of the weights, the last ones as probabilities."""
    f = probes @ jnp.append(params["weight"], params["bias"])
    is_chance = jnp.arange(len(f)) >= len(f) - num_chances
    return jnp.where(is_chance, jax.nn.sigmoid(f), f)


def _weighted_ratio(model, data, params):
    """The likelihood of one class to the power 1.2: class weights that are not 1."""
    return 0.2 * jnp.sum(data.y * log_likelihood(model, params, data))


def standardised_breast_cancer() -> tuple[np.ndarray, np.ndarray]:
    """Features with mean 0 and sd 1, labels 0/1 (1 = benign), rows in a fixed random order."""
    raw = load_breast_cancer()
    order = np.random.default_rng(1).permutation(len(raw.target))
    x = raw.data[order]
    return (x - x.mean(0)) / x.std(0), raw.target[order].astype(float)


def breast_cancer() -> Problem:
    """559 × 30 and an intercept, N(0, 1) priors, against the stored long run (`python -m
    verification.problems.long_run breast_cancer`)."""
    x, y = standardised_breast_cancer()
    _, probes = thirty_feature_queries(x, y)
    reference = read_reference(LONG_RUN)
    return _problem(
        "breast_cancer", "breast cancer, logistic regression on all 30 features", x, y, probes, reference
    )._replace(log_concave=True)


def thirty_feature_queries(x, y) -> tuple[list[str], np.ndarray]:
    """All weights, the intercept, the logits of the first three held-out rows, and the principal directions."""
    rows = [f"f(row {n})" for n in range(NUM_FIT, NUM_FIT + 3)]
    directions, vectors = principal_directions(laplace_fit(with_ones(x), y, PRIOR_SCALE["breast_cancer"])[1])
    names = [*(f"w[{j}]" for j in range(30)), "bias", *rows, *directions]
    return names, np.vstack([np.eye(31), with_ones(x[NUM_FIT : NUM_FIT + 3]), vectors])


def laplace_fit(design, y, prior_scale) -> tuple[np.ndarray, np.ndarray]:
    """Mode and inverse Hessian of the fitted rows by Newton's method: the log posterior is strictly concave."""
    fit, labels, mode = design[:NUM_FIT], y[:NUM_FIT], np.zeros(design.shape[1])
    for _ in range(50):
        p = expit(fit @ mode)
        hessian = (fit * (p * (1 - p))[:, None]).T @ fit + np.eye(len(mode)) / prior_scale**2
        mode = mode + np.linalg.solve(hessian, fit.T @ (labels - p) - mode / prior_scale**2)
    return mode, np.linalg.inv(hessian)


def _log_densities(design, y, prior_scale):
    """Log posterior (unnormalised, prior normalised) and log p(y_new | w), both [M, D] -> [M], and a starting point."""
    signed, new_signed = ((2 * y - 1)[:, None] * design)[:NUM_FIT], ((2 * y - 1)[:, None] * design)[NUM_FIT:]
    log_prior = lambda w: -0.5 * np.sum((w / prior_scale) ** 2 + np.log(2 * np.pi * prior_scale**2), axis=1)
    density = lambda w: _sum_log_sigmoid(w @ signed.T) + log_prior(w)
    return density, lambda w: _sum_log_sigmoid(w @ new_signed.T), np.zeros(design.shape[1])


def _sum_log_sigmoid(z):
    """Σ log σ(z) over the last axis, with one logarithm a row: Π(1 + e^−|z|) ≤ 2ᴺ cannot overflow for N < 1000."""
    return np.minimum(z, 0).sum(1) - np.log(np.prod(1 + np.exp(-np.abs(z)), axis=1))


def _problem(name, about, x, y, probes, reference) -> Problem:
    model = Model(*linear(x.shape[1]), prior=priors.normal(0.0, PRIOR_SCALE[name]), likelihood=likelihoods.bernoulli())
    return Problem(
        name=name,
        about=about,
        model=model,
        data=Data(jnp.asarray(x[:NUM_FIT]), jnp.asarray(y[:NUM_FIT])),
        query=linear_queries(probes),
        log_new=new_rows(model, Data(jnp.asarray(x[NUM_FIT:]), jnp.asarray(y[NUM_FIT:]))),
        reference=reference,
        exact_draws=None,
    )


PROBLEMS = {
    "breast_cancer_pc": breast_cancer_pc,
    "breast_cancer": breast_cancer,
}
