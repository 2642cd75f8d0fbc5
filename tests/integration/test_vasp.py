"""VASP in the whole funnel, with an emulator in its place: a crash, a retry, a document."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import yaml

from launch.cli import run_command
from stores.documents import BarrierDoc
from stores.screen_store import open_store
from workflows.engines.mace import SHIPPED, load_shipped

EMULATOR = Path(__file__).parents[1] / "helpers" / "vasp_emulator.py"


def dft_documents(store: Path) -> list[BarrierDoc]:
    with open_store(str(store), create=False) as opened:
        return list(opened.find(BarrierDoc, {"level": "dft"}))


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("vpmdk_core"), reason="vpmdk is not installed")
def test_crashed_band_goes_on_to_a_successful_document(tmp_path, monkeypatch, capfd):
    torch.save(load_shipped(SHIPPED / "mini"), tmp_path / "mini.model")
    monkeypatch.setenv("EMULATOR_MODEL", str(tmp_path / "mini.model"))
    monkeypatch.setenv("EMULATOR_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("EMULATOR_CRASH", str(tmp_path / "crash"))
    preset = {
        "base": "demo",
        "options": {"command": f"{sys.executable} {EMULATOR}", "potcar_spec": True},
        "neb": {"images": 1},
        "recipe": {"min_length_ang": 4.5, "min_height_ang": 4.0, "min_atoms": 8, "minimal": True},
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(preset))
    spec = {
        "name": "licensed",
        "working_ion": "Li",
        "candidates": {"source": "catalogue", "ids": ["Li2O"]},
        "dft_neb": {"engine": "vasp", "preset": str(tmp_path / "own.yaml"), "top": 1},
    }
    (tmp_path / "screen.yaml").write_text(yaml.safe_dump(spec))
    store = tmp_path / "screen.store"

    (tmp_path / "crash").touch()
    run_command(["run", str(tmp_path / "screen.yaml")])
    [failed] = dft_documents(store)
    assert failed.status == "failed"
    assert failed.error is not None
    assert "return code" in failed.error.message.lower()

    (tmp_path / "crash").unlink()
    assert run_command(["retry", "--store", str(store)]) == 0
    assert run_command(["run", str(tmp_path / "screen.yaml")]) == 0
    [done] = dft_documents(store)
    assert done.status == "done", done.error
    assert done.converged
    assert done.label == "demo"
    assert done.settings["engine_detail"]["charge_e"] == -1
    assert 0.0 < (done.barrier_ev or 0.0) < 1.0
    capfd.readouterr()
    assert run_command(["rank", "--store", str(store), "--format", "json"]) == 0
    assert json.loads(capfd.readouterr().out)[0]["level"] == "dft"
