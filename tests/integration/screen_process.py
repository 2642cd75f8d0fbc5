"""A screen in a process of its own, which a test may kill."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from launch.cli import run_command


def run(spec: Path, store: Path) -> None:
    """Run ``hopscreen run`` with one worker; its words go to a file beside the store."""
    os.environ |= {"OMP_NUM_THREADS": "1", "HOPSCREEN_PROCESSES": "1"}
    for descriptor in (1, 2):
        os.dup2(
            os.open(store.parent / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor
        )
    sys.exit(run_command(["run", str(spec), "--store", str(store)]))
