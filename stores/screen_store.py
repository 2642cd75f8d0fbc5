"""One screen's collections, on a folder or on a MongoDB server.

``open_store("results")`` keeps everything in a folder, ``open_store("mongodb://host/database")``
on a server; the code that uses the store is the same.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TypeVar

from jobflow import JobStore
from maggma.core import Store
from maggma.stores import MongoStore
from pydantic import ValidationError
from pymongo import ReplaceOne, UpdateOne

from stores.backends import Backend, open_backend
from stores.documents import (
    SCHEMA_VERSION,
    BarrierDoc,
    CandidateDoc,
    Document,
    HopDoc,
    RankedDoc,
)
from stores.errors import BadInput

_log = logging.getLogger(__name__)

Doc = TypeVar("Doc", bound=Document)

COLLECTIONS: dict[type[Document], tuple[str, str]] = {
    CandidateDoc: ("candidates", "candidate_id"),
    HopDoc: ("hops", "hop_id"),
    BarrierDoc: ("barriers", "barrier_id"),
    RankedDoc: ("ranked", "candidate_id"),
}
"""Document type → collection and the field that is its id."""

INDEXES: dict[str, tuple[tuple[str, ...], ...]] = {
    "candidates": (
        ("screens", "candidate_id"),
        ("candidate_id",),
        ("material_id",),
        ("status",),
        ("hops_status",),
        ("last_updated",),
    ),
    "hops": (("candidate_id",), ("hop_id",), ("last_updated",)),
    "barriers": (
        ("candidate_id", "level"),
        ("hop_id", "level"),
        ("barrier_id",),
        ("level", "status", "hop_id"),
        ("last_updated",),
    ),
    "ranked": (
        ("barrier_ev", "candidate_id"),
        ("candidate_id",),
        ("material_id", "candidate_id"),
        ("working_ion", "barrier_ev", "candidate_id"),
        ("dimension",),
        ("temperature_k",),
        ("band_gap_ev", "candidate_id"),
        ("energy_above_hull_ev", "candidate_id"),
        ("diffusivity_cm2_s", "candidate_id"),
        ("formula", "candidate_id"),
        ("elements",),
        ("interval_90_ev.1",),
        ("limits.2.barrier_ev",),
        ("limits.3.barrier_ev",),
        ("levels_disagree",),
        # Of few values: an index of their own would mislead simple planners. At the end of this
        # one they are columns of an embedded store, which filters and sorts by them at once.
        ("cost_usd_per_kg", "candidate_id", "hazard", "level"),
    ),
    "marks": (("name",),),
    "runs": (("run_id",), ("of", "number"), ("kind",)),
    "outputs": (("uuid", "index"),),
}
"""Collection → compound indexes, chosen for the queries of :mod:`stores.queries`."""

_BATCH = 1000

_FETCHED = 200
"""Whole documents asked of a server at once: its own choice is 16 MB, which become hundreds of MB
of Python objects."""


class ScreenStore:
    """The collections of a screen.

    Use it as a context manager. It must not cross a fork or be pickled: hand :attr:`uri` to the
    other process and open it there.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.uri = backend.uri
        self.candidates = backend.collection("candidates", "candidate_id")
        self.hops = backend.collection("hops", "hop_id")
        self.barriers = backend.collection("barriers", "barrier_id")
        self.ranked = backend.collection("ranked", "candidate_id")
        self.runs = backend.collection("runs", "run_id")
        self.marks = backend.collection("marks", "name")
        self.blobs: Store = backend.files("blobs", "blob_id")
        if not backend.read_only:
            backend.ensure_indexes(INDEXES)

    def __repr__(self) -> str:
        return f"ScreenStore({self.uri!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._backend.close()

    def collection_of(self, model: type[Document]) -> tuple[MongoStore, str]:
        """Return the maggma store of a document type and its id field."""
        name, key = COLLECTIONS[model]
        return getattr(self, name), key

    def put(self, docs: Iterable[Document]) -> int:
        """Upsert documents by their id.

        A candidate's ``screens`` are added to those already there; all else is replaced.

        Returns
        -------
        int
            How many documents were written.
        """
        batches: dict[type[Document], list[UpdateOne | ReplaceOne]] = {}
        count = 0
        for doc in docs:
            batch = batches.setdefault(type(doc), [])
            batch.append(self._upsert(doc))
            count += 1
            if len(batch) >= _BATCH:
                self._write(type(doc), batch)
                batch.clear()
        for model, batch in batches.items():
            self._write(model, batch)
        return count

    def _upsert(self, doc: Document) -> UpdateOne | ReplaceOne:
        _, key = COLLECTIONS[type(doc)]
        fields = doc.model_dump(mode="python")
        fields["last_updated"] = datetime.now(UTC)
        identity = {"_id": fields[key]}
        if not isinstance(doc, CandidateDoc):
            return ReplaceOne(identity, fields, upsert=True)
        screens = {"screens": {"$each": fields.pop("screens")}}
        return UpdateOne(identity, {"$set": fields, "$addToSet": screens}, upsert=True)

    def _write(self, model: type[Document], batch: list[UpdateOne | ReplaceOne]) -> None:
        if batch:
            store, _ = self.collection_of(model)
            store._collection.bulk_write(batch, ordered=False)

    def get(self, model: type[Doc], **criteria: Any) -> Doc | None:
        """Return the first document that matches, or None."""
        return next(self.find(model, criteria, limit=1), None)

    def find(
        self,
        model: type[Doc],
        criteria: dict[str, Any] | None = None,
        *,
        sort: dict[str, int] | None = None,
        skip: int = 0,
        limit: int = 0,
        without: Iterable[str] = (),
    ) -> Iterator[Doc]:
        """Yield validated documents that match a Mongo filter.

        Parameters
        ----------
        model
            The document type, which names the collection.
        criteria
            Mongo filter.
        sort
            Field → 1 or −1; by id where nothing is said.
        skip, limit
            Page; ``limit=0`` means all.
        without
            Fields not to read, which take their defaults: a profile is larger than all else.
        """
        store, key = self.collection_of(model)
        hidden = dict.fromkeys(("_id", "last_updated", *without), 0)
        order = list((sort or {key: 1}).items())
        rows = store._collection.find(
            criteria or {}, hidden, skip=skip, limit=limit, sort=order, batch_size=_FETCHED
        )
        for row in rows:
            if (doc := _validated(model, row, f"{store.collection_name}: {row[key]}")) is not None:
                yield doc

    def ids(self, model: type[Document], criteria: dict[str, Any] | None = None) -> list[str]:
        """Return the sorted ids of the documents that match a Mongo filter."""
        store, _ = self.collection_of(model)
        return sorted(row["_id"] for row in store._collection.find(criteria or {}, {"_id": 1}))

    def count(self, model: type[Document], criteria: dict[str, Any] | None = None) -> int:
        """Count the documents that match a Mongo filter."""
        store, _ = self.collection_of(model)
        return int(store._collection.count_documents(criteria or {}))

    def tag_screen(self, screen_id: str, candidate_ids: Iterable[str]) -> None:
        """Say that candidates belong to a screen; telling it twice changes nothing."""
        ids = list(candidate_ids)
        for start in range(0, len(ids), _BATCH):
            batch = {"_id": {"$in": ids[start : start + _BATCH]}, "screens": {"$ne": screen_id}}
            self.candidates._collection.update_many(batch, {"$addToSet": {"screens": screen_id}})

    def save_blob(self, blob_id: str, content: dict[str, Any]) -> None:
        """Keep a large JSON-able mapping; an existing blob of this id is replaced."""
        self.blobs.update([{"blob_id": blob_id, "content": content}], key="blob_id")

    def load_blob(self, blob_id: str) -> dict[str, Any]:
        """Return what :meth:`save_blob` kept.

        Raises
        ------
        KeyError
            If there is no such blob.
        """
        row = next(iter(self.blobs.query({"blob_id": blob_id})), None)
        if row is None:
            raise KeyError(blob_id)
        content: dict[str, Any] = row["content"]
        return content

    def jobstore(self) -> JobStore:
        """Return a connected jobflow store in the same place.

        Documents go to the collection ``outputs``, large objects to the additional store
        ``data``.
        """
        jobs = JobStore(
            self._backend.collection("outputs", "uuid"),
            additional_stores={"data": self._backend.files("outputs_data", "blob_uuid")},
        )
        jobs.connect()
        return jobs


def _validated(model: type[Doc], row: dict[str, Any], where: str) -> Doc | None:
    """Read one document; a broken one is named and left out, and hides no other."""
    version = row.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BadInput(
            f"{where}: schema_version {version} is newer than {SCHEMA_VERSION}, which this "
            "hopscreen knows; upgrade hopscreen"
        )
    try:
        doc = model.model_validate(row)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        flaw: str | None = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    else:
        flaw = doc.flaw()
    if flaw is None:
        return doc
    _log.warning("%s: %s; document left out", where, flaw)
    return None


def open_store(uri: str, *, create: bool = True) -> ScreenStore:
    """Open a screen's store.

    Parameters
    ----------
    uri
        A folder, or ``mongodb://host[:port]/database`` (also ``mongodb+srv://``). User and
        password are taken from the URI or from ``HOPSCREEN_MONGODB_USERNAME`` and
        ``HOPSCREEN_MONGODB_PASSWORD``, and are never shown.
    create
        Make the folder if it is not there. With ``create=False`` the store is opened for
        reading and nothing is written to it.

    Raises
    ------
    BadInput
        The folder is missing, unwritable, not a store, or written by a newer version; the
        server cannot be reached.
    """
    backend = open_backend(uri, create=create)
    if backend.schema_version < SCHEMA_VERSION:
        backend.close()
        raise BadInput(
            f"store {backend.uri}: schema_version {backend.schema_version} is older than "
            f"{SCHEMA_VERSION}; run: hopscreen migrate --store {backend.uri}"
        )
    return ScreenStore(backend)
