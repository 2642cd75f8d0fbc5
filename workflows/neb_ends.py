"""Relaxed ends, shared between the hops of one host.

An end of a hop is a crystal with one vacancy (or with one ion). Hops that start or end at
equivalent sites share it, up to an operation of the supercell's lattice, so it is relaxed once:
the displacements, forces and energy are kept, and turned to wherever the next hop needs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from pymatgen.core import Structure

from stores.hashing import content_hash
from stores.screen_store import ScreenStore
from workflows.bands import Mode
from workflows.hosts import SYMPREC_ANG
from workflows.symmetry import find_operations, lattice_rotations

Which = Literal["initial", "final"]

TOLERANCE_ANG = 0.02
"""Unrelaxed ends that agree to this under an operation are the same end."""


class Ends(Protocol):
    """Where :func:`workflows.neb.run_neb` looks for ends that are relaxed already."""

    def find(self, which: Which, end: Atoms) -> Atoms | None:
        """Return the relaxed ``end`` with energy and forces, None if nobody relaxed it."""
        ...

    def keep(self, which: Which, end: Atoms, relaxed: Atoms) -> None:
        """Keep what ``end`` relaxed to."""
        ...


@dataclass(frozen=True)
class RelaxedEnd:
    """An end before and after its relaxation.

    Attributes
    ----------
    before
        Unrelaxed, the moving ion first.
    defect_ang
        Place of the vacancy, or of the only ion; shape (3,).
    displacements_ang, forces_ev_ang
        Shape (n, 3).
    energy_ev
        Of the relaxed cell.
    """

    before: Atoms
    defect_ang: np.ndarray
    displacements_ang: np.ndarray
    forces_ev_ang: np.ndarray
    energy_ev: float

    def at(self, end: Atoms, defect_ang: np.ndarray) -> Atoms | None:
        """Turn the relaxation to an equivalent end; None where no operation takes it there."""
        found = _operation(self.before, self.defect_ang, end, defect_ang)
        if found is None:
            return None
        rotation, source = found
        relaxed = end.copy()
        relaxed.positions += (self.displacements_ang @ rotation.T)[source]
        relaxed.calc = SinglePointCalculator(
            relaxed, energy=self.energy_ev, forces=(self.forces_ev_ang @ rotation.T)[source]
        )
        return relaxed

    def as_dict(self) -> dict[str, Any]:
        """Plain lists, for the store."""
        return {
            "numbers": self.before.numbers.tolist(),
            "cell_ang": self.before.cell[:].tolist(),
            "positions_ang": self.before.positions.tolist(),
            "defect_ang": self.defect_ang.tolist(),
            "displacements_ang": self.displacements_ang.tolist(),
            "forces_ev_ang": self.forces_ev_ang.tolist(),
            "energy_ev": self.energy_ev,
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> RelaxedEnd:
        """Undo :meth:`as_dict`."""
        return cls(
            before=Atoms(
                numbers=content["numbers"],
                positions=content["positions_ang"],
                cell=content["cell_ang"],
                pbc=True,
            ),
            defect_ang=np.array(content["defect_ang"]),
            displacements_ang=np.array(content["displacements_ang"]),
            forces_ev_ang=np.array(content["forces_ev_ang"]),
            energy_ev=content["energy_ev"],
        )


def site_orbits(host: Structure) -> np.ndarray:
    """Name each site by its first symmetry equivalent; shape (n,)."""
    kinds = np.array([site.specie.Z for site in host])
    found = find_operations(host.lattice.matrix, host.frac_coords, kinds, SYMPREC_ANG)
    orbits: np.ndarray = found.images.min(axis=0)
    return orbits


class StoredEnds:
    """Ends of one hop in the store's blobs, for all hops of the host under the same settings.

    Parameters
    ----------
    store
        The screen's store.
    scope
        What the ends have in common: host, mode, engine and settings.
    orbits
        Names of the crystal's kinds of site at the initial and the final end.
    initial, final
        The unrelaxed ends of this hop.
    mode
        ``vacancy``: the defect is the empty end; ``dilute``: it is the ion.
    """

    def __init__(
        self,
        store: ScreenStore,
        scope: Any,
        orbits: tuple[int, int],
        initial: Atoms,
        final: Atoms,
        mode: Mode,
    ) -> None:
        self.store = store
        cell = initial.cell[:].round(3).tolist()
        here, there = initial.positions[0], final.positions[0]
        if mode == "vacancy":
            here, there, orbits = there, here, orbits[::-1]
        self.defects = {"initial": here, "final": there}
        self.keys = {
            which: f"end-{content_hash([scope, cell, mode, orbit])}"
            for which, orbit in zip(("initial", "final"), orbits, strict=True)
        }

    def find(self, which: Which, end: Atoms) -> Atoms | None:
        """Look the end up and turn it to its place."""
        try:
            content = self.store.load_blob(self.keys[which])
        except KeyError:
            return None
        return RelaxedEnd.from_dict(content).at(end, self.defects[which])

    def keep(self, which: Which, end: Atoms, relaxed: Atoms) -> None:
        """Keep a relaxed end; of two processes that relax the same one, the last one's stays."""
        done = RelaxedEnd(
            before=end,
            defect_ang=self.defects[which],
            displacements_ang=relaxed.positions - end.positions,
            forces_ev_ang=relaxed.get_forces(),
            energy_ev=float(relaxed.get_potential_energy()),
        )
        self.store.save_blob(self.keys[which], done.as_dict())


def _operation(
    one: Atoms, one_defect_ang: np.ndarray, other: Atoms, other_defect_ang: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Find the rotation, and the atom of ``one`` that comes to each atom's place of ``other``."""
    cell = other.cell[:]
    if len(one) != len(other) or not np.allclose(one.cell[:], cell, atol=1e-3):
        return None
    inverse = np.linalg.inv(cell)
    from_defect = (one.positions - one_defect_ang) @ inverse
    wanted = (other.positions - other_defect_ang) @ inverse
    same = one.numbers[:, None] == other.numbers[None]
    for turn in lattice_rotations(cell, TOLERANCE_ANG):
        away = (from_defect @ turn.T)[:, None] - wanted[None]
        away -= np.round(away)
        distance = np.where(same, np.linalg.norm(away @ cell, axis=2), np.inf)
        source = distance.argmin(axis=0)
        near = distance[source, np.arange(len(source))] <= TOLERANCE_ANG
        if near.all() and len(np.unique(source)) == len(source):
            return cell.T @ turn @ inverse.T, source
    return None
