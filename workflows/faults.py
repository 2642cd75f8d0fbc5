"""Tell a fault of the machine from a failed calculation, and outlast a short one.

A calculation that fails is a document with its error, for it would fail the same way again. A full
disk or a database that is away says nothing about the hop: the job fails, and is run again.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import TypeVar

from pymongo.errors import AutoReconnect, PyMongoError

Result = TypeVar("Result")

PATIENCE_S = 600.0
"""How long a finished result waits for a database that is away."""

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE}


def is_of_the_machine(error: Exception) -> bool:
    """Say whether an error has nothing to do with what was being computed."""
    disk = isinstance(error, OSError) and error.errno in _DISK
    return disk or isinstance(error, PyMongoError)


def patiently(write: Callable[[], Result], say: Callable[[str], None]) -> Result:
    """Carry out a write to the store; try again while its server is away, ten minutes long.

    Raises
    ------
    AutoReconnect
        It did not come back.
    """
    until = time.monotonic() + PATIENCE_S
    pause_s = 1.0
    while True:
        try:
            return write()
        except AutoReconnect as error:
            if time.monotonic() > until:
                raise
            say(f"the database is away ({type(error).__name__}); its result waits")
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 30.0)
