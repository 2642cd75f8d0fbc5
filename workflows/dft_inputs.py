"""The path of a stored hop, ready to be written as inputs of a DFT code."""

from __future__ import annotations

from dataclasses import dataclass

from ase import Atoms
from pymatgen.core import Lattice, Structure

from stores.documents import BarrierDoc, CandidateDoc, HopDoc
from stores.errors import BadInput
from stores.screen_store import ScreenStore
from workflows.bands import SupercellRecipe, build_endpoints
from workflows.hops import Hop
from workflows.hosts import host_of
from workflows.neb import as_atoms
from workflows.neb_path import interpolate, straight
from workflows.neb_types import Start
from workflows.warm_start import mlip_path


@dataclass(frozen=True)
class HopPath:
    """Images of a hop, ends included, and what they come from."""

    hop: HopDoc
    images: list[Structure]
    start: Start


def hop_path(
    store: ScreenStore,
    hop_id: str,
    *,
    images: int = 5,
    start: Start = "mlip",
    recipe: SupercellRecipe | None = None,
) -> HopPath:
    """Build the starting path of a stored hop.

    Parameters
    ----------
    store
        Holds the hop, its host and perhaps its MLIP path.
    hop_id
        The hop.
    images
        Movable images.
    start
        ``mlip`` takes the converged path of a potential in the same cell, and IDPP where there
        is none; the answer says which.
    recipe
        Supercell; left out: that of the MLIP estimate, or of the published bands.

    Raises
    ------
    BadInput
        The store has no such hop.
    """
    doc = next(iter(store.find(HopDoc, {"hop_id": hop_id})), None)
    if doc is None:
        raise BadInput(
            f"hop '{hop_id}': not in the store; 'hopscreen show' lists a material's hops"
        )
    candidate = next(iter(store.find(CandidateDoc, {"candidate_id": doc.candidate_id})))
    host = host_of(candidate)
    first, last = build_endpoints(
        host, Hop.from_doc(doc), recipe or _recipe(store, hop_id), doc.mode
    )
    ends = as_atoms(first), as_atoms(last)
    path = mlip_path(store, doc, ends[0], images) if start == "mlip" else None
    taken: Start = "mlip"
    if path is None:
        taken = "linear" if start == "linear" else "idpp"
        path = straight(*ends, images) if taken == "linear" else interpolate(*ends, images)
    return HopPath(doc, [_structure(atoms) for atoms in path], taken)


def _recipe(store: ScreenStore, hop_id: str) -> SupercellRecipe:
    """Supercell of the hop's MLIP estimate, so that its path can be taken; else the default."""
    criteria = {"hop_id": hop_id, "level": "mlip", "status": "done"}
    found = sorted(store.find(BarrierDoc, criteria), key=lambda doc: doc.provenance.created_at)
    return (
        SupercellRecipe(**found[-1].settings.get("supercell", {})) if found else SupercellRecipe()
    )


def _structure(atoms: Atoms) -> Structure:
    return Structure(
        Lattice(atoms.cell[:]),
        atoms.get_chemical_symbols(),
        atoms.positions,
        coords_are_cartesian=True,
    )
