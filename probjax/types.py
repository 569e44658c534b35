"""The records that travel along the straight way: Data + Model → Target → method → Posterior.

A record holds functions or arrays, never both. Callables become `jax.tree_util.Partial`s when a record is made, so
every record is a pytree: hyperparameters ride as array leaves, functions as static structure, and `jax.jit` compiles
once for a hundred values of a prior's scale.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
from jax import Array
from jax.tree_util import Partial

Params = Any  # a pytree of arrays


class NotApplicable(Exception):
    """Raised by a method that has no meaning for a model (dropout without a network, say), with the reason."""


@jax.tree_util.register_static
@dataclass(frozen=True)
class Static:
    """A hashable constant (a size, a module) that rides in a `Partial` as structure: equal constants share one
    compilation."""

    value: Hashable


def function(f: Any) -> Any:
    """`f` as a pytree: a plain callable is wrapped in `Partial`; `None`, `Partial`s and pytree leaves pass
    unchanged."""
    return Partial(f) if callable(f) and not isinstance(f, Partial) else f


class Data(NamedTuple):
    """Observations. `x` and `y` are arrays (or pytrees of arrays) that share their leading axis N."""

    x: Any
    y: Any


class _Likelihood(NamedTuple):
    log_prob: Callable
    sample: Callable
    mean: Callable
    variance: Callable
    support: Callable | None
    link: Callable | None


class Likelihood(_Likelihood):
    """p(y | f) for independent rows, f being what the network returns (a pytree with leading axis N).

    log_prob: (y, f) -> [N], nats per datum, normalised over y.
    sample:   (key, f) -> y.
    mean, variance: f -> [N] (or [N, K] for a categorical), the moments of y given f.
    support:  (y, f) -> [N] bool, true where y can occur; its docstring says the support in words.
              None: any y, unchecked.
    link:     the natural location (the mean where it exists) -> f, or the first part of f.
    """

    __slots__ = ()

    def __new__(cls, log_prob, sample, mean, variance, support=None, link=None):
        return super().__new__(cls, *map(function, (log_prob, sample, mean, variance, support, link)))


class _Prior(NamedTuple):
    log_prob: Callable
    sample: Callable | None


class Prior(_Prior):
    """p(params). log_prob: params -> scalar, nats. sample: (key, like) -> params shaped as `like`; None when
    improper."""

    __slots__ = ()

    def __new__(cls, log_prob, sample=None):
        return super().__new__(cls, function(log_prob), function(sample))


class _Network(NamedTuple):
    init: Callable
    apply: Callable
    drop: Callable | None


class Network(_Network):
    """A parametric function. init: key -> params; apply: (params, x) -> f with leading axis N;
    drop: (key, params, rate) -> params, one dropout mask written into the parameters, or None if that has no
        meaning."""

    __slots__ = ()

    def __new__(cls, init, apply, drop=None):
        return super().__new__(cls, function(init), function(apply), function(drop))


class _Model(NamedTuple):
    init: Callable
    apply: Callable
    drop: Callable | None
    prior: Prior
    likelihood: Likelihood


class Model(_Model):
    """p(y, params | x) = prior(params) Πₙ likelihood(yₙ | apply(params, xₙ)).

    Its first three fields are a `Network`, so `Model(*linear(3), prior=…, likelihood=…)` reads as what it is.
    Parameters are unconstrained; a constrained quantity is a bijector whose log-Jacobian is part of the prior.
    """

    __slots__ = ()

    def __new__(cls, init, apply=None, drop=None, prior=None, likelihood=None):
        if apply is None:
            raise TypeError("Model has no apply; unpack a Network into it: Model(*linear(3), prior=…, likelihood=…)")
        if prior is None or likelihood is None:
            absent = "prior" if prior is None else "likelihood"
            raise TypeError(f"Model has no {absent}; pass {absent}=probjax.{absent}s.… (a flat prior is priors.flat())")
        for name, value in (("prior", prior), ("likelihood", likelihood)):
            if callable(value):  # the factory instead of what it makes
                made = getattr(value, "__name__", "…")
                raise TypeError(f"Model: {name} is the function {made}; call it: {name}={made}(…)")
        return super().__new__(cls, function(init), function(apply), function(drop), prior, likelihood)


class _Target(NamedTuple):
    init: Callable
    log_joint: Callable
    constrain: Callable


class Target(_Target):
    """An unnormalised posterior. init: key -> params; log_joint: (params, data) -> scalar, nats, summed over data;
    constrain: params -> dict of named quantities in their natural space."""

    __slots__ = ()

    def __new__(cls, init, log_joint, constrain):
        return super().__new__(cls, *map(function, (init, log_joint, constrain)))


class Posterior(NamedTuple):
    """draws: params pytree, every leaf with a leading axis S; info: dict of arrays about the run
    (gradient norms, divergences, `log_q` [S], `log_evidence`, `elbo` … in nats)."""

    draws: Params
    info: dict[str, Array]


def as_model(model: Any) -> Model:
    """`model` itself if it is a Model; otherwise `NotApplicable`, for methods that need prior, network and
    likelihood apart."""
    if isinstance(model, Model):
        return model
    raise NotApplicable(
        f"needs a Model (prior, network and likelihood apart); this is a {type(model).__name__}, a density only"
    )
