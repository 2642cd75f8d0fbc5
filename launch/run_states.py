"""Where the local runs of a store are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from launch.lock import is_running
from launch.places import short
from launch.run_log import all_runs, jobs_of
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
