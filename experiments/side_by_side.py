"""Two ways to the same work, run in turn in one process: seconds, their ratio, memory.

A time is the mean over as many calls in a row as fill 0.2 s, the way of Python's `timeit`; "first" is the first of
them, when cores sleep and caches hold the other's work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

import numpy as np

REPEATS, PAUSE, FILL = 5, 0.3, 0.2


class Case(NamedTuple):
    """Two callables of a seed. worth: (result of ours or of the peer) -> how much work it is: effective draws, or 1.
    threads: torch's, the number that suits it best. ours_bytes: what our compiled program holds, or None."""

    name: str
    peer_name: str
    ours: Callable
    peer: Callable
    worth: Callable = lambda result: 1.0
    threads: int = 1
    ours_bytes: int | None = None
    bar: float = 1.0


def memory(run: Callable, *args: Any) -> int:
    """Bytes of temporaries and results that the compiled program holds."""
    plan = run.lower(*args).compile().memory_analysis()
    return plan.temp_size_in_bytes + plan.output_size_in_bytes


def growth(work: Callable[[], Any]) -> int:
    """Bytes by which the process grew at most during a call, looked at every 2 ms; what it had freed before counts
    as its own."""
    pages = lambda: int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    start, peak, done = pages(), [pages()], Event()

    def watch():
        while not done.wait(0.002):
            peak.append(max(peak.pop(), pages()))

    watcher = Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return max(0, peak[0] - start)


def compare(case: Case) -> list[str]:
    """One row of the table: seconds for equal work."""
    import torch

    torch.set_num_threads(case.threads)
    seeds = count()
    start = time.perf_counter()
    case.ours(next(seeds))
    compiling = time.perf_counter() - start
    case.peer(next(seeds))  # its first call loads modules
    peer_bytes, ours, theirs = 0, [], []
    for index in range(REPEATS):
        work = lambda: theirs.append(in_a_row(case, case.peer, seeds)[0])
        peer_bytes = growth(work) if index == 0 else work() or peer_bytes
        ours.append(in_a_row(case, case.ours, seeds))
    (mean, first), peer = np.median(ours, axis=0), np.median(theirs)
    ratios = theirs / np.array(ours)[:, 0]
    shown = [f"{peer:.3g}", f"{mean:.3g}", f"{peer / mean:.1f}", f"{ratios.min():.1f}–{ratios.max():.1f}"]
    held = "" if case.ours_bytes is None else f"{case.ours_bytes / 1e6:.2f}"
    rest = [f"{peer / first:.1f}", f"{case.bar:.0f}", f"{compiling:.1f}", f"{peer_bytes / 1e6:.0f}", held]
    return [case.peer_name, *shown, *rest]


def in_a_row(case: Case, work: Callable, seeds: Iterator[int]) -> tuple[float, float]:
    """Seconds over what the calls are worth: of as many in a row as take `fill` seconds or more, and of the first
    alone. After a pause: the threads of the other's BLAS go on spinning for a while after its work."""
    time.sleep(PAUSE)
    start, ends, results = time.perf_counter(), [], []
    while not ends or ends[-1] - start < FILL:
        results.append(work(next(seeds)))
        ends.append(time.perf_counter())
    worth = [case.worth(result) for result in results]
    return (ends[-1] - start) / sum(worth), (ends[0] - start) / worth[0]
