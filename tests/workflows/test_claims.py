import time

import pytest

from stores.screen_store import open_store
from workflows import claims
from workflows.claims import claimed, running, wait_for_others


@pytest.fixture(params=["folder", "server"])
def store(request, tmp_path):
    if request.param == "folder":
        uri = str(tmp_path / "store")
    else:
        server = request.getfixturevalue("mongo_server")
        uri = f"{server}/claims_{tmp_path.name}"
    with open_store(uri) as opened:
        yield opened


def test_one_holds_it_and_the_next_one_after(store):
    with claimed(store, "hop", "first", level="mlip") as first:
        with claimed(store, "hop", "second") as second:
            assert (first, second) == (True, False)
        [claim] = running(store)
        assert (claim["owner"], claim["level"]) == ("first", "mlip")
    assert running(store) == []
    with claimed(store, "hop", "second") as second:
        assert second


def test_the_same_job_run_again_is_its_own_heir(store):
    left = claimed(store, "hop", "job")
    assert left.__enter__()
    with claimed(store, "hop", "job") as again:
        assert again


def test_a_claim_whose_heart_stands_still_is_nobodys(store, monkeypatch):
    left = claimed(store, "hop", "killed")
    assert left.__enter__()
    with claimed(store, "hop", "other") as other:
        assert not other
    monkeypatch.setattr(claims, "STALE_S", 0.0)
    with claimed(store, "hop", "other") as other:
        assert other


def test_a_heartbeat_keeps_it(store, monkeypatch):
    monkeypatch.setattr(claims, "BEAT_S", 0.1)
    monkeypatch.setattr(claims, "STALE_S", 5.0)
    with claimed(store, "hop", "slow") as mine:
        assert mine
        first = running(store)[0]["beat_s"]
        until = time.monotonic() + 30
        while running(store)[0]["beat_s"] == first:
            assert time.monotonic() < until


def test_waiting_for_others_ends_with_their_claim(store, monkeypatch):
    monkeypatch.setattr(claims, "LOOK_AGAIN_S", 0.01)
    heard = []
    left = claimed(store, "a", "other")
    assert left.__enter__()

    def say(text):
        heard.append(text)
        if len(heard) == 3:
            left.__exit__(None, None, None)

    wait_for_others(store.uri, ["a"], "me", say)
    assert len(heard) >= 3
