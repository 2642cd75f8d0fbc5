"""The network against the answers of the original code, and its two ways of computing."""

import pytest
import torch

from em_model.paper.jarvis_graph import band_graph, collate
from em_model.paper.published import Alignn, AlignnConfig, _BlockedAngles, _FlatAngles

from .conftest import recipe_model, rocksalt_band

SMALL = AlignnConfig(alignn_layers=2, gcn_layers=1, hidden=16, embedding=8, head=8)


def test_parameters_are_those_of_the_published_checkpoints(reference):
    model = recipe_model()
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert shapes == reference["state_dict"]
    assert sum(p.numel() for p in model.parameters()) == 4_076_033


def test_answers_of_the_original_code(reference, train_bands):
    model = recipe_model()
    for example in reference["examples"]:
        graph = band_graph(train_bands[str(example["id"])])
        assert len(graph.numbers) == example["n_atoms"]
        assert (graph.num_bonds, graph.num_angles) == (example["n_bonds"], example["n_angles"])
        with torch.inference_mode():
            assert model(graph).item() == pytest.approx(example["output"], abs=1e-5)


def test_blocks_and_flat_tensors_agree():
    model = recipe_model(SMALL)
    graph = band_graph(rocksalt_band())
    with torch.inference_mode():
        _, y = model.embed(graph)
        flat = _FlatAngles(graph, model.angle_embedding)
        blocked = _BlockedAngles(graph, model.angle_embedding)
        for last, layer in enumerate(model.alignn_layers):
            expected = flat.update(layer.edge_update, y, last=bool(last))
            y = blocked.update(layer.edge_update, y, last=bool(last))
            torch.testing.assert_close(y, expected, atol=2e-6, rtol=1e-5)


def test_batch_gives_the_answers_of_its_members():
    model = recipe_model(SMALL)
    one = band_graph(rocksalt_band())
    shrunk = rocksalt_band()
    shrunk.lattice[:] *= 0.97
    two = band_graph(shrunk)
    with torch.inference_mode():
        together = model(collate([one, two, one]))
        apart = torch.cat([model(one), model(two), model(one)])
    torch.testing.assert_close(together, apart, atol=1e-6, rtol=1e-5)
    assert abs(together[0] - together[1]) > 1e-3


def test_every_weight_but_the_last_unread_ones_learns():
    torch.manual_seed(0)
    model = recipe_model(SMALL).train()
    graph = collate([band_graph(rocksalt_band())] * 2)
    model(graph).sum().backward()
    still = {n for n, p in model.named_parameters() if p.grad is None}
    # What the last layers make of their edges is read by nobody, in the original too.
    assert still == {
        f"{layer}.bn_edges.{kind}"
        for layer in ("alignn_layers.1.edge_update", "gcn_layers.0")
        for kind in ("weight", "bias")
    }


def test_trunk_gives_a_vector_per_atom():
    graph = band_graph(rocksalt_band())
    with torch.inference_mode():
        assert Alignn(SMALL).eval().atoms(graph).shape == (len(graph.numbers), 16)
