"""Ends that symmetry holds where they are no minima: how they are seen, and let go.

An end of high symmetry has no force to leave it, so a relaxation stops there even where the
potential would have the ion or the host elsewhere. Such a path falls from its ends at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from workflows.neb_ends import Which
from workflows.neb_path import transferred, unwrapped
from workflows.neb_run import Run
from workflows.neb_symmetry import Swap

if TYPE_CHECKING:
    from workflows.neb_relax import RelaxedPath

FALL_EV = 0.05
"""What lies so far below both ends, or below an end before it was let go, is no noise."""

NUDGE_ANG = 0.2
"""How far along its path an end is displaced; one that is a minimum relaxes back."""

NOISE_ANG = 0.05
"""Standard deviation of the displacements that free an end of its symmetry."""


class BelowEnds(Exception):
    """A band has fallen below both of its ends, which have not been let go yet.

    Attributes
    ----------
    path
        The band as far as it was relaxed.
    swap
        Turns it round, where symmetry still does.
    """

    def __init__(self, path: RelaxedPath, swap: Swap | None) -> None:
        super().__init__("the band falls below its ends")
        self.path, self.swap = path, swap


def falls_below_ends(energies_ev: np.ndarray) -> bool:
    """Say whether an inner image lies well below both ends."""
    return bool(energies_ev[1:-1].min() < min(energies_ev[0], energies_ev[-1]) - FALL_EV)


def let_go(
    run: Run,
    unrelaxed: tuple[Atoms, Atoms],
    images: list[Atoms],
    swap: Swap | None,
) -> list[Atoms]:
    """Nudge both ends, relax them again, and carry the path over to where they come to rest.

    Lower ends are not kept for the other hops of the host: whether these saw them would depend on
    the order of the calculations.

    Parameters
    ----------
    run
        Forces and budget.
    unrelaxed
        Both ends before any relaxation.
    images
        Path as far as it was relaxed, its relaxed ends included.
    swap
        Turns the path round, where symmetry does.

    Returns
    -------
    list of Atoms
        The path between the lower ends; ``images`` as they are where the ends were minima.

    Raises
    ------
    NebFailure
        The ion leaves its site, or the host its shape: there is no such hop.
    """
    first, fell_first = _relaxed_again(run, "initial", images[0], images[1])
    if swap is not None:
        last, fell_last = run.mirrored(first, unrelaxed[1], swap), fell_first
    else:
        last, fell_last = _relaxed_again(run, "final", images[-1], images[-2])
    fell = max(fell_first, fell_last)
    if fell < FALL_EV:
        return images
    run.check_relaxed(*unrelaxed, first, last)
    run.warnings.append(f"symmetry held the ends {fell:.3f} eV above where they rest without it")
    return transferred(images, first, last if swap else unwrapped(first, last))


def _relaxed_again(run: Run, which: Which, end: Atoms, beside: Atoms) -> tuple[Atoms, float]:
    """Relax an end from off its rest; the lower of the two, and how far it fell."""
    nudged = end.copy()
    # Down the path, where it is known to be lower, and a little to every side.
    nudged.positions += _nudge(beside.positions - end.positions)
    again = run.relax(nudged, f"{which} end")
    fell = float(end.get_potential_energy() - again.get_potential_energy())
    return (again, fell) if fell >= FALL_EV else (end, fell)


def _nudge(along: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0.0, NOISE_ANG, along.shape)
    farthest = float(np.linalg.norm(along, axis=1).max())
    moved: np.ndarray = along * min(1.0, NUDGE_ANG / farthest) + noise - noise.mean(axis=0)
    return moved
