"""Physical features of a path: how far, how narrow, how strained, in which host.

Computed from the unrelaxed band alone. Every feature is the same for a path and its reverse.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from em_model.data import Band
from em_model.elements import ANIONS, MAX_NUMBER, bond_valence_lengths, column, numbers_of
from em_model.graphs import periodic_images

POINTS = 9
"""Points along the path, ends included, at which its surroundings are measured."""

RADIUS = 6.0
"""Å around each point that count as surroundings."""

SURROUNDINGS: tuple[str, ...] = (
    "anion_1",
    "anion_2",
    "anion_3",
    "cation_1",
    "cation_2",
    "ion_1",
    "valence",
    "repulsion",
    "coordination",
    "clash",
)
"""What is measured along the path; see :func:`path_features`."""

FEATURE_NAMES: tuple[str, ...] = (
    "length",
    "bend",
    *(f"{place}_{what}" for what in SURROUNDINGS for place in ("end", "mean", "worst", "middle")),
    "end_difference_valence",
    "end_difference_anion_1",
    "end_difference_repulsion",
    "volume_per_atom",
    "volume_per_anion",
    "ion_share",
    "anion_share",
    "anion_electronegativity",
    "anion_radius",
    "cation_electronegativity",
    "cation_oxidation",
    "host_electronegativity_spread",
    "ion_radius",
    "ion_charge",
    "ion_electronegativity",
    "ion_mass",
)

_IS_ANION = np.isin(np.arange(MAX_NUMBER + 1), sorted(ANIONS))
# Names whose worst value along the path is the smallest; of the others the largest counts.
_SMALL_IS_WORSE = {"anion_1", "anion_2", "anion_3", "cation_1", "cation_2", "ion_1", "coordination"}


def path_features(band: Band) -> np.ndarray:
    """Features of a band, named by :data:`FEATURE_NAMES`.

    Distances in Å, of the first, second, third nearest anion, cation of the framework and
    other working ion; ``valence`` is the bond-valence sum over the ion's formal charge
    (O'Keeffe and Brese 1991), ``repulsion`` a screened sum of oxidation state over distance
    of the cations, ``clash`` the sum of exp((1.8 − d)/0.3) over all atoms.

    Returns
    -------
    np.ndarray
        Shape (len(FEATURE_NAMES),).
    """
    numbers = numbers_of(band.species)
    host = band.host_sites
    ion = int(numbers[band.band_sites[0]])
    path = band.path_cart
    points = _along(path, POINTS)
    positions, atom = periodic_images(
        band.lattice, band.frac_coords[host] @ band.lattice, points, RADIUS
    )
    z = numbers[host][atom]
    around = _surroundings(points, positions, z, ion)
    out: list[float] = []
    straight = float(np.linalg.norm(path[-1] - path[0]))
    length = band.length_ang
    out += [length, length - straight]
    for name, values in around.items():
        worst = values.min() if name in _SMALL_IS_WORSE else values.max()
        out += [
            0.5 * (values[0] + values[-1]),
            values.mean(),
            worst,
            values[len(values) // 2],
        ]
    for name in ("valence", "anion_1", "repulsion"):
        out.append(abs(around[name][0] - around[name][-1]))
    return np.array(out + _host_features(band, numbers[host], ion))


def rises(paths: np.ndarray) -> np.ndarray:
    """How much each surrounding changes from the ends to the path's worst, middle and mean.

    Trees cut one feature at a time, so differences have to be given.

    Parameters
    ----------
    paths
        Features of n bands, shape (n, len(FEATURE_NAMES)).

    Returns
    -------
    np.ndarray
        Shape (n, 3 · number of surroundings).
    """
    column_of = {name: i for i, name in enumerate(FEATURE_NAMES)}
    return np.stack(
        [
            paths[:, column_of[f"{place}_{what}"]] - paths[:, column_of[f"end_{what}"]]
            for what in SURROUNDINGS
            for place in ("worst", "middle", "mean")
        ],
        axis=1,
    )


def element_shares(bands: Sequence[Band]) -> np.ndarray:
    """Share of each element in the composition, shape (n, MAX_NUMBER)."""
    shares = np.zeros((len(bands), MAX_NUMBER))
    for row, band in zip(shares, bands, strict=True):
        np.add.at(row, numbers_of(band.species) - 1, 1.0 / len(band.species))
    return shares


def _host_features(band: Band, numbers: np.ndarray, ion: int) -> list[float]:
    anion = _IS_ANION[numbers] if _IS_ANION[numbers].any() else np.ones(len(numbers), dtype=bool)
    cation = ~anion & (numbers != ion)
    if not cation.any():
        cation = ~anion if (~anion).any() else anion
    chi, radius = column("pauling_electronegativity"), column("bv_radius_ang")
    volume = abs(float(np.linalg.det(band.lattice)))
    return [
        volume / len(numbers),
        volume / int(anion.sum()),
        float((numbers == ion).mean()),
        float(anion.mean()),
        float(chi[numbers[anion]].mean()),
        float(radius[numbers[anion]].mean()),
        float(chi[numbers[cation]].mean()),
        float(column("highest_oxidation")[numbers[cation]].mean()),
        float(chi[numbers].std()),
        float(column("ionic_radius_ang")[ion]),
        float(column("highest_oxidation")[ion]),
        float(chi[ion]),
        float(np.log(column("mass_u")[ion])),
    ]


def _along(path: np.ndarray, points: int) -> np.ndarray:
    """Evenly spaced points along a polyline, shape (points, 3)."""
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    at = np.concatenate([[0.0], np.cumsum(steps)])
    wanted = np.linspace(0.0, at[-1], points)
    return np.stack([np.interp(wanted, at, path[:, axis]) for axis in range(3)], axis=1)


def _surroundings(
    points: np.ndarray, positions: np.ndarray, numbers: np.ndarray, ion: int
) -> dict[str, np.ndarray]:
    distance = (
        np.linalg.norm(positions[None] - points[:, None], axis=2)
        if len(positions)
        else np.full((len(points), 1), np.inf)
    )
    if not len(positions):
        numbers = np.array([0])
    distance = np.maximum(distance, 0.3)
    distance = np.where(distance <= RADIUS, distance, np.inf)
    anion = _IS_ANION[numbers]
    same = numbers == ion
    cation = ~anion & ~same & (numbers > 0)

    def nearest(which: np.ndarray, count: int) -> list[np.ndarray]:
        part = np.sort(np.where(which[None], distance, np.inf), axis=1)
        part = np.pad(part, ((0, 0), (0, count)), constant_values=np.inf)
        return [np.minimum(part[:, i], RADIUS) for i in range(count)]

    a1, a2, a3 = nearest(anion, 3)
    c1, c2 = nearest(cation, 2)
    (i1,) = nearest(same, 1)
    length = bond_valence_lengths()[ion][numbers]
    charge = max(float(column("highest_oxidation")[ion]), 1.0)
    bond = np.exp(np.minimum((length[None] - distance) / 0.37, 2.0)) * anion[None]
    oxidation = np.maximum(column("highest_oxidation")[numbers], 1.0) * (~anion & (numbers > 0))
    with np.errstate(divide="ignore"):
        repulsion = (oxidation[None] * np.exp(-distance / 3.0) / distance).sum(axis=1)
    coordination = (
        (1.0 / (1.0 + np.exp((distance - length[None] - 0.9) / 0.15))) * anion[None]
    ).sum(axis=1)
    clash = np.log1p(np.exp((1.8 - distance) / 0.3).sum(axis=1))
    return {
        "anion_1": a1,
        "anion_2": a2,
        "anion_3": a3,
        "cation_1": c1,
        "cation_2": c2,
        "ion_1": i1,
        "valence": np.log(bond.sum(axis=1) / charge + 0.05),
        "repulsion": repulsion,
        "coordination": coordination,
        "clash": clash,
    }
