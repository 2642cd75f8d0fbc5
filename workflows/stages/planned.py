"""What a NEB stage of a screen will compute, kept so that anybody can see how far it is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from stores.documents import HopDoc, Level
from stores.screen_store import ScreenStore
from workflows.neb_plan import neb_plan
from workflows.spec import ScreenSpec


def planned_ids(
    store: ScreenStore, screen: ScreenSpec, level: Level, hop_ids: Sequence[str]
) -> dict[str, str]:
    """Return the id of the estimate that the screen's plan makes of each hop → the hop's id."""
    plan = neb_plan(screen, level)
    if not screen.insertion:
        return {plan.barrier_id(hop_id): hop_id for hop_id in hop_ids}
    # Hops of inserted ions are dilute, whatever the others are: DFT charges them otherwise.
    dilute = neb_plan(screen, level, "dilute")
    alone = set(store.ids(HopDoc, {"hop_id": {"$in": list(hop_ids)}, "mode": "dilute"}))
    return {(dilute if h in alone else plan).barrier_id(h): h for h in hop_ids}


def keep_plan(store: ScreenStore, screen: ScreenSpec, level: Level, hop_ids: Sequence[str]) -> None:
    """Note in ``runs`` which estimates a stage was given to make."""
    key = f"stage:{screen.screen_id}:{level}"
    fields = {
        "kind": "stage",
        "screen_id": screen.screen_id,
        "level": level,
        "barrier_ids": sorted(planned_ids(store, screen, level, hop_ids)),
        "at": datetime.now(UTC),
    }
    store.runs._collection.update_one(
        {"_id": key}, {"$set": {"run_id": key, **fields}}, upsert=True
    )
