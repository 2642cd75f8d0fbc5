"""Say on stderr what is going on: bars on a terminal, a line every few seconds elsewhere.

Stages know nothing of where they run: the same calls draw a bar for a person, write plain lines
into a batch system's log, and stay silent under ``--quiet``. A display never stands still: when
nothing has been heard for :data:`PATIENCE_S` the current step is named again with its time.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

PATIENCE_S = 5.0
"""Longest silence of a display without a terminal, seconds."""


@dataclass
class _Task:
    """A piece of work that is going on."""

    stage: str
    total: int | None
    what: str
    done: int = 0
    note: str = ""
    started: float = field(default_factory=time.monotonic)
    bar: TaskID | None = None

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started

    def line(self) -> str:
        """Describe the present state, e.g. ``mace_neb: 2/3 hops, 41 s: LiFePO4 step 12``."""
        parts = [f"{self._count()} {self.what}"] if self.what else []
        parts.append(duration(self.elapsed_s))
        left = self._left_s()
        if left is not None:
            parts.append(f"about {duration(left)} left")
        return f"{self.stage}: {', '.join(parts)}" + (f": {self.note}" if self.note else "")

    def summary(self) -> str:
        return f"{self.stage}: {self.done} {self.what} in {duration(self.elapsed_s)}"

    def _count(self) -> str:
        return str(self.done) if self.total is None else f"{self.done}/{self.total}"

    def _left_s(self) -> float | None:
        if self.total is None or not 0 < self.done < self.total:
            return None
        return self.elapsed_s / self.done * (self.total - self.done)


class _Display:
    """Where progress is shown; one in a process."""

    def __init__(self) -> None:
        self.quiet = False
        self._stream: TextIO | None = None
        self._lock = threading.RLock()
        self._tasks: list[_Task] = []
        self._bars: Bars | None = None
        self._last_line = 0.0
        self._wake = threading.Event()

    def configure(self, *, stream: TextIO | None, quiet: bool) -> None:
        self._stream, self.quiet = stream, quiet

    @property
    def stream(self) -> TextIO:
        # Looked up late: a caller may have put another stream in its place.
        return self._stream or sys.stderr

    def start(self, task: _Task) -> None:
        with self._lock:
            self._tasks.append(task)
            if self.quiet:
                return
            if self.stream.isatty():
                self._draw(task)
            elif len(self._tasks) == 1:
                self._last_line = time.monotonic()
                self._wake = threading.Event()
                threading.Thread(target=self._tick, args=(self._wake,), daemon=True).start()

    def advance(self, task: _Task, by: int) -> None:
        with self._lock:
            task.done += by
            if self._bars and task.bar is not None:
                self._bars.update(task.bar, completed=task.done)

    def note(self, stage: str, text: str) -> None:
        with self._lock:
            task = self._tasks[-1] if self._tasks else None
            if task is None:
                self.write(f"{stage}: {text}")
                return
            task.note = text
            if self._bars and task.bar is not None:
                self._bars.update(task.bar, note=text)

    def finish(self, task: _Task, *, completed: bool) -> None:
        with self._lock:
            self._tasks.remove(task)
            if self._bars and task.bar is not None:
                self._bars.remove_task(task.bar)
            if completed and task.what and task.done:
                self.write(task.summary())
            if not self._tasks:
                self._wake.set()
                if self._bars:
                    self._bars.stop()
                    self._bars = None

    def write(self, line: str) -> None:
        """Write one line at once."""
        if self.quiet:
            return
        self._last_line = time.monotonic()
        if self._bars:
            self._bars.console.print(line, highlight=False, markup=False)
        else:
            print(line, file=self.stream, flush=True)

    def _draw(self, task: _Task) -> None:
        if self._bars is None:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                SpinnerColumn,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            self._bars = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=16),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(compact=True),
                TextColumn("[dim]{task.fields[note]}", markup=True),
                console=Console(file=self.stream),
                transient=True,
            )
            self._bars.start()
        label = f"{task.stage} {task.what}".strip()
        task.bar = self._bars.add_task(label, total=task.total, note="")

    def _tick(self, stop: threading.Event) -> None:
        while not stop.wait(0.5):
            with self._lock:
                task = self._tasks[-1] if self._tasks else None
                if task is None or time.monotonic() - self._last_line < PATIENCE_S:
                    continue
                if task.what or task.note:
                    self.write(task.line())


_display = _Display()


def configure(*, stream: TextIO | None = None, quiet: bool = False) -> None:
    """Choose where progress goes.

    Parameters
    ----------
    stream
        Bars are drawn if it is a terminal; default ``sys.stderr``.
    quiet
        Show nothing.
    """
    _display.configure(stream=stream, quiet=quiet)


class Progress:
    """The progress of one stage.

    Parameters
    ----------
    stage
        Name shown in front.
    """

    def __init__(self, stage: str) -> None:
        self.stage = stage

    @contextmanager
    def track(self, total: int | None = None, what: str = "") -> Iterator[Callable[..., None]]:
        """Follow a piece of work; yields ``step(n=1)``, to be called as items are done.

        Parameters
        ----------
        total
            Number of items, None where it is not known beforehand.
        what
            What is counted, in the plural. Without it a terminal shows the time alone, a log
            only what is said, and the end passes without a word.
        """
        task = _Task(self.stage, total, what)
        _display.start(task)
        completed = False
        try:
            yield lambda n=1: _display.advance(task, n)
            completed = True
        finally:
            _display.finish(task, completed=completed)

    def say(self, text: str) -> None:
        """Tell what is being done now; inside ``track`` it stands beside the count."""
        _display.note(self.stage, text)


def duration(seconds: float) -> str:
    """Write a time span as people do: ``4.2 s``, ``3 min 5 s``, ``2 h 10 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
