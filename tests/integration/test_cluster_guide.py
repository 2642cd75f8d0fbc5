"""``docs/cluster.md``, typed word by word on a Slurm.

Only the server's address is another, and the runner looks every second.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sites import BIN

GUIDE = Path(__file__).parents[2] / "docs/cluster.md"
ADDRESS = "mongodb://db.example.org:27017"


def commands(text: str) -> list[str]:
    """Return what is typed in the guide's console blocks; ``>`` goes on with a line."""
    found: list[str] = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(line[2:])
            elif line.startswith("> "):
                found[-1] += "\n" + line[2:]
    return found


@pytest.fixture
def home() -> Iterator[Path]:
    """Return a home with a short name: sockets lie below it, with 107 characters at most."""
    with tempfile.TemporaryDirectory(
        prefix="hops-", dir="/tmp", ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


@pytest.mark.slow
def test_from_zero_to_a_ranked_list(slurm, wire_server, home, tmp_path):
    typed = commands(GUIDE.read_text().replace(ADDRESS, wire_server.uri))
    assert any("runner stop" in command for command in typed)
    (made,) = (i for i, command in enumerate(typed) if command.startswith("hopscreen init"))
    typed.insert(made + 1, "sed -i '/^  delay_/s/: 10$/: 1/' ~/.jfremote/screens.yaml")
    script = tmp_path / "typed.sh"
    echoed = [f"echo '=== {number}'\n{command}" for number, command in enumerate(typed)]
    script.write_text("set -e\n" + "\n".join(echoed) + "\n")
    environment = os.environ | slurm.environment
    environment |= {"HOME": str(home), "PATH": f"{BIN}:{os.environ['PATH']}", "COLUMNS": "200"}
    for name in ("JFREMOTE_PROJECT", "JFREMOTE_PROJECTS_FOLDER", "SCRATCH"):
        environment.pop(name, None)
    try:
        done = subprocess.run(
            ["bash", str(script)],
            cwd=home,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        # Whatever happened: no daemon stays.
        subprocess.run(
            [str(BIN / "jf"), "-p", "screens", "runner", "shutdown"],
            env=environment,
            capture_output=True,
            check=False,
        )
    (tmp_path / "told.txt").write_text(done.stdout + done.stderr)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    by_command = dict(zip(typed, re.split(r"=== \d+\n", done.stdout)[1:], strict=True))
    ranked = next(told for typed_, told in by_command.items() if "hopscreen rank" in typed_)
    assert "LiTiS2" in ranked
    assert "MACE-NEB" in ranked
    jobs = next(told for typed_, told in by_command.items() if "jf job list" in typed_)
    assert "COMPLETED" in jobs
    # The dear stages really went through the batch system.
    scripts = list((home / "jobs").glob("**/submit.sh"))
    assert any("#SBATCH --cpus-per-task=2" in file.read_text() for file in scripts)
