"""Every entry of the catalogue is verified against crystal chemistry, not against itself alone."""

import copy
import csv
import math
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.analysis.structure_prediction.volume_predictor import DLSVolumePredictor
from pymatgen.core import Composition
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from workflows.sources import load_catalogue
from workflows.sources.catalogue import catalogue_entries, entry_structure

ENTRIES = {entry["id"]: entry for entry in catalogue_entries()}
USUAL_GII = 0.2
"""Valence units; above it a structure is strained or wrong (Brown, Chem. Rev. 109, 6858, 2009)."""

CLOSEST_ANG = {"C": 1.2, "P": 1.45, "S": 1.4, "Si": 1.55, "V": 1.55}
"""Shortest bond a central atom makes; 1.65 Å for all others."""

pytestmark = pytest.mark.filterwarnings("ignore")
each_entry = pytest.mark.parametrize("entry_id", list(ENTRIES))


@cache
def structure_of(entry_id):
    return entry_structure(ENTRIES[entry_id])


@cache
def bond_valence_parameters():
    with (Path(__file__).parent / "data" / "bond_valence.csv").open() as handle:
        return {
            (row["cation"], float(row["charge"]), row["anion"]): (
                float(row["r0_ang"]),
                float(row["b_ang"]),
            )
            for row in csv.DictReader(handle)
        }


def global_instability_index(structure, charges):
    """Root mean square of bond-valence sum minus oxidation state over all sites."""
    sums = np.zeros(len(structure))
    symbols = [site.specie.symbol for site in structure]
    centers, neighbors, _, distances = structure.get_neighbor_list(6.0)
    for i, j, distance in zip(centers, neighbors, distances, strict=True):
        if charges[symbols[i]] > 0 > charges[symbols[j]]:
            r0, b = bond_valence_parameters()[symbols[i], charges[symbols[i]], symbols[j]]
            valence = math.exp((r0 - distance) / b)
            sums[i] += valence
            sums[j] -= valence
    expected = np.array([charges[symbol] for symbol in symbols])
    return float(np.sqrt(np.mean((sums - expected) ** 2)))


def test_enough_hosts_of_each_ion():
    ions = [entry["working_ion"] for entry in ENTRIES.values()]
    assert len(ENTRIES) == len(catalogue_entries()) >= 60
    assert {ion: ions.count(ion) >= 5 for ion in ("Li", "Na", "K", "Mg", "Ca", "Zn", "Al")} == (
        dict.fromkeys(("Li", "Na", "K", "Mg", "Ca", "Zn", "Al"), True)
    )
    small = [r for r in load_catalogue({"Li"}) if len(r.structure.get_primitive_structure()) <= 12]
    assert len(small) >= 15


@each_entry
def test_entry_is_complete(entry_id):
    entry = ENTRIES[entry_id]
    assert any(character.isdigit() for character in entry["reference"])
    assert set(entry["oxidation_states"]) == {site["element"] for site in entry["sites"]}
    assert entry["oxidation_states"][entry["working_ion"]] > 0


@each_entry
def test_stoichiometry_and_charge(entry_id):
    entry, structure = ENTRIES[entry_id], structure_of(entry_id)
    assert structure.composition.reduced_formula == Composition(entry["formula"]).reduced_formula
    charge = sum(
        entry["oxidation_states"][element.symbol] * amount
        for element, amount in structure.composition.items()
    )
    assert charge == pytest.approx(0, abs=1e-9)


@each_entry
def test_space_group_is_the_stated_one(entry_id):
    entry, structure = ENTRIES[entry_id], structure_of(entry_id)
    analyzer = SpacegroupAnalyzer(structure, symprec=1e-3)
    assert analyzer.get_space_group_number() == entry["spacegroup_number"]
    assert analyzer.get_space_group_symbol() == entry["spacegroup"].replace("P12_1/n1", "P2_1/c")
    assert len(structure.get_primitive_structure()) == entry["checks"]["primitive_atoms"]


@each_entry
def test_distances(entry_id):
    entry, structure = ENTRIES[entry_id], structure_of(entry_id)
    distances = structure.get_neighbor_list(4.0)[3]
    shortest = distances.min()
    assert shortest == pytest.approx(entry["checks"]["min_distance_ang"], abs=2e-3)
    assert shortest > min(CLOSEST_ANG.get(e.symbol, 1.65) for e in structure.composition)


@each_entry
def test_volume(entry_id):
    """The cell agrees with a volume predicted from bond lengths of other crystals."""
    entry, structure = ENTRIES[entry_id], structure_of(entry_id)
    assert structure.volume / len(structure) == pytest.approx(
        entry["checks"]["volume_per_atom_ang3"], abs=2e-3
    )
    predicted = DLSVolumePredictor().predict(structure)
    assert 0.55 < predicted / structure.volume < 1.55


@each_entry
def test_bond_valences(entry_id):
    entry, structure = ENTRIES[entry_id], structure_of(entry_id)
    limit = entry["checks"].get("max_gii", USUAL_GII)
    assert global_instability_index(structure, entry["oxidation_states"]) <= limit
    if limit > USUAL_GII:
        assert entry.get("note"), "an entry beyond the usual index says why"


def test_no_entry_is_there_twice():
    matcher = StructureMatcher()
    by_formula = {}
    for entry_id, entry in ENTRIES.items():
        by_formula.setdefault(Composition(entry["formula"]).reduced_formula, []).append(entry_id)
    for ids in by_formula.values():
        for first, second in combinations(ids, 2):
            assert not matcher.fit(structure_of(first), structure_of(second)), (first, second)


@pytest.mark.slow
@each_entry
def test_an_independent_potential_finds_small_forces(entry_id):
    """CHGNet, trained on relaxed PBE structures, pulls no atom hard at the published positions.

    The bound is what it shows for well-refined oxides with short bonds (V=O, S=O, Cr-O); a wrong
    coordinate of 0.1 Å gives 3 eV/Å and more.
    """
    pytest.importorskip("chgnet", reason="the chgnet extra is not installed")
    primitive = structure_of(entry_id).get_primitive_structure()
    assert np.abs(_chgnet().predict_structure(primitive)["f"]).max() < 1.8


@cache
def _chgnet():
    from chgnet.model import CHGNet

    return CHGNet.load(use_device="cpu", verbose=False)


def test_bond_valence_sums_notice_a_wrong_coordinate():
    entry = copy.deepcopy(ENTRIES["LiFePO4"])
    phosphorus = next(site for site in entry["sites"] if site["element"] == "P")
    phosphorus["xyz"][0] += 0.02  # 0.2 Å
    moved = entry_structure(entry)
    assert global_instability_index(moved, entry["oxidation_states"]) > USUAL_GII
