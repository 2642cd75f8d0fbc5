"""Document collections in one SQLite file, with the part of pymongo's interface we need.

Written because what is at hand was measured and found wanting (``benchmarks/stores.py``): here a
query uses real B-tree indexes, however many processes write, and every write is one transaction.
What an operator means is left to mongomock, which maggma's own stores rest on: SQL narrows the
documents down (:mod:`stores.sqlite_filter`), mongomock decides and updates.

A collection ``c`` is three tables: ``c`` with a column for each indexed path, small enough to
scan; ``c/doc`` with the documents as BSON; ``c/member`` with the members of indexed arrays.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bson
from mongomock_ng import MongoClient as MemoryClient
from mongomock_ng.aggregate import process_pipeline
from mongomock_ng.filtering import filter_applies
from pymongo import DeleteMany, DeleteOne, InsertOne, ReplaceOne, UpdateMany, UpdateOne
from pymongo.errors import DuplicateKeyError, OperationFailure
from pymongo.results import BulkWriteResult, DeleteResult, InsertManyResult, UpdateResult

from stores.sqlite_filter import Condition, Encoded, FilterCompiler, decode, encode_path

Row = dict[str, Any]
Sort = Sequence[tuple[str, int]]

_CHUNK = 400
_BUSY_TIMEOUT_S = 120.0


class SqliteDatabase:
    """Collections in one SQLite file; one connection for each thread of each process."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self.name = path.stem
        self.read_only = read_only
        self._local = threading.local()
        self._collections: dict[str, SqliteCollection] = {}

    def __getitem__(self, name: str) -> SqliteCollection:
        if name not in self._collections:
            self._collections[name] = SqliteCollection(self, name)
        return self._collections[name]

    get_collection = __getitem__

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection of this thread and process."""
        pid, connection = getattr(self._local, "opened", (None, None))
        if pid != os.getpid():
            # A connection that crossed a fork is left alone: SQLite forbids its use.
            connection = self._connect()
            self._local.opened = (os.getpid(), connection)
        assert connection is not None
        return connection

    def _connect(self) -> sqlite3.Connection:
        mode = "rwc"
        if self.read_only:
            # A reader of a write-ahead log needs its shared memory beside it. Where it cannot
            # have that, nobody writes either.
            mode = "rw" if os.access(self.path.parent, os.W_OK) else "ro&immutable=1"
        uri = f"{self.path.absolute().as_uri()}?mode={mode}"
        connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
        if self.read_only:
            connection.execute("PRAGMA query_only=ON")
        else:
            connection.execute("PRAGMA journal_mode=WAL")
            # Safe against the death of the process; a power cut may cost the last commits.
            connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA cache_size=-65536")
        return connection

    @property
    def user_version(self) -> int:
        """A number that the owner of the file may set."""
        return int(self.connection.execute("PRAGMA user_version").fetchone()[0])

    @user_version.setter
    def user_version(self, number: int) -> None:
        self.connection.execute(f"PRAGMA user_version = {number:d}")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything inside is written, or nothing; nested use joins the outer one."""
        connection = self.connection
        if connection.in_transaction:
            yield connection
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def close(self) -> None:
        """Close this thread's connection; it opens again when it is used."""
        pid, connection = getattr(self._local, "opened", (None, None))
        if connection is not None and pid == os.getpid():
            connection.close()
        self._local = threading.local()


class SqliteCollection:
    """One collection; the methods are pymongo's, for the arguments that maggma uses."""

    def __init__(self, database: SqliteDatabase, name: str) -> None:
        self.database = database
        self.name = name
        self._keys = _quote(name)
        self._docs = _quote(f"{name}/doc")
        self._members = _quote(f"{name}/member")
        self._known_paths: tuple[int, list[str]] = (-1, [])
        there = "SELECT 1 FROM sqlite_master WHERE name = ?"
        if not database.connection.execute(there, (f"{name}/member/id",)).fetchone():
            self._create_tables()

    def _create_tables(self) -> None:
        with self.database.transaction() as connection:
            for sql in (
                f"CREATE TABLE IF NOT EXISTS {self._keys} (id INTEGER PRIMARY KEY, _id UNIQUE)",
                f"CREATE TABLE IF NOT EXISTS {self._docs} (id INTEGER PRIMARY KEY, doc BLOB)",
                f"CREATE TABLE IF NOT EXISTS {self._members} "
                "(path, value, id, PRIMARY KEY (path, value, id)) WITHOUT ROWID",
                f"CREATE INDEX IF NOT EXISTS {_quote(self.name + '/member/id')} "
                f"ON {self._members} (id)",
            ):
                connection.execute(sql)

    # ---- indexes

    @property
    def _paths(self) -> list[str]:
        """The indexed paths, which are the columns."""
        connection = self.database.connection
        version = connection.execute("PRAGMA schema_version").fetchone()[0]
        if self._known_paths[0] != version:
            rows = connection.execute(f"PRAGMA table_info({self._keys})")
            self._known_paths = version, [row[1] for row in rows if row[1] != "id"]
        return self._known_paths[1]

    def create_index(
        self, keys: str | Sort, *, unique: bool = False, background: bool = False
    ) -> str:
        """Index one or more paths; doing it twice changes nothing."""
        pairs = [(keys, 1)] if isinstance(keys, str) else list(keys)
        name = "_".join(f"{path}_{order}" for path, order in pairs)
        index = _quote(f"{self.name}/{name}")
        with self.database.transaction() as connection:
            for path, _ in pairs:
                if path not in self._paths:
                    self._add_column(connection, path)
            columns = ", ".join(f"{_quote(p)} {'DESC' if o < 0 else 'ASC'}" for p, o in pairs)
            kind = "UNIQUE INDEX" if unique else "INDEX"
            connection.execute(f"CREATE {kind} IF NOT EXISTS {index} ON {self._keys} ({columns})")
        return name

    def _add_column(self, connection: sqlite3.Connection, path: str) -> None:
        connection.execute(f"ALTER TABLE {self._keys} ADD COLUMN {_quote(path)}")
        for number, blob in connection.execute(f"SELECT id, doc FROM {self._docs}").fetchall():
            value, members = encode_path(bson.decode(blob), path)
            connection.execute(
                f"UPDATE {self._keys} SET {_quote(path)} = ? WHERE id = ?", (value, number)
            )
            connection.executemany(
                f"INSERT INTO {self._members} VALUES (?, ?, ?)",
                [(path, member, number) for member in members],
            )

    def index_information(self) -> dict[str, dict[str, Any]]:
        """Return the indexes as pymongo does."""
        return {f"{path}_1": {"key": [(path, 1)]} for path in self._paths}

    # ---- reading

    def _compile(self, criteria: Row) -> Condition:
        _refuse_code(criteria)
        filter_applies(criteria, {})  # an unknown operator raises, even where nothing matches
        paths = set(self._paths)
        compiler = FilterCompiler(
            lambda path: _quote(path) if path in paths else None, self._has_member, self._members
        )
        return compiler.compile(criteria)

    def _has_member(self, path: str, *value: Encoded) -> bool:
        sql = f"SELECT 1 FROM {self._members} WHERE path = ? {'AND value = ?' * len(value)} LIMIT 1"
        return self.database.connection.execute(sql, (path, *value)).fetchone() is not None

    def find(
        self,
        filter: Mapping[str, Any] | None = None,
        projection: Mapping[str, Any] | Sequence[str] | None = None,
        skip: int = 0,
        limit: int = 0,
        sort: Sort | None = None,
        hint: Any = None,
    ) -> Iterator[Row]:
        """Yield documents; what a query selects is settled when it starts."""
        criteria = _normal(filter)
        condition = self._compile(criteria)
        order = list(sort or [])
        ordered = all(path in self._paths and not self._has_member(path) for path, _ in order)
        clause = [f"{_quote(p)} {'DESC' if o < 0 else 'ASC'}" for p, o in order if ordered]
        fields = _fields(projection)
        covered = self._covered(fields) if condition.exact and ordered else []
        sql = (
            f"SELECT {', '.join(['id', *map(_quote, covered)])} FROM {self._keys} "
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

    def _covered(self, fields: Mapping[str, Any]) -> list[str]:
        """Return the fields asked for, if the columns hold them all."""
        if not fields or any(
            value != 1 and (name, value) != ("_id", 0) for name, value in fields.items()
        ):
            return []
        wanted = [name for name, value in {"_id": 1, **fields}.items() if value]
        known = self._paths
        plain = all(p in known and "." not in p and not self._has_member(p) for p in wanted)
        return wanted if plain else []

    def _load(self, numbers: list[int], first: int) -> Iterator[Row]:
        """Read documents in the order given; ``first`` is how many are wanted at least."""
        size = min(first or _CHUNK, _CHUNK)
        start = 0
        while start < len(numbers):
            chunk = numbers[start : start + size]
            found = dict(
                self.database.connection.execute(
                    f"SELECT id, doc FROM {self._docs} WHERE id IN ({', '.join('?' * len(chunk))})",
                    chunk,
                )
            )
            for number in chunk:
                if number in found:
                    yield bson.decode(found[number])
            start += size
            size = _CHUNK

    def find_one(
        self, filter: Mapping[str, Any] | None = None, projection: Any = None, **kwargs: Any
    ) -> Row | None:
        """Return the first document that matches, or None."""
        return next(self.find(filter, projection, limit=1, **kwargs), None)

    def count_documents(self, filter: Mapping[str, Any], **kwargs: Any) -> int:
        """Count the documents that match."""
        condition = self._compile(_normal(filter))
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
        stages = [_normal(stage) for stage in pipeline]
        _refuse_code(stages)
        first = stages.pop(0)["$match"] if stages and "$match" in stages[0] else {}
        rows = list(self.find(first))
        return iter(process_pipeline(rows, self.database, stages, None))

    # ---- writing

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

    def _targets(self, filter: Mapping[str, Any], *, many: bool) -> list[tuple[int, Row]]:
        criteria = _normal(filter)
        condition = self._compile(criteria)
        sql = (
            f"SELECT id, doc FROM {self._docs} "
            f"WHERE id IN (SELECT id FROM {self._keys} WHERE {condition.sql})"
        )
        found = []
        for number, blob in self.database.connection.execute(sql, condition.params):
            row = bson.decode(blob)
            if condition.exact or filter_applies(criteria, row):
                found.append((number, row))
                if not many:
                    break
        return found

    def _insert(self, row: Row) -> None:
        row.setdefault("_id", bson.ObjectId())
        columns, members = self._encoded(row)
        names = ", ".join(map(_quote, columns))
        marks = ", ".join("?" * len(columns))
        connection = self.database.connection
        try:
            number = connection.execute(
                f"INSERT INTO {self._keys} ({names}) VALUES ({marks})", list(columns.values())
            ).lastrowid
        except sqlite3.IntegrityError as error:
            raise DuplicateKeyError(f"{self.name}: {row['_id']!r}: {error}") from error
        connection.execute(f"INSERT INTO {self._docs} VALUES (?, ?)", (number, bson.encode(row)))
        connection.executemany(
            f"INSERT INTO {self._members} VALUES (?, ?, ?)",
            [(path, value, number) for path, value in members],
        )

    def _store(self, number: int, row: Row) -> None:
        columns, members = self._encoded(row)
        names = ", ".join(f"{_quote(path)} = ?" for path in columns)
        connection = self.database.connection
        connection.execute(
            f"UPDATE {self._keys} SET {names} WHERE id = ?", [*columns.values(), number]
        )
        connection.execute(
            f"UPDATE {self._docs} SET doc = ? WHERE id = ?", (bson.encode(row), number)
        )
        connection.execute(f"DELETE FROM {self._members} WHERE id = ?", (number,))
        connection.executemany(
            f"INSERT INTO {self._members} VALUES (?, ?, ?)",
            [(path, value, number) for path, value in members],
        )

    def _encoded(self, row: Row) -> tuple[dict[str, Encoded], list[tuple[str, Encoded]]]:
        """Return the columns of a document, and the members of its indexed arrays."""
        columns: dict[str, Encoded] = {}
        members = []
        for path in self._paths:
            columns[path], inside = encode_path(row, path)
            members += [(path, value) for value in inside]
        return columns, members

    def _delete(self, number: int) -> None:
        for table in (self._keys, self._docs, self._members):
            self.database.connection.execute(f"DELETE FROM {table} WHERE id = ?", (number,))

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
    change = _normal(request._doc)
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
    criteria = _normal(request._filter) if old is None else {}
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


def _normal(value: Any) -> Row:
    """Return what a server would see: lists for tuples, UTC milliseconds for times."""
    return bson.decode(bson.encode(value or {}))


def _refuse_code(value: Any) -> None:
    """Refuse the operators that run code: mongomock hands ``$where`` to Python's eval."""
    if isinstance(value, Mapping):
        if banned := {"$where", "$function", "$accumulator"} & set(value):
            raise OperationFailure(f"{min(banned)} runs code and is not allowed")
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            _refuse_code(item)


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


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
