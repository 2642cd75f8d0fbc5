"""A real screen, killed at random points: nothing twice, nothing lost, the same ranking."""

from __future__ import annotations

import multiprocessing
import random
import time
from datetime import datetime
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import screen_process
import yaml

from stores.documents import BarrierDoc, CandidateDoc, HopDoc, RankedDoc
from stores.export import rank_row
from stores.queries import ranked
from stores.screen_store import open_store

KILLS = 20

SPEC: dict[str, Any] = {
    "name": "kill_test",
    "working_ion": "Li",
    # Every stage but DFT, and over in seconds: small cells, forces that hardly need relaxing.
    "candidates": {"source": "catalogue", "ids": ["LiCoO2", "LiNiO2", "LiTiS2"]},
    "hops": {"min_supercell": 5.0, "max_atoms": 120},
    "mace_neb": {"model": "mini", "top": 2, "images": 1, "fmax": 1.0, "batch": 1},
}


@pytest.mark.slow
def test_kills_change_nothing(tmp_path: Path) -> None:
    spec = tmp_path / "screen.yaml"
    spec.write_text(yaml.safe_dump(SPEC))

    # Twice: the first one also waits for the imports, and the two must agree.
    expected, counts, whole_s = [], [], 0.0
    for name in ("first", "second"):
        store = tmp_path / f"{name}.store"
        started = time.monotonic()
        process = _start(spec, store)
        process.join()
        assert process.exitcode == 0, (tmp_path / "output.txt").read_text()
        whole_s = time.monotonic() - started
        assert expected in ([], _ranking(store))
        expected, counts = _ranking(store), _counts(store)
    assert expected

    chance = random.Random(2)
    kills, round_ = 0, 0
    while kills < KILLS:
        store = tmp_path / f"killed_{round_}.store"
        kills += _run_with_kills(spec, store, chance, whole_s, KILLS - kills)
        assert _ranking(store) == expected
        assert _counts(store) == counts
        round_ += 1
    print(f"{kills} kills over {round_} screens of {whole_s:.1f} s")


def _run_with_kills(
    spec: Path, store: Path, chance: random.Random, whole_s: float, most: int
) -> int:
    """Kill a screen at random points until it is done; return how often."""
    finished: dict[str, datetime] = {}
    kills = 0
    while True:
        process = _start(spec, store)
        process.join(chance.uniform(0.0, whole_s / 2) if kills < most else None)
        if process.exitcode is None:
            process.kill()
            process.join()
            kills += 1
        else:
            assert process.exitcode == 0, (store.parent / "output.txt").read_text()
        now = _finished(store)
        again = {key for key, at in finished.items() if now.get(key) != at}
        assert not again, f"lost or done again: {sorted(again)}"
        finished = now
        if process.exitcode == 0:
            return kills


def _start(spec: Path, store: Path) -> BaseProcess:
    # Forked from a process that has everything imported, so that kills hit the work itself.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["screen_process", "workflows.screen", "mace.calculators"])
    process = context.Process(target=screen_process.run, args=(spec, store))
    process.start()
    return process


def _finished(store: Path) -> dict[str, datetime]:
    """When each job ended and each estimate was made, as far as the store knows."""
    if not (store / "hopscreen-store.json").exists():
        return {}
    with open_store(str(store), create=False) as opened:
        jobs = opened.runs.query({"kind": "job", "state": "done"})
        done = {doc["run_id"]: doc["ended_at"] for doc in jobs}
        for estimate in opened.find(BarrierDoc):
            done[estimate.barrier_id] = estimate.provenance.created_at
    return done


def _counts(store: Path) -> list[int]:
    with open_store(str(store), create=False) as opened:
        return [opened.count(model) for model in (CandidateDoc, HopDoc, BarrierDoc, RankedDoc)]


def _ranking(store: Path) -> list[dict[str, Any]]:
    with open_store(str(store), create=False) as opened:
        return [rank_row(doc) for doc in ranked(opened)]
