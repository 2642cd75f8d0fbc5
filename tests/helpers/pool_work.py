"""Work for pool tests: worker processes must be able to import it."""

import os
import signal
from pathlib import Path


def square(item, report):
    report(f"at {item} in {os.getpid()}")
    return item * item


def refuse(item, report):
    if item == 2:
        raise ValueError("two is refused")
    return item


def die(item, report):
    """Die by a signal that no exception handler sees, as of a broken library, at items below 0."""
    parts = item if isinstance(item, tuple) else (item,)
    if min(parts) < 0:
        os.kill(os.getpid(), signal.SIGSEGV)
    return sum(parts)


def die_in_company(item, report):
    """Die the first time, as of two that need all the memory together."""
    tried = Path(f"{item}.tried")
    if not tried.exists():
        tried.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def surroundings(item, report):
    os.write(1, f"printed {item}\n".encode())
    return os.environ.get("POOL_TEST"), str(Path.cwd())
