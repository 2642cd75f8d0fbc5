"""The softest direction at a geometry, from few force calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

HOST_CURVATURE_EV_ANG2 = 5.0
"""What a direction not looked at yet is taken to have: that of an atom in its site."""

SMALL = 0.2
"""A direction of which less is left after a projection says nothing."""

ALIKE_EV_ANG2 = 0.05
"""Curvatures that differ by less belong to directions that symmetry makes alike."""

ANYWHERE = np.array([0.36, 0.48, 0.80])
"""Along no axis; where directions of the first atom are alike, the nearest one is taken."""


class Mode(NamedTuple):
    """Curvature (eV/Å²) along a unit vector, shape (n, 3), and what it cost.

    ``alike`` is a second vector as soft and at right angles, where symmetry makes two of them.
    """

    curvature_ev_ang2: float
    mode: np.ndarray
    calls: int
    alike: np.ndarray | None = None


def softest(
    stiffness: Callable[[np.ndarray], np.ndarray],
    starts: np.ndarray,
    *,
    below: float,
    calls: int,
    barred: np.ndarray | None = None,
) -> Mode:
    """Follow the softest direction until its curvature is known to be below a bound, or not to be.

    Ritz values in a growing space, each new direction being what the softest one so far pulls at
    (Lanczos, J. Res. Natl. Bur. Stand. 45, 255 (1950)).

    Parameters
    ----------
    stiffness
        Change of the restoring forces per Å in a direction; (n, 3) to (n, 3).
    starts
        Directions to begin with, (m, n, 3).
    below
        Curvature that decides.
    calls
        Of ``stiffness`` at most.
    barred
        A unit vector to leave out, (n, 3).
    """
    shape, size = starts.shape[1:], starts[0].size
    out = np.empty((size, 0)) if barred is None else barred.reshape(-1, 1)

    def inside(vectors: np.ndarray) -> np.ndarray:
        return np.asarray(vectors - out @ (out.T @ vectors))

    vectors, sizes, _ = np.linalg.svd(inside(starts.reshape(-1, size).T), full_matrices=False)
    directions = list(vectors[:, sizes > SMALL].T)
    if barred is not None:
        directions = directions[: len(starts) - 1]
    seen, answers = np.empty((size, 0)), np.empty((size, 0))
    while True:
        for direction in directions:
            answer = inside(stiffness(direction.reshape(shape)).ravel())
            seen = np.column_stack([seen, direction])
            answers = np.column_stack([answers, answer])
        quotient = seen.T @ answers
        values, vectors = np.linalg.eigh((quotient + quotient.T) / 2)
        chosen, other = _settled(values, vectors, seen)
        lowest, rest = float(values[0]), answers @ chosen
        rest -= seen @ (seen.T @ rest)
        coupling = float(np.linalg.norm(rest))
        half = (HOST_CURVATURE_EV_ANG2 - lowest) / 2
        expected = lowest + half - np.hypot(half, coupling)
        if lowest < below or expected >= below or seen.shape[1] >= calls:
            alike = None if other is None else (seen @ other).reshape(shape)
            return Mode(lowest, (seen @ chosen).reshape(shape), seen.shape[1], alike)
        directions = [rest / coupling]


def _settled(
    values: np.ndarray, vectors: np.ndarray, seen: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Lowest eigenvector; of two that symmetry makes alike, one that rounding has no say in."""
    pair = vectors[:, :2]
    if np.count_nonzero(values < values[0] + ALIKE_EV_ANG2) != 2:
        return vectors[:, 0], None
    wanted = pair.T @ (seen[:3].T @ ANYWHERE)
    size = float(np.linalg.norm(wanted))
    if size < SMALL:
        return vectors[:, 0], None
    wanted /= size
    other = pair @ np.array([-wanted[1], wanted[0]])
    of_first = seen[:3] @ other
    return pair @ wanted, other * np.sign(of_first[np.argmax(np.abs(of_first))])
