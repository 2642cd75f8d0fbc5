"""A SQLite file that several processes and threads read and write."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BUSY_TIMEOUT_S = 120.0


class SqliteFile:
    """One SQLite file, with a connection for each thread of each process."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self.name = path.stem
        self.read_only = read_only
        self._local = threading.local()

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection of this thread and process."""
        pid, connection = getattr(self._local, "opened", (None, None))
        if pid != os.getpid():
            # A connection that crossed a fork is left alone: SQLite forbids its use.
            connection = self._connect()
            self._local.opened = (os.getpid(), connection)
        assert connection is not None
        return connection

    def _connect(self) -> sqlite3.Connection:
        mode = "rwc"
        if self.read_only:
            # A reader of a write-ahead log needs its shared memory beside it. Where it cannot
            # have that, nobody writes either.
            mode = "rw" if os.access(self.path.parent, os.W_OK) else "ro&immutable=1"
        uri = f"{self.path.absolute().as_uri()}?mode={mode}"
        connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
        if self.read_only:
            connection.execute("PRAGMA query_only=ON")
        else:
            connection.execute("PRAGMA journal_mode=WAL")
            # Safe against the death of the process; a power cut may cost the last commits.
            connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA cache_size=-65536")
        return connection

    @property
    def user_version(self) -> int:
        """A number that the owner of the file may set."""
        return int(self.connection.execute("PRAGMA user_version").fetchone()[0])

    @user_version.setter
    def user_version(self, number: int) -> None:
        self.connection.execute(f"PRAGMA user_version = {number:d}")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything inside is written, or nothing; nested use joins the outer one."""
        connection = self.connection
        if connection.in_transaction:
            yield connection
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def close(self) -> None:
        """Close this thread's connection; it opens again when it is used."""
        pid, connection = getattr(self._local, "opened", (None, None))
        if connection is not None and pid == os.getpid():
            connection.close()
        self._local = threading.local()
