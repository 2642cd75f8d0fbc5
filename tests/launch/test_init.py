"""``hopscreen init``: what it writes is valid for jobflow-remote and for a screening file."""

from __future__ import annotations

import stat

import pytest
import yaml
from jobflow_remote.config.base import Project

from launch.cli import run_command
from workflows.spec import load_spec


@pytest.fixture(autouse=True)
def _own_projects(tmp_path, monkeypatch):
    monkeypatch.setenv("JFREMOTE_PROJECTS_FOLDER", str(tmp_path / "projects"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("cluster", ["slurm", "pbs", "sge", "shell"])
def test_files_to_start_from(cluster, tmp_path):
    words = ["--cluster", cluster, "--mongodb", "mongodb://me@db.example.org:27018/screens"]
    assert run_command(["init", *words, "--work-dir", "jobs", "--cores", "4"]) == 0

    file = tmp_path / "projects/screens.yaml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().count("<<<") >= 3
    project = Project.model_validate(yaml.safe_load(file.read_text()))
    assert set(project.workers) == {"login", "cluster"}
    assert (tmp_path / "jobs").is_dir()
    for store in (project.queue.store, project.jobstore["docs_store"]):
        asked = {key: store[key] for key in ("host", "port", "database", "username")}
        assert asked == {
            "host": "db.example.org", "port": 27018, "database": "screens", "username": "me",
        }  # fmt: skip

    (tmp_path / "screen.yaml").write_text(
        "name: a\nworking_ion: Li\ncandidates: {source: catalogue}\nlaunch: {profile: cluster.yaml}"
    )
    launch = load_spec(tmp_path / "screen.yaml").launch
    assert launch.of("rank").worker == "login"
    scheduler = project.workers["cluster"].get_scheduler_io()
    for stage in ("hops", "score", "mace_neb", "dft_neb"):
        where = launch.of(stage)
        assert where.worker == "cluster"
        header = scheduler.generate_header(where.resources)
        assert ("4" in header) == (cluster != "shell")


def test_nothing_is_overwritten_and_no_password_taken(tmp_path, capfd):
    (tmp_path / "cluster.yaml").write_text("mine")
    for words, said in [
        (["--work-dir", "jobs"], "is there already"),
        (["--mongodb", "mongodb://me:secret@h/d", "--profile", "b.yaml"], "holds a password"),
        (["--mongodb", "mongodb://h:1", "--profile", "b.yaml"], "names no database"),
    ]:
        assert run_command(["init", *words]) == 2
        [line] = capfd.readouterr().err.splitlines()
        assert said in line
        assert "secret" not in line
    assert (tmp_path / "cluster.yaml").read_text() == "mine"
    assert not (tmp_path / "projects").exists()
