"""Distinct hops: against MigrationGraph, against brute force, and under changes of description."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.diffusion.neb.full_path_mapper import MigrationGraph
from pymatgen.core import Lattice, Structure
from pymatgen.core.operations import SymmOp
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from stores.documents import CandidateDoc, Provenance
from stores.network import reached_dimension
from workflows.hops import Hop, distinct_hops, hop_id, hops_within, to_doc
from workflows.hosts import Unfit, prepare_host, structure_hash
from workflows.sources.catalogue import catalogue_entries, entry_structure

ENTRIES = {entry["id"]: entry for entry in catalogue_entries()}
QUICK = (
    "LiCoO2", "LiFePO4", "LiMn2O4", "LiTiS2", "Li3N", "LiTi2P3O12", "Li3OCl",
    "NaCoO2-O3", "MgCr2O4", "CaV2O5", "K2NiF4", "AlPO4-berlinite",
)  # fmt: skip

LEFT_TO_THE_BENCHMARK = ("Li7La3Zr2O12-t", "Mg3N2", "Ca3N2")
"""MigrationGraph needs from ten seconds to a minute for each."""


def host_of(name):
    entry = ENTRIES[name]
    return prepare_host(entry_structure(entry), entry["working_ion"]), entry["working_ion"]


def canonical(i, j, a, b, c):
    return min((i, j, a, b, c), (j, i, -a, -b, -c)) if i != j else (
        i, j, *max((a, b, c), (-a, -b, -c))
    )  # fmt: skip


def migration_graph_orbits(host, ion, cutoff):
    """Edges of each hop label, in the numbering of the host, whose ions come first."""
    graph = MigrationGraph.with_distance(host, ion, cutoff, symprec=0.01)
    orbits = {}
    for i, j, data in graph.m_graph.graph.edges(data=True):
        edge = canonical(i, j, *(int(x) for x in data["to_jimage"]))
        orbits.setdefault(data["hop_label"], set()).add(edge)
    return {frozenset(edges) for edges in orbits.values()}


def our_orbits(host, ion, cutoff):
    return {
        frozenset(canonical(*e) for e in hop.edges) for hop in hops_within(host, ion, cutoff).hops
    }


@pytest.mark.parametrize("name", QUICK)
def test_same_orbits_as_migration_graph(name):
    host, ion = host_of(name)
    assert our_orbits(host, ion, 4.5) == migration_graph_orbits(host, ion, 4.5)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(ENTRIES) - set(QUICK) - set(LEFT_TO_THE_BENCHMARK)))
def test_same_orbits_as_migration_graph_on_the_whole_catalogue(name):
    host, ion = host_of(name)
    assert our_orbits(host, ion, 4.5) == migration_graph_orbits(host, ion, 4.5)


def surroundings(host, edge):
    """Distances to the nearest atoms of each element from the quarter points of a path."""
    i, j, *step = edge
    ends = host.lattice.get_cartesian_coords([host.frac_coords[i], host.frac_coords[j] + step])
    rows = []
    for fraction in (0.25, 0.5, 0.75):
        near = host.get_sites_in_sphere(ends[0] + fraction * (ends[1] - ends[0]), 8.0)
        for element in sorted({site.specie.symbol for site in host}):
            rows.append(sorted(n.nn_distance for n in near if n.specie.symbol == element)[:12])
    return np.array(rows).reshape(3, -1)


def test_a_pair_of_hops_that_migration_graph_takes_for_one():
    host, ion = host_of("Li2MnO3")
    mine, other = our_orbits(host, ion, 6.0), migration_graph_orbits(host, ion, 6.0)
    (merged,) = other - mine
    parts = sorted(mine - other, key=min)
    assert merged == frozenset.union(*parts)
    assert len(parts) == 2
    one, two = (surroundings(host, min(part)) for part in parts)
    # No symmetry, which keeps distances, turns one into the other in either direction.
    assert min(np.abs(one - two).max(), np.abs(one - two[::-1]).max()) > 0.1


def brute_force_orbits(host, ion, cutoff):
    """Orbits by moving every hop's end points with every operation, in Cartesian space."""
    ions = [k for k, site in enumerate(host) if site.specie.symbol == ion]
    coords = host.frac_coords
    edges = set()
    reach = range(-6, 7)
    for i, j in product(ions, ions):
        for step in product(reach, reach, reach):
            length = np.linalg.norm((coords[j] + step - coords[i]) @ host.lattice.matrix)
            if 1e-6 < length <= cutoff:
                edges.add(canonical(i, j, *step))
    operations = SpacegroupAnalyzer(host, symprec=0.01).get_symmetry_operations(cartesian=True)
    inverse = np.linalg.inv(host.lattice.matrix)

    def site_at(cartesian):
        frac = cartesian @ inverse
        for k in ions:
            away = frac - coords[k]
            if np.abs((away - np.round(away)) @ host.lattice.matrix).max() < 0.03:
                return k, np.round(away).astype(int)
        raise AssertionError("an operation moves an ion off the ions' sites")

    orbits = []
    left = set(edges)
    while left:
        i, j, *step = min(left)
        ends = host.lattice.get_cartesian_coords([coords[i], coords[j] + step])
        orbit = set()
        for operation in operations:
            (k, at_k), (m, at_m) = map(site_at, operation.operate_multi(ends))
            orbit.add(canonical(k, m, *(int(x) for x in at_m - at_k)))
        assert orbit <= edges
        orbits.append(frozenset(orbit))
        left -= orbit
    return orbits


SMALL = {
    "triclinic": (1, Lattice.from_parameters(3.1, 3.4, 4.2, 80, 95, 103), [[0.1, 0.2, 0.3]]),
    "monoclinic": (14, Lattice.from_parameters(3.9, 4.4, 5.1, 90, 101, 90), [[0.21, 0.13, 0.37]]),
    "orthorhombic": (62, Lattice.orthorhombic(4.3, 5.2, 4.9), [[0.11, 0.25, 0.33]]),
    "screw axes": (19, Lattice.orthorhombic(4.3, 4.9, 5.4), [[0.1, 0.2, 0.35]]),
    "trigonal": (166, Lattice.hexagonal(2.82, 14.05), [[0, 0, 0.5]]),
    "hexagonal, own images": (194, Lattice.hexagonal(3.1, 5.0), [[1 / 3, 2 / 3, 0.25]]),
    "tetragonal": (141, Lattice.tetragonal(4.1, 6.2), [[0, 0, 0]]),
    "perovskite": (221, Lattice.cubic(3.9), [[0, 0.5, 0.5]]),
    "diamond": (227, Lattice.cubic(8.25), [[0, 0, 0]]),
    "garnet-like": (199, Lattice.cubic(5.3), [[0.08, 0.08, 0.08]]),
}


def crystal_of(number, lattice, ions):
    """Add another element in a general position, so that the symmetry is that of the group."""
    random = np.random.default_rng(0)
    while True:
        coords = [*ions, random.random(3)]
        species = ["Li"] * len(ions) + ["O"]
        crystal = Structure.from_spacegroup(number, lattice, species, coords, tol=1e-3)
        if crystal.is_valid(0.6):
            return crystal


@pytest.mark.parametrize("name", SMALL)
def test_brute_force_on_small_cells(name):
    crystal = crystal_of(*SMALL[name])
    assert SpacegroupAnalyzer(crystal).get_space_group_number() == SMALL[name][0]
    host = prepare_host(crystal, "Li")
    for cutoff in (4.0, 5.5):
        expected = brute_force_orbits(host, "Li", cutoff)
        found = [
            frozenset(canonical(*e) for e in h.edges) for h in hops_within(host, "Li", cutoff).hops
        ]
        assert len(found) == len(set(found)), "an orbit is listed twice"
        assert set(found) == set(expected)


def signature(host, ion, cutoff):
    hops = hops_within(host, ion, cutoff).hops
    return [(round(h.length_ang, 2), h.multiplicity) for h in hops]


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_hops_do_not_depend_on_the_description(data):
    name = data.draw(st.sampled_from(["LiCoO2", "LiFePO4", "LiTi2P3O12", "Li3N", "MgCr2O4"]))
    host, ion = host_of(name)
    cutoff = 6.4 if name == "LiTi2P3O12" else 4.6
    expected = signature(host, ion, cutoff)
    other = host.copy()
    cell = data.draw(st.sampled_from(["primitive", "conventional", "supercell", "skewed"]))
    if cell == "conventional":
        other = SpacegroupAnalyzer(other).get_conventional_standard_structure()
    elif cell == "supercell":
        other = other * data.draw(st.sampled_from([(2, 1, 1), (1, 2, 1), (1, 1, 2)]))
    elif cell == "skewed":
        other = other * [[1, 1, 0], [0, 1, 0], [1, 0, 1]]
    axis = data.draw(st.sampled_from([(0, 0, 1), (1, 1, 0), (1, 2, 3)]))
    angle = data.draw(st.integers(0, 359))
    other.apply_operation(SymmOp.from_axis_angle_and_translation(axis, angle))
    shift = data.draw(st.tuples(*[st.floats(-1, 1)] * 3))
    other.translate_sites(range(len(other)), shift)
    random = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    other = Structure.from_sites([other[k] for k in random.permutation(len(other))])
    noise = data.draw(st.sampled_from([0.0, 0.0005, 0.001]), label="noise")
    if noise:
        other.perturb(noise, seed=random)
    assert signature(prepare_host(other, ion), ion, cutoff) == expected


@settings(deadline=None, max_examples=20)
@given(st.data())
def test_orbits_do_not_depend_on_site_order(data):
    host, ion = host_of(data.draw(st.sampled_from(["LiFePO4", "Li3N", "K2NiF4", "Li2MnO3"])))
    order = data.draw(st.permutations(range(len(host))))
    shuffled = Structure.from_sites([host[k] for k in order])
    back = {
        frozenset(canonical(order[i], order[j], a, b, c) for i, j, a, b, c in hop.edges)
        for hop in hops_within(shuffled, ion, 4.0).hops
    }
    assert back == our_orbits(host, ion, 4.0)


@pytest.mark.parametrize("name", QUICK)
def test_lengths_edges_and_dimensions_are_what_they_say(name):
    host, ion = host_of(name)
    found = distinct_hops(host, ion, dimension=3)
    opened = []
    for hop in found.hops:
        for i, j, *step in hop.edges:
            vector = host.frac_coords[j] + step - host.frac_coords[i]
            length = np.linalg.norm(vector @ host.lattice.matrix)
            assert length == pytest.approx(hop.length_ang, abs=1e-3)
        assert hop.multiplicity == len(set(hop.edges))
        assert (*hop.sites, *hop.translation) == min(hop.edges)
        opened += hop.edges
        assert hop.dimension == reached_dimension(opened)
    assert found.dimension == hop.dimension
    assert [h.length_ang for h in found.hops] == sorted(h.length_ang for h in found.hops)


@pytest.mark.parametrize(
    ("name", "dimension", "count", "longest", "reached"),
    [
        ("LiFePO4", 1, 1, 3.005, 1),  # the channel along b
        ("LiFePO4", 3, 4, 5.67, 3),
        ("LiCoO2", 1, 1, 2.816, 2),  # the layer
        ("LiTi2P3O12", 1, 1, 6.02, 3),  # no hop below 6 Å
        ("NaAl11O17", 3, 1, 5.594, 2),  # conducts in its plane alone
        ("MgCr2O4", 1, 1, 3.608, 3),
    ],
)
def test_smallest_percolating_cutoff(name, dimension, count, longest, reached):
    found = distinct_hops(*host_of(name), dimension=dimension)
    assert len(found.hops) == count
    assert found.hops[-1].length_ang == pytest.approx(longest, abs=0.01)
    assert found.dimension == reached
    below = hops_within(*host_of(name), found.hops[-1].length_ang - 0.06)
    assert below.dimension < max(reached, dimension)


def test_sites_that_do_not_percolate():
    lattice = Lattice.cubic(20.0)
    pair = Structure(lattice, ["Li", "Li", "O"], [[0, 0, 0], [0.15, 0, 0], [0.5, 0.5, 0.45]])
    found = distinct_hops(pair, "Li")
    assert [h.length_ang for h in found.hops] == pytest.approx([3.0])
    assert found.dimension == 0
    assert found.cutoff_ang == 6.5
    lone = Structure(lattice, ["Li", "O"], [[0, 0, 0], [0.5, 0.5, 0.45]])
    assert distinct_hops(lone, "Li").hops == ()
    assert distinct_hops(lone, "Li").dimension == 0


def test_hop_of_an_ion_onto_its_own_image():
    chain = Structure(
        Lattice.orthorhombic(3.0, 9.0, 10.0), ["Li", "O"], [[0, 0, 0], [0.4, 0.31, 0.23]]
    )
    (hop,) = distinct_hops(chain, "Li").hops
    assert hop.sites == (0, 0)
    assert hop.translation == (1, 0, 0)
    assert (hop.multiplicity, hop.dimension) == (1, 1)


def test_host_without_the_ion():
    host, _ = host_of("LiCoO2")
    with pytest.raises(Unfit, match="has no Na"):
        distinct_hops(host, "Na")


def test_equal_lengths_around_the_cutoff_are_not_cut_in_two():
    host, ion = host_of("LiCoO2")
    stretched = host.copy()
    stretched.perturb(0.002, seed=1)
    length = hops_within(stretched, ion, 3.0).hops[0].length_ang
    for cutoff in np.linspace(length - 0.003, length + 0.003, 13):
        for hop in hops_within(stretched, ion, float(cutoff)).hops:
            assert hop.multiplicity == 3


def provenance():
    return Provenance(versions={"hopscreen": "test"}, created_at=datetime(2026, 1, 1, tzinfo=UTC))


def candidate(name, **changes):
    host, ion = host_of(name)
    fields = {
        "candidate_id": f"{name}:{ion}",
        "material_id": name,
        "source": "catalogue",
        "formula": host.composition.reduced_formula,
        "working_ion": ion,
        "structure": host.as_dict(),
        "structure_hash": structure_hash(host),
        "provenance": provenance(),
    }
    return CandidateDoc(**{**fields, **changes})


def test_document_and_back():
    host, ion = host_of("LiFePO4")
    doc = candidate("LiFePO4")
    for hop in distinct_hops(host, ion, dimension=3).hops:
        hop_doc = to_doc(hop, doc, "vacancy", provenance())
        assert Hop.from_doc(type(hop_doc).model_validate_json(hop_doc.model_dump_json())) == hop
        assert hop_doc.hop_id == hop_id(doc.candidate_id, structure_hash(host), hop, "vacancy")
        assert hop_doc.hop_id != hop_id(doc.candidate_id, structure_hash(host), hop, "dilute")
        assert hop_doc.hop_id != hop_id("other:Li", structure_hash(host), hop, "vacancy")
