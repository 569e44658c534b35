"""How a density with several parameters becomes a `Likelihood`: some are known, the network gives the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from probjax.types import Likelihood, Static
from probjax.validation import require_positive


class Family(NamedTuple):
    """A parametric family p(y | parameters), as pure functions of parameters in a fixed order.

    name: that of its factory.
    parameters: their names; the first is what a regression models.
    log_prob: (y, *parameters) -> [N]. sample: (key, *parameters) -> y. mean, variance: (*parameters) -> [N].
    """

    name: str
    parameters: tuple[str, ...]
    log_prob: Callable
    sample: Callable
    mean: Callable
    variance: Callable


def likelihood(family: Family, support: Callable, link: Callable, **known: Any) -> Likelihood:
    """The likelihood of a family.

    Args:
        support: (y, f, **known) -> [N] bool; its docstring is the support in words.
        link: the natural location (the mean where it exists) -> the family's first parameter.
        known: the values of parameters by name; `None` means that it stands in f, in the family's order.
    """
    known = {name: known.get(name) for name in family.parameters[1:]}
    members = (_log_prob, _sample, _mean, _variance)
    bound = [Partial(member, Static(family), known) for member in members]
    given = {name: value for name, value in known.items() if value is not None}
    return Likelihood(*bound, Partial(support, **given), link)


def _log_prob(family, known, y, f):
    parameters = _parameters(family.value, known, f)
    return family.value.log_prob(jnp.asarray(y, jnp.result_type(*parameters)), *parameters)


def _sample(family, known, key, f):
    return family.value.sample(key, *jnp.broadcast_arrays(*_parameters(family.value, known, f)))


def _mean(family, known, f):
    return family.value.mean(*_parameters(family.value, known, f))


def _variance(family, known, f):
    return family.value.variance(*jnp.broadcast_arrays(*_parameters(family.value, known, f)))


def _parameters(family, known, f):
    """All parameters in order, the known ones in f's precision."""
    # in the family's order: a dict that has been through a transformation has its keys sorted
    unknown = [family.parameters[0], *(name for name in family.parameters[1:] if known[name] is None)]
    given = f if isinstance(f, tuple) else (f,)
    if len(given) != len(unknown):
        raise ValueError(_mismatch(family, known, unknown, given))
    dtype = jnp.result_type(float, *(jnp.asarray(leaf).dtype for leaf in given))
    if all(jnp.asarray(leaf).dtype == jnp.float32 for leaf in given):
        dtype = jnp.float32
    value = dict(zip(unknown, given)) | {name: v for name, v in known.items() if v is not None}
    return [jnp.asarray(value[name], dtype) for name in family.parameters]


def _mismatch(family, known, unknown, given):
    told = lambda names: names[0] if len(names) == 1 else f"({', '.join(names)})"
    call = ", ".join(f"{name}=…" for name, value in known.items() if value is not None)
    came = "one output" if len(given) == 1 else f"{len(given)} outputs"
    if len(given) < len(unknown):
        cure = "; pass the others as numbers, or let the network give them: with_learnt (one for all rows) or columns"
    else:
        cure = f"; leave out what the network gives: likelihoods.{family.name}()"
    return f"likelihoods.{family.name}({call}) takes f = {told(unknown)} but the network gives {came}{cure}"


def check_positive(name: str, **known: Any) -> None:
    """Raises ValueError where a known parameter of `likelihoods.name` is not above 0."""
    for argument, value in known.items():
        cure = "for a learnt one pass None and let the network give it"
        require_positive(f"likelihoods.{name}", argument, value, cure)


def real(y, f, **known):
    """finite real numbers"""
    return jnp.isfinite(y)


def positive(y, f, **known):
    """numbers above 0"""
    return (y > 0) & jnp.isfinite(y)


def count(y, f, **known):
    """a count 0, 1, 2, …"""
    return (y >= 0) & (y == jnp.floor(y)) & jnp.isfinite(y)


def identity(location):
    """The link of a family whose first parameter is the location itself."""
    return location


def standard_uniform(key, like):
    """Uniform on (0, 1), never 0: its logarithm is finite."""
    return jax.random.uniform(key, jnp.shape(like), jnp.result_type(like), minval=jnp.finfo(like.dtype).tiny)
