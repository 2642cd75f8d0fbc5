"""Mongo filters that people write: read, checked, and refused in one line.

What is not caught here is caught from the database, so that a folder and a server refuse the same.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from pymongo.errors import PyMongoError

from stores.documents import Document, RankedDoc
from stores.errors import BadInput

Where = Mapping[str, Any] | str | None

_EXAMPLE = """give a Mongo filter, as in '{"barrier_ev": {"$lt": 0.35}}'"""

_CODE = ("$where", "$function", "$accumulator")

_JOINS = ("$and", "$or", "$nor")

_ALWAYS = ("_id", "last_updated")
"""Fields that every stored document has besides those of its model."""


def parse_where(where: Where, model: type[Document] = RankedDoc) -> dict[str, Any]:
    """Read a Mongo filter from JSON; dates as ``{"$date": "2026-01-31T00:00:00Z"}``.

    Raises
    ------
    BadInput
        It is not JSON, not a mapping, names a field that the documents do not have, or wants to
        run code.
    """
    if where is None:
        return {}
    if isinstance(where, str):
        try:
            where = json.loads(where, object_hook=_typed)
        except (ValueError, TypeError) as error:
            raise BadInput(f"--where: not valid JSON ({_line(error)}); {_EXAMPLE}") from None
    if not isinstance(where, Mapping):
        raise BadInput(f"--where: not a mapping; {_EXAMPLE}")
    for name in _CODE:
        if any(True for _ in _values(where, name)):
            raise BadInput(f"--where: {name} runs code and is not allowed; use other operators")
    for pattern in _values(where, "$regex"):
        try:
            re.compile(pattern)
        except (re.error, TypeError) as error:
            raise BadInput(f"--where: $regex {pattern!r}: {error}; mend the pattern") from None
    for path in _paths(where):
        check_field(path, model, "--where")
    return dict(where)


def check_field(path: str, model: type[Document], option: str) -> None:
    """Refuse a path whose first part is no field: a misspelt one would match nothing.

    Raises
    ------
    BadInput
        There is no such field; the line names those that look like it.
    """
    known = [*model.model_fields, *_ALWAYS]
    name = path.split(".")[0]
    if name in known:
        return
    if name == "rank":
        raise BadInput(
            f"{option}: rank is counted, not stored; filter and sort by barrier_ev, cut with --top"
        )
    near = difflib.get_close_matches(name, known, n=3) or sorted(known)
    raise BadInput(f"{option}: no field {name!r}; give one of {', '.join(near)}")


@contextmanager
def one_line(option: str = "--where") -> Iterator[None]:
    """Turn what a database says of a filter into one line.

    Raises
    ------
    BadInput
        The database refused the filter.
    """
    try:
        yield
    except (PyMongoError, NotImplementedError, TypeError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{option}: {_line(error)}; {_EXAMPLE}") from None


def _typed(value: dict[str, Any]) -> Any:
    """Read the dates of MongoDB's extended JSON; all else stands as written."""
    return datetime.fromisoformat(value["$date"]) if set(value) == {"$date"} else value


def _paths(criteria: Mapping[str, Any]) -> Iterator[str]:
    for key, value in criteria.items():
        if key in _JOINS:
            for part in value if isinstance(value, list | tuple) else ():
                if isinstance(part, Mapping):
                    yield from _paths(part)
        elif not key.startswith("$"):
            yield key


def _values(value: Any, wanted: str) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key == wanted:
                yield item
            yield from _values(item, wanted)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _values(item, wanted)


def _line(error: Exception) -> str:
    details = getattr(error, "details", None)
    text = details.get("errmsg", str(error)) if isinstance(details, dict) else str(error)
    return " ".join(text.split())
