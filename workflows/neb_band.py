"""ASE's band, with a budget, symmetry and a record of where it has been."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.mep import NEB

from workflows.engines.forces import Evaluation
from workflows.neb_optimisers import largest
from workflows.neb_symmetry import Swap
from workflows.neb_types import barriers

if TYPE_CHECKING:
    from workflows.neb_run import Run


class Answer(NamedTuple):
    """What the engine said of all computed images at one geometry of the band."""

    positions: np.ndarray
    evaluations: list[Evaluation]


class Band(NEB):
    """A band that spends the run's budget and reports each evaluation, whoever optimises it.

    Parameters
    ----------
    images
        Ends included, these with energies and forces attached.
    run
        Gives forces and takes the bill.
    swap
        Turns the path round, so that half of it is computed; None for all of it.
    """

    def __init__(self, images: list[Atoms], run: Run, swap: Swap | None) -> None:
        super().__init__(images, k=run.settings.spring_ev_ang2, method="improvedtangent")
        self.run, self.swap, self.stage, self.evaluations = run, swap, "band", 0
        self.known: tuple[Answer, bool, np.ndarray] | None = None
        self.best: tuple[float, Answer] | None = None
        self.fmax = np.inf
        movable = len(images) - 2
        self.computed = range(1, ((movable + 1) // 2 if swap else movable) + 1)
        self.labels = [f"image-{index:02d}" for index in self.computed]
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
            answer, climb, forces = self.known
            if climb == self.climb and _same(answer.positions, positions):
                return forces.copy()
        answer = self.evaluate(positions)
        forces = super().get_forces()
        if self.swap is not None:
            self._mirror(forces)
        if not np.isfinite(forces).all():
            self.run.fail("forces_not_finite", "the engine gave forces that are not numbers")
        self.known = (answer, self.climb, forces.copy())
        self.fmax = fmax = largest(forces)
        if self.best is None or fmax < self.best[0]:
            self.best = (fmax, answer)
        barrier = barriers(np.asarray(self.energies))["barrier_ev"]
        self.run.report(self.stage, self.evaluations, fmax, barrier)
        self.evaluations += 1
        return forces

    def evaluate(self, positions: np.ndarray) -> Answer:
        """Attach energies and forces to all images, by the engine or as an image's image.

        Neither climbing nor a step back to the best geometry makes the engine repeat itself.
        """
        asked = [self.images[index] for index in self.computed]
        kept = [self.known[0]] if self.known else []
        kept += [self.best[1]] if self.best else []
        there = [a for a in kept if _same(a.positions, positions)]
        answer = there[0] if there else Answer(positions, self.run.evaluate(asked, self.labels))
        for index, image, (energy, forces) in zip(
            self.computed, asked, answer.evaluations, strict=True
        ):
            attach(image, energy, forces)
            twin = self.images[-1 - index]
            if self.swap is not None and twin is not image:
                # A hair lower, so that of two equal maxima the computed one climbs.
                attach(twin, energy - 1e-9, self.swap.vectors(forces))
        return answer

    def _mirror(self, forces: np.ndarray) -> None:
        """Give the second half the band's forces of the first, in place; both may climb."""
        assert self.swap is not None
        by_image = forces.reshape(self.nimages - 2, self.natoms, 3)
        for index in range((self.nimages - 2) // 2):
            by_image[-1 - index] = self.swap.vectors(by_image[index])

    def get_residual(self) -> float:
        """Largest force; ASE's leaves the climbing image out, the one that matters most."""
        return self.fmax

    def settle(self) -> None:
        """Undo a step that the budget did not pay for: geometry and energies belong together."""
        if self.known is None:
            return
        self.set_positions(self.known[0].positions)
        for index, image in enumerate(self.images[1:-1], start=1):
            attach(image, self.energies[index], self.real_forces[index])

    def back_to_best(self) -> None:
        """Return to the geometry of the smallest force in this stage."""
        if self.best is not None:
            self.set_positions(self.best[1].positions)


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two geometries differ by rounding alone, as of one that was made symmetric again."""
    return bool(np.abs(one - other).max() < 1e-9)


def attach(image: Atoms, energy_ev: float, forces_ev_ang: np.ndarray) -> Atoms:
    """Attach energy and forces to a geometry, in place of any calculator."""
    image.calc = SinglePointCalculator(image, energy=float(energy_ev), forces=forces_ev_ang)
    return image


def frozen(atoms: Atoms) -> Atoms:
    """Copy with energy and forces attached, free of its calculator."""
    return attach(atoms.copy(), atoms.get_potential_energy(), atoms.get_forces())
