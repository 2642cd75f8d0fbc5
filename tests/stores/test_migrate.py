"""From one version of the schema to the next."""

from __future__ import annotations

import pytest

import stores.backends
import stores.documents
import stores.migrate
import stores.screen_store
from stores.documents import CandidateDoc, HopDoc
from stores.errors import BadInput
from stores.migrate import Migrated, migrate
from stores.screen_store import open_store

EDGE = (0, 0, 1, 0, 0)


@pytest.fixture
def old_store(uri, samples):
    """A store of version 1 with two hops and a candidate."""
    with open_store(uri) as store:
        store.put([samples.candidate(), samples.hop("h1", [EDGE]), samples.hop("h2", [EDGE])])
    return uri


@pytest.fixture
def version_2(monkeypatch):
    """A hopscreen whose hops are measured in another way."""
    for module in (stores.backends, stores.migrate, stores.screen_store):
        monkeypatch.setattr(module, "SCHEMA_VERSION", 2)
    step = {"hops": lambda row: {**row, "length_ang": row["length_ang"] * 2}}
    monkeypatch.setattr(stores.migrate, "STEPS", {1: step})


def _lengths(uri):
    with open_store(uri, create=False) as store:
        return [(h.hop_id, h.length_ang, h.schema_version) for h in store.find(HopDoc)]


def test_nothing_to_do(old_store):
    assert migrate(old_store) == []


def test_an_older_store_asks_for_migration(old_store, version_2):
    for create in (True, False):
        with pytest.raises(BadInput, match=r"1 is older than 2; run: hopscreen migrate"):
            open_store(old_store, create=create)


def test_a_dry_run_changes_nothing(old_store, version_2, monkeypatch):
    bad = {"hops": lambda row: {**row, "length_ang": None if row["_id"] == "h2" else 1.0}}
    monkeypatch.setattr(stores.migrate, "STEPS", {1: bad})
    found = {one.collection: one for one in migrate(old_store, dry_run=True)}
    assert found["hops"] == Migrated("hops", 2, 2, ("h2",))
    assert found["candidates"] == Migrated("candidates", 2, 1)
    with pytest.raises(BadInput, match="older"):
        open_store(old_store)
    monkeypatch.undo()
    assert _lengths(old_store) == [("h1", 3.0, 1), ("h2", 3.0, 1)]


def test_migration(old_store, version_2):
    assert [one.documents for one in migrate(old_store)] == [1, 2, 0, 0]
    assert _lengths(old_store) == [("h1", 6.0, 2), ("h2", 6.0, 2)]
    assert migrate(old_store) == []
    with open_store(old_store) as store:
        assert store.get(CandidateDoc, candidate_id="m:Li").schema_version == 2


def test_migration_goes_on_where_it_was_cut(old_store, version_2, monkeypatch):
    def dies(row):
        if row["_id"] == "h2":
            raise KeyboardInterrupt
        return {**row, "length_ang": row["length_ang"] * 2}

    whole = stores.migrate.STEPS
    monkeypatch.setattr(stores.migrate, "STEPS", {1: {"hops": dies}})
    monkeypatch.setattr(stores.migrate, "_BATCH", 1)
    with pytest.raises(KeyboardInterrupt):
        migrate(old_store)
    monkeypatch.setattr(stores.migrate, "STEPS", whole)
    migrate(old_store)
    assert _lengths(old_store) == [("h1", 6.0, 2), ("h2", 6.0, 2)]


def test_no_way_on(old_store, version_2, monkeypatch):
    monkeypatch.setattr(stores.migrate, "STEPS", {})
    with pytest.raises(BadInput, match="no way from schema_version 1 to 2"):
        migrate(old_store)


def test_no_store_is_made(tmp_path):
    with pytest.raises(BadInput, match="not a hopscreen store"):
        migrate(str(tmp_path / "nothing"))
    assert not list(tmp_path.iterdir())
