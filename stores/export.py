"""The ranking as rows: JSON, JSON lines, CSV, a pandas frame."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from stores.documents import RankedMaterial

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "rank", "material_id", "formula", "working_ion",
    "barrier_ev", "interval_90_ev_low", "interval_90_ev_high", "level", "label",
    "dimension", "limiting_hop_id",
    "diffusivity_cm2_s", "diffusivity_interval_90_cm2_s_low",
    "diffusivity_interval_90_cm2_s_high", "temperature_k",
    "barrier_1d_ev", "barrier_2d_ev", "barrier_3d_ev",
    "num_hops", "num_failed", "levels_disagree",
    "energy_above_hull_ev", "band_gap_ev", "source", "candidate_id",
    "uncalibrated_ev", "cost_usd_per_kg", "hazard",
)  # fmt: skip
"""Columns of the CSV and the frame."""

_INTERVALS = ("interval_90_ev", "diffusivity_interval_90_cm2_s")


def rank_row(doc: RankedMaterial) -> dict[str, Any]:
    """Return one material as ``hopscreen rank --format json`` gives it.

    The keys are a contract: programs rely on them, and they are only ever added to.
    """
    return {
        "rank": doc.rank,
        "material_id": doc.material_id,
        "formula": doc.formula,
        "working_ion": doc.working_ion,
        "barrier_ev": doc.barrier_ev,
        "interval_90_ev": list(doc.interval_90_ev),
        "level": doc.level,
        "label": doc.label,
        "dimension": doc.dimension,
        "limiting_hop_id": doc.limiting_hop_id,
        "diffusivity_cm2_s": doc.diffusivity_cm2_s,
        "diffusivity_interval_90_cm2_s": list(doc.diffusivity_interval_90_cm2_s),
        "temperature_k": doc.temperature_k,
        "barrier_1d_ev": _limit(doc, "1"),
        "barrier_2d_ev": _limit(doc, "2"),
        "barrier_3d_ev": _limit(doc, "3"),
        "num_hops": doc.num_hops,
        "num_failed": doc.num_failed,
        "levels_disagree": doc.levels_disagree,
        "energy_above_hull_ev": doc.energy_above_hull_ev,
        "band_gap_ev": doc.band_gap_ev,
        "source": doc.source,
        "candidate_id": doc.candidate_id,
        "uncalibrated_ev": doc.uncalibrated_ev,
        "cost_usd_per_kg": doc.cost_usd_per_kg,
        "hazard": doc.hazard,
    }


def to_json(docs: Iterable[RankedMaterial]) -> str:
    """Return the ranking as one JSON array."""
    return json.dumps([rank_row(doc) for doc in docs], indent=2, allow_nan=False)


def to_json_lines(docs: Iterable[RankedMaterial]) -> str:
    """Return the ranking as JSON, one material a line."""
    return "".join(json.dumps(rank_row(doc), allow_nan=False) + "\n" for doc in docs)


def to_csv(docs: Iterable[RankedMaterial]) -> str:
    """Return the ranking as CSV; an interval is two columns, ``…_low`` and ``…_high``."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for doc in docs:
        writer.writerow(_text(value) for value in _flat(doc).values())
    return out.getvalue()


def to_frame(docs: Iterable[RankedMaterial]) -> pd.DataFrame:
    """Return the ranking as a pandas frame, with the columns of :func:`to_csv`."""
    import pandas as pd

    return pd.DataFrame([_flat(doc) for doc in docs], columns=list(COLUMNS))


def _limit(doc: RankedMaterial, dimension: str) -> float | None:
    limit = doc.limits.get(dimension)
    return limit.barrier_ev if limit else None


def _flat(doc: RankedMaterial) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in rank_row(doc).items():
        if key in _INTERVALS:
            flat[f"{key}_low"], flat[f"{key}_high"] = value
        else:
            flat[key] = value
    return flat


def _text(value: Any) -> Any:
    # A spreadsheet runs text that starts like a formula; ids come from other people's files.
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + value
    return value
