"""The filters of the ranking: from a link to a Mongo filter.

Every control of the page is one parameter of the link and one entry of :data:`CONTROLS`. An empty
parameter asks for nothing; what is not understood is answered with a line that names it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from stores.documents import LEVELS
from stores.errors import BadInput
from stores.queries import parse_where

Condition = dict[str, Any]

SORTS = {
    "barrier": "barrier_ev",
    "formula": "formula",
    "material": "material_id",
    "diffusivity": "diffusivity_cm2_s",
    "gap": "band_gap_ev",
    "hull": "energy_above_hull_ev",
    "cost": "cost_usd_per_kg",
    "hazard": "hazard",
}
"""Name in the link → the field, which has an index."""

MAY_BE_MISSING = ("gap", "hull", "cost", "hazard")
"""Orders that leave out the materials without a value."""

_ELEMENT = re.compile(r"[A-Z][a-z]?")


def _starts_with(name: str, text: str) -> Condition:
    # A range and no pattern: it uses the index on either kind of store.
    span = {"$gte": text, "$lt": text + "\U0010ffff"}
    return {"$or": [{"formula": span}, {"material_id": span}]}


def _elements(name: str, text: str) -> list[str]:
    found = [word for word in re.split(r"[\s,;-]+", text) if word]
    if not found:
        raise BadInput(f"{name}: {text!r} names no element; give symbols as in: Li O")
    if wrong := [word for word in found if not _ELEMENT.fullmatch(word)]:
        raise BadInput(f"{name}: {wrong[0]!r} is no element; give symbols as in: Li O")
    return found


def _number(name: str, text: str) -> float:
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadInput(f"{name}: {text!r} is not a number; give one as in: 0.35")
    return value


def _dimensions(name: str, text: str) -> Condition:
    if text not in ("2", "3"):
        raise BadInput(f"{name}: {text!r} is not allowed; give 2 or 3")
    return {f"limits.{text}.barrier_ev": {"$ne": None}}


def _compare(field: str, operator: str) -> Callable[[str, str], Condition]:
    return lambda name, text: {field: {operator: _number(name, text)}}


CONTROLS: dict[str, Callable[[str, str], Condition]] = {
    "q": _starts_with,
    "ion": lambda name, text: {"working_ion": text},
    "with": lambda name, text: {"$and": [{"elements": one} for one in _elements(name, text)]},
    "without": lambda name, text: {"elements": {"$nin": _elements(name, text)}},
    "max_barrier": _compare("barrier_ev", "$lte"),
    "max_upper": _compare("interval_90_ev.1", "$lte"),
    "min_gap": _compare("band_gap_ev", "$gte"),
    "max_hull": _compare("energy_above_hull_ev", "$lte"),
    "max_cost": _compare("cost_usd_per_kg", "$lte"),
    "max_hazard": _compare("hazard", "$lte"),
    "conducts": _dimensions,
    "disagree": lambda name, text: {"levels_disagree": True},
    "where": lambda name, text: parse_where(text),
}
"""Parameter of the link → the condition it stands for."""


def given(arguments: Mapping[str, str], levels: list[str]) -> dict[str, str | list[str]]:
    """Return the filters that a link sets, without the empty ones."""
    found: dict[str, str | list[str]] = {
        name: text for name in CONTROLS if (text := arguments.get(name, "").strip())
    }
    if known := [str(level) for level in LEVELS if level in levels]:
        found["level"] = known
    return found


def mongo_filter(filters: Mapping[str, str | list[str]]) -> Condition:
    """Return the Mongo filter of a link.

    Raises
    ------
    BadInput
        A value is not what its field takes.
    """
    conditions = [
        CONTROLS[name](name, text) for name, text in filters.items() if isinstance(text, str)
    ]
    if levels := filters.get("level"):
        conditions.append({"level": {"$in": list(levels)}})
    conditions = [one for one in conditions if one]
    if len(conditions) == 1:
        return conditions[0]
    return {"$and": conditions} if conditions else {}


def order(name: str, *, descending: bool) -> dict[str, int]:
    """Return the order of a link for :func:`stores.queries.ranked`.

    Raises
    ------
    BadInput
        There is no such order.
    """
    if name not in SORTS:
        raise BadInput(f"sort: {name!r} is not known; choose from {', '.join(SORTS)}")
    # The id goes along, in the same direction: an index can be walked either way.
    sign = -1 if descending else 1
    return {SORTS[name]: sign, "candidate_id": sign}
