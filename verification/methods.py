"""The methods on trial, at the settings they are held to."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import zlib
from collections.abc import Callable
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
        Method("nuts", inference.nuts, {"num_draws": 3000, "num_chains": 1}, exact=True),
        Method("dropout", inference.dropout, {**FREE_DRAWS, "rate": 0.1}),
        Method("ensemble", inference.ensemble, {"num_members": 16}),
    )
}


def load_method(spec: str) -> Callable:
    """`package.module:function` or `path/to/file.py:function` (the `.py` may be left out) as a callable.

    Raises:
        ValueError: no colon, no such module or file, no such function, an import that fails, or a function that does
            not take (key, model, data), each with the cure.
    """
    module_name, colon, function_name = spec.rpartition(":")
    if not colon or not module_name or not function_name:
        raise ValueError(
            f"--method is {spec!r} but should read file:function or package.module:function, such as my_file:my_method"
        )
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
    _check_signature(spec, method)
    return method


def _check_signature(spec: str, method: Callable) -> None:
    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):  # some callables written in C have none
        return
    try:
        names = list(signature.bind("key", "model", "data").arguments)
    except TypeError as error:
        raise ValueError(
            f"--method: {spec} takes {signature} but is called with (key, model, data) ({error}); "
            "give every further argument a default"
        ) from error
    if set(names) == {"key", "model", "data"} and names != ["key", "model", "data"]:
        raise ValueError(f"--method: {spec} takes ({', '.join(names)}) but is called with (key, model, data), in order")


_LOADED: dict[str, Any] = {}  # by spec: a file is executed once a process


def _import(name: str):
    if name in _LOADED:
        return _LOADED[name]
    path = Path(name if name.endswith(".py") else name + ".py")
    if not path.is_file() and ("/" in name or name.endswith(".py")):
        raise ValueError(f"--method: there is no file {path}; the path is taken from {Path.cwd()}")
    sys.path.insert(0, str(path.resolve().parent if path.is_file() else Path.cwd()))
    try:
        _LOADED[name] = _execute(path) if path.is_file() else importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"--method: no module named {error.name!r}; pass a file (my_file.py:my_method) or install it"
        ) from error
    except (Exception, SystemExit) as error:
        raise ValueError(f"--method: importing {name} failed with {type(error).__name__}: {error}") from error
    return _LOADED[name]


def _execute(path: Path):
    """The file as a module under a name of its own, so that `statistics.py` hides nothing."""
    found = importlib.util.spec_from_file_location(f"_method_{zlib.crc32(str(path.resolve()).encode()):x}", path)
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module
    found.loader.exec_module(module)
    return module


def source_of(spec: str) -> str:
    """The text of a stranger's file and of all it may have imported from its folder or the working directory: stored
    results of older texts are not taken for its own."""
    own = Path(_import(spec.rpartition(":")[0]).__file__).resolve()
    folders = {own.parent, Path.cwd().resolve()}
    files = {Path(m.__file__).resolve() for m in list(sys.modules.values()) if getattr(m, "__file__", None)}
    near = sorted(f for f in files if f.suffix == ".py" and folders & set(f.parents) and "site-packages" not in f.parts)
    return "".join(f.read_text() for f in near)
