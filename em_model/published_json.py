"""The JSON exports of the papers' authors, as records of bands.

Two kinds of file come with arXiv 2508.06436: bands with all images of the ion in one structure
(MODEL-3 and MODEL-4), and pairs of end structures (MODEL-1 and MODEL-2). Exports of data frames
differ in orientation, in the names of columns and in how they write a structure; all the usual
ones are read:

=============  ====================================================================
file           list of records; data frame by columns, by rows, or split
structure      pymatgen (``sites``) or jarvis-tools (``lattice_mat``) dictionaries, or text:
               JSON of these, POSCAR, CIF
band           column ``structure``, ``atoms`` or ``band``; its first five sites are the path
ends           columns ``initial`` and ``final``, with or without ``structure`` in the name
barrier        column ``barrier_ev``, ``barrier``, ``migration_barrier``, ``Em`` or ``target``, eV
=============  ====================================================================
"""

from __future__ import annotations

import gzip
import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from em_model.errors import BadInput

if TYPE_CHECKING:
    from pymatgen.core import Structure

IMAGES = 5
"""Sites of the ion on a path."""

STILL_ANG = 1.5
"""Between the two ends every site but the migrating ion's moves less than this."""

_COLUMNS = {
    "id": ("id", "jid", "index"),
    "system": ("system", "name", "formula", "compound"),
    "structure_class": ("structureclass", "class", "structuretype"),
    "working_ion": ("workingion", "ion", "mobileion", "migratingion"),
    "barrier_ev": ("barrierev", "barrier", "migrationbarrier", "em", "emev", "target"),
    "band": ("structure", "atoms", "band"),
    "initial": ("initialstructure", "initial", "structureinitial", "initialatoms"),
    "final": ("finalstructure", "final", "structurefinal", "finalatoms"),
}
"""Our names, and what exports call them, in lower case and letters alone."""


@dataclass(frozen=True, eq=False)
class _Sites:
    lattice: np.ndarray
    species: list[str]
    frac_coords: np.ndarray


def published_records(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place for messages, record with the fields of our JSON lines) for each entry.

    Raises
    ------
    BadInput
        When the file is no JSON, or an entry holds neither a band nor two ends.
    """
    path = Path(path)
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"{path}: cannot be read ({reason}); need .json or .jsonl[.gz]") from error
    except json.JSONDecodeError as error:
        raise BadInput(
            f"{path}: not one JSON value ({error.msg}); name a file of JSON lines .jsonl"
        ) from error
    entries = _entries(content)
    if not entries:
        raise BadInput(f"{path}: holds no records; need a list or an exported data frame")
    for key, entry in entries:
        where = f"{path}: entry {key}"
        yield where, _record(key, entry, where)


def _entries(content: Any) -> list[tuple[str, dict[str, Any]]]:
    """(key, record) of a list of records or of a data frame in any orientation."""
    if isinstance(content, list):
        return [(str(i), e) for i, e in enumerate(content) if isinstance(e, dict)]
    if not isinstance(content, dict):
        return []
    columns, data = content.get("columns"), content.get("data")
    if isinstance(columns, list) and isinstance(data, list):
        index = content.get("index", range(len(data)))
        return [
            (str(i), dict(zip(columns, row, strict=False)))
            for i, row in zip(index, data, strict=False)
        ]
    if isinstance(data, list):
        return _entries(data)
    known = {name for names in _COLUMNS.values() for name in names}
    if any(_plain(key) in known for key in content):
        cells = {
            column: dict(enumerate(values)) if isinstance(values, list) else values
            for column, values in content.items()
            if isinstance(values, list | dict)
        }
        rows = list(dict.fromkeys(row for values in cells.values() for row in values))
        return [(str(r), {c: v[r] for c, v in cells.items() if r in v}) for r in rows]
    return [(str(key), row) for key, row in content.items() if isinstance(row, dict)]


def _record(key: str, entry: dict[str, Any], where: str) -> dict[str, Any]:
    by_name = {_plain(name): value for name, value in entry.items() if value is not None}
    given = {
        ours: next(by_name[name] for name in names if name in by_name)
        for ours, names in _COLUMNS.items()
        if any(name in by_name for name in names)
    }
    given.setdefault("id", key)
    if "initial" in given and "final" in given:
        ends = [_structure(given.pop(end), f"{where}: {end}") for end in ("initial", "final")]
        sites = _band_between(ends[0], ends[1], where)
    elif "band" in given:
        sites = _unwrapped(_structure(given.pop("band"), f"{where}: structure"))
    elif "lattice" in entry:
        return {**entry, "id": str(given["id"])}
    else:
        raise BadInput(
            f"{where}: structure: missing; need a band (structure) or its two ends (initial, final)"
        )
    for end in ("band", "initial", "final"):
        given.pop(end, None)
    given.setdefault("working_ion", sites.species[0])
    return {
        **given,
        "lattice": sites.lattice.tolist(),
        "species": sites.species,
        "frac_coords": sites.frac_coords.tolist(),
        "band_sites": list(range(IMAGES)),
    }


def _plain(name: Any) -> str:
    return re.sub(r"[^a-z]", "", str(name).lower())


def _structure(value: Any, where: str) -> _Sites:
    """A structure from what an export may hold."""
    from pymatgen.core import Structure  # half a second that JSON lines need not wait for

    try:
        if isinstance(value, str):
            text = value.strip()
            if text.startswith("{"):
                return _structure(json.loads(text), where)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = Structure.from_str(text, fmt="cif" if "_cell_length" in text else "poscar")
            return _from_pymatgen(found)
        if "lattice_mat" in value:
            lattice = np.array(value["lattice_mat"], dtype=float)
            coords = np.array(value["coords"], dtype=float)
            if value.get("cartesian"):
                coords = coords @ np.linalg.inv(lattice)
            return _Sites(lattice, [str(s).strip() for s in value["elements"]], coords)
        return _from_pymatgen(Structure.from_dict(value))
    except Exception as error:  # whatever parsers of foreign text and dictionaries stumble over
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise BadInput(
            f"{where}: no structure ({reason}); need a pymatgen or jarvis dictionary, POSCAR or CIF"
        ) from error


def _from_pymatgen(found: Structure) -> _Sites:
    species = [
        site.specie.element.symbol if hasattr(site.specie, "element") else site.specie.symbol
        for site in found
    ]
    return _Sites(found.lattice.matrix, species, found.frac_coords)


def _unwrapped(sites: _Sites) -> _Sites:
    """The same with each site of the path beside the one before, whatever cell it was put in."""
    frac = sites.frac_coords.copy()
    for i in range(1, min(IMAGES, len(frac))):
        step = _shortest(frac[i] - frac[i - 1], sites.lattice) @ np.linalg.inv(sites.lattice)
        frac[i] = frac[i - 1] + step
    return _Sites(sites.lattice, sites.species, frac)


def _band_between(initial: _Sites, final: _Sites, where: str) -> _Sites:
    """The band of :data:`IMAGES` sites on the straight line between two end structures.

    The host is the initial structure's. Sites keep their order if all but one then stay where
    they are; otherwise sites of an element are paired so that as few as can be move.
    """
    if np.abs(initial.lattice - final.lattice).max() > 0.05:
        raise BadInput(f"{where}: final: lattice differs from the initial structure's")
    if sorted(initial.species) != sorted(final.species):
        raise BadInput(f"{where}: final: holds other atoms than the initial structure")
    moves = _moves(initial, final)
    partner = np.arange(len(initial.species))
    distance = np.linalg.norm(moves(partner), axis=1)
    if initial.species != final.species or np.sum(distance > STILL_ANG) != 1:
        partner = _pairs(initial, final)
        distance = np.linalg.norm(moves(partner), axis=1)
    ion = int(distance.argmax())
    others = np.delete(distance, ion)
    if distance[ion] < 0.1 or (len(others) and others.max() > STILL_ANG):
        raise BadInput(
            f"{where}: final: need one ion that moves; the two largest displacements are "
            f"{distance[ion]:.2f} and {others.max(initial=0):.2f} Å"
        )
    step = moves(partner)[ion] @ np.linalg.inv(initial.lattice)
    path = initial.frac_coords[ion] + np.linspace(0, 1, IMAGES)[:, None] * step
    host = [i for i in range(len(initial.species)) if i != ion]
    species = [initial.species[ion]] * IMAGES + [initial.species[i] for i in host]
    return _Sites(initial.lattice, species, np.concatenate([path, initial.frac_coords[host]]))


def _moves(initial: _Sites, final: _Sites) -> Any:
    """Function of a pairing: shortest vectors (n, 3) in Å from initial sites to their partners."""

    def of(partner: np.ndarray) -> np.ndarray:
        return _shortest(final.frac_coords[partner] - initial.frac_coords, initial.lattice)

    return of


def _shortest(frac: np.ndarray, lattice: np.ndarray) -> np.ndarray:
    """Shortest periodic image of fractional vectors (..., 3), in Å."""
    cells = np.array(list(product((-1, 0, 1), repeat=3)))
    cart = ((frac - np.round(frac))[..., None, :] + cells) @ lattice
    best = np.linalg.norm(cart, axis=-1).argmin(axis=-1)
    return np.asarray(np.take_along_axis(cart, best[..., None, None], axis=-2)[..., 0, :])


def _pairs(initial: _Sites, final: _Sites) -> np.ndarray:
    """Partner of each initial site among the final ones, element by element."""
    here, there = np.array(initial.species), np.array(final.species)
    partner = np.empty(len(here), dtype=int)
    for element in set(initial.species):
        rows, columns = np.flatnonzero(here == element), np.flatnonzero(there == element)
        frac = final.frac_coords[columns][None] - initial.frac_coords[rows][:, None]
        # Beyond STILL_ANG all moves cost the same: one long hop rather than two short ones.
        cost = np.minimum((_shortest(frac, initial.lattice) ** 2).sum(axis=-1), STILL_ANG**2)
        left, right = linear_sum_assignment(cost)
        partner[rows[left]] = columns[right]
    return partner
