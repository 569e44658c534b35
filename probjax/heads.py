"""What turns a network's output into all that a likelihood takes: learnt scales, several outputs, ordered cutpoints."""

from __future__ import annotations

import jax.numpy as jnp
from jax.tree_util import Partial

from probjax.types import Network, Static
from probjax.validation import require_counts


def with_learnt(network: Network, **kinds: str) -> Network:
    """f = (location, first, second, …): location from `network`, then one learnt number for all rows per name, in the
    order of the names and therefore of the likelihood's own parameters (`student_t()`: scale, then df).

    params: {"network": …, "log_<name>": []} for a "positive" one, its exponential going into f, and {"<name>": []} for
    a "real" one. Give each a prior with `priors.joint(network=…, log_scale=…)`.

    Args:
        kinds: name="positive" or name="real".

    Raises:
        ValueError: another kind.

    >>> import jax
    >>> from probjax import linear
    >>> network = with_learnt(linear(2), scale="positive", df="positive")
    >>> location, scale, df = network.apply(network.init(jax.random.key(0)), jnp.ones((5, 2)))
    >>> location.shape, df.tolist()
    ((5,), [1.0, 1.0, 1.0, 1.0, 1.0])
    """
    for name, kind in kinds.items():
        if kind not in ("positive", "real"):
            raise ValueError(f"with_learnt: {name} is {kind!r} but must be 'positive' or 'real'")
    names = Static(tuple(f"log_{name}" if kind == "positive" else name for name, kind in kinds.items()))
    drop = None if network.drop is None else Partial(_learnt_drop, network.drop)
    return Network(Partial(_learnt_init, names, network.init), Partial(_learnt_apply, names, network.apply), drop)


def _learnt_init(names, init, key):
    return {"network": init(key), **{name: jnp.zeros(()) for name in names.value}}


def _learnt_apply(names, apply, params, x):
    location = apply(params["network"], x)
    values = (jnp.exp(params[name]) if name.startswith("log_") else params[name] for name in names.value)
    return location, *(jnp.broadcast_to(value, location.shape) for value in values)


def _learnt_drop(drop, key, params, rate):
    return {**params, "network": drop(key, params["network"], rate)}


def with_learnt_scale(network: Network) -> Network:
    """f = (μ, σ) with one σ = exp(log_scale) for all rows, for `likelihoods.normal()`: `with_learnt` of a scale.

    >>> import jax
    >>> from probjax import linear
    >>> network = with_learnt_scale(linear(2))
    >>> loc, scale = network.apply(network.init(jax.random.key(0)), jnp.ones((5, 2)))
    >>> loc.shape, scale.tolist()
    ((5,), [1.0, 1.0, 1.0, 1.0, 1.0])
    """
    return with_learnt(network, scale="positive")


def columns(network: Network, *kinds: str) -> Network:
    """f = a tuple of the network's outputs, one entry a column: "real" as it is, "positive" its exponential.

    Raises:
        ValueError: another kind, or (when applied) another number of outputs.

    >>> import jax
    >>> from probjax import linear
    >>> network = columns(linear(2, 2), "real", "positive")  # an input-dependent scale
    >>> loc, scale = network.apply(network.init(jax.random.key(0)), jnp.ones((5, 2)))
    >>> loc.shape, bool((scale > 0).all())
    ((5,), True)
    """
    for kind in kinds:
        if kind not in ("positive", "real"):
            raise ValueError(f"columns: a kind is {kind!r} but must be 'positive' or 'real'")
    return Network(network.init, Partial(_columns, Static(kinds), network.apply), network.drop)


def _columns(kinds, apply, params, x):
    out = apply(params, x)
    if out.ndim != 2 or out.shape[-1] != len(kinds.value):
        raise ValueError(
            f"columns: the network gives shape {out.shape} but {len(kinds.value)} outputs are named, "
            f"[N, {len(kinds.value)}]"
        )
    return tuple(jnp.exp(out[:, i]) if kind == "positive" else out[:, i] for i, kind in enumerate(kinds.value))


def location_and_scale(network: Network) -> Network:
    """f = (μ(x), σ(x)) from two outputs, σ = exp(second one), for `likelihoods.normal()`: a case of `columns`."""
    return columns(network, "real", "positive")


def with_cutpoints(network: Network, num_classes: int) -> Network:
    """f = (η, c) for `likelihoods.ordinal`, the K − 1 cutpoints increasing by construction: c₁ free, each next one
    exp(log_gap) further.

    params: {"network": …, "first_cutpoint": [], "log_gaps": [K − 2]}. The network's own bias and the cutpoints shift
    together: leave the bias out, or let a prior hold one of them.

    >>> import jax
    >>> from probjax import linear
    >>> network = with_cutpoints(linear(2), 4)
    >>> location, cutpoints = network.apply(network.init(jax.random.key(0)), jnp.ones((5, 2)))
    >>> cutpoints[0].tolist()
    [-1.0, 0.0, 1.0]
    """
    require_counts("with_cutpoints", num_classes=(num_classes, 2))
    drop = None if network.drop is None else Partial(_learnt_drop, network.drop)
    init = Partial(_cutpoints_init, Static(num_classes), network.init)
    return Network(init, Partial(_cutpoints_apply, network.apply), drop)


def _cutpoints_init(num_classes, init, key):
    gaps = num_classes.value - 2
    return {"network": init(key), "first_cutpoint": jnp.asarray(-gaps / 2), "log_gaps": jnp.zeros(gaps)}


def _cutpoints_apply(apply, params, x):
    location = apply(params["network"], x)
    gaps = jnp.concatenate([params["first_cutpoint"][None], jnp.exp(params["log_gaps"])])
    return location, jnp.broadcast_to(jnp.cumsum(gaps), (*location.shape, len(gaps)))
