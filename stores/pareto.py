"""The Pareto view: materials that no other beats in everything that one asks for at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stores.documents import RankedDoc, RankedMaterial
from stores.errors import BadInput
from stores.places import with_places
from stores.screen_store import ScreenStore
from stores.where import Where, one_line, parse_where

OBJECTIVES: dict[str, int] = {
    "barrier_ev": 1,
    "energy_above_hull_ev": 1,
    "band_gap_ev": -1,
    "cost_usd_per_kg": 1,
    "hazard": 1,
}
"""What can be asked for: 1 where less is better, −1 where more is."""

_BATCH = 1000


@dataclass(frozen=True)
class ParetoFront:
    """The materials that no other dominates.

    Attributes
    ----------
    objectives
        Field → 1 where less is better, −1 where more is.
    materials
        By rising barrier.
    compared
        How many were compared.
    incomplete
        How many were left out because one of the fields is not known.
    """

    objectives: Mapping[str, int]
    materials: list[RankedMaterial]
    compared: int
    incomplete: int


def pareto(
    store: ScreenStore, objectives: Sequence[str] = tuple(OBJECTIVES), where: Where = None
) -> ParetoFront:
    """Return the materials that no other is as good as in all objectives and better than in one.

    Barriers count by their estimates, not their intervals: a neighbour of the front with a wide
    interval may belong to it.

    Parameters
    ----------
    store
        The screen's store.
    objectives
        Some of :data:`OBJECTIVES`.
    where
        As for :func:`stores.queries.ranked`; only these are compared.

    Raises
    ------
    BadInput
        The filter is not valid, or an objective is not known.
    """
    for name in objectives:
        if name not in OBJECTIVES:
            raise BadInput(f"--pareto: {name!r} is not known; give some of {', '.join(OBJECTIVES)}")
    if not objectives:
        raise BadInput(f"--pareto: nothing to compare; give some of {', '.join(OBJECTIVES)}")
    signs = {name: OBJECTIVES[name] for name in objectives}
    fields = {"_id": 0, "candidate_id": 1, **dict.fromkeys(signs, 1)}
    criteria = parse_where(where)
    with one_line():
        rows = list(store.ranked._collection.find(criteria, fields))
    known = [row for row in rows if all(_is_number(row.get(name)) for name in signs)]
    values = np.array([[row[name] * sign for name, sign in signs.items()] for row in known])
    ids = [known[place]["candidate_id"] for place in non_dominated(values)] if known else []
    docs = [
        doc
        for start in range(0, len(ids), _BATCH)
        for doc in store.find(RankedDoc, {"candidate_id": {"$in": ids[start : start + _BATCH]}})
    ]
    docs.sort(key=lambda doc: (doc.barrier_ev, doc.candidate_id))
    return ParetoFront(signs, with_places(store, docs), len(known), len(rows) - len(known))


def non_dominated(values: np.ndarray) -> list[int]:
    """Return the rows that no other row dominates: nowhere larger, somewhere smaller.

    Parameters
    ----------
    values
        Shape (points, objectives), each to be small.
    """
    # In lexicographic order a row can only be dominated by one before it.
    order = np.lexsort(values.T[::-1])
    front: list[int] = []
    kept = np.empty_like(values)
    for place in order:
        row, best = values[place], kept[: len(front)]
        if ((best <= row).all(axis=1) & (best < row).any(axis=1)).any():
            continue
        kept[len(front)] = row
        front.append(int(place))
    return sorted(front)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
