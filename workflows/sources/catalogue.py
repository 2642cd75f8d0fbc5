"""``source: catalogue``: known electrode and electrolyte hosts that come with the project.

The catalogue holds published crystallographic parameters (Hall symbol of the space group and its
setting, cell, one line per orbit); structures are generated from them, so that what is checked
into the repository is what the cited paper says. ``tests/workflows/test_catalogue.py`` verifies
each entry.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import numpy as np
import spglib
import yaml
from pydantic import Field
from pymatgen.core import Lattice, Structure

from stores.errors import BadInput
from workflows.sources.base import CandidateRecord, SourceOptions

ORBIT_TOLERANCE = 1e-3
"""Fractional distance under which two images of a site are one."""


class CatalogueOptions(SourceOptions):
    """The bundled catalogue, or a part of it."""

    source: Literal["catalogue"]
    ids: list[str] | None = Field(None, min_length=1, description="entries; left out: all")
    families: list[str] | None = Field(
        None, min_length=1, description="structure families, e.g. olivine; left out: all"
    )

    def records(
        self, working_ion: str, known: Container[str] = frozenset()
    ) -> Iterator[CandidateRecord]:
        """Yield the entries of the working ion, in the order of the catalogue."""
        entries = catalogue_entries()
        _refuse_unknown("ids", self.ids, [entry["id"] for entry in entries])
        _refuse_unknown("families", self.families, [entry["family"] for entry in entries])
        for entry in entries:
            if (
                entry["working_ion"] == working_ion
                and (self.ids is None or entry["id"] in self.ids)
                and (self.families is None or entry["family"] in self.families)
            ):
                if entry["id"] in known:
                    yield CandidateRecord(entry["id"], "catalogue", known=True)
                else:
                    yield _record(entry)


def load_catalogue(ions: Collection[str] | None = None) -> list[CandidateRecord]:
    """Return the catalogue's hosts.

    Parameters
    ----------
    ions
        Working ions wanted; None for all.

    Returns
    -------
    list of CandidateRecord
        In the order of the catalogue; structures are conventional cells.
    """
    return [
        _record(entry)
        for entry in catalogue_entries()
        if ions is None or entry["working_ion"] in ions
    ]


@cache
def catalogue_entries() -> tuple[dict[str, Any], ...]:
    """Return the catalogue's entries as they are written."""
    text = files("workflows").joinpath("data/catalogue.yaml").read_text(encoding="utf-8")
    return tuple(yaml.safe_load(text))


def entry_structure(entry: dict[str, Any]) -> Structure:
    """Generate an entry's conventional cell from its Hall symbol, cell and orbits.

    spglib's table of symmetry operations takes microseconds where
    ``Structure.from_spacegroup`` takes a second for a cubic group.
    """
    operations: Any = spglib.get_symmetry_from_database(_hall_numbers()[entry["hall"]])
    species: list[str] = []
    coords: list[np.ndarray] = []
    for site in entry["sites"]:
        orbit = _orbit(np.asarray(site["xyz"], dtype=float), operations)
        species += [site["element"]] * len(orbit)
        coords += list(orbit)
    return Structure(Lattice.from_parameters(**entry["lattice"]), species, coords)


def _orbit(site: np.ndarray, operations: dict[str, np.ndarray]) -> np.ndarray:
    """Return the distinct images (n, 3) of a fractional site (3,), itself first."""
    images = (operations["rotations"] @ site + operations["translations"]) % 1.0
    apart = images[:, None] - images[None]
    same = (np.abs(apart - np.round(apart)) < ORBIT_TOLERANCE).all(axis=-1)
    return images[same.argmax(axis=1) == np.arange(len(images))]


@cache
def _hall_numbers() -> dict[str, int]:
    """Return spglib's number of each Hall symbol."""
    groups = ((n, spglib.get_spacegroup_type(n)) for n in range(1, 531))
    return {group.hall_symbol: n for n, group in groups if group}


def _record(entry: dict[str, Any]) -> CandidateRecord:
    metadata = {
        "family": entry["family"],
        "spacegroup": entry["spacegroup"],
        "oxidation_states": entry["oxidation_states"],
    }
    if "note" in entry:
        metadata["note"] = entry["note"]
    return CandidateRecord(
        material_id=entry["id"],
        source="catalogue",
        structure=entry_structure(entry),
        reference=entry["reference"],
        metadata=metadata,
    )


def _refuse_unknown(field: str, wanted: list[str] | None, there: list[str]) -> None:
    missing = sorted(set(wanted or ()) - set(there))
    if missing:
        raise BadInput(
            f"candidates.{field}: the catalogue has no {', '.join(missing)}; "
            f"it has {', '.join(dict.fromkeys(there))}"
        )
