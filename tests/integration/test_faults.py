"""What goes wrong on a cluster, done on purpose: nothing lost, nothing doubled, nothing twice.

Each fault prints a line with its figures (``pytest -s``). Recovery is what a user would type: the
commands that ``hopscreen status`` names.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pymongo.errors import PyMongoError
from sites import (
    BIN,
    JobflowRemote,
    MongoServer,
    documents,
    free_port,
    kill_tree,
    ranking,
    wait_until,
)

from stores.documents import BarrierDoc
from stores.screen_store import open_store
from workflows.sources import load_catalogue

from ..workflows.sources.mp_server import MaterialsProjectServer

NEB = {"model": "mini", "top": 4, "images": 3, "fmax": 0.05, "batch": 1}
"""Four jobs of one hop each, long enough to be hit in the middle."""

HOSTS = {"source": "catalogue", "ids": ["LiCoO2", "LiNiO2", "LiTiS2", "LiVS2"]}
"""One hop each."""

BAD = ("FAILED", "REMOTE_ERROR")

pytestmark = pytest.mark.skipif(
    "HOPSCREEN_FAULTS" not in os.environ, reason="takes many minutes; make faults runs it"
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MongoServer]:
    """A database of this test's own, which may be killed."""
    server = MongoServer(tmp_path / "server")
    server.start()
    yield server
    server.stop()


class Screen:
    """A submitted screen that is watched while things go wrong."""

    def __init__(self, jf: JobflowRemote, uri: str) -> None:
        self.jf, self.uri = jf, uri
        self.kept: dict[str, datetime] = {}
        self.runner: subprocess.Popen[bytes] | None = None

    def claim(self) -> dict[str, Any] | None:
        """Return the claim of a hop that is being computed at this moment."""
        try:
            with open_store(self.uri, create=False) as store:
                claims = list(store.runs.query({"kind": "claim", "level": "mlip"}))
        except Exception:
            return None  # not there yet, or away
        # The claim of a process that was killed stays for a while.
        alive = (claim for claim in claims if Path(f"/proc/{claim['process']}").exists())
        return next(alive, None)

    def in_the_middle(self, *, but: str | None = None) -> dict[str, Any]:
        """Wait until a NEB job is at a hop; return the job."""

        def job() -> dict[str, Any] | None:
            self.keep_runner()
            claim = self.claim()
            if claim is None or claim["owner"] == but:
                return None
            return next((j for j in self.jf.jobs() if j["uuid"] == claim["owner"]), None)

        found: dict[str, Any] = wait_until(job, "a NEB")
        self.kept = self.estimates()
        return found

    def estimates(self) -> dict[str, datetime]:
        """When each estimate was made."""
        with open_store(self.uri, create=False) as store:
            return {doc.barrier_id: doc.provenance.created_at for doc in store.find(BarrierDoc)}

    def state_of(self, job: dict[str, Any]) -> str:
        """Return the present state of a job."""
        return next(j["state"] for j in self.jf.jobs() if j["db_id"] == job["db_id"])

    def wait_for_failure(self, job: dict[str, Any]) -> str:
        """Wait until the manager has noticed."""
        wait_until(lambda: self.state_of(job) in BAD, "the failure")
        return self.state_of(job)

    def wait_for_any_failure(self) -> str:
        """Wait until the manager has noticed that some job cannot go on."""

        def failed() -> str | None:
            self.keep_runner()
            return next((j["state"] for j in self.jf.jobs() if j["state"] in BAD), None)

        return str(wait_until(failed, "a failure"))

    def report(self, fault: str, note: str = "") -> None:
        """Print the figures of a fault that has just been recovered from."""
        now = self.estimates()
        lost = sorted(self.kept.keys() - now.keys())
        again = sorted(key for key in self.kept.keys() & now.keys() if now[key] != self.kept[key])
        assert (lost, again) == ([], []), fault
        print(f"| {fault} | {len(self.kept)} | {len(lost)} | {len(again)} | {note} |", flush=True)

    def start_runner(self) -> None:
        """Start jobflow-remote's runner."""
        self.runner = self.jf.start_runner()

    def keep_runner(self) -> None:
        """Start it again where it had nothing left to do, before a job was to be run again."""
        if self.runner is not None and self.runner.poll() is not None:
            self.start_runner()

    def restart_runner(self) -> None:
        """Start it after its death, which may have left locks."""
        for what in ("unlock", "unlock-flow"):
            done = self.jf("jf", "admin", what, "-y")
            assert done.returncode == 0, done.stdout + done.stderr
        self.start_runner()

    def close(self) -> None:
        """Leave nothing running, however the test ended."""
        if self.runner is not None and self.runner.poll() is None:
            self.runner.kill()
        with contextlib.suppress(PyMongoError):
            for job in self.jf.jobs():
                number = job["remote"]["process_id"]
                if job["state"] in ("SUBMITTED", "RUNNING") and number:
                    if job["worker"] == "here":
                        kill_tree(int(number))
                    elif self.jf.slurm is not None:
                        self.jf.slurm.call("scancel", "--signal=KILL", "--full", number)

    def finish(self) -> None:
        """Let the runner come to the end, and start it again if it fell with something."""
        for _ in range(5):
            assert self.runner is not None
            self.runner.wait()
            if {job["state"] for job in self.jf.jobs()} == {"COMPLETED"}:
                return
            self.jf.recover(self.uri)
            self.restart_runner()
        pytest.fail(f"not completed: {[(j['name'], j['state']) for j in self.jf.jobs()]}")


@pytest.mark.slow
def test_submitted_twice_and_killed_everywhere(server, tmp_path, write_spec):
    jf = JobflowRemote(tmp_path, server.uri)
    uri = f"{server.uri}/faults"
    with contextlib.closing(Screen(jf, uri)) as screen:
        spec = write_spec(
            candidates=HOSTS, mace_neb=NEB, launch={"environment": ["export HOPSCREEN_PROCESSES=1"]}
        )
        _twice_and_killed(jf, uri, screen, spec, server)
        local = jf("hopscreen", "run", str(spec), "--store", "local.store")
        assert local.returncode == 0, local.stderr
        assert documents(uri) == documents(tmp_path / "local.store")


def _twice_and_killed(
    jf: JobflowRemote, uri: str, screen: Screen, spec: Path, server: MongoServer
) -> None:
    words = [str(BIN / "jf"), "flow", "submit", str(spec), "--store", uri, "--worker", "here"]
    at_once = [
        subprocess.Popen(words, env=os.environ | jf.environment, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = [one.communicate()[1] for one in at_once]
    assert sorted(one.returncode for one in at_once) == [0, 2], told
    assert len({job["uuid"] for job in jf.jobs()}) == 4
    print("| fault | results before | lost | made again | note |")
    print("| the same screen submitted twice at once | 0 | 0 | 0 | one of two refused |")

    screen.start_runner()
    job = screen.in_the_middle()
    screen.runner.kill()
    screen.runner.wait()
    wait_until(lambda: screen.claim() is None, "the end of what ran on without its runner")
    screen.restart_runner()
    done = wait_until(
        lambda: screen.state_of(job) == "COMPLETED" and len(screen.estimates()), "that NEB"
    )
    screen.report("runner killed", f"its jobs ran on, {done} results when it was back")

    job = screen.in_the_middle(but=job["uuid"])
    killed = kill_tree(int(job["remote"]["process_id"]))
    state = screen.wait_for_failure(job)
    commands = jf.recover(uri)
    wait_until(lambda: screen.state_of(job) not in ("FAILED", "REMOTE_ERROR"), "its second try")
    screen.report("worker killed in a NEB", f"{killed} processes; {state}; {'; '.join(commands)}")

    screen.in_the_middle()
    server.kill()
    time.sleep(5)
    server.start()
    screen.finish()
    screen.report("database killed and restarted in a NEB")


@pytest.mark.slow
def test_slurm_cancels_and_ends_and_the_disk_is_full(server, slurm, tmp_path, write_spec):
    jf = JobflowRemote(tmp_path, server.uri, slurm)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64M", "tmpfs", str(jf.work)], check=False
    )
    uri = f"{server.uri}/slurm_faults"
    screen = Screen(jf, uri)
    where = {"worker": "queue", "resources": {"cpus_per_task": 1, "time": "02:00:00"}}
    where["environment"] = ["export HOPSCREEN_PROCESSES=1"]
    spec = write_spec(
        candidates=HOSTS, mace_neb=NEB, launch={"worker": "here", "stages": {"mace_neb": where}}
    )
    try:
        done = jf("jf", "flow", "submit", str(spec), "--store", uri)
        assert done.returncode == 0, done.stderr
        print("| fault | results before | lost | made again | note |")
        screen.start_runner()

        job = screen.in_the_middle()
        assert slurm.call("scancel", job["remote"]["process_id"]).returncode == 0
        state = screen.wait_for_failure(job)
        commands = jf.recover(uri)
        screen.report("Slurm job cancelled in a NEB", f"{state}; {'; '.join(commands)}")

        # A NEB that stands still until its time is over.
        job = screen.in_the_middle()
        at = wait_until(screen.claim, "a NEB")
        job = next(j for j in jf.jobs() if j["uuid"] == at["owner"])
        os.kill(at["process"], signal.SIGSTOP)
        limit = f"jobid={job['remote']['process_id']}"
        assert slurm.call("scontrol", "update", limit, "TimeLimit=1").returncode == 0
        state = screen.wait_for_failure(job)
        commands = jf.recover(uri)
        screen.report("Slurm job out of time in a NEB", f"{state}; {'; '.join(commands)}")

        if mounted.returncode == 0:
            screen.in_the_middle()
            filler = jf.work / "filler"
            with filler.open("wb", buffering=0) as handle:
                try:
                    while True:
                        handle.write(bytes(1 << 16))
                except OSError:
                    pass
            # The job in the middle may still get through; what is submitted next cannot.
            state = screen.wait_for_any_failure()
            filler.unlink()
            commands = jf.recover(uri)
            screen.report("disk full in the work folder", f"{state}; {'; '.join(commands)}")
        screen.finish()

        local = jf("hopscreen", "run", str(spec), "--store", "local.store")
        assert local.returncode == 0, local.stderr
        assert documents(uri) == documents(tmp_path / "local.store")
    finally:
        screen.close()
        if mounted.returncode == 0:
            subprocess.run(["umount", "--lazy", str(jf.work)], check=False)


@pytest.mark.slow
def test_the_network_refuses_who_asks_the_outside_world(server, tmp_path, write_spec):
    jf = JobflowRemote(tmp_path, server.uri)
    port = free_port()
    jf.environment |= {"MP_API_KEY": "k" * 32, "MP_API_ENDPOINT": f"http://127.0.0.1:{port}/"}
    hosts = {record.material_id: record.structure for record in load_catalogue({"Li"})}
    rows = [
        {"material_id": name, "structure": hosts[host].as_dict(), "energy_above_hull": 0.0}
        for name, host in (("mp-1", "LiCoO2"), ("mp-2", "LiTiS2"))
    ]
    more = {"band_gap": 1.0, "is_stable": True, "theoretical": False}
    outside = MaterialsProjectServer([{**row, **more} for row in rows])
    # What an earlier screen of the same store has found is there before the fault.
    before = ["LiNiO2", "LiVS2"]
    earlier = write_spec("earlier.yaml", candidates={"source": "catalogue", "ids": before})
    spec = write_spec(candidates={"source": "materials_project", "energy_above_hull": [0, 1]})
    uri = f"{server.uri}/network"
    with contextlib.closing(Screen(jf, uri)) as screen:
        done = jf("hopscreen", "run", str(earlier), "--store", uri)
        assert done.returncode == 0, done.stderr
        screen.kept = screen.estimates()
        assert len(screen.kept) >= len(before)
        done = jf("jf", "flow", "submit", str(spec), "--store", uri, "--worker", "here")
        assert done.returncode == 0, done.stderr
        screen.start_runner()
        state = screen.wait_for_any_failure()
        assert "cannot be reached" in jf("hopscreen", "status", "--store", uri).stdout
        with outside.running(port):
            jf.recover(uri)
            screen.finish()
            print("| fault | results before | lost | made again | note |")
            screen.report("network refused to the stage that asks outside", state)
            for one in (earlier, spec):
                local = jf("hopscreen", "run", str(one), "--store", "local.store")
                assert local.returncode == 0, local.stderr
        assert len(ranking(uri)) == len(before) + len(rows)
        assert ranking(uri) == ranking(tmp_path / "local.store")
