"""Mongo filters as SQL conditions on the indexed fields of an embedded collection.

Each indexed field is a column that holds the document's value *encoded* so that SQLite compares
as MongoDB does. Numbers stand for themselves, other scalars become text behind a letter for
their type, in MongoDB's order of types; null and missing are NULL; whatever else (a mapping, a
path that leads through an array) is :data:`OPAQUE`. An array is opaque too, and its members stand
in a side table.

A condition selects a superset of the documents that match. It says whether it is exact; where it
is not, the caller applies the whole filter to each document.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId

Encoded = float | int | str | bytes | None

OPAQUE = b"\x01"
"""A value that only the document itself can tell; BLOBs sort after all else in SQLite."""

_COMPARE = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}


def encode(value: Any) -> Encoded:
    """Encode one value for a column."""
    match value:
        case None:
            return None
        case bool():
            return f"C{value:d}"
        case int() if abs(value) < 1 << 63:
            return value
        case float() if not math.isnan(value):
            return value
        case str():
            return f"A{value}"
        case ObjectId():
            return f"B{value}"
        case datetime():
            moment = value.astimezone(UTC) if value.tzinfo else value
            # BSON keeps milliseconds
            return f"D{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}"
    return OPAQUE


def decode(value: Encoded) -> Any:
    """Return what :func:`encode` encoded, except for what is opaque."""
    if not isinstance(value, str):
        return value
    match value[0]:
        case "B":
            return ObjectId(value[1:])
        case "C":
            return value == "C1"
        case "D":
            return datetime.fromisoformat(value[1:])
    return value[1:]


def encode_path(document: Mapping[str, Any], path: str) -> tuple[Encoded, list[Encoded]]:
    """Encode what stands at a dotted path: the column's value and the members of an array."""
    value: Any = document
    parts = path.split(".")
    for place, part in enumerate(parts, start=1):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list | tuple):
            # An array of scalars has no field of this name: the number is a place in it.
            if place < len(parts) or not part.isdecimal() or OPAQUE in map(encode, value):
                return OPAQUE, [OPAQUE]
            value = value[int(part)] if int(part) < len(value) else None
        else:
            return None, []
    if isinstance(value, list | tuple):
        # A null member equals a missing field; the document itself has to tell.
        members = {OPAQUE if item is None else encode(item) for item in value}
        return OPAQUE, sorted(members, key=repr)
    encoded = encode(value)
    return encoded, [OPAQUE] if encoded == OPAQUE else []


@dataclass(frozen=True)
class Condition:
    """An SQL condition and whether it selects exactly what the filter does."""

    sql: str
    exact: bool
    params: list[Encoded] = field(default_factory=list)

    @classmethod
    def join(cls, parts: list[Condition], word: str) -> Condition:
        """Join conditions by AND or OR."""
        sql = f" {word} ".join(f"({part.sql})" for part in parts)
        params = [param for part in parts for param in part.params]
        return cls(sql, all(part.exact for part in parts), params)


EVERYTHING = Condition("1", exact=True)
UNKNOWN = Condition("1", exact=False)
NOTHING = Condition("0", exact=True)


class FilterCompiler:
    """Turns Mongo filters into conditions on the columns of one collection.

    Parameters
    ----------
    column_of
        Quoted column name of an indexed path, None for a path without index.
    has_member
        Whether the side table has a member at a path: any, or this one.
    members
        Quoted name of the side table ``(path, value, id)`` of array members.
    """

    def __init__(
        self,
        column_of: Callable[[str], str | None],
        has_member: Callable[..., bool],
        members: str,
    ) -> None:
        self._column_of = column_of
        self._has_member = has_member
        self._members = members

    def compile(self, criteria: Mapping[str, Any]) -> Condition:
        """Compile a whole filter."""
        parts = [self._entry(key, value) for key, value in criteria.items()]
        return Condition.join(parts, "AND") if parts else EVERYTHING

    def _entry(self, key: str, value: Any) -> Condition:
        if key in ("$and", "$or"):
            if not isinstance(value, list) or not value:
                return UNKNOWN
            return Condition.join([self.compile(part) for part in value], key[1:].upper())
        column = None if key.startswith("$") else self._column_of(key)
        if column is None:
            return UNKNOWN
        if not (isinstance(value, Mapping) and value and all(str(k)[0] == "$" for k in value)):
            value = {"$eq": value}
        return Condition.join(
            [self._operator(key, column, name, operand) for name, operand in value.items()], "AND"
        )

    def _operator(self, path: str, column: str, name: str, operand: Any) -> Condition:
        match name:
            case "$ne" if operand is None:
                return Condition(f"{column} IS NOT NULL", exact=not self._has_member(path))
            case "$ne":
                return self._negated(self._operator(path, column, "$eq", operand))
            case "$nin":
                return self._negated(self._operator(path, column, "$in", operand))
            case "$in" if isinstance(operand, list | tuple):
                return self._among(path, column, operand)
            case "$eq" if operand is None:
                condition = Condition(f"{column} IS NULL", exact=True)
                return self._with_members(path, condition, NOTHING)
            case "$eq":
                return self._among(path, column, [operand])
            case "$gt" | "$gte" | "$lt" | "$lte":
                value = encode(operand)
                if value is None or isinstance(value, bytes):
                    return UNKNOWN
                sql, params = _comparison(_COMPARE[name], value)
                return self._with_members(
                    path,
                    Condition(sql.format(column), True, params),
                    Condition(sql.format("value"), True, params),
                )
        return UNKNOWN

    def _among(self, path: str, column: str, values: list[Any] | tuple[Any, ...]) -> Condition:
        encoded = [encode(value) for value in values]
        if any(value is None or isinstance(value, bytes) for value in encoded):
            return UNKNOWN
        sql, params = f"{{}} IN ({', '.join('?' * len(encoded))})", encoded
        if len(encoded) > 50:
            # One JSON parameter, since SQLite limits their number; JSON might round numbers.
            if not all(isinstance(value, str) for value in encoded):
                return UNKNOWN
            sql, params = "{} IN (SELECT value FROM json_each(?))", [json.dumps(encoded)]
        return self._with_members(
            path,
            Condition(sql.format(column), True, params),
            Condition(sql.format("value"), True, params),
        )

    def _with_members(self, path: str, scalar: Condition, member: Condition) -> Condition:
        if not self._has_member(path):
            return scalar
        exact = not self._has_member(path, OPAQUE)
        inside = member.sql if exact else f"{member.sql} OR value = x'{OPAQUE.hex()}'"
        sql = (
            f"{scalar.sql} OR id IN (SELECT id FROM {self._members} WHERE path = ? AND ({inside}))"
        )
        return Condition(sql, exact, [*scalar.params, path, *member.params])

    @staticmethod
    def _negated(condition: Condition) -> Condition:
        if not condition.exact:
            return UNKNOWN
        return Condition(f"NOT coalesce({condition.sql}, 0)", True, condition.params)


def _comparison(sign: str, value: float | int | str) -> tuple[str, list[Encoded]]:
    """Compare within the value's type only, as MongoDB does."""
    if not isinstance(value, str):
        # text sorts after numbers
        return (f"{{0}} {sign} ?" + (" AND {0} < ''" if sign[0] == ">" else "")), [value]
    if sign[0] == ">":
        return f"{{0}} {sign} ? AND {{0}} < ?", [value, chr(ord(value[0]) + 1)]
    return f"{{0}} {sign} ? AND {{0}} >= ?", [value, value[0]]
