"""Flax Linen modules as Networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from probjax.flax_networks.masks import Measured, Tape, drop_of, measured_over, parts
from probjax.networks import given_params
from probjax.types import Network, Static


def from_linen(
    module,
    example_x: Array,
    *,
    train: Mapping[str, Any] | None = None,
    predict: Mapping[str, Any] | None = None,
    variables: Any = None,
) -> Network:
    """A Flax Linen module as a Network. params: its "params" collection.

    Dropout: apply(params, x) drops nothing, whatever the layers' flags; `drop` gives `Masked` draws, with which
    apply multiplies each layer's input by its mask. This needs every Dropout layer to see the rows on its leading
    axis, outside of lifted transforms (`linen.scan`, `linen.vmap`, `linen.remat`); layers that see rows × positions
    there have a mask of one position.

    Batch statistics are constants at prediction. Given `variables`, they are those. Otherwise they are means and
    variances over `example_x` under the params (and masks) of the draw: pass the inputs that the model is trained on,
    and a fit is that of full-batch training, gradients through the statistics included, while no prediction depends on
    the other rows predicted with it. Each call then runs example_x too.

    Args:
        module: a `flax.linen.Module` whose `__call__(x)` returns f.
        example_x: one batch; only its shapes count, but for a module with batch statistics.
        train, predict: further arguments of `__call__` while statistics are taken, and otherwise:
            train={"train": True}, predict={"train": False}. Hashable.
        variables: a trained module's collections; `init` then returns its "params", whatever the key, so that methods
            which start from `init` start at the trained solution.

    Raises:
        NotImplementedError: the module keeps collections other than "params" and "batch_stats", statistics that are
            not a BatchNorm's (unless `variables` are given), or a Dropout layer's input has no leading row axis.
        TypeError: module is no Linen module.
        ValueError: batch statistics over rows that are all the same, a Dropout rate of 1, a BatchNorm that the given
            arguments put in the wrong mode, or `variables` without the collections of the module.

    >>> from flax import linen
    >>> network = from_linen(linen.Dense(3), jnp.ones((1, 2)))
    >>> network.apply(network.init(jax.random.key(0)), jnp.ones((5, 2))).shape
    (5, 3)
    """
    from flax import linen

    if not isinstance(module, linen.Module):
        raise TypeError(
            f"from_linen: module is {_told(module)} but must be a flax.linen.Module, made: Net(), not Net; "
            "for flax.nnx take from_nnx"
        )
    calls = tuple(tuple(sorted((given or {}).items())) for given in (predict, train))
    static = Static((module, *calls))
    shape = (jnp.shape(example_x), jnp.result_type(example_x))
    collections = jax.eval_shape(lambda key: _init(static, shape, key), jax.random.key(0))
    others = sorted(set(collections) - {"params", "batch_stats"})
    if others:
        raise NotImplementedError(
            f"from_linen: the module has collections {others}; only 'params' and 'batch_stats' are supported; "
            "write the module so that what it keeps besides is a constant of its own, not a collection"
        )
    stats = collections.get("batch_stats")
    if variables is not None and jax.tree.structure(dict(variables)) != jax.tree.structure(collections):
        raise ValueError(
            f"from_linen: variables has tree {jax.tree.structure(dict(variables))} but the module makes "
            f"{jax.tree.structure(collections)}; pass what module.init or a training loop returns, all of it"
        )
    if stats is not None and variables is not None:
        stats = variables["batch_stats"]
    elif stats is not None:
        stats = measured_over("from_linen", "variables", example_x, stats)
    apply = Partial(_apply, static, stats)
    if variables is not None:
        init = Partial(given_params, variables["params"])
    else:
        init = Partial(_params, static, Static(shape))
    return Network(init, apply, drop_of(apply, init, shape))


def _told(module):
    return f"the class {module.__name__}" if isinstance(module, type) else f"a {type(module).__name__}"


def _init(static, shape, key):
    module, predict, _ = static.value
    from flax import linen

    with linen.intercept_methods(_interceptor(Tape())):
        return module.init(key, jnp.zeros(*shape), **dict(predict))


def _params(static, shape, key):
    return _init(static, shape.value, key)["params"]


def _apply(static, stats, params, x, tape=None):
    from flax import linen

    module, predict, _ = static.value
    params, masks = parts(params)
    variables = {"params": params}
    if isinstance(stats, Measured):
        stats = _statistics(static, stats, params, masks)
    if stats is not None:
        variables["batch_stats"] = stats
    with linen.intercept_methods(_interceptor(tape or Tape(masks))):
        return module.apply(variables, x, **dict(predict))


def _statistics(static, measured, params, masks):
    """Batch statistics over x: running averages that start at 0 end at (1 − momentum) × those of the batch."""
    from flax import linen

    module, _, train = static.value
    variables = {"params": params, "batch_stats": measured.zeros}
    momenta: dict = {}
    with linen.intercept_methods(_interceptor(Tape(masks), momenta)):
        _, updated = module.apply(variables, measured.x, **dict(train), mutable=["batch_stats"])

    def rescaled(path, leaf):
        layer = tuple(entry.key for entry in path[:-1])
        if layer not in momenta:
            raise NotImplementedError(
                f"from_linen: the statistics {'/'.join(layer)} are not a BatchNorm's; pass the trained variables"
            )
        return leaf / (1 - momenta[layer])

    return jax.tree_util.tree_map_with_path(rescaled, updated["batch_stats"])


def _interceptor(tape, momenta=None):
    """Dropout goes by the tape. BatchNorm must take statistics where momenta are collected, and use them elsewhere."""
    from flax import linen

    def interceptor(call, args, kwargs, context):
        layer = context.module
        if context.method_name != "__call__":
            return call(*args, **kwargs)
        if isinstance(layer, linen.Dropout):
            return tape(args[0] if args else kwargs["inputs"], layer.rate, layer.broadcast_dims)
        if isinstance(layer, linen.BatchNorm) and not layer.is_initializing():
            given = args[1] if len(args) > 1 else kwargs.get("use_running_average")
            _check_mode(layer, layer.use_running_average if given is None else given, momenta is None)
            if momenta is not None:
                momenta[layer.path] = layer.momentum
        return call(*args, **kwargs)

    return interceptor


def _check_mode(layer, uses_average, predicting):
    if bool(uses_average) is predicting:
        return
    argument, use = ("predict", "use its running averages") if predicting else ("train", "take batch statistics")
    raise ValueError(
        f"from_linen: BatchNorm {'/'.join(layer.path)} has use_running_average={uses_average} where it should {use}; "
        f"let an argument of the module's __call__ decide and pass it as {argument}={{…}}"
    )
