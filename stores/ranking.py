"""The ranking: one document per material, limited by its percolating network of hops.

The best available level of each hop decides (DFT over MLIP over band model). A material's
barrier in *d* dimensions is the lowest energy at which the hops open to the ion connect the
crystal to itself in *d* independent directions.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

from pymongo import UpdateOne

from stores.documents import (
    LEVELS,
    BarrierDoc,
    CandidateDoc,
    DimensionLimit,
    HopDoc,
    Interval,
    Level,
    Provenance,
    RankedDoc,
)
from stores.network import HopBarrier, limiting_barrier
from stores.screen_store import ScreenStore

ATTEMPT_FREQUENCY_HZ = 1e13
"""Attempt frequency ν of an ion, the usual order of an optical phonon [1]_."""

BOLTZMANN_EV_PER_K = 8.617333262e-5
"""CODATA 2018."""

_BATCH = 500


@dataclass(frozen=True)
class MaterialData:
    """What is known of one material: all that its ranking depends on."""

    candidate: CandidateDoc
    hops: list[HopDoc]
    barriers: list[BarrierDoc]


def rank_materials(
    store: ScreenStore,
    *,
    temperature_k: float = 300.0,
    dimension: int = 1,
    candidate_ids: Iterable[str] | None = None,
    screen_id: str | None = None,
) -> int:
    """Bring ``ranked`` up to date.

    Only documents that change are written, so that doing it twice changes nothing. Materials
    that no longer reach ``dimension`` leave the ranking.

    Parameters
    ----------
    store
        The screen's store.
    temperature_k
        For the estimate of the diffusivity.
    dimension
        In how many dimensions the ion must get through, 1 to 3.
    candidate_ids, screen_id
        Which materials to look at again; all of them where neither is given. The ranks run over
        the whole collection in any case.

    Returns
    -------
    int
        How many of the materials looked at are ranked.

    Raises
    ------
    ValueError
        A barrier has no interval, or ``dimension`` is not 1, 2 or 3.
    """
    if dimension not in (1, 2, 3):
        raise ValueError(f"dimension {dimension}: give 1, 2 or 3")
    if candidate_ids is None:
        candidate_ids = store.ids(CandidateDoc, {"screens": screen_id} if screen_id else {})
    count = 0
    for batch in load_materials(store, candidate_ids):
        ranked = {
            item.candidate.candidate_id: rank_material(
                item, temperature_k=temperature_k, dimension=dimension
            )
            for item in batch
        }
        write_ranked(store, ranked)
        count += sum(doc is not None for doc in ranked.values())
    renumber(store)
    return count


def load_materials(
    store: ScreenStore, candidate_ids: Iterable[str]
) -> Iterator[list[MaterialData]]:
    """Yield what is known of materials, some hundred at a time."""
    ids = sorted(set(candidate_ids))
    for start in range(0, len(ids), _BATCH):
        among = {"candidate_id": {"$in": ids[start : start + _BATCH]}}
        hops: dict[str, list[HopDoc]] = defaultdict(list)
        for hop in store.find(HopDoc, among):
            hops[hop.candidate_id].append(hop)
        barriers: dict[str, list[BarrierDoc]] = defaultdict(list)
        for barrier in store.find(BarrierDoc, among):
            barriers[barrier.candidate_id].append(barrier)
        yield [
            MaterialData(doc, hops[doc.candidate_id], barriers[doc.candidate_id])
            for doc in store.find(CandidateDoc, among)
        ]


def rank_material(
    data: MaterialData, *, temperature_k: float = 300.0, dimension: int = 1
) -> RankedDoc | None:
    """Rank one material by itself; its ``rank`` is 0 until :func:`renumber`.

    Returns
    -------
    RankedDoc or None
        None where no network of estimated hops reaches ``dimension``.
    """
    best = best_estimates(data.barriers)
    hops, limits = _limits(data.hops, best)
    if str(dimension) not in limits:
        return None
    limit = limits[str(dimension)]
    length_ang = next(hop.length_ang for hop in hops if hop.hop_id == limit.limiting_hop_id)

    def diffusivity(barrier_ev: float) -> float:
        return diffusivity_cm2_s(
            barrier_ev, length_ang, temperature_k=temperature_k, dimension=dimension
        )

    low, high = limit.interval_90_ev
    candidate = data.candidate
    return RankedDoc(
        candidate_id=candidate.candidate_id,
        material_id=candidate.material_id,
        formula=candidate.formula,
        working_ion=candidate.working_ion,
        rank=0,
        barrier_ev=limit.barrier_ev,
        interval_90_ev=limit.interval_90_ev,
        level=limit.level,
        label=limit.label,
        dimension=dimension,
        limiting_hop_id=limit.limiting_hop_id,
        limits=limits,
        temperature_k=temperature_k,
        diffusivity_cm2_s=diffusivity(limit.barrier_ev),
        diffusivity_interval_90_cm2_s=(diffusivity(high), diffusivity(low)),
        num_hops=len(hops),
        num_failed=sum(doc.status == "failed" for doc in data.barriers),
        levels_disagree=levels_disagree(data.barriers),
        energy_above_hull_ev=candidate.energy_above_hull_ev,
        band_gap_ev=candidate.band_gap_ev,
        source=candidate.source,
        metadata=candidate.metadata,
        provenance=Provenance(versions=_versions()),
    )


def _limits(
    hops: Iterable[HopDoc], best: dict[str, BarrierDoc]
) -> tuple[list[HopDoc], dict[str, DimensionLimit]]:
    """Return the hops that make the network, and what limits it in each dimension it reaches.

    Hops of a full and of an empty host (vacancy and dilute mode) are two networks, and so are
    those of two recipe versions: the one that the dearest estimates stand behind is taken.
    """
    networks: dict[tuple[str, int], list[HopDoc]] = defaultdict(list)
    for hop in hops:
        if hop.hop_id in best:
            networks[hop.mode, hop.recipe_version].append(hop)

    def merit(entry: tuple[tuple[str, int], list[HopDoc]]) -> tuple[int, int, str]:
        (mode, recipe), members = entry
        level = max(LEVELS.index(best[hop.hop_id].level) for hop in members)
        return recipe, level, mode

    if not networks:
        return [], {}
    _, members = max(networks.items(), key=merit)
    known = [
        HopBarrier(hop_id=hop.hop_id, edges=hop.edges, **_estimate(best[hop.hop_id]))
        for hop in members
    ]
    limits = {}
    for dimension in (1, 2, 3):
        limit = limiting_barrier(known, dimension)
        if limit is None:
            break
        estimate = best[limit.limiting_hop_id]
        limits[str(dimension)] = DimensionLimit(
            dimension=dimension,
            barrier_ev=limit.barrier_ev,
            interval_90_ev=limit.interval_90_ev,
            limiting_hop_id=limit.limiting_hop_id,
            level=estimate.level,
            label=estimate.label,
            alternatives=list(limit.alternatives),
        )
    return members, limits


@cache
def _versions() -> dict[str, str]:
    return {"hopscreen": version("hopscreen")}


def _estimate(doc: BarrierDoc) -> dict[str, Any]:
    return {"barrier_ev": doc.barrier_ev, "interval_90_ev": doc.interval_90_ev}


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
        if doc.barrier_ev is None or doc.interval_90_ev is None:
            raise ValueError(f"barriers: {doc.barrier_id}: done without barrier_ev or its interval")
        low, high = doc.interval_90_ev
        merit = (-LEVELS.index(doc.level), doc.label is not None, high - low)
        entry = (merit, doc.barrier_id, doc)
        if doc.hop_id not in best or entry[:2] < best[doc.hop_id][:2]:
            best[doc.hop_id] = entry
    return {hop_id: doc for hop_id, (_, _, doc) in sorted(best.items())}


def levels_disagree(barriers: Iterable[BarrierDoc]) -> bool:
    """Say whether some hop has estimates of two levels whose intervals do not overlap."""
    by_level: dict[Level, list[BarrierDoc]] = defaultdict(list)
    for doc in barriers:
        by_level[doc.level].append(doc)
    intervals: dict[str, list[Interval]] = defaultdict(list)
    for docs in by_level.values():
        for hop_id, doc in best_estimates(docs).items():
            if doc.interval_90_ev is not None:
                intervals[hop_id].append(doc.interval_90_ev)
    return any(
        max(low for low, _ in known) > min(high for _, high in known)
        for known in intervals.values()
    )


def diffusivity_cm2_s(
    barrier_ev: float, length_ang: float, *, temperature_k: float, dimension: int
) -> float:
    """Estimate the diffusivity of a random walk of activated hops.

    ``D = l² ν exp(−E / k T) / (2 d)`` with ν = 10¹³ Hz: transition state theory [1]_ in a random
    walk without correlation [2]_, an order of magnitude rather than a value.

    References
    ----------
    .. [1] G. H. Vineyard, J. Phys. Chem. Solids 3, 121 (1957).
    .. [2] H. Mehrer, Diffusion in Solids (Springer, 2007), chapters 4 and 8.
    """
    rate_hz = ATTEMPT_FREQUENCY_HZ * math.exp(-barrier_ev / (BOLTZMANN_EV_PER_K * temperature_k))
    return (length_ang * 1e-8) ** 2 * rate_hz / (2 * dimension)


def write_ranked(store: ScreenStore, ranked: dict[str, RankedDoc | None]) -> None:
    """Write the rankings that changed, and take out the materials that are None."""
    among = {"candidate_id": {"$in": sorted(ranked)}}
    old = {doc.candidate_id: doc for doc in store.find(RankedDoc, among)}
    store.put(
        doc.model_copy(update={"rank": old[key].rank if key in old else 0})
        for key, doc in ranked.items()
        if doc is not None and not (key in old and _same(doc, old[key]))
    )
    if gone := sorted(key for key, doc in ranked.items() if doc is None and key in old):
        store.ranked.remove_docs({"candidate_id": {"$in": gone}})


def renumber(store: ScreenStore) -> None:
    """Set every ``rank`` by rising barrier, then id."""
    rows = store.ranked._collection.find(
        {}, {"rank": 1}, sort=[("barrier_ev", 1), ("candidate_id", 1)]
    )
    changes = [
        UpdateOne({"_id": row["_id"]}, {"$set": {"rank": rank}})
        for rank, row in enumerate(rows, start=1)
        if row["rank"] != rank
    ]
    if changes:
        store.ranked._collection.bulk_write(changes, ordered=False)


def _same(new: RankedDoc, old: RankedDoc) -> bool:
    aside = {"rank", "provenance"}
    return new.model_dump(exclude=aside) == old.model_dump(exclude=aside)
