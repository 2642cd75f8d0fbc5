"""The account of one band: a budget of force calls, relaxed ends, progress, failures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import NoReturn

import numpy as np
from ase import Atoms

from workflows.engines.forces import Evaluation, Forces
from workflows.neb_band import attach
from workflows.neb_ends import Ends, Which
from workflows.neb_guide import Guide
from workflows.neb_optimisers import largest, lbfgs
from workflows.neb_symmetry import Swap
from workflows.neb_types import NebFailure, NebSettings, NebStep, Progress


class BudgetSpent(Exception):
    """The force calls are spent."""


class Run:
    """Force-call budget, forces and progress of one band.

    ``guide`` goes ahead of the engine; ``rotations`` finds those of the path, Cartesian, (k, 3, 3).
    """

    def __init__(
        self,
        settings: NebSettings,
        forces: Forces,
        progress: Progress | None = None,
        guide: Guide | None = None,
    ) -> None:
        self.settings, self.forces, self.progress, self.guide = settings, forces, progress, guide
        self.calls = 0
        self.warnings: list[str] = []
        self.ends_let_go = not settings.let_go_ends
        self.rotations: Callable[[], np.ndarray] = lambda: np.empty((0, 3, 3))

    def evaluate(self, images: Sequence[Atoms], labels: Sequence[str]) -> list[Evaluation]:
        """Energies and forces of images, taken off the budget.

        Raises
        ------
        BudgetSpent
            Nothing was computed.
        """
        if self.calls + len(images) > self.settings.max_force_calls:
            raise BudgetSpent
        self.calls += len(images)
        return self.forces.evaluate(images, labels)

    def stiffness(
        self, image: Atoms, label: str, forces_ev_ang: np.ndarray, step_ang: float
    ) -> Callable[[np.ndarray], np.ndarray]:
        """Change of an image's restoring forces per Å in a direction, by one call each."""

        def change(direction: np.ndarray) -> np.ndarray:
            moved = image.copy()
            moved.positions += step_ang * direction
            (there,) = self.evaluate([moved], [label])
            return np.asarray((forces_ev_ang - there.forces_ev_ang) / step_ang)

        return change

    def report(self, stage: str, step: int, fmax: float, barrier: float | None = None) -> None:
        """Tell the caller how far it is."""
        if self.progress is not None:
            self.progress(NebStep(stage, step, fmax, self.calls, barrier))

    def mirrored(self, first: Atoms, last: Atoms, swap: Swap) -> Atoms:
        """Final end as the image of the relaxed initial one."""
        self.report("final end", 0, largest(first.get_forces()))
        return swap.image_of(first, last)

    def relaxed_end(
        self, which: Which, end: Atoms, ends: Ends | None, near: Atoms | None = None
    ) -> Atoms:
        """Relax an end, unless a hop of the same host did so before; ``near`` is where to start."""
        stage = f"{which} end"
        known = ends.find(which, end) if ends else None
        if known is not None:
            self.report(stage, 0, largest(known.get_forces()))
            return known
        relaxed = self.relax(end if near is None else near, stage)
        if ends:
            ends.keep(which, end, relaxed)
        return relaxed

    def relax(self, atoms: Atoms, stage: str) -> Atoms:
        """Relax one end at fixed cell; a copy with its energy and forces attached."""
        atoms, label = atoms.copy(), stage.split()[0]
        fmax = float("nan")

        def forces_at(positions: np.ndarray) -> np.ndarray:
            nonlocal fmax
            atoms.positions = positions
            ((energy, forces),) = self.evaluate([atoms], [label])
            attach(atoms, energy, forces)
            fmax = largest(forces)
            if not np.isfinite(fmax):
                self.fail("forces_not_finite", "the engine gave forces that are not numbers")
            self.report(stage, next(steps), fmax)
            return forces

        steps = count()
        try:
            converged = lbfgs(
                forces_at,
                atoms.get_positions(),
                fmax_ev_ang=self.settings.fmax_ev_ang,
                max_steps=self.settings.max_steps,
            )
        except BudgetSpent:
            converged = False
        if not converged:
            raise NebFailure(
                "endpoint_not_converged",
                f"{stage} not relaxed within {self.settings.max_force_calls} force calls "
                f"(largest force {fmax:.2f} eV/Å); raise the budget or fmax",
                images=[atoms],
                force_calls=self.calls,
            )
        return atoms

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
