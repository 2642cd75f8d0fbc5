"""JSON lines of structures and their fields, checked: what readers of bands and crystals share.

Every complaint is one line that names file, line and field, and says what would be right.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from em_model.errors import BadInput


def json_lines(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place for messages, record) for every line that is not blank."""
    path = Path(path)
    opener = gzip.open if path.suffix == ".gz" else open
    line_number = 0
    try:
        with opener(path, "rt", encoding="utf-8") as lines:
            for line_number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    record = json.loads(line)
                except json.JSONDecodeError as error:
                    raise BadInput(
                        f"{path}:{line_number}: not JSON ({error.msg}); need one JSON object a line"
                    ) from error
                if not isinstance(record, dict):
                    raise BadInput(f"{path}:{line_number}: need one JSON object a line")
                yield f"{path}:{line_number}", record
    except (OSError, EOFError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"{path}: cannot be read ({reason}); need .jsonl or .jsonl.gz") from error
    if line_number == 0:
        raise BadInput(f"{path}: empty; need one JSON record a line")


def structure(record: dict[str, Any], where: str) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """Lattice (3, 3), species and fractional coordinates (n, 3) of a record."""
    lattice = array(record, "lattice", (3, 3), where)
    if abs(np.linalg.det(lattice)) < 1e-3:
        raise BadInput(f"{where}: lattice: the three vectors span no volume")
    species = maybe_json(record.get("species"))
    if not isinstance(species, list) or not species:
        raise BadInput(f"{where}: species: need a list of element symbols, one for each site")
    for symbol in species:
        if not isinstance(symbol, str) or atomic_numbers.get(symbol, 0) < 1:
            raise BadInput(f"{where}: species: {symbol!r} is no element symbol")
    frac_coords = array(record, "frac_coords", (len(species), 3), where)
    return lattice, tuple(species), frac_coords


def maybe_json(value: Any) -> Any:
    """Some exports hold lists as JSON text."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value


def array(record: dict[str, Any], field: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    """Field of finite numbers of one shape."""
    try:
        found = np.asarray(maybe_json(record[field]), dtype=float)
    except KeyError:
        raise BadInput(f"{where}: {field}: missing; this record is not a band") from None
    except (TypeError, ValueError):
        raise BadInput(f"{where}: {field}: need numbers of shape {shape}") from None
    if found.shape != shape or not np.isfinite(found).all():
        raise BadInput(f"{where}: {field}: need finite numbers of shape {shape}")
    return found


def number(record: dict[str, Any], field: str, where: str) -> float:
    """Field that is a finite number."""
    value = record.get(field)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise BadInput(f"{where}: {field}: {value!r} is not a finite number")
    return float(value)
