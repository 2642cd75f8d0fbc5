"""Bands and end points: one hop in a supercell that is large enough.

A band is the host with the moving ion drawn at five places of its straight path at once, as in
the training data (arXiv:2508.06459); end points are the two ordinary structures that a nudged
elastic band joins.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
import spglib
from pymatgen.core import Lattice, Structure

from em_model.data import Band
from workflows.hops import Hop, Mode
from workflows.hosts import SYMPREC_ANG, spglib_cell


class TooLarge(ValueError):
    """No supercell within the limits of the recipe."""


@dataclass(frozen=True)
class SupercellRecipe:
    """How large a supercell a hop is computed in.

    Attributes
    ----------
    min_length_ang
        Shortest lattice vector: the moving ion's distance to its images.
    min_height_ang
        Shortest distance between opposite faces.
    min_atoms, max_atoms
        Size of the host's supercell before the moving ion is taken out.
    cell
        What is multiplied: the conventional cell, as in the training data, or the primitive one,
        where a supercell must be as small as possible.
    """

    min_length_ang: float = 8.0
    min_height_ang: float = 7.0
    min_atoms: int = 40
    max_atoms: int = 200
    cell: Literal["conventional", "primitive"] = "conventional"

    def as_dict(self) -> dict[str, Any]:
        """Return the recipe for a document."""
        return asdict(self)


@dataclass(frozen=True)
class HopCell:
    """A hop placed in a supercell of its host.

    Attributes
    ----------
    lattice
        Of the supercell.
    ion
        Element symbol of the moving ion.
    start_cart, end_cart
        Ends of the path, Å, unwrapped: joined by the straight line between them.
    species, cart_coords
        Everything else: the supercell without the ions of both end sites.
    """

    lattice: Lattice
    ion: str
    start_cart: np.ndarray
    end_cart: np.ndarray
    species: tuple[str, ...]
    cart_coords: np.ndarray

    @property
    def num_atoms(self) -> int:
        """Atoms of an end point: the rest and the moving ion."""
        return len(self.species) + 1

    def structure(self, fraction: float) -> Structure:
        """Return the structure with the ion, listed first, at a fraction of its path."""
        ion = self.start_cart + fraction * (self.end_cart - self.start_cart)
        return Structure(
            self.lattice,
            [self.ion, *self.species],
            np.vstack([ion, self.cart_coords]),
            coords_are_cartesian=True,
        )


def build_band(
    host: Structure, hop: Hop, recipe: SupercellRecipe, mode: Mode = "vacancy", *, id: str = ""
) -> Band:
    """Return the five-site band of a hop for the band model.

    Parameters
    ----------
    host
        Primitive cell that the hop's indices refer to.
    hop
        One of its distinct hops.
    recipe
        How large the supercell must be.
    mode
        Other working ions stay (``vacancy``) or leave (``dilute``).
    id
        Identifier of the band.

    Raises
    ------
    TooLarge
        No supercell is within the recipe's limits.
    """
    cell = place_hop(host, hop, recipe, mode)
    path = np.linspace(cell.start_cart, cell.end_cart, 5)
    cart = np.vstack([path, cell.cart_coords])
    return Band(
        id=id,
        working_ion=cell.ion,
        lattice=cell.lattice.matrix,
        species=(*[cell.ion] * 5, *cell.species),
        frac_coords=cell.lattice.get_fractional_coords(cart),
        host=host.composition.reduced_formula,
    )


def build_endpoints(
    host: Structure, hop: Hop, recipe: SupercellRecipe, mode: Mode = "vacancy"
) -> tuple[Structure, Structure]:
    """Return the two ends of a hop: same cell, same order of sites, the moving ion first.

    The final position of the ion may lie outside the cell, so that the straight line between
    the ends is the hop. Parameters and errors as :func:`build_band`.
    """
    cell = place_hop(host, hop, recipe, mode)
    return cell.structure(0.0), cell.structure(1.0)


def supercell_size(
    host: Structure, hop: Hop, recipe: SupercellRecipe, mode: Mode = "vacancy"
) -> int | None:
    """Return the number of atoms of a hop's end points, None where no supercell will do."""
    try:
        return place_hop(host, hop, recipe, mode).num_atoms
    except TooLarge:
        return None


def place_hop(
    host: Structure, hop: Hop, recipe: SupercellRecipe, mode: Mode = "vacancy"
) -> HopCell:
    """Put a hop into the smallest supercell that the recipe allows.

    Raises
    ------
    TooLarge
        No supercell is within the recipe's limits.
    """
    i, j = hop.sites
    start = host[i].coords
    vector = host[j].coords + host.lattice.get_cartesian_coords(hop.translation) - start
    lattice = Lattice(_supercell_matrix(host, vector, recipe) @ host.lattice.matrix)
    ion = host[i].specie.symbol
    species, coords = _fill(host, lattice)
    taken = [_site_at(coords, lattice, point) for point in (start, start + vector)]
    assert taken[0] != taken[1]
    keep = [
        k
        for k in range(len(species))
        if k not in taken and not (mode == "dilute" and species[k] == ion)
    ]
    wrapped = coords[taken[0]]
    return HopCell(
        lattice=lattice,
        ion=ion,
        start_cart=wrapped,
        end_cart=wrapped + vector,
        species=tuple(species[k] for k in keep),
        cart_coords=coords[keep],
    )


def _supercell_matrix(host: Structure, vector: np.ndarray, recipe: SupercellRecipe) -> np.ndarray:
    """Return the integer matrix of the smallest supercell in which the hop is itself.

    In a supercell that is too small the final site would be nearer by another image, and the
    structure would hold another hop than the one meant.
    """
    length = float(np.linalg.norm(vector))
    base = _conventional(host) if recipe.cell == "conventional" else np.eye(3, dtype=int)
    for matrix in _multiples(base, host, recipe):
        lattice = matrix @ host.lattice.matrix
        if min(np.linalg.norm(lattice, axis=1)) < recipe.min_length_ang - 1e-6:
            continue
        heights = abs(np.linalg.det(lattice)) * np.linalg.norm(np.linalg.inv(lattice), axis=0)
        if heights.min() < recipe.min_height_ang - 1e-6:
            continue
        images = vector + np.array(list(product((-1, 0, 1), repeat=3))) @ lattice
        if np.linalg.norm(images, axis=1).min() < length - 1e-3:
            continue
        return matrix
    raise TooLarge(
        f"no supercell of {host.composition.reduced_formula} with vectors of at least "
        f"{recipe.min_length_ang:g} Å has at most {recipe.max_atoms} atoms; raise max_atoms or "
        "lower min_supercell"
    )


def _multiples(
    base: np.ndarray, host: Structure, recipe: SupercellRecipe
) -> Iterator[np.ndarray]:
    """Yield diagonal multiples of a cell by rising size, the most even ones first."""
    atoms = round(abs(np.linalg.det(base))) * len(host)
    most = recipe.max_atoms // atoms
    lengths = np.linalg.norm(base @ host.lattice.matrix, axis=1)
    found = []
    for a in range(1, most + 1):
        for b in range(1, most // a + 1):
            for c in range(1, most // (a * b) + 1):
                size = a * b * c * atoms
                if size >= recipe.min_atoms:
                    spread = float(np.ptp(lengths * (a, b, c)).round(6))
                    found.append((size, spread, (a, b, c)))
    for _, _, multiple in sorted(found):
        yield np.diag(multiple) @ base


def _conventional(host: Structure) -> np.ndarray:
    """Return the conventional cell in terms of the primitive vectors: integers, rows are vectors."""
    dataset = spglib.get_symmetry_dataset(spglib_cell(host), symprec=SYMPREC_ANG)
    if dataset is None:
        return np.eye(3, dtype=int)
    # x_conventional = P x, so the conventional vectors are the rows of (P⁻¹)ᵀ.
    exact = np.linalg.inv(dataset.transformation_matrix).T
    matrix = np.rint(exact).astype(int)
    if abs(exact - matrix).max() > 1e-3 or round(abs(np.linalg.det(matrix))) == 0:
        return np.eye(3, dtype=int)
    return matrix


def _fill(host: Structure, lattice: Lattice) -> tuple[list[str], np.ndarray]:
    """Return species and wrapped Cartesian coordinates of the host's sites in a supercell."""
    matrix = np.rint(lattice.matrix @ np.linalg.inv(host.lattice.matrix)).astype(int)
    supercell = host.make_supercell(matrix, in_place=False, to_unit_cell=True)
    species = [site.specie.symbol for site in supercell]
    return species, lattice.get_cartesian_coords(supercell.frac_coords)


def _site_at(coords: np.ndarray, lattice: Lattice, point: np.ndarray) -> int:
    """Return the index of the site at a point, modulo the lattice."""
    difference = lattice.get_fractional_coords(coords - point)
    difference -= np.rint(difference)
    distance = np.linalg.norm(lattice.get_cartesian_coords(difference), axis=1)
    index = int(distance.argmin())
    assert distance[index] < 1e-3
    return index
