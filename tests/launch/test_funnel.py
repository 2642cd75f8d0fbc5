"""The funnel report: how many candidates fell at which filter, and why."""

import json

import pytest
import yaml

from launch.cli import run_command
from stores.screen_store import open_store
from workflows.spec import load_spec
from workflows.stages.candidates import find_candidates

SPEC = {
    "name": "fell",
    "working_ion": "Li",
    "candidates": {"source": "catalogue", "ids": ["LiCoO2", "LiNbO3", "Li2S", "LiF", "Li2O"]},
    "filters": {"mode": "electrolyte", "min_ion_fraction": 0.21},
}
FELL = {"redox_mode": 1, "working_ion_content": 1}
WHY = {
    "redox_mode": "LiCoO2: Co can be oxidised, so is no electrolyte",
    "working_ion_content": "LiNbO3: 0.2 of its atoms are Li, less than min_ion_fraction 0.21",
}


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fell.yaml").write_text(yaml.safe_dump(SPEC))
    return tmp_path / "fell.yaml"


def said(capfd, *words):
    assert run_command(words) == 0
    return capfd.readouterr()


def test_check_says_it_before_anything_runs(path, capfd):
    content = json.loads(said(capfd, "check", str(path), "--format", "json").out)
    assert content["candidates"] == 3
    assert content["refused"] == FELL
    assert content["refused_examples"] == WHY
    out, err = said(capfd, "check", str(path))
    assert "3 candidates (2 refused)" in " ".join(out.split())
    told = " ".join((out + err).split())
    assert f"1 by working_ion_content, e.g. {WHY['working_ion_content']}" in told


def test_status_says_it_of_a_store(path, capfd):
    with_store = str(path.parent / "a.store")
    find_candidates.original(load_spec(path).model_dump(mode="json"), with_store)
    content = json.loads(said(capfd, "status", "--store", with_store, "--format", "json").out)
    assert content["rejected"] == FELL
    assert content["rejected_examples"] == WHY
    out, err = said(capfd, "status", "--store", with_store)
    told = " ".join((out + err).split())
    assert f"1 by redox_mode, e.g. {WHY['redox_mode']}" in told
    with open_store(with_store) as store:
        assert store.candidates.count({"status": "rejected"}) == 2
