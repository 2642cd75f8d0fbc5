"""Documents in SQLite tables: how they lie there, how a filter finds them, how they change.

A collection ``c`` is three tables: ``c`` with a column for each indexed path, small enough to
scan; ``c/doc`` with the documents as BSON; ``c/member`` with the members of indexed arrays.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import bson
from mongomock_ng.filtering import filter_applies
from pymongo.errors import DuplicateKeyError, OperationFailure

from stores.sqlite_file import SqliteFile
from stores.sqlite_filter import Condition, Encoded, FilterCompiler, encode_path

Row = dict[str, Any]
Sort = Sequence[tuple[str, int]]

_CHUNK = 400


class SqliteTable:
    """The tables of one collection."""

    def __init__(self, database: SqliteFile, name: str) -> None:
        self.database = database
        self.name = name
        self._keys = quoted(name)
        self._docs = quoted(f"{name}/doc")
        self._members = quoted(f"{name}/member")
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
                f"CREATE INDEX IF NOT EXISTS {quoted(self.name + '/member/id')} "
                f"ON {self._members} (id)",
            ):
                connection.execute(sql)

    @property
    def _paths(self) -> list[str]:
        """The indexed paths, which are the columns."""
        connection = self.database.connection
        version = connection.execute("PRAGMA schema_version").fetchone()[0]
        if self._known_paths[0] != version:
            rows = connection.execute(f"PRAGMA table_info({self._keys})")
            self._known_paths = version, [row[1] for row in rows if row[1] != "id"]
        return self._known_paths[1]

    def _add_column(self, connection: sqlite3.Connection, path: str) -> None:
        connection.execute(f"ALTER TABLE {self._keys} ADD COLUMN {quoted(path)}")
        for number, blob in connection.execute(f"SELECT id, doc FROM {self._docs}").fetchall():
            value, members = encode_path(bson.decode(blob), path)
            connection.execute(
                f"UPDATE {self._keys} SET {quoted(path)} = ? WHERE id = ?", (value, number)
            )
            connection.executemany(
                f"INSERT INTO {self._members} VALUES (?, ?, ?)",
                [(path, member, number) for member in members],
            )

    def _compile(self, criteria: Row) -> Condition:
        refuse_code(criteria)
        filter_applies(criteria, {})  # an unknown operator raises, even where nothing matches
        paths = set(self._paths)
        compiler = FilterCompiler(
            lambda path: quoted(path) if path in paths else None, self._has_member, self._members
        )
        return compiler.compile(criteria)

    def _has_member(self, path: str, *value: Encoded) -> bool:
        sql = f"SELECT 1 FROM {self._members} WHERE path = ? {'AND value = ?' * len(value)} LIMIT 1"
        return self.database.connection.execute(sql, (path, *value)).fetchone() is not None

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

    def _targets(self, filter: Mapping[str, Any], *, many: bool) -> list[tuple[int, Row]]:
        criteria = normal(filter)
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
        names = ", ".join(map(quoted, columns))
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
        names = ", ".join(f"{quoted(path)} = ?" for path in columns)
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


def normal(value: Any) -> Row:
    """Return what a server would see: lists for tuples, UTC milliseconds for times."""
    return bson.decode(bson.encode(value or {}))


def refuse_code(value: Any) -> None:
    """Refuse the operators that run code: mongomock hands ``$where`` to Python's eval."""
    if isinstance(value, Mapping):
        if banned := {"$where", "$function", "$accumulator"} & set(value):
            raise OperationFailure(f"{min(banned)} runs code and is not allowed")
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            refuse_code(item)


def quoted(name: str) -> str:
    """Quote a name for SQL."""
    return '"' + name.replace('"', '""') + '"'
