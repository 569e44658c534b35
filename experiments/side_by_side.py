"""Two ways to the same work, run in turn in one process: seconds, their ratio, memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

import numpy as np

REPEATS, PAUSE = 5, 0.3


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
    compiling, _ = timed(case.ours, 0)
    timed(case.peer, 0)  # its first call loads modules
    peer_bytes, ours, theirs = 0, [], []
    for seed in range(REPEATS):
        if seed == 0:
            peer_bytes = growth(lambda: theirs.append(timed_worth(case, case.peer, 1)))
        else:
            theirs.append(timed_worth(case, case.peer, seed + 1))
        ours.append(timed_worth(case, case.ours, seed + 1))
    ratios = np.divide(theirs, ours)
    shown = [f"{np.median(theirs):.3g}", f"{np.median(ours):.3g}", f"{np.median(theirs) / np.median(ours):.1f}"]
    held = "" if case.ours_bytes is None else f"{case.ours_bytes / 1e6:.2f}"
    spread = f"{ratios.min():.1f}–{ratios.max():.1f}"
    return [case.peer_name, *shown, spread, f"{case.bar:.0f}", f"{compiling:.1f}", f"{peer_bytes / 1e6:.0f}", held]


def timed_worth(case: Case, work: Callable, seed: int) -> float:
    """Seconds of a call over what it is worth."""
    seconds, result = timed(work, seed)
    return seconds / case.worth(result)


def timed(work: Callable, seed: int) -> tuple[float, Any]:
    """(seconds, result), after a pause: the threads of the other's BLAS go on spinning for a while after its work."""
    time.sleep(PAUSE)
    start = time.perf_counter()
    result = work(seed)
    return time.perf_counter() - start, result
