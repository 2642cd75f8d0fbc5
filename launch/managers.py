"""What jobflow-remote and FireWorks say of a submitted screen's jobs, in one language."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

State = Literal["waiting", "queued", "running", "done", "failed", "stopped"]

_JOBFLOW_REMOTE: dict[str, State] = {
    "WAITING": "waiting",
    **dict.fromkeys(("READY", "CHECKED_OUT", "UPLOADED", "SUBMITTED", "BATCH_SUBMITTED"), "queued"),
    **dict.fromkeys(("RUNNING", "BATCH_RUNNING", "RUN_FINISHED", "DOWNLOADED"), "running"),
    "COMPLETED": "done",
    **dict.fromkeys(("FAILED", "REMOTE_ERROR"), "failed"),
    **dict.fromkeys(("PAUSED", "STOPPED", "USER_STOPPED"), "stopped"),
}
_FIREWORKS: dict[str, State] = {
    "WAITING": "waiting",
    **dict.fromkeys(("READY", "RESERVED"), "queued"),
    "RUNNING": "running",
    "COMPLETED": "done",
    "FIZZLED": "failed",
    **dict.fromkeys(("ARCHIVED", "DEFUSED", "PAUSED"), "stopped"),
}


class Unreachable(Exception):
    """The manager of a submission cannot be asked from here."""


@dataclass(frozen=True)
class QueuedJob:
    """A job as its manager sees it.

    Attributes
    ----------
    job_id
        The manager's own id, to be used in its commands.
    folder
        Where it ran or runs, on its worker.
    error
        Last line of what it died of.
    """

    job_id: str
    name: str
    state: State
    folder: str | None = None
    error: str | None = None


def jobs_of_submission(doc: Mapping[str, Any]) -> list[QueuedJob]:
    """Return the jobs of a submission; none where its manager does not know it.

    Raises
    ------
    Unreachable
        With a line that says what to do.
    """
    if doc["manager"] == "fireworks":
        return _from_fireworks(doc)
    return _from_jobflow_remote(doc)


def progress_of(doc: Mapping[str, Any]) -> str | None:
    """Say how far a submission is; None where it is over, or nobody knows of it.

    A job that waits for a failed one will never start: such a flow is not at work.
    """
    try:
        jobs = jobs_of_submission(doc)
    except Unreachable as error:
        return str(error)
    counts = Counter(job.state for job in jobs)
    stuck = counts["failed"] + counts["stopped"]
    if not (counts["queued"] or counts["running"] or (counts["waiting"] and not stuck)):
        return None
    return f"{counts['done']} of {len(jobs)} jobs done"


def retry_commands(doc: Mapping[str, Any], jobs: Iterable[QueuedJob]) -> list[str]:
    """Return the manager's commands that run failed jobs again."""
    failed = [job.job_id for job in jobs if job.state == "failed"]
    if not failed:
        return []
    if doc["manager"] == "fireworks":
        return [f"lpad rerun_fws -i {' '.join(failed)}"]
    return [f"jf -p {doc['project']} job rerun {job_id}" for job_id in failed]


def _from_jobflow_remote(doc: Mapping[str, Any]) -> list[QueuedJob]:
    from jobflow_remote.config import ConfigManager
    from jobflow_remote.config.base import ConfigError
    from pymongo.errors import PyMongoError

    try:
        controller = ConfigManager().get_project(doc["project"]).get_job_controller()
        found = controller.get_jobs_info(flow_ids=[doc["flow_uuid"]])
    except ConfigError:
        raise Unreachable(
            f"jobflow-remote project '{doc['project']}' is not set up on this machine"
        ) from None
    except PyMongoError as error:
        raise Unreachable(
            f"the queue of project '{doc['project']}' gives no answer ({type(error).__name__})"
        ) from None
    jobs = []
    for info in sorted(found, key=lambda info: int(info.db_id)):
        said = _last_line(info.error or info.remote.error)
        state = _JOBFLOW_REMOTE.get(info.state.value, "waiting")
        jobs.append(QueuedJob(info.db_id, info.name, state, info.run_dir, said))
    return jobs


def _from_fireworks(doc: Mapping[str, Any]) -> list[QueuedJob]:
    from fireworks import LaunchPad
    from pymongo.errors import PyMongoError

    file = doc.get("launchpad_file")
    if file and not Path(file).is_file():
        raise Unreachable(f"LaunchPad file {file} is not on this machine")
    pad = LaunchPad.from_file(file) if file else LaunchPad.auto_load()
    try:
        workflow = pad.workflows.find_one({"metadata.flow_uuid": doc["flow_uuid"]}, {"nodes": 1})
        wanted = {"fw_id": {"$in": workflow["nodes"] if workflow else []}}
        fields = {"fw_id": 1, "name": 1, "state": 1, "launches": 1}
        rows = list(pad.fireworks.find(wanted, fields).sort("fw_id", 1))
        last = [row["launches"][-1] for row in rows if row.get("launches")]
        launches = {
            row["launch_id"]: row
            for row in pad.launches.find(
                {"launch_id": {"$in": last}}, {"launch_id": 1, "launch_dir": 1, "action": 1}
            )
        }
    except PyMongoError as error:
        raise Unreachable(f"LaunchPad {pad.host}: no answer ({type(error).__name__})") from None
    jobs = []
    for row in rows:
        launch = launches.get(row["launches"][-1], {}) if row.get("launches") else {}
        stored = (launch.get("action") or {}).get("stored_data") or {}
        said = _last_line((stored.get("_exception") or {}).get("_stacktrace"))
        jobs.append(
            QueuedJob(
                str(row["fw_id"]),
                row["name"],
                _FIREWORKS.get(row["state"], "waiting"),
                launch.get("launch_dir"),
                said,
            )
        )
    return jobs


def _last_line(text: str | None) -> str | None:
    lines = (text or "").strip().splitlines()
    return lines[-1].strip() if lines else None
