"""The MACE-NEB stage with the hops of a job side by side, as on a GPU."""

from __future__ import annotations

import pytest
import yaml

from launch.cli import run_command
from stores.documents import BarrierDoc
from stores.screen_store import open_store
from workflows import engines


def barriers_of(folder, name):
    spec = {
        "name": name,
        "working_ion": "Li",
        "candidates": {"source": "catalogue", "ids": ["LiCl", "LiF", "Li2O"]},
        "hops": {"min_supercell": 5.0, "max_atoms": 60},
        "mace_neb": {"model": "mini", "top": 3, "images": 1, "fmax": 0.1},
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(spec))
    assert run_command(["run", str(folder / f"{name}.yaml")]) == 0
    with open_store(str(folder / f"{name}.store"), create=False) as store:
        found = list(store.find(BarrierDoc, {"level": "mlip"}))
    assert [doc.status for doc in found] == ["done"] * 3
    return {doc.material_id: doc for doc in found}


@pytest.mark.slow
def test_a_job_in_batches_keeps_the_same_documents(tmp_path, monkeypatch):
    monkeypatch.setenv("HOPSCREEN_PROCESSES", "1")
    alone = barriers_of(tmp_path, "alone")
    monkeypatch.setitem(engines.BUILT_IN, "mace", "batched_mace:BatchedMace")
    assert engines.get_engine("mace", model="mini").in_batches
    together = barriers_of(tmp_path, "together")
    for name, doc in alone.items():
        assert together[name].barrier_id == doc.barrier_id
        assert together[name].barrier_ev == pytest.approx(doc.barrier_ev, abs=2e-3)
