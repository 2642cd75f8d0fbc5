"""Relax a path to its saddles: plain band, off ridges, split at minima, climbing, recovery.

Where the band does not converge, the ladder of recovery is: smaller steps, more images, a
straight initial path, the string method. All of it draws on one budget of force calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from ase import Atoms

from workflows.neb_band import Band
from workflows.neb_guided import band_guided
from workflows.neb_held_ends import BelowEnds, falls_below_ends
from workflows.neb_optimisers import BAND_OPTIMISERS, band_fire
from workflows.neb_path import images_for, interpolate, minima, resampled, straight
from workflows.neb_ridge import bent, ridge
from workflows.neb_run import BudgetSpent, Run
from workflows.neb_saddle import look_at_saddle
from workflows.neb_string import string_relaxed
from workflows.neb_symmetry import Swap
from workflows.neb_types import NebFailure, barriers

T = TypeVar("T")

APART_ANG = 0.3
"""A dip is an intermediate minimum if its atoms rest so far from both ends."""

SAME_MODE = 0.99
"""Overlap above which an operation leaves the way off a ridge as it is."""

MAX_SPLITS = 2
"""Times a path is halved: at most four elementary hops."""


@dataclass
class RelaxedPath:
    """A path as far as it was relaxed.

    Attributes
    ----------
    images
        Ends included, with energies and forces.
    converged
        All its elementary hops are.
    fmax_ev_ang
        Largest projected force.
    symmetric
        Half of it was computed.
    ends
        Indices of the images at rest: both ends, and the minima that it was split at.
    curvatures_ev_ang2, modes
        At the saddles that were looked at, by image; along ``modes``, shape (n, 3).
    """

    images: list[Atoms]
    converged: bool
    fmax_ev_ang: float
    symmetric: bool
    ends: list[int]
    curvatures_ev_ang2: dict[int, float] = field(default_factory=dict)
    modes: dict[int, np.ndarray] = field(default_factory=dict)

    @property
    def energies_ev(self) -> np.ndarray:
        """Energies of all images, shape (n,)."""
        return np.array([image.get_potential_energy() for image in self.images])


class _TooHigh(Exception):
    """The hop is out of the race."""


def relax_path(run: Run, images: list[Atoms], swap: Swap | None, splits: int = 0) -> RelaxedPath:
    """Relax a path, climbing the ladder of recovery while the budget lasts.

    Parameters
    ----------
    run
        Forces, budget, settings.
    images
        Starting path; its ends are relaxed and carry energy and forces.
    swap
        Turns the path round, where symmetry does.
    splits
        How often this path's parents were split.

    Raises
    ------
    NebFailure
        No band came near convergence; with the best bracket.
    BelowEnds
        The band fell below its ends, which symmetry may hold.
    """
    bands: list[Band] = []
    try:
        for name, start, kept in _ladder(run, images, swap, bands):
            if name:
                run.warnings.append(f"the band did not converge, went on with {name}")
            found = _attempt(run, start, kept, bands, splits)
            if found is not None:
                return found
    except BudgetSpent:
        pass
    except _TooHigh:
        run.warnings.append("given up before convergence: too high to matter")
        return _settled(bands[-1], converged=False)
    return _nearest_usable(run, bands)


def _ladder(
    run: Run, images: list[Atoms], swap: Swap | None, bands: list[Band]
) -> Iterator[tuple[str, list[Atoms], Swap | None]]:
    """Yield names and starting paths; a later one may use the bands of those before it."""
    count = len(images) - 2
    yield "", images, swap
    nearest = _settled(_nearest(bands), converged=False).images
    more = resampled(nearest, count + count // 2 + 1)
    yield "more images", [images[0], *more[1:-1], images[-1]], None
    yield "a straight initial path", straight(images[0], images[-1], count), None
    nearest = _settled(_nearest(bands), converged=False).images
    yield "the string method", string_relaxed(run, nearest), None


def _attempt(
    run: Run, images: list[Atoms], swap: Swap | None, bands: list[Band], splits: int
) -> RelaxedPath | None:
    """Relax one starting path; None where the optimisers give up."""
    settings = run.settings
    loose = max(settings.climb_from_ev_ang, settings.fmax_ev_ang)
    band = Band(images, run, swap)
    bands.append(band)
    if not _stage(run, band, "band", loose):
        return None
    limit = settings.give_up_above_ev
    if limit is not None and barriers(np.asarray(band.energies))["barrier_ev"] > limit:
        raise _TooHigh
    downhill = ridge(run, band) if settings.leave_ridges else None
    if downhill is not None:
        run.warnings.append("the straight path followed a ridge and was bent off it")
        kept = swap is not None and np.vdot(swap.vectors(downhill), downhill) > SAME_MODE
        band = Band(bent(images, downhill), run, swap if kept else None)
        bands.append(band)
        if not _stage(run, band, "bent band", loose):
            return None
    _check_ends(run, band, splits)
    if settings.split and splits < MAX_SPLITS:
        parts = split(run, band, splits)
        if parts is not None:
            return parts
    if settings.climb or loose > settings.fmax_ev_ang:
        band.climb = settings.climb
        name = "climbing band" if settings.climb else "band"
        if not _stage(run, band, name, settings.fmax_ev_ang):
            return None
    _check_ends(run, band, splits)
    found = _settled(band, converged=True)
    if settings.climb:
        look_at_saddle(run, found)
        if any(value > 0 for value in found.curvatures_ev_ang2.values()):
            run.warnings.append("the climbing image converged on what is no saddle")
            return None
    return found


def _check_ends(run: Run, band: Band, splits: int) -> None:
    """Stop, once, where the whole band has fallen below its ends."""
    if splits == 0 and not run.ends_let_go and falls_below_ends(np.asarray(band.energies)):
        run.ends_let_go = True
        raise BelowEnds(_settled(band, converged=False), band.swap)


def _stage(run: Run, band: Band, stage: str, target_ev_ang: float) -> bool:
    """Relax to ``target_ev_ang``; where the optimisers stray, FIRE goes on in smaller steps."""
    band.stage, band.best = stage, None
    name, steps = run.settings.optimiser, run.settings.max_steps
    if run.guide is not None and band_guided(band, run.guide, target_ev_ang, steps):
        return True
    for relaxed in BAND_OPTIMISERS[name]:
        if relaxed(band, target_ev_ang, steps):
            return True
        band.back_to_best()
    if name == "fire":
        return False
    run.warnings.append(f"{stage}: {name} did not converge, went on with fire in smaller steps")
    return band_fire(band, target_ev_ang, steps)


def split(run: Run, band: Band, splits: int) -> RelaxedPath | None:
    """Split a band at its deepest dip, and relax the elementary hops; None without a minimum.

    A band climbs to one saddle only; with a minimum on the way there are two or more.
    """
    energies = np.asarray(band.energies)
    dips = minima(energies)
    if not dips:
        return None
    at = min(dips, key=lambda index: energies[index])
    first, last = band.images[0], band.images[-1]
    try:
        middle = run.relax(band.images[at], "intermediate minimum")
    except NebFailure:
        run.warnings.append(f"the dip at image {at} did not relax to a minimum")
        return None
    apart = [float(np.linalg.norm(middle.positions - end.positions)) for end in (first, last)]
    if min(apart) < APART_ANG:
        return None
    place = len(run.warnings)
    one = relax_path(run, _segment(run, band.images[: at + 1], first, middle), None, splits + 1)
    swap = band.swap
    own_twin = swap is not None and np.allclose(
        swap.positions(middle, middle), middle.positions, atol=0.05
    )
    if swap is not None and own_twin:
        two = _mirrored(one, swap, last)
    else:
        two = relax_path(run, _segment(run, band.images[at:], middle, last), None, splits + 1)
    shift = len(one.images) - 1
    depth = min(part.energies_ev.max() for part in (one, two)) - middle.get_potential_energy()
    run.warnings.insert(
        place, f"an intermediate minimum {depth:.3f} eV deep lies on the path, which is split there"
    )
    return RelaxedPath(
        images=one.images + two.images[1:],
        converged=one.converged and two.converged,
        fmax_ev_ang=max(one.fmax_ev_ang, two.fmax_ev_ang),
        symmetric=own_twin,
        ends=one.ends + [index + shift for index in two.ends[1:]],
        curvatures_ev_ang2=one.curvatures_ev_ang2 | _shifted(two.curvatures_ev_ang2, shift),
        modes=one.modes | _shifted(two.modes, shift),
    )


def _shifted(by_image: dict[int, T], shift: int) -> dict[int, T]:
    return {index + shift: value for index, value in by_image.items()}


def _segment(run: Run, part: list[Atoms], first: Atoms, last: Atoms) -> list[Atoms]:
    """Starting path between two neighbouring minima, along the part of the band between them."""
    count = run.settings.images or images_for(first, last, run.settings.max_spacing_ang)
    if len(part) < 3:
        return interpolate(first, last, count)
    return [first, *resampled([first, *part[1:-1], last], count)[1:-1], last]


def _mirrored(path: RelaxedPath, swap: Swap, last: Atoms) -> RelaxedPath:
    """Second half of a path whose middle is its own image, from the first half."""
    images = []
    middle = path.images[-1]
    for share, image in zip(np.linspace(0, 1, len(path.images)), path.images[::-1], strict=True):
        near = middle.copy()
        near.positions += share * (last.positions - middle.positions)
        images.append(swap.image_of(image, near))
    last_index = len(images) - 1
    ends = [last_index - index for index in reversed(path.ends)]
    curvatures = {last_index - k: value for k, value in path.curvatures_ev_ang2.items()}
    modes = {last_index - k: -swap.vectors(mode) for k, mode in path.modes.items()}
    return RelaxedPath(images, path.converged, path.fmax_ev_ang, True, ends, curvatures, modes)


def _nearest(bands: list[Band]) -> Band:
    return min((band for band in bands if band.evaluations), key=lambda band: band.fmax)


def _settled(band: Band, *, converged: bool) -> RelaxedPath:
    band.settle()
    ends = [0, len(band.images) - 1]
    return RelaxedPath(band.images, converged, band.fmax, band.swap is not None, ends)


def _nearest_usable(run: Run, bands: list[Band]) -> RelaxedPath:
    """Return the band that came nearest to convergence, if near enough for an estimate."""
    if not any(band.evaluations for band in bands):
        run.fail("band_not_converged", "the ends took all force calls; raise the budget")
    path = _settled(_nearest(bands), converged=False)
    if path.fmax_ev_ang <= run.settings.usable_fmax_ev_ang:
        return path
    energies = path.energies_ev
    raise NebFailure(
        "band_not_converged",
        f"largest force {path.fmax_ev_ang:.2f} eV/Å after {run.calls} force calls "
        f"(wanted {run.settings.fmax_ev_ang}); raise the budget or the number of images",
        bracket_ev=(abs(float(energies[-1] - energies[0])), barriers(energies)["barrier_ev"]),
        images=path.images,
        force_calls=run.calls,
    )
