from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from em_model.data import Band, Crystal
from em_model.graphs import (
    GraphSettings,
    band_graph,
    batches_by_budget,
    collate,
    crystal_graph,
)

SETTINGS = GraphSettings()


def brute_force(lattice, centres, targets, cutoff):
    """Sorted (distance, target) of every periodic image within ``cutoff``, itself excluded."""
    reach = int(np.ceil(cutoff / np.linalg.svd(lattice)[1].min())) + 1
    shifts = np.array(list(np.ndindex(*(2 * reach + 1,) * 3))) - reach
    found = []
    for centre in centres:
        vectors = targets[None] + (shifts @ lattice)[:, None] - centre
        distance = np.linalg.norm(vectors, axis=2)
        cell, atom = np.nonzero((distance < cutoff) & (distance > 1e-6))
        found.append(sorted(zip(distance[cell, atom], atom, strict=True)))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_bonds_are_the_nearest_of_all_images(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 9))
    lattice = rng.normal(size=(3, 3)) + 4 * np.eye(3) * rng.uniform(0.6, 1.6)
    frac = rng.uniform(-1, 2, size=(n, 3))
    crystal = Crystal("c", "phonon_peak", 0.0, "train", lattice, ("Fe",) * n, frac)
    graph = crystal_graph(crystal, SETTINGS)
    cart = frac @ lattice
    for row, wanted in enumerate(brute_force(lattice, cart, cart, SETTINGS.cutoff_ang)):
        # What ties with the first neighbour left out has no weight, whichever came first.
        horizon = wanted[SETTINGS.neighbours][0]
        expected = {
            (round(d, 4), j) for d, j in wanted[: SETTINGS.neighbours] if d < horizon - 1e-6
        }
        kept = np.flatnonzero(graph.weight[row] > 1e-5)
        found = {
            (round(float(graph.distance[row, s]), 4), int(graph.neighbour[row, s])) for s in kept
        }
        assert found == expected


def test_weight_is_zero_at_the_first_neighbour_left_out(band):
    graph = band_graph(band, SETTINGS)
    cart = band.frac_coords @ band.lattice
    host = band.host_sites
    wanted = brute_force(band.lattice, band.path_cart, cart[host], SETTINGS.cutoff_ang)
    for row in range(5):
        horizon = wanted[row][SETTINGS.neighbours][0]
        distance = np.array([d for d, _ in wanted[row][: SETTINGS.neighbours]])
        expected = 1 - (distance / horizon) ** 6
        inside = graph.weight[row, : SETTINGS.neighbours] > 0
        np.testing.assert_allclose(
            graph.weight[row, : SETTINGS.neighbours][inside], expected[inside], atol=1e-4
        )


def test_angles_are_between_the_shortest_bonds(band):
    graph = band_graph(band, SETTINGS)
    m = SETTINGS.angle_bonds
    assert graph.direction.shape == (graph.num_nodes, m, 3)
    length = np.linalg.norm(graph.direction, axis=2)
    np.testing.assert_allclose(length[graph.angle_weight > 0], 1.0, atol=1e-5)
    assert not (graph.angle_weight[graph.distance[:, :m] >= SETTINGS.angle_cutoff_ang] > 0).any()


def test_crop_keeps_every_atom_near_the_path_and_changes_no_bond(band):
    whole = band_graph(band, replace(SETTINGS, crop_ang=50.0))
    small = band_graph(band, SETTINGS)
    assert whole.num_nodes == len(band.species)
    cart = band.frac_coords @ band.lattice
    host = band.host_sites
    near = brute_force(band.lattice, band.path_cart, cart[host], SETTINGS.crop_ang)
    kept = sorted({atom for row in near for _, atom in row})
    assert small.num_nodes == 5 + len(kept) < whole.num_nodes
    nodes = [0, 1, 2, 3, 4, *(5 + k for k in kept)]
    inside = np.isin(whole.neighbour[nodes], nodes)
    np.testing.assert_allclose(small.weight, whole.weight[nodes] * inside, atol=1e-6)
    back = {node: i for i, node in enumerate(nodes)}
    for i, node in enumerate(nodes):
        for slot in np.flatnonzero(small.weight[i] > 0):
            assert small.neighbour[i, slot] == back[whole.neighbour[node, slot]]
            assert small.distance[i, slot] == whole.distance[node, slot]


def test_sites_of_the_path_are_alike_from_both_ends(band):
    graph = band_graph(band, SETTINGS)
    back = band_graph(band.reversed(), SETTINGS)
    np.testing.assert_allclose(graph.distance[:5, :12][::-1], back.distance[:5, :12], atol=1e-5)


def test_a_band_needs_five_sites(band):
    two = Band(**{**band.__dict__, "band_sites": (0, 4)})
    with pytest.raises(ValueError, match="need 5"):
        band_graph(two, SETTINGS)


def test_sparse_cells_have_empty_slots_not_errors():
    lattice = 30.0 * np.eye(3)
    crystal = Crystal("c", "phonon_peak", 0.0, "train", lattice, ("H",), np.zeros((1, 3)))
    assert not crystal_graph(crystal, SETTINGS).weight.any()


def test_collate_shifts_indices(many_bands):
    graphs = [band_graph(b, SETTINGS) for b in many_bands[:3]]
    batch = collate(graphs)
    start = int(batch.start[2])
    assert batch.num_graphs == 3
    assert (batch.neighbour[start:].numpy() - start == graphs[2].neighbour).all()
    assert batch.owner.tolist() == [k for k, g in enumerate(graphs) for _ in range(g.num_nodes)]


def test_budget_bounds_every_run():
    sizes = [10, 500, 20, 30, 40, 2000, 5]
    runs = batches_by_budget(sizes, 100, most=3)
    assert sorted(i for run in runs for i in run) == list(range(7))
    for run in runs:
        assert len(run) == 1 or sum(sizes[i] for i in run) <= 100
        assert len(run) <= 3
