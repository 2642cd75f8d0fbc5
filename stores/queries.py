"""The questions that people ask a screen's store.

Filters are MongoDB's; the pages of ``docs/queries.md`` show them at work.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stores.documents import (
    LEVELS,
    BarrierDoc,
    CandidateDoc,
    Failure,
    HopDoc,
    RankedDoc,
    RankedMaterial,
)
from stores.errors import BadInput
from stores.estimates import best_estimates
from stores.pages import best_page
from stores.places import with_places
from stores.screen_store import ScreenStore
from stores.where import Where, check_field, one_line, parse_where


def ranked(
    store: ScreenStore,
    top: int | None = None,
    where: Where = None,
    *,
    sort: Mapping[str, int] | None = None,
    skip: int = 0,
) -> list[RankedMaterial]:
    """Return the ranking, best first.

    Parameters
    ----------
    store
        The screen's store.
    top
        How many at most; all where None.
    where
        Mongo filter on :class:`~stores.documents.RankedDoc`, as a mapping or as JSON.
    sort
        Field → 1 or −1; by rising barrier, then id, where nothing is said.
    skip
        How many to leave out at the start: a page.

    Returns
    -------
    list of RankedMaterial
        Their ``rank`` is the place in the whole ranking, whatever the filter and the order.

    Raises
    ------
    BadInput
        The filter or a field to sort by is not valid.
    """
    if top is not None and top < 1:
        raise BadInput(f"--top: {top} is not allowed; give 1 or more")
    criteria = parse_where(where)
    order = dict(sort or {"barrier_ev": 1})
    for name in order:
        check_field(name, RankedDoc, "--sort")
    order.setdefault("candidate_id", 1)
    with one_line():
        docs = None
        if top is not None and order == {"barrier_ev": 1, "candidate_id": 1}:
            docs = best_page(store, criteria, top, skip)
        if docs is None:
            docs = list(store.find(RankedDoc, criteria, sort=order, skip=skip, limit=top or 0))
    return with_places(store, docs)


def count_ranked(store: ScreenStore, where: Where = None) -> int:
    """Count the ranked materials that match a filter; see :func:`ranked`."""
    criteria = parse_where(where)
    with one_line():
        return store.count(RankedDoc, criteria)


@dataclass(frozen=True)
class HopView:
    """A hop with its estimates at all levels, cheapest level first."""

    hop: HopDoc
    estimates: list[BarrierDoc]

    @property
    def best(self) -> BarrierDoc | None:
        """The estimate that decides, None where none is finished."""
        return best_estimates(self.estimates).get(self.hop.hop_id)


@dataclass(frozen=True)
class MaterialView:
    """A material with its hops, shortest first."""

    candidate: CandidateDoc
    ranked: RankedMaterial | None
    hops: list[HopView]


def look_up(store: ScreenStore, name: str) -> MaterialView | HopView:
    """Find what an id stands for: a candidate, a material, a hop or an estimate.

    Raises
    ------
    BadInput
        Nothing has this id, or it is the id of several candidates.
    """
    if hop := find_hop(store, name):
        return hop
    if material := find_material(store, name):
        return material
    estimate = store.get(BarrierDoc, barrier_id=name)
    if estimate and (hop := find_hop(store, estimate.hop_id)):
        return hop
    raise BadInput(f"store {store.uri}: no material or hop {name!r}; `hopscreen rank` lists ids")


def find_material(store: ScreenStore, name: str) -> MaterialView | None:
    """Return a material by its ``candidate_id`` or ``material_id``, None where there is none.

    Raises
    ------
    BadInput
        The material was screened for several working ions.
    """
    found = list(store.find(CandidateDoc, {"candidate_id": name}))
    found = found or list(store.find(CandidateDoc, {"material_id": name}))
    if not found:
        return None
    if len(found) > 1:
        choices = ", ".join(doc.candidate_id for doc in found)
        raise BadInput(f"material {name!r}: screened for several ions; give one of {choices}")
    candidate = found[0]
    mine = {"candidate_id": candidate.candidate_id}
    estimates: dict[str, list[BarrierDoc]] = defaultdict(list)
    for doc in store.find(BarrierDoc, mine):
        estimates[doc.hop_id].append(doc)
    hops = [
        HopView(hop, _by_level(estimates[hop.hop_id]))
        for hop in store.find(HopDoc, mine, sort={"length_ang": 1, "hop_id": 1})
    ]
    place = with_places(store, store.find(RankedDoc, mine))
    return MaterialView(candidate, place[0] if place else None, hops)


def find_hop(store: ScreenStore, hop_id: str) -> HopView | None:
    """Return a hop by its id, None where there is none."""
    hop = store.get(HopDoc, hop_id=hop_id)
    if hop is None:
        return None
    return HopView(hop, _by_level(store.find(BarrierDoc, {"hop_id": hop_id})))


@dataclass(frozen=True)
class StageCount:
    """How far one stage is; ``waiting`` is None where only a selection can tell."""

    stage: str
    done: int
    failed: int
    waiting: int | None = None


@dataclass(frozen=True)
class FailureGroup:
    """Failures of one kind at one stage, with one of them to look into."""

    stage: str
    kind: str
    count: int
    example: Failure
    example_id: str


@dataclass(frozen=True)
class Summary:
    """Where a screen stands."""

    stages: list[StageCount]
    failures: list[FailureGroup]
    rejected: dict[str, int] = field(default_factory=dict)
    """Filter → how many candidates it refused."""

    rejected_examples: dict[str, str] = field(default_factory=dict)
    """Filter → the first of them, and why."""


def summary(store: ScreenStore, screen_id: str | None = None) -> Summary:
    """Count what is done, failed and waiting at each stage.

    Parameters
    ----------
    store
        The screen's store.
    screen_id
        Only this screen's candidates; all of the store where None.
    """
    screen = {"screens": screen_id} if screen_id else {}
    fit = {**screen, "status": "ok"}
    mine = {"candidate_id": {"$in": store.ids(CandidateDoc, screen)}} if screen_id else {}

    def candidates(**more: Any) -> int:
        return store.count(CandidateDoc, {**screen, **more})

    def barriers(level: str, status: str) -> int:
        return store.count(BarrierDoc, {**mine, "level": level, "status": status})

    hops = store.count(HopDoc, mine)
    scored = len({row["hop_id"] for row in _hop_ids(store, {**mine, "level": "band"})})
    stages = [
        StageCount("candidates", candidates(status="ok"), candidates(status="failed"), 0),
        StageCount(
            "hops", *(store.count(CandidateDoc, {**fit, "hops_status": s})
                      for s in ("done", "failed", "waiting"))
        ),
        *(
            StageCount(
                level,
                barriers(level, "done"),
                barriers(level, "failed"),
                hops - scored if level == "band" else None,
            )
            for level in LEVELS
        ),
        StageCount("ranked", store.count(RankedDoc, mine), 0),
    ]  # fmt: skip
    rejected: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for doc in store.find(CandidateDoc, {**screen, "status": "rejected"}):
        name = doc.rejected_by or ""
        rejected[name] += 1
        if doc.error:
            examples.setdefault(name, f"{doc.material_id}: {doc.error.message}")
    return Summary(
        stages,
        failures(store, screen_id),
        dict(sorted(rejected.items())),
        dict(sorted(examples.items())),
    )


def failures(store: ScreenStore, screen_id: str | None = None) -> list[FailureGroup]:
    """Group the failures by stage and kind, the most frequent first."""
    screen = {"screens": screen_id} if screen_id else {}
    mine = {"candidate_id": {"$in": store.ids(CandidateDoc, screen)}} if screen_id else {}
    found: list[tuple[str, str, Failure | None, str | None]] = []
    for doc in store.find(
        CandidateDoc, {**screen, "$or": [{"status": "failed"}, {"hops_status": "failed"}]}
    ):
        stage = "candidates" if doc.status == "failed" else "hops"
        found.append((stage, doc.candidate_id, doc.error, doc.provenance.folder))
    for barrier in store.find(BarrierDoc, {**mine, "status": "failed"}):
        folder = barrier.provenance.folder
        found.append((barrier.level, barrier.barrier_id, barrier.error, folder))
    groups: dict[tuple[str, str], list[tuple[Failure, str]]] = defaultdict(list)
    for stage, key, error, folder in found:
        error = error or Failure(kind="unknown", message="no error was kept")
        if error.folder is None:
            error = error.model_copy(update={"folder": folder})
        groups[stage, error.kind].append((error, key))
    return sorted(
        (
            FailureGroup(stage, kind, len(members), *members[0])
            for (stage, kind), members in groups.items()
        ),
        key=lambda group: (-group.count, group.stage, group.kind),
    )


def _hop_ids(store: ScreenStore, criteria: dict[str, Any]) -> Iterable[dict[str, Any]]:
    return store.barriers._collection.find(criteria, {"_id": 0, "hop_id": 1})


def _by_level(docs: Iterable[BarrierDoc]) -> list[BarrierDoc]:
    return sorted(docs, key=lambda doc: (LEVELS.index(doc.level), doc.barrier_id))
