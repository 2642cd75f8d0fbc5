"""What a nudged elastic band takes and gives: settings, progress, result, failure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from ase import Atoms

from stores.documents import EnergyProfile


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
    symmetry
        Compute half of a path that symmetry turns round; see :mod:`workflows.neb_symmetry`.
    leave_ridges
        Bend a path that symmetry holds on a ridge, found by two more force calls.
    let_go_ends
        Nudge the ends of a path that falls below them; see :mod:`workflows.neb_held_ends`.
    split
        Relax intermediate minima and let each elementary hop between them climb on its own.
    give_up_above_ev
        A loosely relaxed band higher than this is not relaxed further: it moves no ion. None
        relaxes them all.
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
    max_force_calls: int = 1500
    usable_fmax_ev_ang: float = 0.2
    symmetry: bool = True
    leave_ridges: bool = True
    let_go_ends: bool = True
    split: bool = True
    give_up_above_ev: float | None = None
    optimiser: Literal["staged", "ode", "lbfgs", "fire"] = "staged"

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


Start = Literal["mlip", "idpp", "linear"]
"""Where a path begins: a potential's converged one, image-dependent pair potential, straight."""

Progress = Callable[[NebStep], None]


@dataclass(frozen=True)
class Saddle:
    """The highest image of a path.

    Attributes
    ----------
    index
        Which image it is.
    mode
        Unit vector along the path, over all atoms, shape (n, 3).
    curvature_ev_ang2
        Along the mode, negative at a saddle; None where it was not measured.
    """

    index: int
    mode: np.ndarray
    curvature_ev_ang2: float | None


@dataclass(frozen=True)
class NebResult:
    """A band and its barrier; energies in eV, taken from the images, never from a spline.

    ``minima`` are the images at rest: both ends, and the intermediate minima between which the
    path consists of elementary hops, each with a climbing image of its own.
    """

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
    minima: list[int]
    symmetric: bool
    saddle: Saddle | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def saddle_index(self) -> int:
        """Index of the highest image."""
        return int(np.argmax(self.profile.energy_ev))


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


def barriers(energies_ev: np.ndarray) -> dict[str, float]:
    """Forward and backward barrier, span and barrier of a path, from its images' energies.

    The barrier is the largest climb in either direction. It is the larger of forward and
    backward, unless the path dips below both ends: an ion that rests in the dip has to climb
    out of it, so such a path is no better than its span.

    Parameters
    ----------
    energies_ev
        One energy per image, ends included, shape (n,).
    """
    top = float(energies_ev.max())
    span = top - float(energies_ev.min())
    return {
        "barrier_ev": span,
        "forward_ev": top - float(energies_ev[0]),
        "backward_ev": top - float(energies_ev[-1]),
        "span_ev": span,
    }
