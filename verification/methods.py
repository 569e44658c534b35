"""The methods on trial, at the settings they are held to."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from probjax import inference

FREE_DRAWS = {"num_draws": 4000}  # a key, where draws cost nothing: margins are those of the fit, not of the sampling


class Method(NamedTuple):
    """A function on trial at fixed settings.

    run: (key, model, data, **settings) -> Posterior; `limits` goes by it, whatever the name.
    exact: its draws are from the posterior itself, so that no limit and no finding excuses a fail.
    """

    name: str
    run: Callable
    settings: dict[str, Any]
    exact: bool = False

    def __call__(self, key, model, data):
        return self.run(key, model, data, **self.settings)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("map_estimate", inference.map_estimate, {}),
        Method("laplace", inference.laplace, FREE_DRAWS),
        Method("mean_field", inference.mean_field, FREE_DRAWS),
        Method("full_rank", inference.full_rank, FREE_DRAWS),
        # each replication is a chain of its own
        Method("nuts", inference.nuts, {"num_draws": 2000, "num_chains": 1}, exact=True),
        Method("dropout", inference.dropout, {**FREE_DRAWS, "rate": 0.1}),
        Method("ensemble", inference.ensemble, {"num_members": 16}),
    )
}


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
