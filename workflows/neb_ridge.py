"""Paths that symmetry holds on a ridge: how they are seen, and bent off."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from workflows.neb_band import Band
from workflows.neb_modes import softest
from workflows.neb_path import tangent
from workflows.neb_run import Run

RIDGE_STEP_ANG = 0.1
"""Displacement by which curvatures are measured."""

RIDGE_CURVATURE_EV_ANG2 = 0.3
"""A path is on a ridge where its softest direction curves down by more than this."""

RIDGE_CALLS = 6
"""Force calls at most; two do where the ion alone decides."""

PROBE_STEP_ANG, ALIKE_EV = 0.4, 1e-3
"""How far ways off an axis are followed, and what differs by less is as low."""


FULL_TURN = round(2 * np.pi, 3)


def ridge(run: Run, band: Band) -> np.ndarray | None:
    """Direction in which the highest image falls off a ridge, None where it does not.

    A path that symmetry holds on a ridge has no force to leave it. Displacements of the ion give
    its curvatures across the path; where the host that yields may turn a valley into a ridge, it
    is followed. What was pieced together from several calls is measured by one more. On an axis of
    the path, where all sides are alike at first, each symmetric way is tried by a call.

    Returns
    -------
    np.ndarray or None
        Shape (n, 3), a unit vector.
    """
    top = 1 + int(np.argmax(band.energies[1:-1]))
    image, forces, label = band.images[top], band.real_forces[top], f"image-{top:02d}"
    stiffness = run.stiffness(image, label, forces, RIDGE_STEP_ANG)
    ion = np.zeros((3, *image.positions.shape))
    ion[:, 0] = np.eye(3)
    along = tangent(band.images, top)
    found = softest(stiffness, ion, below=-RIDGE_CURVATURE_EV_ANG2, calls=RIDGE_CALLS, barred=along)
    curvature, downhill = found.curvature_ev_ang2, found.mode
    if curvature < -RIDGE_CURVATURE_EV_ANG2 and found.calls > 2:
        curvature = float(np.vdot(downhill, stiffness(downhill)))
    if curvature > -RIDGE_CURVATURE_EV_ANG2:
        return None
    if found.alike is not None:
        ways = symmetric_ways(run.rotations(), downhill, found.alike)
        if ways:
            return _lowest(run, image, label, ways)
    # both sides are alike on an exact ridge; else the force says which is lower
    slope = float(np.vdot(downhill, forces))
    side = slope if abs(slope) > 1e-3 else float(downhill.flat[np.argmax(np.abs(downhill))])
    return np.asarray(np.copysign(1.0, side) * downhill)


def symmetric_ways(rotations: np.ndarray, one: np.ndarray, other: np.ndarray) -> list[np.ndarray]:
    """Directions between two alike ones that an operation of the path leaves as they are.

    On an axis of the path all sides are alike at first, but the lowest way off it keeps a mirror or
    a twofold axis, as a rule (the epikernel principle; Ceulemans and Vanquickenborne, Struct.
    Bonding 71, 125 (1989)).

    Parameters
    ----------
    rotations
        Of the path, Cartesian, (k, 3, 3).
    one, other
        Unit vectors at right angles, (n, 3); the ion's part decides.

    Returns
    -------
    list of np.ndarray
        Unit vectors, (n, 3) each, by their angle to ``one``.
    """
    plane, _ = np.linalg.qr(np.stack([one[0], other[0]], axis=1))
    plane *= np.sign((plane * np.stack([one[0], other[0]], axis=1)).sum(axis=0))
    angles = set()
    for within in plane.T @ rotations @ plane:
        if abs(np.linalg.det(within) + 1) < 0.01:  # reflects the plane, so it has an axis in it
            half = np.arctan2(within[1, 0], within[0, 0]) / 2
            angles |= {round(float(half + turn), 3) % FULL_TURN for turn in (0.0, np.pi)}
    return [np.cos(angle) * one + np.sin(angle) * other for angle in sorted(angles)]


def _lowest(run: Run, image: Atoms, label: str, ways: list[np.ndarray]) -> np.ndarray:
    """Of the directions in which an image may fall, the first of those that are lowest."""
    moved = [image.copy() for _ in ways]
    for other, way in zip(moved, ways, strict=True):
        other.positions += PROBE_STEP_ANG * way
    energies = np.array([e.energy_ev for e in run.evaluate(moved, [label] * len(ways))])
    return ways[int(np.flatnonzero(energies < energies.min() + ALIKE_EV)[0])]


def bent(images: Sequence[Atoms], direction: np.ndarray, height_ang: float = 0.3) -> list[Atoms]:
    """Move atoms off a path, in place: most half way, not at all at the ends.

    ``direction`` has shape (n, 3); the atom that it moves most goes ``height_ang``.
    """
    farthest = float(np.linalg.norm(direction, axis=1).max())
    for image, share in zip(images, np.linspace(0, 1, len(images)), strict=True):
        image.positions += height_ang * np.sin(np.pi * share) / farthest * direction
    return list(images)
