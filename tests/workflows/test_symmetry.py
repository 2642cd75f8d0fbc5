"""Operations beside spglib's, one by one."""

from __future__ import annotations

import numpy as np
import pytest
import spglib
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from workflows.hosts import prepare_host
from workflows.sources.catalogue import catalogue_entries, entry_structure
from workflows.symmetry import find_operations, lattice_rotations

ENTRIES = {entry["id"]: entry for entry in catalogue_entries()}


def numbers(structure):
    return np.array([site.specie.Z for site in structure])


def same_as_spglib(structure):
    matrix, coords, kinds = structure.lattice.matrix, structure.frac_coords, numbers(structure)
    found = find_operations(matrix, coords, kinds, 0.01)
    dataset = spglib.get_symmetry_dataset((matrix, coords, kinds), symprec=0.01)
    if len(found.rotations) != len(dataset.rotations):
        return False
    for rotation, translation in zip(dataset.rotations, dataset.translations, strict=True):
        away = found.translations - translation
        away -= np.round(away)
        near = np.linalg.norm(away @ matrix, axis=1) < 0.03
        if np.count_nonzero(near & (found.rotations == rotation).all(axis=(1, 2))) != 1:
            return False
    return True


def host_of(name):
    return prepare_host(entry_structure(ENTRIES[name]), ENTRIES[name]["working_ion"])


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_same_operations_as_spglib_on_the_catalogue(name):
    assert same_as_spglib(host_of(name))


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_same_operations_as_spglib_in_any_basis(data):
    structure = host_of(data.draw(st.sampled_from(["LiCoO2", "Li3N", "CaO", "Li2CO3", "AlN"])))
    basis = data.draw(
        st.sampled_from(
            [
                [[1, 0, 0], [1, 1, 0], [0, 0, 1]],
                [[1, 2, 0], [0, 1, 0], [1, 0, 1]],
                [[2, 0, 0], [0, 1, 0], [0, 0, 1]],
                [[0, 1, 0], [0, 0, 1], [1, 0, 0]],
            ]
        )
    )
    structure = structure.make_supercell(basis, in_place=False, to_unit_cell=True)
    shift = data.draw(st.tuples(*[st.integers(0, 999)] * 3))
    structure.translate_sites(range(len(structure)), np.array(shift) / 1000)
    noise = data.draw(st.sampled_from([0.0, 0.0005, 0.001]))
    if noise:
        structure.perturb(noise, seed=data.draw(st.integers(0, 1000)))
    assert same_as_spglib(structure)


def test_images_are_where_the_operations_take_the_atoms():
    host = host_of("LiFePO4")
    found = find_operations(host.lattice.matrix, host.frac_coords, numbers(host), 0.01)
    for rotation, translation, images in zip(
        found.rotations, found.translations, found.images, strict=True
    ):
        away = host.frac_coords @ rotation.T + translation - host.frac_coords[images]
        assert np.abs((away - np.round(away)) @ host.lattice.matrix).max() < 0.01
        assert [host[k].specie for k in images] == host.species


@pytest.mark.parametrize(
    ("lattice", "order"),
    [
        (Lattice.cubic(4.0), 48),
        (Lattice([[0, 2, 2], [2, 0, 2], [2, 2, 0]]), 48),
        (Lattice.hexagonal(3.0, 5.0), 24),
        (Lattice.rhombohedral(5.0, 33.0), 12),
        (Lattice.tetragonal(4.0, 5.0), 16),
        (Lattice.orthorhombic(3.0, 4.0, 5.0), 8),
        (Lattice.monoclinic(3.0, 4.0, 5.0, 101), 4),
        (Lattice.from_parameters(3.0, 4.0, 5.0, 80, 95, 103), 2),
    ],
)
def test_orders_of_the_lattice_groups(lattice, order):
    assert len(lattice_rotations(lattice.matrix, 0.01)) == order
    skewed = np.array([[1, 2, 0], [0, 1, 3], [0, 0, 1]]) @ lattice.matrix
    assert len(lattice_rotations(skewed, 0.01)) == order


def test_crystal_with_less_symmetry_than_its_lattice():
    structure = Structure(Lattice.cubic(4.0), ["Li", "O", "F"], [[0] * 3, [0.3, 0, 0], [0, 0.4, 0]])
    found = find_operations(
        structure.lattice.matrix, structure.frac_coords, numbers(structure), 0.01
    )
    assert len(found.rotations) == 2
