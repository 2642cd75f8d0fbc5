"""Measure what starting a screen costs: locally, with jobflow-remote, with FireWorks.

    python benchmarks/launch.py                  # a screen of 1,000 hops, three ways
    python benchmarks/launch.py --jobs           # number of jobs by number of candidates

A screen is run once. Then the same screen is given to each manager on a copy of its store, where
all results are there already: what is left is scheduling, starting processes and looking things
up. Processor seconds of everything that was started, and wall seconds, which also hold the pauses
between two looks of the runner (one second here).
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# Run as a script, this file must not stand in the way of a package of its name.
HERE = Path(__file__).parent
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != HERE]
sys.path.append(str(HERE))

import yaml  # noqa: E402
from scale import server, write_hosts  # noqa: E402

BIN = Path(sys.executable).parent
HOPS_PER_HOST = 6.0


def run(folder: Path, *words: str, **environment: str) -> str:
    """Run a program of this environment; return what it printed."""
    done = subprocess.run(
        [str(BIN / words[0]), *words[1:]],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}:\n{done.stdout}{done.stderr}")
    return done.stdout


def cpu_s() -> float:
    """Processor seconds of all children so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def locally(folder: Path, spec: Path, store: Path, mongo: dict[str, Any]) -> tuple[int, float]:
    """Run the screen with ``hopscreen run``, its memory of jobs forgotten."""
    from launch.run_log import forget
    from stores.screen_store import open_store

    with open_store(str(store)) as opened:
        forget(opened.runs)
    run(folder, "hopscreen", "run", str(spec), "--store", str(store))
    with open_store(str(store)) as opened:
        return opened.runs.count({"kind": "job"}), 0.0


def with_jobflow_remote(
    folder: Path, spec: Path, store: Path, mongo: dict[str, Any]
) -> tuple[int, float]:
    """Submit it to a shell worker, and let the runner run."""
    from pymongo import MongoClient

    projects = {"JFREMOTE_PROJECTS_FOLDER": str(folder / "projects"), "JFREMOTE_PROJECT": "screens"}
    uri = f"mongodb://{mongo['host']}:{mongo['port']}/queue"
    words = ["--cluster", "shell", "--mongodb", uri, "--work-dir", str(folder), "--delay", "1"]
    run(folder, "hopscreen", "init", *words, **projects)
    file = folder / "projects/screens.yaml"
    project = yaml.safe_load(file.read_text())
    times = folder / "times"
    for worker in project["workers"].values():
        # The jobs are no children of this process: their shells say what they used.
        worker["post_run"] = f"times >> {times}"
    file.write_text(yaml.safe_dump(project, sort_keys=False))
    run(folder, "jf", "admin", "reset", "-y", **projects)
    run(folder, "jf", "flow", "submit", str(spec), "--store", str(store), "-w", "login", **projects)
    code = "from jobflow_remote.jobs.runner import Runner; Runner().run_all_jobs(max_seconds=7200)"
    run(folder, "python", "-c", code, **projects)
    with MongoClient(mongo["host"], mongo["port"]) as client:
        jobs = client["queue"]["jobs"].count_documents({"state": "COMPLETED"})
    return jobs, sum(map(seconds, times.read_text().split()))


def with_fireworks(
    folder: Path, spec: Path, store: Path, mongo: dict[str, Any]
) -> tuple[int, float]:
    """Add it to a LaunchPad, and let rapidfire run."""
    from fireworks import LaunchPad

    pad = {**mongo, "name": "fw", "logdir": None, "strm_lvl": "ERROR"}
    (folder / "pad.yaml").write_text(yaml.safe_dump(pad))
    launchpad = LaunchPad.from_file(str(folder / "pad.yaml"))
    launchpad.reset("", require_password=False)
    docs = {"type": "MongoStore", "collection_name": "outputs", "database": "fw", **mongo}
    (folder / "jobflow.yaml").write_text(yaml.safe_dump({"JOB_STORE": {"docs_store": docs}}))
    settings = {"JOBFLOW_CONFIG_FILE": str(folder / "jobflow.yaml")}
    words = ["--store", str(store), "--launchpad", "pad.yaml"]
    run(folder, "hopscreen", "fireworks", str(spec), *words, **settings)
    run(folder, "rlaunch", "-l", "pad.yaml", "rapidfire", "--nlaunches", "0", **settings)
    return len(launchpad.get_fw_ids({"state": "COMPLETED"})), 0.0


def seconds(text: str) -> float:
    """Read what the shell's ``times`` prints, such as ``0m3.210s``."""
    minutes, _, rest = text.rstrip("s").partition("m")
    return 60 * float(minutes) + float(rest)


def measure(hops: int) -> None:
    """Print the overhead of each manager for a screen of about so many hops."""
    from stores.documents import HopDoc
    from stores.screen_store import open_store

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hosts = round(hops / HOPS_PER_HOST)
        write_hosts(hosts, folder / "hosts")
        spec = folder / "screen.yaml"
        content = {"name": "overhead", "working_ion": "Li"}
        content["hops"] = {"dimension": 3}  # type: ignore[assignment]
        content["candidates"] = {"source": "store", "uri": str(folder / "hosts")}  # type: ignore[assignment]
        spec.write_text(yaml.safe_dump(content))
        done = folder / "done"
        run(folder, "hopscreen", "run", str(spec), "--store", str(done))
        with open_store(str(done), create=False) as store:
            found = store.count(HopDoc)
        print(f"{hosts} hosts, {found} hops, all computed before\n")
        print("| manager | jobs | CPU (s) | wall (s) | CPU per job (s) | CPU per hop (ms) |")
        print("|" + "---|" * 6)
        with server(folder / "server") as uri:
            at = urlsplit(uri)
            mongo = {"host": at.hostname, "port": at.port}
            for manager in (locally, with_jobflow_remote, with_fireworks):
                place = folder / manager.__name__
                place.mkdir()
                shutil.copytree(done, place / "store")
                before, started = cpu_s(), time.perf_counter()
                jobs, more = manager(place, spec, place / "store", mongo)
                wall, cpu = time.perf_counter() - started, cpu_s() - before + more
                title = manager.__name__.removeprefix("with_").replace("_", "-")
                print(
                    f"| {title} | {jobs} | {cpu:.1f} | {wall:.1f} | {cpu / jobs:.2f} "
                    f"| {cpu / found * 1000:.1f} |",
                    flush=True,
                )


def count_jobs(numbers: list[int]) -> None:
    """Print how many jobs the stages make for so many candidates."""
    from workflows.screen import score_all
    from workflows.sizing import JobSize
    from workflows.stages.candidates import BATCH

    def cheap(candidates: int, size: JobSize | None) -> int:
        ids = [f"{number:09d}" for number in range(candidates)]
        batches = [
            [ids[i], ids[min(i + BATCH, candidates) - 1]] for i in range(0, candidates, BATCH)
        ]
        made = score_all.original(batches, {}, "", size.as_dict() if size else None)
        return len(made.replace.jobs) - 1  # the last one collects

    print("| candidates | jobs for hops and scores | with target_minutes: 60 on 16 cores |")
    print("|" + "---|" * 3)
    for candidates in numbers:
        long = cheap(candidates, JobSize(60, 16))
        print(f"| {candidates:,} | {cheap(candidates, None)} | {long} |")
    print(
        "\nbeside them: 3 to begin with, 1 to rank, and per NEB stage 2 to select and collect "
        "and 1 per batch"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hops", type=int, default=1000, help="about so many")
    parser.add_argument("--jobs", action="store_true", help="count jobs alone")
    given = parser.parse_args()
    if given.jobs:
        count_jobs([100, 1_000, 10_000, 100_000])
    else:
        measure(given.hops)


if __name__ == "__main__":
    main()
