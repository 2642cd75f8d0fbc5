"""Places in the ranking, counted when they are asked for.

The place of a material is one more than the number of those before it by (``barrier_ev``, id).
Kept in the documents, one new estimate would rewrite all that stand behind it; the index over
these two fields counts them in the time of a page.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from stores.documents import RankedDoc, RankedMaterial
from stores.screen_store import ScreenStore

Key = tuple[float, str]

_NEAR = 1000
"""Up to so many keys before a page are read rather than counted: one question for all."""

_FEW = 100
"""Up to so many places are counted one by one; for more, all keys are read."""


def with_places(store: ScreenStore, docs: Iterable[RankedDoc]) -> list[RankedMaterial]:
    """Give each document its place in the whole ranking; their order stays."""
    docs = list(docs)
    keys = sorted({(doc.barrier_ev, doc.candidate_id) for doc in docs})
    places = (_look_up(store, keys) or _count(store, keys)) if keys else {}
    return [
        # The fields were validated when the document was read.
        RankedMaterial.model_construct(**dict(doc), rank=places[doc.barrier_ev, doc.candidate_id])
        for doc in docs
    ]


def _look_up(store: ScreenStore, keys: Sequence[Key]) -> dict[Key, int]:
    """Read all keys up to the last one; nothing if they are too many for so few places."""
    most = _NEAR if len(keys) <= _FEW else 0
    fields = {"_id": 0, "barrier_ev": 1, "candidate_id": 1}
    before = {"barrier_ev": {"$lte": keys[-1][0]}}
    rows = store.ranked._collection.find(before, fields, limit=most and most + 1)
    known = sorted((row["barrier_ev"], row["candidate_id"]) for row in rows)
    if most and len(known) > most:
        return {}
    return {key: 1 + bisect_left(known, key) for key in keys}


def _count(store: ScreenStore, keys: Sequence[Key]) -> dict[Key, int]:
    """Count from each barrier to the next, so that the index is passed once in all."""
    values = sorted({barrier_ev for barrier_ev, _ in keys})
    fields = {"_id": 0, "barrier_ev": 1, "candidate_id": 1}
    rows = store.ranked._collection.find({"barrier_ev": {"$in": values}}, fields)
    tied = sorted((row["barrier_ev"], row["candidate_id"]) for row in rows)
    before = {}
    total, last_ev = 0, None
    for barrier_ev in values:
        stretch = {"$lt": barrier_ev} | ({} if last_ev is None else {"$gte": last_ev})
        total += store.count(RankedDoc, {"barrier_ev": stretch})
        before[barrier_ev], last_ev = total, barrier_ev
    return {
        key: 1 + before[key[0]] + bisect_left(tied, key) - bisect_left(tied, (key[0], ""))
        for key in keys
    }
