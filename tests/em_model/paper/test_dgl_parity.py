"""Against the original ALIGNN on DGL, where DGL can be had (extra ``dgl``)."""

import os

import pytest
import torch

from em_model.paper.jarvis_graph import band_graph
from em_model.paper.published import mean_by_graph

from .conftest import recipe_model, rocksalt_band

os.environ.setdefault("DGLBACKEND", "pytorch")  # without it dgl writes to the home folder
pytest.importorskip("dgl", reason="needs the extra 'dgl' (Python 3.11, Linux)")


def original_graph(band):
    from jarvis.core.atoms import Atoms
    from jarvis.core.graphs import Graph

    atoms = Atoms(
        lattice_mat=band.lattice,
        coords=band.frac_coords,
        elements=list(band.species),
        cartesian=False,
    )
    return Graph.atom_dgl_multigraph(
        atoms, cutoff=6.0, max_neighbors=12, atom_features="cgcnn", use_canonize=True
    )


def assert_same_answer(band):
    from alignn.models.alignn import ALIGNN, ALIGNNConfig

    ours = recipe_model()
    theirs = ALIGNN(ALIGNNConfig(name="alignn")).eval()
    # The authors' head is their own; what it reads, the mean over the atoms, is alignn's.
    theirs.fc = torch.nn.Identity()
    unknown = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert not unknown.missing_keys
    assert {key.split(".")[0] for key in unknown.unexpected_keys} == {
        "conv_to_fc",
        "fc_hp",
        "fc_out",
    }

    g, lg = original_graph(band)
    graph = band_graph(band)
    assert (graph.num_bonds, graph.num_angles) == (g.num_edges(), lg.num_edges())
    with torch.inference_mode():
        expected = theirs((g, lg, torch.eye(3)))
        pooled = mean_by_graph(ours.atoms(graph), graph.graph_of, 1)[0]
    torch.testing.assert_close(pooled, expected, atol=1e-4, rtol=1e-4)


def test_same_atom_embeddings_on_a_small_band():
    assert_same_answer(rocksalt_band())


def test_same_atom_embeddings_on_training_bands(train_bands):
    for band_id in ("190", "548", "176"):
        assert_same_answer(train_bands[band_id])
