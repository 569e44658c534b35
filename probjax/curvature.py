"""The generalised Gauss–Newton matrix JᵀΛJ, row by row: Λ = −∂² log p(y | f)/∂f², J = ∂f/∂params."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from probjax import likelihoods, networks, priors
from probjax.types import Data, Model, NotApplicable, Params
from probjax.validation import network_output, num_data

BUDGET = 2**22  # numbers that a block of rows may hold at once: 32 MB in float64


def output_rows(f: Any) -> tuple[Array, Callable]:
    """f, a pytree with leading axis N, as [N, K], and the way back."""
    leaves, treedef = jax.tree.flatten(f)
    shapes = [leaf.shape for leaf in leaves]
    flat = jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)

    def back(rows):
        parts, start = [], 0
        for shape in shapes:
            size = shape[1] if len(shape) > 1 else 1
            parts.append(rows[:, start : start + size].reshape(rows.shape[0], *shape[1:]))
            start += size
        return treedef.unflatten(parts)

    return flat, back


def likelihood_curvature(model: Model, data: Data, f: Any) -> Array:
    """Λ = −∂² log p(yₙ | f)/∂f² at the observed y: [N, K, K], nats a unit of f squared.

    For a canonical link (Gaussian mean, logits, log rate) it does not depend on y, is the Fisher information, and is
    positive semi-definite. Elsewhere it may be indefinite.
    """
    rows, back = output_rows(f)
    score = jax.grad(lambda rows: jnp.sum(model.likelihood.log_prob(data.y, back(rows))))
    along = lambda direction: jax.jvp(score, (rows,), (jnp.broadcast_to(direction, rows.shape),))[1]
    curvature = -jnp.moveaxis(jax.vmap(along)(jnp.eye(rows.shape[1], dtype=rows.dtype)), 0, -1)
    return 0.5 * (curvature + jnp.swapaxes(curvature, 1, 2))


def curvature_roots(model: Model, data: Data, params: Params) -> tuple[Array, Array]:
    """R [N, K, K] with RRᵀ = Λ, its negative eigenvalues set to 0, and the number of rows in which there were any.

    Raises:
        NotApplicable: the likelihood has a kink (absolute error), hence no curvature.
    """
    if likelihoods.has_kink(model.likelihood):
        raise NotApplicable("needs a curvature of the likelihood, and one with a kink has none")
    curvature = likelihood_curvature(model, data, network_output(model, params, data.x))
    size = curvature.shape[-1]
    if size == 1:
        return jnp.sqrt(jnp.maximum(curvature, 0.0)), jnp.sum(curvature < 0)
    eigenvalues, vectors = jnp.linalg.eigh(curvature)
    rounding = 10 * size * jnp.finfo(curvature.dtype).eps * jnp.max(jnp.abs(eigenvalues), axis=1)
    return vectors * jnp.sqrt(jnp.maximum(eigenvalues, 0.0))[:, None, :], jnp.sum(eigenvalues[:, 0] < -rounding)


def jacobian_row(model: Model, params: Params, x: Any, root: Array) -> Array:
    """RᵀJ of one datum, x without its leading axis, root R [K, L]: [L, P], columns as `ravel_pytree` has them."""
    flat, unravel = ravel_pytree(params)
    one = jax.tree.map(lambda leaf: leaf[None], x)
    _, pull = jax.vjp(lambda w: output_rows(model.apply(unravel(w), one))[0][0], flat)
    return jax.vmap(lambda direction: pull(direction)[0])(root.T)


def knows_layers(model: Model) -> bool:
    """Whether the network's layers are known one by one: those of `linear` and `mlp`."""
    return networks.is_linear(model) or getattr(model.apply, "func", None) is networks._mlp_apply


def layer_row(model: Model, params: Params, x: Array, root: Array) -> list[tuple[Array, Array]]:
    """(a, RᵀJ_z) of one datum for each layer z = aᵀW: its input a [in], with a 1 in front where there is a bias, and
    the derivative by what it puts out [L, out].

    Of that layer's parameters as a matrix [in, out], the bias as its row 0, RᵀJ is the outer product: the order in
    which `ravel_pytree` lays them out.
    """
    is_linear = networks.is_linear(model)
    layers = (params,) if is_linear else params
    activation, shape_output = (None, lambda z: z) if is_linear else model.apply.args

    def forward(nudges):
        hidden, inputs = x, []
        for i, (layer, nudge) in enumerate(zip(layers, nudges)):
            inputs.append(hidden)
            z = hidden @ layer["weight"] + layer.get("bias", 0.0) + nudge
            hidden = activation(z) if i + 1 < len(layers) else shape_output(z)
        return hidden.reshape(-1), inputs

    zeros = [jnp.zeros(layer["weight"].shape[1:], layer["weight"].dtype) for layer in layers]
    _, pull, inputs = jax.vjp(forward, zeros, has_aux=True)
    slopes = jax.vmap(lambda direction: pull(direction)[0])(root.T)
    one = jnp.ones(1, x.dtype)
    with_one = [jnp.concatenate([one, a]) if "bias" in layer else a for layer, a in zip(layers, inputs)]
    return [(a, slope.reshape(len(slope), -1)) for a, slope in zip(with_one, slopes)]


def sum_over_rows(function: Callable, rows: Any, num_numbers: int) -> Any:
    """Σ function(row) over the leading axis, a block of BUDGET // num_numbers rows at a time: memory stays bounded.

    Args:
        function: (block of rows [B, …], present [B]) -> pytree of the block's sums, `present` being false for a row
            that only fills the last block.
        num_numbers: what one row holds meanwhile.
    """
    total = jax.tree.leaves(rows)[0].shape[0]
    block = min(max(1, BUDGET // num_numbers), total)
    filled = -total % block
    fill = lambda leaf: jnp.concatenate([leaf, jnp.repeat(leaf[:1], filled, axis=0)])
    present = jnp.arange(total + filled) < total
    blocks = jax.tree.map(lambda leaf: leaf.reshape(-1, block, *leaf.shape[1:]), (jax.tree.map(fill, rows), present))
    if total == block:
        return function(*jax.tree.map(lambda leaf: leaf[0], blocks))
    shapes = jax.eval_shape(function, *jax.tree.map(lambda leaf: leaf[0], blocks))
    start = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    add = lambda sums, this: (jax.tree.map(jnp.add, sums, function(*this)), None)
    return jax.lax.scan(add, start, blocks)[0]


def rows_of(model: Model, data: Data, params: Params) -> tuple[Any, Array]:
    """((x, R), number of rows whose curvature was clipped): what the functions of one datum above take."""
    roots, num_clipped = curvature_roots(model, data, params)
    return (jax.tree.map(jnp.asarray, data.x), roots), num_clipped


def prior_precision(model: Model, flat: Array, unravel: Callable) -> Array:
    """−∂² log p(params) of a prior that is Gaussian and factorises: [P].

    Raises:
        NotApplicable: another prior.
    """
    if not priors.is_gaussian(model.prior):
        raise NotApplicable("needs priors.normal or priors.flat (or a joint of them): their curvature is one diagonal")
    slope = jax.grad(lambda w: model.prior.log_prob(unravel(w)))
    return -jax.jvp(slope, (flat,), (jnp.ones_like(flat),))[1]


def is_proper_gaussian(model: Model) -> bool:
    """Whether the prior is `normal` in every part, so that precisions can be measured against it."""
    return priors.is_gaussian(model.prior) and model.prior.sample is not None


def prior_scale(model: Model, flat: Array, unravel: Callable) -> Array:
    """τ of a proper Gaussian prior; 1 for one that is flat in some part. [P]."""
    if not is_proper_gaussian(model):
        return jnp.ones_like(flat)
    return 1 / jnp.sqrt(prior_precision(model, flat, unravel))


def num_outputs(model: Model, data: Data, params: Params) -> int:
    """K, the numbers in one row of f."""
    f = jax.eval_shape(model.apply, params, data.x)
    return sum(leaf.size for leaf in jax.tree.leaves(f)) // num_data(data)
