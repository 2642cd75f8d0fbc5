"""Hops whose two ends are one another's image: half of the path is the other half.

Where an operation of the host turns the path round, the final end is the image of the initial
one and image *k* from the end that of image *k* from the start, energies and forces included.
One end and half the images remain to be computed. A band that starts symmetric stays so, with or
without this, since its forces are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.geometry import find_mic

from workflows.symmetry import find_operations


@dataclass(frozen=True)
class Swap:
    """An operation of order two that exchanges the ends of a hop.

    Attributes
    ----------
    rotation
        Cartesian, shape (3, 3); acts on columns.
    translation_ang
        Shape (3,).
    source
        The atom that comes to each atom's place, shape (n,).
    """

    rotation: np.ndarray
    translation_ang: np.ndarray
    source: np.ndarray

    def positions(self, atoms: Atoms, near: Atoms) -> np.ndarray:
        """Positions of ``atoms`` under the operation, each at its image closest to ``near``."""
        moved = (atoms.positions @ self.rotation.T + self.translation_ang)[self.source]
        return near.positions + find_mic(moved - near.positions, near.cell, near.pbc)[0]

    def vectors(self, vectors: np.ndarray) -> np.ndarray:
        """Forces under the operation; shape (n, 3)."""
        return np.asarray((vectors @ self.rotation.T)[self.source])

    def image_of(self, atoms: Atoms, near: Atoms) -> Atoms:
        """Return ``atoms`` under the operation, with their energy and turned forces."""
        twin = atoms.copy()
        twin.positions = self.positions(atoms, near)
        twin.calc = SinglePointCalculator(
            twin, energy=atoms.get_potential_energy(), forces=self.vectors(atoms.get_forces())
        )
        return twin

    def impose(self, images: Sequence[Atoms]) -> None:
        """Make the second half of a path the image of its first half."""
        last = len(images) - 1
        for index in range(1, last // 2 + 1):
            near, twin = images[index], images[last - index]
            if near is twin:
                near.positions = (near.positions + self.positions(near, near)) / 2
            else:
                twin.positions = self.positions(near, twin)


def find_swap(initial: Atoms, final: Atoms, tolerance_ang: float = 0.01) -> Swap | None:
    """Find an operation that turns a hop round.

    Parameters
    ----------
    initial, final
        The unrelaxed ends, the moving ion first, its path unwrapped; the rest is the same.

    Returns
    -------
    Swap or None
        None where the ends differ by symmetry, or no operation of order two exchanges them.
    """
    unity = np.arange(len(initial) + 1)
    for operation in _of_hop(initial, final, tolerance_ang):
        order_two = (operation.turn @ operation.turn == np.eye(3)).all()
        goes_to = operation.goes_to
        if goes_to[0] != 1 or not order_two or (goes_to[goes_to] != unity).any():
            continue
        source = np.empty(len(initial), dtype=np.int64)
        source[0] = 0
        source[goes_to[2:] - 1] = np.arange(1, len(initial))
        return Swap(
            rotation=operation.rotation,
            translation_ang=operation.shift @ initial.cell[:],
            source=source,
        )
    return None


def path_rotations(initial: Atoms, final: Atoms, tolerance_ang: float = 0.01) -> np.ndarray:
    """Rotations of all operations that leave a hop where it is, or turn it round.

    Returns
    -------
    np.ndarray
        Cartesian, shape (k, 3, 3).
    """
    found = [operation.rotation for operation in _of_hop(initial, final, tolerance_ang)]
    return np.array(found).reshape(-1, 3, 3)


class _Operation(NamedTuple):
    """Of a hop: in fractions, where each atom goes (both ends first), and Cartesian."""

    turn: np.ndarray
    shift: np.ndarray
    goes_to: np.ndarray
    rotation: np.ndarray


def _of_hop(initial: Atoms, final: Atoms, tolerance_ang: float) -> Iterator[_Operation]:
    if not np.allclose(initial.positions[1:], final.positions[1:], atol=tolerance_ang):
        return
    cell = initial.cell[:]
    ends = np.linalg.solve(cell.T, np.stack([initial.positions[0], final.positions[0]]).T).T
    host = np.linalg.solve(cell.T, initial.positions[1:].T).T
    kinds = np.concatenate([[0, 0], initial.numbers[1:]])
    found = find_operations(cell, np.concatenate([ends, host]), kinds, tolerance_ang)
    for turn, shift, goes_to in zip(found.rotations, found.translations, found.images, strict=True):
        # The path itself has to be mapped, not taken to one of its periodic images.
        moved = ends @ turn.T + shift - ends[goes_to[:2]]
        if np.linalg.norm((moved[0] - moved[1]) @ cell) > 2 * tolerance_ang:
            continue
        rotation = cell.T @ turn @ np.linalg.inv(cell.T)
        yield _Operation(turn, shift - moved.mean(axis=0), goes_to, rotation)
