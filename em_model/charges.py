"""Formal charges of a host: who is an anion, and how strongly a cation repels the ion.

A sulphur in a sulphide is an anion, in a sulphate a cation; what a path squeezes past and what
it is repelled by depends on that. The rules below need nothing but distances, take a millisecond
and never fail; they are for features, not for chemistry.
"""

from __future__ import annotations

import numpy as np
from ase.data import atomic_numbers

from em_model.elements import column
from em_model.images import periodic_images

_ALWAYS = {"O": -2, "F": -1}
_USUAL = {
    "H": -1,
    "C": -4,
    "N": -3,
    "P": -3,
    "As": -3,
    "S": -2,
    "Se": -2,
    "Te": -2,
    "Cl": -1,
    "Br": -1,
    "I": -1,
}
_ANION = np.full(95, np.nan)
for _symbol, _charge in (_ALWAYS | _USUAL).items():
    _ANION[atomic_numbers[_symbol]] = _charge
_HALOGENS = [atomic_numbers[s] for s in ("Cl", "Br", "I")]
_OXYGEN, _HYDROGEN = atomic_numbers["O"], atomic_numbers["H"]
_TRANSITION = np.zeros(95, dtype=bool)
for _first, _last in ((21, 30), (39, 48), (57, 80)):
    _TRANSITION[_first : _last + 1] = True

BOND_MARGIN_ANG = 0.15
"""Atoms this much further apart than the sum of their atomic radii still count as bonded."""


def ion_charge(number: int) -> float:
    """Formal charge of a migrating ion: its highest oxidation state, from 1 to 3."""
    return float(np.clip(column("highest_oxidation")[number], 1, 3))


def anions(lattice: np.ndarray, cart: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Tell which atoms are anions, shape (n,); none may be.

    O and F are. H, C, N, P, As, S, Se, Te and the halogens are, unless they are bonded to a more
    electronegative of these (halogens: to oxygen).

    Parameters
    ----------
    lattice
        Shape (3, 3), Å, rows are vectors.
    cart
        Positions, shape (n, 3), Å.
    numbers
        Atomic numbers, shape (n,), at most 94.
    """
    mask = np.isfinite(_ANION[numbers])
    unsure = np.flatnonzero(mask & ~np.isin(numbers, [8, 9]))
    if len(unsure):
        mask[unsure] = ~_bonded_to_stronger(lattice, cart, numbers, unsure)
    return np.asarray(mask)


def formal_charges(
    lattice: np.ndarray, cart: np.ndarray, numbers: np.ndarray, ion: int
) -> tuple[np.ndarray, np.ndarray]:
    """Charges of the host's atoms, such that host and one moving ion are neutral.

    Where there are no :func:`anions` the most electronegative element takes its lowest oxidation
    state. Other ions of the moving kind have
    its charge, cations of main groups their highest oxidation state, and transition metals share
    equally what is left.

    Parameters
    ----------
    lattice
        Shape (3, 3), Å, rows are vectors.
    cart
        Positions of the host's atoms, shape (n, 3), Å.
    numbers
        Atomic numbers, shape (n,), at most 94.
    ion
        Atomic number of the moving ion.

    Returns
    -------
    tuple
        Charges (n,) in elementary charges, and whether each atom is an anion (n,).
    """
    chi = column("pauling_electronegativity")
    anion = anions(lattice, cart, numbers)
    charge = np.where(anion, _ANION[numbers], np.nan)
    if not anion.any():
        anion = chi[numbers] >= chi[numbers].max()
        charge[anion] = np.minimum(column("lowest_oxidation")[numbers[anion]], -1.0)
    same = (numbers == ion) & ~anion
    moving = ion_charge(ion)
    charge[same] = moving
    metal = ~anion & ~same & _TRANSITION[numbers]
    main = ~anion & ~same & ~metal
    charge[main] = np.maximum(column("highest_oxidation")[numbers[main]], 1.0)
    missing = -float(np.nansum(charge)) - moving
    if metal.any():
        charge[metal] = np.clip(missing / metal.sum(), 0.5, 8.0)
    elif main.any() and missing < -0.5:
        charge[main] = np.maximum(charge[main] + missing / main.sum(), 0.5)
    return charge, anion


def _bonded_to_stronger(
    lattice: np.ndarray, cart: np.ndarray, numbers: np.ndarray, unsure: np.ndarray
) -> np.ndarray:
    """Whether each of the ``unsure`` atoms is bonded to an element that makes it a cation."""
    chi, radius = column("pauling_electronegativity"), column("atomic_radius_ang")
    reach = 2 * float(radius[numbers].max()) + BOND_MARGIN_ANG
    positions, atom = periodic_images(lattice, cart, cart[unsure], min(reach, 2.6))
    z, other = numbers[unsure], numbers[atom]
    distance = np.linalg.norm(positions[None] - cart[unsure][:, None], axis=2)
    near = (distance > 0.1) & (distance < radius[z][:, None] + radius[other] + BOND_MARGIN_ANG)
    stronger = np.isfinite(_ANION[other])[None] & (chi[other][None] > chi[z][:, None] + 0.05)
    halogen, hydrogen = np.isin(z, _HALOGENS)[:, None], (z == _HYDROGEN)[:, None]
    stronger = np.where(halogen, (other == _OXYGEN)[None], stronger)
    stronger = np.where(
        hydrogen,
        np.isfinite(_ANION[other])[None] & (other != _HYDROGEN)[None],
        stronger,
    )
    return np.asarray((near & stronger).any(axis=1))
