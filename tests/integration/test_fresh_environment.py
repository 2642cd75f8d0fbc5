"""The package as a user installs it: built, put into a new environment, and the real ``jf``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from conftest import SPEC
from sites import JobflowRemote

ROOT = Path(__file__).parents[2]
PARTS = ("em_model", "stores", "workflows", "launch", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Path:
    """A new environment with the built package and jobflow-remote; all else is borrowed."""
    folder = tmp_path_factory.mktemp("fresh")
    source = folder / "source"
    source.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            skip = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / part, source / part, ignore=skip)
        else:
            shutil.copy(ROOT / part, source / part)
    pip = [sys.executable, "-m", "pip", "-q"]
    wheels = folder / "wheels"
    build = ["wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), str(source)]
    subprocess.run([*pip, *build], check=True)
    [wheel] = wheels.glob("hopscreen-*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python = folder / "venv/bin/python"
    [packages] = (folder / "venv/lib").glob("python3*/site-packages")
    # A plain path: what is installed there in editable form stays unseen.
    (packages / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    both = [str(wheel), f"jobflow-remote=={version('jobflow-remote')}"]
    install = ["install", "--no-deps", "--force-reinstall", *both]
    done = subprocess.run(
        [str(python), "-m", "pip", "-q", *install], capture_output=True, text=True, check=False
    )
    if "No matching distribution" in done.stderr or "Connection" in done.stderr:
        pytest.skip(f"no package index: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return folder / "venv/bin"


@pytest.mark.slow
def test_the_plugin_is_found_and_checks_a_screen(fresh, wire_server, tmp_path):
    jf = JobflowRemote(tmp_path, wire_server.uri)
    (tmp_path / "screen.yaml").write_text(yaml.safe_dump(SPEC))
    environment = os.environ | jf.environment
    environment.pop("PYTHONPATH", None)

    def call(*words: str) -> str:
        done = subprocess.run(
            [str(fresh / words[0]), *words[1:]],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    where = call("python", "-c", "import launch.jf_plugin as p; print(p.__file__)")
    assert where.startswith(str(fresh.parent))
    # Not the help alone: the shipped models and templates have to be in the package.
    told = call("jf", "flow", "submit", "screen.yaml", "--worker", "here", "--dry-run")
    assert "a valid screen of 4 jobs" in told
    call("hopscreen", "init", "--name", "other", "--work-dir", "jobs")
    assert (tmp_path / "cluster.yaml").is_file()
