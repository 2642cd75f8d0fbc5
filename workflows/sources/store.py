"""``source: store``: hosts from any maggma store: a MongoDB collection, a file, a past screen."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from maggma.core import Store
from maggma.stores import MemoryStore, MongoURIStore
from monty.io import zopen
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pymatgen.core import Structure
from pymongo.errors import PyMongoError

from stores.documents import Failure
from stores.errors import BadInput
from stores.screen_store import open_store
from workflows.batches import batched
from workflows.sources.base import CandidateRecord, SourceOptions, SourceUnavailable, one_line

PAGE = 200
"""Documents of one query."""

_ROW = "_row"
"""Number of a document in its file: what tells them apart there."""

_SECRETS = re.compile(r"password|secret|access_key|token", re.IGNORECASE)


class FieldMap(BaseModel):
    """Where a document keeps what a candidate is made of; nested fields with dots."""

    model_config = ConfigDict(extra="forbid")

    material_id: str = "material_id"
    structure: str = Field(
        default="structure", description="a pymatgen dictionary, or the text of a CIF or POSCAR"
    )
    energy_above_hull: str = Field(default="energy_above_hull", description="eV/atom")
    band_gap: str = Field(default="band_gap", description="eV")
    reference: str = "reference"


class StoreOptions(SourceOptions):
    """A collection of hosts: exactly one of ``uri`` and ``maggma`` says where."""

    source: Literal["store"]
    uri: str | None = Field(
        None,
        description="mongodb://host/database, a .json file, the folder of a past screen, or "
        "env:NAME for an address in an environment variable",
    )
    maggma: dict[str, Any] | None = Field(
        None, description="any maggma store, as its as_dict() writes it"
    )
    collection: str | None = Field(None, description="MongoDB collection")
    query: dict[str, Any] = Field(default_factory=dict, description="MongoDB criteria")
    fields: FieldMap = FieldMap()

    @model_validator(mode="after")
    def _one_place(self) -> StoreOptions:
        if (self.uri is None) == (self.maggma is None):
            raise ValueError("give one of uri and maggma")
        if self.uri and self.uri.startswith("mongodb") and not self.collection:
            raise ValueError("uri: a MongoDB database needs a collection too")
        return self

    @field_validator("uri")
    @classmethod
    def _address(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None or value.startswith("env:"):
            return value
        if "://" in value:
            return value
        folder = (info.context or {}).get("folder")
        return str(Path(folder or ".").expanduser().resolve() / Path(value).expanduser())

    @field_validator("maggma")
    @classmethod
    def _is_a_maggma_store(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is None:
            return None
        # Decoding runs the class that is named: nothing but maggma's own may be.
        if not str(value.get("@module", "")).startswith("maggma.stores") or "@class" not in value:
            raise ValueError("give @module: maggma.stores.… and @class, as as_dict() writes them")
        for key, content in value.items():
            if content and _SECRETS.search(str(key)):
                raise ValueError(f"keep '{key}' out of the file: use uri: env:NAME")
        return value

    def records(
        self, working_ion: str, known: Container[str] = frozenset()
    ) -> Iterator[CandidateRecord]:
        """Yield the documents of the query by rising id; a bad one as a record with its error.

        Raises
        ------
        BadInput
            No such file, folder or environment variable; a query that the store refuses.
        SourceUnavailable
            The server does not answer.
        """
        key = self.fields.material_id
        with self._opened() as store:
            nameless = store.count({"$and": [self.query, {key: {"$exists": False}}]})
            if nameless:
                raise BadInput(
                    f"candidates.fields.material_id: {nameless} documents have no {key}; name the "
                    "field that identifies a host"
                )
            # Ids alone, one by one: distinct() has a limit of 16 MB on a server.
            rows = store.query(self.query or None, [key])
            ids = sorted({str(_at(row, key)) for row in rows})
            missing = []
            for material_id in ids:
                if material_id in known:
                    yield CandidateRecord(material_id, self.source, known=True)
                else:
                    missing.append(material_id)
            wanted = list(self.fields.model_dump().values())
            for page in batched(missing, PAGE):
                # Ids may be numbers in the store: they are compared as text.
                found = {
                    str(_at(document, key)): document
                    for document in store.query(
                        {**self.query, key: {"$in": _as_kept(page)}}, wanted
                    )
                }
                for material_id in page:
                    yield self._record(material_id, found.get(material_id))

    def _record(self, material_id: str, document: dict[str, Any] | None) -> CandidateRecord:
        fields, place = self.fields, self.uri or str((self.maggma or {}).get("@class"))
        try:
            if document is None:
                raise ValueError("the document is gone")
            structure = _structure(_at(document, fields.structure))
            hull, gap = (
                None if value is None else float(value)
                for value in (
                    _at(document, fields.energy_above_hull),
                    _at(document, fields.band_gap),
                )
            )
        # Documents come from anywhere: whatever is wrong with one is its record's error.
        except Exception as error:
            return CandidateRecord(
                material_id,
                self.source,
                reference=place,
                error=Failure(
                    kind="InvalidDocument",
                    message=f"{material_id}: no host in this document: {one_line(error)}",
                ),
            )
        reference = _at(document, fields.reference)
        return CandidateRecord(
            material_id,
            self.source,
            structure=structure,
            reference=str(reference) if reference else place,
            energy_above_hull_ev=hull,
            band_gap_ev=gap,
            metadata={"store": place, "collection": self.collection, "query": str(self.query)},
        )

    @contextmanager
    def _opened(self) -> Iterator[Store]:
        try:
            with self._store() as store:
                yield store
        except PyMongoError as error:
            raise SourceUnavailable(
                f"candidates store: {one_line(error, 160)}; check the server and the query, "
                "then run the same command again"
            ) from error

    @contextmanager
    def _store(self) -> Iterator[Store]:
        address = self.uri or ""
        if address.startswith("env:"):
            name = address.removeprefix("env:")
            address = os.environ.get(name, "")
            if not address:
                raise BadInput(f"candidates.uri: the environment variable {name} is not set")
        if self.maggma is not None:
            store = _decoded(self.maggma)
        elif address.startswith("mongodb"):
            store = MongoURIStore(
                address,
                self.collection or "",
                key=self.fields.material_id,
                mongoclient_kwargs={}
                if "serverSelectionTimeoutMS" in address
                else {"serverSelectionTimeoutMS": 5000},
            )
        elif Path(address).is_dir():
            with open_store(address, create=False) as screen:
                yield screen.candidates
            return
        elif Path(address).is_file():
            store = _rows_of(Path(address))
        else:
            raise BadInput(f"candidates.uri: {address}: no such file or folder; check the path")
        with store:
            yield store


def _decoded(description: dict[str, Any]) -> Store:
    from monty.json import MontyDecoder

    try:
        store = MontyDecoder().process_decoded(description)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise BadInput(f"candidates.maggma: no such store: {one_line(error)}") from None
    if not isinstance(store, Store):
        raise BadInput(f"candidates.maggma: {description['@class']} is no maggma store")
    return store


def _rows_of(path: Path) -> Store:
    """Return a JSON file's list of documents as a store in memory."""
    try:
        with zopen(path, "rt", encoding="utf-8") as handle:
            rows = json.load(handle)
    except (OSError, ValueError) as error:
        raise BadInput(f"candidates.uri: {path}: no readable JSON: {one_line(error)}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadInput(f"candidates.uri: {path}: give a list of documents")
    store = MemoryStore(key=_ROW)
    store.connect()
    store.update([{**row, _ROW: number} for number, row in enumerate(rows)])
    return store


def _as_kept(ids: tuple[str, ...]) -> list[str | int]:
    return [*ids, *(int(i) for i in ids if i.isdecimal())]


def _at(document: dict[str, Any], path: str) -> Any:
    """Follow a dotted path; None where it ends early."""
    value: Any = document
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _structure(value: Any) -> Structure:
    if isinstance(value, str):
        form: Any = "cif" if "_cell_length_a" in value else "poscar"
        return Structure.from_str(value, fmt=form)
    if not isinstance(value, dict):
        raise ValueError("it has no structure; check fields.structure")
    return Structure.from_dict(value)
