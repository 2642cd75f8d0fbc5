"""What lies around a path: the common ground of all descriptors of a band."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from em_model.charges import formal_charges, ion_charge
from em_model.data import Band
from em_model.elements import numbers_of
from em_model.images import periodic_images

POINTS = 9
"""Points along the path, ends included, at which its surroundings are described."""

REACH_ANG = 7.0
"""Atoms within this distance of the path are surveyed."""


@dataclass(frozen=True, eq=False)
class Survey:
    """A path and the host's atoms around it.

    Attributes
    ----------
    ion, ion_charge
        Atomic number and formal charge of the moving ion.
    path
        Positions of the band's sites, shape (sites, 3), Å.
    points
        Evenly spaced along it, shape (POINTS, 3), Å.
    positions, numbers, charges, anions
        Of the atoms around: (p, 3) in Å, (p,), (p,), (p,) boolean.
    host_numbers, host_charges, host_anions
        Of all host atoms in the cell, (n,) each.
    volume_ang3
        Of the cell.
    """

    ion: int
    ion_charge: float
    path: np.ndarray
    points: np.ndarray
    positions: np.ndarray
    numbers: np.ndarray
    charges: np.ndarray
    anions: np.ndarray
    host_numbers: np.ndarray
    host_charges: np.ndarray
    host_anions: np.ndarray
    volume_ang3: float

    @property
    def same(self) -> np.ndarray:
        """Which of the atoms around are ions of the moving kind, (p,) boolean."""
        return np.asarray((self.numbers == self.ion) & ~self.anions)

    @property
    def cations(self) -> np.ndarray:
        """Which of the atoms around are cations of the framework, (p,) boolean."""
        return np.asarray(~self.anions & (self.numbers != self.ion))


def survey(band: Band) -> Survey:
    """Find the atoms around a band's path and their charges."""
    numbers = numbers_of(band.species)
    host = band.host_sites
    ion = int(numbers[band.band_sites[0]])
    cart = band.frac_coords[host] @ band.lattice
    charges, anions = formal_charges(band.lattice, cart, numbers[host], ion)
    path = band.path_cart
    points = _along(path, POINTS)
    positions, atom = periodic_images(band.lattice, cart, points, REACH_ANG)
    nearest = np.full(len(positions), np.inf)
    for point in points:
        np.minimum(nearest, np.linalg.norm(positions - point, axis=1), out=nearest)
    near = nearest <= REACH_ANG
    positions, atom = positions[near], atom[near]
    return Survey(
        ion=ion,
        ion_charge=ion_charge(ion),
        path=path,
        points=points,
        positions=positions,
        numbers=numbers[host][atom],
        charges=charges[atom],
        anions=anions[atom],
        host_numbers=numbers[host],
        host_charges=charges,
        host_anions=anions,
        volume_ang3=abs(float(np.linalg.det(band.lattice))),
    )


def _along(path: np.ndarray, points: int) -> np.ndarray:
    """Evenly spaced points along a polyline, shape (points, 3)."""
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    at = np.concatenate([[0.0], np.cumsum(steps)])
    wanted = np.linspace(0.0, at[-1], points)
    return np.stack([np.interp(wanted, at, path[:, axis]) for axis in range(3)], axis=1)
