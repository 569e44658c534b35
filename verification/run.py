"""A run: tasks go to worker processes, each finished cell is a file, and an interrupted run resumes from the files."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from verification.work import Task, failed_task, run_task
from verification.workers import State, in_processes

WORDS = (  # change no number
    "command.py",
    "workers.py",
    "live.py",
    "page.py",
    "report.py",
    "comparison.py",
    "rates.py",
    "power.py",
    "effects.py",
    "__main__.py",
)
KEPT = 12  # tasks whose programs a process keeps in memory
_DONE: list[Task] = []  # by this process
VERSIONED = ("jax", "jaxlib", "numpyro", "optax", "flax", "numpy", "scipy", "scikit-learn")


class Event(NamedTuple):
    """What happened to a task: `state` in words while it runs; `result` when it is done; `stored` if it came from an
    earlier run."""

    task: Task
    state: str
    result: dict | None = None
    stored: bool = False


def run(
    tasks: list[Task],
    out: Path,
    *,
    jobs: int,
    fresh: bool = False,
    timeout: float | None = None,
    work: Callable | None = None,
) -> Iterator[Event]:
    """Do the tasks in `jobs` processes, yielding an Event at every change; results are written before their Event
    appears.

    Args:
        out: results go to out/cells, one file a task, written atomically.
        fresh: ignore what an earlier run has stored.
        timeout: seconds a task may take; one that takes longer, or whose process dies, ends in error cells with the
            reason, and the others go on.
        work: (task, tell) -> result, module-level; default: `run_task`.
    """
    cells = out / "cells"
    cells.mkdir(parents=True, exist_ok=True)
    todo = []
    for task in tasks:
        path = cells / _file_name(task)
        stored = None if fresh else _read(path)
        if stored is None:
            todo.append(task)
        else:
            yield Event(task, "stored", stored, stored=True)
    if todo:
        yield from _in_processes(todo, cells, jobs, work or _work, timeout)


def _in_processes(tasks, cells, jobs, work, timeout) -> Iterator[Event]:
    for news in in_processes(work, tasks, jobs=min(jobs, len(tasks)), timeout=timeout):
        if isinstance(news, State):
            yield Event(news.task, news.words)
            continue
        if news.fault is not None:  # not stored: the next run tries again
            yield Event(news.task, "failed", failed_task(news.task, news.fault))
            continue
        _write(cells / _file_name(news.task), news.value)
        yield Event(news.task, "done", news.value)


def _work(task: Task, tell: Callable[[str], None]) -> dict:
    result = run_task(task, tell)
    _DONE.append(task)
    if len(_DONE) % KEPT == 0:
        import jax

        jax.clear_caches()  # compiled programs of finished cells are not used again; what JAX traced of its own is
    return result


def fingerprint(task: Task) -> str:
    """A digest of everything a stored result depends on: the task, the sources, the versions."""
    digest = hashlib.sha256(json.dumps(task._asdict(), sort_keys=True).encode())
    digest.update(_sources())
    for spec in ([task.method] if task.stranger else []) + ([task.problem] if ":" in task.problem else []):
        from verification.methods import source_of

        digest.update(source_of(spec).encode())
    return digest.hexdigest()[:16]


_SOURCES: list[bytes] = []


def _sources() -> bytes:
    if not _SOURCES:
        digest = hashlib.sha256()
        import probjax

        here = Path(__file__).parent
        for path in sorted(
            [*Path(probjax.__file__).parent.rglob("*.py"), *here.rglob("*.py"), *here.rglob("*_run.json")]
        ):
            if path.name not in WORDS:
                digest.update(path.read_bytes())
        digest.update(json.dumps(versions()).encode())
        _SOURCES.append(digest.digest())
    return _SOURCES[0]


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    return {name: metadata.version(name) for name in VERSIONED}


def _file_name(task: Task) -> str:
    problem, method = ("".join(c if c.isalnum() or c in "_-." else "_" for c in n) for n in (task.problem, task.method))
    return f"{problem}--{method}--{fingerprint(task)}.json"


def _read(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _write(path: Path, value: dict) -> None:
    """Write whole or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(handle, "w") as file:
        json.dump(value, file, indent=1)
    os.replace(name, path)
