"""A run: tasks go to worker processes, each finished cell is a file, and an interrupted run resumes from the files."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from verification.work import Task, run_task
from verification.workers import CONTEXT, WorkerDied, worker_pool

WORDS = ("command.py", "workers.py", "live.py", "page.py", "report.py", "rates.py", "__main__.py")  # change no number
VERSIONED = ("jax", "jaxlib", "numpyro", "optax", "flax", "numpy", "scipy", "scikit-learn")


class Event(NamedTuple):
    """What happened to a task: `state` in words while it runs; `result` when it is done; `stored` if it came from an
    earlier run."""

    task: Task
    state: str
    result: dict | None = None
    stored: bool = False


def run(
    tasks: list[Task], out: Path, *, jobs: int, fresh: bool = False, run_one: Callable = run_task
) -> Iterator[Event]:
    """Do the tasks in `jobs` processes, yielding an Event at every change; results are written before their Event
    appears.

    Args:
        out: results go to out/cells, one file a task, written atomically.
        fresh: ignore what an earlier run has stored.
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
        yield from _in_processes(todo, cells, jobs, run_one)


def _in_processes(tasks, cells, jobs, run_one) -> Iterator[Event]:
    states = CONTEXT.Queue()
    with worker_pool(min(jobs, len(tasks)), _take_queue, states) as pool:
        waiting: dict[Future, Task] = {pool.submit(_work, task, run_one): task for task in tasks}
        while waiting:
            done, _ = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
            yield from _drain(states)
            for future in done:
                task = waiting.pop(future)
                result = _result(future, task)
                _write(cells / _file_name(task), result)
                yield Event(task, "done", result)


def _result(future, task):
    try:
        return future.result()
    except BrokenProcessPool as error:
        words = f"a worker process died, perhaps in {task.method} on {task.problem}: killed, or out of memory"
        raise WorkerDied(words) from error


def _drain(states) -> Iterator[Event]:
    while True:
        try:
            yield Event(*states.get_nowait())
        except queue.Empty:
            return


_STATES = None


def _take_queue(states):
    global _STATES
    _STATES = states


def _work(task, run_one):
    result = run_one(task, lambda state: _STATES.put((task, state)))
    import jax

    jax.clear_caches()  # compiled programs of finished cells are never used again
    return result


def fingerprint(task: Task) -> str:
    """A digest of everything a stored result depends on: the task, the sources, the versions."""
    digest = hashlib.sha256(json.dumps(task._asdict(), sort_keys=True).encode())
    digest.update(_sources())
    if task.stranger:
        from verification.methods import source_of

        digest.update(source_of(task.method).encode())
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
    method = "".join(c if c.isalnum() or c in "_-." else "_" for c in task.method)
    return f"{task.problem}--{method}--{fingerprint(task)}.json"


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
