from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from em_model.ensemble import ModelRecipe, build_model, out_of_fold
from em_model.errors import BadInput
from em_model.graphs import GraphSettings
from em_model.network import NetworkSettings
from em_model.predictor import BandModel
from em_model.pretraining import PretrainRecipe, pretrain
from em_model.recipes import load_recipe
from em_model.training import Schedule, read_tensors
from em_model.trees import TreeSettings

SMALL = NetworkSettings(hidden=16, alignn_layers=1, gcn_layers=1, bond_bins=8)
QUICK = Schedule(epochs=2, batch_size=4, learning_rate=1e-3, average=0.9)
RECIPE = PretrainRecipe(network=SMALL, schedule=QUICK, held_out=0.2)
MODEL = ModelRecipe(network=SMALL, folds=3, forest=TreeSettings(trees=10))


@pytest.fixture(scope="module")
def crystals(tmp_path_factory):
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("bulk") / "bulk.jsonl"
    lines = []
    for n in range(24):
        a = float(rng.uniform(3.5, 5.0))
        lines.append(
            {
                "id": str(n),
                "property": ("formation_energy", "shear_modulus")[n % 2],
                "split": "test" if n % 6 == 1 else "train",
                "value": a - 4.2,
                "lattice": (a * np.eye(3)).tolist(),
                "species": ["Na", "Cl"],
                "frac_coords": [[0, 0, 0], [0.5, 0.5, 0.5]],
            }
        )
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


@pytest.fixture(scope="module")
def encoder(crystals, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained")
    pretrain(crystals, RECIPE, folder, device="cpu")
    return folder / "encoder.safetensors"


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_pretraining_interrupted_equals_pretraining_undisturbed(crystals, encoder, tmp_path):
    result = pretrain(crystals, RECIPE, tmp_path, device="cpu", stop_after=3)
    assert result["step"] == 3
    result = pretrain(crystals, RECIPE, tmp_path, device="cpu")
    assert result["step"] > 3
    assert set(result["test_mae"]) == {"formation_energy", "shear_modulus"}
    assert same(read_tensors(tmp_path / "encoder.safetensors"), read_tensors(encoder))


def test_a_checkpoint_of_another_recipe_is_refused(crystals, tmp_path):
    pretrain(crystals, RECIPE, tmp_path, device="cpu", stop_after=1)
    with pytest.raises(BadInput, match="another recipe"):
        pretrain(crystals, replace(RECIPE, seed=5), tmp_path, device="cpu")


def test_learning_lowers_the_loss(crystals, tmp_path):
    longer = replace(RECIPE, schedule=replace(QUICK, epochs=60, learning_rate=5e-3))
    losses = pretrain(crystals, longer, tmp_path, device="cpu")["train_loss"]
    assert losses[-1] < 0.5 * losses[0]


def test_a_model_is_built_saved_loaded_and_measured(many_bands, encoder, tmp_path):
    model = build_model(
        many_bands, MODEL, tmp_path / "mine", name="mine", encoder=encoder, device="cpu"
    )
    again = BandModel.load(tmp_path / "mine", "cpu")
    assert again.predict(many_bands) == model.predict(many_bands)
    assert again.card["cross_validation"]["n"] == len(many_bands)
    values, intervals, _ = out_of_fold(again, many_bands)
    error = np.abs(values - [b.barrier_ev for b in many_bands]).mean()
    assert error == pytest.approx(again.card["cross_validation"]["mae_ev"], abs=1e-6)
    assert ((intervals[:, 0] <= values) & (values <= intervals[:, 1])).all()
    assert "# Band model `mine`" in (tmp_path / "mine" / "card.md").read_text()


def test_folds_need_hosts(many_bands, tmp_path):
    with pytest.raises(BadInput, match="hosts"):
        build_model(many_bands[:1], MODEL, tmp_path, name="x")


def test_a_model_remembers_what_it_was_trained_on(many_bands, tmp_path):
    model = build_model(many_bands, MODEL, tmp_path / "m", name="m", device="cpu")
    back = out_of_fold(model, many_bands[::-1])[0][::-1]
    np.testing.assert_allclose(back, out_of_fold(model, many_bands)[0], atol=0.05)
    with pytest.raises(BadInput, match="its own training data"):
        out_of_fold(model, many_bands[1:])


def test_with_an_encoder_the_process_reads_the_trunk(many_bands, encoder, tmp_path):
    deep = build_model(many_bands, MODEL, tmp_path / "a", name="a", encoder=encoder, device="cpu")
    flat = build_model(many_bands, MODEL, tmp_path / "b", name="b", device="cpu")
    assert set(deep.tabular.kernel.blocks) - set(flat.tabular.kernel.blocks) == {"trunk"}
    assert flat.trunk is None
    again = BandModel.load(tmp_path / "a", "cpu")
    assert again.predict(many_bands) == deep.predict(many_bands)
    wide = replace(MODEL, network=replace(SMALL, hidden=24))
    with pytest.raises(BadInput, match="does not fit"):
        build_model(many_bands, wide, tmp_path / "c", name="c", encoder=encoder, device="cpu")


def test_recipes_that_are_wrong_say_where(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("stage: pretrain\nnetwork: {hiden: 3}\n")
    with pytest.raises(BadInput, match=r"network\.hiden: unknown key; did you mean 'hidden'"):
        load_recipe(path, PretrainRecipe, "pretrain")
    path.write_text("stage: pretrain\nseed: many\n")
    with pytest.raises(BadInput, match="seed"):
        load_recipe(path, PretrainRecipe, "pretrain")
    path.write_text("stage: finetune\n")
    with pytest.raises(BadInput, match="stage"):
        load_recipe(path, PretrainRecipe, "pretrain")
    with pytest.raises(BadInput, match="no such recipe"):
        load_recipe("nonesuch", PretrainRecipe, "pretrain")


@pytest.mark.parametrize(
    ("name", "kind", "stage"),
    [
        ("pretrain", PretrainRecipe, "pretrain"),
        ("finetune", ModelRecipe, "finetune"),
        ("forest", ModelRecipe, "finetune"),
    ],
)
def test_shipped_recipes_load(name, kind, stage):
    recipe = load_recipe(name, kind, stage)
    assert recipe.graph.neighbours == GraphSettings().neighbours
