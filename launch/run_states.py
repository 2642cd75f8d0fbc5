"""Where the runs of a store are: on this machine, with jobflow-remote, with FireWorks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from launch.lock import is_running
from launch.managers import QueuedJob, Unreachable, jobs_of_submission, retry_commands
from launch.places import short
from launch.run_log import all_runs, jobs_of
from launch.submissions import submissions
from stores.screen_store import ScreenStore


def run_states(store: ScreenStore) -> list[dict[str, Any]]:
    """Describe the latest run of each screening file."""
    states: dict[str, dict[str, Any]] = {}
    for doc in all_runs(store.runs):
        if doc["spec_file"] in states:
            continue
        jobs = jobs_of(store.runs, doc["run_id"])
        current = [job["name"] for job in jobs if job["state"] == "running"]
        failed = [job["name"] for job in jobs if job["state"] == "failed"]
        if doc.get("finished_at"):
            state, now = "finished", f"{doc['finished_at']:%Y-%m-%d %H:%M} UTC"
        elif is_running(Path(doc["folder"])):
            state, now = "running", f"at work on {', '.join(current) or 'its next job'}"
        else:
            state = "failed" if failed else "stopped"
            now = f"go on with: hopscreen run {short(Path(doc['spec_file']))}"
        states[doc["spec_file"]] = {
            "name": doc["name"],
            "screen_id": doc["screen_id"],
            "state": state,
            "jobs_done": sum(job["state"] == "done" for job in jobs),
            "jobs_failed": failed,
            "now": now,
        }
    return list(states.values())


def submission_states(store: ScreenStore) -> list[dict[str, Any]]:
    """Describe what was submitted to jobflow-remote and FireWorks, as those see it."""
    states = []
    for doc in submissions(store):
        where = doc.get("project") or doc.get("launchpad_file") or "default LaunchPad"
        about = {key: doc[key] for key in ("name", "screen_id", "manager", "flow_uuid")}
        state: dict[str, Any] = {**about, "where": where, "spec_file": doc["spec_file"]}
        try:
            jobs = jobs_of_submission(doc)
        except Unreachable as error:
            states.append({**state, "jobs": None, "said": str(error), "failures": [], "retry": []})
            continue
        counts = dict(sorted(Counter(job.state for job in jobs).items()))
        current = Counter(job.name for job in jobs if job.state == "running")
        at = ", ".join(f"{count} {name}" for name, count in sorted(current.items()))
        states.append(
            {
                **state,
                "jobs": counts,
                "said": f"at work on {at}" if at else "",
                "failures": _by_cause(jobs),
                "retry": retry_commands(doc, jobs),
            }
        )
    return states


def _by_cause(jobs: list[QueuedJob]) -> list[dict[str, Any]]:
    """Group failed jobs by name and error, each with a folder to look into."""
    groups: dict[tuple[str, str], list[QueuedJob]] = {}
    for job in jobs:
        if job.state == "failed":
            groups.setdefault((job.name, job.error or "no error was kept"), []).append(job)
    return [
        {"job": name, "error": error, "count": len(group), "folder": group[0].folder}
        for (name, error), group in sorted(groups.items(), key=lambda item: -len(item[1]))
    ]
