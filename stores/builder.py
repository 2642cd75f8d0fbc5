"""The ranking as a maggma builder: only what changed is looked at again.

``hopscreen rank --build`` runs it here, ``mrun rank.json`` anywhere, where ``rank.json`` holds ::

    {"@module": "stores.builder", "@class": "RankBuilder", "store_uri": "mongodb://host/li"}
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from maggma.core import Builder
from maggma.utils import grouper

from stores.calibration import Calibrations, calibrate
from stores.documents import CandidateDoc, RankedDoc
from stores.pages import set_rungs
from stores.rank_note import RankNote, RankSettings
from stores.ranking import MaterialData, load_materials, rank_material, write_ranked
from stores.screen_store import ScreenStore, open_store

_MARGIN = timedelta(minutes=2)
"""How far clocks may differ, and how long a write may take to be seen."""


class RankBuilder(Builder):
    """Keep ``ranked`` up to date with ``candidates``, ``hops`` and ``barriers``.

    Running it twice changes nothing, and any number of changes gives what
    :func:`stores.ranking.rank_materials` gives from scratch. Everything is looked at again when
    the settings are others, or when new estimates have moved a calibration.

    Parameters
    ----------
    store_uri
        Folder or ``mongodb://`` URI, for :func:`~stores.screen_store.open_store`. Credentials
        belong in the environment, since a builder is written to files.
    temperature_k, dimension
        As for :func:`~stores.ranking.rank_materials`; those of the last time where None.
    rebuild
        Look at every material, as after documents have been deleted by hand.
    chunk_size
        Materials written at once.
    """

    def __init__(
        self,
        store_uri: str,
        temperature_k: float | None = None,
        dimension: int | None = None,
        rebuild: bool = False,
        chunk_size: int = 500,
    ) -> None:
        if dimension not in (None, 1, 2, 3):
            raise ValueError(f"dimension {dimension}: give 1, 2 or 3")
        self.store_uri = store_uri
        self.temperature_k = temperature_k
        self.dimension = dimension
        self.rebuild = rebuild
        self.changed = 0
        """Documents written or taken out so far."""
        self._failed = 0
        self._store: ScreenStore | None = None
        self._note = RankNote()
        super().__init__(sources=[], targets=[], chunk_size=chunk_size)

    @property
    def store(self) -> ScreenStore:
        """The open store."""
        if self._store is None:
            self.connect()
        assert self._store is not None
        return self._store

    def connect(self) -> None:
        """Open the store."""
        if self._store is None:
            self._store = open_store(self.store_uri)
            self.sources = [self._store.candidates, self._store.hops, self._store.barriers]
            self.targets = [self._store.ranked]

    def get_items(self) -> Iterator[MaterialData]:
        """Yield the materials whose ranking may be out of date."""
        yield from self._load(self.stale())

    def _load(self, ids: list[str]) -> Iterator[MaterialData]:
        self.total = len(ids)
        self.logger.info("%d materials to look at", self.total)
        note = self._note
        for batch in load_materials(self.store, ids, note.settings, note.calibrations):
            yield from batch

    def stale(self) -> list[str]:
        """Return the candidates whose ranking may be out of date, sorted.

        Rankings of candidates that are gone are taken out on the way.
        """
        old = RankNote.read(self.store)
        settings = RankSettings(
            old.settings.temperature_k if self.temperature_k is None else self.temperature_k,
            old.settings.dimension if self.dimension is None else self.dimension,
        )
        found = calibrate(self.store)
        calibrations = found if self.rebuild else found.unless_near(old.calibrations)
        self._note = RankNote(datetime.now(UTC), settings, calibrations)
        if (
            self.rebuild
            or old.began is None
            or (old.settings, old.calibrations) != (settings, self._note.calibrations)
        ):
            known = self.store.ids(CandidateDoc)
            if orphans := sorted(set(self.store.ids(RankedDoc)) - set(known)):
                self.store.ranked.remove_docs({"candidate_id": {"$in": orphans}})
                self.changed += len(orphans)
            return known
        since = {"last_updated": {"$gte": old.began - _MARGIN}}
        ids: set[str] = set()
        for source in self.sources:
            ids |= _candidate_ids(source, since)
        for name, value in vars(settings).items():
            for side in ("$lt", "$gt"):  # an index helps with these, not with $ne
                ids |= _candidate_ids(self.store.ranked, {name: {side: value}})
        return sorted(ids)

    def process_item(self, item: MaterialData) -> tuple[str, RankedDoc | None]:
        """Rank one material by itself; needs no store."""
        return item.candidate.candidate_id, rank_material(item)

    def update_targets(self, items: list[tuple[str, RankedDoc | None] | None]) -> None:
        """Write the rankings that changed."""
        ranked = dict(item for item in items if item is not None)
        self._failed += len(items) - len(ranked)  # mrun has told why
        self.changed += write_ranked(self.store, ranked)

    def finalize(self) -> None:
        """Remember how far this build has come, unless a material could not be ranked."""
        if not self._failed:
            self._note.write(self.store)
        set_rungs(self.store, self.changed)
        self.store.close()
        self._store = None

    @property
    def calibrations(self) -> Calibrations:
        """What this build ranks with; known after :meth:`stale`."""
        return self._note.calibrations

    def build(self, ids: list[str] | None = None) -> Iterator[int]:
        """Run here; yield how many materials have been looked at, after each chunk.

        Parameters
        ----------
        ids
            What :meth:`stale` returned, for who wanted to know their number before.
        """
        done = 0
        items = self._load(self.stale() if ids is None else ids)
        for chunk in grouper(items, self.chunk_size):
            self.update_targets([self.process_item(item) for item in chunk])
            done += len(chunk)
            yield done
        self.finalize()


def _candidate_ids(source: Any, criteria: dict[str, Any]) -> set[str]:
    rows = source._collection.find(criteria, {"_id": 0, "candidate_id": 1})
    return {row["candidate_id"] for row in rows}
