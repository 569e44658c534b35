"""Parametric functions f(x): linear, multilayer perceptrons, and what learns a noise scale beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from probjax.types import Network, Params, Static, function


def linear(num_inputs: int, num_outputs: int | None = None, *, bias: bool = True) -> Network:
    """f(x) = xᵀw + b. params: {"weight": [D] or [D, K], "bias": [] or [K]}; f is [N], or [N, K] with `num_outputs=K`.

    Weights start as N(0, 1/D). `drop` masks inputs: it scales the rows of the weight.

    >>> network = linear(3)
    >>> network.apply(network.init(jax.random.key(0)), jnp.ones((5, 3))).shape
    (5,)
    """
    for name, size in (("num_inputs", num_inputs), ("num_outputs", 1 if num_outputs is None else num_outputs)):
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"linear: {name} is {size!r} but must be an integer, at least 1")
    return Network(Partial(_affine_init, Static((num_inputs, num_outputs, bias))), _linear_apply, _linear_drop)


def is_linear(model: Any) -> bool:
    """Whether a model's f is that of `linear`: affine in its parameters, through x alone."""
    return getattr(model.apply, "func", None) is _linear_apply


def mlp(sizes: Sequence[int], *, activation: Callable = jnp.tanh, squeeze: bool = True) -> Network:
    """A multilayer perceptron: f = W_L a(… a(W₁ᵀx + b₁) …) + b_L.

    Args:
        sizes: inputs, hidden widths, outputs: `[1, 20, 1]`.
        activation: applied between layers.
        squeeze: with one output, f is [N] instead of [N, 1].

    Returns:
        A Network with params a tuple of {"weight": [in, out], "bias": [out]}, weights starting as N(0, 1/in). `drop`
        masks hidden units: dropping unit j of a layer *is* scaling row j of the next layer's weight.

    >>> network = mlp([1, 20, 1])
    >>> network.apply(network.init(jax.random.key(0)), jnp.ones((5, 1))).shape
    (5,)
    """
    if len(sizes) < 2:
        raise ValueError(
            f"mlp: sizes is {list(sizes)} but needs at least inputs and outputs; for a linear map use [D, K]"
        )
    for size in sizes:
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"mlp: sizes is {list(sizes)} but every size must be an integer, at least 1")
    layers = tuple(Static((n_in, n_out, True)) for n_in, n_out in pairwise(sizes))
    apply = Partial(
        _mlp_apply, function(activation), Partial(_squeeze_last if squeeze and sizes[-1] == 1 else _identity)
    )
    return Network(Partial(_mlp_init, layers), apply, _mlp_drop)


def _affine_init(layer, key):
    num_inputs, num_outputs, bias = layer.value
    columns = () if num_outputs is None else (num_outputs,)
    params = {"weight": jax.random.normal(key, (num_inputs, *columns)) / jnp.sqrt(num_inputs)}
    return {**params, "bias": jnp.zeros(columns)} if bias else params


def _linear_apply(params, x):
    return x @ params["weight"] + params.get("bias", 0.0)


def _linear_drop(key, params, rate):
    return {**params, "weight": _mask_rows(key, params["weight"], rate)}


def _mlp_init(layers, key):
    return tuple(_affine_init(layer, k) for layer, k in zip(layers, jax.random.split(key, len(layers))))


def _mlp_apply(activation, shape_output, params, x):
    hidden = x
    for layer in params[:-1]:
        hidden = activation(hidden @ layer["weight"] + layer["bias"])
    return shape_output(hidden @ params[-1]["weight"] + params[-1]["bias"])


def _mlp_drop(key, params, rate):
    if len(params) == 1:
        return (_linear_drop(key, params[0], rate),)
    keys = jax.random.split(key, len(params) - 1)
    return params[:1] + tuple(_linear_drop(k, layer, rate) for k, layer in zip(keys, params[1:]))


def _mask_rows(key, weight, rate):
    """Row j times mⱼ / (1 − rate), mⱼ ~ Bernoulli(1 − rate): inverted dropout of input j."""
    keep = jax.random.bernoulli(key, 1 - rate, weight.shape[:1])
    return weight * (keep / (1 - rate)).reshape(-1, *[1] * (weight.ndim - 1))


def _squeeze_last(f):
    return f[..., 0]


def _identity(f):
    return f


def from_linen(module, example_x: Array) -> Network:
    """A Flax Linen module as a Network. params: its "params" collection.

    Args:
        module: a `flax.linen.Module` whose `__call__(x)` returns f.
        example_x: one batch, for the shapes only.

    Raises:
        NotImplementedError: the module keeps other collections (batch statistics, say).

    >>> from flax import linen
    >>> network = from_linen(linen.Dense(3), jnp.ones((1, 2)))
    >>> network.apply(network.init(jax.random.key(0)), jnp.ones((5, 2))).shape
    (5, 3)
    """
    collections = set(jax.eval_shape(module.init, jax.random.key(0), example_x)) - {"params"}
    if collections:
        raise NotImplementedError(
            f"from_linen: the module has collections {sorted(collections)}; only 'params' are supported"
        )
    shape = (jnp.shape(example_x), jnp.result_type(example_x))
    return Network(Partial(_linen_init, Static((module, shape))), Partial(_linen_apply, Static(module)))


def _linen_init(static, key):
    module, (shape, dtype) = static.value
    return module.init(key, jnp.zeros(shape, dtype))["params"]


def _linen_apply(static, params, x):
    return static.value.apply({"params": params}, x)


def from_nnx(make: Callable) -> Network:
    """A Flax NNX module as a Network. params: a plain dict of its `nnx.Param`s.

    Args:
        make: `nnx.Rngs -> nnx.Module`, called with fresh streams for each new initialisation.

    Raises:
        NotImplementedError: the module keeps variables that are not `nnx.Param` (batch statistics, dropout streams).

    >>> from flax import nnx
    >>> network = from_nnx(lambda rngs: nnx.Linear(2, 3, rngs=rngs))
    >>> network.apply(network.init(jax.random.key(0)), jnp.ones((5, 2))).shape
    (5, 3)
    """
    from flax import nnx  # imported where used: a second of start-up

    graph, others = nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(0))), nnx.Param, ...)[0::2]
    if jax.tree.leaves(others):
        kinds = sorted({type(v).__name__ for _, v in nnx.to_flat_state(others)})
        raise NotImplementedError(f"from_nnx: the module has variables of kind {kinds}; only nnx.Param are supported")
    return Network(Partial(_nnx_init, Static(make)), Partial(_nnx_apply, Static(graph)))


def _nnx_init(static, key) -> Params:
    from flax import nnx

    return nnx.to_pure_dict(nnx.state(static.value(nnx.Rngs(key)), nnx.Param))


def _nnx_apply(static, params, x):
    from flax import nnx

    return nnx.merge(static.value, nnx.State(params))(x)
