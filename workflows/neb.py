"""One nudged elastic band: relaxed ends, IDPP path, climbing image, barrier from the images.

The same function serves potentials and density functionals; the engine makes the difference.
Improved tangents (Henkelman and Jónsson, J. Chem. Phys. 113, 9978 (2000)) and a climbing image
(Henkelman, Uberuaga and Jónsson, J. Chem. Phys. 113, 9901 (2000)).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.mep import NEB
from pymatgen.core import Structure

from stores.documents import EnergyProfile
from workflows.engines import Engine
from workflows.neb_optimisers import BAND_OPTIMISERS, largest, lbfgs
from workflows.neb_path import checked_ends, interpolate, path_coordinate, transferred, unwrapped


@dataclass(frozen=True)
class NebSettings:
    """How a band is relaxed.

    Parameters
    ----------
    fmax_ev_ang
        Converged when the largest force on any atom of any image, the projected NEB force, is
        below this; the ends are relaxed to the same.
    images
        Movable images; None takes as many as ``max_spacing_ang`` asks for, at least 3.
    max_spacing_ang
        Largest distance of the moving ion between neighbouring images.
    climb
        Let the highest image climb to the saddle.
    climb_from_ev_ang
        The image climbs once the plain band is relaxed to this force.
    spring_ev_ang2
        Spring constant between images.
    max_steps
        Optimiser steps of the band, and of either end.
    max_force_calls
        Budget of energy-and-force evaluations for ends and band together.
    usable_fmax_ev_ang
        A band out of budget, but relaxed to this, still gives an estimate, marked not converged.
    optimiser
        For the band; see :mod:`workflows.neb_optimisers`.
    """

    fmax_ev_ang: float = 0.05
    images: int | None = None
    max_spacing_ang: float = 0.8
    climb: bool = True
    climb_from_ev_ang: float = 0.3
    spring_ev_ang2: float = 1.0
    max_steps: int = 300
    max_force_calls: int = 3000
    usable_fmax_ev_ang: float = 0.2
    optimiser: Literal["lbfgs", "fire", "ode"] = "lbfgs"

    def as_dict(self) -> dict[str, Any]:
        """For the document and the id of an estimate."""
        return asdict(self)


@dataclass(frozen=True)
class NebStep:
    """What a progress callback is told after every step."""

    stage: str
    step: int
    fmax_ev_ang: float
    force_calls: int
    barrier_ev: float | None = None

    def __str__(self) -> str:
        barrier = "" if self.barrier_ev is None else f", barrier {self.barrier_ev:.3f} eV"
        return f"{self.stage} step {self.step}: fmax {self.fmax_ev_ang:.3f} eV/Å{barrier}"


Progress = Callable[[NebStep], None]


@dataclass(frozen=True)
class NebResult:
    """A band and its barrier; energies in eV, taken from the images, never from a spline."""

    barrier_ev: float
    forward_ev: float
    backward_ev: float
    span_ev: float
    profile: EnergyProfile
    converged: bool
    fmax_ev_ang: float
    force_calls: int
    wall_s: float
    images: list[Atoms]
    saddle_index: int
    warnings: list[str] = field(default_factory=list)


class NebFailure(RuntimeError):
    """A band that gives no barrier.

    Attributes
    ----------
    kind
        ``ends_do_not_match``, ``element_unknown``, ``endpoint_not_converged``,
        ``endpoint_left_site``, ``endpoints_collapsed``, ``host_rearranged``,
        ``forces_not_finite`` or ``band_not_converged``.
    bracket_ev
        Lower and upper bound of the barrier as far as the band got, or None.
    images
        The geometry when it failed.
    """

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        bracket_ev: tuple[float, float] | None = None,
        images: Sequence[Atoms] = (),
        force_calls: int = 0,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.bracket_ev = bracket_ev
        self.images = list(images)
        self.force_calls = force_calls


class _Budget(Exception):
    """The force calls are spent."""


def run_neb(
    initial: Structure | Atoms,
    final: Structure | Atoms,
    engine: Engine,
    settings: NebSettings | None = None,
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
    guess: Sequence[Atoms] | None = None,
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
    run = _Run(engine, settings, folder, progress)
    first = run.relax(first, "initial end", 0)
    last = run.relax(last, "final end", -1)
    run.check_relaxed(as_atoms(initial), as_atoms(final), first, last)
    last = unwrapped(first, last)
    count = settings.images or images_for(first, last, settings.max_spacing_ang)
    images = transferred(guess, first, last) if guess else interpolate(first, last, count)
    converged, fmax = run.relax_band(images)
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
        warnings=run.warnings,
    )


def barriers(energies_ev: np.ndarray) -> dict[str, float]:
    """Forward, backward and larger barrier and the span of a path, from its images' energies.

    Parameters
    ----------
    energies_ev
        One energy per image, ends included, shape (n,).
    """
    top = float(energies_ev.max())
    forward, backward = top - float(energies_ev[0]), top - float(energies_ev[-1])
    return {
        "barrier_ev": max(forward, backward),
        "forward_ev": forward,
        "backward_ev": backward,
        "span_ev": top - float(energies_ev.min()),
    }


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


class _Run:
    """Force-call budget, calculators and progress of one band."""

    def __init__(
        self,
        engine: Engine,
        settings: NebSettings,
        folder: Path | None,
        progress: Progress | None,
    ) -> None:
        self.engine, self.settings = engine, settings
        self.folder, self.progress = folder, progress
        self.calls = 0
        self.warnings: list[str] = []
        self._shared: Calculator | None = None

    def calculator(self, label: str) -> Calculator:
        if self.engine.shared:
            if self._shared is None:
                self._shared = self.engine.calculator(self.folder)
            return self._shared
        return self.engine.calculator(self.folder / label if self.folder else None)

    def report(self, stage: str, step: int, fmax: float, barrier: float | None = None) -> None:
        if self.progress is not None:
            self.progress(NebStep(stage, step, fmax, self.calls, barrier))

    def spend(self, calls: int) -> None:
        if self.calls + calls > self.settings.max_force_calls:
            raise _Budget
        self.calls += calls

    def relax(self, atoms: Atoms, stage: str, index: int) -> Atoms:
        """Relax one end at fixed cell; a copy with its energy and forces attached."""
        atoms = atoms.copy()
        atoms.calc = self.calculator("initial" if index == 0 else "final")
        fmax = float("nan")

        def forces_of(positions: np.ndarray) -> np.ndarray:
            nonlocal fmax
            self.spend(1)
            atoms.positions = positions
            forces = atoms.get_forces()
            fmax = largest(forces)
            if not np.isfinite(fmax):
                self.fail("forces_not_finite", "the engine gave forces that are not numbers")
            self.report(stage, next(steps), fmax)
            return forces

        steps = count()
        try:
            converged = lbfgs(
                forces_of,
                atoms.get_positions(),
                fmax_ev_ang=self.settings.fmax_ev_ang,
                max_steps=self.settings.max_steps,
            )
        except _Budget:
            converged = False
        if not converged:
            raise NebFailure(
                "endpoint_not_converged",
                f"{stage} not relaxed within {self.settings.max_force_calls} force calls "
                f"(largest force {fmax:.2f} eV/Å); raise the budget or fmax",
                images=[atoms],
                force_calls=self.calls,
            )
        return frozen(atoms)

    def check_relaxed(self, initial: Atoms, final: Atoms, first: Atoms, last: Atoms) -> None:
        """Refuse ends that are no longer the two ends of this hop."""
        hop = float(np.linalg.norm(final.positions[0] - initial.positions[0]))
        for name, before, after in (("initial", initial, first), ("final", final, last)):
            moved = np.linalg.norm(after.positions - before.positions, axis=1)
            if moved[0] > 0.4 * hop:
                self.fail(
                    "endpoint_left_site",
                    f"the ion left its site while the {name} end was relaxed "
                    f"(moved {moved[0]:.2f} Å of a {hop:.2f} Å hop): the site is not a minimum",
                    first,
                    last,
                )
            if moved[1:].max(initial=0.0) > 0.5 * hop:
                worst = 1 + int(moved[1:].argmax())
                self.fail(
                    "host_rearranged",
                    f"atom {worst} ({before.symbols[worst]}) moved {moved[worst]:.2f} Å while the "
                    f"{name} end was relaxed: the ends are no longer one hop apart",
                    first,
                    last,
                )
        apart = float(np.linalg.norm(last.positions[0] - first.positions[0]))
        if apart < 0.5 * hop:
            self.fail(
                "endpoints_collapsed",
                f"the ends relaxed to within {apart:.2f} Å of each other ({hop:.2f} Å before)",
                first,
                last,
            )

    def fail(self, kind: str, message: str, *images: Atoms) -> None:
        raise NebFailure(kind, message, images=images, force_calls=self.calls)

    def relax_band(self, images: list[Atoms]) -> tuple[bool, float]:
        """Relax in place: plain band to a loose force, then climbing to ``fmax``."""
        settings = self.settings
        for index, image in enumerate(images[1:-1], start=1):
            image.calc = self.calculator(f"image-{index:02d}")
        band = _Band(images, self)
        loose = max(settings.climb_from_ev_ang, settings.fmax_ev_ang)
        converged = False
        try:
            converged = self.relax_stage(band, "band", loose)
            if converged and (settings.climb or loose > settings.fmax_ev_ang):
                band.climb = settings.climb
                stage = "climbing band" if settings.climb else "band"
                converged = self.relax_stage(band, stage, settings.fmax_ev_ang)
        except _Budget:
            converged = False
        if not band.evaluations:
            self.fail("band_not_converged", "the ends took all force calls; raise the budget")
        band.back_to_known()
        fmax = band.fmax
        energies = np.asarray(band.energies, dtype=float)
        for index, image in enumerate(images[1:-1], start=1):
            image.calc = SinglePointCalculator(
                image, energy=energies[index], forces=band.real_forces[index]
            )
        if not converged and fmax > settings.usable_fmax_ev_ang:
            raise NebFailure(
                "band_not_converged",
                f"largest force {fmax:.2f} eV/Å after {self.calls} force calls "
                f"(wanted {settings.fmax_ev_ang}); raise the budget or the number of images",
                bracket_ev=(
                    abs(float(energies[-1] - energies[0])),
                    barriers(energies)["barrier_ev"],
                ),
                images=images,
                force_calls=self.calls,
            )
        return converged, fmax

    def relax_stage(self, band: _Band, stage: str, target_ev_ang: float) -> bool:
        """Relax to ``target_ev_ang``; where the optimiser strays, FIRE goes on from its best."""
        band.stage, band.best = stage, None
        name = self.settings.optimiser
        if BAND_OPTIMISERS[name](band, target_ev_ang, self.settings.max_steps):
            return True
        if name == "fire":
            return False
        self.warnings.append(f"{stage}: {name} did not converge, went on with fire")
        band.back_to_best()
        return BAND_OPTIMISERS["fire"](band, target_ev_ang, self.settings.max_steps)


class _Band(NEB):
    """ASE's band that spends the budget and reports each evaluation, whoever the optimiser is."""

    def __init__(self, images: list[Atoms], run: _Run) -> None:
        super().__init__(
            images,
            k=run.settings.spring_ev_ang2,
            method="improvedtangent",
            allow_shared_calculator=run.engine.shared,
        )
        self.run, self.stage, self.evaluations = run, "band", 0
        self.known: tuple[np.ndarray, bool, np.ndarray] | None = None
        self.best: tuple[float, np.ndarray] | None = None
        self.fmax = np.inf

    def get_forces(self) -> np.ndarray:
        # Optimisers ask several times per step; a shared calculator remembers one image only.
        positions = self.get_positions()
        if self.known is not None:
            at, climb, forces = self.known
            if climb == self.climb and np.array_equal(at, positions):
                return forces.copy()
        self.run.spend(self.nimages - 2)
        forces = super().get_forces()
        if not np.isfinite(forces).all():
            self.run.fail("forces_not_finite", "the engine gave forces that are not numbers")
        self.known = (positions, self.climb, forces.copy())
        self.fmax = fmax = largest(forces)
        if self.best is None or fmax < self.best[0]:
            self.best = (fmax, positions)
        barrier = barriers(np.asarray(self.energies))["barrier_ev"]
        self.run.report(self.stage, self.evaluations, fmax, barrier)
        self.evaluations += 1
        return forces

    def get_residual(self) -> float:
        """Largest force; ASE's leaves the climbing image out, the one that matters most."""
        return self.fmax

    def back_to_known(self) -> None:
        """Undo a step that the budget did not pay for: geometry and energies belong together."""
        if self.known is not None:
            self.set_positions(self.known[0])

    def back_to_best(self) -> None:
        """Return to the geometry of the smallest force in this stage."""
        if self.best is not None:
            self.set_positions(self.best[1])


def frozen(atoms: Atoms) -> Atoms:
    """Copy with energy and forces attached, free of its calculator."""
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    copy = atoms.copy()
    copy.calc = SinglePointCalculator(copy, energy=energy, forces=forces)
    return copy
