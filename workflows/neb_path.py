"""Geometry of a path: ends that belong together, interpolation, length along the path."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from ase.mep import NEB
from ase.mep.neb import idpp_interpolate


def checked_ends(initial: Atoms, final: Atoms) -> tuple[Atoms, Atoms]:
    """Copies of two ends that share cell and site order.

    Raises
    ------
    ValueError
        Different cells, species or orders, or an ion that does not move.
    """
    if len(initial) != len(final) or (initial.numbers != final.numbers).any():
        raise ValueError("species differ in kind, number or order; list them alike")
    if not np.allclose(initial.cell[:], final.cell[:], atol=1e-4):
        raise ValueError("the cells differ; relax both at one fixed cell")
    if np.linalg.norm(final.positions[0] - initial.positions[0]) < 0.5:
        raise ValueError("the first atom, the moving ion, is at the same place in both")
    return initial.copy(), final.copy()


def unwrapped(first: Atoms, last: Atoms) -> Atoms:
    """``last`` with every host atom at its image nearest to ``first``, and no common drift.

    The ion's own path is kept as given: it may end in a neighbouring cell.
    """
    shift = last.positions - first.positions
    shift[1:] = find_mic(shift[1:], first.cell, first.pbc)[0]
    if len(first) > 1:
        # A rigid shift costs no energy but would lengthen the path.
        shift -= shift[1:].mean(axis=0)
    moved = last.copy()
    moved.positions = first.positions + shift
    moved.calc = last.calc
    if moved.calc is not None:
        moved.calc.atoms = moved.copy()
    return moved


def interpolate(first: Atoms, last: Atoms, movable: int) -> list[Atoms]:
    """Path of ``movable`` images between two unwrapped ends, by IDPP.

    Image-dependent pair potential: Smidstrup et al., J. Chem. Phys. 140, 214106 (2014).
    """
    images = [first]
    for index in range(1, movable + 1):
        image = first.copy()
        image.positions += index / (movable + 1) * (last.positions - first.positions)
        images.append(image)
    images.append(last)
    band = NEB(images, method="improvedtangent")
    idpp_interpolate(band, traj=None, log=None, mic=True, fmax=0.1, steps=100)
    return images


def transferred(guess: Sequence[Atoms], first: Atoms, last: Atoms) -> list[Atoms]:
    """Path of another engine, carried over to the ends of this one.

    Each image takes its share of what the ends moved, so a difference in the relaxed hosts,
    most of what two engines disagree on, does not have to be relaxed away again.
    """
    shares = np.linspace(0.0, 1.0, len(guess))
    start, end = (
        find_mic(mine.positions - theirs.positions, first.cell, first.pbc)[0]
        for mine, theirs in ((first, guess[0]), (last, guess[-1]))
    )
    images = [first]
    for share, theirs in zip(shares[1:-1], guess[1:-1], strict=True):
        image = first.copy()
        image.positions = theirs.positions + (1 - share) * start + share * end
        images.append(image)
    return [*images, last]


def path_coordinate(images: list[Atoms]) -> np.ndarray:
    """Length along the path at each image, Å, from the displacement of all atoms; shape (n,)."""
    steps = [np.linalg.norm(b.positions - a.positions) for a, b in pairwise(images)]
    return np.concatenate([[0.0], np.cumsum(steps)])
