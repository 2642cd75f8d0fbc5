"""Spread independent work over processes of one thread each.

Two torch threads on two busy cores are several times slower than one, so parallelism is by
processes throughout. Each worker talks to the parent over a pipe of its own, so that the parent
knows at any moment who works on what: when a library crashes or the system kills a worker, the
one item that it held is singled out, and all others come back.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import DupFd, ForkingPickler
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Report = Callable[[str], None]

_GIVEN_CORES = ("SLURM_CPUS_ON_NODE", "NCPUS", "NSLOTS", "LSB_DJOB_NUMPROC")
"""Where Slurm, PBS, Grid Engine and LSF say how many cores a job was given on its node."""


class WorkerDied(RuntimeError):
    """A worker process ended in the middle of an item, or could not start."""


def available_processes() -> int:
    """Count the processes that this job may use.

    ``HOPSCREEN_PROCESSES`` decides, and 0 means to work in this very process; otherwise the cores
    given to it by the system, or fewer where a batch system says so without enforcing it.
    """
    asked = os.environ.get("HOPSCREEN_PROCESSES", "")
    if asked.isdigit():
        return int(asked)
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    for name in _GIVEN_CORES:
        given = os.environ.get(name, "")
        if given.isdigit() and int(given) > 0:
            return min(cores, int(given))
    return cores


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
    on_death: Callable[[Item, str], Result] | None = None,
    split: Callable[[Item], Sequence[Item]] | None = None,
    preload: Sequence[str] = (),
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
        At most so many at once; 0 means to work in this process.
    on_report
        Called in this process with every text that a worker reports.
    on_death
        Called with an item that killed its worker twice, the second time while nothing else was
        running, and with the cause; what it returns is the item's result. Without it, the second
        death ends the map, and a single process is not spawned but is this one.
    split
        Cuts an item into smaller ones; after a death each of them is tried by itself.
    preload
        Modules, beside that of ``work``, to load once for all workers.

    Raises
    ------
    WorkerDied
        A worker died at its start, or by an item for which there is no ``on_death``.
    """
    size = min(processes, len(items))
    if size < 1 or (size == 1 and on_death is None):
        for item in items:
            yield item, work(item, on_report)
        return
    single_thread()
    # Loading the libraries takes seconds, in which nothing else is heard.
    on_report(f"starting {size} process{'es' if size > 1 else ''}")
    todo, suspects = deque(items), deque[Item]()
    crew: _Crew[Item] = _Crew(work, size, on_report, preload)
    try:
        while todo or suspects or crew.busy:
            for worker in crew.idle():
                if todo:
                    worker.give(todo.popleft(), suspect=False)
                elif suspects and not crew.busy:
                    worker.give(suspects.popleft(), suspect=True)
            for item, answer, suspect in crew.hear():
                if not isinstance(answer, _Death):
                    yield item, answer
                elif not suspect:
                    # The memory of several together may have been too much: once more, alone.
                    suspects.extend(split(item) if split else (item,))
                    on_report(f"a process died ({answer.cause}); its work is tried again, alone")
                elif on_death is None:
                    raise WorkerDied(f"{item!r} killed its process twice ({answer.cause})")
                else:
                    yield item, on_death(item, answer.cause)
    finally:
        crew.dismiss()


@dataclass(frozen=True)
class _Death:
    cause: str


@dataclass
class _Worker(Generic[Item]):
    """A process, the pipe to it, and what it holds."""

    process: Any
    pipe: Connection
    ready: bool = False
    holds: list[Item] = field(default_factory=list)
    suspect: bool = False

    def give(self, item: Item, *, suspect: bool) -> None:
        self.holds, self.suspect = [item], suspect
        self.pipe.send(item)


class _Crew(Generic[Item]):
    """The workers of one map."""

    def __init__(
        self, work: Callable[..., Any], size: int, on_report: Report, preload: Sequence[str]
    ) -> None:
        # Forked from a server that loads the libraries once for all, and has no threads: torch
        # and BLAS threads do not survive a fork.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([work.__module__, *preload])
        self._work, self._size, self._on_report = work, size, on_report
        self._workers: list[_Worker[Item]] = []

    @property
    def busy(self) -> bool:
        return any(worker.holds for worker in self._workers)

    def idle(self) -> list[_Worker[Item]]:
        """Return the workers that wait for an item; those that died are replaced."""
        while len(self._workers) < self._size:
            self._workers.append(self._start())
        return [worker for worker in self._workers if worker.ready and not worker.holds]

    def _start(self) -> _Worker[Item]:
        ours, theirs = self._context.Pipe()
        streams = (_Descriptor(1), _Descriptor(2))
        process = self._context.Process(
            target=_serve, args=(theirs, self._work, streams, dict(os.environ)), daemon=True
        )
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def hear(self) -> Iterator[tuple[Item, Any, bool]]:
        """Wait for a while; yield ``(item, result or death, suspect)``."""
        by_pipe = {worker.pipe: worker for worker in self._workers}
        for pipe in wait(list(by_pipe), timeout=0.5):
            worker = by_pipe[pipe]  # type: ignore[index]
            try:
                kind, content = worker.pipe.recv()
            except (EOFError, OSError):
                yield from self._bury(worker)
                continue
            if kind == "report":
                self._on_report(content)
            elif kind == "error":
                raise content
            else:
                worker.ready = True
                items, worker.holds = worker.holds, []
                yield from ((item, content, worker.suspect) for item in items)

    def _bury(self, worker: _Worker[Item]) -> Iterator[tuple[Item, _Death, bool]]:
        worker.process.join()
        self._workers.remove(worker)
        cause = _cause(worker.process.exitcode)
        if not worker.ready:
            raise WorkerDied(f"a worker process died at its start ({cause})")
        yield from ((item, _Death(cause), worker.suspect) for item in worker.holds)

    def dismiss(self) -> None:
        """End all workers, at once."""
        for worker in self._workers:
            worker.pipe.close()
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join()


def _cause(exitcode: int) -> str:
    if exitcode >= 0:
        return f"exit code {exitcode}"
    name = signal.Signals(-exitcode).name
    return f"{name}, as when memory runs out" if name == "SIGKILL" else name


class _Descriptor:
    """An open file that goes to another process, where it has another number."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Callable[[Any], _Descriptor], tuple[Any]]:
        return _received, (DupFd(self.number),)


def _received(descriptor: Any) -> _Descriptor:
    return _Descriptor(descriptor.detach())


def _serve(
    pipe: Connection,
    work: Callable[[Any, Report], Any],
    streams: tuple[_Descriptor, _Descriptor],
    environment: dict[str, str],
) -> None:
    """Work on what comes through the pipe, until there is no more."""
    end_with_parent()
    # The server was started by an earlier map, perhaps with other streams and another login.
    for number, stream in enumerate(streams, start=1):
        os.dup2(stream.number, number)
    os.environ.clear()
    os.environ.update(environment)
    pipe.send(("ready", None))
    while True:
        try:
            item = pipe.recv()
        except EOFError:
            return
        try:
            answer = ("done", work(item, lambda text: pipe.send(("report", text))))
        except Exception as error:
            answer = ("error", _portable(error))
        pipe.send(answer)


def _portable(error: Exception) -> Exception:
    """Return the error with its traceback as a note, in a form that passes the pipe."""
    error.add_note(traceback.format_exc())
    try:
        # What the pipe itself does to it.
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
    return error


def end_with_parent() -> None:
    """End this process when its parent is killed: an orphan would compute beside the next run."""
    threading.Thread(target=_outlive_no_parent, daemon=True).start()


def _outlive_no_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
