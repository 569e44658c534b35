"""Bad input said clearly: the argument, what came, what was expected, the cure.

Shapes are known inside a trace and are always checked; values are checked where they are concrete.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from probjax.types import Data, Model, Params, Posterior, Target


def num_data(data: Data) -> int:
    """N, the leading axis of y."""
    return jnp.shape(jax.tree.leaves(data.y)[0])[0]


def check_inputs(model: Model | Target, data: Any) -> None:
    """Hold data against the model before anything is computed.

    Raises:
        ValueError: empty data; x and y of unlike length; NaN or infinite rows; y outside the likelihood's support;
            an apply that returns another number of rows.
        TypeError: data is not a `Data`, or model is neither Model nor Target.
    """
    if isinstance(model, Target):
        return
    if not isinstance(model, Model):
        raise TypeError(f"model is a {type(model).__name__}; expected a probjax.Model or probjax.Target")
    if not isinstance(data, Data):
        raise TypeError(f"data is a {type(data).__name__}; expected probjax.Data(x, y)")
    _check_lengths(data)
    _check_finite("x", data.x)
    _check_finite("y", data.y)
    params = jax.eval_shape(model.init, jax.random.key(0))
    f = jax.eval_shape(lambda params, x: network_output(model, params, x), params, data.x)
    _check_output_rows(data, f)
    _check_agreement(model, data, f)
    _check_support(model, data, f)


def check_rows(model: Model, data: Data, f: Any) -> None:
    """x, y and f must have N rows, y values that can occur."""
    _check_lengths(data)
    _check_finite("x", data.x)
    _check_finite("y", data.y)
    _check_output_rows(data, f)
    _check_support(model, data, f)


def check_log_prob(data: Data, f: Any, log_prob: Any) -> None:
    """log_prob(y, f) must be [N]; catches y [N] against f [N, 1], which would broadcast to [N, N]."""
    if jnp.shape(log_prob) != (num_data(data),):
        shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(f)]
        raise ValueError(
            f"log_prob(y, f) has shape {jnp.shape(log_prob)} but should be ({num_data(data)},): y has shape "
            f"{jnp.shape(jax.tree.leaves(data.y)[0])} and apply(params, x) gave {shapes}; "
            "make their shapes agree (squeeze a last axis of 1)"
        )


def check_params(model: Model, params: Params) -> None:
    """params must have the tree and the shapes that model.init makes."""
    _check_tree("params", _expected(model, params), params, leading=())


def _expected(model, given):
    """The tree that `given` is held to: that of init, or that of a network with masks where it has theirs."""
    made = jax.eval_shape(model.init, jax.random.key(0))
    if getattr(model, "drop", None) is None or jax.tree.structure(made) == jax.tree.structure(given):
        return made
    dropped = jax.eval_shape(lambda key: model.drop(key, model.init(key), 0.5), jax.random.key(0))
    return dropped if jax.tree.structure(dropped) == jax.tree.structure(given) else made


def check_draws(model: Model | Target, posterior: Any) -> int:
    """The posterior's draws must be model.init's tree with one leading axis S; returns S.

    Raises:
        TypeError: not a Posterior.
        ValueError: another tree, other shapes, or leaves that disagree on S.
    """
    if not isinstance(posterior, Posterior):
        raise TypeError(f"the posterior is a {type(posterior).__name__}; expected probjax.Posterior(draws, info)")
    if not isinstance(posterior.info, dict):
        raise TypeError(
            f"posterior.info is a {type(posterior.info).__name__}; expected a dict of arrays, {{}} for none"
        )
    leaves = jax.tree.leaves(posterior.draws)
    for leaf in leaves:
        dtype = leaf.dtype if isinstance(leaf, jax.Array) else np.asarray(leaf).dtype
        if not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(f"posterior.draws has a leaf of dtype {dtype}; expected real floating numbers")
    if not leaves or any(jnp.ndim(leaf) == 0 for leaf in leaves):
        raise ValueError("posterior.draws needs a leading axis S on every leaf; for one draw add it with leaf[None]")
    num_draws = jnp.shape(leaves[0])[0]
    _check_tree("posterior.draws", _expected(model, posterior.draws), posterior.draws, leading=(num_draws,))
    if num_draws == 0:
        raise ValueError("posterior.draws has 0 draws; at least one is needed")
    return num_draws


def check_finite_draws(model: Model | Target, posterior: Posterior) -> int:
    """`check_draws`, and that all draws are finite: what is predicted from others would be NaN. Returns S.

    Raises:
        ValueError: draws that are NaN or infinite (outside a trace), with what the method says of its run.
    """
    num_draws = check_draws(model, posterior)
    leaves = jax.tree.leaves(posterior.draws)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
        return num_draws
    finite = np.all([np.isfinite(np.asarray(leaf)).reshape(num_draws, -1).all(axis=1) for leaf in leaves], axis=0)
    if not finite.all():
        said = {n: v for n, v in posterior.info.items() if jnp.ndim(v) == 0 and not isinstance(v, jax.core.Tracer)}
        told = ", ".join(f"{name} {np.asarray(value):.3g}" for name, value in said.items())
        raise ValueError(
            f"posterior.draws has {(~finite).sum()} draws of {num_draws} that are NaN or infinite (first: draw "
            f"{int((~finite).argmax())}), so that nothing can be predicted; the method says: {told or 'nothing'}"
        )
    return num_draws


def require_positive(where: str, argument: str, value: Any, cure: str) -> None:
    """Every number in `value` must be positive and finite; traced values cannot be seen and pass."""
    for leaf in _visible(value):
        if not _is_numeric(leaf) or not np.all((leaf > 0) & np.isfinite(leaf)):
            raise ValueError(f"{where}: {argument} is {leaf} but must be positive and finite; {cure}")


def require_fraction(where: str, argument: str, value: Any, cure: str = "") -> None:
    """Every number in `value` must lie strictly between 0 and 1; traced values cannot be seen and pass."""
    for leaf in _visible(value):
        if not _is_numeric(leaf) or not np.all((leaf > 0) & (leaf < 1)):
            told = f"; {cure}" if cure else ""
            raise ValueError(f"{where}: {argument} is {leaf} but must lie strictly between 0 and 1{told}")


def require_finite(where: str, argument: str, value: Any) -> None:
    """Every number in `value` must be finite; traced values cannot be seen and pass."""
    for leaf in _visible(value):
        if not _is_numeric(leaf) or not np.all(np.isfinite(leaf)):
            raise ValueError(f"{where}: {argument} is {leaf} but must be a finite number")


def require_counts(where: str, **counts: tuple[Any, int]) -> None:
    """name=(value, least): each value must be an integer, at least `least`."""
    for name, (value, least) in counts.items():
        if not isinstance(value, int | np.integer) or value < least:
            raise ValueError(f"{where}: {name} is {value!r} but must be an integer, at least {least}")


def network_output(model: Model, params: Params, x: Any) -> Any:
    """model.apply(params, x); where that fails, both shapes are named."""
    try:
        return model.apply(params, x)
    except (TypeError, ValueError) as error:
        shapes = lambda tree: [jnp.shape(leaf) for leaf in jax.tree.leaves(tree)]
        raise ValueError(
            f"apply(params, x) failed for x of shape {shapes(x)} and params of shapes {shapes(params)}: "
            f"{str(error).splitlines()[0]}; x is [N, D], check D"
        ) from error


def _visible(value):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(value) if not isinstance(leaf, jax.core.Tracer)]


def _is_numeric(leaf) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jnp.number)) or leaf.dtype == bool


def _check_tree(name, expected, given, leading):
    want, have = jax.tree.structure(expected), jax.tree.structure(given)
    if want != have:
        raise ValueError(f"{name} has tree {have} but model.init makes {want}; pass a tree of the same structure")
    given_leaves = jax.tree.leaves(given)
    for (path, leaf), value in zip(jax.tree_util.tree_leaves_with_path(expected), given_leaves):
        shape = (*leading, *leaf.shape)
        if jnp.shape(value) != shape:
            where = name + jax.tree_util.keystr(path)
            axis = " (S, the number of draws, comes first)" if leading else ""
            raise ValueError(
                f"{where} has shape {jnp.shape(value)} but model.init makes {leaf.shape}, so {shape} was expected{axis}"
            )


def _check_lengths(data):
    rows = {
        f"{name}{jax.tree_util.keystr(path)}": jnp.shape(leaf)
        for name, tree in (("x", data.x), ("y", data.y))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
    for name, tree in (("x", data.x), ("y", data.y)):
        if isinstance(tree, list | tuple) and any(jnp.ndim(leaf) == 0 for leaf in jax.tree.leaves(tree)):
            raise ValueError(f"{name} is a {type(tree).__name__} of numbers; pass numpy.asarray({name})")
    if not rows or any(len(shape) == 0 for shape in rows.values()):
        raise ValueError(f"data needs arrays with a leading axis N, got shapes {rows}; make x [N, …] and y [N]")
    lengths = {name: shape[0] for name, shape in rows.items()}
    if len(set(lengths.values())) > 1:
        first, *others = lengths.items()
        name, length = next(item for item in others if item[1] != first[1])
        raise ValueError(f"{first[0]} has {first[1]} rows but {name} has {length}; each row of x needs its own y")
    if 0 in lengths.values():
        raise ValueError("data is empty (0 rows); at least one row is needed: the prior alone is not a posterior")


def _check_finite(name, tree):
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, jax.core.Tracer):
            continue
        values = np.asarray(leaf)
        if not _is_numeric(values):
            raise ValueError(f"{name} has dtype {values.dtype}; expected numbers, so encode it first")
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(np.sum(values, dtype=float)):  # one pass, and nothing copied: the usual case
                continue
        bad = ~np.isfinite(values.reshape(len(values), -1).astype(float)).all(axis=1)
        if bad.any():
            raise ValueError(
                f"{name} has {bad.sum()} rows of {len(values)} with NaN or infinite values "
                f"(first: row {int(bad.argmax())}); remove or impute them"
            )


def _check_output_rows(data, f):
    n = num_data(data)
    for leaf in jax.tree.leaves(f):
        if jnp.ndim(leaf) == 0 or jnp.shape(leaf)[0] != n:
            raise ValueError(
                f"y has {n} rows but apply(params, x) gave shape {jnp.shape(leaf)}; check x and the network's output"
            )


def _check_agreement(model, data, f):
    """The likelihood must take these shapes of y and f."""
    try:
        jax.eval_shape(lambda f: model.likelihood.log_prob(data.y, f), f)
    except (TypeError, ValueError) as error:
        shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(f)]
        raise ValueError(
            f"the likelihood cannot hold y of shape {jnp.shape(data.y)} against apply(params, x) of shapes {shapes}: "
            f"{str(error).splitlines()[0]}; check the number of the network's outputs and the shape of y"
        ) from error


def _check_support(model, data, f):
    if model.likelihood.support is None or any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(data.y)):
        return
    # the support may depend on f's shape, and on such of its values as come from x (a number of trials): where those
    # are not known yet, +inf excludes nothing
    known = not any(isinstance(leaf, jax.core.Tracer | jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(f))
    f = f if known else jax.tree.map(lambda leaf: np.full(leaf.shape, np.inf), f)
    with jax.ensure_compile_time_eval():  # concrete data inside somebody's jit are still concrete
        inside = np.asarray(model.likelihood.support(data.y, f))
    if inside.shape != (num_data(data),):
        raise ValueError(
            f"y has shape {jnp.shape(data.y)} and apply(params, x) {[leaf.shape for leaf in jax.tree.leaves(f)]}: "
            f"one value of y a row was expected, shape ({num_data(data)},); squeeze or encode y "
            "(and squeeze an f of [N, 1])"
        )
    if not inside.all():
        row = int((~inside).argmax())
        words = model.likelihood.support.func.__doc__ or "the likelihood's support"
        columns = "; f has shapes " + str([leaf.shape for leaf in jax.tree.leaves(f)])
        raise ValueError(
            f"y has {(~inside).sum()} rows of {len(inside)} outside the support ({words}); "
            f"first: row {row}, y = {np.asarray(data.y)[row]}{columns}"
        )
