"""Which estimate of a hop decides, and where the levels of a hop contradict each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from stores.documents import LEVELS, BarrierDoc, Interval


def best_estimates(barriers: Iterable[BarrierDoc]) -> dict[str, BarrierDoc]:
    """Return each hop's deciding estimate: the highest level, and within it the surest.

    Failed estimates decide nothing. Within a level an estimate without a word of warning goes
    before one with it (a demo preset), then the narrower interval, then the id, so that the
    choice does not depend on the order of the calculations.

    Raises
    ------
    ValueError
        A finished estimate has no value or no interval.
    """
    best: dict[str, tuple[tuple[float, ...], str, BarrierDoc]] = {}
    for doc in barriers:
        if doc.status == "failed":
            continue
        _, (low, high) = doc.estimate_ev()
        merit = (-LEVELS.index(doc.level), doc.label is not None, high - low)
        entry = (merit, doc.barrier_id, doc)
        if doc.hop_id not in best or entry[:2] < best[doc.hop_id][:2]:
            best[doc.hop_id] = entry
    return {hop_id: doc for hop_id, (_, _, doc) in sorted(best.items())}


def disagreeing_hops(barriers: Iterable[BarrierDoc]) -> list[str]:
    """Return the hops with estimates of two levels whose intervals do not overlap, sorted."""
    by_level: dict[str, list[BarrierDoc]] = defaultdict(list)
    for doc in barriers:
        by_level[doc.level].append(doc)
    intervals: dict[str, list[Interval]] = defaultdict(list)
    for docs in by_level.values():
        for hop_id, doc in best_estimates(docs).items():
            intervals[hop_id].append(doc.estimate_ev()[1])
    return sorted(
        hop_id
        for hop_id, known in intervals.items()
        if max(low for low, _ in known) > min(high for _, high in known)
    )
