"""Screens of the Materials Project that are killed, that fail, and that overlap."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import mp_screen
import pytest

from stores.documents import CandidateDoc
from stores.errors import BadInput
from stores.screen_store import open_store
from workflows.sources import SourceUnavailable, load_catalogue, mp_client
from workflows.spec import ScreenSpec

from .mp_server import MaterialsProjectServer

KEY = "k" * 32
PAGE = 2
TOTAL = 80


@pytest.fixture
def server(monkeypatch):
    (host,) = (record.structure for record in load_catalogue({"Li"}) if record.material_id == "LiF")
    documents = [
        {
            "material_id": f"mp-{number}",
            "structure": host.as_dict(),
            "energy_above_hull": 0.001 * number,
            "band_gap": 8.0,
            "is_stable": False,
            "theoretical": False,
        }
        for number in range(TOTAL)
    ]
    state = MaterialsProjectServer(documents)
    monkeypatch.setattr(mp_client, "BACKOFF_S", (0.01,))
    monkeypatch.setenv("MP_API_KEY", KEY)
    with state.running() as endpoint:
        monkeypatch.setenv("MP_API_ENDPOINT", endpoint)
        yield state


def spec_of(**more):
    asked = {"source": "materials_project", "energy_above_hull": [0, 1], **more}
    content = {
        "name": "mp",
        "working_ion": "Li",
        "candidates": asked,
        "filters": {"keep_duplicates": True},
    }
    return ScreenSpec.model_validate(content).model_dump(mode="json")


@pytest.fixture
def screen(tmp_path, monkeypatch):
    """Run the stage with small pages; return what it says."""
    uri = str(tmp_path / "mp.store")

    def run(**more):
        monkeypatch.setattr("workflows.sources.materials_project.PAGE", PAGE)
        monkeypatch.setattr("workflows.stages.candidates.PAGE", PAGE)
        return mp_screen.main(spec_of(**more), uri, PAGE)

    run.uri = uri
    return run


def fetched(server):
    """Ids of which documents were asked for, page by page."""
    return [r["material_ids"].split(",") for r in server.requests if "material_ids" in r]


def names(first, last):
    return [f"mp-{number}" for number in range(first, last)]


def test_a_screen_killed_at_page_30_goes_on_at_page_30(server, screen):
    victim = None

    def kill(number):
        if number == 30:  # the ids, then pages 0 to 28: this is the thirtieth page
            victim.send_signal(signal.SIGKILL)
            return "silent"
        return None

    server.fail = kill
    victim = subprocess.Popen(
        [sys.executable, mp_screen.__file__, json.dumps(spec_of()), screen.uri, str(PAGE)],
        env={**os.environ, "PYTHONPATH": str(Path(mp_screen.__file__).parents[2])},
    )
    assert victim.wait(timeout=300) == -signal.SIGKILL
    assert len(fetched(server)) == 30
    with open_store(screen.uri) as store:
        # The last page before the kill may still have been in hand.
        kept = store.count(CandidateDoc)
        assert kept in (28 * PAGE, 29 * PAGE)

    server.fail = lambda number: None
    server.requests.clear()
    assert screen()["ok"] == TOTAL
    assert [name for page in fetched(server) for name in page] == names(kept, TOTAL)


def test_a_server_that_fails_at_page_30_costs_no_document(server, screen):
    server.fail = lambda number: 500 if number >= 30 else None
    with pytest.raises(SourceUnavailable, match=r"server failed \(500\).*run the same command"):
        screen()
    with open_store(screen.uri) as store:
        assert store.count(CandidateDoc) == 29 * PAGE
    server.fail = lambda number: None
    server.requests.clear()
    assert screen()["ok"] == TOTAL
    assert [name for page in fetched(server) for name in page] == names(29 * PAGE, TOTAL)


def test_a_second_screen_with_overlapping_filters_fetches_what_is_new(server, screen):
    assert screen(energy_above_hull=[0, 0.0395])["ok"] == 40
    server.requests.clear()
    assert screen(energy_above_hull=[0, 0.0495])["ok"] == 50
    assert [name for page in fetched(server) for name in page] == names(40, 50)
    server.requests.clear()
    assert screen(energy_above_hull=[0, 0.0495])["ok"] == 50
    assert fetched(server) == []


def test_every_document_keeps_query_version_and_time_and_none_the_key(server, screen):
    screen(limit=4)
    with open_store(screen.uri) as store:
        docs = list(store.find(CandidateDoc))
    assert len(docs) == 4
    for doc in docs:
        assert doc.metadata["database"] == "Materials Project"
        assert doc.metadata["database_version"] == "2026.11.1"
        assert doc.metadata["query"]["energy_above_hull"] == [0.0, 1.0]
        assert doc.metadata["retrieved_at"].startswith("20")
        assert doc.energy_above_hull_ev is not None
    for path in Path(screen.uri).rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes()


def test_a_query_without_an_answer_says_what_to_widen(server, screen):
    with pytest.raises(BadInput, match="widen candidates or filters"):
        screen(elements=["Hg"])
