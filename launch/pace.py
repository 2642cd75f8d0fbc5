"""How fast a screen gets on: what is being computed, what waits, the rate, the time left.

All of it is read from the store, so that it is the same for a run on this machine, on a cluster
through jobflow-remote, and with FireWorks.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from stores.documents import BarrierDoc, CandidateDoc, Document, as_utc
from stores.queries import Summary
from stores.screen_store import ScreenStore
from workflows.claims import running
from workflows.spec import NEB_STAGES

WINDOW = timedelta(hours=6)
"""Rates are judged by what came in this time …"""
RECENT = 200
"""… and by so many results at most."""


@dataclass(frozen=True)
class Pace:
    """How one stage gets on.

    Attributes
    ----------
    running
        Hops that processes are at; None for the cheap stages, where nobody counts them.
    waiting
        What is left beside those; None where no selection has been made yet.
    per_hour
        Results that came in an hour lately; None where too few came.
    left_s
        Seconds to the end at that rate.
    """

    running: int | None = None
    waiting: int | None = None
    per_hour: float | None = None
    left_s: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


def paces(store: ScreenStore, summary: Summary) -> dict[str, Pace]:
    """Return the pace of each stage of a store."""
    at_work = Counter(claim.get("level") for claim in running(store))
    found = {}
    for stage in summary.stages:
        name = stage.stage
        if name == "hops":
            done: tuple[type[Document], dict[str, Any]] = (CandidateDoc, {"hops_status": "done"})
            found[name] = _pace(store, *done, waiting=stage.waiting)
        elif name == "band":
            found[name] = _pace(store, BarrierDoc, {"level": name}, waiting=stage.waiting)
        elif name in NEB_STAGES:
            left = _planned_and_missing(store, name)
            busy = at_work[name]
            waiting = None if left is None else max(0, left - busy)
            found[name] = _pace(store, BarrierDoc, {"level": name}, waiting=waiting, running=busy)
        else:
            found[name] = Pace(waiting=stage.waiting)
    return found


def is_over(found: dict[str, Pace]) -> bool:
    """Say whether nothing waits and nothing runs."""
    return not any(pace.waiting or pace.running for pace in found.values())


def _pace(
    store: ScreenStore,
    model: type[Document],
    criteria: dict[str, Any],
    *,
    waiting: int | None,
    running: int | None = None,
) -> Pace:
    left = (waiting or 0) + (running or 0)
    rate = _per_hour(store, model, criteria, at_work=left > 0)
    return Pace(running, waiting, rate, left / rate * 3600 if left and rate else None)


def _per_hour(
    store: ScreenStore, model: type[Document], criteria: dict[str, Any], *, at_work: bool
) -> float | None:
    """Rate of the last results; while at work, the time since the last one counts too.

    The first of them counts from its beginning where its document says how long it took.
    """
    now = datetime.now(UTC)
    collection, _ = store.collection_of(model)
    rows = list(
        collection._collection.find(
            {**criteria, "last_updated": {"$gt": now - WINDOW}},
            {"last_updated": 1, "provenance.wall_s": 1},
            sort=[("last_updated", -1)],
            limit=RECENT,
        )
    )
    if not rows:
        return None
    last, first = as_utc(rows[0]["last_updated"]), as_utc(rows[-1]["last_updated"])
    took = rows[-1].get("provenance", {}).get("wall_s")
    span = ((now if at_work else last) - first).total_seconds() + (took or 0.0)
    count = len(rows) if took else len(rows) - 1
    return count / span * 3600 if count and span > 0 else None


def _planned_and_missing(store: ScreenStore, level: str) -> int | None:
    """Count the estimates that stages were given to make and that are not there."""
    plans = list(store.runs.query({"kind": "stage", "level": level}, ["barrier_ids"]))
    if not plans:
        return None
    planned = sorted({key for plan in plans for key in plan["barrier_ids"]})
    return len(planned) - store.count(BarrierDoc, {"barrier_id": {"$in": planned}})
