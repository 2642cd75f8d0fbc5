"""Physical features of a path: how far, how narrow, how strained, in which host.

Computed from the unrelaxed band alone. Every feature is the same for a path and its reverse.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from em_model.data import Band
from em_model.elements import MAX_NUMBER, bond_valence_lengths, column, numbers_of
from em_model.landscape import LANDSCAPE_NAMES, landscape_features
from em_model.survey import Survey, survey

RADIUS = 6.0
"""Å around each point of the path that count as surroundings."""

SURROUNDINGS: tuple[str, ...] = (
    "anion_1",
    "anion_2",
    "anion_3",
    "anion_4",
    "cation_1",
    "cation_2",
    "ion_1",
    "valence",
    "repulsion",
    "electrostatics",
    "coordination",
    "clash",
)
"""What is measured along the path; see :func:`path_features`."""

# Names whose worst value along the path is the smallest; of the others the largest counts.
_SMALL_IS_WORSE = {n for n in SURROUNDINGS if n[-2:-1] == "_"} | {"coordination"}

PLACES = ("end", "middle", "mean", "worst", "between_ends")
CHANGES = ("middle", "worst", "mean")

FEATURE_NAMES: tuple[str, ...] = (
    "length",
    "bend",
    *(f"{place}_{what}" for place in PLACES for what in SURROUNDINGS),
    *(f"{place}_{what}_rise" for place in CHANGES for what in SURROUNDINGS),
    "volume_per_atom",
    "volume_per_anion",
    "ion_share",
    "anion_share",
    "anion_charge",
    "anion_electronegativity",
    "anion_radius",
    "cation_charge",
    "cation_electronegativity",
    "host_electronegativity_spread",
    "ion_radius",
    "ion_charge",
    "ion_electronegativity",
    "ion_mass",
    *LANDSCAPE_NAMES,
)


def path_features(band: Band, around: Survey | None = None) -> np.ndarray:
    """Features of a band, named by :data:`FEATURE_NAMES`.

    Distances in Å, of the four nearest anions, two nearest cations of the framework and the
    nearest other working ion; ``valence`` is the logarithm of the bond-valence sum over the
    ion's formal charge (O'Keeffe and Brese 1991), ``repulsion`` and ``electrostatics`` screened
    sums of charge over distance, of cations and of all atoms, ``clash`` the logarithm of the
    sum of exp((1.8 − d)/0.3) over all atoms. A ``rise`` is a change from the ends, given since
    trees cut one feature at a time. The last are :data:`~em_model.landscape.LANDSCAPE_NAMES`.

    Parameters
    ----------
    band
        A path through a host.
    around
        Its survey, where there is one already.

    Returns
    -------
    np.ndarray
        Shape (len(FEATURE_NAMES),).
    """
    around = around or survey(band)
    measured = _surroundings(around)
    rows = np.array([measured[name] for name in SURROUNDINGS])
    small = np.array([name in _SMALL_IS_WORSE for name in SURROUNDINGS])
    end = 0.5 * (rows[:, 0] + rows[:, -1])
    middle, mean = rows[:, rows.shape[1] // 2], rows.mean(axis=1)
    worst = np.where(small, rows.min(axis=1), rows.max(axis=1))
    straight = float(np.linalg.norm(around.path[-1] - around.path[0]))
    return np.concatenate(
        [
            [band.length_ang, band.length_ang - straight],
            *(end, middle, mean, worst, np.abs(rows[:, 0] - rows[:, -1])),
            *(middle - end, worst - end, mean - end),
            _host_features(around),
            landscape_features(around),
        ]
    )


def element_shares(bands: Sequence[Band]) -> np.ndarray:
    """Share of each element in the composition, shape (n, MAX_NUMBER)."""
    shares = np.zeros((len(bands), MAX_NUMBER))
    for row, band in zip(shares, bands, strict=True):
        np.add.at(row, numbers_of(band.species) - 1, 1.0 / len(band.species))
    return shares


def _host_features(around: Survey) -> list[float]:
    numbers, anion = around.host_numbers, around.host_anions
    cation = ~anion & (numbers != around.ion)
    if not cation.any():
        cation = ~anion if (~anion).any() else anion
    chi, radius = column("pauling_electronegativity"), column("bv_radius_ang")
    return [
        around.volume_ang3 / len(numbers),
        around.volume_ang3 / int(anion.sum()),
        float((numbers == around.ion).mean()),
        float(anion.mean()),
        float(around.host_charges[anion].mean()),
        float(chi[numbers[anion]].mean()),
        float(radius[numbers[anion]].mean()),
        float(around.host_charges[cation].mean()),
        float(chi[numbers[cation]].mean()),
        float(chi[numbers].std()),
        float(column("ionic_radius_ang")[around.ion]),
        around.ion_charge,
        float(chi[around.ion]),
        float(np.log(column("mass_u")[around.ion])),
    ]


def _surroundings(around: Survey) -> dict[str, np.ndarray]:
    """:data:`SURROUNDINGS` at each point of the path, (points,) each."""
    away = around.positions[None] - around.points[:, None]
    distance = np.maximum(np.linalg.norm(away, axis=2), 0.3)
    distance = np.where(distance <= RADIUS, distance, np.inf)
    anion, cation = around.anions, around.cations

    def nearest(which: np.ndarray, count: int) -> list[np.ndarray]:
        part = np.sort(distance[:, which], axis=1)
        part = np.pad(part, ((0, 0), (0, count)), constant_values=np.inf)
        return [np.minimum(part[:, i], RADIUS) for i in range(count)]

    a1, a2, a3, a4 = nearest(anion, 4)
    c1, c2 = nearest(cation, 2)
    (i1,) = nearest(around.same, 1)
    length = bond_valence_lengths()[around.ion][around.numbers]
    bond = np.exp(np.minimum((length - distance) / 0.37, 2.0)) * anion
    screened = np.exp(-distance / 3.0) / distance
    inner = 1.0 / (1.0 + np.exp((distance - length - 0.9) / 0.15))
    return {
        "anion_1": a1,
        "anion_2": a2,
        "anion_3": a3,
        "anion_4": a4,
        "cation_1": c1,
        "cation_2": c2,
        "ion_1": i1,
        "valence": np.log(bond.sum(axis=1) / around.ion_charge + 0.05),
        "repulsion": (np.maximum(around.charges, 0.0) * ~anion * screened).sum(axis=1),
        "electrostatics": (around.charges * screened).sum(axis=1),
        "coordination": (inner * anion).sum(axis=1),
        "clash": np.log1p(np.exp((1.8 - distance) / 0.3).sum(axis=1)),
    }
