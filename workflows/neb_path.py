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
    images = straight(first, last, movable)
    band = NEB(images, method="improvedtangent")
    idpp_interpolate(band, traj=None, log=None, mic=True, fmax=0.1, steps=100)
    return images


def resampled(path: Sequence[Atoms], images: int) -> list[Atoms]:
    """Return a path with ``images`` evenly spaced movable images, piecewise linear in between."""
    # Minimum-image steps: potentials may have wrapped an atom in between.
    steps = [find_mic(b.positions - a.positions, a.cell, a.pbc)[0] for a, b in pairwise(path)]
    length = np.concatenate([[0.0], np.cumsum([np.linalg.norm(step) for step in steps])])
    positions = path[0].positions + np.concatenate(
        [np.zeros_like(steps[0])[None], np.cumsum(steps, axis=0)]
    )
    taken = []
    for at in np.linspace(0.0, length[-1], images + 2):
        k = min(int(np.searchsorted(length, at, side="right")) - 1, len(steps) - 1)
        image = path[0].copy()
        image.positions = positions[k] + (at - length[k]) / (length[k + 1] - length[k]) * steps[k]
        taken.append(image)
    return taken


def minima(energies_ev: np.ndarray, depth_ev: float = 0.05) -> list[int]:
    """Inner images that lie at least ``depth_ev`` below a maximum on both sides."""
    found = []
    for index in range(1, len(energies_ev) - 1):
        left, here, right = energies_ev[:index], energies_ev[index], energies_ev[index + 1 :]
        lowest = here <= energies_ev[index - 1] and here <= energies_ev[index + 1]
        if lowest and min(left.max(), right.max()) - here >= depth_ev:
            found.append(index)
    return found


def images_for(first: Atoms, last: Atoms, max_spacing_ang: float = 0.8, minimum: int = 3) -> int:
    """Movable images so that the moving ion goes at most ``max_spacing_ang`` between two."""
    length = float(np.linalg.norm(last.positions[0] - first.positions[0]))
    return max(minimum, int(np.ceil(length / max_spacing_ang - 1e-9)) - 1)


def straight(first: Atoms, last: Atoms, movable: int) -> list[Atoms]:
    """Straight path of ``movable`` images between two unwrapped ends."""
    images = [first]
    for index in range(1, movable + 1):
        image = first.copy()
        image.positions += index / (movable + 1) * (last.positions - first.positions)
        images.append(image)
    return [*images, last]


def tangent(images: Sequence[Atoms], index: int) -> np.ndarray:
    """Unit vector along a path at an inner image, over all atoms; shape (n, 3)."""
    along = images[index + 1].positions - images[index - 1].positions
    return np.asarray(along / np.linalg.norm(along))


def moved_to(end: Atoms, theirs: Atoms) -> Atoms:
    """End with its atoms where another engine relaxed them to, unwrapped as they are."""
    moved = end.copy()
    moved.positions += find_mic(theirs.positions - end.positions, end.cell, end.pbc)[0]
    return moved


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
