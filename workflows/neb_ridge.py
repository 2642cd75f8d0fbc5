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


def ridge(run: Run, band: Band) -> np.ndarray | None:
    """Direction in which the highest image falls off a ridge, None where it does not.

    A path that symmetry holds on a ridge has no force to leave it. Displacements of the ion give
    its curvatures across the path; where the host that yields may turn a valley into a ridge, it
    is followed. What was pieced together from several calls is measured by one more.

    Returns
    -------
    np.ndarray or None
        Shape (n, 3), a unit vector.
    """
    top = 1 + int(np.argmax(band.energies[1:-1]))
    image, forces = band.images[top], band.real_forces[top]

    def stiffness(direction: np.ndarray) -> np.ndarray:
        moved = image.copy()
        moved.positions += RIDGE_STEP_ANG * direction
        (there,) = run.evaluate([moved], [f"image-{top:02d}"])
        return np.asarray((forces - there.forces_ev_ang) / RIDGE_STEP_ANG)

    ion = np.zeros((3, *image.positions.shape))
    ion[:, 0] = np.eye(3)
    along = tangent(band.images, top)
    found = softest(stiffness, ion, below=-RIDGE_CURVATURE_EV_ANG2, calls=RIDGE_CALLS, barred=along)
    curvature, downhill = found.curvature_ev_ang2, found.mode
    if curvature < -RIDGE_CURVATURE_EV_ANG2 and found.calls > 2:
        curvature = float(np.vdot(downhill, stiffness(downhill)))
    if curvature > -RIDGE_CURVATURE_EV_ANG2:
        return None
    # both sides are alike on an exact ridge; else the force says which is lower
    slope = float(np.vdot(downhill, forces))
    side = slope if abs(slope) > 1e-3 else float(downhill.flat[np.argmax(np.abs(downhill))])
    return np.asarray(np.copysign(1.0, side) * downhill)


def bent(images: Sequence[Atoms], direction: np.ndarray, height_ang: float = 0.3) -> list[Atoms]:
    """Move atoms off a path, in place: most half way, not at all at the ends.

    ``direction`` has shape (n, 3); the atom that it moves most goes ``height_ang``.
    """
    farthest = float(np.linalg.norm(direction, axis=1).max())
    for image, share in zip(images, np.linspace(0, 1, len(images)), strict=True):
        image.positions += height_ang * np.sin(np.pi * share) / farthest * direction
    return list(images)
