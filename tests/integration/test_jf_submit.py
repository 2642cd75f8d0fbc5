"""``jf flow submit``: the real ``jf``, jobflow-remote's real runner, a server over TCP."""

from __future__ import annotations

import json
import os

import pytest
from sites import documents, ranking

LAUNCH = {
    "worker": "here",
    "stages": {
        "score": {"environment": ["export HOPSCREEN_TEST_STAGE=score"], "target_minutes": 5},
        "mace_neb": {
            "worker": "queue",
            "resources": {"cpus_per_task": 1, "time": "00:20:00", "job_name": "mace"},
            "environment": ["export HOPSCREEN_TEST_STAGE=mace_neb"],
            "target_minutes": 30,
        },
        "rank": {"worker": "here"},
    },
}


def test_the_command_is_there_once(jf):
    help_ = jf("jf", "flow", "submit", "--help")
    assert help_.returncode == 0, help_.stderr
    assert "hopscreen" in help_.stdout
    listed = jf("jf", "plugin", "list", "-e")
    assert "launch.jf_plugin" in listed.stdout
    assert "rror" not in listed.stdout


def test_whichever_is_imported_first(jf):
    for first in ("launch.jf_plugin", "jobflow_remote.cli"):
        code = (
            f"import {first}, launch.jf_plugin, jobflow_remote.cli.flow as f;"
            "launch.jf_plugin.setup_jf_plugin();"
            "print([c.name for c in f.app_flow.registered_commands].count('submit'))"
        )
        assert jf("python", "-c", code).stdout.split() == ["1"]


def test_bad_input_is_one_line_and_exit_code_2(jf, tmp_path, write_spec):
    cases = [
        ({"hopps": {}}, [], "did you mean 'hops'"),
        ({}, ["--worker", "nowhere"], "elsewhere, here"),
        ({}, ["--worker", "elsewhere"], "mongodb://"),
        ({}, ["--project", "none"], "--project"),
        ({}, ["--store", "mongodb://127.0.0.1:1/refused"], "no answer"),
        ({"launch": {"stages": {"rank": {"worker": "gpu"}}}}, [], "launch.stages.rank: worker 'g"),
        (
            {"launch": {"stages": {"mace_neb": {"worker": "queue", "resources": {"tme": 1}}}}},
            [],
            "instead of 'tme'",
        ),
    ]
    # In one process: each start of jf takes seconds.
    lines = [
        [str(write_spec(f"{number}.yaml", **sections)), *words]
        for number, (sections, words, _) in enumerate(cases)
    ]
    code = (
        "import sys; from typer.testing import CliRunner; import jobflow_remote.cli.jf;"
        "from jobflow_remote.cli.flow import app_flow;"
        "from launch.jf_plugin import setup_jf_plugin;"
        f"setup_jf_plugin()\nfor words in {lines!r}:\n"
        "    done = CliRunner().invoke(app_flow, ['submit', *words])\n"
        "    print(done.exit_code, done.stderr, end='', file=sys.__stdout__)\n"
    )
    done = jf("python", "-c", code)
    answers = done.stdout.splitlines()
    assert len(answers) == len(cases), done.stdout + done.stderr
    for answer, (_, _, said) in zip(answers, cases, strict=True):
        assert answer.startswith("2 hopscreen: ")
        assert said in answer
    real = jf("jf", "flow", "submit", *lines[0])
    assert (real.returncode, f"2 {real.stderr}") == (2, answers[0] + "\n")
    assert not (tmp_path / "screen.store").exists()
    assert jf.jobs() == []


@pytest.mark.slow
def test_shell_worker_ends_as_a_local_run_does(jf, tmp_path, write_spec, local_store):
    spec = write_spec()
    dry = jf("jf", "flow", "submit", str(spec), "--worker", "here", "--dry-run")
    assert dry.returncode == 0, dry.stdout + dry.stderr
    assert "nothing was submitted" in dry.stdout
    store = tmp_path / "screen.store"
    assert not store.exists()

    done = jf("jf", "flow", "submit", str(spec), "--worker", "here")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "hopscreen status --store" in done.stdout
    jf.run_jobs()
    assert {job["state"] for job in jf.jobs()} == {"COMPLETED"}
    assert ranking(store) == ranking(local_store)
    assert documents(store) == documents(local_store)

    told = jf("hopscreen", "status", "--store", str(store), "--watch", "--format", "json")
    [look] = map(json.loads, told.stdout.splitlines())
    [submitted] = look["submissions"]
    assert submitted["jobs"] == {"done": len(jf.jobs())}
    neb = next(stage for stage in look["stages"] if stage["stage"] == "mlip")
    assert (neb["done"], neb["waiting"], neb["running"]) == (2, 0, 0)


@pytest.mark.slow
def test_slurm_worker_ends_as_a_local_run_does(
    jf, slurm, wire_server, tmp_path, write_spec, local_store
):
    jf.environment |= slurm.environment
    uri = f"{wire_server.uri}/slurm_{os.getpid()}"
    # Two hops of a second each are one job of half an hour, not two of a second.
    neb = {"model": "mini", "top": 2, "images": 1, "fmax": 1.0, "batch": 1}
    spec = write_spec(launch=LAUNCH, mace_neb=neb)
    done = jf("jf", "flow", "submit", str(spec), "--store", uri)
    assert done.returncode == 0, done.stdout + done.stderr
    jf.run_jobs()
    jobs = jf.jobs()
    assert {job["state"] for job in jobs} == {"COMPLETED"}

    # Each stage ran where the file says, also those jobs that came on the way.
    where = {(job["name"], job["worker"]) for job in jobs}
    assert ("mace_neb", "queue") in where
    assert {worker for name, worker in where if name != "mace_neb"} == {"here"}
    [climbed] = [job for job in jobs if job["name"] == "mace_neb"]
    script = (tmp_path / "work" / climbed["run_dir"] / "submit.sh").read_text()
    assert "#SBATCH --time=00:20:00" in script
    assert "export HOPSCREEN_TEST_STAGE=mace_neb" in script
    [score] = [job for job in jobs if job["name"] == "score"]
    script = (tmp_path / "work" / score["run_dir"] / "submit.sh").read_text()
    assert "export HOPSCREEN_TEST_STAGE=score" in script

    assert documents(uri) == documents(local_store)
    assert ranking(uri) == ranking(local_store)
