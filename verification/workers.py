"""Worker processes that never outlive their parent: ended when it is interrupted, and by themselves when it is gone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

CONTEXT = multiprocessing.get_context("spawn")  # a forked JAX would hang


class WorkerDied(Exception):
    """A worker process ended in the middle of a task; the text says which."""


@contextmanager
def worker_pool(jobs: int, initializer: Callable, *arguments) -> Iterator[ProcessPoolExecutor]:
    """A pool of `jobs` processes; `initializer(*arguments)` runs in each (both travel by name, so: module-level)."""
    start = (os.getpid(), initializer, arguments)
    if jobs > 1:  # the processes share the cores already: BLAS threads of their own would only wait for each other
        for library in ("OPENBLAS", "MKL", "OMP"):
            os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    pool = ProcessPoolExecutor(jobs, mp_context=CONTEXT, initializer=_start, initargs=start)
    try:
        yield pool
    except BaseException:
        for process in list(getattr(pool, "_processes", {}).values()):
            process.kill()  # a running XLA program does not listen to anything gentler
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def _start(parent, initializer, arguments):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    initializer(*arguments)


def _watch(parent):
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def nothing() -> None:
    """The initializer of workers that need none."""
