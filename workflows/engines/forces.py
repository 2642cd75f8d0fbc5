"""How a band gets its energies and forces: image by image, or all images in one forward pass.

A potential that takes many structures at once has a method ``evaluate(images)``. On a GPU the
bands of several hops are relaxed side by side, each in its own thread, and :class:`Together`
joins what they ask for into one call. On a CPU a batch is no faster than its images one by one,
so hops are spread over processes instead; the calls are the same ones. A DFT code computes the
images of its one hop in processes side by side where there are cores for it.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from workflows.pool import available_processes, end_with_parent, single_thread

if TYPE_CHECKING:
    from workflows.engines import Engine


Result = TypeVar("Result")


class Evaluation(NamedTuple):
    """Energy in eV and forces in eV/Å, shape (n, 3), of one geometry."""

    energy_ev: float
    forces_ev_ang: np.ndarray


class Forces(Protocol):
    """What relaxations ask; ``labels`` name the images, for engines that keep a state of each."""

    def evaluate(self, images: Sequence[Atoms], labels: Sequence[str]) -> list[Evaluation]:
        """Return one evaluation per image, in order."""
        ...


@runtime_checkable
class Batched(Protocol):
    """An engine that takes many structures in one call.

    Attributes
    ----------
    in_batches
        Whether it gains by it where it runs, so that hops should be run side by side.
    """

    in_batches: bool

    def evaluate(self, images: Sequence[Atoms]) -> list[Evaluation]:
        """Return one evaluation per image, in order."""
        ...


class OneByOne:
    """Any ASE calculator; each label has its own unless the engine's is shared."""

    def __init__(self, engine: Engine, folder: Path | None) -> None:
        self.engine, self.folder = engine, folder
        self._calculators: dict[str, Calculator] = {}

    def evaluate(self, images: Sequence[Atoms], labels: Sequence[str]) -> list[Evaluation]:
        """Run the images one after the other."""
        found = []
        for image, label in zip(images, labels, strict=True):
            probe = image.copy()
            probe.calc = self._calculator(label)
            found.append(Evaluation(float(probe.get_potential_energy()), probe.get_forces()))
        return found

    def _calculator(self, label: str) -> Calculator:
        key = "" if self.engine.shared else label
        if key not in self._calculators:
            folder = self.folder / key if self.folder else None
            self._calculators[key] = self.engine.calculator(folder)
        return self._calculators[key]


class InProcesses:
    """Images side by side in processes, for engines whose images keep a state of their own.

    Each label has a process that holds its calculator, wave function included, from one call to
    the next. No MPI is needed, and one thread or MPI rank each is what they get.

    Parameters
    ----------
    engine
        Picklable.
    processes
        At most so many compute at once.
    """

    def __init__(self, engine: Engine, folder: Path | None, processes: int) -> None:
        self.engine, self.folder = engine, folder
        self._alone = OneByOne(engine, folder)
        self._free = threading.Semaphore(processes)
        self._workers: dict[str, ProcessPoolExecutor] = {}

    def evaluate(self, images: Sequence[Atoms], labels: Sequence[str]) -> list[Evaluation]:
        """Run a single image here, several in their processes."""
        if len(images) == 1 and labels[0] not in self._workers:
            return self._alone.evaluate(images, labels)
        with ThreadPoolExecutor(len(images)) as threads:
            return list(threads.map(self._one, images, labels))

    def _one(self, image: Atoms, label: str) -> Evaluation:
        with self._free:
            bare = image.copy()
            return self._worker(label).submit(_in_worker, bare, label).result()

    def _worker(self, label: str) -> ProcessPoolExecutor:
        if label not in self._workers:
            # Spawned, as in workflows.pool: threads do not survive a fork.
            self._workers[label] = ProcessPoolExecutor(
                1,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_start_worker,
                initargs=(self.engine, self.folder),
            )
        return self._workers[label]


_worker_forces: OneByOne | None = None


def _start_worker(engine: Engine, folder: Path | None) -> None:
    global _worker_forces
    end_with_parent()
    single_thread()
    _worker_forces = OneByOne(engine, folder)


def _in_worker(image: Atoms, label: str) -> Evaluation:
    assert _worker_forces is not None
    (found,) = _worker_forces.evaluate([image], [label])
    return found


@dataclass
class InOneCall:
    """An engine with ``evaluate(images)``."""

    engine: Batched

    def evaluate(self, images: Sequence[Atoms], labels: Sequence[str]) -> list[Evaluation]:
        """Hand all images over at once."""
        return self.engine.evaluate(images)


def forces_of(engine: Engine, folder: Path | None = None) -> Forces:
    """Choose how an engine is asked."""
    if isinstance(engine, Batched):
        return InOneCall(engine)
    # A worker of workflows.pool may have no children, so that none outlives it.
    alone = multiprocessing.current_process().daemon or available_processes() == 1
    if getattr(engine, "own_processes", False) and not alone:
        return InProcesses(engine, folder, available_processes())
    return OneByOne(engine, folder)


@dataclass
class _Request:
    client: int
    images: Sequence[Atoms]
    labels: Sequence[str]
    answer: list[Evaluation] | None = None
    error: BaseException | None = None


@dataclass
class Together:
    """Joins the requests of several threads: served when all of them wait.

    Parameters
    ----------
    forces
        Does the work.
    clients
        Threads that will ask; each must :meth:`leave` when it ends, whatever happened.
    """

    forces: Forces
    clients: int
    calls: int = 0
    _waiting: list[_Request] = field(default_factory=list)
    _turn: threading.Condition = field(default_factory=threading.Condition)

    def client(self, number: int) -> Forces:
        """Return the forces as one of the threads sees them."""
        return _Client(self, number)

    def leave(self) -> None:
        """Say that a thread asks no more."""
        with self._turn:
            self.clients -= 1
            self._serve_if_all_wait()

    def ask(self, request: _Request) -> list[Evaluation]:
        """Wait for the others, and for the answer."""
        with self._turn:
            self._waiting.append(request)
            self._serve_if_all_wait()
            self._turn.wait_for(lambda: request.answer is not None or request.error is not None)
        if request.error is not None:
            raise request.error
        assert request.answer is not None
        return request.answer

    def _serve_if_all_wait(self) -> None:
        if not self._waiting or len(self._waiting) < self.clients:
            return
        # the same order whoever came first, so that rounding is the same
        requests = sorted(self._waiting, key=lambda request: request.client)
        self._waiting = []
        self.calls += 1
        try:
            answers = iter(
                self.forces.evaluate(
                    [image for request in requests for image in request.images],
                    [label for request in requests for label in request.labels],
                )
            )
            for request in requests:
                request.answer = _take(answers, len(request.images))
        except Exception as error:
            for request in requests:
                request.error = error
        self._turn.notify_all()


@dataclass
class _Client:
    together: Together
    number: int

    def evaluate(self, images: Sequence[Atoms], labels: Sequence[str]) -> list[Evaluation]:
        return self.together.ask(_Request(self.number, images, labels))


def side_by_side(works: Sequence[Callable[[Forces], Result]], forces: Forces) -> list[Result]:
    """Run each work in a thread of its own, all their requests joined.

    Parameters
    ----------
    works
        Called with the forces to use; what one raises is raised here when all have ended.
    forces
        Does the work of all.
    """
    together = Together(forces, len(works))

    def run(number: int) -> Result:
        try:
            return works[number](together.client(number))
        finally:
            together.leave()

    with ThreadPoolExecutor(len(works)) as pool:
        futures = [pool.submit(run, number) for number in range(len(works))]
    return [future.result() for future in futures]


def _take(answers: Iterator[Evaluation], count: int) -> list[Evaluation]:
    return [next(answers) for _ in range(count)]
