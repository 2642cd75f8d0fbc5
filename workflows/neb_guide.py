"""A cheap potential that learns what it lacks beside a dear engine, and stands in for it.

At each image the stand-in has the energy and the forces that the engine gave there last. How the
difference of the two changes from there is learned from all geometries that the engine has seen:
a linear process whose noise grows with the square of a step, since what is linear is so nearby
only (Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), section 2.1). After
the idea of surrogate bands (Garrido Torres et al., Phys. Rev. Lett. 122, 156001 (2019)), with the
potential for the prior, so that no curvature of the crystal has to be learned that it knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms

from workflows.engines.forces import Evaluation, Forces
from workflows.neb_optimisers import largest

INNER_SHARE, INNER_STEPS = 0.3, 200
"""The stand-in is relaxed to this share of the force that is wanted, in so many steps at most."""

TRUST_ANG = 0.25
"""No atom goes farther in a round."""

SPIKE = 3.0
"""A round that multiplies the lowest of the largest forces by more is undone and shortened."""

GAIN, PATIENCE = 0.9, 4
"""Given up after so many rounds that do not bring the largest force below this share of itself."""

MEMORY = 8
"""Geometries kept of each image."""

NOISE_ANG, BEND_PER_ANG, ELSEWHERE = 0.01, 0.3, 0.5
"""Noise of a step: constant, per its square, and per its length where another image made it."""


class Point(NamedTuple):
    """How far the potential is from the engine at one geometry: energy and forces to add."""

    positions: np.ndarray
    energy_ev: float
    forces_ev_ang: np.ndarray


class Guide:
    """The potential as corrected so far; asked like any other source of forces.

    Parameters
    ----------
    forces
        Of the potential.
    """

    def __init__(self, forces: Forces) -> None:
        self.forces = forces
        self._points: dict[str, list[Point]] = {}

    def learn(
        self,
        images: Sequence[Atoms],
        labels: Sequence[str],
        dear: Sequence[Evaluation],
        *,
        base: bool = True,
    ) -> None:
        """Take in what the engine said; ``base`` makes it the point that steps start from."""
        for image, label, one, other in zip(
            images, labels, dear, self.forces.evaluate(images, labels), strict=True
        ):
            point = Point(
                image.get_positions(),
                one.energy_ev - other.energy_ev,
                one.forces_ev_ang - other.forces_ev_ang,
            )
            known = self._points.setdefault(label, [])
            known.insert(len(known) if base or not known else len(known) - 1, point)
            del known[:-MEMORY]

    def evaluate(self, images: Sequence[Atoms], labels: Sequence[str]) -> list[Evaluation]:
        """Energies and forces of the stand-in; each label has to be known."""
        cheap = self.forces.evaluate(images, labels)
        return [
            self._corrected(image.positions, label, found)
            for image, label, found in zip(images, labels, cheap, strict=True)
        ]

    def _corrected(self, positions: np.ndarray, label: str, cheap: Evaluation) -> Evaluation:
        base = self._points[label][-1]
        step = (positions - base.positions).ravel()
        steps, changes, noise = self._pairs(label)
        change = np.zeros_like(step)
        if len(steps):
            gram = steps @ steps.T + np.diag(noise**2)
            change = np.linalg.solve(gram, steps @ step) @ changes
        at_base = base.forces_ev_ang.ravel()
        return Evaluation(
            # forces linear between here and there
            cheap.energy_ev + base.energy_ev - float(step @ (at_base + change / 2)),
            cheap.forces_ev_ang + (at_base + change).reshape(-1, 3),
        )

    def _pairs(self, label: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Steps (m, 3n), how the correction of forces changed over them (m, 3n), their noise."""
        steps, changes, noise = [], [], []
        for name, (*others, base) in sorted(self._points.items()):
            for point in others:
                step = (point.positions - base.positions).ravel()
                size = float(np.linalg.norm(step))
                steps.append(step)
                changes.append((point.forces_ev_ang - base.forces_ev_ang).ravel())
                far = 0.0 if name == label else ELSEWHERE * size
                noise.append(NOISE_ANG + BEND_PER_ANG * size**2 + far)
        return np.array(steps), np.array(changes), np.array(noise)


class Rounds:
    """Keeps the account of rounds: what the last one brought, and how far the next may go."""

    def __init__(self) -> None:
        self.lowest, self.since, self.trust_ang = np.inf, 0, TRUST_ANG

    def spiked(self, fmax_ev_ang: float) -> bool:
        """Take in the largest force of a round; say whether it has to be undone."""
        self.since = 0 if fmax_ev_ang < GAIN * self.lowest else self.since + 1
        spike = fmax_ev_ang > SPIKE * self.lowest
        self.trust_ang = self.trust_ang / 2 if spike else TRUST_ANG
        self.lowest = min(self.lowest, fmax_ev_ang)
        return spike

    @property
    def spent(self) -> bool:
        """Whether the potential is no help any more."""
        return self.since >= PATIENCE

    def shortened(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Positions on the way from one geometry to another, as far as they are trusted."""
        step = end - start
        return np.asarray(start + step * min(1.0, self.trust_ang / max(largest(step), 1e-12)))
