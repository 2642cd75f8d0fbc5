"""``hopscreen fireworks`` and FireWorks' own rapidfire on a MongoDB-wire server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from fireworks import LaunchPad

from stores.export import rank_row
from stores.queries import ranked
from stores.screen_store import open_store

BIN = Path(sys.executable).parent

SPEC: dict[str, Any] = {
    "name": "fw_test",
    "working_ion": "Li",
    "candidates": {"source": "catalogue", "ids": ["LiCoO2", "LiTiS2"]},
}


@pytest.fixture
def place(tmp_path, mongo_server):
    """A LaunchPad file, a jobflow configuration, and the screening file; return a runner."""
    server = urlsplit(mongo_server)
    mongo = {"host": server.hostname, "port": server.port}
    pad = {**mongo, "name": f"fw_{os.getpid()}", "logdir": None, "strm_lvl": "ERROR"}
    (tmp_path / "pad.yaml").write_text(yaml.safe_dump(pad))
    docs = {"type": "MongoStore", "collection_name": "outputs", "database": pad["name"], **mongo}
    config = {"JOB_STORE": {"docs_store": docs}}
    (tmp_path / "jobflow.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "screen.yaml").write_text(yaml.safe_dump(SPEC))

    def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        known = {"JOBFLOW_CONFIG_FILE": str(tmp_path / "jobflow.yaml"), "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [str(BIN / words[0]), *words[1:]],
            env=os.environ | known | environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.slow
def test_bad_input(place, tmp_path):
    add = ("hopscreen", "fireworks", "screen.yaml", "--launchpad")
    dead = {"host": "127.0.0.1", "port": 1, "name": "none"}
    dead |= {"mongoclient_kwargs": {"serverSelectionTimeoutMS": 300}}
    (tmp_path / "dead.yaml").write_text(yaml.safe_dump(dead))
    _set_up(tmp_path, "ready")
    for done, said in [
        (place(*add, "none.yaml"), "none.yaml"),
        (place(*add, "dead.yaml"), "no answer"),
        (place(*add, "pad.yaml"), "lpad reset"),
        (place(*add, "ready.yaml", JOBFLOW_CONFIG_FILE=str(tmp_path / "none")), "JOB_STORE"),
    ]:
        assert done.returncode == 2, done.stderr
        [line] = done.stderr.splitlines()
        assert said in line
    assert not (tmp_path / "screen.store").exists()


@pytest.mark.slow
def test_same_ranking_as_a_local_run(place, tmp_path):
    _set_up(tmp_path, "pad")
    done = place("hopscreen", "fireworks", "screen.yaml", "--launchpad", "pad.yaml")
    assert done.returncode == 0, done.stderr
    assert "3 Fireworks" in done.stderr
    fired = place("rlaunch", "-l", "pad.yaml", "rapidfire", "--nlaunches", "0")
    assert fired.returncode == 0, fired.stderr
    states = place("lpad", "-l", "pad.yaml", "get_wflows", "-d", "count", "-s", "COMPLETED")
    assert states.stdout.strip().endswith("1"), states.stdout

    local = place("hopscreen", "run", "screen.yaml", "--store", "local.store")
    assert local.returncode == 0, local.stderr
    assert _ranking(tmp_path / "screen.store") == _ranking(tmp_path / "local.store")


def _set_up(folder: Path, name: str) -> None:
    file = folder / f"{name}.yaml"
    if not file.exists():
        content = yaml.safe_load((folder / "pad.yaml").read_text())
        file.write_text(yaml.safe_dump(content | {"name": f"{name}_{os.getpid()}"}))
    LaunchPad.from_file(str(file)).reset("", require_password=False)


def _ranking(store: Path) -> list[dict[str, Any]]:
    with open_store(str(store), create=False) as opened:
        rows = [rank_row(doc) for doc in ranked(opened)]
    assert rows
    return rows
