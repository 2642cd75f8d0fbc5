"""The energy landscape around a path, as bond valences see it, and the way through it.

The straight line between two sites is rarely the way an ion takes. On a grid around the line
three landscapes are computed for the frozen host: the bond-valence site energy (Adams and Rao,
Phys. Chem. Chem. Phys. 11, 3210 (2009): a Morse potential to anions, a screened repulsion from
cations), the mismatch of the ion's bond-valence sum (Brown), and the distance to the nearest
anion. In each, the path whose highest point is lowest joins the ends; it is the path between
them in the minimum spanning tree of the grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from scipy.special import erfc

from em_model.elements import bond_valence_lengths, column
from em_model.survey import Survey

SPACING_ANG = 0.35
RADIUS_ANG = 1.8
BEYOND_ANG = 0.6
"""The tube around the straight line that is searched for a better way; how far beyond its ends."""

END_ANG = 0.6
"""The ion may rest this far from where the band has it."""

_SOFTNESS_ANG = 0.37  # of bond valences, for all bonds (Brown and Altermatt 1985)
_COULOMB_EV_ANG = 14.4
_FAR_ANG = 9.0

LANDSCAPES = ("energy", "mismatch", "narrowness")
FIELDS = (
    *("energy", "morse", "repulsion", "electrostatics", "mismatch", "valence"),
    *("narrowness", "clash", "cation", "anions"),
)
_WAY = (
    "over_low_end",
    "over_high_end",
    "between_ends",
    "mean",
    "detour",
    "off_axis",
    "place",
)
LANDSCAPE_NAMES: tuple[str, ...] = (
    *(f"way_{land}_{what}" for land in LANDSCAPES for what in (*_WAY, "dip")),
    *(f"saddle_{name}{what}" for name in FIELDS[1:] for what in ("_change", "")),
    *(
        f"line_{name}_{what}"
        for name in FIELDS
        for what in ("rise", "dip", "between_ends", "middle", "end")
    ),
)


def landscape_features(around: Survey) -> np.ndarray:
    """Features named by :data:`LANDSCAPE_NAMES`, on a logarithmic scale.

    Energies are in eV up to a common factor; every feature is the same for a path and its
    reverse.

    Returns
    -------
    np.ndarray
        Shape (len(LANDSCAPE_NAMES),).
    """
    first, last = around.path[0], around.path[-1]
    length = float(np.linalg.norm(last - first))
    axis = (last - first) / length
    tube = _tube(first, axis, length, around.positions)
    points = tube.points
    bonds = _bonds(around)
    energy, valence, narrow = _on_grid(points, around, bonds)
    near_first = np.linalg.norm(points - first, axis=1) < END_ANG
    near_last = np.linalg.norm(points - last, axis=1) < END_ANG
    out: list[float] = []
    ways = {}
    for name, field in zip(LANDSCAPES, (energy, np.abs(valence), narrow), strict=True):
        way = ways[name] = _easiest(field, tube)
        along, top = field[way], int(np.argmax(field[way]))
        low, high = sorted((field[near_first].min(), field[near_last].min()))
        saddle = points[way[top]]
        place = float(np.clip((saddle - first) @ axis / length, 0, 1))
        walked = np.linalg.norm(np.diff(points[way], axis=0), axis=1).sum()
        out += [
            along.max() - low,
            along.max() - high,
            high - low,
            along.mean() - 0.5 * (low + high),
            walked / length,
            float(np.linalg.norm(np.cross(saddle - first, axis))),
            min(place, 1 - place),
            along.min() - low,
        ]
    chosen = points[ways["energy"]]
    on_way = _fields(chosen, around, bonds)
    top = int(np.argmax(on_way["energy"]))
    for name in FIELDS[1:]:
        values = on_way[name]
        out += [values[top] - 0.5 * (values[0] + values[-1]), values[top]]
    line = first + np.linspace(0, 1, 17)[:, None] * (last - first)
    for values in _fields(line, around, bonds).values():
        end = 0.5 * (values[0] + values[-1])
        between = abs(values[0] - values[-1])
        out += [values.max() - end, values.min() - end, between, values[8] - end, end]
    found = np.array(out)
    return np.sign(found) * np.log1p(np.abs(found))


_STEPS = (
    *((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    *((1, 1, 0), (1, -1, 0), (1, 0, 1), (1, 0, -1), (0, 1, 1), (0, 1, -1)),
)
"""From a grid point to half of its 18 nearest; the others look back."""


@cache
def _template(steps: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Integer points of a tube (n, 3), and the pairs of neighbours in it (m, 2)."""
    side = np.arange(-width, width + 1)
    x, y, z = np.meshgrid(np.arange(steps), side, side, indexing="ij")
    inside = y**2 + z**2 <= (RADIUS_ANG / SPACING_ANG) ** 2 + 1e-9
    number = np.full(x.shape, -1)
    number[inside] = np.arange(inside.sum())
    pairs = []
    for shift in _STEPS:
        here = tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(shift, x.shape, strict=True))
        there = tuple(slice(max(0, s), n - max(0, -s)) for s, n in zip(shift, x.shape, strict=True))
        both = np.stack([number[here].ravel(), number[there].ravel()], axis=1)
        pairs.append(both[(both >= 0).all(axis=1)])
    return np.stack([x[inside], y[inside], z[inside]], axis=1), np.concatenate(pairs)


def _towards_nearest(middle: np.ndarray, axis: np.ndarray, atoms: np.ndarray) -> np.ndarray:
    """Unit vector across the axis to the atom nearest to the middle: the tube turns with it."""
    away = atoms - middle
    across = away - (away @ axis)[:, None] * axis
    reach = np.linalg.norm(across, axis=1)
    usable = np.flatnonzero(reach > 0.3)
    if not len(usable):
        side = np.cross(axis, np.eye(3)[int(np.argmin(np.abs(axis)))])
        return np.asarray(side / np.linalg.norm(side))
    nearest = usable[np.argmin(np.linalg.norm(away[usable], axis=1))]
    return np.asarray(across[nearest] / reach[nearest])


@dataclass(frozen=True, eq=False)
class _Tube:
    """Points (n, 3) in Å, pairs of neighbours (m, 2), the points that are the path's ends."""

    points: np.ndarray
    pairs: np.ndarray
    start: int
    stop: int


def _tube(first: np.ndarray, axis: np.ndarray, length: float, atoms: np.ndarray) -> _Tube:
    side = _towards_nearest(first + 0.5 * length * axis, axis, atoms)
    # Stretched so that both ends are points of it, and it is the same seen from either.
    between = max(2, int(np.ceil(length / SPACING_ANG)))
    spacing = length / between
    beyond = int(np.ceil(BEYOND_ANG / spacing))
    steps = between + 2 * beyond + 1
    grid, pairs = _template(steps, round(RADIUS_ANG / SPACING_ANG))
    on_axis = (grid[:, 1:] == 0).all(axis=1)
    start = int(np.flatnonzero(on_axis & (grid[:, 0] == beyond))[0])
    stop = int(np.flatnonzero(on_axis & (grid[:, 0] == beyond + between))[0])
    along = (grid[:, :1] - beyond) * spacing * axis
    across = SPACING_ANG * grid[:, 1:].astype(float) @ np.stack([side, np.cross(axis, side)])
    return _Tube(first + along + across, pairs, start, stop)


def _easiest(field: np.ndarray, tube: _Tube) -> np.ndarray:
    """Points of the path between the ends whose highest point is lowest."""
    here, there = tube.pairs.T
    height = field - field.min() + 1e-3
    # Steps from one high point down to several would tie: the lowest of them is the way.
    weight = np.maximum(height[here], height[there]) + 1e-3 * np.minimum(
        height[here], height[there]
    )
    tree = minimum_spanning_tree(csr_matrix((weight, (here, there)), shape=(len(field),) * 2))
    _, before = breadth_first_order(tree, tube.start, directed=False)
    way = [tube.stop]
    while way[-1] != tube.start:
        way.append(int(before[way[-1]]))
    return np.array(way[::-1])


@dataclass(frozen=True, eq=False)
class _Bonds:
    """Constants of the ion's interaction with each atom around, shape (p,) each."""

    length: np.ndarray
    minimum: np.ndarray
    depth: np.ndarray
    screening: np.ndarray
    repulsion: np.ndarray


def _bonds(around: Survey) -> _Bonds:
    z, ion, moving = around.numbers, around.ion, around.ion_charge
    row, radius = column("row"), column("ionic_radius_ang")
    length = bond_valence_lengths()[ion][z]
    # Coordination taken as typical: small ions like four to six anions, large ones more.
    coordination = 5.0 if radius[ion] < 0.8 else 7.0
    minimum = length - _SOFTNESS_ANG * np.log(moving / coordination)
    shells = np.sqrt(row[ion] * row[z])
    depth = 0.5 * _SOFTNESS_ANG**2 * _COULOMB_EV_ANG * moving * np.abs(around.charges)
    return _Bonds(
        length,
        minimum,
        depth / (minimum * shells),
        0.74 * (radius[ion] + radius[z]),
        _COULOMB_EV_ANG * moving * np.maximum(around.charges, 0.0) / shells,
    )


def _on_grid(
    points: np.ndarray, around: Survey, bonds: _Bonds
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Energy, logarithm of the valence, minus the nearest anion's distance; (n,) each."""
    anion, cation = around.anions, ~around.anions
    to_anion = _distances(points, around.positions[anion])
    to_cation = _distances(points, around.positions[cation])
    energy = _morse(to_anion, bonds, anion) + _repulsion(to_cation, bonds, cation)
    nearest = to_anion.min(axis=1) if anion.any() else np.full(len(points), _FAR_ANG)
    return energy, _valence(to_anion, bonds, around), -np.minimum(nearest, _FAR_ANG)


def _distances(points: np.ndarray, atoms: np.ndarray) -> np.ndarray:
    squared = (points**2).sum(1)[:, None] + (atoms**2).sum(1) - 2.0 * points @ atoms.T
    return np.sqrt(np.maximum(squared, 0.16))


def _fade(distance: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(7.0 - distance, 0.0, 1.0))


def _morse(distance: np.ndarray, bonds: _Bonds, anion: np.ndarray) -> np.ndarray:
    x = np.exp(np.minimum((bonds.minimum[anion] - distance) / _SOFTNESS_ANG, 4.0))
    return np.asarray((bonds.depth[anion] * ((x - 1.0) ** 2 - 1.0) * _fade(distance)).sum(axis=1))


def _repulsion(distance: np.ndarray, bonds: _Bonds, cation: np.ndarray) -> np.ndarray:
    screened = erfc(distance / bonds.screening[cation]) * _fade(distance)
    return np.asarray((bonds.repulsion[cation] / distance * screened).sum(axis=1))


def _valence(distance: np.ndarray, bonds: _Bonds, around: Survey) -> np.ndarray:
    length = bonds.length[around.anions]
    bond = np.exp(np.minimum((length - distance) / _SOFTNESS_ANG, 3.0))
    return np.asarray(np.log(bond.sum(axis=1) / around.ion_charge + 0.05))


def _fields(points: np.ndarray, around: Survey, bonds: _Bonds) -> dict[str, np.ndarray]:
    """All of :data:`FIELDS` at a few points, (n,) each."""
    anion, cation = around.anions, ~around.anions
    distance = _distances(points, around.positions)
    to_anion, to_cation = distance[:, anion], distance[:, cation]
    morse, repulsion = (
        _morse(to_anion, bonds, anion),
        _repulsion(to_cation, bonds, cation),
    )
    valence = _valence(to_anion, bonds, around)
    smeared = erfc(distance / 3.5) / distance
    three = np.sort(np.pad(to_anion, ((0, 0), (0, 3)), constant_values=_FAR_ANG), axis=1)[:, :3]
    radius = column("atomic_radius_ang")[around.numbers]
    far = np.full((len(points), 1), _FAR_ANG)
    return {
        "energy": morse + repulsion,
        "morse": morse,
        "repulsion": repulsion,
        "electrostatics": 0.1
        * _COULOMB_EV_ANG
        * around.ion_charge
        * (around.charges * smeared).sum(axis=1),
        "mismatch": np.abs(valence),
        "valence": valence,
        "narrowness": -three[:, 0],
        "clash": -np.hstack([distance - 0.6 * radius, far]).min(axis=1),
        "cation": np.hstack([to_cation, far]).min(axis=1),
        "anions": three.mean(axis=1),
    }
