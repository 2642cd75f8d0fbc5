"""Running jobs and what failed: where a screen is, and where to look when it is not well.

Jobs of jobflow-remote and FireWorks are asked of those, as ``hopscreen status`` does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask, render_template, request

from launch.dashboard.remember import remembered
from launch.run_log import all_runs, jobs_of
from launch.run_states import run_states, submission_states
from stores.documents import LEVELS, BarrierDoc, CandidateDoc
from stores.screen_store import ScreenStore

PAGE = 50
"""Failures on a page."""

_HOSTS = {"$or": [{"status": "failed"}, {"hops_status": "failed"}]}
"""Candidates that failed to be read, or whose hops were not found."""


def add_to(app: Flask, store: ScreenStore) -> None:
    """Add the pages of this module."""
    elsewhere = remembered(lambda _: submission_states(store))
    app.add_url_rule("/jobs", "jobs", lambda: _jobs(store, elsewhere))


def _jobs(
    store: ScreenStore, elsewhere: Callable[[str], tuple[list[dict[str, Any]], float]]
) -> str:
    stages = {"candidates": store.count(CandidateDoc, _HOSTS)}
    for level in LEVELS:
        stages[level] = store.count(BarrierDoc, {"level": level, "status": "failed"})
    stage = request.args.get("stage", "")
    if stage not in stages:
        stage = max(stages, key=lambda name: stages[name])
    pages = max(1, -(-stages[stage] // PAGE))
    page = min(max(request.args.get("page", 1, int), 1), pages)
    skip = (page - 1) * PAGE
    hosts: list[CandidateDoc] = []
    failures: list[BarrierDoc] = []
    if stage == "candidates":
        hosts = list(store.find(CandidateDoc, _HOSTS, skip=skip, limit=PAGE))
    else:
        failed = {"level": stage, "status": "failed"}
        failures = list(store.find(BarrierDoc, failed, skip=skip, limit=PAGE))
    runs = run_states(store)
    submitted, _ = elsewhere("")
    latest = next(all_runs(store.runs), None)
    return render_template(
        "jobs.html",
        runs=runs,
        submitted=submitted,
        running=any(run["state"] == "running" for run in runs)
        or any((one["jobs"] or {}).get("running") for one in submitted),
        jobs=jobs_of(store.runs, latest["run_id"]) if latest else [],
        latest=latest,
        stages=stages,
        stage=stage,
        hosts=hosts,
        failures=failures,
        page=page,
        pages=pages,
    )
