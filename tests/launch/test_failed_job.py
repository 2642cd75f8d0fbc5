"""A job that fails because of its machine: what comes after it waits until it has been run."""

from __future__ import annotations

import errno

import yaml

from launch.cli import run_command
from stores.documents import BarrierDoc, RankedDoc
from stores.export import rank_row
from stores.queries import ranked
from stores.screen_store import open_store
from workflows.stages import neb

SPEC = {
    "name": "failed_job",
    "working_ion": "Li",
    "candidates": {"source": "catalogue", "ids": ["LiCoO2", "LiTiS2"]},
    "hops": {"min_supercell": 5.0, "max_atoms": 120},
    "mace_neb": {"model": "mini", "top": 2, "images": 1, "fmax": 1.0, "batch": 1},
}


def rows(path):
    with open_store(str(path), create=False) as store:
        return [rank_row(doc) for doc in ranked(store)]


def test_ranking_is_made_from_all_results_also_after_a_full_disk(tmp_path, monkeypatch):
    spec = tmp_path / "screen.yaml"
    spec.write_text(yaml.safe_dump(SPEC))
    whole, store = tmp_path / "whole.store", tmp_path / "screen.store"
    assert run_command(["run", str(spec), "--store", str(whole)]) == 0

    run_hops = neb._run_hops
    tried = []

    def run_or_fail(*arguments):
        tried.append(arguments)
        if len(tried) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return run_hops(*arguments)

    monkeypatch.setattr(neb, "_run_hops", run_or_fail)
    assert run_command(["run", str(spec), "--store", str(store)]) != 0
    with open_store(str(store), create=False) as opened:
        assert opened.count(BarrierDoc, {"level": "mlip"}) == 1
        assert not opened.count(RankedDoc), "made from what happened to be there"

    assert run_command(["run", str(spec), "--store", str(store)]) == 0
    assert len(tried) == 3, "a NEB was run twice"
    assert rows(store) == rows(whole)
