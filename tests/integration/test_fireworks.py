"""``hopscreen fireworks`` and FireWorks' own programs on a server over TCP."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from fireworks import LaunchPad
from sites import BIN, documents, kill_tree, ranking, run, wait_until

from stores.documents import BarrierDoc
from stores.screen_store import open_store

LAUNCH = {
    "stages": {
        "mace_neb": {
            "worker": "gpu",
            "category": "dear",
            "resources": {"walltime": "00:20:00", "job_name": "mace"},
            "environment": ["export HOPSCREEN_PROCESSES=1"],
        }
    }
}


class Pads:
    """LaunchPad files and a jobflow configuration, and FireWorks' programs among them."""

    def __init__(self, folder: Path, server: str) -> None:
        at = urlsplit(server)
        self.folder = folder
        self.mongo = {"host": at.hostname, "port": at.port}
        docs = {"type": "MongoStore", "collection_name": "outputs", "database": "fw", **self.mongo}
        self.write("jobflow.yaml", {"JOB_STORE": {"docs_store": docs}})
        self.environment = {
            "JOBFLOW_CONFIG_FILE": str(folder / "jobflow.yaml"),
            "OMP_NUM_THREADS": "1",
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }

    def write(self, name: str, content: dict[str, Any]) -> str:
        (self.folder / name).write_text(yaml.safe_dump(content))
        return str(self.folder / name)

    def pad(self, name: str) -> LaunchPad:
        """Set a LaunchPad up, and write its file."""
        unique = {"name": f"{name}_{os.getpid()}", "logdir": None, "strm_lvl": "ERROR"}
        pad = LaunchPad.from_file(self.write(f"{name}.yaml", {**self.mongo, **unique}))
        pad.reset("", require_password=False)
        return pad

    def __call__(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return run(words, self.folder, self.environment | environment)

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [str(BIN / words[0]), *words[1:]],
            cwd=self.folder,
            env=os.environ | self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


@pytest.fixture
def pads(tmp_path, wire_server):
    return Pads(tmp_path, wire_server.uri)


@pytest.mark.slow
def test_bad_input(pads, tmp_path, write_spec):
    write_spec()
    add = ("hopscreen", "fireworks", "screen.yaml", "--launchpad")
    dead = {"host": "127.0.0.1", "port": 1, "name": "none"}
    pads.write("dead.yaml", dead | {"mongoclient_kwargs": {"serverSelectionTimeoutMS": 300}})
    pads.write("new.yaml", {**pads.mongo, "name": "never_reset", "logdir": None})
    pads.pad("ready")
    for done, said in [
        (pads(*add, "none.yaml"), "none.yaml"),
        (pads(*add, "dead.yaml"), "no answer"),
        (pads(*add, "new.yaml"), "lpad reset"),
        (pads(*add, "ready.yaml", JOBFLOW_CONFIG_FILE=str(tmp_path / "none")), "JOB_STORE"),
    ]:
        assert done.returncode == 2, done.stderr
        [line] = done.stderr.splitlines()
        assert said in line
    assert not (tmp_path / "screen.store").exists()


@pytest.mark.slow
def test_workers_a_lost_run_and_the_ranking_of_a_local_run(pads, tmp_path, write_spec):
    pad = pads.pad("pad")
    pads.write("plain_worker.yaml", {"name": "plain", "category": "", "query": "{}"})
    pads.write("gpu_worker.yaml", {"name": "gpu", "category": "dear", "query": "{}"})
    neb = {"model": "mini", "top": 2, "images": 3, "fmax": 0.1, "batch": 1}
    write_spec(launch=LAUNCH, mace_neb=neb)
    add = ("hopscreen", "fireworks", "screen.yaml", "--launchpad", "pad.yaml")
    done = pads(*add)
    assert done.returncode == 0, done.stderr
    assert "4 Fireworks" in done.stderr
    twice = pads(*add)
    assert twice.returncode == 2
    assert "was submitted already" in twice.stderr

    def fire(worker: str) -> tuple[str, ...]:
        rapid = ("rapidfire", "--nlaunches", "0")
        return ("rlaunch", "-l", "pad.yaml", "-w", f"{worker}_worker.yaml", *rapid)

    # The dear stage waits for a worker of its kind, whatever else is free.
    assert pads(*fire("plain")).returncode == 0
    waiting = pad.get_fw_ids({"state": "READY"})
    assert len(waiting) == 2
    for fw_id in waiting:
        spec = pad.get_fw_by_id(fw_id).spec
        assert (spec["_fworker"], spec["_category"]) == ("gpu", "dear")
        assert spec["_queueadapter"] == {
            "walltime": "00:20:00",
            "job_name": "mace",
            "pre_rocket": "export HOPSCREEN_PROCESSES=1",
        }

    # Killed in the middle of a NEB: lost, detected, run again.
    launched = pads.start(*fire("gpu"))
    store = str(tmp_path / "screen.store")
    wait_until(lambda: _claims(store), "a NEB")
    kill_tree(launched.pid)
    launched.wait()
    before = _made(store)
    lost = pads("lpad", "-l", "pad.yaml", "detect_lostruns", "--time", "1", "--rerun")
    assert lost.returncode == 0, lost.stderr
    told = pads("hopscreen", "status", "--store", store)
    assert "fireworks" in told.stdout
    assert "2 queued" in told.stdout
    assert pads(*fire("gpu")).returncode == 0
    assert pads(*fire("plain")).returncode == 0
    assert not pad.get_fw_ids({"state": {"$ne": "COMPLETED"}})
    assert before.items() <= _made(store).items()

    local = pads("hopscreen", "run", "screen.yaml", "--store", "local.store")
    assert local.returncode == 0, local.stderr
    assert ranking(store) == ranking(tmp_path / "local.store")
    assert documents(store) == documents(tmp_path / "local.store")


@pytest.mark.slow
@pytest.mark.parametrize("how", [("singleshot",), ("rapidfire", "-m", "2", "--sleep", "1")])
def test_qlaunch_hands_a_stage_to_slurm(how, pads, slurm, tmp_path, write_spec, local_store):
    pads.environment |= slurm.environment
    pad = pads.pad("pad")
    pads.write("plain_worker.yaml", {"name": "plain", "category": "", "query": "{}"})
    worker = pads.write("gpu_worker.yaml", {"name": "gpu", "category": "dear", "query": "{}"})
    # Its script starts a login shell, whose PATH is the machine's.
    rocket = f"{BIN / 'rlaunch'} -l {tmp_path / 'pad.yaml'} -w {worker} singleshot"
    adapter = {"_fw_name": "CommonAdapter", "_fw_q_type": "SLURM", "rocket_launch": rocket}
    pads.write("queue.yaml", {**adapter, "walltime": "01:00:00", "nodes": 1})
    write_spec(launch=LAUNCH)
    rest = ("rlaunch", "-l", "pad.yaml", "-w", "plain_worker.yaml", "rapidfire", "--nlaunches", "0")
    files = ("-l", "pad.yaml", "-w", "gpu_worker.yaml", "-q", "queue.yaml")
    for words in (
        ("hopscreen", "fireworks", "screen.yaml", "--launchpad", "pad.yaml"),
        rest,
        ("qlaunch", "-r", *files, *how),
    ):
        done = pads(*words)
        assert done.returncode == 0, done.stdout + done.stderr

    # The stage's own words stand in the job script, also against those of the adapter's file.
    [script] = [path.read_text() for path in tmp_path.rglob("FW_submit.script")]
    for line in ("--time=00:20:00", "--job-name=mace", "--nodes=1"):
        assert f"#SBATCH {line}\n" in script
    assert "export HOPSCREEN_PROCESSES=1\n" in script
    [dear] = pad.get_fw_ids({"name": "mace_neb"})
    number = pad.get_reservation_id_from_fw_id(dear)
    assert "JobName=mace" in slurm.call("scontrol", "show", "job", number).stdout

    wait_until(lambda: not pad.get_fw_ids({"state": {"$in": ["RESERVED", "RUNNING"]}}), "the job")
    assert pads(*rest).returncode == 0
    assert not pad.get_fw_ids({"state": {"$ne": "COMPLETED"}})
    assert documents(tmp_path / "screen.store") == documents(local_store)


def _claims(store: str) -> list[dict[str, Any]]:
    with open_store(store, create=False) as opened:
        return list(opened.runs.query({"kind": "claim", "level": "mlip"}))


def _made(store: str) -> dict[str, Any]:
    with open_store(store, create=False) as opened:
        return {doc.barrier_id: doc.provenance.created_at for doc in opened.find(BarrierDoc)}
