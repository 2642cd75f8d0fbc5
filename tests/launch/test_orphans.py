"""Workers do not outlive a parent that was killed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest


@pytest.mark.parametrize("work", ["in_pool", "images"])
def test_workers_end_with_a_killed_parent(work, tmp_path):
    code = f"import orphan_work; orphan_work.{work}({str(tmp_path)!r})"
    parent = subprocess.Popen([sys.executable, "-c", f"if __name__ == '__main__': {code}"])
    workers = _wait_for(lambda: len(list(tmp_path.iterdir())) == 2 and list(tmp_path.iterdir()))
    parent.kill()
    parent.wait()
    _wait_for(lambda: not any(_alive(path.name) for path in workers))


def _alive(pid: str) -> bool:
    try:
        state = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _wait_for(condition, timeout_s: float = 30.0):
    until = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.05)
    return found
