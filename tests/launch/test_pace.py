"""How fast a screen gets on, read from the store alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from launch.cli import run_command
from launch.pace import is_over, paces
from stores.documents import BarrierDoc, Failure
from stores.queries import summary
from stores.screen_store import open_store
from workflows.claims import claimed
from workflows.provenance import provenance

PLANNED = 40


@pytest.fixture
def uri(tmp_path):
    """Ten of forty planned MACE-NEBs are there, one every six minutes; one has failed."""
    uri = str(tmp_path / "store")
    with open_store(uri) as store:
        ids = [f"neb-{number:02d}" for number in range(PLANNED)]
        key = {"run_id": "stage:a:mlip", "kind": "stage", "level": "mlip", "barrier_ids": ids}
        store.runs._collection.insert_one({"_id": "stage:a:mlip", **key})
        now = datetime.now(UTC)
        for number, barrier_id in enumerate(ids[:10]):
            failed = number == 3
            store.put(
                [
                    BarrierDoc(
                        barrier_id=barrier_id,
                        hop_id=f"hop-{number}",
                        candidate_id="host:Li",
                        material_id="host",
                        working_ion="Li",
                        level="mlip",
                        status="failed" if failed else "done",
                        barrier_ev=None if failed else 0.3,
                        interval_90_ev=None if failed else (0.1, 0.5),
                        error=Failure(kind="NotConverged", message="no", folder="/scratch/3")
                        if failed
                        else None,
                        provenance=provenance(),
                    )
                ]
            )
            at = {"last_updated": now - timedelta(minutes=6 * (9 - number))}
            store.barriers._collection.update_one({"barrier_id": barrier_id}, {"$set": at})
    return uri


def test_rate_and_time_left(uri):
    with open_store(uri) as store, claimed(store, "neb-10", "job", level="mlip"):
        pace = paces(store, summary(store))["mlip"]
        assert (pace.running, pace.waiting) == (1, PLANNED - 11)
        assert pace.per_hour == pytest.approx(10, rel=0.05)
        assert pace.left_s == pytest.approx(30 / 10 * 3600, rel=0.05)
        assert not is_over(paces(store, summary(store)))


def test_first_result_counts_from_its_beginning(uri):
    with open_store(uri) as store:
        took = {"$set": {"provenance.wall_s": 360.0}}
        store.barriers._collection.update_one({"barrier_id": "neb-00"}, took)
        assert paces(store, summary(store))["mlip"].per_hour == pytest.approx(10, rel=0.02)
        store.barriers._collection.delete_many({"barrier_id": {"$ne": "neb-00"}})
        just_now = {"$set": {"last_updated": datetime.now(UTC)}}
        store.barriers._collection.update_one({"barrier_id": "neb-00"}, just_now)
        assert paces(store, summary(store))["mlip"].per_hour == pytest.approx(10, rel=0.02)


def test_status_says_it(uri, capfd):
    assert run_command(["status", "--store", uri]) == 0
    told = capfd.readouterr().out
    row = next(line for line in told.splitlines() if "MACE-NEB" in line)
    assert row.split()[1:5] == ["9", "1", "0", "30"]
    assert "1 × NotConverged" in told
    assert "look into /scratch/3" in told


def test_watch_ends_when_nobody_is_at_work(uri, capfd):
    words = ["status", "--store", uri, "--watch", "--every", "0.1", "--format", "json"]
    assert run_command(words) == 0
    [look] = map(json.loads, capfd.readouterr().out.splitlines())
    assert next(s for s in look["stages"] if s["stage"] == "mlip")["waiting"] == 30
