"""Document collections in one SQLite file, with the part of pymongo's interface we need.

Written because what is at hand was measured and found wanting (``benchmarks/stores.py``): here a
query uses real B-tree indexes, however many processes write, and every write is one transaction.
What an operator means is left to mongomock, which maggma's own stores rest on: SQL narrows the
documents down (:mod:`stores.sqlite_filter`), mongomock decides and updates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mongomock_ng import MongoClient as MemoryClient
from mongomock_ng.aggregate import process_pipeline
from mongomock_ng.filtering import filter_applies
from pymongo import DeleteMany, DeleteOne, InsertOne, ReplaceOne, UpdateMany, UpdateOne
from pymongo.results import BulkWriteResult, DeleteResult, InsertManyResult, UpdateResult

from stores.sqlite_file import SqliteFile
from stores.sqlite_filter import decode
from stores.sqlite_table import Row, Sort, SqliteTable, normal, quoted, refuse_code


class SqliteDatabase(SqliteFile):
    """Collections in one SQLite file."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        super().__init__(path, read_only=read_only)
        self._collections: dict[str, SqliteCollection] = {}

    def __getitem__(self, name: str) -> SqliteCollection:
        if name not in self._collections:
            self._collections[name] = SqliteCollection(self, name)
        return self._collections[name]

    get_collection = __getitem__


class SqliteCollection(SqliteTable):
    """One collection; the methods are pymongo's, for the arguments that maggma uses."""

    database: SqliteDatabase

    def create_index(
        self, keys: str | Sort, *, unique: bool = False, background: bool = False
    ) -> str:
        """Index one or more paths; doing it twice changes nothing."""
        pairs = [(keys, 1)] if isinstance(keys, str) else list(keys)
        name = "_".join(f"{path}_{order}" for path, order in pairs)
        index = quoted(f"{self.name}/{name}")
        with self.database.transaction() as connection:
            for path, _ in pairs:
                if path not in self._paths:
                    self._add_column(connection, path)
            columns = ", ".join(f"{quoted(p)} {'DESC' if o < 0 else 'ASC'}" for p, o in pairs)
            kind = "UNIQUE INDEX" if unique else "INDEX"
            connection.execute(f"CREATE {kind} IF NOT EXISTS {index} ON {self._keys} ({columns})")
        return name

    def index_information(self) -> dict[str, dict[str, Any]]:
        """Return the indexes as pymongo does."""
        return {f"{path}_1": {"key": [(path, 1)]} for path in self._paths}

    def find(
        self,
        filter: Mapping[str, Any] | None = None,
        projection: Mapping[str, Any] | Sequence[str] | None = None,
        skip: int = 0,
        limit: int = 0,
        sort: Sort | None = None,
        hint: Any = None,
        batch_size: int = 0,
    ) -> Iterator[Row]:
        """Yield documents, one at a time whatever ``batch_size`` says.

        What a query selects is settled when it starts.
        """
        criteria = normal(filter)
        condition = self._compile(criteria)
        order = list(sort or [])
        ordered = all(path in self._paths and not self._has_member(path) for path, _ in order)
        clause = [f"{quoted(p)} {'DESC' if o < 0 else 'ASC'}" for p, o in order if ordered]
        fields = _fields(projection)
        covered = self._covered(fields) if condition.exact and ordered else []
        sql = (
            f"SELECT {', '.join(['id', *map(quoted, covered)])} FROM {self._keys} "
            f"WHERE {condition.sql} ORDER BY {', '.join([*clause, 'id'])}"
        )
        if paged := condition.exact and ordered:
            sql += f" LIMIT {limit or -1} OFFSET {skip}"
        selected = self.database.connection.execute(sql, condition.params).fetchall()
        # NULL may be null or missing, which only the document tells.
        if covered and not any(None in row for row in selected):
            return (dict(zip(covered, map(decode, row[1:]), strict=True)) for row in selected)
        numbers = [row[0] for row in selected]
        rows: Iterable[Row] = self._load(numbers, first=skip + limit)
        if not condition.exact:
            rows = (row for row in rows if filter_applies(criteria, row))
        if not ordered:
            rows = process_pipeline(list(rows), self.database, [{"$sort": dict(order)}], None)
        if not paged:
            rows = _page(rows, skip, limit)
        return _project(rows, fields)

    def find_one(
        self, filter: Mapping[str, Any] | None = None, projection: Any = None, **kwargs: Any
    ) -> Row | None:
        """Return the first document that matches, or None."""
        return next(self.find(filter, projection, limit=1, **kwargs), None)

    def count_documents(self, filter: Mapping[str, Any], **kwargs: Any) -> int:
        """Count the documents that match."""
        condition = self._compile(normal(filter))
        if not condition.exact:
            return sum(1 for _ in self.find(filter))
        sql = f"SELECT count(*) FROM {self._keys} WHERE {condition.sql}"
        return int(self.database.connection.execute(sql, condition.params).fetchone()[0])

    def estimated_document_count(self) -> int:
        """Count all documents."""
        return self.count_documents({})

    def distinct(self, key: str, filter: Mapping[str, Any] | None = None) -> list[Any]:
        """Return the different values at a path, members of arrays one by one."""
        stages: list[Row] = [{"$unwind": f"${key}"}, {"$group": {"_id": f"${key}"}}]
        return [row["_id"] for row in self.aggregate([{"$match": filter or {}}, *stages])]

    def aggregate(self, pipeline: Sequence[Mapping[str, Any]], **kwargs: Any) -> Iterator[Row]:
        """Run a pipeline; a first ``$match`` uses the indexes."""
        stages = [normal(stage) for stage in pipeline]
        refuse_code(stages)
        first = stages.pop(0)["$match"] if stages and "$match" in stages[0] else {}
        rows = list(self.find(first))
        return iter(process_pipeline(rows, self.database, stages, None))

    def bulk_write(self, requests: Iterable[Any], ordered: bool = True) -> BulkWriteResult:
        """Carry out writes in one transaction."""
        counts: dict[str, Any] = {
            **dict.fromkeys(("nInserted", "nMatched", "nModified", "nUpserted", "nRemoved"), 0),
            **{name: [] for name in ("upserted", "writeErrors", "writeConcernErrors")},
        }
        with self.database.transaction():
            for request in requests:
                self._write(request, counts)
        return BulkWriteResult(counts, True)

    def _write(self, request: Any, counts: dict[str, Any]) -> None:
        if isinstance(request, InsertOne):
            self._insert(request._doc)
            counts["nInserted"] += 1
            return
        many = isinstance(request, UpdateMany | DeleteMany)
        found = self._targets(request._filter, many=many)
        if isinstance(request, DeleteOne | DeleteMany):
            for number, _ in found:
                self._delete(number)
            counts["nRemoved"] += len(found)
            return
        if not isinstance(request, ReplaceOne | UpdateOne | UpdateMany):
            raise NotImplementedError(f"bulk_write: {type(request).__name__}")
        for number, old in found:
            new = _updated(request, old)
            if new != old:
                self._store(number, new)
                counts["nModified"] += 1
        counts["nMatched"] += len(found)
        if not found and request._upsert:
            new = _updated(request, None)
            self._insert(new)
            counts["nUpserted"] += 1
            counts["upserted"].append({"index": counts["nUpserted"] - 1, "_id": new["_id"]})

    def insert_many(self, documents: Iterable[Row]) -> InsertManyResult:
        """Insert documents."""
        rows = list(documents)
        self.bulk_write([InsertOne(row) for row in rows])
        return InsertManyResult([row["_id"] for row in rows], True)

    def insert_one(self, document: Row) -> InsertManyResult:
        """Insert one document."""
        return self.insert_many([document])

    def update_one(
        self, filter: Mapping[str, Any], update: Mapping[str, Any], upsert: bool = False
    ) -> UpdateResult:
        """Update the first document that matches."""
        return self._update(UpdateOne(filter, update, upsert=upsert))

    def update_many(
        self, filter: Mapping[str, Any], update: Mapping[str, Any], upsert: bool = False
    ) -> UpdateResult:
        """Update all documents that match."""
        return self._update(UpdateMany(filter, update, upsert=upsert))

    def replace_one(
        self, filter: Mapping[str, Any], replacement: Mapping[str, Any], upsert: bool = False
    ) -> UpdateResult:
        """Replace the first document that matches."""
        return self._update(ReplaceOne(filter, replacement, upsert=upsert))

    def _update(self, request: Any) -> UpdateResult:
        done = self.bulk_write([request])
        raw = {"n": done.matched_count, "nModified": done.modified_count}
        if done.upserted_ids:
            raw["upserted"] = done.upserted_ids[0]
        return UpdateResult(raw, True)

    def delete_one(self, filter: Mapping[str, Any]) -> DeleteResult:
        """Delete the first document that matches."""
        return DeleteResult({"n": self.bulk_write([DeleteOne(filter)]).deleted_count}, True)

    def delete_many(self, filter: Mapping[str, Any]) -> DeleteResult:
        """Delete all documents that match."""
        return DeleteResult({"n": self.bulk_write([DeleteMany(filter)]).deleted_count}, True)


def _updated(request: ReplaceOne | UpdateOne | UpdateMany, old: Row | None) -> Row:
    """Return the document after a replacement or update; None stands for an upsert."""
    change = normal(request._doc)
    # The common cases first: mongomock costs ten times as much.
    if isinstance(request, ReplaceOne):
        identity = old or request._filter
        if "_id" in identity and not isinstance(identity["_id"], Mapping):
            return {"_id": identity["_id"], **change}
    elif (plain := _set_and_added(request._filter if old is None else old, change)) is not None:
        return plain
    memory: Any = MemoryClient().db.collection
    if old is not None:
        memory.insert_one(dict(old))
    criteria = normal(request._filter) if old is None else {}
    if isinstance(request, ReplaceOne):
        memory.replace_one(criteria, change, upsert=True)
    else:
        memory.update_one(criteria, change, upsert=True)
    new: Row = memory.find_one({})
    return new


def _set_and_added(row: Mapping[str, Any], change: Row) -> Row | None:
    """Set top-level fields and add texts to lists, as our own writes do; None for all else.

    ``row`` is the document, or the filter of an upsert.
    """
    fields, added = change.get("$set", {}), change.get("$addToSet", {})
    paths = [*fields, *added]
    if (
        set(change) - {"$set", "$addToSet"}
        or len(paths) > len(set(paths))
        or any("." in path or path == "_id" for path in paths)
        or isinstance(row.get("_id", {}), Mapping)
        or any(path.startswith("$") for path in row)
    ):
        return None
    new = {**row, **fields}
    for path, value in added.items():
        more = value["$each"] if isinstance(value, dict) and set(value) == {"$each"} else [value]
        there = new.get(path, [])
        if not isinstance(there, list) or not all(isinstance(v, str) for v in (*there, *more)):
            return None
        new[path] = list(dict.fromkeys((*there, *more)))
    return new


def _page(rows: Iterable[Row], skip: int, limit: int) -> Iterator[Row]:
    for place, row in enumerate(rows):
        if place >= skip:
            yield row
        if limit and place + 1 >= skip + limit:
            return


def _fields(projection: Mapping[str, Any] | Sequence[str] | None) -> dict[str, Any]:
    if isinstance(projection, Mapping):
        return dict(projection)
    return dict.fromkeys(projection or [], 1)


def _project(rows: Iterable[Row], fields: dict[str, Any]) -> Iterator[Row]:
    if not fields:
        yield from rows
        return
    simple = not any("." in name or value not in (0, 1) for name, value in fields.items())
    keep_id = fields.pop("_id", 1)
    if simple and (not fields or len(set(fields.values())) == 1):
        wanted = next(iter(fields.values()), 0 if not keep_id else 1)
        for row in rows:
            yield {
                name: value
                for name, value in row.items()
                if (keep_id if name == "_id" else (name in fields) == bool(wanted))
            }
        return
    yield from process_pipeline(list(rows), None, [{"$project": {"_id": keep_id, **fields}}], None)
