"""The ranking: one document per material, limited by its percolating network of hops.

The best available level of each hop decides (DFT over MLIP over band model); where enough hops
have a dearer estimate too, cheap ones are calibrated (:mod:`stores.calibration`). A material's
barrier in *d* dimensions is the lowest energy at which the hops open to the ion connect the
crystal to itself in *d* independent directions.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version

from stores.calibration import UNCALIBRATED, Calibrations, calibrate
from stores.documents import (
    LEVELS,
    BarrierDoc,
    CandidateDoc,
    DimensionLimit,
    HopDoc,
    Provenance,
    RankedDoc,
)
from stores.elements import cost_usd_per_kg, elements, hazard
from stores.estimates import best_estimates, disagreeing_hops
from stores.network import HopBarrier, limiting_barrier
from stores.pages import set_rungs
from stores.rank_note import USUAL, RankNote, RankSettings
from stores.screen_store import ScreenStore

ATTEMPT_FREQUENCY_HZ = 1e13
"""Attempt frequency ν of an ion, the usual order of an optical phonon; Vineyard (1957)."""

BOLTZMANN_EV_PER_K = 8.617333262e-5
"""CODATA 2018."""

_BATCH = 500


@dataclass(frozen=True)
class MaterialData:
    """What is known of one material: all that its ranking depends on."""

    candidate: CandidateDoc
    hops: list[HopDoc]
    barriers: list[BarrierDoc]
    settings: RankSettings = USUAL
    calibrations: Calibrations = UNCALIBRATED


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
    that no longer reach ``dimension`` leave the ranking. When new estimates have moved a
    calibration, the other ranked materials follow, each with its own settings.

    Parameters
    ----------
    store
        The screen's store.
    temperature_k
        For the estimate of the diffusivity.
    dimension
        In how many dimensions the ion must get through, 1 to 3.
    candidate_ids, screen_id
        Which materials to look at again; all of them where neither is given.

    Returns
    -------
    int
        How many of the materials looked at are ranked.

    Raises
    ------
    ValueError
        ``dimension`` is not 1, 2 or 3.
    """
    if dimension not in (1, 2, 3):
        raise ValueError(f"dimension {dimension}: give 1, 2 or 3")
    if candidate_ids is None:
        candidate_ids = store.ids(CandidateDoc, {"screens": screen_id} if screen_id else {})
    ids = sorted(set(candidate_ids))
    settings = RankSettings(temperature_k, dimension)
    note = RankNote.read(store)
    calibrations = calibrate(store).unless_near(note.calibrations)
    count, changed = _rank(store, ids, settings, calibrations)
    if note.calibrations != calibrations:
        for other, members in _ranked_by_settings(store, without=set(ids)).items():
            changed += _rank(store, members, other, calibrations)[1]
    # What the builder remembers of other settings no longer holds for these materials.
    began = note.began if note.settings == settings else None
    RankNote(began, settings, calibrations).write(store)
    set_rungs(store, changed)
    return count


def _rank(
    store: ScreenStore, ids: list[str], settings: RankSettings, calibrations: Calibrations
) -> tuple[int, int]:
    """Return how many are ranked, and how many rankings changed."""
    count = changed = 0
    for batch in load_materials(store, ids, settings, calibrations):
        ranked = {item.candidate.candidate_id: rank_material(item) for item in batch}
        changed += write_ranked(store, ranked)
        count += sum(doc is not None for doc in ranked.values())
    return count, changed


def _ranked_by_settings(store: ScreenStore, without: set[str]) -> dict[RankSettings, list[str]]:
    fields = {"_id": 0, "candidate_id": 1, "temperature_k": 1, "dimension": 1}
    found: dict[RankSettings, list[str]] = defaultdict(list)
    for row in store.ranked._collection.find({}, fields, sort=[("candidate_id", 1)]):
        if row["candidate_id"] not in without:
            found[RankSettings(row["temperature_k"], row["dimension"])].append(row["candidate_id"])
    return found


def load_materials(
    store: ScreenStore,
    candidate_ids: Iterable[str],
    settings: RankSettings = USUAL,
    calibrations: Calibrations = UNCALIBRATED,
) -> Iterator[list[MaterialData]]:
    """Yield what is known of materials, some hundred at a time."""
    ids = sorted(set(candidate_ids))
    for start in range(0, len(ids), _BATCH):
        among = {"candidate_id": {"$in": ids[start : start + _BATCH]}}
        hops: dict[str, list[HopDoc]] = defaultdict(list)
        for hop in store.find(HopDoc, among):
            hops[hop.candidate_id].append(hop)
        barriers: dict[str, list[BarrierDoc]] = defaultdict(list)
        for barrier in store.find(BarrierDoc, among, without=("profile", "warnings")):
            barriers[barrier.candidate_id].append(barrier)
        yield [
            MaterialData(
                doc, hops[doc.candidate_id], barriers[doc.candidate_id], settings, calibrations
            )
            for doc in store.find(CandidateDoc, among)
        ]


def rank_material(data: MaterialData) -> RankedDoc | None:
    """Rank one material by itself.

    Returns
    -------
    RankedDoc or None
        None where no network of estimated hops reaches ``data.settings.dimension``.
    """
    temperature_k, dimension = data.settings.temperature_k, data.settings.dimension
    hops, limits = _limits(data.hops, best_estimates(data.barriers), data.calibrations)
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
    disagreeing = disagreeing_hops(data.barriers)
    symbols = elements(candidate.formula)
    return RankedDoc(
        candidate_id=candidate.candidate_id,
        material_id=candidate.material_id,
        formula=candidate.formula,
        working_ion=candidate.working_ion,
        barrier_ev=limit.barrier_ev,
        interval_90_ev=limit.interval_90_ev,
        uncalibrated_ev=limit.uncalibrated_ev,
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
        levels_disagree=bool(disagreeing),
        disagreeing_hop_ids=disagreeing,
        elements=symbols,
        cost_usd_per_kg=cost_usd_per_kg(candidate.formula),
        hazard=hazard(symbols),
        energy_above_hull_ev=candidate.energy_above_hull_ev,
        band_gap_ev=candidate.band_gap_ev,
        source=candidate.source,
        metadata=candidate.metadata,
        provenance=Provenance(versions=_versions()),
    )


def _limits(
    hops: Iterable[HopDoc], best: Mapping[str, BarrierDoc], calibrations: Calibrations
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
    estimates = {hop.hop_id: calibrations.apply(best[hop.hop_id]) for hop in members}
    known = [
        HopBarrier(hop.hop_id, hop.edges, barrier_ev=value, interval_90_ev=interval)
        for hop in members
        for value, interval, _ in [estimates[hop.hop_id]]
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
            uncalibrated_ev=estimate.barrier_ev if estimates[estimate.hop_id][2] else None,
            alternatives=list(limit.alternatives),
        )
    return members, limits


@cache
def _versions() -> dict[str, str]:
    return {"hopscreen": version("hopscreen")}


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


def write_ranked(store: ScreenStore, ranked: Mapping[str, RankedDoc | None]) -> int:
    """Write the rankings that changed, and take out the materials that are None.

    Returns
    -------
    int
        How many documents were written or taken out.
    """
    among = {"candidate_id": {"$in": sorted(ranked)}}
    old = {doc.candidate_id: doc for doc in store.find(RankedDoc, among)}
    count = store.put(
        doc
        for key, doc in ranked.items()
        if doc is not None and not (key in old and _same(doc, old[key]))
    )
    out = {key for key, doc in ranked.items() if doc is None}
    # Not only those of ``old``: a broken one has to go, too.
    gone = store.ids(RankedDoc, {"candidate_id": {"$in": sorted(out)}}) if out else []
    if gone:
        store.ranked.remove_docs({"candidate_id": {"$in": gone}})
    return count + len(gone)


def _same(new: RankedDoc, old: RankedDoc) -> bool:
    return new.model_dump(exclude={"provenance"}) == old.model_dump(exclude={"provenance"})
