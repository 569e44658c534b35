"""How a leading axis of expensive independent repetitions (keys, members, chains, replications) runs: decided here.
Cheap maps over draws are plain vmaps where they stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax


def over_leading_axis(function: Callable, *args: Any, batch_size: int | None = None) -> Any:
    """[function(*(a[i] for a in args)) for i in range(n)], stacked: equal to `jax.vmap(function)(*args)` up to
    rounding.

    On a CPU the axis is a loop over blocks of `batch_size` (default 1): XLA's batched products there use one core and
    fall out of cache, and branching programs (NUTS trees) run in lockstep. On an accelerator it is one vmap, or a loop
    over blocks of `batch_size` where memory needs a bound.

    Args:
        function: takes one element of each argument.
        args: pytrees whose leaves share a leading axis.
        batch_size: rows that run together; bounds memory.

    >>> import jax.numpy as jnp
    >>> over_leading_axis(lambda a, b: a + b, jnp.arange(3), jnp.arange(3)).tolist()
    [0, 2, 4]
    """
    if batch_size is None and jax.default_backend() != "cpu":
        return jax.vmap(function)(*args)
    return jax.lax.map(lambda row: function(*row), args, batch_size=batch_size)
