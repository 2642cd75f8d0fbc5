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

_COUNTED = 100
"""Up to so many places are counted one by one; for more, all keys are read once."""


def with_places(store: ScreenStore, docs: Iterable[RankedDoc]) -> list[RankedMaterial]:
    """Give each document its place in the whole ranking; their order stays."""
    docs = list(docs)
    keys = sorted({(doc.barrier_ev, doc.candidate_id) for doc in docs})
    places = _count(store, keys) if len(keys) <= _COUNTED else _look_up(store, keys)
    return [
        # The fields were validated when the document was read.
        RankedMaterial.model_construct(**dict(doc), rank=places[doc.barrier_ev, doc.candidate_id])
        for doc in docs
    ]


def _count(store: ScreenStore, keys: Sequence[Key]) -> dict[Key, int]:
    """Count from each key to the next, so that the index is passed once in all."""
    places = {}
    before, last_ev = 0, None
    for barrier_ev, candidate_id in keys:
        if barrier_ev != last_ev:
            stretch = {"$lt": barrier_ev} | ({} if last_ev is None else {"$gte": last_ev})
            before += store.count(RankedDoc, {"barrier_ev": stretch})
        tied = {"barrier_ev": barrier_ev, "candidate_id": {"$lt": candidate_id}}
        places[barrier_ev, candidate_id] = 1 + before + store.count(RankedDoc, tied)
        last_ev = barrier_ev
    return places


def _look_up(store: ScreenStore, keys: Sequence[Key]) -> dict[Key, int]:
    fields = {"_id": 0, "barrier_ev": 1, "candidate_id": 1}
    order = [("barrier_ev", 1), ("candidate_id", 1)]
    rows = store.ranked._collection.find({"barrier_ev": {"$lte": keys[-1][0]}}, fields, sort=order)
    before = [(row["barrier_ev"], row["candidate_id"]) for row in rows]
    return {key: 1 + bisect_left(before, key) for key in keys}
