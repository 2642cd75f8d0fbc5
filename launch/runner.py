"""Run a jobflow flow here, so that it can be killed at any moment and goes on when run again.

jobflow's ``run_locally`` drives the flow: its order, its references, ``replace``, ``detour`` and
``addition``, what follows from a failure. What it lacks is a memory. So each job's ``run`` is
shadowed, on that one instance, by a function that first looks whether the store knows the job's
response. That keeps every rule of jobflow without copying its loop, and patches no class.

The order of writing makes it safe: the flow is saved before its first job, a job's output before
its response. A job counts as finished when its response is there, with the jobs that it made.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobflow import CURRENT_JOB, Flow, Job, JobStore, Response, run_locally
from monty.json import MontyDecoder, MontyEncoder

from launch.lock import only_run
from launch.output import diverted
from launch.run_log import RunLog
from stores.errors import BadInput
from workflows.progress import Progress

_NEW_JOBS = ("replace", "detour", "addition")
_STOPS = ("stop_children", "stop_jobflow")


@dataclass(frozen=True)
class FailedJob:
    """A job that raised."""

    name: str
    error: Exception
    folder: Path


@dataclass
class RunOutcome:
    """What a run did.

    Attributes
    ----------
    ran, replayed
        Jobs executed now, and jobs that were finished already.
    failed
        Jobs that raised; they are tried again by the next run.
    finished
        Whether every job of the flow is finished.
    wall_s
        Seconds that it took.
    """

    ran: int = 0
    replayed: int = 0
    failed: list[FailedJob] = field(default_factory=list)
    finished: bool = False
    wall_s: float = 0.0


def run_flow(
    make_flow: Callable[[], Flow], log: RunLog, *, jobstore: JobStore, folder: Path
) -> RunOutcome:
    """Run a flow to its end, or go on with it.

    Parameters
    ----------
    make_flow
        Called only when the log holds no flow.
    log
        Memory of this run.
    jobstore
        Connected; keeps the outputs of the jobs.
    folder
        Each job works in a folder of its own under ``folder/jobs``.

    Returns
    -------
    RunOutcome

    Raises
    ------
    BadInput
        Another process is running in ``folder``, or a job met bad input.
    """
    started = time.monotonic()
    with only_run(folder):
        # Also on the first run the flow goes through JSON: both times the same objects run.
        saved = log.flow()
        if saved is None:
            saved = json.dumps(make_flow(), cls=MontyEncoder)
            log.start(saved)
        flow: Flow = json.loads(saved, cls=MontyDecoder)
        run = _Run(log, folder / "jobs")
        run.shadow(flow)
        run_locally(flow, store=jobstore, log=False, root_dir=folder)
        outcome = run.outcome
        for failed in outcome.failed:
            if isinstance(failed.error, BadInput):
                raise failed.error
        outcome.finished = not outcome.failed
        if outcome.finished:
            log.finish()
    outcome.wall_s = time.monotonic() - started
    return outcome


class _Run:
    """One pass over a flow."""

    def __init__(self, log: RunLog, jobs_folder: Path) -> None:
        self.log = log
        self.jobs_folder = jobs_folder
        self.outcome = RunOutcome()

    def shadow(self, flow: Flow | Job) -> None:
        """Put the remembering ``run`` in front of each job's own."""
        for job in _jobs(flow):
            job.run = self._remembering(job)  # type: ignore[method-assign]

    def _remembering(self, job: Job) -> Callable[..., Response]:
        def run(store: JobStore) -> Response:
            number = self.log.number(job.uuid, job.index)
            folder = self.jobs_folder / f"{number:03d}_{_slug(job.name)}_{job.uuid[:8]}"
            try:
                saved = self.log.response(job.uuid, job.index)
                if saved is None:
                    self.log.job_started(job.uuid, job.index, job.name, number, folder)
                    saved = self._execute(job, store, folder)
                    self.log.job_finished(job.uuid, job.index, saved)
                    self.outcome.ran += 1
                else:
                    self.outcome.replayed += 1
                response = _decode(saved)
            except Exception as error:
                # jobflow drops what a job raises; here it decides how the run ends.
                self.outcome.failed.append(FailedJob(job.name, error, folder))
                self.log.job_failed(job.uuid, job.index, error)
                raise
            for name in _NEW_JOBS:
                if (new_jobs := getattr(response, name)) is not None:
                    self.shadow(new_jobs)
            return response

        return run

    def _execute(self, job: Job, store: JobStore, folder: Path) -> str:
        """Run a job in its folder; return what is to be remembered of its response."""
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "job.log").open("a", encoding="utf-8") as chatter:
            try:
                progress = Progress(job.name)
                with progress.track(), diverted(chatter), contextlib.chdir(folder):
                    progress.say("at work")
                    return _encode(Job.run(job, store=store))
            except Exception:
                traceback.print_exc(file=chatter)
                raise
            finally:
                CURRENT_JOB.reset()


def _jobs(flow: Flow | Job) -> Iterator[Job]:
    if isinstance(flow, Job):
        yield flow
        return
    for part in flow.jobs:
        yield from _jobs(part)


def _encode(response: Response) -> str:
    """Keep of a response what decides what comes next; the output is in the job store."""
    kept: dict[str, Any] = {name: getattr(response, name) for name in (*_NEW_JOBS, *_STOPS)}
    return json.dumps({name: value for name, value in kept.items() if value}, cls=MontyEncoder)


def _decode(text: str) -> Response:
    response: Response = Response(**json.loads(text, cls=MontyDecoder))
    return response


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name)[:40]
