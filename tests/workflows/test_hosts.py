"""Hosts: what is refused and why, and one form for every description of a crystal."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from pymatgen.core.operations import SymmOp

from stores.errors import BadInput
from workflows.hosts import Unfit, prepare_host, read_structure, structure_hash
from workflows.sources.catalogue import load_catalogue

ROCK_SALT = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(4.02), ["Li", "F"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)


@pytest.fixture(scope="module")
def catalogue():
    return {record.material_id: record.structure for record in load_catalogue()}


def refusal(structure, ion="Li", **options):
    with pytest.raises(Unfit) as caught:
        prepare_host(structure, ion, **options)
    assert "\n" not in str(caught.value)
    return caught.value


def test_primitive_cell_with_the_ion_first():
    host = prepare_host(ROCK_SALT, "F")
    assert [site.specie.symbol for site in host] == ["F", "Li"]
    assert host.volume == pytest.approx(ROCK_SALT.volume / 4)


def test_oxidation_states_and_site_properties_are_dropped():
    decorated = ROCK_SALT.copy()
    decorated.add_oxidation_state_by_element({"Li": 1, "F": -1})
    decorated.add_site_property("magmom", [0.0] * len(decorated))
    host = prepare_host(decorated, "Li")
    assert host == prepare_host(ROCK_SALT, "Li")
    assert host.site_properties == {}
    assert {type(specie).__name__ for specie in host.species} == {"Element"}


def test_partial_occupancy_is_refused_with_the_site_named():
    partial = Structure(ROCK_SALT.lattice, ["F", {"Li": 0.7}], [[0, 0, 0], [0.5, 0.5, 0.5]])
    error = refusal(partial)
    assert error.reason == "disordered"
    assert "site 1 (Li:0.7)" in str(error)
    assert "ordered cell" in str(error)


def test_mixed_occupancy_is_refused():
    mixed = Structure(ROCK_SALT.lattice, ["F", {"Li": 0.5, "Na": 0.5}], [[0] * 3, [0.5] * 3])
    assert refusal(mixed).reason == "disordered"


def test_no_working_ion():
    assert refusal(ROCK_SALT, "Mg").reason == "no_working_ion"


def test_unknown_working_ion_is_bad_input():
    with pytest.raises(BadInput, match="'Xx' is no element"):
        prepare_host(ROCK_SALT, "Xx")


def test_duplicate_atoms_are_named():
    twice = ROCK_SALT.copy()
    twice.append("Li", [0.01, 0, 0.995], validate_proximity=False)
    error = refusal(twice)
    assert error.reason == "duplicate_atoms"
    assert "sites 0 (Li) and 8 (Li)" in str(error)


def test_duplicate_across_the_cell_boundary():
    lattice = Lattice.orthorhombic(3, 4, 5)
    twice = Structure(lattice, ["Li", "Li"], [[0.99, 0, 0], [0.01, 0, 0]])
    assert refusal(twice).reason == "duplicate_atoms"


def test_too_large_counts_the_primitive_cell():
    assert len(prepare_host(ROCK_SALT * (2, 2, 2), "Li", max_sites=2)) == 2
    error = refusal(ROCK_SALT, max_sites=1)
    assert error.reason == "too_large"
    assert "2 atoms" in str(error)


def test_dummy_species_are_refused():
    dummy = Structure(ROCK_SALT.lattice, ["Li", "X"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert refusal(dummy).reason == "unknown_species"


def test_coordinates_that_are_no_numbers():
    # spglib would crash the process.
    hollow = Structure(ROCK_SALT.lattice, ["Li", "F"], [[0, 0, np.nan], [0.5, 0.5, 0.5]])
    assert refusal(hollow).reason == "not_finite"


def test_refusals_survive_the_way_between_processes():
    error = pickle.loads(pickle.dumps(Unfit("disordered", "site 3")))
    assert (error.reason, str(error)) == ("disordered", "site 3")


def test_preparing_moves_no_atom_and_is_idempotent(catalogue):
    matcher = StructureMatcher(scale=False, ltol=0.01, stol=0.01, attempt_supercell=False)
    for name in ("LiFePO4", "Li2MnO3", "LiMn2O4", "LiTi2P3O12", "Na3AlF6", "AlPO4-berlinite"):
        structure = catalogue[name]
        ion = structure.composition.elements[0].symbol
        host = prepare_host(structure, ion)
        assert matcher.get_rms_dist(host, structure)[1] < 1e-3
        assert structure_hash(prepare_host(host, ion)) == structure_hash(host)
        assert np.all((host.frac_coords >= 0) & (host.frac_coords < 1))


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_one_hash_for_every_description_of_a_crystal(catalogue, data):
    name = data.draw(st.sampled_from(["LiCoO2", "LiFePO4", "LiTi2P3O12", "Li3N", "MgCr2O4"]))
    ion = "Mg" if name.startswith("Mg") else "Li"
    structure = catalogue[name]
    reference = structure_hash(prepare_host(structure, ion))
    described = structure.copy()
    if data.draw(st.booleans(), label="supercell"):
        described = described * (1, 2, 1)
    described.apply_operation(
        SymmOp.from_axis_angle_and_translation(
            data.draw(st.sampled_from([(0, 0, 1), (1, 1, 0), (1, 2, 3)])),
            data.draw(st.integers(0, 359)),
        )
    )
    shift = data.draw(st.tuples(*[st.floats(-1, 1)] * 3), label="origin")
    described.translate_sites(range(len(described)), shift)
    random = data.draw(st.randoms(use_true_random=False))
    order = random.sample(range(len(described)), len(described))
    described = Structure.from_sites([described[i] for i in order])
    assert structure_hash(prepare_host(described, ion)) == reference


def test_hash_tells_different_hosts_apart(catalogue):
    hashes = {
        structure_hash(prepare_host(s, s.composition.elements[0].symbol))
        for s in catalogue.values()
    }
    assert len(hashes) == len(catalogue)


@pytest.mark.parametrize("name", ["host.cif", "POSCAR", "host.vasp", "host.json", "host.extxyz"])
def test_read_structure(tmp_path, name):
    path = tmp_path / name
    if name.endswith("extxyz"):
        ROCK_SALT.to_ase_atoms().write(path)
    else:
        ROCK_SALT.to(str(path))
    read = read_structure(path)
    assert read.composition == ROCK_SALT.composition
    assert read.volume == pytest.approx(ROCK_SALT.volume, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.cif", ""),
        ("words.cif", "this is no CIF\n"),
        ("cut.cif", ROCK_SALT.to(fmt="cif")[:300]),
        ("POSCAR", "comment\n1.0\n1 0 0\n"),
        ("words.json", "{not json"),
        ("other.json", json.dumps({"a": 1})),
        ("molecule.xyz", "1\n\nLi 0 0 0\n"),
        ("unknown.abc", "?"),
        ("bytes.cif", "\udcff\udcfe"),
    ],
)
def test_bad_files_are_one_line_with_the_file_and_a_remedy(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(BadInput) as caught:
        read_structure(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert "give a" in message or "mend" in message


def test_missing_file(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        read_structure(tmp_path / "nowhere.cif")
