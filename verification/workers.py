"""Persistent worker processes: killed and replaced when a task hangs or kills its own, ended with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection
from typing import Any, NamedTuple

from verification.compiling import environment

CONTEXT = multiprocessing.get_context("spawn")  # a forked JAX would hang
GRACE = 30.0  # seconds that starting a process may take on top of a timeout


class State(NamedTuple):
    """A task is on its way: what it is doing, in words."""

    task: Any
    words: str


class Ended(NamedTuple):
    """A task is over. fault: why it has no value (it hung, or its process died); None otherwise."""

    task: Any
    value: Any
    fault: str | None = None


def completed(ended: Ended) -> Any:
    """The value of a task that has no business to hang or die.

    Raises:
        RuntimeError: it has none.
    """
    if ended.fault is not None:
        raise RuntimeError(f"{ended.task}: {ended.fault}")
    return ended.value


class _Worker(NamedTuple):
    process: Any
    pipe: Any
    index: int | None  # of its task
    since: float


def in_processes(
    work: Callable[[Any, Callable[[str], None]], Any], tasks: Sequence, *, jobs: int, timeout: float | None = None
) -> Iterator[State | Ended]:
    """work(task, tell) for every task in `jobs` processes, each of which keeps what it has compiled.

    Args:
        work: a module-level function (it travels by name); `tell(words)` yields a State here.
        timeout: seconds a task may take; a running XLA program listens to nothing gentler than the kill that follows.

    Yields:
        Ended for each task, as they end, and a State whenever one is told.

    Raises:
        What `work` raises, after all processes have been ended.
    """
    for name, value in environment().items():  # the processes inherit it
        os.environ.setdefault(name, value)
    if jobs > 1:  # the processes share the cores already: BLAS threads of their own would only wait for each other
        for library in ("OPENBLAS", "MKL", "OMP"):
            os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    left, workers = list(range(len(tasks)))[::-1], []
    try:
        while left or workers:
            while left and len(workers) < jobs:
                workers.append(_begin(_start(work), left.pop(), tasks))
            ready = connection.wait([w.pipe for w in workers], timeout=0.2)
            for place, worker in enumerate(workers):
                ended, news = _look(worker, worker.pipe in ready, tasks, timeout)
                yield from news
                if ended and left:
                    fresh = worker if worker.process.is_alive() else _start(work)
                    workers[place] = _begin(fresh, left.pop(), tasks)
                elif ended:
                    _stop(worker)
                    workers[place] = None
            workers = [w for w in workers if w is not None]
    finally:
        for worker in workers:
            if worker is not None:
                _stop(worker)


def _start(work) -> _Worker:
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_serve, args=(os.getpid(), work, theirs), daemon=False)
    process.start()
    theirs.close()
    return _Worker(process, ours, None, time.monotonic())


def _begin(worker, index, tasks) -> _Worker:
    worker.pipe.send(tasks[index])
    return worker._replace(index=index, since=time.monotonic())


def _stop(worker) -> None:
    worker.process.kill()
    worker.process.join()
    worker.pipe.close()


def _look(worker, ready, tasks, timeout) -> tuple[bool, list]:
    """Whether the worker's task is over, and what there is to yield."""
    task, news = tasks[worker.index], []
    try:
        while ready and worker.pipe.poll():
            kind, value = worker.pipe.recv()
            if kind == "raised":
                raise value
            if kind == "done":
                return True, [*news, Ended(task, value)]
            news.append(State(task, value))
    except EOFError:
        worker.process.join()
        return True, [*news, Ended(task, None, _died(worker.process.exitcode))]
    if timeout is not None and time.monotonic() - worker.since > timeout + GRACE:
        _stop_keeping_pipe(worker)
        return True, [*news, Ended(task, None, f"stopped after {timeout:g} s; --cell-timeout gives more")]
    return False, news


def _stop_keeping_pipe(worker) -> None:
    worker.process.kill()
    worker.process.join()


def _died(code) -> str:
    how = f"signal {-code}" if code is not None and code < 0 else f"exit status {code}"
    return f"its process died ({how}): killed, or out of memory; --jobs 1 needs less"


def _serve(parent, work, pipe):
    """The life of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(("done", work(task, lambda words: pipe.send(("state", words)))))
        except BaseException as error:
            pipe.send(("raised", _plain(error)))


def _plain(error):
    """The error with its traceback in words: a traceback does not travel."""
    import traceback

    error.add_note("in a worker process:\n" + "".join(traceback.format_tb(error.__traceback__)[-3:]))
    return error


def _watch(parent):
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
