"""Bands and end points: a hop drawn into a supercell.

The supercell keeps the moving ion away from its images, and holds both ends of the hop as
distinct sites whose straight connection is the shortest one. A *band* shows the ion at five
places at once, as the band model has learned it; *end points* show it at either end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any, Literal

import numpy as np
import spglib
from pymatgen.core import Lattice, Structure
from pymatgen.util.coord import lattice_points_in_supercell

from em_model.data import Band
from workflows.hops import Hop
from workflows.hosts import SYMPREC_ANG, Unfit, spglib_call

Mode = Literal["vacancy", "dilute"]


@dataclass(frozen=True)
class SupercellRecipe:
    """What a supercell must be like; the smallest one that is so gets taken.

    Attributes
    ----------
    min_length_ang
        Least length of a lattice vector (``minimal``: of any): the ion's distance to its images.
    min_height_ang
        Least distance between opposite faces.
    min_atoms, max_atoms
        Bounds of the number of host atoms.
    minimal
        Look at every supercell of the primitive cell rather than at diagonal ones of the
        conventional cell: a fraction of the atoms, for demanding methods.

    Notes
    -----
    The defaults reproduce the atom counts of the published bands of Devi, Balasubramanian,
    Butler and Sai Gautam (arXiv 2508.06459).
    """

    min_length_ang: float = 8.0
    min_height_ang: float = 7.0
    min_atoms: int = 40
    max_atoms: int = 200
    minimal: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the recipe as it goes into settings and ids."""
        return asdict(self)


def build_band(
    host: Structure,
    hop: Hop,
    recipe: SupercellRecipe | None = None,
    mode: Mode = "vacancy",
    *,
    images: int = 3,
) -> Band:
    """Draw a hop as a band: the path's sites first, then the host without the two end ions.

    Parameters
    ----------
    host
        Prepared host that the hop's sites refer to.
    hop
        The hop.
    recipe
        Supercell wanted; left out: that of the published bands.
    mode
        ``vacancy``: the other working ions stay; ``dilute``: they leave.
    images
        Linear interpolations between the ends.

    Returns
    -------
    Band
        ``images`` + 2 collinear, evenly spaced, unwrapped path sites, then the host.

    Raises
    ------
    Unfit
        No supercell within the recipe's bounds holds the hop.
    """
    lattice, species, coords, start, end = _drawn(host, hop, recipe or SupercellRecipe(), mode)
    ion = host[hop.sites[0]].specie.symbol
    path = start + np.linspace(0.0, 1.0, images + 2)[:, None] * (end - start)
    name = "-".join(str(number) for number in (*hop.sites, *hop.translation))
    return Band(
        id=f"{host.composition.reduced_formula}:{name}",
        working_ion=ion,
        lattice=lattice,
        species=(ion,) * len(path) + species,
        frac_coords=np.concatenate([path, coords]),
        band_sites=tuple(range(len(path))),
        host=host.composition.reduced_formula,
    )


def build_endpoints(
    host: Structure,
    hop: Hop,
    recipe: SupercellRecipe | None = None,
    mode: Mode = "vacancy",
) -> tuple[Structure, Structure]:
    """Draw the two ends of a hop, atom for atom in the same order, the moving ion first.

    The path is unwrapped: interpolate the coordinates as they stand.

    Raises
    ------
    Unfit
        No supercell within the recipe's bounds holds the hop.
    """
    lattice, species, coords, start, end = _drawn(host, hop, recipe or SupercellRecipe(), mode)
    symbols = (host[hop.sites[0]].specie.symbol, *species)
    initial, final = (
        Structure(Lattice(lattice), symbols, np.vstack([ion, coords])) for ion in (start, end)
    )
    return initial, final


def supercell_size(
    host: Structure, hop: Hop, recipe: SupercellRecipe, mode: Mode = "vacancy"
) -> int | None:
    """Count the atoms of the hop's end points, or None where no supercell holds it."""
    try:
        cells = round(abs(float(np.linalg.det(find_supercell(host, hop, recipe)))))
    except Unfit:
        return None
    ion = host[hop.sites[0]].specie.symbol
    ions = sum(site.specie.symbol == ion for site in host)
    return cells * len(host) - 1 if mode == "vacancy" else cells * (len(host) - ions) + 1


def find_supercell(host: Structure, hop: Hop, recipe: SupercellRecipe) -> np.ndarray:
    """Find the smallest supercell for a hop.

    Returns
    -------
    ndarray of int, shape (3, 3)
        Rows are the supercell's vectors in those of the host.

    Raises
    ------
    Unfit
        None within the recipe's bounds holds the hop.
    """
    matrix = host.lattice.matrix
    step = _step(host, hop)
    # Lattice vectors that would bring another image of the end nearer than the end itself.
    shortcuts = _vectors_within(matrix, 2 * hop.length_ang)
    shortcuts = shortcuts[np.linalg.norm(step + shortcuts @ matrix, axis=1) < hop.length_ang - 1e-3]
    shapes = _minimal_shapes if recipe.minimal else _diagonal_shapes
    for shape in shapes(host, recipe):
        if not _contains_any(shape, shortcuts):
            return shape
    raise Unfit(
        "no_supercell",
        f"no supercell of {host.composition.reduced_formula} with {recipe.min_atoms} to "
        f"{recipe.max_atoms} atoms and vectors of {recipe.min_length_ang:g} Å holds the hop of "
        f"{hop.length_ang:.2f} Å; raise max_atoms or lower min_supercell",
    )


def _drawn(
    host: Structure, hop: Hop, recipe: SupercellRecipe, mode: Mode
) -> tuple[np.ndarray, tuple[str, ...], np.ndarray, np.ndarray, np.ndarray]:
    """Return lattice, species and coordinates of the rest, and both ends, in the supercell."""
    shape = find_supercell(host, hop, recipe)
    to_supercell = np.linalg.inv(shape)
    points = lattice_points_in_supercell(shape) @ shape
    i, j = hop.sites
    start = host.frac_coords[i] @ to_supercell
    end = (host.frac_coords[j] + hop.translation) @ to_supercell
    shift = np.floor(start + 1e-9)
    start, end = start - shift, end - shift
    coords = (host.frac_coords[:, None] + points[None]).reshape(-1, 3) @ to_supercell
    symbols = np.repeat([site.specie.symbol for site in host], len(points))
    if mode == "dilute":
        keep = symbols != host[i].specie.symbol
    else:
        keep = ~(_same_place(coords, start) | _same_place(coords, end))
        if np.count_nonzero(~keep) != 2:
            raise RuntimeError(f"{hop}: {np.count_nonzero(~keep)} sites lie at its two ends")
    wrapped = coords[keep] % 1.0
    wrapped[wrapped > 1.0 - 1e-9] = 0.0
    return shape @ host.lattice.matrix, tuple(symbols[keep].tolist()), wrapped, start, end


def _diagonal_shapes(host: Structure, recipe: SupercellRecipe) -> Iterator[np.ndarray]:
    """Yield diagonal supercells of the conventional cell by size, then any that are wide enough.

    The others come last, for hosts whose diagonal supercells are too large (a √3 × √3 cell of
    a hexagonal host has three quarters of the atoms of 2 × 2).
    """
    basis = _conventional(host)
    atoms = len(host) * round(abs(float(np.linalg.det(basis))))
    vectors = basis @ host.lattice.matrix
    # A vector's length and its height grow with its own multiple alone: there is a least one.
    wanted = np.maximum(
        recipe.min_length_ang / np.linalg.norm(vectors, axis=1),
        recipe.min_height_ang / _heights(vectors),
    )
    least = np.maximum(np.ceil(wanted - 1e-6).astype(int), 1).tolist()
    most = recipe.max_atoms // atoms
    found = []
    for multiples in product(*(range(n, most * n // prod(least) + 1) for n in least)):
        cells = prod(multiples)
        if recipe.min_atoms <= cells * atoms <= recipe.max_atoms:
            height = float((_heights(vectors) * multiples).min())
            found.append((cells, -round(height, 3), multiples))
    for _, _, multiples in sorted(found):
        yield np.diag(multiples) @ basis
    yield from _minimal_shapes(host, recipe)


def _minimal_shapes(host: Structure, recipe: SupercellRecipe) -> Iterator[np.ndarray]:
    """Yield supercells of the primitive cell by size, each lattice once, the widest first.

    All lattices of index n are the Hermite normal forms of determinant n [1]_.

    References
    ----------
    .. [1] G. L. W. Hart, R. W. Forcade, Phys. Rev. B 77, 224115 (2008).
    """
    matrix = host.lattice.matrix
    images = _vectors_within(matrix, recipe.min_length_ang - 1e-6)
    for size in range(1, recipe.max_atoms // len(host) + 1):
        if size * len(host) < recipe.min_atoms:
            continue
        found = []
        for form in _hermite_normal_forms(size):
            if _contains_any(form, images):
                continue
            reduced = Lattice(form @ matrix).get_lll_reduced_lattice().matrix
            shape = np.round(reduced @ np.linalg.inv(matrix)).astype(int)
            low = float(_heights(reduced).min())
            if low >= recipe.min_height_ang:
                found.append((-round(low, 3), shape.tolist()))
        for _, shape_list in sorted(found):
            yield np.array(shape_list)


def _hermite_normal_forms(size: int) -> Iterator[np.ndarray]:
    for a in (n for n in range(1, size + 1) if size % n == 0):
        for b in (n for n in range(1, size // a + 1) if (size // a) % n == 0):
            c = size // (a * b)
            for d, e, f in product(range(b), range(c), range(c)):
                yield np.array([[a, d, e], [0, b, f], [0, 0, c]])


def _conventional(host: Structure) -> np.ndarray:
    """Return the conventional cell's vectors in those of the host, as integers in rows."""
    numbers = tuple(site.specie.Z for site in host)
    basis = _conventional_basis(host.lattice.matrix.tobytes(), host.frac_coords.tobytes(), numbers)
    return np.array(basis)


@lru_cache(maxsize=64)
def _conventional_basis(
    matrix: bytes, coords: bytes, numbers: tuple[int, ...]
) -> tuple[tuple[int, ...], ...]:
    # Remembered, since a host's hops come one after the other and spglib is slow on some hosts.
    cell = (
        np.frombuffer(matrix).reshape(3, 3),
        np.frombuffer(coords).reshape(-1, 3),
        list(numbers),
    )
    dataset = spglib_call(spglib.get_symmetry_dataset, cell, symprec=SYMPREC_ANG)
    exact = np.linalg.inv(dataset.transformation_matrix).T
    basis = np.round(exact).astype(int)
    if not np.allclose(exact, basis, atol=1e-3):
        raise Unfit("no_symmetry", "the host is no primitive cell; prepare it first")
    return tuple(tuple(row) for row in basis.tolist())


def _heights(vectors: np.ndarray) -> np.ndarray:
    """Distances between opposite faces of a cell."""
    return np.asarray(1.0 / np.linalg.norm(np.linalg.inv(vectors), axis=0))


def _vectors_within(matrix: np.ndarray, radius: float) -> np.ndarray:
    """Return the integer lattice vectors other than zero that are not longer than ``radius``."""
    reach = np.floor(radius / _heights(matrix) + 1e-9).astype(int)
    grid = np.stack(
        np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1
    ).reshape(-1, 3)
    lengths = np.linalg.norm(grid @ matrix, axis=1)
    return np.asarray(grid[(lengths <= radius) & grid.any(axis=1)])


def _contains_any(shape: np.ndarray, vectors: np.ndarray) -> bool:
    """Say whether the supercell's lattice contains one of the integer vectors."""
    within = vectors @ np.linalg.inv(shape)
    return bool((np.abs(within - np.round(within)) < 1e-6).all(axis=1).any())


def _step(host: Structure, hop: Hop) -> np.ndarray:
    i, j = hop.sites
    step = host.frac_coords[j] + hop.translation - host.frac_coords[i]
    return np.asarray(step @ host.lattice.matrix)


def _same_place(coords: np.ndarray, place: np.ndarray) -> np.ndarray:
    away = coords - place
    return np.asarray((np.abs(away - np.round(away)) < 1e-6).all(axis=1))
