"""What the command writes and where: results on stdout, words on stderr, chatter nowhere.

The libraries underneath print, warn and log as they please. So that stdout holds nothing but the
result and an error is one line, the two real streams are kept aside (:class:`Streams`) and the
process's file descriptors 1 and 2 lead elsewhere while libraries work (:func:`diverted`).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import RenderableType


class Format(StrEnum):
    """How a command prints its result."""

    TABLE = "table"
    JSON = "json"


class RowFormat(StrEnum):
    """How a command prints rows."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


@dataclass
class Streams:
    """The real stdout and stderr of this command."""

    out: TextIO
    err: TextIO
    debug: bool = False


_streams: Streams | None = None


def streams() -> Streams:
    """Return the real streams; plain ``sys`` ones outside :func:`private_streams`."""
    return _streams or Streams(sys.stdout, sys.stderr)


@contextlib.contextmanager
def private_streams() -> Iterator[Streams]:
    """Keep copies of stdout and stderr that no diversion reaches."""
    global _streams
    sys.stdout.flush()
    sys.stderr.flush()
    with (
        os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace") as out,
        os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace", buffering=1) as err,
    ):
        _streams = Streams(out, err)
        try:
            yield _streams
        finally:
            _streams = None


def silence_libraries() -> None:
    """Turn off warnings and logging, here and in the worker processes to come."""
    warnings.simplefilter("ignore")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    # Without any handler Python prints warnings of loggers on stderr by itself.
    logging.getLogger().addHandler(logging.NullHandler())


class _BrokenDocuments(logging.Handler):
    """Names each document that a store leaves out, once; of very many only the first."""

    most = 20

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.named: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if line in self.named or len(self.named) > self.most:
            return
        self.named.add(line)
        say(line if len(self.named) <= self.most else "… and more documents left out")


@contextlib.contextmanager
def naming_broken_documents() -> Iterator[None]:
    """Say on stderr which documents of a store were broken and left out."""
    handler, logger = _BrokenDocuments(), logging.getLogger("stores")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextlib.contextmanager
def diverted(target: TextIO) -> Iterator[None]:
    """Lead everything that this process and its children print to ``target``."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    try:
        os.dup2(target.fileno(), 1)
        os.dup2(target.fileno(), 2)
        with contextlib.redirect_stdout(target), contextlib.redirect_stderr(target):
            yield
        target.flush()
    finally:
        for descriptor, copy in zip((1, 2), saved, strict=True):
            os.dup2(copy, descriptor)
            os.close(copy)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what libraries print; with ``--debug`` it goes to stderr."""
    if streams().debug:
        with diverted(streams().err):
            yield
        return
    with Path(os.devnull).open("w") as nowhere, diverted(nowhere):
        yield


def say(text: str) -> None:
    """Write a line for people on stderr."""
    print(text, file=streams().err, flush=True)


def print_json(content: Any) -> None:
    """Print JSON, alone on stdout."""
    print(json.dumps(content, indent=2, ensure_ascii=False), file=streams().out, flush=True)


def print_text(text: str) -> None:
    """Print a result that is text already."""
    print(text.rstrip("\n"), file=streams().out, flush=True)


def print_rich(*items: RenderableType, error: bool = False) -> None:
    """Print tables and text for people, on stdout or on stderr."""
    from rich.console import Console

    target = streams().err if error else streams().out
    # A pipe has no width of its own: do not fold tables that go into a file.
    width = None if target.isatty() else 120
    # Messages of libraries may hold brackets: no markup, styles are objects.
    console = Console(file=target, width=width, highlight=False, markup=False)
    for item in items:
        console.print(item)


def table(*headings: str, title: str | None = None, left: Sequence[str] = ()) -> Any:
    """Return an empty rich table; columns are right-aligned except those in ``left``."""
    from rich import box
    from rich.table import Table

    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for heading in headings:
        made.add_column(heading, justify="left" if heading in left else "right", no_wrap=True)
    return made
