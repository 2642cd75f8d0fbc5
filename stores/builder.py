"""The ranking as a maggma builder: only what changed is looked at again.

``mrun rank.json`` runs it, where ``rank.json`` holds ::

    {"@module": "stores.builder", "@class": "RankBuilder", "store_uri": "mongodb://host/li"}
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from maggma.core import Builder

from stores.documents import RankedDoc
from stores.ranking import MaterialData, load_materials, rank_material, renumber, write_ranked
from stores.screen_store import ScreenStore, open_store

_MARGIN = timedelta(minutes=2)
"""How far clocks may differ, and how long a write may take to be seen."""

_MARK = "rank_builder"


class RankBuilder(Builder):
    """Keep ``ranked`` up to date with ``candidates``, ``hops`` and ``barriers``.

    Running it twice changes nothing, and any number of changes gives what
    :func:`stores.ranking.rank_materials` gives from scratch.

    Parameters
    ----------
    store_uri
        Folder or ``mongodb://`` URI, for :func:`~stores.screen_store.open_store`. Credentials
        belong in the environment, since a builder is written to files.
    temperature_k, dimension
        As for :func:`~stores.ranking.rank_materials`. A material ranked with others is stale.
    rebuild
        Look at every material, as after documents have been deleted by hand.
    chunk_size
        Materials written at once.
    """

    def __init__(
        self,
        store_uri: str,
        temperature_k: float = 300.0,
        dimension: int = 1,
        rebuild: bool = False,
        chunk_size: int = 500,
    ) -> None:
        self.store_uri = store_uri
        self.temperature_k = temperature_k
        self.dimension = dimension
        self.rebuild = rebuild
        self._store: ScreenStore | None = None
        self._began: datetime | None = None
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
        """Yield the materials whose documents changed since the last build."""
        self._began = datetime.now(UTC)
        ids = self.stale()
        self.total = len(ids)
        self.logger.info("%d materials to look at", self.total)
        for batch in load_materials(self.store, ids):
            yield from batch

    def stale(self) -> list[str]:
        """Return the candidates whose ranking may be out of date, sorted."""
        mark = self.store.marks.query_one({"name": _MARK})
        changed: dict[str, Any] = {}
        if mark is not None and not self.rebuild:
            changed = {"last_updated": {"$gte": mark["began"] - _MARGIN}}
        ids: set[str] = set()
        for source in (self.store.candidates, self.store.hops, self.store.barriers):
            ids |= {row["candidate_id"] for row in _candidate_ids(source, changed)}
        others = [
            {"temperature_k": {"$ne": self.temperature_k}},
            {"dimension": {"$ne": self.dimension}},
        ]
        ids |= {row["candidate_id"] for row in _candidate_ids(self.store.ranked, {"$or": others})}
        return sorted(ids)

    def process_item(self, item: MaterialData) -> tuple[str, RankedDoc | None]:
        """Rank one material by itself; needs no store."""
        doc = rank_material(item, temperature_k=self.temperature_k, dimension=self.dimension)
        return item.candidate.candidate_id, doc

    def update_targets(self, items: list[tuple[str, RankedDoc | None]]) -> None:
        """Write the rankings that changed."""
        write_ranked(self.store, dict(items))

    def finalize(self) -> None:
        """Number the ranks, and remember how far this build has come."""
        renumber(self.store)
        self.store.marks.update([{"name": _MARK, "began": self._began}])
        self.store.close()
        self._store = None


def _candidate_ids(source: Any, criteria: dict[str, Any]) -> Iterator[dict[str, Any]]:
    found: Iterator[dict[str, Any]] = source._collection.find(
        criteria, {"_id": 0, "candidate_id": 1}
    )
    return found
