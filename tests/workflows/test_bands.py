"""Bands and end points: the published supercells, and what must hold in every one."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from em_model.data import Band
from workflows.bands import (
    SupercellRecipe,
    build_band,
    build_endpoints,
    find_supercell,
    supercell_size,
)
from workflows.hops import distinct_hops, hops_within
from workflows.hosts import Unfit, prepare_host
from workflows.sources.catalogue import catalogue_entries, entry_structure

ENTRIES = {entry["id"]: entry for entry in catalogue_entries()}
SOME = ("LiCoO2", "LiFePO4", "Li2MnO3", "LiTi2P3O12", "Li3N", "MgCr2O4", "CaV2O5", "NaAl11O17")
MINIMAL = SupercellRecipe(min_length_ang=5.0, min_height_ang=3.0, min_atoms=0, minimal=True)


def host_of(name):
    entry = ENTRIES[name]
    return prepare_host(entry_structure(entry), entry["working_ion"]), entry["working_ion"]


@pytest.mark.parametrize(
    ("name", "atoms"),
    [
        ("LiFePO4", 115),
        ("MgCr2O4", 59),
        ("CaV2O5", 99),
        ("Li2MnO3", 99),
        ("Li7La3Zr2O12-t", 195),
        ("LiTi2P3O12", 111),
        ("NaTi2P3O12", 111),
    ],
)
def test_atom_counts_of_the_published_bands(name, atoms):
    host, ion = host_of(name)
    for hop in distinct_hops(host, ion).hops:
        assert len(build_band(host, hop).species) == atoms


def nearest_image(vector, lattice):
    """Length of the shortest lattice translate of a vector, by looking at many."""
    steps = np.array(list(product(range(-3, 4), repeat=3))) @ lattice
    return np.linalg.norm(vector + steps, axis=1).min()


@pytest.mark.parametrize("recipe", [SupercellRecipe(), MINIMAL], ids=["standard", "minimal"])
@pytest.mark.parametrize("name", SOME)
def test_every_band_is_sound(name, recipe):
    host, ion = host_of(name)
    ions = sum(site.specie.symbol == ion for site in host)
    for hop, mode in product(distinct_hops(host, ion, dimension=2).hops, ("vacancy", "dilute")):
        band = build_band(host, hop, recipe, mode)
        assert isinstance(band, Band)
        assert band.working_ion == ion
        assert set(band.species[:5]) == {ion}
        # Five collinear, evenly spaced sites, unwrapped.
        steps = np.diff(band.path_cart, axis=0)
        assert np.allclose(steps, steps[0])
        assert band.length_ang == pytest.approx(hop.length_ang, abs=1e-3)
        assert nearest_image(steps.sum(axis=0), band.lattice) == pytest.approx(
            hop.length_ang, abs=2e-3
        )
        # Composition: the host without the two end ions, or without any.
        cells = round(abs(np.linalg.det(band.lattice)) / host.volume)
        others = [s for s in band.species[5:] if s == ion]
        assert len(others) == (cells * ions - 2 if mode == "vacancy" else 0)
        assert len(band.species) - 5 - len(others) == cells * (len(host) - ions)
        # Nothing sits at either end, and no two atoms of the host coincide.
        rest = Structure(Lattice(band.lattice), band.species[5:], band.frac_coords[5:])
        assert rest.is_valid(0.8)
        assert np.all((rest.frac_coords >= 0) & (rest.frac_coords < 1))
        for end in (band.path_cart[0], band.path_cart[-1]):
            assert rest.get_sites_in_sphere(end, 0.8) == []


@pytest.mark.parametrize("name", SOME)
def test_filling_an_end_gives_back_the_host(name):
    """The environment of the ion at either end is that of its site in the host."""
    host, ion = host_of(name)
    hop = distinct_hops(host, ion).hops[0]
    initial, final = build_endpoints(host, hop, SupercellRecipe())
    for structure, site, other in ((initial, hop.sites[0], final), (final, hop.sites[1], initial)):
        expected = sorted(
            (round(n.nn_distance, 3), n.specie.symbol) for n in host.get_neighbors(host[site], 3.5)
        )
        full = Structure.from_sites([*structure, other[0].to_unit_cell()])
        found = sorted(
            (round(n.nn_distance, 3), n.specie.symbol) for n in full.get_neighbors(full[0], 3.5)
        )
        assert [s for _, s in found] == [s for _, s in expected]
        assert np.allclose([d for d, _ in found], [d for d, _ in expected], atol=2e-3)


@pytest.mark.parametrize("mode", ["vacancy", "dilute"])
@pytest.mark.parametrize("name", SOME)
def test_end_points_differ_in_the_moving_ion_alone(name, mode):
    host, ion = host_of(name)
    hop = distinct_hops(host, ion).hops[0]
    initial, final = build_endpoints(host, hop, SupercellRecipe(), mode)
    band = build_band(host, hop, SupercellRecipe(), mode)
    assert initial.lattice == final.lattice
    assert initial.species == final.species
    assert initial[0].specie.symbol == ion
    assert np.array_equal(initial.frac_coords[1:], final.frac_coords[1:])
    assert np.allclose([initial[0].coords, final[0].coords], band.path_cart[[0, -1]])
    assert len(initial) == len(band.species) - 4
    assert len(initial) == supercell_size(host, hop, SupercellRecipe(), mode)


def test_images_are_counted_between_the_ends():
    host, ion = host_of("LiCoO2")
    band = build_band(host, distinct_hops(host, ion).hops[0], images=5)
    assert band.band_sites == tuple(range(7))


def test_hop_onto_the_own_image_ends_on_two_sites():
    host, ion = host_of("LiCoO2")
    hop = distinct_hops(host, ion).hops[0]
    assert hop.sites == (0, 0)
    initial, final = build_endpoints(host, hop, MINIMAL)
    assert nearest_image(final[0].coords - initial[0].coords, initial.lattice.matrix) > 2.5
    assert len(initial) % len(host) == len(host) - 1


@pytest.mark.parametrize("number", [0, 1])
def test_no_smaller_supercell_would_do(number):
    lattice = [Lattice.from_parameters(3.6, 4.4, 4.9, 95, 100, 98), Lattice.cubic(3.9)][number]
    host = prepare_host(Structure(lattice, ["Li", "O"], [[0, 0, 0], [0.46, 0.51, 0.55]]), "Li")
    recipe = SupercellRecipe(min_length_ang=5.5, min_height_ang=0.0, min_atoms=0, minimal=True)
    shapes = np.random.default_rng(0).integers(-2, 3, size=(4000, 3, 3))
    sizes = np.round(np.abs(np.linalg.det(shapes)))
    for hop in hops_within(host, "Li", 4.5).hops[:2]:
        step = np.array(hop.translation) @ host.lattice.matrix

        def holds(shape, step=step, length=hop.length_ang):
            vectors = Lattice(shape @ host.lattice.matrix).get_lll_reduced_lattice().matrix
            images = np.array([v for v in product(range(-3, 4), repeat=3) if any(v)]) @ vectors
            return (
                np.linalg.norm(images, axis=1).min() >= 5.5
                and np.linalg.norm(step + images, axis=1).min() >= length - 1e-3
            )

        found = find_supercell(host, hop, recipe)
        assert holds(found)
        smaller = shapes[(sizes > 0) & (sizes < round(abs(np.linalg.det(found))))]
        assert len(smaller) > 100
        assert not any(holds(shape) for shape in smaller[:300])


def test_a_hop_longer_than_half_a_supercell_takes_a_larger_one():
    host = prepare_host(
        Structure.from_spacegroup("Pm-3m", Lattice.cubic(4.0), ["Li", "O"], [[0] * 3, [0.5] * 3]),
        "Li",
    )
    recipe = SupercellRecipe(min_length_ang=4.0, min_height_ang=4.0, min_atoms=1)
    short = next(h for h in hops_within(host, "Li", 4.1).hops)
    assert np.linalg.det(find_supercell(host, short, recipe)) == pytest.approx(2)
    long = next(h for h in hops_within(host, "Li", 8.1).hops if h.length_ang > 7.9)
    shape = find_supercell(host, long, recipe)
    assert np.linalg.det(shape) > 2
    step = np.array(long.translation) @ host.lattice.matrix
    assert nearest_image(step, shape @ host.lattice.matrix) == pytest.approx(8.0)


def test_a_flat_supercell_stands_in_for_one_that_is_too_large():
    host, ion = host_of("NaAl11O17")
    hop = distinct_hops(host, ion).hops[0]
    # 2 × 2 × 1 has 232 atoms, √3 × √3 × 1 has 174.
    assert supercell_size(host, hop, SupercellRecipe()) == 173
    lengths = Lattice(find_supercell(host, hop, SupercellRecipe()) @ host.lattice.matrix).abc
    assert min(lengths) >= 8.0


def test_no_supercell_within_the_bounds():
    host, ion = host_of("NaAl11O17")
    hop = distinct_hops(host, ion).hops[0]
    recipe = SupercellRecipe(max_atoms=100)
    assert supercell_size(host, hop, recipe) is None
    with pytest.raises(Unfit, match="raise max_atoms") as caught:
        build_band(host, hop, recipe)
    assert caught.value.reason == "no_supercell"


def test_recipe_goes_into_settings():
    assert SupercellRecipe().as_dict() == {
        "min_length_ang": 8.0,
        "min_height_ang": 7.0,
        "min_atoms": 40,
        "max_atoms": 200,
        "minimal": False,
    }
