"""The store's contract, on a folder and on a MongoDB server alike."""

from __future__ import annotations

import logging
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from stores.documents import BarrierDoc, CandidateDoc, HopDoc, RankedDoc
from stores.errors import BadInput
from stores.screen_store import open_store

EDGE = (0, 0, 1, 0, 0)


def test_what_goes_in_comes_out(store, samples):
    candidate = samples.candidate(structure={"lattice": {"a": 0.1 + 0.2}}, band_gap_ev=1 / 3)
    hop = samples.hop("h", [EDGE])
    barrier = samples.barrier(hop, "band", 0.1 + 0.2)
    assert store.put([candidate, hop, barrier]) == 3
    assert store.get(HopDoc, hop_id="h").model_dump(exclude={"provenance"}) == hop.model_dump(
        exclude={"provenance"}
    )
    back = store.get(CandidateDoc, candidate_id="m:Li")
    assert back.structure == candidate.structure
    assert back.band_gap_ev == 1 / 3
    assert store.get(BarrierDoc, hop_id="h").barrier_ev == 0.1 + 0.2
    created = back.provenance.created_at
    assert abs(created - candidate.provenance.created_at) < timedelta(milliseconds=1)


def test_the_same_id_is_one_document(store, samples):
    hop = samples.hop("h", [EDGE])
    store.put([hop, hop])
    store.put([hop.model_copy(update={"length_ang": 4.0})])
    assert store.count(HopDoc) == 1
    assert store.get(HopDoc, hop_id="h").length_ang == 4.0


def test_screens_are_added_to(store, samples):
    store.put([samples.candidate("a", screens=["one"]), samples.candidate("b")])
    store.put([samples.candidate("a", screens=["two"], band_gap_ev=1.0)])
    store.tag_screen("three", ["a:Li", "b:Li", "unknown:Li"])
    store.tag_screen("three", ["a:Li"])
    first = store.get(CandidateDoc, candidate_id="a:Li")
    assert sorted(first.screens) == ["one", "three", "two"]
    assert first.band_gap_ev == 1.0
    assert store.ids(CandidateDoc, {"screens": "three"}) == ["a:Li", "b:Li"]
    assert store.ids(CandidateDoc, {"screens": "one"}) == ["a:Li"]
    assert store.count(CandidateDoc) == 2


def test_a_slice_of_a_screen(store, samples):
    store.put(
        samples.candidate(f"m{i}", screens=["s"] if i % 2 else [], status="ok") for i in range(10)
    )
    slice_ = {"screens": "s", "candidate_id": {"$gte": "m3:Li", "$lte": "m7:Li"}}
    assert store.ids(CandidateDoc, slice_) == ["m3:Li", "m5:Li", "m7:Li"]
    found = [doc.candidate_id for doc in store.find(CandidateDoc, slice_)]
    assert found == ["m3:Li", "m5:Li", "m7:Li"]
    assert store.count(CandidateDoc, slice_ | {"status": {"$ne": "ok"}}) == 0


def test_find_sorts_and_pages(store, samples):
    store.put(samples.hop(f"h{i}", [EDGE], length_ang=float(i % 3)) for i in range(6))

    def page(**how):
        return [hop.hop_id for hop in store.find(HopDoc, **how)]

    order = {"length_ang": -1, "hop_id": 1}
    assert page() == ["h0", "h1", "h2", "h3", "h4", "h5"]
    assert page(sort=order) == ["h2", "h5", "h1", "h4", "h0", "h3"]
    assert page(sort=order, skip=1, limit=2) == ["h5", "h1"]


def test_writing_while_reading(store, samples):
    store.put(samples.hop(f"h{i}", [EDGE]) for i in range(300))
    seen = 0
    for hop in store.find(HopDoc, {"length_ang": 3.0}):
        store.put([hop.model_copy(update={"length_ang": 4.0})])
        seen += 1
    assert seen == 300
    assert store.count(HopDoc, {"length_ang": 4.0}) == 300


def test_a_broken_document_is_named_and_hides_no_other(store, samples, caplog):
    store.put(samples.hop(f"h{i}", [EDGE]) for i in range(3))
    store.hops._collection.update_one({"_id": "h1"}, {"$set": {"length_ang": "long"}})
    with caplog.at_level(logging.WARNING):
        assert [hop.hop_id for hop in store.find(HopDoc)] == ["h0", "h2"]
    assert "hops: h1: length_ang" in caplog.text


def test_a_document_of_a_newer_schema_is_refused(store, samples):
    store.put([samples.hop("h", [EDGE])])
    store.hops._collection.update_one({"_id": "h"}, {"$set": {"schema_version": 99}})
    with pytest.raises(BadInput, match=r"hops: h: schema_version 99 is newer.*upgrade hopscreen"):
        store.get(HopDoc, hop_id="h")


def test_blobs(store):
    content = {"energy_ev": [0.1 + 0.2, -1.0], "name": "ünïcode", "none": None}
    store.save_blob("../x/y", content)
    store.save_blob("other", {"images": [[0.0] * 3] * 5000})
    assert store.load_blob("../x/y") == content
    store.save_blob("../x/y", {"replaced": True})
    assert store.load_blob("../x/y") == {"replaced": True}
    assert len(store.load_blob("other")["images"]) == 5000
    with pytest.raises(KeyError, match="missing"):
        store.load_blob("missing")


def test_runs_take_any_document(store):
    store.runs.update([{"run_id": "r1", "spec": {"name": "x"}, "jobs": {"a": "done"}}])
    store.runs.update([{"run_id": "r1", "spec": {"name": "y"}, "jobs": {}}])
    assert store.runs.count() == 1
    assert store.runs.query_one({"run_id": "r1"})["spec"] == {"name": "y"}


def test_dates_compare(store, samples):
    store.put([samples.hop("h", [EDGE])])
    now = datetime.now(UTC)
    yesterday, tomorrow = now - timedelta(days=1), now + timedelta(days=1)
    assert store.count(HopDoc, {"provenance.created_at": {"$gt": yesterday}}) == 1
    assert store.count(HopDoc, {"provenance.created_at": {"$gt": tomorrow}}) == 0
    assert store.count(HopDoc, {"last_updated": {"$gt": yesterday, "$lt": tomorrow}}) == 1


def test_jobstore_keeps_documents_and_data(store):
    jobs = store.jobstore()
    output = {"energy": 1.5, "images": {"positions": [0.25] * 9}}
    document = {"uuid": "u", "index": 1, "output": output, "name": "job", "metadata": {}}
    jobs.update([document], key=["uuid", "index"], save={"data": "images"})
    assert jobs.get_output("u", load=True) == output
    assert jobs.query_one({"uuid": "u"})["output"]["images"].keys() >= {"blob_uuid", "store"}
    jobs.update([document | {"output": 2}], key=["uuid", "index"])
    assert jobs.count() == 1
    assert jobs.get_output("u") == 2
    jobs.close()
    assert store.count(HopDoc) == 0  # the store's own connection is still open
    with open_store(store.uri, create=False) as reader:
        assert reader.jobstore().get_output("u") == 2


def test_jobflow_runs_on_it(store, tmp_path, monkeypatch):
    jobflow = pytest.importorskip("jobflow")
    monkeypatch.chdir(tmp_path)
    add = jobflow.job(_add)
    first = add(1, 2)
    second = add(first.output, 3)
    answers = jobflow.run_locally(jobflow.Flow([first, second]), store=store.jobstore(), log=False)
    assert answers[second.uuid][1].output == 6


def _add(a, b):
    return a + b


_WRITER = """
import sys
from stores.screen_store import open_store

uri, worker = sys.argv[1:]
with open_store(uri) as store:
    for i in range(50):
        store.candidates._collection.update_one(
            {"_id": "shared"}, {"$addToSet": {"screens": f"{worker}-{i}"}, "$inc": {"n": 1}}
        )
        store.runs.update([{"run_id": f"{worker}-{i}"}])
"""


def test_several_processes_write_at_once(store):
    store.candidates._collection.insert_one({"_id": "shared", "screens": [], "n": 0})
    workers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, store.uri, str(w)]) for w in range(2)
    ]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    shared = store.candidates._collection.find_one({"_id": "shared"})
    assert shared["n"] == 100
    assert len(shared["screens"]) == 100
    assert store.runs.count() == 100


def test_reading_changes_nothing(uri, samples):
    with pytest.raises(BadInput, match="not a hopscreen store"):
        open_store(uri, create=False)
    with open_store(uri) as store:
        store.put([samples.candidate()])
    with open_store(uri, create=False) as reader:
        assert reader.count(CandidateDoc) == 1
        assert reader.count(RankedDoc) == 0


def test_a_store_of_a_newer_schema_is_refused(uri, monkeypatch):
    import stores.backends

    monkeypatch.setattr(stores.backends, "SCHEMA_VERSION", 99)
    open_store(uri).close()
    monkeypatch.undo()
    for create in (True, False):
        with pytest.raises(BadInput, match=r"schema_version 99 is newer.*upgrade hopscreen"):
            open_store(uri, create=create)
