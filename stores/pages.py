"""First pages of the ranking, read in windows of the barrier.

Sorted by an index a page would come at once, but not every server that speaks MongoDB's language
sorts by one, and a filter on other fields may lead it to another index. So a page is read from
short ranges of ``barrier_ev``, which every server finds by its index. Where the ranges end is
remembered from the last build; it decides how fast a page comes, never what is on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from stores.documents import RankedDoc
from stores.screen_store import ScreenStore

_MARK = "ladder"

_RUNG = 250
"""Materials between two rungs."""

_DEEPEST = 1000
"""Pages that begin further down are left to the server."""

_DRIFT = 0.1
"""Share of the materials that may change before the rungs are set anew."""


def set_rungs(store: ScreenStore, changed: int) -> None:
    """Remember how the barriers lie, once enough of the ranking has changed.

    Parameters
    ----------
    store
        The screen's store.
    changed
        How many rankings have changed since the last call.
    """
    old = store.marks.query_one({"name": _MARK}) or {"changed": 0, "count": 0, "rungs": []}
    changed += old["changed"]
    if changed <= _DRIFT * old["count"]:
        store.marks.update([{**_plain(old), "changed": changed}])
        return
    rows = store.ranked._collection.find({}, {"_id": 0, "barrier_ev": 1})
    values = sorted(row["barrier_ev"] for row in rows)
    rungs = sorted(set(values[_RUNG::_RUNG]))
    store.marks.update([{"name": _MARK, "changed": 0, "count": len(values), "rungs": rungs}])


def best_page(
    store: ScreenStore, criteria: Mapping[str, Any], top: int, skip: int
) -> list[RankedDoc] | None:
    """Return a page by rising barrier, then id; None if the server had better be asked for it."""
    mark = store.marks.query_one({"name": _MARK})
    if mark is None or not mark["rungs"] or "barrier_ev" in criteria or skip > _DEEPEST:
        return None
    ends = [-math.inf, *mark["rungs"], math.inf]
    # Windows grow: a filter that few materials pass is not worth many questions.
    cuts = [ends[min(2**n - 1, len(ends) - 1)] for n in range(len(ends).bit_length() + 1)]
    wanted = skip + top
    found: list[RankedDoc] = []
    for low, high in pairwise(dict.fromkeys(cuts)):
        # Simple planners take the index of the first field.
        window = {"barrier_ev": {"$gte": low, "$lt": high}, **criteria}
        order = {"barrier_ev": 1, "candidate_id": 1}
        found += store.find(RankedDoc, window, sort=order, limit=wanted - len(found))
        if len(found) >= wanted:
            break
    return found[skip:]


def _plain(mark: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": _MARK, "count": mark["count"], "rungs": mark["rungs"]}
