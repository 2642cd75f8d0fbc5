"""Every member of the paper's family: what it reads, what it must and must not see."""

import numpy as np
import pytest
import torch

from em_model.data import Band
from em_model.errors import BadInput
from em_model.paper.family import (
    NAMES,
    SIZES,
    Attention,
    PaperModel,
    band_inputs,
    collate_inputs,
    end_inputs,
    paper_model,
)
from em_model.paper.published import AlignnConfig

from .conftest import recipe_state, rocksalt_band

TINY = AlignnConfig(alignn_layers=1, gcn_layers=1, hidden=16, embedding=8, head=8)


def tiny(name):
    model = PaperModel(name, TINY)
    model.load_state_dict(recipe_state(model))
    return model.eval()


def answer(model, *bands):
    with torch.inference_mode():
        return model(collate_inputs([model.inputs(band) for band in bands]))


def pooled(name, band):
    """What the head reads: random heads would hide small differences."""
    model = tiny(name)
    with torch.inference_mode():
        return model._pool(model, model.inputs(band))


def differ(a, b):
    return (a - b).abs().max().item() > 2e-5


def varied():
    band = rocksalt_band()
    frac = band.frac_coords.copy()
    frac[5:] += np.random.default_rng(0).normal(0, 0.02, frac[5:].shape)
    return Band(**{**band.__dict__, "frac_coords": frac})


@pytest.mark.parametrize("name", NAMES)
def test_batch_gives_the_answers_of_its_members(name):
    model, one, two = tiny(name), rocksalt_band(), varied()
    together = answer(model, one, two, one)
    torch.testing.assert_close(together, torch.cat([answer(model, b) for b in (one, two, one)]))
    assert differ(pooled(name, one), pooled(name, two))


@pytest.mark.parametrize("name", NAMES)
def test_training_moves_trunk_and_head(name):
    torch.manual_seed(0)
    model = PaperModel(name, TINY).train()
    model(collate_inputs([model.inputs(b) for b in (rocksalt_band(), varied())])).sum().backward()
    moved = {
        n.split(".")[0] for n, p in model.named_parameters() if p.grad is not None and p.grad.any()
    }
    expected = {"trunk", "head"}
    if name == "MODEL-4":
        expected |= {"attention", "attention_near"}
    assert moved == expected


@pytest.mark.parametrize("name", NAMES)
def test_which_models_see_the_way_between_the_ends(name):
    straight = rocksalt_band()
    frac = straight.frac_coords.copy()
    frac[2] += [0.06, -0.04, 0.05]
    bent = Band(**{**straight.__dict__, "frac_coords": frac})
    seen = differ(pooled(name, straight), pooled(name, bent))
    assert seen == (name in {"MODEL-3", "MODEL-4"})


def test_how_ends_are_joined():
    band = varied()
    back = band.reversed()
    torch.testing.assert_close(pooled("MODEL-1-add", band), pooled("MODEL-1-add", back))
    torch.testing.assert_close(pooled("MODEL-1-sub", band), -pooled("MODEL-1-sub", back))
    assert differ(pooled("MODEL-1-cc", band), pooled("MODEL-1-cc", back))


def test_delta_of_equal_ends_knows_only_the_graph():
    model = tiny("MODEL-2")
    inputs = end_inputs(varied())
    (initial, _), near = inputs.graphs, inputs.near_path
    same = type(inputs)((initial, initial), near)
    first = model.trunk.first_convolution(initial)
    with torch.inference_mode():
        zero = model.trunk.atoms(initial, minuend=first)
        assert model(same).isfinite().all()
        assert not torch.allclose(zero, model.trunk.atoms(initial))


def test_atoms_near_the_path():
    band = rocksalt_band()
    near = band_inputs(band).near_path.numpy()
    assert near[:5].all()
    assert not near.all()
    # Brute force over images.
    shifts = np.array(list(np.ndindex(5, 5, 5))) - 2
    for i, frac in enumerate(band.frac_coords):
        d = (frac + shifts)[:, None] @ band.lattice - band.path_cart[None]
        assert near[i] == (np.linalg.norm(d, axis=-1).min() <= 3.0)


def test_attention_is_the_formula():
    torch.manual_seed(1)
    x, layer = torch.randn(7, 16), Attention(16)
    q, k, v = (torch.relu(x @ w.weight.T) for w in (layer.query, layer.key, layer.value))
    rows = []
    for i in range(7):
        score = torch.tanh((q[i] * k).sum(1)).exp()
        rows.append(x.mean(0) + (score / score.sum()) @ v)
    torch.testing.assert_close(layer(x), torch.stack(rows).mean(0))


def test_names_and_sizes():
    assert set(NAMES) == {
        *(f"{kind}-{how}" for kind in ("MODEL-1", "scratch") for how in ("cc", "add", "sub")),
        *("MODEL-2", "MODEL-3", "MODEL-4"),
    }
    published = paper_model("MODEL-3", "published")
    assert sum(p.numel() for p in published.parameters()) == 4_076_033
    assert published.pretrained
    assert not paper_model("scratch-cc").pretrained
    assert SIZES["small"].hidden < SIZES["published"].hidden
    with pytest.raises(BadInput, match="MODEL-5"):
        paper_model("MODEL-5")
    with pytest.raises(BadInput, match="huge"):
        paper_model("MODEL-3", "huge")
