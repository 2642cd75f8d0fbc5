"""Space-group operations of a cell, found fast.

spglib needs tens of milliseconds for a face-centred cubic cell of two atoms, since it also
finds the space-group type, which hops have no use for. What hops need is only the operations:
integer matrices that leave the metric as it is, each with the translations that map the atoms
onto themselves. The tests compare them with spglib's, operation by operation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_FEW_DISTANCES = 20_000
"""So many are computed faster than candidates are tried on single atoms."""


@dataclass(frozen=True)
class Operations:
    """Operations x → R x + t in fractional coordinates, and where they take the atoms.

    Attributes
    ----------
    rotations
        Integers, shape (m, 3, 3).
    translations
        Shape (m, 3), in [0, 1).
    images
        Shape (m, n): the atom that each atom is taken to, up to a lattice vector.
    """

    rotations: np.ndarray
    translations: np.ndarray
    images: np.ndarray


def find_operations(
    matrix: np.ndarray, coords: np.ndarray, kinds: np.ndarray, tolerance_ang: float
) -> Operations:
    """Find all operations that map a crystal onto itself.

    Each operation takes some atom of the rarest element to one of its kind, which leaves as
    many candidates for the translation as there are such atoms.

    Parameters
    ----------
    matrix
        Lattice vectors in rows, Å.
    coords
        Fractional, shape (n, 3).
    kinds
        Shape (n,); equal numbers for equal elements.
    tolerance_ang
        Distance in Å within which an image and an atom are the same.
    """
    rotations = lattice_rotations(matrix, tolerance_ang)
    names, counts = np.unique(kinds, return_counts=True)
    by_rarity = [np.flatnonzero(kinds == name) for name in names[np.argsort(counts)]]
    rare = coords[by_rarity[0]]
    # Candidates (rotation, translation): R x_0 + t = x_k for every rare atom k.
    turned = rotations @ rare[0]
    translations = (rare[None] - turned[:, None]).reshape(-1, 3)
    which = np.repeat(np.arange(len(rotations)), len(rare))
    # Nearly all candidates fail at the first atoms that they are tried on.
    pairs = int((counts**2).sum())
    for members in by_rarity:
        for atom in members[:2]:
            if len(which) * pairs < _FEW_DISTANCES:
                break
            moved = (rotations @ coords[atom])[which] + translations
            distances, _ = _nearest(moved, coords[members], matrix)
            fits = distances <= tolerance_ang
            which, translations = which[fits], translations[fits]
    images = np.empty((len(which), len(coords)), dtype=np.int64)
    for members in by_rarity:
        # Element by element, for in a supercell with a vacancy nearly all fit the rare ones.
        moved = coords[members] @ rotations[which].transpose(0, 2, 1) + translations[:, None]
        distances, nearest = _nearest(moved, coords[members], matrix)
        near = (distances <= tolerance_ang).all(axis=1)
        fits = near & (np.sort(nearest, axis=1) == np.arange(len(members))).all(axis=1)
        images[:, members] = members[nearest]
        which, translations, images = which[fits], translations[fits], images[fits]
    return Operations(rotations[which], translations % 1.0, images)


def lattice_rotations(matrix: np.ndarray, tolerance_ang: float) -> np.ndarray:
    """Find the integer matrices (acting on fractional columns) that leave the metric as it is.

    Every basis vector goes to a lattice vector of its length, and the three images keep the
    angles. This holds for any basis, reduced or not.

    Returns
    -------
    ndarray of int, shape (m, 3, 3)
    """
    metric = matrix @ matrix.T
    lengths = np.sqrt(np.diag(metric))
    reach = np.floor((lengths.max() + tolerance_ang) * _reciprocal_lengths(matrix)).astype(int)
    grid = np.stack(
        np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1
    ).reshape(-1, 3)
    grid_lengths = np.linalg.norm(grid @ matrix, axis=1)
    first, second, third = (
        grid[np.abs(grid_lengths - length) <= tolerance_ang] for length in lengths
    )

    def keeps(u: np.ndarray, v: np.ndarray, i: int, j: int) -> np.ndarray:
        # A turn by δ moves the tip of a vector by δ times its length.
        change = np.abs(u @ metric @ v.T - metric[i, j])
        return np.asarray(change <= tolerance_ang * (lengths[i] + lengths[j]))

    a, b = np.nonzero(keeps(first, second, 0, 1))
    fits_third = keeps(first, third, 0, 2)[a] & keeps(second, third, 1, 2)[b]
    pair, c = np.nonzero(fits_third)
    rows = np.stack([first[a[pair]], second[b[pair]], third[c]], axis=1)
    unimodular = np.abs(np.round(np.linalg.det(rows))) == 1
    return np.asarray(rows[unimodular].transpose(0, 2, 1))


def _nearest(
    points: np.ndarray, atoms: np.ndarray, matrix: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return distance in Å and index of the atom nearest to each point, periodically.

    Right for distances far below the cell's height, which is all that matters here.
    """
    away = points.reshape(-1, 1, 3) - atoms
    away -= np.rint(away)
    # One product of two matrices: a stack of small ones takes several times as long.
    cartesian = away.reshape(-1, 3) @ matrix
    squares = np.einsum("ij,ij->i", cartesian, cartesian).reshape(-1, len(atoms))
    nearest = squares.argmin(axis=1)
    distances = np.sqrt(squares[np.arange(len(squares)), nearest])
    shape = points.shape[:-1]
    return distances.reshape(shape), nearest.reshape(shape)


def _reciprocal_lengths(matrix: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(np.linalg.inv(matrix), axis=0))
