"""The whole funnel for real: catalogue to ranking through band model, MACE-NEB and DFT-NEB."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from sites import documents, run

from launch.cli import run_command
from launch.em_store import store_bands
from stores.documents import LEVELS, BarrierDoc, CandidateDoc, HopDoc, RankedDoc
from stores.residuals import residuals
from stores.screen_store import open_store
from workflows.progress import Progress
from workflows.stages.neb import say_what_dft_says

SPEC: dict[str, Any] = {
    "name": "whole",
    "working_ion": "Li",
    "candidates": {"source": "catalogue", "ids": ["LiCoO2", "Li2O", "LiTiS2"]},
    "hops": {"min_supercell": 5.0, "max_atoms": 120},
    "mace_neb": {"model": "mini", "top": 1, "images": 1, "fmax": 0.3},
    "dft_neb": {"engine": "gpaw", "preset": "demo", "top": 1},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a screening file and the store of its finished run."""
    pytest.importorskip("gpaw", reason="needs the extra 'gpaw'")
    folder = tmp_path_factory.mktemp("whole")
    (folder / "screen.yaml").write_text(yaml.safe_dump(SPEC))
    assert run_command(["run", str(folder / "screen.yaml")]) == 0
    return folder


def estimates(folder: Path) -> list[BarrierDoc]:
    with open_store(str(folder / "screen.store"), create=False) as store:
        return list(store.find(BarrierDoc))


@pytest.mark.slow
def test_every_stage_left_its_documents(finished: Path) -> None:
    with open_store(str(finished / "screen.store"), create=False) as store:
        counts = [store.count(model) for model in (CandidateDoc, HopDoc, RankedDoc)]
        assert counts == [3, 3, 3]
        assert [store.count(BarrierDoc, {"level": level}) for level in LEVELS] == [3, 1, 1]
    for doc in estimates(finished):
        assert doc.status == "done", doc.error
        assert doc.barrier_ev is not None
        assert doc.interval_90_ev is not None
        low, high = doc.interval_90_ev
        assert 0 <= low <= doc.barrier_ev <= high
        assert doc.provenance.job_uuid
        assert doc.provenance.model
        assert {"hopscreen", "torch", "pymatgen"} <= set(doc.provenance.versions)


@pytest.mark.slow
def test_check_counts_the_jobs_that_run(finished: Path, capfd) -> None:
    def told(*words: str) -> dict[str, Any]:
        assert run_command([*words, "--format", "json"]) == 0
        return json.loads(capfd.readouterr().out)

    checked = told("check", str(finished / "screen.yaml"))
    status = told("status", "--store", str(finished / "screen.store"))
    assert checked["jobs"] == status["runs"][0]["jobs_done"]


@pytest.mark.slow
def test_neb_estimates_carry_profile_images_and_their_label(finished: Path) -> None:
    for doc in estimates(finished):
        if doc.level == "band":
            continue
        # the demo's cell is its own, so the potential relaxed a path of its own there
        assert doc.settings.get("guide", {}).get("name") == ("mini" if doc.level == "dft" else None)
        assert doc.profile
        energies = doc.profile.energy_ev
        assert doc.forward_ev == pytest.approx(max(energies) - energies[0], abs=1e-5)
        assert doc.backward_ev == pytest.approx(max(energies) - energies[-1], abs=1e-5)
        assert doc.barrier_ev == pytest.approx(max(energies) - min(energies), abs=1e-5)
        assert doc.label == ("demo" if doc.level == "dft" else None)
        with open_store(str(finished / "screen.store"), create=False) as store:
            images = store.load_blob(doc.blob_id or "")["images"]
        assert len(images) == len(energies)
        assert {len(image["species"]) for image in images} == {doc.num_atoms}


@pytest.mark.slow
def test_a_dft_result_judges_the_cheaper_levels_and_can_be_learnt_from(
    finished: Path, capfd
) -> None:
    uri = str(finished / "screen.store")
    [dear] = [doc for doc in estimates(finished) if doc.level == "dft"]
    cheap = {d.level: d for d in estimates(finished) if d.hop_id == dear.hop_id and d is not dear}
    with open_store(uri, create=False) as store:
        found = {row.cheap: row for row in residuals(store) if row.dear == "dft"}
    assert "band" in found
    for level, row in found.items():
        assert row.n == 1
        assert row.bias_ev == pytest.approx((dear.barrier_ev or 0) - (cheap[level].barrier_ev or 0))
    say_what_dft_says(uri, Progress("dft_neb"))
    assert "band beside DFT on 1 hops" in capfd.readouterr().err
    [band] = store_bands(uri, demo=True)
    assert (band.id, band.barrier_ev) == (dear.barrier_id, dear.barrier_ev)


@pytest.mark.slow
def test_the_same_command_again_does_nothing(finished: Path, capfd) -> None:
    before = estimates(finished)
    assert run_command(["run", str(finished / "screen.yaml")]) == 0
    assert "everything is done already" in "".join(capfd.readouterr())
    assert estimates(finished) == before


@pytest.mark.slow
def test_an_edited_file_reuses_every_estimate(finished: Path, tmp_path: Path, capfd) -> None:
    shutil.copytree(finished / "screen.store", tmp_path / "screen.store")
    spec = tmp_path / "screen.yaml"
    spec.write_text(yaml.safe_dump({**SPEC, "rank": {"temperature": 400}}))
    assert run_command(["run", str(spec)]) == 0
    assert estimates(tmp_path) == estimates(finished)
    capfd.readouterr()
    assert run_command(["rank", "--store", str(tmp_path / "screen.store"), "--format", "json"]) == 0
    rows = json.loads(capfd.readouterr().out)
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert rows == sorted(rows, key=lambda row: row["barrier_ev"])
    # D at the higher temperature is the larger.
    with open_store(str(finished / "screen.store"), create=False) as store:
        cold = {doc.material_id: doc.diffusivity_cm2_s for doc in store.find(RankedDoc)}
    assert all(row["diffusivity_cm2_s"] > cold[row["material_id"]] for row in rows)


def test_a_server_is_as_good_as_a_folder(wire_server, local_store, write_spec, tmp_path) -> None:
    words = ("hopscreen", "run", str(write_spec()), "--store", f"{wire_server.uri}/fresh")
    first, again = (run(words, tmp_path, {"OMP_NUM_THREADS": "1"}) for _ in range(2))
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert "everything is done already" in again.stderr
    assert documents(f"{wire_server.uri}/fresh") == documents(local_store)
