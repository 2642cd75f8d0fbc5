"""One nudged elastic band: relaxed ends, IDPP path, climbing image, barrier from the images.

The same function serves potentials and density functionals; the engine makes the difference.
Improved tangents (Henkelman and Jónsson, J. Chem. Phys. 113, 9978 (2000)) and a climbing image
(Henkelman, Uberuaga and Jónsson, J. Chem. Phys. 113, 9901 (2000)).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from pymatgen.core import Structure

from stores.documents import EnergyProfile
from workflows.engines import Engine
from workflows.neb_ends import Ends
from workflows.neb_path import checked_ends, interpolate, path_coordinate, transferred, unwrapped
from workflows.neb_run import Run
from workflows.neb_symmetry import find_swap
from workflows.neb_types import (
    NebFailure,
    NebResult,
    NebSettings,
    NebStep,
    Progress,
    barriers,
)

__all__ = [
    "NebFailure",
    "NebResult",
    "NebSettings",
    "NebStep",
    "Progress",
    "as_atoms",
    "barriers",
    "images_for",
    "minima",
    "run_neb",
]


def run_neb(
    initial: Structure | Atoms,
    final: Structure | Atoms,
    engine: Engine,
    settings: NebSettings | None = None,
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
    guess: Sequence[Atoms] | None = None,
    ends: Ends | None = None,
) -> NebResult:
    """Relax the band of one hop and read its barrier.

    Parameters
    ----------
    initial, final
        The two ends: same cell, same site order, the moving ion first, its path unwrapped (the
        final position may lie outside the cell).
    engine
        Gives energies and forces.
    settings
        See :class:`NebSettings`.
    folder
        For the engine's own files; None writes none.
    progress
        Called after every step.
    guess
        A whole path to start from, ends included, e.g. the converged path of a cheaper engine;
        its ends are relaxed again with this engine.
    ends
        Where relaxed ends of the same host are looked up and kept.

    Returns
    -------
    NebResult
        With the images' energies and forces attached.

    Raises
    ------
    NebFailure
        No barrier; says why and how far it got.
    BadInput
        The engine cannot run at all: a model that cannot be read or fetched.
    """
    settings = settings or NebSettings()
    started = time.monotonic()
    try:
        first, last = checked_ends(as_atoms(initial), as_atoms(final))
    except ValueError as error:
        raise NebFailure("ends_do_not_match", str(error)) from error
    unknown = set(first.get_chemical_symbols()) - set(engine.elements or first.symbols)
    if unknown:
        raise NebFailure(
            "element_unknown",
            f"{engine.name} was not made for {', '.join(sorted(unknown))}; use another model",
        )
    swap = find_swap(first, last) if settings.symmetry else None
    run = Run(engine, settings, folder, progress)
    before = (first, last)
    first = run.relaxed_end("initial", first, ends)
    last = run.mirrored(first, last, swap) if swap else run.relaxed_end("final", last, ends)
    run.check_relaxed(*before, first, last)
    if swap is None:
        last = unwrapped(first, last)
    count = settings.images or images_for(first, last, settings.max_spacing_ang)
    if swap is not None and settings.images is None:
        count += 1 - count % 2  # an image in the mirror is the saddle
    images = transferred(guess, first, last) if guess else interpolate(first, last, count)
    converged, fmax = run.relax_band(images, swap)
    energies = np.array([image.get_potential_energy() for image in images])
    for index in minima(energies):
        run.warnings.append(
            f"image {index} is an intermediate minimum "
            f"({energies[index] - energies[0]:.3f} eV): the path has more than one saddle"
        )
    return NebResult(
        **barriers(energies),
        profile=EnergyProfile(
            coordinate_ang=path_coordinate(images).round(6).tolist(),
            energy_ev=(energies - energies[0]).round(6).tolist(),
        ),
        converged=converged,
        fmax_ev_ang=fmax,
        force_calls=run.calls,
        wall_s=time.monotonic() - started,
        images=images,
        saddle_index=int(energies.argmax()),
        symmetric=run.symmetric,
        warnings=run.warnings,
    )


def minima(energies_ev: np.ndarray, depth_ev: float = 0.03) -> list[int]:
    """Inner images that lie at least ``depth_ev`` below a maximum on both sides."""
    found = []
    for index in range(1, len(energies_ev) - 1):
        left, here, right = energies_ev[:index], energies_ev[index], energies_ev[index + 1 :]
        lowest = here <= energies_ev[index - 1] and here <= energies_ev[index + 1]
        if lowest and min(left.max(), right.max()) - here >= depth_ev:
            found.append(index)
    return found


def images_for(first: Atoms, last: Atoms, max_spacing_ang: float, minimum: int = 3) -> int:
    """Movable images so that the moving ion goes at most ``max_spacing_ang`` between two."""
    length = float(np.linalg.norm(last.positions[0] - first.positions[0]))
    return max(minimum, int(np.ceil(length / max_spacing_ang - 1e-9)) - 1)


def as_atoms(structure: Structure | Atoms) -> Atoms:
    """Structure to Atoms without wrapping its coordinates."""
    if isinstance(structure, Atoms):
        return structure.copy()
    return Atoms(
        symbols=[site.specie.symbol for site in structure],
        positions=structure.cart_coords,
        cell=structure.lattice.matrix,
        pbc=True,
    )
