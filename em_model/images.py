"""Periodic images of atoms near a place. Needs no torch: hops and candidates use it, too."""

from __future__ import annotations

import numpy as np


def periodic_images(
    lattice: np.ndarray, targets: np.ndarray, centres: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Periodic images of ``targets`` that may lie within ``radius`` of any of ``centres``.

    Returns
    -------
    tuple
        Positions (p, 3) and the index of the target behind each (p,).
    """
    inverse = np.linalg.inv(lattice)
    margin = radius * np.linalg.norm(inverse, axis=0) + 1e-9
    frac = centres @ inverse
    low, high = frac.min(axis=0) - margin, frac.max(axis=0) + margin
    target_frac = targets @ inverse
    start = np.floor(low - target_frac.max(axis=0)).astype(int)
    stop = np.ceil(high - target_frac.min(axis=0)).astype(int) + 1
    grid = np.stack(
        np.meshgrid(*(np.arange(a, b) for a, b in zip(start, stop, strict=True)), indexing="ij"),
        axis=-1,
    ).reshape(-1, 3)
    shifted = target_frac[None] + grid[:, None]
    inside = ((shifted >= low) & (shifted <= high)).all(axis=-1)
    cell, atom = np.nonzero(inside)
    return shifted[cell, atom] @ lattice, atom
