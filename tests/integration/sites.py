"""Real parts to run a screen on: a database server, a batch system, jobflow-remote, FireWorks."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from pymongo import MongoClient

from stores.documents import BarrierDoc, CandidateDoc, HopDoc, RankedDoc
from stores.export import rank_row
from stores.queries import ranked
from stores.screen_store import ScreenStore, open_store

BIN = Path(sys.executable).parent
PATIENCE_S = 2400.0
"""How long to wait for anything; a busy machine is many times slower than an idle one."""

SLURM_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel")


def run(
    words: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run one of the environment's programs to its end."""
    return subprocess.run(
        [str(BIN / words[0]), *words[1:]],
        env=os.environ | dict(environment),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> Any:
    """Return the first truth that ``condition`` tells."""
    until = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < until, f"{what} did not come in {timeout_s:.0f} s"
        time.sleep(0.2)
    return found


def free_port() -> int:
    """Return a port of the loopback interface that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class MongoServer:
    """A server of the MongoDB wire protocol in a process of its own, on TCP."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.options = folder, options
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """Address without database."""
        return f"mongodb://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, or start it again on what it has kept."""
        self.folder.mkdir(exist_ok=True)
        command = [str(BIN / "secantusd-py"), "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--storage-path", str(self.folder / "data"), "--cache-size", "256M"]
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                [*command, "--sync-on-commit", *self.options], stdout=log, stderr=log
            )
        wait_until(self._answers, "the database")

    def kill(self) -> None:
        """End it as a power failure would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it in good order."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=60)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


SLURM_CONF = """\
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={port}
SlurmdPort={node_port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=2
MessageTimeout=100
SlurmdTimeout=0
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1
NodeName=localhost NodeAddr=127.0.0.1 NodeHostname=localhost CPUs=2 RealMemory=2000
PartitionName=debug Nodes=localhost Default=YES State=UP
"""


class Slurm:
    """A whole Slurm on this machine, with a munge of its own; nothing outside its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}

    @staticmethod
    def why_not() -> str | None:
        """Say why it cannot run here, None if it can."""
        missing = [name for name in SLURM_PROGRAMS if shutil.which(name) is None]
        if missing:
            return f"no Slurm on this machine ({', '.join(missing)} missing)"
        return None if os.geteuid() == 0 else "Slurm's daemons start jobs as root only"

    def start(self) -> None:
        """Start munge, the controller and the node, and wait for the node."""
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        places = {"key-file": key, "socket": "munge.socket", "pid-file": "munged.pid"}
        places |= {"log-file": "munged.log", "seed-file": "munge.seed"}
        options = [f"--{name}={self.folder / place}" for name, place in places.items()]
        conf = SLURM_CONF.format(folder=self.folder, port=free_port(), node_port=free_port())
        (self.folder / "slurm.conf").write_text(conf)
        for command in (
            ["munged", "--force", *options],
            ["slurmctld"],
            ["slurmd", "-N", "localhost"],
        ):
            done = self.call(*command)
            assert done.returncode == 0, done.stderr
        wait_until(lambda: "idle" in self.call("sinfo", "-h", "-o", "%T").stdout, "the node")

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one of Slurm's programs."""
        return subprocess.run(
            words, env=os.environ | self.environment, capture_output=True, text=True, check=False
        )

    def stop(self) -> None:
        """End the daemons, and what they had still running."""
        self.call("scancel", "--signal=KILL", "--batch", "-u", "root")
        for name in ("slurmctld", "slurmd", "munged"):
            file = self.folder / f"{name}.pid"
            if file.exists():
                os.kill(int(file.read_text()), signal.SIGTERM)


@dataclass
class JobflowRemote:
    """A jobflow-remote project with a shell and, if given, a Slurm worker on this machine."""

    folder: Path
    server: str
    slurm: Slurm | None = None
    login: dict[str, Any] = field(default_factory=dict)
    name: str = "test"

    def __post_init__(self) -> None:
        at = urlsplit(self.server)
        database = f"jf_{os.getpid()}_{self.folder.name}"
        mongo = {"host": at.hostname, "port": at.port, "database": database, **self.login}
        self.work = self.folder / "work"
        self.work.mkdir()
        pre_run = f"export PATH={BIN}:$PATH OMP_NUM_THREADS=1"
        here = {"type": "local", "work_dir": str(self.work), "max_jobs": 2, "pre_run": pre_run}
        away = {"type": "remote", "host": "cluster.invalid", "work_dir": "/scratch/jobs"}
        self.project: dict[str, Any] = {
            "name": self.name,
            "workers": {
                "here": {"scheduler_type": "shell", **here},
                "queue": {"scheduler_type": "slurm", **here, "resources": {"cpus_per_task": 1}},
                "elsewhere": {"scheduler_type": "slurm", **away},
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
                "max_step_attempts": 5,
                "delta_retry": [2, 2, 2],
            },
        }
        projects = self.folder / "projects"
        projects.mkdir()
        text = yaml.safe_dump(self.project, sort_keys=False)
        (projects / f"{self.name}.yaml").write_text(text)
        self.environment = {
            "JFREMOTE_PROJECTS_FOLDER": str(projects),
            "JFREMOTE_PROJECT": self.name,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            **(self.slurm.environment if self.slurm else {}),
        }
        reset = self("jf", "admin", "reset", "-y")
        assert reset.returncode == 0, reset.stdout + reset.stderr

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run ``jf``, ``hopscreen`` or ``python`` in this project."""
        return run(words, self.folder, self.environment)

    def start_runner(self, seconds: float = PATIENCE_S) -> subprocess.Popen[bytes]:
        """Start jobflow-remote's runner, which ends when there is nothing left to do."""
        code = (
            "from jobflow_remote.jobs.runner import Runner;"
            f"Runner(project_name='{self.name}').run_all_jobs(max_seconds={seconds})"
        )
        with (self.folder / "runner.log").open("a") as log:
            return subprocess.Popen(
                [sys.executable, "-c", code],
                env=os.environ | self.environment,
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )

    def run_jobs(self) -> None:
        """Let the runner run all jobs."""
        runner = self.start_runner()
        assert runner.wait() == 0, (self.folder / "runner.log").read_text()

    @property
    def login_only(self) -> dict[str, str]:
        """User and password, if the server wants them."""
        return {key: self.login[key] for key in ("username", "password") if key in self.login}

    def jobs(self) -> list[dict[str, Any]]:
        """Return the jobs of all flows, as the project's queue has them."""
        at = self.project["queue"]["store"]
        options = {**self.login_only, **at.get("mongoclient_kwargs", {})}
        if "auth_source" in at:
            options["authSource"] = at["auth_source"]
        fields = ["db_id", "uuid", "index", "state", "worker", "run_dir", "remote", "job.name"]
        with MongoClient(at["host"], at["port"], **options) as client:
            rows = list(client[at["database"]]["jobs"].find({}, fields))
        rows.sort(key=lambda row: int(row["db_id"]))
        return [{**row, "name": row["job"]["name"]} for row in rows]

    def recover(self, uri: str) -> list[str]:
        """Type what ``hopscreen status`` says will run failed jobs again; return it."""
        told = self("hopscreen", "status", "--store", uri, "--format", "json")
        assert told.returncode == 0, told.stderr
        [one] = json.loads(told.stdout)["submissions"]
        for command in one["retry"]:
            done = self(*shlex.split(command))
            assert done.returncode == 0, done.stdout + done.stderr
        return list(one["retry"])


def kill_tree(pid: int) -> int:
    """Kill a process and all that it started, as a node that goes down does; count them."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    doomed = [pid]
    for parent in doomed:
        doomed += parents.get(parent, [])
    for one in doomed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
    return len(doomed)


def ranking(uri: str | Path) -> list[dict[str, Any]]:
    """Return the rows of a store's ranking."""
    with open_store(str(uri), create=False) as opened:
        rows = [rank_row(doc) for doc in ranked(opened)]
    assert rows
    return rows


def documents(uri: str | Path) -> dict[str, dict[str, Any]]:
    """Return all documents of a store by their ids, without what differs between two runs."""
    found: dict[str, dict[str, Any]] = {}
    with open_store(str(uri), create=False) as opened:
        for model in (CandidateDoc, HopDoc, BarrierDoc, RankedDoc):
            _, key = opened.collection_of(model)
            for doc in opened.find(model):
                content = doc.model_dump(mode="json", exclude={"provenance", "last_updated"})
                found[f"{model.__name__} {content[key]}"] = content
    return found


def counts(store: ScreenStore) -> list[int]:
    """Count candidates, hops, barriers and ranked materials."""
    return [store.count(model) for model in (CandidateDoc, HopDoc, BarrierDoc, RankedDoc)]
