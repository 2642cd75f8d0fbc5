"""Sites by bond valence: by hand, under changes of description, and where ions are known to sit."""

import json
import math

import numpy as np
import pytest
from charged_hosts import ENTRIES, GROWN, charged, full
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from pymatgen.core.operations import SymmOp

from em_model.elements import bond_valence_lengths
from launch.cli import run_command
from stores.documents import BarrierDoc, CandidateDoc, HopDoc
from stores.screen_store import open_store
from workflows.bond_valence import anion_sites, valence_sites
from workflows.filters import Refused
from workflows.hops import distinct_hops
from workflows.hosts import prepare_host
from workflows.insertion import fill_by_bond_valence


def test_the_holes_of_a_cubic_close_packing_by_hand():
    edge = 4.28
    oxygen = Structure.from_spacegroup("Fm-3m", Lattice.cubic(edge), ["O"], [[0, 0, 0]])
    found = valence_sites(oxygen.get_primitive_structure(), "Li")
    length = bond_valence_lengths()[3, 8]

    def by_hand(shells):
        return math.fsum(n * math.exp((length - edge * away) / 0.37) for n, away in shells)

    octahedral = by_hand([(6, 1 / 2), (8, 3**0.5 / 2), (24, 5**0.5 / 2)])
    tetrahedral = by_hand([(4, 3**0.5 / 4), (12, 11**0.5 / 4), (12, 19**0.5 / 4)])
    assert [site.valence for site in found] == pytest.approx(
        [octahedral, tetrahedral, tetrahedral], rel=2e-3
    )
    assert found[0].frac_coords == pytest.approx([0.5, 0.5, 0.5], abs=1e-3)
    assert found[0].mismatch == pytest.approx(abs(octahedral - 1), abs=2e-3)
    assert found[0].cation_ang == math.inf


@pytest.mark.parametrize("name", ["LiCoO2", "LiFePO4", "NaCoO2-O3", "K2SO4", "LiNiPO4", "NaV2O5"])
def test_where_the_sites_are_those_of_the_discharged_host_so_are_the_hops(name):
    ion, empty = charged(name)
    filled = fill_by_bond_valence(empty, ion)
    assert filled.origin["method"] == "bond_valence"
    host, original = prepare_host(filled.structure, ion), prepare_host(full(name), ion)
    assert host.composition == original.composition
    lengths = [hop.length_ang * GROWN for hop in distinct_hops(original, ion).hops]
    assert distinct_hops(host, ion).hops[0].length_ang == pytest.approx(lengths[0], abs=0.15)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("LiMn2O4", 2),  # 8a, and 16c that a discharged spinel fills
        ("MgCr2O4", 2),
        ("NaTi2P3O12", 2),  # Na1 and Na2
        ("LiTiS2", 2),  # octahedral and tetrahedral
        ("ZnMn2O4", 2),
        ("LiTi2P3O12", 2),
    ],
)
def test_known_sites_are_among_those_found(name, kinds):
    ion = ENTRIES[name]["working_ion"]
    host = prepare_host(full(name), ion)
    known = np.array([site.frac_coords for site in host if site.specie.symbol == ion])
    host.remove_species([ion])
    found = valence_sites(host, ion)
    away = host.lattice.get_all_distances(known, [site.frac_coords for site in found]).min(axis=1)
    assert away.max() < 0.05
    assert len({round(site.valence, 2) for site in found}) == kinds


@settings(deadline=None, max_examples=10)
@given(st.data())
def test_sites_do_not_depend_on_the_description(data):
    name = data.draw(st.sampled_from(["LiCoO2", "LiMn2O4", "MgCr2O4", "LiTiS2"]))
    ion = ENTRIES[name]["working_ion"]
    host = prepare_host(full(name), ion)
    host.remove_species([ion])
    expected = [(s.valence, s.cation_ang) for s in valence_sites(host, ion)]
    other = host * data.draw(
        st.sampled_from([(1, 1, 1), (2, 1, 1), [[1, 1, 0], [0, 1, 0], [0, 0, 1]]])
    )
    other.apply_operation(
        SymmOp.from_axis_angle_and_translation((1, 2, 3), data.draw(st.integers(0, 359)))
    )
    other.translate_sites(range(len(other)), data.draw(st.tuples(*[st.floats(-1, 1)] * 3)))
    found = [(s.valence, s.cation_ang) for s in valence_sites(other, ion)]
    assert len(found) == len(expected) * len(other) // len(host)
    for mine, wanted in zip(
        sorted(found)[:: len(other) // len(host)], sorted(expected), strict=True
    ):
        assert mine == pytest.approx(wanted, abs=2e-3)


@pytest.mark.parametrize(
    ("name", "anions"),
    [
        ("K2SO4", {"O"}),
        ("LiTiS2", {"S"}),
        ("Li3PS4-gamma", {"S"}),
        ("LiFePO4", {"O"}),
        ("Li3P", {"P"}),
        ("Li2CO3", {"O"}),
        ("Li3OCl", {"O", "Cl"}),
        ("Na3AlF6", {"F"}),
        ("Li2Te", {"Te"}),
    ],
)
def test_anions_are_told_from_the_cores_of_oxyanions(name, anions):
    host = full(name)
    assert {host[k].specie.symbol for k in anion_sites(host)} == anions
    count = sum(site.specie.symbol in anions for site in host)
    assert len(anion_sites(host)) == count


def test_a_host_that_no_ion_fits_is_refused_with_a_remedy():
    copper = Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.6), ["Cu"], [[0, 0, 0]])
    with pytest.raises(Refused, match=r"no place where its bond-valence sum.*insertion\.sites"):
        fill_by_bond_valence(copper, "Li")
    dense = Structure.from_spacegroup(
        "P6_3/mmc", Lattice.hexagonal(2.5, 4.0), ["O"], [[1 / 3, 2 / 3, 0.25]]
    )
    with pytest.raises(Refused, match="bond-valence"):
        fill_by_bond_valence(dense, "K")
    mixed = Structure(Lattice.cubic(4), [{"Ti": 0.5, "Zr": 0.5}, "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    with pytest.raises(Refused, match="partly occupied"):
        fill_by_bond_valence(mixed, "Li")


def test_a_screen_of_charged_hosts_without_twins(tmp_path, capfd):
    for name in ("LiFePO4", "MgCr2O4"):
        charged(name)[1].to(filename=str(tmp_path / f"{name}.vasp"), fmt="poscar")
    (tmp_path / "screen.yaml").write_text(
        "name: charged\nworking_ion: Mg\ncandidates: {source: files, paths: '*.vasp'}\n"
        "filters: {mode: electrode}\ninsertion: {bond_valence: true}\n"
    )
    assert run_command(["run", str(tmp_path / "screen.yaml"), "--quiet"]) == 0
    capfd.readouterr()
    with open_store(str(tmp_path / "screen.store"), create=False) as store:
        docs = list(store.find(CandidateDoc))
        assert {doc.inserted["method"] for doc in docs} == {"bond_valence"}
        assert {hop.mode for hop in store.find(HopDoc)} == {"dilute"}
        assert {barrier.status for barrier in store.find(BarrierDoc)} == {"done"}
    assert run_command(["rank", "--store", str(tmp_path / "screen.store"), "--format", "json"]) == 0
    assert len(json.loads(capfd.readouterr().out)) == 2


def test_hops_of_one_charged_structure(tmp_path, capfd):
    ion, empty = charged("LiFePO4")
    path = tmp_path / "FePO4.vasp"
    empty.to(filename=str(path), fmt="poscar")
    assert run_command(["hops", str(path), "--ion", ion]) == 2
    assert "or --insert" in capfd.readouterr().err
    assert run_command(["hops", str(path), "--ion", ion, "--insert", "--format", "json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert (told["mode"], told["dimension"], len(told["hops"])) == ("dilute", 1, 1)
