"""The funnel: how many came through each stage, and what fell where."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from flask import Flask, render_template, request

from launch.dashboard.remember import remembered
from launch.run_log import all_runs
from stores.queries import StageCount, Summary, summary
from stores.screen_store import ScreenStore


@dataclass(frozen=True)
class Bar:
    """One stage as the page draws it: lengths in percent of the page."""

    stage: StageCount
    length: float
    done: float
    failed: float
    waiting: float


def add_to(app: Flask, store: ScreenStore) -> None:
    """Add the pages of this module."""
    counts = remembered(lambda screen_id: summary(store, screen_id or None))
    app.add_url_rule("/funnel", "funnel", lambda: _funnel(store, counts))


def _funnel(store: ScreenStore, counts: Callable[[str], tuple[Summary, float]]) -> str:
    screens = {doc["screen_id"]: doc["name"] for doc in all_runs(store.runs)}
    screen = request.args.get("screen", "")
    found, age_s = counts(screen if screen in screens else "")
    return render_template(
        "funnel.html",
        summary=found,
        bars=_bars(found.stages),
        age_s=age_s,
        screens=screens,
        screen=screen,
        refused=sum(found.rejected.values()),
    )


def _bars(stages: list[StageCount]) -> list[Bar]:
    """Lay the stages out, with lengths that grow with the logarithm of the count."""
    totals = [stage.done + stage.failed + (stage.waiting or 0) for stage in stages]
    top = math.log1p(max([*totals, 1]))
    bars = []
    for stage, total in zip(stages, totals, strict=True):
        length = 100 * math.log1p(total) / top
        share = 100 / total if total else 0.0
        bars.append(
            Bar(
                stage,
                round(length, 2),
                round(stage.done * share, 2),
                round(stage.failed * share, 2),
                round((stage.waiting or 0) * share, 2),
            )
        )
    return bars
