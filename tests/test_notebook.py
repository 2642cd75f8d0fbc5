"""The notebook of examples/ runs from its first cell to its last, and draws."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from stores.documents import BarrierDoc, CandidateDoc, EnergyProfile, HopDoc, Provenance
from stores.ranking import rank_materials
from stores.screen_store import open_store

NOTEBOOK = Path(__file__).parents[1] / "examples" / "explore.ipynb"
ORIGIN = Provenance(versions={"hopscreen": "0"})


@pytest.fixture
def folder(tmp_path):
    """A folder with a store of four materials at all levels, as ``make demo`` leaves one."""
    with open_store(str(tmp_path / "screen_li.store")) as store:
        for number, formula in enumerate(("LiFePO4", "LiCoO2", "Li3PS4", "Li2S")):
            ids = {"candidate_id": f"{formula}:Li", "material_id": formula, "working_ion": "Li"}
            more = {"provenance": ORIGIN, **ids}
            store.put([CandidateDoc(source="test", formula=formula, hops_status="done", **more)])
            store.put(
                [HopDoc(hop_id=formula, sites=(0, 0), translation=(1, 0, 0), length_ang=3.0,
                        multiplicity=1, edges=[(0, 0, 1, 0, 0)], dimension=1, recipe_version=1,
                        **more)]
            )  # fmt: skip
            for level, value in (("band", 0.3), ("mlip", 0.4), ("dft", 0.5))[: number + 1]:
                value += 0.1 * number
                climbs = level != "band"
                profile = EnergyProfile(coordinate_ang=[0, 1.5, 3], energy_ev=[0.0, value, 0.0])
                store.put(
                    [BarrierDoc(barrier_id=f"{formula}-{level}", hop_id=formula, level=level,
                                status="done", barrier_ev=value,
                                interval_90_ev=(value - 0.1, value + 0.1),
                                profile=profile if climbs else None, **more)]
                )  # fmt: skip
        rank_materials(store)
    return tmp_path


def test_it_runs(folder, monkeypatch):
    root = str(NOTEBOOK.parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(
        notebook, timeout=600, startup_timeout=300, resources={"metadata": {"path": str(folder)}}
    ).execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    figures = [out for out in outputs if "image/png" in out.get("data", {})]
    assert len(figures) == 4
    text = "".join(out.get("text", "") for out in outputs)
    assert "mlip over band: 3 hops" in text
    assert "dft over mlip: 2 hops" in text
    assert not any(out.output_type == "error" for out in outputs)
