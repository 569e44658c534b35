"""What Linen and NNX share: dropout masks that ride in a draw, and inputs that batch statistics are taken over."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from probjax.networks import Noise, unit_mask
from probjax.types import Params, Static


class Masked(NamedTuple):
    """A draw of a stochastic module: its parameters, and one mask for each call of a Dropout layer, in their order,
    shaped as that layer's input less its leading axis. One mask serves all rows: the draw is a function."""

    params: Params
    masks: tuple[Array, ...]


class Measured(NamedTuple):
    """Batch statistics to be taken over x at each params; zeros: the tree of statistics, all 0."""

    x: Array
    zeros: Any


def measured_over(where, cure, example_x, stats) -> Measured:
    """Statistics to be taken over example_x. One row, or rows that are all the same, have no variance to divide by."""
    x = jnp.asarray(example_x)
    if not isinstance(x, jax.core.Tracer) and np.all(np.asarray(x) == np.asarray(x)[:1]):
        raise ValueError(
            f"{where}: the module has batch statistics, and example_x ({x.shape[0]} rows, all the same) has none to "
            f"give; pass the inputs that the model is trained on, or {cure} of a module that is trained"
        )
    return Measured(x, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), stats))


class Tape:
    """What the Dropout layers of one forward pass do: nothing, record their shapes and rates, or take their masks.

    masks: one a call, or None to let all pass. seen: [(shape less its leading axis, rate)] of the calls so far.
    """

    def __init__(self, masks=None):
        self.masks, self.seen = masks, []

    def __call__(self, x, rate, broadcast_dims):
        shared = {dim % x.ndim for dim in broadcast_dims} if x.ndim else set()
        shape = tuple(1 if dim in shared else size for dim, size in enumerate(x.shape))[1:]
        self.seen.append((x.shape[:1], shape, rate))
        if self.masks is None:
            return x
        if len(self.seen) > len(self.masks) or self.masks[len(self.seen) - 1].shape != shape:
            masks = [mask.shape for mask in self.masks]
            raise ValueError(
                f"Dropout call {len(self.seen)} sees [N, {', '.join(map(str, shape))}] but the draw's masks have "
                f"shapes {masks}; x needs the shape of example_x, up to its rows"
            )
        return x * self.masks[len(self.seen) - 1].astype(x.dtype)


def drop_of(apply, init, shape):
    """`drop` of a module, or None for one without Dropout layers."""
    sizes, dtype = shape
    with_rows = lambda n: _layers(apply, init, ((n, *sizes[1:]), dtype))
    layers = with_rows(2)
    if not layers:
        return None
    if [layer[1:] for layer in layers] != [layer[1:] for layer in with_rows(3)] or any(not rows for rows, *_ in layers):
        raise NotImplementedError(
            "a Dropout layer of the module does not see the rows of x on its leading axis, so that one mask cannot "
            "serve all of them; move the rows first"
        )
    for _, shape_of, rate in layers:
        if not 0 <= rate < 1:
            raise ValueError(f"a Dropout layer (input [N, {shape_of}]) has rate {rate} but needs one in [0, 1)")
    return Partial(_drop, Static(tuple((shape_of, rate) for _, shape_of, rate in layers)))


def _layers(apply, init, example):
    tape = Tape()
    jax.eval_shape(lambda key: apply(init(key), jnp.zeros(*example), tape=tape), jax.random.key(0))
    return tape.seen


def _drop(layers, key, params, rate):
    given = rate.rate if isinstance(rate, Noise) else rate
    if given is None and all(own == 0 for _, own in layers.value):
        raise ValueError("every Dropout layer of the module has rate 0, so that nothing is dropped; pass rate=…")
    keys = jax.random.split(key, len(layers.value))
    return Masked(params, tuple(unit_mask(k, shape, rate, own) for k, (shape, own) in zip(keys, layers.value)))


def parts(params):
    """(parameters, masks), the masks None without dropout."""
    return params if isinstance(params, Masked) else (params, None)
