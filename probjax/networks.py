"""Parametric functions f(x): linear, multilayer perceptrons, and what learns a noise scale beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

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
    return _product(x, params["weight"]) + params.get("bias", 0.0)


def _product(x, weight):
    """x @ weight. On a CPU two or three columns are a product each: for so narrow a matrix XLA's one takes, with its
    gradient, up to four times as long."""
    if weight.ndim == 2 and weight.shape[1] in (2, 3) and jax.default_backend() == "cpu":
        return jnp.stack([x @ column for column in weight.T], axis=-1)
    return x @ weight


def _linear_drop(key, params, rate):
    return {**params, "weight": _mask_rows(key, params["weight"], rate)}


def _mlp_init(layers, key):
    return tuple(_affine_init(layer, k) for layer, k in zip(layers, jax.random.split(key, len(layers))))


def _mlp_apply(activation, shape_output, params, x):
    hidden = x
    for layer in params[:-1]:
        hidden = activation(_product(hidden, layer["weight"]) + layer["bias"])
    return shape_output(_product(hidden, params[-1]["weight"]) + params[-1]["bias"])


def _mlp_drop(key, params, rate):
    if len(params) == 1:
        return (_linear_drop(key, params[0], rate),)
    keys = jax.random.split(key, len(params) - 1)
    return params[:1] + tuple(_linear_drop(k, layer, rate) for k, layer in zip(keys, params[1:]))


def given_params(params: Params, key: Array) -> Params:
    """An `init` that starts at trained parameters, whatever the key."""
    return params


class Noise(NamedTuple):
    """The law of a dropout mask, in the place of a rate where it is not Bernoulli's.

    mask: (key, shape, rate) -> [*shape] of mean 1. rate: a number, or None for the network's own.
    """

    mask: Partial
    rate: Any


def bernoulli_mask(key: Array, shape: tuple[int, ...], rate: Any) -> Array:
    """m / (1 − rate), m ~ Bernoulli(1 − rate): inverted dropout, of mean 1 and variance rate/(1 − rate)."""
    return jax.random.bernoulli(key, 1 - rate, shape) / (1 - rate)


def gaussian_mask(key: Array, shape: tuple[int, ...], rate: Any) -> Array:
    """1 + √(rate/(1 − rate)) ε, ε ~ N(0, 1): Gaussian dropout, with Bernoulli's mean and variance (Srivastava et al.
    2014 §10; Wang & Manning 2013)."""
    return 1 + jnp.sqrt(rate / (1 - rate)) * jax.random.normal(key, shape)


def unit_mask(key: Array, shape: tuple[int, ...], rate: Any, own_rate: float = 0.1) -> Array:
    """The mask that `rate` asks for: a number is Bernoulli's, a `Noise` says its law, None is `own_rate`."""
    mask, rate = (rate.mask, rate.rate) if isinstance(rate, Noise) else (bernoulli_mask, rate)
    return mask(key, shape, own_rate if rate is None else rate)


def _mask_rows(key, weight, rate):
    """Row j times mⱼ: dropout of input j."""
    return weight * unit_mask(key, weight.shape[:1], rate).reshape(-1, *[1] * (weight.ndim - 1))


def _squeeze_last(f):
    return f[..., 0]


def _identity(f):
    return f
