"""A short dynamic flow whose jobs note each of their executions."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from jobflow import Flow, JobStore, Response, job

from launch.run_log import RunLog
from launch.runner import RunOutcome, run_flow
from stores.errors import BadInput
from stores.screen_store import open_store


def note(tag: str) -> None:
    """Append a line in one write, which a kill cannot halve; and name this execution's tag."""
    print(tag, flush=True)
    descriptor = os.open(os.environ["TINY_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{tag}\n".encode())
    os.close(descriptor)
    if tag == os.environ.get("TINY_INTERRUPT"):
        raise KeyboardInterrupt


def pause() -> None:
    time.sleep(float(os.environ.get("TINY_PAUSE_S", "0")))


@job
def number(value: int) -> int:
    note(f"number {value}")
    pause()
    return value


@job
def add(values: list[int]) -> int:
    note("add " + "+".join(map(str, values)))
    pause()
    return sum(values)


@job
def fan(count: int) -> Response:
    """Replaced by as many jobs as asked, and one that adds them up."""
    note(f"fan {count}")
    parts = [number(100 + i) for i in range(count)]
    total = add([part.output for part in parts])
    return Response(replace=Flow([*parts, total], output=total.output))


@job
def aside(value: int) -> Response:
    note(f"aside {value}")
    pause()
    return Response(output=value, addition=number(value + 1), detour=number(value + 2))


@job
def fail_while(path: str) -> int:
    note("fail_while")
    if Path(path).exists():
        raise RuntimeError("the file is still there")
    return 7


@job
def chatter() -> None:
    print("printed")
    print("warned", file=sys.stderr)
    subprocess.run(["echo", "from a child"], check=True)


@job
def refuse(message: str) -> None:
    raise BadInput(message)


def make_flow() -> Flow:
    first = number(1)
    fanned = fan(3)
    again = aside(40)
    last = add([first.output, fanned.output, again.output])
    return Flow([first, fanned, again, last], output=last.output, name="tiny")


def run(folder: Path, make=make_flow) -> RunOutcome:
    with open_store(str(folder / "store")) as store:
        return run_flow(make, RunLog(store.runs, "tiny"), jobstore=store.jobstore(), folder=folder)


def run_in_process(folder: Path, notes: Path, pause_s: float) -> None:
    """Run the flow in a process that has an environment of its own."""
    os.environ |= {"TINY_NOTES": str(notes), "TINY_PAUSE_S": str(pause_s)}
    run(folder)


def outputs(jobstore: JobStore) -> list[tuple[str, object]]:
    """All outputs by name, but those that hold uuids: they differ between two makings."""
    docs = jobstore.query({}, properties=["name", "output"])
    return sorted((doc["name"], doc["output"]) for doc in docs if isinstance(doc["output"], int))


def outputs_in(folder: Path) -> list[tuple[str, object]]:
    with open_store(str(folder / "store"), create=False) as store:
        return outputs(store.jobstore())
