"""Paths that symmetry holds on a ridge: how they are seen, and bent off."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from workflows.neb_band import Band
from workflows.neb_run import Run

RIDGE_STEP_ANG = 0.1
RIDGE_CURVATURE_EV_ANG2 = 0.3
"""A path is on a ridge where the ion's curvature across it is more negative than this."""


def ridge(run: Run, band: Band) -> np.ndarray | None:
    """Direction in which the highest image falls off a ridge, None where it does not.

    A path that symmetry holds on a ridge has no force to leave it. Two displacements of the
    ion give its curvatures across the path; shape (3,), a unit vector.
    """
    top = 1 + int(np.argmax(band.energies[1:-1]))
    image = band.images[top]
    along = band.images[top + 1].positions[0] - band.images[top - 1].positions[0]
    across = np.linalg.svd(along[None])[2][1:]
    forces = band.real_forces[top][0]
    moved = [image.copy() for _ in across]
    for other, direction in zip(moved, across, strict=True):
        other.positions[0] += RIDGE_STEP_ANG * direction
    answers = run.evaluate(moved, [f"image-{top:02d}"] * 2)
    there = np.array([answer.forces_ev_ang[0] for answer in answers])
    curvatures = (forces - there) @ across.T / RIDGE_STEP_ANG
    values, vectors = np.linalg.eigh((curvatures + curvatures.T) / 2)
    if values[0] > -RIDGE_CURVATURE_EV_ANG2:
        return None
    downhill = vectors[:, 0] @ across
    # both sides are alike on an exact ridge; else the force says which is lower
    slope = float(downhill @ forces)
    side = slope if abs(slope) > 1e-3 else float(downhill[np.argmax(np.abs(downhill))])
    return np.asarray(np.copysign(1.0, side) * downhill)


def bent(images: list[Atoms], direction: np.ndarray, height_ang: float = 0.3) -> list[Atoms]:
    """Move the ion off a path, in place: most half way, not at all at the ends."""
    for image, share in zip(images, np.linspace(0, 1, len(images)), strict=True):
        image.positions[0] += height_ang * np.sin(np.pi * share) * direction
    return images
