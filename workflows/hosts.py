"""Hosts: structures read from files and brought into the one form that hops refer to."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import spglib
from pymatgen.core import Element, Lattice, Structure

from stores.documents import CandidateDoc
from stores.errors import BadInput
from stores.hashing import content_hash

SYMPREC_ANG = 0.01
"""Distance within which atoms count as symmetrically equivalent, as in pymatgen."""

DUPLICATE_ANG = 0.5
"""Atoms nearer to each other than this are one atom listed twice: no bond is this short."""

MAX_SITES = 1000
"""Largest primitive cell; beyond it a supercell is out of reach of every level."""

_GRID = 1008
"""Grid of the hash: a multiple of 7, 9 and 16, so that special positions and the decimals
of published coordinates lie well inside its cells."""

_UNIMODULAR = np.array(list(product((-1, 0, 1), repeat=9))).reshape(-1, 3, 3)
_UNIMODULAR = _UNIMODULAR[np.abs(np.round(np.linalg.det(_UNIMODULAR))) == 1]

_SHORT = np.array(list(product((-1, 0, 1), repeat=3)))
_ROWS = (_UNIMODULAR + 1) @ [9, 3, 1]
"""Rows of each matrix of ``_UNIMODULAR``, as numbers in ``_SHORT``; shape (n, 3)."""

SpglibCell = tuple[np.ndarray, np.ndarray, list[int]]
"""Lattice vectors in rows, fractional coordinates, atomic numbers."""


PackedHost = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Lattice vectors, atomic numbers and coordinates: a fiftieth of the memory of a Structure, for
stages that remember all hosts."""


class Unfit(ValueError):
    """A structure cannot be a host.

    Attributes
    ----------
    reason
        Short name to count by: ``unknown_species``, ``disordered``, ``no_working_ion``,
        ``not_finite``, ``duplicate_atoms``, ``no_symmetry``, ``too_large``,
        ``no_supercell``, ``no_structure``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[Unfit], tuple[str, str]]:
        """Keep both arguments on the way between processes."""
        return type(self), (self.reason, str(self))


def prepare_host(
    structure: Structure,
    working_ion: str,
    *,
    symprec_ang: float = SYMPREC_ANG,
    max_sites: int = MAX_SITES,
) -> Structure:
    """Bring a structure into the form that hops refer to.

    The standard primitive cell of spglib [1]_ in its standard orientation, with coordinates
    averaged over the symmetry operations (which moves no atom by more than ``symprec_ang``),
    wrapped into the cell, the working ion first, then by element and coordinates. Oxidation
    states, spins and site properties are dropped.

    Parameters
    ----------
    structure
        Any cell of the crystal.
    working_ion
        Element symbol.
    symprec_ang
        Tolerance of the symmetry search in Å.
    max_sites
        Largest primitive cell in atoms.

    Raises
    ------
    BadInput
        ``working_ion`` is no element.
    Unfit
        Disorder, no working ion, duplicate atoms, a cell too large; says which.

    References
    ----------
    .. [1] A. Togo, K. Shinohara, I. Tanaka, Sci. Technol. Adv. Mater. Meth. 4, 2384822 (2024).
    """
    if not Element.is_valid_symbol(working_ion):
        raise BadInput(f"working_ion: '{working_ion}' is no element; give a symbol such as Li")
    symbols = _element_symbols(structure)
    if working_ion not in symbols:
        raise Unfit("no_working_ion", f"{structure.formula} has no {working_ion}")
    cell = (structure.lattice.matrix, structure.frac_coords, [Element(s).Z for s in symbols])
    _refuse_not_finite(cell)
    _refuse_duplicates(structure)
    standard = spglib_call(spglib.standardize_cell, cell, to_primitive=True, symprec=symprec_ang)
    lattice, coords, numbers = standard
    if len(numbers) > max_sites:
        raise Unfit(
            "too_large",
            f"{len(numbers)} atoms in the primitive cell, more than {max_sites}; "
            "give a smaller structure",
        )
    return _ordered(
        Lattice(lattice), coords, [Element.from_Z(z).symbol for z in numbers], working_ion
    )


def host_of(candidate: CandidateDoc) -> Structure:
    """Return the prepared host that a candidate's document holds.

    Raises
    ------
    Unfit
        The document holds none: its source had an error, or a filter refused it.
    """
    if candidate.structure is None:
        raise Unfit("no_structure", f"{candidate.candidate_id} holds no structure")
    return Structure.from_dict(candidate.structure)


def pack(host: Structure) -> PackedHost:
    """Return a host without oxidation states in little memory, exact to 0.00001 Å."""
    return (
        host.lattice.matrix.astype(np.float32),
        np.array(host.atomic_numbers, dtype=np.uint8),
        host.frac_coords.astype(np.float32),
    )


def unpack(packed: PackedHost) -> Structure:
    """Return the host that was packed."""
    lattice, numbers, coords = packed
    return Structure(lattice, [Element.from_Z(int(z)) for z in numbers], coords)


def structure_hash(host: Structure) -> str:
    """Hash a prepared host: the same for any origin, orientation and choice of axes.

    What is hashed is the least of all descriptions in which an atom of the rarest element lies
    at the origin and the axes are turned by a symmetry of the lattice (mirror images count as
    equal), on a grid of 0.001 of the cell. A value on the edge between two grid points may fall
    to either side, so equal hashes mean equal hosts, and different ones do not prove a
    difference.
    """
    symbols = np.array([site.specie.symbol for site in host])
    names, kinds, counts = np.unique(symbols, return_inverse=True, return_counts=True)
    origins = host.frac_coords[kinds == np.argmin(counts)]
    moved = host.frac_coords[None] - origins[:, None]
    best: list[int] | None = None
    for turn in _lattice_symmetries(host.lattice):
        cells = _on_grid((moved @ np.linalg.inv(turn)) % 1.0, _GRID) % _GRID
        keys = ((kinds * _GRID + cells[..., 0]) * _GRID + cells[..., 1]) * _GRID + cells[..., 2]
        least = min(np.sort(keys, axis=1).tolist())
        best = least if best is None else min(best, least)
    parameters = _on_grid(np.array(host.lattice.parameters), _GRID / 10).tolist()
    return content_hash([names.tolist(), counts.tolist(), parameters, best])


def read_structure(path: str | Path) -> Structure:
    """Read a structure file: CIF, POSCAR, pymatgen JSON, or whatever ASE reads.

    Raises
    ------
    BadInput
        One line that names the file, why it cannot be read, and what to give instead.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"{path}: no such file; check the path")
    if path.stat().st_size == 0:
        raise BadInput(f"{path}: the file is empty; give a CIF, POSCAR or pymatgen JSON")
    with warnings.catch_warnings():
        # pymatgen warns of every rounded coordinate of a CIF.
        warnings.simplefilter("ignore")
        try:
            structure = _parse(path)
        # Parsers throw anything from KeyError to AssertionError at a broken file.
        except Exception as error:
            reason = " ".join(str(error).split())[:160] or type(error).__name__
            raise BadInput(
                f"{path}: not a readable structure ({reason}); give a CIF, POSCAR or pymatgen JSON"
            ) from error
    if len(structure) == 0:
        raise BadInput(f"{path}: holds no atoms; give a CIF, POSCAR or pymatgen JSON")
    if not (np.isfinite(structure.frac_coords).all() and structure.volume > 1.0):
        raise BadInput(f"{path}: the cell is flat or a coordinate is not a number; mend the file")
    return structure


def spglib_call(function: Callable[..., Any], cell: SpglibCell, **options: Any) -> Any:
    """Call spglib and turn its ways to fail, of which one is a crash, into :class:`Unfit`."""
    _refuse_not_finite(cell)
    try:
        result = function(cell, **options)
    except spglib.error.SpglibError as error:
        raise Unfit("no_symmetry", f"spglib: {error}; check for overlapping atoms") from error
    if result is None:
        raise Unfit("no_symmetry", "spglib finds no symmetry; check for overlapping atoms")
    return result


def _on_grid(values: np.ndarray, grid: float) -> np.ndarray:
    return np.floor(values * grid + 0.5).astype(np.int64)


def _lattice_symmetries(lattice: Lattice) -> np.ndarray:
    """Return the integer matrices that turn the lattice's basis into a congruent one."""
    metric = lattice.matrix @ lattice.matrix.T
    tolerance = SYMPREC_ANG * max(lattice.abc)
    # Nearly all matrices fail at the length of a vector, of which there are but 27.
    squares = np.einsum("ni,ij,nj->n", _SHORT, metric, _SHORT)
    keeps = np.abs(squares[:, None] - np.diag(metric)) < tolerance
    rows = _UNIMODULAR[keeps[_ROWS, [0, 1, 2]].all(axis=1)]
    turned = rows @ metric @ rows.transpose(0, 2, 1)
    return np.asarray(rows[np.abs(turned - metric).max(axis=(1, 2)) < tolerance])


def _parse(path: Path) -> Structure:
    name = path.name.lower()
    if name.endswith(".json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and "lattice" in content and "sites" in content:
            return Structure.from_dict(content)
        raise ValueError("this JSON is no pymatgen structure: it lacks lattice or sites")
    if (
        name.endswith((".cif", ".mcif", ".vasp", ".xsf", ".res"))
        or "poscar" in name
        or ("contcar" in name)
    ):
        return Structure.from_file(path, primitive=False)
    from ase.io import read
    from pymatgen.io.ase import AseAtomsAdaptor

    atoms = read(path)
    if isinstance(atoms, list) or not all(atoms.pbc):
        raise ValueError("it has no periodic cell")
    return AseAtomsAdaptor.get_structure(atoms)


def _element_symbols(structure: Structure) -> list[str]:
    symbols = []
    for index, site in enumerate(structure):
        if not site.is_ordered:
            raise Unfit(
                "disordered",
                f"site {index} ({site.species_string}) is partly or doubly occupied; "
                "give an ordered cell or set filters.disorder: ewald",
            )
        symbol = getattr(getattr(site.specie, "element", site.specie), "symbol", "")
        if not Element.is_valid_symbol(symbol):
            raise Unfit(
                "unknown_species", f"site {index} ({site.species_string}) is no chemical element"
            )
        symbols.append(symbol)
    return symbols


def _refuse_not_finite(cell: SpglibCell) -> None:
    if not (np.isfinite(cell[0]).all() and np.isfinite(cell[1]).all()):
        raise Unfit("not_finite", "the cell or a coordinate is not a number; mend the structure")


def _refuse_duplicates(structure: Structure) -> None:
    first, second, _, distances = structure.get_neighbor_list(DUPLICATE_ANG, exclude_self=True)
    if len(first):
        i, j = sorted((int(first[0]), int(second[0])))
        raise Unfit(
            "duplicate_atoms",
            f"sites {i} ({structure[i].species_string}) and {j} ({structure[j].species_string}) "
            f"are {distances[0]:.2f} Å apart; remove one",
        )


def _ordered(lattice: Lattice, coords: np.ndarray, symbols: list[str], ion: str) -> Structure:
    wrapped = np.asarray(coords) % 1.0
    wrapped[wrapped > 1.0 - 1e-6] = 0.0
    rounded = np.round(wrapped, 4) % 1.0
    order = sorted(
        range(len(symbols)), key=lambda i: (symbols[i] != ion, symbols[i], rounded[i].tolist())
    )
    return Structure(lattice, [symbols[i] for i in order], wrapped[order])
