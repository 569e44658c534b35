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

from probjax import gaussian_mask, inference

FREE_DRAWS = {"num_draws": 4000}  # a key, where draws cost nothing: margins are those of the fit, not of the sampling


ELBO, HELD_OUT = "elbo", "held-out"


class Method(NamedTuple):
    """A function on trial at fixed settings.

    run: (key, model, data, **settings) -> Posterior; `limits` goes by it, whatever the name.
    exact: its draws are from the posterior itself, so that no limit and no finding excuses a fail.
    grid: further settings to choose from before the trial; chosen_by: ELBO or HELD_OUT, never closeness to the truth.
    usual: in the default run; the others stand trial with --full, and by name.
    """

    name: str
    run: Callable
    settings: dict[str, Any]
    exact: bool = False
    grid: tuple[dict[str, Any], ...] = ()
    chosen_by: str = ""
    usual: bool = True

    def __call__(self, key, model, data, **numbers):
        return self.run(key, model, data, **{**self.settings, **numbers})

    @property
    def numbers(self) -> dict[str, float]:
        """The settings that do not shape the program: as its arguments, their values cost no compilation."""
        return {name: value for name, value in self.settings.items() if isinstance(value, float)}


STEPS = tuple({"num_steps": n, "learning_rate": r} for n, r in ((1000, 0.02), (4000, 0.01), (4000, 0.05)))
TUNED = {"mean_field_tuned": inference.mean_field, "full_rank_tuned": inference.full_rank}
RATES = tuple({"rate": rate} for rate in (0.1, 0.01, 0.03, 0.3))


def further(name: str, run: Callable, *, grid=(), chosen_by="", **settings) -> Method:
    """One that is not in the default run."""
    return Method(name, run, settings, grid=grid, chosen_by=chosen_by, usual=False)


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
        # the same at their best of a grid
        Method("dropout_tuned", inference.dropout, FREE_DRAWS, grid=RATES, chosen_by=HELD_OUT),
        *(further(name, run, grid=STEPS, chosen_by=ELBO, **FREE_DRAWS) for name, run in TUNED.items()),
        further("laplace_ggn", inference.laplace_ggn, **FREE_DRAWS),
        further("laplace_diagonal", inference.laplace_diagonal, **FREE_DRAWS),
        further("laplace_kron", inference.laplace_kron, **FREE_DRAWS),
        further("laplace_last_layer", inference.laplace_last_layer, **FREE_DRAWS),
        further("neural_linear", inference.neural_linear, **FREE_DRAWS),
        further("low_rank", inference.low_rank, **FREE_DRAWS),
        further("iaf", inference.iaf, **FREE_DRAWS),
        further("bnaf", inference.bnaf, **FREE_DRAWS),
        further("importance_corrected", inference.importance_corrected, num_draws=1000),
        further("stein", inference.stein, num_particles=100, num_steps=1000),
        further("dropout_gaussian", inference.dropout, rate=0.1, mask=gaussian_mask, **FREE_DRAWS),
        # 100 members: quantiles need as many
        further("anchored", inference.anchored, num_members=128),
        further("randomised_map", inference.randomised_map, num_members=128),
        further("bootstrap", inference.bootstrap, num_members=128),
        further("bootstrap_pairs", inference.bootstrap, num_members=128, weights=inference.pairs_weights),
        further("sgld", inference.sgld, num_draws=4000, thinning=20),
        further("sghmc", inference.sghmc, num_draws=4000, thinning=10),
        further("sghmc_cyclical", inference.sghmc, num_draws=4000, thinning=10, num_cycles=4),
        further("swag", inference.swag, num_snapshots=500, **FREE_DRAWS),
        further("multi_swag", inference.multi_swag, num_members=8, **FREE_DRAWS),
    )
}


def load_method(spec: str) -> Callable:
    """A stranger's method: `load_function` for (key, model, data) -> Posterior."""
    return load_function(spec, "--method", ("key", "model", "data"))


def load_function(spec: str, option: str, arguments: tuple[str, ...]) -> Callable:
    """`package.module:function` or `path/to/file.py:function` (the `.py` may be left out) as a callable.

    Args:
        option: what the spec was given to, for the words of errors.
        arguments: those it is called with, in order.

    Raises:
        ValueError: no colon, no such module or file, no such function, an import that fails, or a function that does
            not take the arguments, each with the cure.
    """
    module_name, colon, function_name = spec.rpartition(":")
    if not colon or not module_name or not function_name:
        raise ValueError(f"{option} is {spec!r} but should read file:function or package.module:function")
    module = _import(module_name, option)
    if not hasattr(module, function_name):
        public = sorted(
            n
            for n, v in vars(module).items()
            if callable(v) and not n.startswith("_") and v.__module__ == module.__name__
        )
        raise ValueError(
            f"{option}: {module_name} has no function {function_name!r}; it defines {', '.join(public) or 'none'}"
        )
    function = getattr(module, function_name)
    if not callable(function):
        raise ValueError(f"{option}: {spec} is a {type(function).__name__}, not a function of ({', '.join(arguments)})")
    _check_signature(spec, option, function, arguments)
    return function


def _check_signature(spec: str, option: str, function: Callable, arguments: tuple[str, ...]) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some callables written in C have none
        return
    called = f"({', '.join(arguments)})"
    try:
        names = list(signature.bind(*arguments).arguments)
    except TypeError as error:
        raise ValueError(
            f"{option}: {spec} takes {signature} but is called with {called} ({error}); "
            "give every further argument a default"
        ) from error
    if set(names) == set(arguments) and names != list(arguments):
        raise ValueError(f"{option}: {spec} takes ({', '.join(names)}) but is called with {called}, in order")


_LOADED: dict[str, Any] = {}  # by spec: a file is executed once a process


def _import(name: str, option: str):
    if name in _LOADED:
        return _LOADED[name]
    path = Path(name if name.endswith(".py") else name + ".py")
    if not path.is_file() and ("/" in name or name.endswith(".py")):
        raise ValueError(f"{option}: there is no file {path}; the path is taken from {Path.cwd()}")
    sys.path.insert(0, str(path.resolve().parent if path.is_file() else Path.cwd()))
    try:
        _LOADED[name] = _execute(path) if path.is_file() else importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{option}: no module named {error.name!r}; pass a file (my_file.py:my_function) or install it"
        ) from error
    except (Exception, SystemExit) as error:
        raise ValueError(f"{option}: importing {name} failed with {type(error).__name__}: {error}") from error
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
    own = Path(_import(spec.rpartition(":")[0], "--method").__file__).resolve()
    folders = {own.parent, Path.cwd().resolve()}
    files = {Path(m.__file__).resolve() for m in list(sys.modules.values()) if getattr(m, "__file__", None)}
    near = sorted(f for f in files if f.suffix == ".py" and folders & set(f.parents) and "site-packages" not in f.parts)
    return "".join(f.read_text() for f in near)
