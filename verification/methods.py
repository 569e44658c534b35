"""The methods on trial, at the settings they are held to."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from probjax import inference

NUM_DRAWS = 4000  # a key, where draws cost nothing: margins are then those of the fit, not of the sampling
NUTS_DRAWS = 2000

METHODS: dict[str, Callable] = {
    "map_estimate": inference.map_estimate,
    "laplace": partial(inference.laplace, num_draws=NUM_DRAWS),
    "mean_field": partial(inference.mean_field, num_draws=NUM_DRAWS),
    "full_rank": partial(inference.full_rank, num_draws=NUM_DRAWS),
    "nuts": partial(inference.nuts, num_draws=NUTS_DRAWS, num_chains=1),  # each replication is a chain of its own
    "dropout": partial(inference.dropout, num_draws=NUM_DRAWS),
    "ensemble": inference.ensemble,
}
EXACT = frozenset({"nuts"})  # no finding and no limit excuses a fail of these


def load_method(spec: str) -> Callable:
    """`package.module:function` or `path/to/file.py:function` (the `.py` may be left out) as a callable.

    Raises:
        ValueError: no colon, no such module or file, no such function, or an import that fails, each with the cure.
    """
    module_name, colon, function_name = spec.rpartition(":")
    if not colon or not module_name or not function_name:
        raise ValueError(f"--method is {spec!r} but should read package.module:function, such as my_file:my_method")
    module = _import(module_name)
    if not hasattr(module, function_name):
        public = sorted(
            n
            for n, v in vars(module).items()
            if callable(v) and not n.startswith("_") and v.__module__ == module.__name__
        )
        raise ValueError(
            f"--method: {module_name} has no function {function_name!r}; it defines {', '.join(public) or 'none'}"
        )
    method = getattr(module, function_name)
    if not callable(method):
        raise ValueError(
            f"--method: {spec} is a {type(method).__name__}, not a function (key, model, data) -> Posterior"
        )
    return method


def _import(name: str):
    path = Path(name if name.endswith(".py") else name + ".py")
    if path.is_file():
        found = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(found)
        sys.modules[path.stem] = module
        sys.path.insert(0, str(path.resolve().parent))
        load = partial(found.loader.exec_module, module)
    elif "/" in name or name.endswith(".py"):
        raise ValueError(f"--method: there is no file {path}; the path is taken from {Path.cwd()}")
    else:
        sys.path.insert(0, str(Path.cwd()))
        load = partial(importlib.import_module, name)
    try:
        module_or_none = load()
    except ModuleNotFoundError as error:
        raise ValueError(
            f"--method: no module named {error.name!r}; pass a file (my_file.py:my_method) or install it"
        ) from error
    except Exception as error:
        raise ValueError(f"--method: importing {name} failed with {type(error).__name__}: {error}") from error
    return module_or_none or sys.modules[path.stem]


def source_of(spec: str) -> str:
    """The text of the file behind a stranger's method, so that stored results of an older text are not taken for its
    own."""
    module = sys.modules.get(Path(spec.rpartition(":")[0]).stem) or _import(spec.rpartition(":")[0])
    return Path(module.__file__).read_text()
