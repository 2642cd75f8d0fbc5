"""One item ends its process, two jobs want the same item: all others are done, none twice."""

from __future__ import annotations

import multiprocessing

import neb_process
import poison
import pytest

from stores.documents import BarrierDoc, CandidateDoc, HopDoc
from stores.screen_store import open_store
from workflows.provenance import provenance
from workflows.sources import load_catalogue
from workflows.spec import ScreenSpec
from workflows.stages import hops, neb, score

HOSTS = 100


@pytest.fixture
def screen():
    return ScreenSpec.model_validate(
        {
            "name": "poison",
            "working_ion": "Li",
            "candidates": {"source": "catalogue"},
            "hops": {"min_supercell": 5.0, "max_atoms": 120},
            "mace_neb": {"model": "mini", "images": 1, "fmax": 1.0},
        }
    )


@pytest.fixture
def uri(tmp_path, screen):
    """A store with a hundred hosts, slightly strained copies of one."""
    [record] = [r for r in load_catalogue({"Li"}) if r.material_id == "LiCoO2"]
    host = record.structure.get_primitive_structure()
    with open_store(str(tmp_path / "store")) as store:
        docs = []
        for number in range(HOSTS):
            strained = host.copy()
            strained.scale_lattice(host.volume * (1 + number / 10_000))
            docs.append(
                CandidateDoc(
                    candidate_id=f"host-{number:03d}:Li",
                    material_id=f"host-{number:03d}",
                    source="test",
                    formula="LiCoO2",
                    working_ion="Li",
                    structure=strained.as_dict(),
                    screens=[screen.screen_id],
                    provenance=provenance(),
                )
            )
        store.put(docs)
    return str(tmp_path / "store")


def test_one_of_a_hundred_hosts_then_one_of_their_hops(uri, screen, tmp_path, monkeypatch, capsys):
    spec = screen.model_dump(mode="json")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POISONED_HOST", "host-037:Li")
    monkeypatch.setattr(hops, "enumerate_chunk", poison.enumerate_chunk_or_die)
    found = hops.enumerate_hops.original(spec, uri, "host-000:Li", "host-999:Li")
    with open_store(uri, create=False) as store:
        [bad] = store.find(CandidateDoc, {"hops_status": "failed"})
        assert bad.candidate_id == "host-037:Li"
        assert bad.error.kind == "WorkerDied"
        assert "SIGSEGV" in bad.error.message
        assert store.count(CandidateDoc, {"hops_status": "done"}) == HOSTS - 1
        hop_ids = store.ids(HopDoc)
    assert found["failed"] == 1

    poisoned = hop_ids[len(hop_ids) // 2]
    monkeypatch.setenv("POISONED_HOP", poisoned)
    monkeypatch.setattr(score, "score_chunk", poison.score_chunk_or_die)
    scored = score.score.original(spec, uri, "host-000:Li", "host-999:Li")
    assert scored == {"done": len(hop_ids) - 1, "failed": 1}

    few = [poisoned, *[hop_id for hop_id in hop_ids if hop_id != poisoned][:2]]
    monkeypatch.setattr(neb, "run_group", poison.run_group_or_die)
    climbed = neb.mace_neb.original(spec, uri, few)
    assert climbed == {"done": 2, "failed": 1}
    with open_store(uri, create=False) as store:
        for level in ("band", "mlip"):
            [bad] = store.find(BarrierDoc, {"level": level, "status": "failed"})
            assert (bad.hop_id, bad.error.kind) == (poisoned, "WorkerDied")
        assert not list(store.runs.query({"kind": "claim"}))


def test_two_jobs_that_want_the_same_hops_at_once(uri, screen, tmp_path, monkeypatch):
    spec = screen.model_dump(mode="json")
    monkeypatch.chdir(tmp_path)
    hops.enumerate_hops.original(spec, uri, "host-000:Li", "host-001:Li")
    with open_store(uri, create=False) as store:
        hop_ids = store.ids(HopDoc)
    assert len(hop_ids) >= 2
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(2)
    folders = [tmp_path / "one", tmp_path / "two"]
    jobs = [
        context.Process(target=neb_process.run, args=(spec, uri, hop_ids, folder, ready))
        for folder in folders
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0, 0]
    with open_store(uri, create=False) as store:
        made = list(store.find(BarrierDoc, {"level": "mlip"}))
        assert not list(store.runs.query({"kind": "claim"}))
    assert sorted(doc.hop_id for doc in made) == hop_ids
    assert {doc.status for doc in made} == {"done"}
    worked = [path.name for folder in folders for path in folder.iterdir()]
    print(f"{len(hop_ids)} hops wanted by two jobs, {len(worked)} NEBs run")
    assert sorted(worked) == hop_ids, "a hop was computed twice, or never"
