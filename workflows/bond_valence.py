"""Sites for an ion in a host that holds none, by bond valence.

The valence that an ion would have at a place is the sum of the valences of its bonds to the
anions, ``V(r) = Σ exp((l − d) / b)``. Places where an ion can sit are those where the sum comes
near to its charge [1]_, the way in which lithium has been sought in crystals since [2]_ and
pathways in glasses since [3]_. A cavity somewhat too large has its ideal valence on a whole shell
rather than at a point; of that shell the equilibrium is where the vector sum of the bond valences
vanishes [4]_. The gradient of V is that vector sum divided by −b: sites are the local minima of
V, at which the mismatch ``|V − charge|`` is small, and which are not next to a cation.

References
----------
.. [1] I. D. Brown, Chem. Rev. 109, 6858 (2009).
.. [2] K. Waltersson, Acta Cryst. A 34, 901 (1978).
.. [3] S. Adams, J. Swenson, Phys. Chem. Chem. Phys. 4, 3179 (2002).
.. [4] M. A. Harvey, S. Baggio, R. Baggio, Acta Cryst. B 62, 1038 (2006).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pymatgen.core import Element, Structure
from scipy.ndimage import minimum_filter
from scipy.optimize import minimize

from em_model.charges import anions
from em_model.elements import bond_valence_lengths
from workflows.oxidation import ION_CHARGES

SOFTNESS_ANG = 0.37
"""The parameter b of all bonds: I. D. Brown, D. Altermatt, Acta Cryst. B 41, 244 (1985)."""

MAX_MISMATCH = 0.75
"""Largest ``|V − charge|`` / charge of a site. Known sites of the catalogue lie between −0.46 and
+0.71, for the tabulated lengths are too long for sodium in layered oxides."""

CATION_ANG = 2.4
"""Least distance of a site from a cation of the framework; the nearest known one is 2.6 Å."""

GRID_ANG = 0.3
"""Spacing of the grid on which minima are looked for; they are refined afterwards. Minima nearer
to each other are one, found from two sides."""

_REACH_ANG = 6.0
"""Bonds longer than this have valences below 10⁻⁴."""

_CHUNK = 500
"""Grid points at once."""


@dataclass(frozen=True)
class ValenceSite:
    """A place for the ion.

    Attributes
    ----------
    frac_coords
        Shape (3,), in [0, 1).
    valence
        Bond-valence sum of the ion there.
    mismatch
        Distance of the sum from the ion's charge, in units of the charge.
    cation_ang
        Distance of the nearest cation of the framework; infinite where there is none.
    """

    frac_coords: np.ndarray
    valence: float
    mismatch: float
    cation_ang: float


def valence_sites(host: Structure, working_ion: str) -> list[ValenceSite]:
    """Find the places where an ion fits into a host.

    Parameters
    ----------
    host
        Ordered framework without the ion.
    working_ion
        Element symbol of an ion whose charge is known.

    Returns
    -------
    list of ValenceSite
        All in the cell, equivalent ones too, by rising mismatch. Empty for a host of no anions.
    """
    sites = anion_sites(host)
    if not sites:
        return []
    charge = ION_CHARGES[working_ion]
    field = _ValenceField(host, sites, working_ion)
    cations = sorted(set(range(len(host))) - set(sites))
    found: list[ValenceSite] = []
    for start in _grid_minima(host, field, charge):
        refined = minimize(field.with_gradient, start, jac=True, options={"gtol": 1e-5})
        place = host.lattice.get_fractional_coords(refined.x) % 1.0
        valence = float(refined.fun)
        mismatch = abs(valence - charge) / charge
        if mismatch > MAX_MISMATCH or _nearest(host, place, sites) > _REACH_ANG:
            continue
        cation_ang = _nearest(host, place, cations)
        seen = [site.frac_coords for site in found]
        new = not seen or host.lattice.get_all_distances(place, seen).min() > GRID_ANG
        if new and cation_ang >= CATION_ANG:
            found.append(ValenceSite(place, valence, mismatch, cation_ang))
    # Rounded: equivalent sites differ in their last digits, and the order must not.
    return sorted(found, key=lambda s: (round(s.mismatch, 3), s.frac_coords.round(3).tolist()))


def anion_sites(host: Structure) -> list[int]:
    """Return the sites of the host's anions, by the band model's rule."""
    numbers = np.array([site.specie.Z for site in host])
    return np.flatnonzero(anions(host.lattice.matrix, host.cart_coords, numbers)).tolist()


class _ValenceField:
    """The bond-valence sum of an ion in space, with its gradient."""

    def __init__(self, host: Structure, sites: list[int], working_ion: str) -> None:
        matrix = host.lattice.matrix
        # A cell with a margin: refinement moves a place by less than an Å.
        margin = (_REACH_ANG + 1.0) * np.linalg.norm(np.linalg.inv(matrix), axis=0)
        ranges = [np.arange(-n, n + 1) for n in np.ceil(margin).astype(int)]
        cells = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
        coords = (host.frac_coords[sites][:, None] % 1.0 + cells).reshape(-1, 3)
        row = bond_valence_lengths()[Element(working_ion).Z]
        lengths = np.repeat([row[host[k].specie.Z] for k in sites], len(cells))
        inside = ((coords > -margin) & (coords < 1.0 + margin)).all(axis=1)
        self._anions = coords[inside] @ matrix
        self._lengths = lengths[inside]

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Return the sums at Cartesian points (n, 3) in Å."""
        parts = np.array_split(points, max(1, len(points) // _CHUNK))
        return np.concatenate([self._sums(part) for part in parts])

    def _sums(self, points: np.ndarray) -> np.ndarray:
        distances = np.linalg.norm(points[:, None] - self._anions, axis=-1)
        return np.asarray(np.exp((self._lengths - distances) / SOFTNESS_ANG).sum(axis=-1))

    def with_gradient(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the sum at one point and its gradient in 1/Å."""
        away = point - self._anions
        distances = np.maximum(np.linalg.norm(away, axis=-1), 1e-6)
        valences = np.exp((self._lengths - distances) / SOFTNESS_ANG)
        return float(valences.sum()), -(valences / distances / SOFTNESS_ANG) @ away


def _grid_minima(host: Structure, field: _ValenceField, charge: int) -> np.ndarray:
    """Return the Cartesian grid points (n, 3) that may lie beside a site."""
    counts = np.maximum(np.ceil(np.array(host.lattice.abc) / GRID_ANG).astype(int), 4)
    axes = [np.arange(n) / n for n in counts]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    points = points @ host.lattice.matrix
    sums = field(points)
    lowest = minimum_filter(sums.reshape(counts), size=3, mode="wrap").ravel() == sums
    # The minimum beside a grid point is lower yet: what is below the bound here stays below.
    fits = (sums >= (1 - MAX_MISMATCH) * charge) & (sums <= 2 * (1 + MAX_MISMATCH) * charge)
    return np.asarray(points[lowest & fits])


def _nearest(host: Structure, place: np.ndarray, sites: list[int]) -> float:
    if not sites:
        return float("inf")
    return float(host.lattice.get_all_distances(place, host.frac_coords[sites]).min())
