"""Edge for edge against the functions of jarvis-tools that the published models were fed by."""

import time

import numpy as np
import pytest
import torch
from alignn.graphs import build_undirected_edgedata, nearest_neighbor_edges
from jarvis.core.atoms import Atoms
from jarvis.core.specie import get_node_attributes

from em_model.paper.jarvis_graph import band_graph, cgcnn_table, collate, knn_graph

from .conftest import rocksalt_band

CRYSTALS = {
    "fcc, one atom: all neighbours are its own images": (
        np.array([[0, 2, 2], [2, 0, 2], [2, 2, 0]]),
        [[0, 0, 0]],
    ),
    "bcc": (np.eye(3) * 2.87, [[0, 0, 0], [0.5, 0.5, 0.5]]),
    "lattice that rounding at five decimals changes": (
        np.array([[3.1234567, 0, 0], [-1.5617283, 2.7049928, 0], [0, 0, 5.0000049]]),
        [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]],
    ),
    "sparse cell: the radius has to grow": (np.diag([3.0, 25.0, 28.0]), [[0, 0, 0], [0.5, 0.1, 0]]),
    "unwrapped sites": (np.eye(3) * 6.5, [[-0.4, 0.1, 0.2], [1.3, 0.6, 0.7], [0.5, 2.2, 0.4]]),
    "sites closer than the tolerance": (np.eye(3) * 5, [[0, 0, 0], [0.02, 0, 0], [0.5, 0.5, 0.5]]),
}


def original(lattice, species, frac, cutoff):
    atoms = Atoms(lattice_mat=lattice, coords=frac, elements=list(species), cartesian=False)
    edges, _ = nearest_neighbor_edges(
        atoms=atoms, cutoff=cutoff, max_neighbors=12, use_canonize=True
    )
    u, v, r, _ = build_undirected_edgedata(atoms, edges)
    return _sorted(u.numpy(), v.numpy(), r.numpy())


def _sorted(u, v, r):
    rows = np.column_stack([u, v, np.asarray(r, dtype=float)])
    return rows[np.lexsort(np.round(rows, 3).T[::-1])]


def assert_same(lattice, species, frac, cutoff=6.0):
    graph = knn_graph(lattice, species, np.asarray(frac, dtype=float), cutoff_ang=cutoff)
    ours = _sorted(graph.src.numpy(), graph.dst.numpy(), graph.vec.numpy())
    theirs = original(lattice, species, np.asarray(frac, dtype=float), cutoff)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.parametrize("case", CRYSTALS)
@pytest.mark.parametrize("cutoff", [6.0, 8.0])
def test_same_bonds_as_jarvis(case, cutoff):
    lattice, frac = CRYSTALS[case]
    assert_same(lattice, ["Na"] * len(frac), frac, cutoff)


@pytest.mark.parametrize("seed", range(20))
def test_same_bonds_as_jarvis_on_random_cells(seed):
    draw = np.random.default_rng(seed)
    lattice = np.diag(draw.uniform(3, 12, 3)) + draw.normal(0, 1.0, (3, 3))
    # Coordinates on a coarse grid make ties; an offset leaves the home cell.
    frac = np.unique(draw.integers(0, 8, (draw.integers(1, 14), 3)), axis=0) / 8
    assert_same(lattice, ["O"] * len(frac), frac - draw.uniform(-1, 1, 3))


def test_same_bonds_as_jarvis_on_a_band():
    band = rocksalt_band()
    assert_same(band.lattice, band.species, band.frac_coords)


def test_opposite_bonds_and_blocks_cover_every_angle():
    graph = band_graph(rocksalt_band())
    assert torch.equal(graph.src[graph.reverse], graph.dst)
    assert torch.equal(graph.vec[graph.reverse], -graph.vec)
    arriving = graph.dst[:, None] == graph.src[None, :]
    assert int(arriving.sum()) == graph.num_angles
    seen = torch.zeros_like(arriving)
    for into, out in graph.split_blocks(50):
        seen[into[:, :, None].expand(-1, -1, out.shape[1]), out[:, None, :]] += True
    assert torch.equal(seen, arriving)


def test_graphs_side_by_side_stay_apart():
    one = band_graph(rocksalt_band())
    lattice, frac = CRYSTALS["bcc"]
    two = knn_graph(lattice, ["Fe", "Fe"], np.array(frac))
    both = collate([one, two])
    assert both.num_angles == one.num_angles + two.num_angles
    assert both.num_graphs == 2
    assert torch.equal(both.graph_of[both.src], both.graph_of[both.dst])
    assert torch.equal(both.src[both.reverse], both.dst)


def test_atom_features_are_those_of_jarvis():
    table = cgcnn_table()
    for symbol, z in [("Li", 3), ("Mn", 25), ("Bi", 83), ("Lr", 103)]:
        assert table[z].tolist() == pytest.approx(get_node_attributes(symbol, "cgcnn"))


def test_faster_than_jarvis_by_far():
    band = rocksalt_band()
    start = time.process_time()
    original(band.lattice, band.species, band.frac_coords, 6.0)
    theirs = time.process_time() - start
    start = time.process_time()
    band_graph(band)
    assert time.process_time() - start < theirs / 3
