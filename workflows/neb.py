"""One nudged elastic band: relaxed ends, IDPP path, climbing image, barrier from the images.

The same function serves potentials and density functionals; the engine makes the difference.
Improved tangents (Henkelman and Jónsson, J. Chem. Phys. 113, 9978 (2000)) and a climbing image
(Henkelman, Uberuaga and Jónsson, J. Chem. Phys. 113, 9901 (2000)).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ase import Atoms
from pymatgen.core import Structure

from stores.documents import EnergyProfile
from workflows.engines import Engine, RelaxesBands
from workflows.engines.forces import Forces, forces_of
from workflows.neb_ends import Ends
from workflows.neb_guide import Guide
from workflows.neb_held_ends import BelowEnds, let_go
from workflows.neb_path import (
    checked_ends,
    images_for,
    interpolate,
    minima,
    moved_to,
    path_coordinate,
    tangent,
    transferred,
    unwrapped,
)
from workflows.neb_relax import RelaxedPath, relax_path
from workflows.neb_run import Run
from workflows.neb_symmetry import Swap, find_swap, path_rotations
from workflows.neb_types import (
    NebFailure,
    NebResult,
    NebSettings,
    NebStep,
    Progress,
    Saddle,
    barriers,
)

__all__ = [
    "NebFailure",
    "NebResult",
    "NebSettings",
    "NebStep",
    "Progress",
    "Saddle",
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
    forces: Forces | None = None,
    guide: Engine | None = None,
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
        its ends are where this engine begins to relax them.
    ends
        Where relaxed ends of the same host are looked up and kept.
    forces
        Asked instead of the engine itself, e.g. with those of other hops in one batch.
    guide
        A cheap potential that saves calls of the engine; see :mod:`workflows.neb_guided`. Left
        unused by engines that relax bands by themselves.

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
    run: Any = (
        engine.run(settings, folder, progress)
        if isinstance(engine, RelaxesBands)
        else Run(
            settings,
            forces or forces_of(engine, folder),
            progress,
            Guide(forces_of(guide)) if guide else None,
        )
    )
    run.rotations = partial(path_rotations, first, last)
    before = (first, last)
    try:
        near = (moved_to(first, guess[0]), moved_to(last, guess[-1])) if guess else before
        first, last = relaxed_ends(run, before, near, swap, ends)
    except NebFailure as failure:
        if not guess or failure.kind not in NO_LONGER_THIS_HOP:
            raise
        # what another engine made of the ends need not hold for this one
        run.warnings.append(f"begun anew, without the given path: {failure}")
        guess = None
        first, last = relaxed_ends(run, before, before, swap, None)
    count = settings.images or images_for(first, last, settings.max_spacing_ang)
    if swap is not None and settings.images is None:
        count += 1 - count % 2  # an image in the mirror is the saddle
    images = transferred(guess, first, last) if guess else interpolate(first, last, count)
    if isinstance(engine, RelaxesBands):
        path: RelaxedPath = run.relax_band(images)
    else:
        try:
            path = relax_path(run, images, swap)
        except BelowEnds as below:
            path = relaxed_with_free_ends(run, before, below, swap)
    energies = path.energies_ev
    return NebResult(
        **barriers(energies),
        profile=EnergyProfile(
            coordinate_ang=path_coordinate(path.images).round(6).tolist(),
            energy_ev=(energies - energies[0]).round(6).tolist(),
        ),
        converged=path.converged,
        fmax_ev_ang=path.fmax_ev_ang,
        saddle=saddle(run, path),
        force_calls=run.calls,
        wall_s=time.monotonic() - started,
        images=path.images,
        minima=path.ends,
        symmetric=path.symmetric,
        warnings=run.warnings,
    )


NO_LONGER_THIS_HOP = ("endpoint_left_site", "endpoints_collapsed", "host_rearranged")
"""Failures of ends that may hold for where they began alone."""


def relaxed_ends(
    run: Run,
    before: tuple[Atoms, Atoms],
    near: tuple[Atoms, Atoms],
    swap: Swap | None,
    ends: Ends | None,
) -> tuple[Atoms, Atoms]:
    """Relax both ends from near where they are, and see that they are still those of this hop."""
    first = run.relaxed_end("initial", before[0], ends, near[0])
    if swap is not None:
        last = run.mirrored(first, before[1], swap)
    else:
        last = run.relaxed_end("final", before[1], ends, near[1])
    run.check_relaxed(*before, first, last)
    return first, last if swap is not None else unwrapped(first, last)


def relaxed_with_free_ends(
    run: Run, before: tuple[Atoms, Atoms], below: BelowEnds, swap: Swap | None
) -> RelaxedPath:
    """Let the ends go and relax the path between where they come to rest.

    Where they come to no rest, the band between the held ends is the estimate, not converged.
    """
    try:
        images = let_go(run, before, below.path.images, swap)
    except NebFailure as failure:
        near = below.path.fmax_ev_ang <= run.settings.usable_fmax_ev_ang
        if failure.kind != "endpoint_not_converged" or not near:
            raise
        run.warnings.append(f"the path falls below its ends, and these found no rest: {failure}")
        return below.path
    return relax_path(run, images, below.swap)


def saddle(run: Run, path: RelaxedPath) -> Saddle | None:
    """Mode and curvature of the highest image; None where the path is highest at a minimum."""
    top = int(path.energies_ev.argmax())
    if top in path.ends:
        run.warnings.append("the path is highest at a minimum: there is no saddle on it")
        return None
    mode = path.modes.get(top)
    if mode is None:
        mode = tangent(path.images, top)
    return Saddle(top, mode, path.curvatures_ev_ang2.get(top))


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
