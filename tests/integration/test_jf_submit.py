"""``jf flow submit``: the real ``jf``, jobflow-remote's real runner, a MongoDB-wire server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from stores.export import rank_row
from stores.queries import ranked
from stores.screen_store import open_store

BIN = Path(sys.executable).parent

SPEC: dict[str, Any] = {
    "name": "jf_test",
    "working_ion": "Li",
    "candidates": {"source": "catalogue", "ids": ["LiCoO2", "LiTiS2"]},
}


@pytest.fixture
def jf(tmp_path, mongo_server):
    """Run ``jf`` in a project of its own with a local shell worker."""
    server = urlsplit(mongo_server)
    database = f"jf_{os.getpid()}"
    mongo = {"host": server.hostname, "port": server.port, "database": database}
    work = tmp_path / "work"
    work.mkdir()
    project = {
        "name": "test",
        "workers": {
            "here": {
                "type": "local",
                "scheduler_type": "shell",
                "work_dir": str(work),
                "max_jobs": 2,
                "pre_run": f"export PATH={BIN}:$PATH OMP_NUM_THREADS=1",
            },
            "elsewhere": {
                "type": "remote",
                "host": "cluster.invalid",
                "scheduler_type": "slurm",
                "work_dir": "/scratch/jobs",
            },
        },
        "queue": {"store": {"type": "MongoStore", "collection_name": "jobs", **mongo}},
        "jobstore": {
            "docs_store": {"type": "MongoStore", "collection_name": "outputs", **mongo},
            "additional_stores": {
                "data": {"type": "GridFSStore", "collection_name": "data", **mongo}
            },
        },
        "runner": {
            "delay_checkout": 1,
            "delay_check_run_status": 1,
            "delay_advance_status": 1,
        },
    }
    folder = tmp_path / "projects"
    folder.mkdir()
    (folder / "test.yaml").write_text(yaml.safe_dump(project))
    environment = os.environ | {
        "JFREMOTE_PROJECTS_FOLDER": str(folder),
        "JFREMOTE_PROJECT": "test",
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }

    def run(*words: str, python: bool = False) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *words] if python else [str(BIN / "jf"), *words]
        return subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )

    assert run("admin", "reset", "-y").returncode == 0
    return run


def test_the_command_is_there_once(jf):
    help_ = jf("flow", "submit", "--help")
    assert help_.returncode == 0, help_.stderr
    assert "hopscreen" in help_.stdout
    listed = jf("plugin", "list", "-e")
    assert "launch.jf_plugin" in listed.stdout
    assert "rror" not in listed.stdout


def test_whichever_is_imported_first(jf):
    for first in ("launch.jf_plugin", "jobflow_remote.cli"):
        code = (
            f"import {first}, launch.jf_plugin, jobflow_remote.cli.flow as f;"
            "launch.jf_plugin.setup_jf_plugin();"
            "print([c.name for c in f.app_flow.registered_commands].count('submit'))"
        )
        assert jf("-c", code, python=True).stdout.split() == ["1"]


def test_bad_input_is_one_line_and_exit_code_2(jf, tmp_path):
    spec = tmp_path / "screen.yaml"
    cases = [
        (SPEC | {"hopps": {}}, [], "did you mean 'hops'"),
        (SPEC, ["--worker", "nowhere"], "elsewhere, here"),
        (SPEC, ["--worker", "elsewhere"], "mongodb://"),
        (SPEC, ["--project", "none"], "--project"),
    ]
    for content, words, said in cases:
        spec.write_text(yaml.safe_dump(content))
        done = jf("flow", "submit", str(spec), *words)
        assert done.returncode == 2, done.stdout + done.stderr
        [line] = done.stderr.splitlines()
        assert said in line
    assert not (tmp_path / "screen.store").exists()
    assert jf("flow", "list").stdout.count("jf_test") == 0


@pytest.mark.slow
def test_same_ranking_as_a_local_run(jf, tmp_path):
    spec = tmp_path / "screen.yaml"
    spec.write_text(yaml.safe_dump(SPEC))
    dry = jf("flow", "submit", str(spec), "--worker", "here", "--dry-run")
    assert dry.returncode == 0, dry.stdout + dry.stderr
    assert "nothing was submitted" in dry.stdout
    assert not (tmp_path / "screen.store").exists()

    done = jf("flow", "submit", str(spec), "--worker", "here")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "hopscreen status --store" in done.stdout
    code = (
        "from jobflow_remote.jobs.runner import Runner;"
        "Runner(project_name='test').run_all_jobs(max_seconds=600)"
    )
    ran = jf("-c", code, python=True)
    assert ran.returncode == 0, ran.stderr
    assert "COMPLETED" in jf("flow", "list").stdout

    local = [str(BIN / "hopscreen"), "run", str(spec), "--store", str(tmp_path / "local.store")]
    subprocess.run(local, check=True, capture_output=True)
    assert _ranking(tmp_path / "screen.store") == _ranking(tmp_path / "local.store")


def _ranking(store: Path) -> list[dict[str, Any]]:
    with open_store(str(store), create=False) as opened:
        rows = [rank_row(doc) for doc in ranked(opened)]
    assert rows
    return rows
