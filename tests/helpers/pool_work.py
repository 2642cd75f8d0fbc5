"""Work for pool tests: spawned processes must be able to import it."""

import os


def square(item, report):
    report(f"at {item} in {os.getpid()}")
    return item * item


def refuse(item, report):
    if item == 2:
        raise ValueError("two is refused")
    return item
