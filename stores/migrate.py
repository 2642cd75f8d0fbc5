"""Bring a store from one version of the schema to the next.

When the fields of a document change, :data:`~stores.documents.SCHEMA_VERSION` goes up by one, and
:data:`STEPS` gets an entry that says how each collection's documents change; an empty one where
fields with defaults have come, for a hopscreen that does not know them would leave out all the
documents that have them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pymongo import ReplaceOne

from stores.backends import open_backend
from stores.documents import SCHEMA_VERSION
from stores.errors import BadInput
from stores.screen_store import COLLECTIONS

Row = dict[str, Any]
Step = Mapping[str, Callable[[Row], Row]]

STEPS: dict[int, Step] = {
    # Places are counted when they are asked for.
    1: {"ranked": lambda row: {key: row[key] for key in row if key != "rank"}},
}
"""Version → how each collection's documents become those of the next version."""

_BATCH = 500


@dataclass(frozen=True)
class Migrated:
    """What one step did, or would do, to one collection."""

    collection: str
    to_version: int
    documents: int
    broken: tuple[str, ...] = ()
    """Ids of documents that do not validate afterwards, as far as a dry run finds them."""


def migrate(uri: str, *, dry_run: bool = False) -> list[Migrated]:
    """Bring a store to this hopscreen's version of the schema.

    Killed on the way, it goes on at the next call: each document carries its version.

    Parameters
    ----------
    uri
        As for :func:`~stores.screen_store.open_store`. No screen may be at work on it.
    dry_run
        Change nothing; say what would change, and which documents would not validate.

    Returns
    -------
    list of Migrated
        Empty if there is nothing to do.

    Raises
    ------
    BadInput
        There is no such store, it is newer, or no step leads on from its version.
    """
    open_backend(uri, create=False).close()  # a store that is not there is not made
    backend = open_backend(uri, create=not dry_run)
    try:
        done = []
        for version in range(backend.schema_version, SCHEMA_VERSION):
            if version not in STEPS:
                raise BadInput(
                    f"store {backend.uri}: no way from schema_version {version} to {version + 1}; "
                    "use the hopscreen that wrote it"
                )
            last = version + 1 == SCHEMA_VERSION
            for model, (name, key) in COLLECTIONS.items():
                collection = backend.collection(name, key)._collection
                change = STEPS[version].get(name, dict)
                broken: list[str] = []
                count = 0
                batch: list[ReplaceOne] = []
                for row in collection.find({"schema_version": version}):
                    new = {**change(dict(row)), "schema_version": version + 1}
                    count += 1
                    if dry_run and last and not _validates(model, new):
                        broken.append(str(row["_id"]))
                    batch.append(ReplaceOne({"_id": row["_id"]}, new))
                    if not dry_run and len(batch) >= _BATCH:
                        collection.bulk_write(batch)
                        batch.clear()
                if batch and not dry_run:
                    collection.bulk_write(batch)
                done.append(Migrated(name, version + 1, count, tuple(broken)))
            if not dry_run:
                backend.set_schema_version(version + 1)
        return done
    finally:
        backend.close()


def _validates(model: Any, row: Row) -> bool:
    try:
        model.model_validate({k: v for k, v in row.items() if k not in ("_id", "last_updated")})
    except ValidationError:
        return False
    return True
