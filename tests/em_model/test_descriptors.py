"""Charges, landscape and fingerprints on structures whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.data import atomic_numbers
from scipy.special import eval_legendre

from em_model.charges import formal_charges, ion_charge
from em_model.data import Band
from em_model.landscape import LANDSCAPE_NAMES, landscape_features
from em_model.spectra import GEOMETRY, power_spectrum
from em_model.survey import POINTS, survey

LITHIUM = atomic_numbers["Li"]


def molecule_in_a_box(symbols: str, places: list) -> tuple[np.ndarray, ...]:
    numbers = np.array([atomic_numbers[s] for s in symbols.split()])
    return 12.0 * np.eye(3), np.array(places, dtype=float), numbers


def test_sulphur_is_an_anion_in_a_sulphide_and_a_cation_in_a_sulphate():
    tetrahedron = 0.85 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    box = molecule_in_a_box("S O O O O Li", [[0, 0, 0], *tetrahedron, [3, 0, 0]])
    charge, anion = formal_charges(*box, LITHIUM)
    assert not anion[0]
    assert anion[1:5].all()
    assert charge.tolist() == [6, -2, -2, -2, -2, 1]
    sulphide = molecule_in_a_box("S Ti S", [[0, 0, 0], [2.4, 0, 0], [4.8, 0, 0]])
    charge, anion = formal_charges(*sulphide, LITHIUM)
    assert anion.tolist() == [True, False, True]
    # Neutral with the moving lithium: titanium has what is left.
    assert charge[1] == pytest.approx(3.0)


def test_a_metal_without_anions_still_has_an_answer():
    box = molecule_in_a_box("Mg Ru Ru", [[0, 0, 0], [2.6, 0, 0], [5.2, 0, 0]])
    charge, anion = formal_charges(*box, atomic_numbers["Mg"])
    assert anion.tolist() == [False, True, True]
    assert np.isfinite(charge).all()
    assert ion_charge(atomic_numbers["Al"]) == 3


def rocksalt_band(bend: float = 0.0) -> Band:
    """A lithium vacancy's neighbour hops in LiF; ``bend`` moves the path's middle, Å."""
    host = bulk("LiF", "rocksalt", a=4.03, cubic=True) * (2, 2, 2)
    cell = host.cell[:]
    lithium = np.flatnonzero(host.numbers == 3)
    start = host.positions[lithium[0]]
    away = np.linalg.norm(host.positions[lithium] - start, axis=1)
    other = lithium[np.argmin(np.where(away > 0.1, away, np.inf))]
    stop = host.positions[other]
    path = start + np.linspace(0, 1, 5)[:, None] * (stop - start)
    side = np.cross(stop - start, [0.3, 1.0, 0.2])
    path[1:4] += bend * side / np.linalg.norm(side)
    kept = [i for i in range(len(host)) if i not in (lithium[0], other)]
    positions = np.vstack([path, host.positions[kept]])
    return Band(
        id="LiF",
        working_ion="Li",
        lattice=cell,
        species=(*["Li"] * 5, *(host.get_chemical_symbols()[i] for i in kept)),
        frac_coords=positions @ np.linalg.inv(cell),
    )


def test_the_way_round_two_fluorines_is_easier_than_between_them():
    values = dict(zip(LANDSCAPE_NAMES, landscape_features(survey(rocksalt_band())), strict=True))
    # By symmetry: both ends alike, the saddle half-way, off the line that two F squeeze.
    assert values["way_energy_between_ends"] == pytest.approx(0, abs=1e-6)
    assert values["line_energy_between_ends"] == pytest.approx(0, abs=1e-6)
    assert values["way_energy_off_axis"] > np.log1p(0.3)
    assert values["way_energy_over_low_end"] < values["line_energy_rise"]
    assert values["way_energy_detour"] > np.log1p(1.0)


def test_the_spectrum_is_that_of_its_definition():
    around = survey(rocksalt_band(bend=0.2))
    found = power_spectrum(around, GEOMETRY)
    shells, kinds = GEOMETRY.shells, 3
    pairs = shells * kinds * (shells * kinds + 1) // 2
    assert len(found) == (POINTS + 1) // 2 * GEOMETRY.degrees * pairs
    # One entry by hand: fluorine with fluorine, shell 2 with shell 3, degree 2, middle point.
    away = around.positions[around.anions] - around.points[POINTS // 2]
    distance = np.linalg.norm(away, axis=1)
    away, distance = away[distance < GEOMETRY.cutoff_ang], distance[distance < GEOMETRY.cutoff_ang]
    centres = np.linspace(1.2, GEOMETRY.cutoff_ang - 0.4, shells)
    width = 0.75 * (centres[1] - centres[0])
    fade = 0.5 * (1 + np.cos(np.pi * distance / GEOMETRY.cutoff_ang))
    one, other = (np.exp(-0.5 * ((distance - centres[i]) / width) ** 2) * fade for i in (2, 3))
    unit = away / distance[:, None]
    value = one @ eval_legendre(2, np.clip(unit @ unit.T, -1, 1)) @ other
    rows = list(zip(*np.triu_indices(shells * kinds), strict=True))
    place = ((POINTS // 2) * GEOMETRY.degrees + 2) * pairs + rows.index((2 * kinds, 3 * kinds))
    assert found[place] == pytest.approx(np.sign(value) * np.log1p(abs(value)), abs=1e-9)
