"""Spread independent work over processes of one thread each.

Two torch threads on two busy cores are several times slower than one, so parallelism is by
processes throughout. A worker reports its progress as text, which the parent shows.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Report = Callable[[str], None]

_report_queue: Any = None


def available_processes() -> int:
    """Count the processes that this job may use.

    ``HOPSCREEN_PROCESSES`` decides; otherwise the cores given to this process (which a batch
    system restricts to what was asked for).
    """
    asked = os.environ.get("HOPSCREEN_PROCESSES", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def single_thread() -> None:
    """Hold the numerical libraries of this process to one thread."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"


def map_processes(
    work: Callable[[Item, Report], Result],
    items: Sequence[Item],
    *,
    processes: int,
    on_report: Report,
) -> Iterator[tuple[Item, Result]]:
    """Apply ``work`` to each item; yield ``(item, result)`` as they come.

    Parameters
    ----------
    work
        A module-level function ``work(item, report)``; it answers for its own failures, an
        exception that leaves it ends the map.
    items
        Picklable items.
    processes
        At most so many at once; with one process or one item, nothing is spawned.
    on_report
        Called in this process with every text that a worker reports.
    """
    processes = min(processes, len(items))
    if processes <= 1:
        for item in items:
            yield item, work(item, on_report)
        return
    # Spawned, not forked: torch and BLAS threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    reports = context.Queue()
    single_thread()
    # Loading the libraries takes each of them seconds, in which nothing else is heard.
    on_report(f"starting {processes} processes")
    with ProcessPoolExecutor(
        processes, mp_context=context, initializer=_start_worker, initargs=(reports,)
    ) as pool:
        pending = {pool.submit(_call, work, item): item for item in items}
        try:
            while pending:
                done, _ = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
                _drain(reports, on_report)
                for future in done:
                    yield pending.pop(future), future.result()
        except BaseException:
            for future in pending:
                future.cancel()
            raise
    # The workers have ended and flushed what they had still to say.
    _drain(reports, on_report)


def _start_worker(reports: Any) -> None:
    global _report_queue
    single_thread()
    _report_queue = reports
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker when its parent is killed: an orphan would compute beside the next run."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(work: Callable[[Item, Report], Result], item: Item) -> Result:
    return work(item, _report_queue.put)


def _drain(reports: Any, on_report: Report) -> None:
    while True:
        try:
            on_report(reports.get_nowait())
        except queue.Empty:
            return
