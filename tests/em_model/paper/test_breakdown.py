"""Scenarios, order of paths and groups, on cases counted by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest

from em_model.breakdown import by_group, scenarios, told_apart
from em_model.ensemble import ModelRecipe, build_model
from em_model.trees import TreeSettings
from launch.cli import run_command

from .conftest import host_bands, rocksalt_band, write_bands


def test_told_apart_counts_pairs_that_differ_within_a_host():
    known = np.array([0.2, 0.5, 0.25, 0.9, 0.3])
    predicted = np.array([0.3, 0.4, 0.9, 0.2, 0.2])
    # Host a: 0.2 < 0.5 right, (0.2, 0.25) too close, 0.25 < 0.5 wrong. Host b: 0.9 > 0.3 tied.
    found = told_apart(predicted, known, ["a", "a", "a", "b", "b"])
    assert found == {"pairs": 3, "hosts": 2, "share": pytest.approx(1.5 / 3)}
    assert told_apart(predicted, known, list("abcde")) == {"pairs": 0, "hosts": 0, "share": None}


def test_scenarios():
    training = host_bands()[:4]  # LiF, LiCl
    seen = replace(training[0], id="seen", barrier_ev=None)
    mixed = ("F",) + ("Cl",) * (len(seen.species) - 6)
    new_host = replace(seen, species=seen.species[:5] + mixed, host=None)
    unseen = host_bands()[-1]  # Li2S
    # The same framework with another name of its host is still the same host.
    renamed = replace(seen, host="other")
    found = scenarios([seen, new_host, unseen, renamed], training)
    assert found.tolist() == ["A", "B", "C", "A"]


def test_groups_come_largest_first_and_small_ones_together():
    known = np.array([0.0, 0.0, 0.0, 0.0])
    predicted = np.array([0.1, -0.3, 0.5, 0.7])
    found = by_group(predicted, known, ["x", "x", "y", ""], least=2)
    assert list(found) == ["other", "x"]
    assert found["x"] == {
        "n": 2,
        "mae_ev": pytest.approx(0.2),
        "median_error_ev": pytest.approx(0.2),
        "bias_ev": pytest.approx(-0.1),
    }
    assert found["other"]["mae_ev"] == pytest.approx(0.6)


def test_evaluate_says_how_well_by_scenario(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("HOPSCREEN_MODELS", str(tmp_path / "models"))
    bands = [replace(band, structure_class="ROCKSALT") for band in host_bands()]
    learned, asked = write_bands(tmp_path / "l.jsonl", bands[:10]), tmp_path / "a.jsonl"
    write_bands(asked, [rocksalt_band(0.3), *bands[9:]])
    recipe = ModelRecipe(folds=3, forest=TreeSettings(trees=5))
    build_model(bands[:10], recipe, tmp_path / "models" / "m", name="m")
    call = ["em", "evaluate", str(asked), "--model", "m", "--training", str(learned)]
    assert run_command([*call, "--format", "json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert {k: v["n"] for k, v in found["by_scenario"].items()} == {"A": 2, "C": 2}
    assert found["by_working_ion"]["Li"]["n"] == 4
    assert found["paths_told_apart"]["pairs"] >= 0
    assert run_command([*call, "--threshold", "0.4"]) == 0
    shown = capfd.readouterr().out
    assert "A: new path in a known host" in shown
    assert "threshold 0.4 eV" in shown
