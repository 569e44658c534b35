"""Flax NNX modules as Networks."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from probjax.flax_networks.masks import Measured, Tape, drop_of, measured_over, parts
from probjax.networks import given_params
from probjax.types import Network, Params, Static


def from_nnx(make: Callable, example_x: Array | None = None, *, trained: Any = None, trainable: Any = ...) -> Network:
    """A Flax NNX module as a Network. params: a plain dict of its `nnx.Param`s.

    Dropout layers and batch statistics are treated as in `from_linen`; the modes are set by the module's `train()` and
    `eval()`.

    Args:
        make: `nnx.Rngs -> nnx.Module`, called with fresh streams for each new initialisation.
        example_x: one batch, for a module with Dropout layers (its shapes) or batch statistics (its values: the
            training inputs).
        trained: a module that `make` made, trained: its batch statistics are used as they are, and `init` returns its
            parameters whatever the key.
        trainable: an NNX filter for the `nnx.Param`s that are parameters of the model; the others are frozen, constants
            at the values of `trained`, and no prior pulls at them. `nnx.PathContains("head")`: the layer called head.
            Default: all.

    Raises:
        TypeError: make is a module that is made already, or trained is none.
        NotImplementedError: the module keeps variables other than `nnx.Param`, `nnx.BatchStat` and random streams, or
            example_x is needed and absent.
        ValueError: `trained` has another tree or other shapes of parameters; `trainable` matches none, or leaves some
            and no `trained` says what they are; batch statistics over rows that are all the same; a Dropout rate of 1.

    >>> from flax import nnx
    >>> network = from_nnx(lambda rngs: nnx.Linear(2, 3, rngs=rngs))
    >>> network.apply(network.init(jax.random.key(0)), jnp.ones((5, 2))).shape
    (5, 3)
    """
    from flax import nnx  # imported where used: a second of start-up

    if isinstance(make, nnx.Module) or not callable(make):
        raise TypeError(
            f"from_nnx: make is a {type(make).__name__} but must be what makes a module, nnx.Rngs -> nnx.Module, such "
            "as its class; one that is trained goes to trained="
        )
    if trained is not None and not isinstance(trained, nnx.Module):
        raise TypeError(f"from_nnx: trained is a {type(trained).__name__} but must be an nnx.Module that make made")
    static, free = Static(make), nnx.All(nnx.Param, trainable)
    abstract = nnx.eval_shape(lambda: _build(static, nnx.Rngs(0)))
    graph, params, fixed, stats, streams, others = nnx.split(
        abstract, free, nnx.Param, nnx.BatchStat, nnx.RngState, ...
    )
    _check_variables(abstract, stats, others, example_x, trained)
    _check_trainable(params, fixed, trained)
    if jax.tree.leaves(streams):
        streams = nnx.state(_build(static, nnx.Rngs(0)), nnx.RngState)
    if trained is not None:
        _check_same(nnx.to_pure_dict(nnx.state(trained, nnx.Param)), nnx.to_pure_dict(nnx.state(abstract, nnx.Param)))
        given, fixed, stats = (
            nnx.to_pure_dict(state) for state in nnx.state(trained, free, nnx.Param, nnx.BatchStat, ...)[:3]
        )
    else:
        fixed, stats = nnx.to_pure_dict(fixed), nnx.to_pure_dict(stats)
        stats = measured_over("from_nnx", "trained", example_x, stats) if jax.tree.leaves(stats) else stats
    init = Partial(_init, static) if trained is None else Partial(given_params, given)
    apply = Partial(_apply, Static(graph), fixed, nnx.to_pure_dict(streams), stats)
    if example_x is None:
        return Network(init, apply)
    return Network(init, apply, drop_of(apply, init, (jnp.shape(example_x), jnp.result_type(example_x))))


def _check_trainable(params, fixed, trained):
    if not jax.tree.leaves(params):
        raise ValueError("from_nnx: trainable matches no nnx.Param of the module, so that nothing is left to infer")
    if jax.tree.leaves(fixed) and trained is None:
        raise ValueError("from_nnx: trainable freezes parameters; pass trained, the module that has their values")


def _check_same(given, want):
    shapes = [jax.tree.map(lambda leaf: tuple(leaf.shape), tree) for tree in (given, want)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"from_nnx: trained has parameters of shapes {shapes[0]} but make's module has {shapes[1]}")


def _check_variables(module, stats, others, example_x, trained):
    from flax import nnx

    if jax.tree.leaves(others):
        kinds = sorted({type(v).__name__ for _, v in nnx.to_flat_state(others)})
        raise NotImplementedError(
            f"from_nnx: the module has variables of kind {kinds}; only Param, BatchStat and RngState are supported; "
            "to freeze a layer make it of nnx.Param and pass trained= and trainable=, a filter of what is not frozen"
        )
    layers = [layer for _, layer in nnx.iter_modules(module)]
    if any(isinstance(layer, _gate()) for layer in layers) and example_x is None:
        raise NotImplementedError(
            "from_nnx: the module has Dropout layers; pass example_x, one batch, for their shapes"
        )
    kept = jax.tree.leaves(stats)
    if kept and trained is None and example_x is None:
        raise NotImplementedError("from_nnx: the module has BatchStat variables; pass example_x, the training inputs")
    if kept and trained is None and len(kept) != 2 * sum(isinstance(layer, nnx.BatchNorm) for layer in layers):
        raise NotImplementedError(
            "from_nnx: the module has BatchStat variables that are not a BatchNorm's; pass trained"
        )


@lru_cache
def _gate():
    from flax import nnx

    class Gate(nnx.Module):
        """Stands where a Dropout layer stood and goes by the tape."""

        def __init__(self, layer):
            self.rate, self.broadcast_dims, self.tape = layer.rate, tuple(layer.broadcast_dims), None

        def __call__(self, inputs, **_):
            return self.tape(inputs, self.rate, self.broadcast_dims)

    return Gate


def _build(static, rngs):
    from flax import nnx

    gated = lambda path, node: _gate()(node) if isinstance(node, nnx.Dropout) else node
    return nnx.recursive_map(gated, static.value(rngs))


def _init(static, key) -> Params:
    from flax import nnx

    return nnx.to_pure_dict(nnx.state(_build(static, nnx.Rngs(key)), nnx.Param))


def _apply(graph, fixed, streams, stats, params, x, tape=None):
    from flax import nnx

    params, masks = parts(params)
    measured = isinstance(stats, Measured)
    states = (params, fixed, stats.zeros if measured else stats, streams)
    module = nnx.merge(graph.value, *map(nnx.State, states))
    if measured:
        _measure(module, stats.x, Tape(masks))
    module.eval()
    _thread(module, tape or Tape(masks))
    return module(x)


def _measure(module, x, tape):
    """Set the module's statistics to those of x: averages that start at 0 end at (1 − momentum) × those of the
    batch."""
    from flax import nnx

    module.train()
    _thread(module, tape)
    module(x)
    for _, layer in nnx.iter_modules(module):
        if isinstance(layer, nnx.BatchNorm):
            layer.mean[...] /= 1 - layer.momentum
            layer.var[...] /= 1 - layer.momentum


def _thread(module, tape):
    from flax import nnx

    for _, layer in nnx.iter_modules(module):
        if isinstance(layer, _gate()):
            layer.tape = tape
