"""The work of one band: a budget of force calls, relaxed ends, the band that ASE relaxes."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import NoReturn

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.mep import NEB

from workflows.engines import Engine
from workflows.neb_ends import Ends, Which
from workflows.neb_optimisers import BAND_OPTIMISERS, largest, lbfgs
from workflows.neb_symmetry import Swap
from workflows.neb_types import NebFailure, NebSettings, NebStep, Progress, barriers

RIDGE_STEP_ANG = 0.1
RIDGE_CURVATURE_EV_ANG2 = 0.3
"""A path is on a ridge where the ion's curvature across it is more negative than this."""


class _Budget(Exception):
    """The force calls are spent."""


class Run:
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
        self.symmetric = False
        self.warnings: list[str] = []
        self._shared: Calculator | None = None

    def calculator(self, label: str) -> Calculator:
        """Give the shared calculator, or one of its own to each geometry."""
        if self.engine.shared:
            if self._shared is None:
                self._shared = self.engine.calculator(self.folder)
            return self._shared
        return self.engine.calculator(self.folder / label if self.folder else None)

    def report(self, stage: str, step: int, fmax: float, barrier: float | None = None) -> None:
        """Tell the caller how far it is."""
        if self.progress is not None:
            self.progress(NebStep(stage, step, fmax, self.calls, barrier))

    def spend(self, calls: int) -> None:
        """Take force calls off the budget."""
        if self.calls + calls > self.settings.max_force_calls:
            raise _Budget
        self.calls += calls

    def mirrored(self, first: Atoms, last: Atoms, swap: Swap) -> Atoms:
        """Final end as the image of the relaxed initial one."""
        self.report("final end", 0, largest(first.get_forces()))
        image = last.copy()
        image.positions = swap.positions(first, last)
        image.calc = SinglePointCalculator(
            image, energy=first.get_potential_energy(), forces=swap.vectors(first.get_forces())
        )
        return image

    def relaxed_end(self, which: Which, end: Atoms, ends: Ends | None) -> Atoms:
        """Relax an end, unless a hop of the same host did so before."""
        stage = f"{which} end"
        known = ends.find(which, end) if ends else None
        if known is not None:
            self.report(stage, 0, largest(known.get_forces()))
            return known
        relaxed = self.relax(end, stage)
        if ends:
            ends.keep(which, end, relaxed)
        return relaxed

    def relax(self, atoms: Atoms, stage: str) -> Atoms:
        """Relax one end at fixed cell; a copy with its energy and forces attached."""
        atoms = atoms.copy()
        atoms.calc = self.calculator(stage.split()[0])
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

    def fail(self, kind: str, message: str, *images: Atoms) -> NoReturn:
        """Raise the failure with what it cost."""
        raise NebFailure(kind, message, images=images, force_calls=self.calls)

    def relax_band(self, images: list[Atoms], swap: Swap | None) -> tuple[bool, float]:
        """Relax in place: plain band to a loose force, then climbing to ``fmax``."""
        settings = self.settings
        band = Band(images, self, swap)
        loose = max(settings.climb_from_ev_ang, settings.fmax_ev_ang)
        converged = False
        try:
            converged = self.relax_stage(band, "band", loose)
            if converged and settings.leave_ridges:
                downhill = self.ridge(band)
                if downhill is not None:
                    self.warnings.append("the straight path followed a ridge and was bent off it")
                    band = Band(bent(images, downhill), self, None)
                    converged = self.relax_stage(band, "bent band", loose)
            if converged and (settings.climb or loose > settings.fmax_ev_ang):
                band.climb = settings.climb
                stage = "climbing band" if settings.climb else "band"
                converged = self.relax_stage(band, stage, settings.fmax_ev_ang)
        except _Budget:
            converged = False
        if not band.evaluations:
            self.fail("band_not_converged", "the ends took all force calls; raise the budget")
        band.back_to_known()
        self.symmetric = band.swap is not None
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

    def ridge(self, band: Band) -> np.ndarray | None:
        """Direction in which the highest image falls off a ridge, None where it does not.

        A path that symmetry holds on a ridge has no force to leave it. Two displacements of the
        ion give its curvatures across the path; shape (3,), a unit vector.
        """
        top = 1 + int(np.argmax(band.energies[1:-1]))
        image = band.images[top]
        along = band.images[top + 1].positions[0] - band.images[top - 1].positions[0]
        across = np.linalg.svd(along[None])[2][1:]
        forces = band.real_forces[top][0]
        curvatures = np.empty((2, 2))
        for row, direction in enumerate(across):
            self.spend(1)
            moved = image.copy()
            moved.positions[0] += RIDGE_STEP_ANG * direction
            moved.calc = band.calculators[top]
            curvatures[row] = across @ (forces - moved.get_forces()[0]) / RIDGE_STEP_ANG
        values, vectors = np.linalg.eigh((curvatures + curvatures.T) / 2)
        if values[0] > -RIDGE_CURVATURE_EV_ANG2:
            return None
        downhill = vectors[:, 0] @ across
        # both sides are alike on an exact ridge; else the force says which is lower
        slope = float(downhill @ forces)
        side = slope if abs(slope) > 1e-3 else float(downhill[np.argmax(np.abs(downhill))])
        return np.asarray(np.copysign(1.0, side) * downhill)

    def relax_stage(self, band: Band, stage: str, target_ev_ang: float) -> bool:
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


def bent(images: list[Atoms], direction: np.ndarray, height_ang: float = 0.3) -> list[Atoms]:
    """Move the ion off a path, in place: most half way, not at all at the ends."""
    for image, share in zip(images, np.linspace(0, 1, len(images)), strict=True):
        image.positions[0] += height_ang * np.sin(np.pi * share) * direction
    return images


class Band(NEB):
    """ASE's band that spends the budget and reports each evaluation, whoever the optimiser is."""

    def __init__(self, images: list[Atoms], run: Run, swap: Swap | None) -> None:
        super().__init__(images, k=run.settings.spring_ev_ang2, method="improvedtangent")
        self.run, self.swap, self.stage, self.evaluations = run, swap, "band", 0
        self.known: tuple[np.ndarray, bool, np.ndarray] | None = None
        self.best: tuple[float, np.ndarray] | None = None
        self.fmax = np.inf
        movable = len(images) - 2
        computed = (movable + 1) // 2 if swap else movable
        self.calculators = {
            index: run.calculator(f"image-{index:02d}") for index in range(1, computed + 1)
        }
        if swap is not None:
            swap.impose(self.images)

    def set_positions(self, positions: np.ndarray, adjust_positions: bool = True) -> None:
        """Move the images; the second half follows the first where symmetry says so."""
        super().set_positions(positions)
        if self.swap is not None:
            self.swap.impose(self.images)

    def get_forces(self) -> np.ndarray:
        """Projected forces on all movable images, shape (images × n, 3)."""
        # Optimisers ask several times per step.
        positions = self.get_positions()
        if self.known is not None:
            at, climb, forces = self.known
            if climb == self.climb and np.array_equal(at, positions):
                return forces.copy()
        self.run.spend(len(self.calculators))
        self.evaluate()
        forces = super().get_forces()
        if self.swap is not None:
            self._mirror(forces)
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

    def evaluate(self) -> None:
        """Attach energies and forces to all images, by the engine or as an image's image."""
        for index, calculator in self.calculators.items():
            image = self.images[index]
            image.calc = calculator
            energy, forces = image.get_potential_energy(), image.get_forces()
            image.calc = SinglePointCalculator(image, energy=energy, forces=forces)
            twin = self.images[-1 - index]
            if self.swap is not None and twin is not image:
                # A hair lower, so that of two equal maxima the computed one climbs.
                twin.calc = SinglePointCalculator(
                    twin, energy=energy - 1e-9, forces=self.swap.vectors(forces)
                )

    def _mirror(self, forces: np.ndarray) -> None:
        """Give the second half the band's forces of the first, in place; both may climb."""
        assert self.swap is not None
        by_image = forces.reshape(self.nimages - 2, self.natoms, 3)
        for index in range((self.nimages - 2) // 2):
            by_image[-1 - index] = self.swap.vectors(by_image[index])

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
