"""How a leading axis of expensive independent repetitions (keys, members, chains, replications) runs: decided here.
Cheap maps over draws are plain vmaps where they stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

try:  # only how the axis runs hangs on it, nothing that is computed
    from jax.extend.core import unsafe_am_i_under_a_vmap_DO_NOT_USE as under_a_vmap
except ImportError:  # another JAX

    def under_a_vmap() -> bool:
        return False


AXIS = "leading"  # the name of the mesh axis that rows are spread over


def over_leading_axis(function: Callable, *args: Any, batch_size: int | None = None) -> Any:
    """[function(*(a[i] for a in args)) for i in range(n)], stacked: equal to `jax.vmap(function)(*args)` up to
    rounding (which a search that has not converged may amplify: its end is where rounding led it).

    On a CPU the axis is a loop over blocks of `batch_size` (default 1): XLA's batched products there use one core and
    fall out of cache, and branching programs (NUTS trees) run in lockstep. On an accelerator it is one vmap, or a loop
    over blocks of `batch_size` where memory needs a bound.

    Where JAX has several devices each runs its share of the rows in that way, all at once. A CPU counts as one device
    unless `jax.config.update("jax_num_cpu_devices", …)` says otherwise before the first computation: with one a core
    the loop takes as many times less. A length that the devices do not divide is filled up with rows that are computed
    and dropped. Nothing is spread inside a vmap, another spread axis or `jax.set_mesh`, over several processes,
    under `jax.default_device`, or where an argument is committed to one device.

    Args:
        function: takes one element of each argument; may close over arrays, traced ones too.
        args: pytrees whose leaves share a leading axis.
        batch_size: rows that run together on a device; bounds memory.

    >>> import jax.numpy as jnp
    >>> over_leading_axis(lambda a, b: a + b, jnp.arange(3), jnp.arange(3)).tolist()
    [0, 2, 4]
    """

    def run(*args):
        if batch_size is None and jax.default_backend() != "cpu":
            return jax.vmap(function)(*args)
        return jax.lax.map(lambda row: function(*row), args, batch_size=batch_size)

    leaves = jax.tree.leaves(args)
    length = np.shape(leaves[0])[0] if leaves else 0
    devices = jax.devices()
    if length < 2 or len(devices) == 1 or not _may_spread(leaves):
        return run(*args)
    filled = np.arange(length + -length % len(devices)) % length
    if len(filled) > length:
        args = jax.tree.map(lambda leaf: leaf[filled], args)
    rows = PartitionSpec(AXIS)
    # check_vma=False: loops inside `function` start from constants, which that check takes for a mistake
    spread = jax.shard_map(run, mesh=Mesh(np.array(devices), AXIS), in_specs=rows, out_specs=rows, check_vma=False)
    out = jax.jit(spread)(*args)  # outside of any jit, shard_map runs each operation by itself
    return jax.tree.map(lambda leaf: leaf[:length], out) if len(filled) > length else out


def _may_spread(leaves: list) -> bool:
    """Whether the devices are free: not held by a map or mesh around this one, nor by where an argument was put."""
    inside = under_a_vmap() or not jax.sharding.get_abstract_mesh().empty
    placed = jax.config.jax_default_device is not None or any(_is_on_one_device(leaf) for leaf in leaves)
    return not inside and not placed and jax.process_count() == 1


def _is_on_one_device(leaf: Any) -> bool:
    concrete = isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer)
    return concrete and leaf.committed and len(leaf.sharding.device_set) == 1
