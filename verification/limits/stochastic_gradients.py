"""Walks on gradients, with a step that does not shrink: their exact covariances on a linear regression."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import numpy as np
from scipy.special import ndtr

from probjax.inference.sghmc import RELATIVE_STEP as SGHMC_STEP
from probjax.inference.sgld import RELATIVE_STEP as SGLD_STEP
from probjax.inference.swag import RELATIVE_STEP as SWAG_STEP
from verification.exact import sgd
from verification.types import Limit


def sgld(method, problem):
    """Λ⁻¹(I − εΛ/4)⁻¹ with the full gradient, more with minibatches; less what the pooled draws of finite chains
    lose."""
    if problem.linear is None or _settings(method).num_cycles is not None:
        return None
    precision, step, noise = _walk(method, problem, SGLD_STEP)
    reason = "SGLD's covariance is Λ⁻¹(I − εΛ/4)⁻¹, and more with minibatches"
    return _langevin(method, problem, sgd.langevin(precision, step, noise), reason, "Welling & Teh 2011; Lyapunov's")


def sghmc(method, problem):
    """Λ⁻¹(I − εΛ/(4(2 − α)))⁻¹ with the full gradient, more with minibatches."""
    if problem.linear is None or _settings(method).num_cycles is not None:
        return None
    precision, step, noise = _walk(method, problem, SGHMC_STEP)
    recursion = sgd.hamiltonian(precision, step, _settings(method).friction, noise)
    reason = "SGHMC's covariance is Λ⁻¹(I − εΛ/(4(2 − α)))⁻¹, and more with minibatches"
    return _langevin(method, problem, recursion, reason, "Chen, Fox & Guestrin 2014; Lyapunov's")


def swag(method, problem):
    """½ diag(S) + ½ S, S the covariance of the iterates of SGD, not the posterior's."""
    return None if problem.linear is None else _swag_limit(method, problem, num_members=1)


def multi_swag(method, problem):
    """As `swag`: on a log-concave posterior all members start from the one mode, and differ by their means alone."""
    return None if problem.linear is None else _swag_limit(method, problem, _settings(method).num_members)


def _settings(method) -> SimpleNamespace:
    """The method's settings, its defaults among them."""
    defaults = {name: p.default for name, p in inspect.signature(method.run).parameters.items()}
    return SimpleNamespace(**{**defaults, **method.settings})


def _walk(method, problem, relative):
    """Precision, step size and gradient noise."""
    s, linear = _settings(method), problem.linear
    precision = linear.posterior[1]
    step = relative / np.linalg.eigvalsh(precision)[-1] if s.step_size is None else s.step_size
    noise = sgd.no_noise if s.batch_size is None else sgd.gradient_noise(linear, s.batch_size, s.replace)
    return precision, step, noise


def _langevin(method, problem, recursion, reason, source) -> Limit:
    s = _settings(method)
    sgd.stationary(recursion)  # raises where the walk diverges
    per_chain = s.num_draws // s.num_chains
    covariance = sgd.pooled_covariance(sgd.path(recursion, s.num_warmup, s.thinning, per_chain), s.num_chains)
    reference = problem.linear.answers(problem.linear.posterior[0], covariance)
    if s.batch_size is not None:  # products of random matrices: no Gaussian, so moments only
        return Limit(reference._replace(q05=None, q95=None, quantiles=None, log_predictive=None), reason, source)
    quantiles = problem.reference.quantiles
    below = None if quantiles is None else ndtr((quantiles - reference.mean) / reference.sd)
    return Limit(reference, reason, source, below)


def _swag_limit(method, problem, num_members) -> Limit:
    s, linear = _settings(method), problem.linear
    batch_size = -(-len(linear.y) // 10) if s.batch_size is None else s.batch_size
    precision = linear.posterior[1]
    step = SWAG_STEP / np.linalg.eigvalsh(precision)[-1] if s.step_size is None else s.step_size
    recursion = sgd.descent(precision, step, sgd.gradient_noise(linear, batch_size, s.replace))
    sgd.stationary(recursion)  # raises where the walk diverges
    path = sgd.path(recursion, s.num_warmup, s.thinning, s.num_snapshots)
    covariance = sgd.swag_covariance(path, s.rank, num_members)
    reason = "SWAG's covariance is ½ diag(S) + ½ S, S that of SGD's iterates, and not the posterior's"
    reference = linear.answers(linear.posterior[0], covariance)
    return Limit(reference, reason, "Maddox et al. 2019; Mandt et al. 2017; Ziyin et al. 2022")
