"""A material in three dimensions: its atoms, its cell, and its hops coloured by barrier.

What is made here is plain points and colours; ``static/page.js`` turns them into spheres and rods.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from ase.data.colors import jmol_colors
from pymatgen.core import Structure

from launch.dashboard.formats import barrier_colour
from stores.queries import HopView

WISHED_ANG = 7.0
"""Small cells are repeated until each side is about this long, so that the network shows."""

MAX_ATOMS = 300
"""Beyond this number a cell is not repeated."""

MAX_SEGMENTS = 4000
"""Hops drawn at most, equivalents counted one by one."""

_EDGE = 0.02
"""Tolerance of "inside of the cell", in lattice vectors."""

_HOST_RADIUS, _ION_RADIUS = 0.38, 0.42
"""Of the covalent radius: small enough to look through the crystal."""


def scene(structure: Structure, ion: str, hops: Sequence[HopView]) -> dict[str, Any]:
    """Describe a material for drawing; lengths in Å.

    Parameters
    ----------
    structure
        The primitive cell that the hops' site indices refer to.
    ion
        Symbol of the working ion.
    hops
        The hops, each with its estimates.

    Returns
    -------
    dict
        ``atoms`` (per element: colour, radius, points of shape (n, 3)), ``hops`` (per hop:
        id, barrier, colour, segments of shape (n, 2, 3)), ``cell`` (12 segments), ``repeats``,
        ``cut`` (segments left out), and ``atoms_shown``.
    """
    repeats = _repeats(structure)
    inside = _images(structure, repeats)
    segments, cut = _segments(structure, hops, repeats)
    # The ends of the hops that reach out of the cell are ions too.
    points = _by_element(structure, inside, ion, segments)
    return {
        "atoms": points,
        "hops": [
            {
                "hop_id": view.hop.hop_id,
                "label": f"{view.hop.length_ang:.2f} Å, {_barrier(view)}",
                "colour": barrier_colour(view.best.barrier_ev if view.best else None),
                "segments": _rounded(segments[view.hop.hop_id]),
            }
            for view in hops
            if segments[view.hop.hop_id]
        ],
        "cell": _rounded(_cell(structure.lattice.matrix)),
        "repeats": list(repeats),
        "cut": cut,
        "atoms_shown": sum(len(group["points"]) for group in points),
    }


def _repeats(structure: Structure) -> tuple[int, int, int]:
    wished = [max(1, round(WISHED_ANG / length)) for length in structure.lattice.abc]
    while len(structure) * math.prod(wished) > MAX_ATOMS and max(wished) > 1:
        wished[wished.index(max(wished))] -= 1
    return wished[0], wished[1], wished[2]


def _images(structure: Structure, repeats: tuple[int, int, int]) -> dict[int, np.ndarray]:
    """Return the fractional positions of each site inside of the box, its faces included."""
    shifts = np.array(list(product(*(range(-1, n + 1) for n in repeats))))
    box = np.array(repeats) + _EDGE
    found = {}
    for number, site in enumerate(structure):
        at = site.frac_coords + shifts
        found[number] = at[((at >= -_EDGE) & (at <= box)).all(axis=1)]
    return found


def _segments(
    structure: Structure, hops: Sequence[HopView], repeats: tuple[int, int, int]
) -> tuple[dict[str, list[np.ndarray]], int]:
    """Return the hops inside of the box; of a hop with none, those that begin inside."""
    positions = structure.frac_coords
    matrix = structure.lattice.matrix
    box = np.array(repeats) + _EDGE
    shifts = np.array(list(product(*(range(-1, n + 1) for n in repeats))))
    found: dict[str, list[np.ndarray]] = defaultdict(list)
    left, cut = MAX_SEGMENTS, 0
    for view in hops:
        edges = np.array(view.hop.edges)
        starts = positions[edges[:, 0]][:, None] + shifts
        ends = positions[edges[:, 1]][:, None] + edges[:, None, 2:] + shifts
        begins, finishes = (
            ((at >= -_EDGE) & (at <= box)).all(axis=2) for at in (starts, ends)
        )  # fmt: skip
        chosen = begins & finishes
        if not chosen.any():
            chosen = begins
        pairs = np.stack([starts[chosen], ends[chosen]], axis=1) @ matrix
        found[view.hop.hop_id] = list(pairs[:left])
        cut += max(0, len(pairs) - left)
        left = max(0, left - len(pairs))
    return found, cut


def _by_element(
    structure: Structure,
    inside: dict[int, np.ndarray],
    ion: str,
    segments: dict[str, list[np.ndarray]],
) -> list[dict[str, Any]]:
    points: dict[str, list[np.ndarray]] = defaultdict(list)
    for number, at in inside.items():
        symbol = structure[number].specie.symbol
        points[symbol].append(at @ structure.lattice.matrix)
    if pairs := [pair for some in segments.values() for pair in some]:
        points[ion].append(np.concatenate(pairs))
    return [
        {
            "element": symbol,
            "is_ion": symbol == ion,
            "colour": _colour(symbol),
            "radius": round(
                float(covalent_radii[atomic_numbers[symbol]])
                * (_ION_RADIUS if symbol == ion else _HOST_RADIUS),
                3,
            ),
            "points": _rounded(np.unique(np.concatenate(points[symbol]).round(3), axis=0)),
        }
        for symbol in sorted(points, key=lambda one: (one != ion, one))
    ]


def _colour(symbol: str) -> str:
    parts = (round(255 * float(part)) for part in jmol_colors[atomic_numbers[symbol]])
    return "#" + "".join(f"{part:02x}" for part in parts)


def _cell(matrix: np.ndarray) -> list[np.ndarray]:
    corners = list(product((0, 1), repeat=3))
    return [
        np.array([start, end]) @ matrix
        for start in corners
        for end in corners
        if sum(b - a for a, b in zip(start, end, strict=True)) == 1
        and all(b >= a for a, b in zip(start, end, strict=True))
    ]


def _barrier(view: HopView) -> str:
    best = view.best
    return "no estimate" if best is None else f"{best.barrier_ev:.2f} eV"


def _rounded(values: np.ndarray | Iterable[np.ndarray]) -> list[Any]:
    return [np.round(one, 3).tolist() for one in values]
