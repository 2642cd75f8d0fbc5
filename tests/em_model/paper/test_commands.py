"""``hopscreen em import`` and ``em compare`` as a user types them."""

import bz2
import json

import pytest
import torch

from em_model.classical import cross_validate
from em_model.ensemble import ModelRecipe, build_model
from em_model.paper.published import AlignnConfig
from em_model.trees import TreeSettings
from launch.cli import run_command

from .conftest import host_bands, recipe_model, write_bands

TINY = AlignnConfig(alignn_layers=1, gcn_layers=1, hidden=8, embedding=8, head=8)


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    monkeypatch.setenv("HOPSCREEN_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def data(tmp_path):
    return write_bands(tmp_path / "bands.jsonl", host_bands())


def test_import_then_predict(tmp_path, data, models, capfd):
    checkpoint = tmp_path / "best_model.pt.bz2"
    with bz2.open(checkpoint, "wb") as file:
        torch.save({"model": recipe_model(TINY).state_dict()}, file)
    call = ["em", "import", str(checkpoint), "--name", "theirs", "--scale", "none"]
    assert run_command(call) == 0
    assert capfd.readouterr().out.strip() == str(models / "theirs")
    assert run_command(["em", "predict", str(data), "--model", "theirs", "--format", "json"]) == 0
    rows = json.loads(capfd.readouterr().out)
    assert [row["id"] for row in rows] == [band.id for band in host_bands()]
    assert all(row["interval_90_ev"] is None for row in rows)
    assert run_command(["em", "evaluate", str(data), "--model", "theirs", "--format", "json"]) == 0
    assert json.loads(capfd.readouterr().out)["interval_coverage_90"] is None

    assert run_command(call) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "taken" in captured.err


def test_compare(tmp_path, data, models, capfd):
    pytest.importorskip("matminer", reason="needs the extra 'classical'")
    bands = host_bands()
    recipe = ModelRecipe(folds=3, forest=TreeSettings(trees=5))
    build_model(bands, recipe, models / "mine", name="mine")
    results = tmp_path / "results"
    results.mkdir()
    found = cross_validate("GBR", bands, folds=3)
    (results / "crossval-GBR.json").write_text(json.dumps(found))
    call = ["em", "compare", str(data), "--model", "mine", "--results", str(results)]
    assert run_command([*call, "--format", "json"]) == 0
    rows = json.loads(capfd.readouterr().out)
    assert all(row["by_scenario"]["C"]["n"] == 12 for row in rows[:2])
    assert {row["model"] for row in rows} == {"mine", "GBR", "MODEL-3 as published"}
    assert run_command([*call, "--out", str(tmp_path / "plots")]) == 0
    printed = capfd.readouterr()
    assert "MODEL-3 as published" in printed.out
    assert "0.261 ± 0.034" in printed.out
    assert (tmp_path / "plots" / "parity.png").exists()
    assert "| mine | 12 |" in (tmp_path / "plots" / "models.md").read_text()
    assert (tmp_path / "plots" / "calibration.png").exists()
