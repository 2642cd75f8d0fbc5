"""Training of the family: grouped folds, resumption, and that it learns."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from em_model.data import Crystal, deal_folds, host_folds, learning_subset
from em_model.ensemble import ModelRecipe, build_model
from em_model.errors import BadInput
from em_model.paper import training
from em_model.paper.__main__ import main
from em_model.paper.family import SIZES
from em_model.paper.published import AlignnConfig
from em_model.paper.training import cross_validate, fine_tune, pretrain
from em_model.training import Schedule
from em_model.trees import TreeSettings

from .conftest import host_bands, write_bands

FAST = Schedule(epochs=2, batch_size=3, learning_rate=1e-2)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    config = AlignnConfig(alignn_layers=1, gcn_layers=1, hidden=8, embedding=8, head=8)
    monkeypatch.setitem(SIZES, "tiny", config)


@pytest.fixture
def bands():
    return host_bands()


def crystals():
    draw = np.random.default_rng(0)
    return [
        Crystal(
            id=str(i),
            property="formation_energy" if i % 2 else "phonon_peak",
            value=float(a - 4.5),
            split="test" if i % 5 == 0 else "train",
            lattice=np.eye(3) * a,
            species=("Na", "Cl"),
            frac_coords=np.array([[0, 0, 0], [0.5, 0.5, 0.5]]),
        )
        for i, a in enumerate(draw.uniform(4, 5, 20))
    ]


def quiet(line):
    pass


def test_every_band_is_predicted_by_a_model_that_never_saw_its_host(bands, tmp_path, monkeypatch):
    seen = []
    real = training.fine_tune

    def spy(name, inside, **rest):
        seen.append({band.host for band in inside})
        return real(name, inside, **rest)

    monkeypatch.setattr(training, "fine_tune", spy)
    result = cross_validate(
        "scratch-add", bands, tmp_path, size="tiny", folds=3, schedule=FAST, log=quiet
    )
    assert set(result["predictions"]) == {band.id for band in bands}
    fold_of = host_folds(bands, 3, 0)
    for fold, hosts in enumerate(seen):
        assert not hosts & {b.host for b, f in zip(bands, fold_of, strict=True) if f == fold}


def test_a_stopped_run_goes_on_and_ends_the_same(bands, tmp_path):
    def run(folder, stop_after=None, log=quiet):
        return cross_validate(
            "scratch-sub",
            bands,
            folder,
            size="tiny",
            folds=2,
            schedule=FAST,
            log=log,
            stop_after=stop_after,
        )

    whole = run(tmp_path / "whole")
    assert run(tmp_path / "cut", stop_after=3)["predictions"] == {}
    assert list((tmp_path / "cut").glob("*-state*"))
    cut = run(tmp_path / "cut")
    assert cut["predictions"] == pytest.approx(whole["predictions"], abs=1e-4)
    assert not list((tmp_path / "cut").glob("*-state*"))
    lines = []
    assert run(tmp_path / "cut", log=lines.append) == cut
    assert not lines  # nothing left to train


def test_training_learns(bands):
    schedule = Schedule(epochs=15, batch_size=4, learning_rate=2e-2)
    targets = np.array([band.barrier_ev for band in bands])
    model, (mean, std) = fine_tune("scratch-add", bands, size="tiny", schedule=schedule)
    found = training.predict(model, bands) * std + mean
    assert np.abs(found - targets).mean() < 0.5 * np.abs(targets - np.median(targets)).mean()


def test_pretraining_masks_other_properties_and_feeds_the_band_models(bands, tmp_path):
    assert not pretrain(
        crystals(), "tiny", tmp_path, schedule=FAST, log=quiet, stop_after=4
    ).exists()
    trunk = pretrain(crystals(), "tiny", tmp_path, schedule=FAST, log=quiet)
    card = json.loads((tmp_path / "trunk.json").read_text())
    assert set(card["test_mae"]) == {"formation_energy", "phonon_peak"}
    assert card["crystals"] == 16
    state = load_file(tmp_path / "pretrain.safetensors")
    torch.manual_seed(0)
    start = training.PropertyModel("tiny").state_dict()
    # Weight decay alone shrinks the heads of unknown properties, in proportion.
    shrunk = state["model.heads.weight"] / start["heads.weight"]
    for row, name in zip(shrunk, training.PROPERTIES, strict=True):
        assert (row.std() < 1e-4) == (name not in card["test_mae"])

    model, _ = fine_tune("MODEL-3", bands, size="tiny", trunk=trunk, schedule=Schedule(epochs=0))
    for key, value in load_file(trunk).items():
        assert torch.equal(model.trunk.state_dict()[key], value)


def test_pretrained_members_ask_for_their_trunk(bands, tmp_path):
    with pytest.raises(BadInput, match="--trunk"):
        cross_validate("MODEL-3", bands, tmp_path, size="tiny", log=quiet)
    with pytest.raises(BadInput, match="pre-train it"):
        cross_validate("MODEL-3", bands, tmp_path, size="tiny", trunk=tmp_path / "none", log=quiet)


def test_command(bands, tmp_path, capsys):
    data = write_bands(tmp_path / "bands.jsonl", bands)
    call = ["train", str(data), "--out", str(tmp_path / "out"), "--model", "scratch-cc"]
    call += ["--size", "tiny", "--epochs", "1", "--folds", "3", "--only", "1"]
    assert main(call) == 0
    result = json.loads((tmp_path / "out" / "crossval-scratch-cc-e1.json").read_text())
    fold_of = host_folds(bands, 3, 0)
    assert set(result["predictions"]) == {
        b.id for b, f in zip(bands, fold_of, strict=True) if f == 1
    }
    data.write_text("{}")
    assert main(call) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"{data}:1: ")


def test_learning_subsets_lie_in_each_other_and_in_the_training_part(bands):
    fold_of = host_folds(bands, 3, 0)
    small, large = (set(learning_subset(fold_of, 1, n, 0).tolist()) for n in (3, 6))
    assert len(small) == 3
    assert small < large
    assert all(fold_of[i] != 1 for i in large)
    with pytest.raises(BadInput, match="records: 99"):
        learning_subset(fold_of, 1, 99, 0)


def test_folds_dealt_by_path_part_hosts(bands):
    fold_of = deal_folds(bands, "paths", 3, 0)
    assert np.bincount(fold_of).tolist() == [4, 4, 4]
    hosts = np.array([band.host for band in bands])
    assert any(set(hosts[fold_of == 0]) & set(hosts[fold_of != 0]))
    with pytest.raises(BadInput, match="split"):
        deal_folds(bands, "rows", 3, 0)


def test_a_model_of_ours_is_made_again_without_each_fold(bands, tmp_path, monkeypatch):
    monkeypatch.setenv("HOPSCREEN_MODELS", str(tmp_path / "models"))
    recipe = ModelRecipe(folds=2, forest=TreeSettings(trees=5))
    build_model(bands, recipe, tmp_path / "models" / "mine", name="mine")
    data = write_bands(tmp_path / "bands.jsonl", bands)
    call = ["train", str(data), "--model", "mine", "--folds", "3", "--out", str(tmp_path / "out")]
    assert main([*call, "--records", "6", "--only", "2"]) == 0
    found = json.loads((tmp_path / "out" / "crossval-mine-n6.json").read_text())
    fold_of = host_folds(bands, 3, 0)
    outside = [b.id for b, fold in zip(bands, fold_of, strict=True) if fold == 2]
    assert sorted(found["predictions"]) == sorted(outside)
    assert (found["split"], found["records"]) == ("hosts", 6)
    for i, (low, high) in found["intervals_90"].items():
        assert low <= found["predictions"][i] <= high
    # By hand: the same bands, the same recipe.
    inside = [bands[i] for i in learning_subset(fold_of, 2, 6, 0)]
    again = build_model(inside, recipe, tmp_path / "again", name="again")
    expected = again.predict([b for b in bands if b.id in outside])
    assert found["predictions"] == {p.id: pytest.approx(p.barrier_ev, abs=1e-4) for p in expected}
    assert main([*call, "--split", "paths", "--only", "0"]) == 0
    assert (tmp_path / "out" / "crossval-mine-paths.json").exists()
