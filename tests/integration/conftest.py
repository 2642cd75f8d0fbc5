"""Real servers for this folder's tests, and its modules importable wherever they run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

HERE = str(Path(__file__).parent)
sys.path.insert(0, HERE)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [HERE, os.environ.get("PYTHONPATH")]))

from sites import JobflowRemote, MongoServer, Slurm, run  # noqa: E402

SPEC: dict[str, Any] = {
    "name": "cluster_test",
    "working_ion": "Li",
    # Every stage but DFT, and over in seconds: small cells, forces that hardly need relaxing.
    "candidates": {"source": "catalogue", "ids": ["LiCoO2", "LiTiS2"]},
    "hops": {"min_supercell": 5.0, "max_atoms": 120},
    "mace_neb": {"model": "mini", "top": 2, "images": 1, "fmax": 1.0},
}


@pytest.fixture(scope="session")
def wire_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServer]:
    """A database server in its own process, reached over TCP."""
    server = MongoServer(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A Slurm of one node; skipped where it cannot run, unless HOPSCREEN_NEEDS_SLURM is set."""
    reason = Slurm.why_not()
    if reason and os.environ.get("HOPSCREEN_NEEDS_SLURM"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    site = Slurm(tmp_path_factory.mktemp("slurm"))
    try:
        site.start()
        yield site
    finally:
        site.stop()


@pytest.fixture(scope="session")
def local_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``hopscreen run`` makes of the same screen."""
    folder = tmp_path_factory.mktemp("local")
    (folder / "screen.yaml").write_text(yaml.safe_dump(SPEC))
    done = run(("hopscreen", "run", "screen.yaml"), folder, {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return folder / "screen.store"


@pytest.fixture
def jf(tmp_path: Path, wire_server: MongoServer) -> JobflowRemote:
    """A jobflow-remote project with workers of this machine."""
    return JobflowRemote(tmp_path, wire_server.uri)


@pytest.fixture
def write_spec(tmp_path: Path) -> Callable[..., Path]:
    """Write a screening file; keywords replace its sections."""

    def write(name: str = "screen.yaml", **sections: Any) -> Path:
        path = tmp_path / name
        path.write_text(yaml.safe_dump(SPEC | sections))
        return path

    return write
