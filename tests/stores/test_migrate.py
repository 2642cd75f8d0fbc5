"""From one version of the schema to the next."""

from __future__ import annotations

import pytest

import stores.backends
import stores.documents
import stores.migrate
import stores.screen_store
from stores.documents import SCHEMA_VERSION, CandidateDoc, HopDoc, RankedDoc
from stores.errors import BadInput
from stores.migrate import Migrated, migrate
from stores.queries import ranked
from stores.ranking import rank_materials
from stores.screen_store import COLLECTIONS, open_store

EDGE = (0, 0, 1, 0, 0)
NOW, NEXT = SCHEMA_VERSION, SCHEMA_VERSION + 1


@pytest.fixture
def old_store(uri, samples):
    """A store of this version with two hops and a candidate."""
    with open_store(uri) as store:
        store.put([samples.candidate(), samples.hop("h1", [EDGE]), samples.hop("h2", [EDGE])])
    return uri


@pytest.fixture
def next_version(monkeypatch):
    """A hopscreen whose hops are measured in another way."""
    for module in (stores.backends, stores.migrate, stores.screen_store):
        monkeypatch.setattr(module, "SCHEMA_VERSION", NEXT)
    step = {"hops": lambda row: {**row, "length_ang": row["length_ang"] * 2}}
    monkeypatch.setattr(stores.migrate, "STEPS", {NOW: step})


def _lengths(uri):
    with open_store(uri, create=False) as store:
        return [(h.hop_id, h.length_ang, h.schema_version) for h in store.find(HopDoc)]


def test_nothing_to_do(old_store):
    assert migrate(old_store) == []


def test_an_older_store_asks_for_migration(old_store, next_version):
    for create in (True, False):
        with pytest.raises(BadInput, match=rf"{NOW} is older than {NEXT}; run: hopscreen migrate"):
            open_store(old_store, create=create)


def test_a_dry_run_changes_nothing(old_store, next_version, monkeypatch):
    bad = {"hops": lambda row: {**row, "length_ang": None if row["_id"] == "h2" else 1.0}}
    monkeypatch.setattr(stores.migrate, "STEPS", {NOW: bad})
    found = {one.collection: one for one in migrate(old_store, dry_run=True)}
    assert found["hops"] == Migrated("hops", NEXT, 2, ("h2",))
    assert found["candidates"] == Migrated("candidates", NEXT, 1)
    with pytest.raises(BadInput, match="older"):
        open_store(old_store)
    monkeypatch.undo()
    assert _lengths(old_store) == [("h1", 3.0, NOW), ("h2", 3.0, NOW)]


def test_migration(old_store, next_version):
    assert [one.documents for one in migrate(old_store)] == [1, 2, 0, 0]
    assert _lengths(old_store) == [("h1", 6.0, NEXT), ("h2", 6.0, NEXT)]
    assert migrate(old_store) == []
    with open_store(old_store) as store:
        assert store.get(CandidateDoc, candidate_id="m:Li").schema_version == NEXT


def test_migration_goes_on_where_it_was_cut(old_store, next_version, monkeypatch):
    def dies(row):
        if row["_id"] == "h2":
            raise KeyboardInterrupt
        return {**row, "length_ang": row["length_ang"] * 2}

    whole = stores.migrate.STEPS
    monkeypatch.setattr(stores.migrate, "STEPS", {NOW: {"hops": dies}})
    monkeypatch.setattr(stores.migrate, "_BATCH", 1)
    with pytest.raises(KeyboardInterrupt):
        migrate(old_store)
    monkeypatch.setattr(stores.migrate, "STEPS", whole)
    migrate(old_store)
    assert _lengths(old_store) == [("h1", 6.0, NEXT), ("h2", 6.0, NEXT)]


def test_no_way_on(old_store, next_version, monkeypatch):
    monkeypatch.setattr(stores.migrate, "STEPS", {})
    with pytest.raises(BadInput, match=f"no way from schema_version {NOW} to {NEXT}"):
        migrate(old_store)


def test_no_store_is_made(tmp_path):
    with pytest.raises(BadInput, match="not a hopscreen store"):
        migrate(str(tmp_path / "nothing"))
    assert not list(tmp_path.iterdir())


def test_from_version_1_places_are_counted(uri, samples):
    """Version 1 kept the rank in each document."""
    with open_store(uri) as store:
        for name, value in {"a": 0.3, "b": 0.1}.items():
            hop = samples.hop(name, [EDGE], name)
            store.put([samples.candidate(name), hop, samples.barrier(hop, "band", value)])
        rank_materials(store)
        for name, _ in COLLECTIONS.values():
            change = {"$set": {"schema_version": 1}}
            getattr(store, name)._collection.update_many({}, change)
        store.ranked._collection.update_many({}, {"$set": {"rank": 7}})
        store._backend.set_schema_version(1)
    assert all(not one.broken for one in migrate(uri, dry_run=True))
    with pytest.raises(BadInput, match="1 is older"):
        open_store(uri)
    assert [one.documents for one in migrate(uri)] == [2, 2, 2, 2]
    with open_store(uri, create=False) as store:
        assert [(doc.rank, doc.material_id) for doc in ranked(store)] == [(1, "b"), (2, "a")]
        assert "rank" not in store.ranked.query_one({})
        assert store.count(RankedDoc, {"schema_version": NOW}) == 2
